"""Tables of every category: whole in 80 columns, each word explained, nothing without truth."""

import io
from types import SimpleNamespace

from rich.console import Console

from hhh_coffea.results.console.tables import print_cutflow, print_summary, quantity

FRACTION = {"value": 0.5, "low": 0.45, "high": 0.56, "numerator": 1, "denominator": 2}
CATEGORIES = ("merged", "merged_without_overlap_removal", "boosted", "resolved", "resolved_after_overlap_removal")


def printed(function, *arguments):
    out = io.StringIO()
    function(Console(file=out, width=80), *arguments)
    return out.getvalue()


def entry(categories, has_truth=True):
    whole = {"targets": 8_606, "candidates": 12_675, "correct": 4_104, "purity": FRACTION, "efficiency": FRACTION}
    bare = {"targets": None, "candidates": 12_675, "correct": None, "purity": None, "efficiency": None}
    return {"categories": dict.fromkeys(categories, whole if has_truth else bare)}


def test_every_category_of_published_definitions():
    """One table for HH, not two; the method that the run adds is explained; a dataset without truth has counts alone."""
    datasets = {name: SimpleNamespace(metadata=SimpleNamespace(is_signal=name == "HH")) for name in ("HH", "QCD")}
    kinds = tuple(c for c in CATEGORIES if c != "boosted")
    summary = {
        "HH": {"reference": {"chi2": entry(CATEGORIES), "chi2+bdt_as_published": entry(CATEGORIES)}},
        "QCD": {"reference": {"chi2": entry(kinds, False), "chi2+bdt": entry(CATEGORIES, False)}},
    }
    text = printed(print_summary, summary, datasets)
    assert max(map(len, text.splitlines())) <= 80
    assert text.count("HH: purity and efficiency in %, published definitions (reference)") == 1
    assert "after overlap removal" in text
    assert "_as_published: the method with the pairing of the published code" in text
    without_truth = text.partition("QCD: candidates")[2].partition("purity")[0]
    assert "–" not in without_truth
    rows = [line.split()[0] for line in without_truth.splitlines()[4:] if line.strip()]
    assert rows[:5] == ["merged", "no", "boosted", "resolved", "after"]
    assert "as_published" not in printed(print_summary, {"QCD": summary["QCD"]}, datasets)


def test_a_cutflow_has_the_columns_that_have_content():
    rows = [{"cut": "all events", "events": 14_000.0, "weighted": 14_000.0}]
    plain = printed(print_cutflow, {"HHH": {"cuts": rows, "dropped_objects": {}}})
    assert "14,000 14,000 100.0%" in " ".join(plain.split())
    assert "σ" not in plain
    rated = printed(
        print_cutflow, {"HHH": {"cuts": [{**rows[0], "cross_section_pb": 1.975e-5}], "dropped_objects": {}}}
    )
    assert "σ left [pb]" in rated
    assert "σ left: cross section × branching fraction" in rated


def test_quantities():
    assert [quantity(value) for value in (None, 0, 59.251, 3452.1, 37_335.6, 1.181e8, 1.975e-5)] == [
        *("–", "0", "59.25", "3,452", "37,336", "1.181e+08", "1.975e-05")
    ]
