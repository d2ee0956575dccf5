"""Regions: declared by an analysis or by a run, counted after the cuts, warned of where nobody passes."""

import json
from dataclasses import replace

import numpy as np
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


def test_masses_of_regions_are_shares_of_all(output, tmp_path):
    """Two regions that share out the events; a dataset without regions has ``all`` alone; without any, no such axis."""
    every, _ = results.read_histograms(output, every=True)
    options = ["--fileset", "demo", "--no-plots", "--chunksize", "2000", "--output", str(tmp_path / "r")]
    assert main(options) == 0
    plain, _ = results.read_histograms(tmp_path / "r", every=True)
    assert results.read_histograms(output)[0].keys() == {*plain, "observable_leading_mass", "region_events"}
    for name, histogram in results.read_histograms(output)[0].items():
        if name in plain:  # what reads no region is what it is in a run that declares none, bit by bit
            assert histogram == plain[name]
    masses = {name for name, h in every.items() if "region" in [axis.name for axis in h.axes]} - {
        "observable_leading_mass",
        "region_events",
    }
    assert masses == {"candidate_mass", "boosted_mass", "ranked_mass"}
    for name in masses - {"boosted_mass"}:  # the method finds none
        few, many, whole = (every[name][{"dataset": "HHH", "region": region}] for region in ("few", "many", "all"))
        np.testing.assert_allclose((few + many).values(flow=True), whole.values(flow=True), rtol=1e-12)
        assert few.sum(flow=True).value > 0
        assert not every[name][{"dataset": "HH", "region": "few"}].values(flow=True).any()


def test_a_fit_of_a_mass_has_the_regions(output):
    assert fit([str(output), "--no-plots", "--observable", "ranked_mass", "--output", str(output / "masses")]) == 0
    content = json.loads((output / "masses" / "fit.json").read_text())
    assert set(content["methods"]["chi2"]["yields"]["prefit"]) == {"few", "many"}


def test_no_region_is_called_all():
    with pytest.raises(ValueError, match="region 'all': that is the name of all events"):
        replace(higgs(3), regions={"all": "sum(jets.pt) > 5"})
    assert main(["--fileset", "demo", "--region", "all=sum(jets.pt) > 5", "--dry-run"]) == 2
