"""Datacards of combine and the XML of HistFactory hold the same model as the workspace."""

from __future__ import annotations

import os

import pytest
import uproot
from pyhf import readxml, writexml

from hhh_coffea.inference.datacard_reader import read_datacard
from hhh_coffea.inference.datacards import CARD, SHAPES, write_datacard
from hhh_coffea.inference.likelihood import Likelihood
from hhh_coffea.inference.limits import expected_limits, expected_significance, observed_limits
from hhh_coffea.inference.model import ModelError, ModelOptions, build_workspace

OPTIONS = {"luminosity_uncertainty": 0.017, "normalisation": {"tt": 0.2}}


@pytest.mark.parametrize(
    "options",
    [
        {"background_model": "shapesys"},
        {"background_model": "normsys"},
        {"background_model": "normsys_both", "mc_statistics": True},
        {"background_uncertainty": 0.0},
    ],
)
def test_datacard_has_the_same_model(two_regions, tmp_path, options):
    workspace = build_workspace(two_regions, ModelOptions(**OPTIONS, **options), observed=True)
    write_datacard(tmp_path, workspace, two_regions)
    own, read = Likelihood(workspace), Likelihood(read_datacard(tmp_path / CARD))
    assert expected_significance(read) == pytest.approx(expected_significance(own), rel=1e-6)
    assert expected_limits(read).expected == pytest.approx(expected_limits(own).expected, rel=1e-4)
    observed = [observed_limits(some, some.observed).observed for some in (own, read)]
    assert observed[0] == pytest.approx(observed[1], rel=1e-4)


def test_both_uncertainties_of_bins_are_added_in_quadrature(two_regions, tmp_path):
    workspace = build_workspace(two_regions, ModelOptions(mc_statistics=True))
    write_datacard(tmp_path, workspace, two_regions)
    significances = [expected_significance(Likelihood(w)) for w in (workspace, read_datacard(tmp_path / CARD))]
    assert significances[0] == pytest.approx(significances[1], rel=0.02)


@pytest.mark.parametrize("model", ["shapesys", "normsys"])
def test_xml_of_pyhf_has_the_same_model(two_regions, tmp_path, monkeypatch, model):
    """Written and read by pyhf: the path by which ROOT's own HistFactory takes a workspace over."""
    workspace = build_workspace(two_regions, ModelOptions(background_model=model, mc_statistics=True, **OPTIONS))
    for folder in ("config", "data"):
        (tmp_path / folder).mkdir()
    top = tmp_path / "top.xml"
    top.write_bytes(writexml.writexml(workspace, tmp_path / "config", tmp_path / "data", "fit"))
    monkeypatch.chdir(tmp_path)
    read = readxml.parse(top, tmp_path, track_progress=False)
    assert expected_significance(Likelihood(read)) == pytest.approx(
        expected_significance(Likelihood(workspace)), rel=1e-6
    )


def test_lines_of_a_datacard(two_regions, tmp_path):
    workspace = build_workspace(two_regions, ModelOptions(background_model="normsys", mc_statistics=True, **OPTIONS))
    write_datacard(tmp_path, workspace, two_regions)
    lines = [line.split() for line in (tmp_path / CARD).read_text().splitlines()]
    rows = {tuple(words[:2]): words[2:] for words in lines if words}
    names, numbers = (words[1:] for words in lines if words[0] == "process")
    assert dict(zip(names, numbers, strict=True)) == {"qcd": "1", "tt": "2", "hhh": "0"}
    assert rows["background", "lnN"] == ["0.9/1.1", "0.9/1.1", "-", "0.9/1.1", "-"]
    assert rows["luminosity", "lnN"] == ["1.017"] * 5
    assert rows["jer", "shape"] == ["1", "-", "1", "1", "-"]
    assert rows["4b", "autoMCStats"] == ["0"]
    with uproot.open(tmp_path / SHAPES) as file:
        assert {"4b/data_obs", "4b/hhh_jerUp", "3b/qcd_jerDown"} <= set(file.keys(cycle=False))
        nominal = two_regions.regions[0].samples["tt"]["nominal"]
        assert file["4b/tt"].values() == pytest.approx(nominal.values)
        assert file["4b/tt"].variances() == pytest.approx(nominal.variances)
        assert file["4b/tt"].axis().edges() == pytest.approx(two_regions.regions[0].edges)
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".partial")]  # noqa: PTH208


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("lnN  ", "gmN 5", 1), "line 15: '.* gmN' is not supported"),
        (lambda text: text.replace("shapes.root", "other.root"), "other.root: no histogram"),
        (lambda text: text.replace("$CHANNEL/$PROCESS ", "$CHANNEL/x$PROCESS "), "no histogram '4b/xqcd'"),
        (lambda text: text.replace("rate", "# rate"), "a datacard with histograms has lines"),
        (lambda text: text.replace("0.8/1.2", "0.8/1.2 -"), "different numbers of entries"),
    ],
)
def test_datacard_that_cannot_be_read(two_regions, tmp_path, change, message):
    write_datacard(tmp_path, build_workspace(two_regions, ModelOptions(**OPTIONS)), two_regions)
    path = tmp_path / CARD
    path.write_text(change(path.read_text()))
    with pytest.raises(ModelError, match=message):
        read_datacard(path)


def test_names_that_become_the_same(two_regions, tmp_path):
    workspace = build_workspace(two_regions, ModelOptions())
    workspace["channels"][0]["name"], workspace["channels"][1]["name"] = "a b", "a/b"
    with pytest.raises(ModelError, match="both written 'a_b'"):
        write_datacard(tmp_path, workspace, two_regions)


def test_modifier_without_entry(two_regions, tmp_path):
    workspace = build_workspace(two_regions, ModelOptions())
    free = {"name": "tt_rate", "type": "normfactor", "data": None}
    workspace["channels"][0]["samples"][0]["modifiers"].append(free)
    with pytest.raises(ModelError, match="'tt_rate' of type 'normfactor'"):
        write_datacard(tmp_path, workspace, two_regions)
