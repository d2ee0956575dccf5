"""What a run prints by default fits a terminal of 80 columns, and holds one line for each dataset and method."""

import io

from rich.console import Console

from hhh_coffea.results.console.headline import print_headline
from hhh_coffea.results.headline import headline_tables, numbered_targets

HALF = {"value": 0.5, "low": 0.45, "high": 0.56, "numerator": 1, "denominator": 2}


def printed(*arguments):
    out = io.StringIO()
    print_headline(Console(file=out, width=80), headline_tables(*arguments))
    return out.getvalue()


def test_purity_and_efficiency_of_whole_events():
    whole = {"targets": 1_234_567, "candidates": 7_654_321, "purity": HALF, "efficiency": HALF}
    background = {"targets": None, "candidates": 12, "purity": None, "efficiency": None}
    summary = {
        "HHH": {
            d: {"chi2+bdt": {"categories": {"merged": whole, "boosted": background}}} for d in ("default", "reference")
        },
        "QCD": {"default": {"chi2+bdt": {"categories": {"merged": background}}}},
    }
    lines = printed(summary, {}, {"HHH": {}, "QCD": {}}).splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split() for line in lines if "chi2" in line] == [
        ["HHH", "chi2+bdt", "1,234,567", "7,654,321", *["50.0", "±", "6.0", "50.0", "±", "6.0"]],
        ["QCD", "chi2+bdt", "12"],
    ]


def test_right_assignments():
    """The last row of jets is that of all events."""
    rows = {
        "6": dict.fromkeys(("event", "ht", "lt", "h"), None),
        "all": dict.fromkeys(("event", "ht", "lt", "h"), HALF),
    }
    table = {"ttH": {"default": {"likelihood": {"all": rows, "full": rows, "selected": rows, "shares": {}}}}}
    lines = printed({"ttH": {"default": {}}}, table, {"ttH": {"labels": {"ht": "$t_H$"}}}).splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split() for line in lines if "likelihood" in line] == [["likelihood", *["50.0", "±", "6.0"] * 5]]
    assert any(line.split() == ["method", "All", "Full", "t_H", "lt", "h"] for line in lines)


def test_numbered_targets_are_explained():
    rows = {"all": dict.fromkeys(("event", "H1", "H2"), HALF)}
    table = {"HH": {"default": {"chi2": {"all": rows, "full": rows, "selected": rows, "shares": {}}}}}
    text = printed({"HH": {"default": {}}}, table, {"HH": {"symbol": "H", "targets": ["H1", "H2"]}})
    assert "H1 and H2: the generated particles in the order of the file." in " ".join(text.split())
    assert numbered_targets({"symbol": "H", "targets": ["H1", "H2", "H3"]}).startswith(" H1 to H3: ")
    assert numbered_targets({"symbol": "t", "targets": ["ht", "lt"]}) == ""
