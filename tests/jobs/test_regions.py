"""Regions: declared by an analysis or by a run, counted after the cuts, warned of where nobody passes."""

import json
from dataclasses import replace

import pytest
from conftest import DEMO

from hhh_coffea.analyses.higgs import higgs
from hhh_coffea.fit import main as fit
from hhh_coffea.results import directory as results
from hhh_coffea.run import main

MINE = """
from dataclasses import replace
from hhh_coffea.analyses.higgs import higgs

ANALYSIS = replace(higgs(3), name="mine", regions={"few": "sum(jets.btag) <= 4", "many": "sum(jets.btag) >= 5"})
"""


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    folder = tmp_path_factory.mktemp("regions")
    (folder / "mine.py").write_text(MINE)
    metadata = {"format": "delphes", "analysis": "mine.py:ANALYSIS", "cross_section": 0.001}
    content = {
        "HHH": {"files": [str(DEMO / "hhh.root")], "metadata": metadata},
        "QCD": {"files": [str(DEMO / "qcd.root")], "metadata": {**metadata, "is_signal": False}},
        "HH": {"files": [str(DEMO / "hh.root")], "metadata": {"format": "delphes", "n_higgs": 2, "cross_section": 1.0}},
    }
    (folder / "f.json").write_text(json.dumps(content))
    options = ["--fileset", str(folder / "f.json"), "--luminosity", "100", "--no-plots", "--output", str(folder / "r")]
    assert main([*options, "--region", "none=sum(jets.btag) > 99", "--chunksize", "2000"]) == 0
    return folder / "r"


def test_regions_of_the_analysis_share_out_the_selected_events(output):
    datasets = json.loads((output / "cutflow.json").read_text())["datasets"]
    for name in ("HHH", "QCD"):
        last = datasets[name]["cuts"][-1]
        rows = {row["region"]: row for row in datasets[name]["regions"]}
        assert list(rows) == ["few", "many", "none"]
        assert rows["few"]["events"] + rows["many"]["events"] == last["events"]
        assert rows["few"]["expected_events"] + rows["many"]["expected_events"] == pytest.approx(
            last["expected_events"]
        )
        assert (rows["none"]["events"], rows["none"]["expected_events"]) == (0, 0)
    assert {row["region"] for row in datasets["HH"]["regions"]} == {"none"}  # of another analysis


def test_histograms_have_the_same_events(output):
    histograms, datasets = results.read_histograms(output)
    assert datasets["HHH"]["regions"] == ["few", "many"]
    counted = json.loads((output / "cutflow.json").read_text())["datasets"]["HHH"]["regions"]
    for row in counted[:2]:
        place = {"dataset": "HHH", "method": "chi2", "region": row["region"]}
        assert histograms["region_events"][place].value == row["weighted"]


def test_the_fit_has_the_regions(output):
    assert fit([str(output), "--no-plots"]) == 0
    content = json.loads((output / "fit" / "fit.json").read_text())
    assert set(content["methods"]["chi2"]["yields"]["prefit"]) == {"few", "many"}
    assert [w for w in content["warnings"] if "region" in w] == ["region 'none': no event of any dataset passes"]


def test_mistakes_in_a_declaration_are_named():
    with pytest.raises(ValueError, match=r"analysis 'hhh': region 'a': .*jetz"):
        replace(higgs(3), regions={"a": "sum(jetz.pt) > 5"})
    with pytest.raises(ValueError, match="region 'a b': a name has letters"):
        replace(higgs(3), regions={"a b": "sum(jets.pt) > 5"})
