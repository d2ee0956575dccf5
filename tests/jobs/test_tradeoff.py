"""Correctness against sculpting where there is nothing to compare: said with the folder, never a traceback."""

import json

import pytest
from conftest import DEMO
from nanoaod_writer import write_nanoaod

from hhh_coffea.jobs import tradeoff
from hhh_coffea.run import main


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run over signal and a background whose weights add up to less than nothing."""
    folder = tmp_path_factory.mktemp("negative")
    files = {
        "HHH": write_nanoaod(DEMO / "hhh.root", folder / "hhh.root", 12, stop=300),
        "QCD": write_nanoaod(DEMO / "qcd.root", folder / "qcd.root", 12, stop=600, signal=False, weight=-1.0),
    }
    metadata = {"format": "nanoaod", "n_higgs": 3}
    content = {
        name: {"files": [str(file)], "metadata": {**metadata, "is_signal": name == "HHH"}}
        for name, file in files.items()
    }
    (folder / "fileset.json").write_text(json.dumps(content))
    base = ["--fileset", str(folder / "fileset.json"), "--processor", "sculpting", "--methods", "chi2", "--no-plots"]
    assert main([*base, "--metrics", "default", "--output", str(folder / "r")]) == 0
    return folder / "r"


def changed(run, folder, change):
    """The run's results with a change of the summary."""
    folder.mkdir()
    for name in ("summary.json", "provenance.json"):
        (folder / name).write_bytes((run / name).read_bytes())
    summary = json.loads((folder / "summary.json").read_text())
    change(summary)
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def test_background_of_negative_weight_is_named(run):
    with pytest.raises(
        tradeoff.TradeoffError, match=r"r: the candidates that chi2 found in QCD have no sum of weights"
    ):
        tradeoff._point("chi2", run, "HHH", "QCD")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s["other"]["sculpting"]["QCD"]["default"]["chi2"]["merged"].pop("all"), "no sum of weights above 0"),
        (lambda s: s["other"]["sculpting"]["QCD"]["default"].pop("chi2"), "no sum of weights above 0"),
        (lambda s: s["other"].pop("sculpting"), "no sum of weights above 0"),
        (lambda s: s["results"].pop("HHH"), "HHH has no candidate or no target"),
    ],
)
def test_what_a_summary_lacks_is_named(run, tmp_path, change, message):
    with pytest.raises(tradeoff.TradeoffError, match=message):
        tradeoff._point("chi2", changed(run, tmp_path / "changed", change), "HHH", "QCD")


def test_numbers_that_are_not_there_are_dashes(run, tmp_path):
    """A range of masses without net candidates, and products of 0, are no reason to lose the rest."""
    number = {"value": 2.0, "error": 0.5}

    def positive(summary):
        entry = summary["other"]["sculpting"]["QCD"]["default"]["chi2"]["merged"]["all"]
        entry["30-225"] = dict.fromkeys(entry["30-225"], number)
        for category in summary["results"]["HHH"]["default"]["chi2"]["categories"].values():
            category["purity"]["value"] = 0.0

    point = tradeoff._point("chi2", changed(run, tmp_path / "changed", positive), "HHH", "QCD")
    points = [point, {**point, "name": "other"}]
    tradeoff._relate(points)
    assert points[1]["product_over_first"] is None
    text = tradeoff.markdown({"signal": "HHH", "background": "QCD", "fileset": "f", "points": points})
    assert "| 0.0000 | – | 2.00 ± 0.50 | 1.00 | 1.00 | 2.0000 ± 0.5000 | – | 2.000 ± 0.500 |" in text
