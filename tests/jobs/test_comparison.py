"""The comparison of methods: decodings of one network, errors on ratios, the scan, and the page they end in."""

import json
import sys
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
from conftest import DEMO

from hhh_coffea.analyses.higgs import higgs
from hhh_coffea.datasets.fileset import DatasetMetadata
from hhh_coffea.events.delphes import read
from hhh_coffea.events.record import selected, truncated
from hhh_coffea.methods import method_options, reconstruct, spanet
from hhh_coffea.reconstruction.selection import event_selection
from hhh_coffea.results import bdt_scan, paired
from hhh_coffea.results import directory as results
from hhh_coffea.run import main

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
MODELS = Path(__file__).parents[2] / "models"
METHOD_NAMES = "chi2,chi2+bdt,spanet:joint,spanet:expected,spanet:reference,spanet:greedy"


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("comparison") / "HHH_full"
    arguments = ["--fileset", "demo", "--datasets", "HHH", "--processor", "comparison", "--methods", METHOD_NAMES]
    assert main([*arguments, "--chunksize", "3000", "--device", "cpu", "--no-plots", "--output", str(folder)]) == 0
    return folder


def test_paired_errors_are_those_of_the_bootstrap():
    """Counts of correlated methods: the formula against 2,000 resamplings of the events."""
    rng = np.random.default_rng(5)
    n = 3000
    made = {"a": rng.integers(1, 4, n), "b": np.full(n, 3)}
    easy = rng.random(n)  # what both methods find easy
    wanted = rng.integers(1, 4, n)
    counts = {}
    for method, shift in (("a", 0.1), ("b", 0.0)):
        correct = rng.binomial(made[method], np.clip(easy + shift, 0, 1))
        counts[method] = np.stack([made[method], correct, wanted, np.minimum(correct, wanted)])
    histogram = paired.book()
    for part in (slice(0, 1000), slice(1000, None)):
        paired.fill(histogram, "d", "default", "merged", {m: c[:, part] for m, c in counts.items()})
    key = {"dataset": "d", "definition": "default", "category": "merged"}

    def product(method, events):
        candidates, correct, targets, found = counts[method][:, events].sum(axis=1)
        return correct / candidates * found / targets

    everything = np.arange(n)
    resampled = [rng.integers(0, n, n) for _ in range(2000)]
    for over, value in ((None, lambda e: product("a", e)), ("b", lambda e: product("a", e) / product("b", e))):
        measured = paired.measure(histogram, key, "product", "a", over)
        assert measured.value == pytest.approx(value(everything), rel=1e-12)
        assert measured.error == pytest.approx(np.std([value(e) for e in resampled]), rel=0.08)
    assert paired.measure(histogram, key, "purity", "a", "a").error == pytest.approx(0, abs=1e-9)
    # errors of independent samples would be larger: most of what is easy is easy for both
    apart = np.hypot(*(paired.measure(histogram, key, "product", m).error for m in "ab"))
    assert paired.measure(histogram, key, "product", "a", "b").error < apart / product("b", everything)


@pytest.fixture
def record(open_delphes):
    metadata = DatasetMetadata(format="delphes", n_higgs=3)
    substructure = spanet.load_model("spanet_hhh", "cpu").extra_features
    events = read(open_delphes(DEMO / "hhh.root", stop=400), metadata, substructure).record
    return truncated(selected(events, event_selection(events, metadata, higgs(3)).all()), 10, 3)


def test_decodings_share_one_pass(record, monkeypatch):
    """Methods of one network run it once, and are what each gives alone."""
    names = [name for name in higgs(3).methods if name.startswith("spanet")]
    options = method_options(names, model=["spanet_hhh"], device="cpu")
    calls = []
    original = spanet.reconstruct
    monkeypatch.setattr(spanet, "reconstruct", lambda *a: calls.append(a[2]) or original(*a))
    found = reconstruct({"default": names, "reference": names}, record, higgs(3), options)
    assert calls == [["all", "expected", "expected_by_kind", "greedy", "joint", "reference"]]
    for definition in ("default", "reference"):
        assert found[definition]["spanet"].to_list() == found[definition]["spanet:expected"].to_list()
    assert (
        found["default"]["spanet"].to_list() != found["reference"]["spanet"].to_list()
    )  # by kind in the published ones
    alone = reconstruct({"default": ["spanet:greedy"]}, record, higgs(3), options)
    assert alone["default"]["spanet:greedy"].to_list() == found["default"]["spanet:greedy"].to_list()


def test_more_presence_declares_more(record):
    model = spanet.load_model("spanet_hhh", "cpu")
    scan = [
        "joint:-1",
        "joint",
        "joint:1",
        "greedy:0.9",
        "greedy",
        "greedy:0.1",
        "expected:0.6",
        "expected",
        "expected:0.1",
    ]
    found = spanet.reconstruct(record, model, scan, higgs(3))
    numbers = [int(ak.sum(ak.num(found[name]))) for name in scan]
    assert 0 < numbers[0] < numbers[1] < numbers[2] <= 3 * len(record)
    assert 0 < numbers[3] < numbers[4] < numbers[5]
    assert 0 < numbers[6] < numbers[7] < numbers[8]
    assert ak.all(found["greedy:0.9"].detection_probability >= 0.9)
    with pytest.raises(spanet.SpanetError, match="no decoding 'best'"):
        spanet.reconstruct(record, model, ["best"], higgs(3))


def test_comparison_counts_as_the_summary_does(compared):
    histograms, _ = results.read_histograms(compared)
    summary = results.read_json(compared / "summary.json")["results"]["HHH"]
    for definition, methods in summary.items():
        assert set(methods) == set(METHOD_NAMES.split(","))
        for method, entry in methods.items():
            for category, counted in entry["categories"].items():
                key = {"dataset": "HHH", "definition": definition, "category": category}
                if counted["correct"]:
                    for what in ("purity", "efficiency"):
                        measured = paired.measure(histograms["paired"], key, what, method)
                        assert measured.value == pytest.approx(counted[what]["value"], rel=1e-12)
                        # candidates of an event are not independent, but nearly so
                        binomial = (counted[what]["high"] - counted[what]["low"]) / 2
                        assert 0.5 * binomial < measured.error < 2 * binomial
        key = {"dataset": "HHH", "definition": definition, "category": "merged"}
        for point, method in (
            ("joint:+0.00", "spanet:joint"),
            ("expected:0.30" if definition == "default" else "expected_by_kind:0.30", "spanet:expected"),
            ("greedy:0.50", "spanet:greedy"),
        ):
            scanned = bdt_scan.counts(histograms["spanet_scan"], {**key, "working_point": point})
            merged = methods[method]["categories"]["merged"]
            assert scanned == {name: merged[name] for name in bdt_scan.COUNTS}


def test_a_missing_model_is_told_before_anything_is_read(tmp_path, capsys):
    arguments = ["--fileset", "demo", "--datasets", "HH", "--processor", "comparison", "--methods", "spanet"]
    assert main([*arguments, "--model", "spanet_hhh", "--device", "cpu", "--output", str(tmp_path / "r")]) == 2
    missing = (
        "no model for analysis 'hh' (2 × 2 jets, 2 × 1 large-radius jet); given: spanet_hhh (3 × 2 jets, 3 × 1 "
        "large-radius jet)"
    )
    assert missing in capsys.readouterr().err


def test_page(compared, tmp_path, monkeypatch):
    """Both pages from results, with a model that is absent named."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    sys.modules.pop("results_page", None)
    from results_figures import draw
    from results_page import write_page

    scan = tmp_path / "scan"
    arguments = ["--fileset", "demo", "--datasets", "HHH", "--processor", "bdt_scan", "--max-chunks", "1"]
    assert main([*arguments, "--chunksize", "500", "--no-plots", "--output", str(scan)]) == 0
    parts = {"HHH": {"full": compared, "resolved": "model `spanet_hhh_resolved` is absent", "scan": scan}}
    drawn = {"HHH": draw(tmp_path / "figures" / "page", "HHH", parts["HHH"])}
    write_page(tmp_path / "page.md", "make it", parts, drawn)
    short, text = ((tmp_path / name).read_text() for name in ("page.md", "page_details.md"))
    assert "model `spanet_hhh_resolved` is absent." in text
    assert "| `spanet:joint` over `spanet:reference` | × 1.0" in text
    assert "| `spanet:expected` over `spanet:joint` | × " in text
    # the table of the short page: the same numbers, errors in one piece
    rows = {line.split("`")[1]: line.split(" | ")[1:] for line in short.splitlines() if line.startswith("| `")}
    merged = {line.split("`")[1]: line.split(" | ")[2:] for line in text.splitlines() if line.startswith("| merged |")}
    assert set(rows) == {"chi2", "chi2+bdt", *(f"spanet:{d}" for d in ("expected", "greedy", "joint", "reference"))}
    assert all(len(cells) == 6 for cells in rows.values())
    for method, cells in rows.items():
        purity, efficiency = (cell.split()[0] for cell in merged[method][:2])  # the last table: `reference`
        assert [cell.split()[0] for cell in cells[-2:]] == [purity, efficiency]
    linked = [line.split("](")[1].rstrip(")") for line in (text + short).splitlines() if line.startswith("![")]
    assert len(linked) == 2 + 6 + 6 + 1  # χ² alone has no confusion
    assert all((tmp_path / name).is_file() for name in linked)


def test_sculpting_section_and_card(tmp_path, monkeypatch):
    """Both shipped networks on the demo's background: the table of the page, its figures, and the card that quotes it."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from results_cards import sculpting, write_card
    from results_sculpting import DECORRELATED, PLAIN, draw, process, section

    demo = json.loads((DEMO.parent / "demo.json").read_text())
    chosen = {name: {**demo[name], "files": [str(DEMO / f"{name.lower()}.root")]} for name in ("HHH", "QCD")}
    (tmp_path / "two.json").write_text(json.dumps(chosen))
    models = {name: MODELS / name for name in (PLAIN, DECORRELATED)}
    process(str(tmp_path / "two.json"), models, tmp_path / "work", "cpu")
    text = section(tmp_path / "work")
    rows = {line.split("`")[1]: line.split("|") for line in text.splitlines() if line.startswith("| `")}
    assert list(rows) == ["chi2+bdt", PLAIN, DECORRELATED]
    distance = {name: float(cells[6].split("±")[0]) for name, cells in rows.items()}
    assert distance[DECORRELATED] < 0.6 * min(distance[PLAIN], distance["chi2+bdt"])
    assert "hhh.root, qcd.root" in text
    names = draw(tmp_path / "figures", tmp_path / "work")
    assert len(names) == 3
    assert all((tmp_path / "figures" / name).stat().st_size > 10_000 for name in names)
    card = tmp_path / "README.md"
    card.write_text("# a model\n\nwhat it is for\n\n## Test\n\nold numbers\n")
    write_card(card, sculpting(tmp_path / "work"))
    assert "what it is for" in card.read_text()
    assert "old numbers" not in card.read_text()
    assert rows[DECORRELATED][6].strip() in card.read_text()
