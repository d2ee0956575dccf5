"""Variations: one read of the file, inference only where inputs change, and the numbers of a plain recomputation."""

import json

import awkward as ak
import numpy as np
import pytest
from correction_files import FORWARD, write_btag_corrections, write_jet_corrections

from hhh_coffea.analyses.higgs import higgs
from hhh_coffea.base.arrays import flat
from hhh_coffea.datasets.fileset import DatasetMetadata
from hhh_coffea.engine.processors import load_processor
from hhh_coffea.events.formats import read
from hhh_coffea.events.nanoaod import reader as nanoaod
from hhh_coffea.events.record import selected, truncated
from hhh_coffea.figures import results_figures as figures
from hhh_coffea.methods import method_options, reconstruct
from hhh_coffea.reconstruction.selection import event_selection
from hhh_coffea.results import directory as results
from hhh_coffea.results import systematics
from hhh_coffea.run import main

NAMES = ["nominal", "btag_up", "btag_down"]
SHAPES = ["jes_up", "jes_down", "forward_up", "forward_down", "jer_up", "jer_down"]


@pytest.fixture(scope="module")
def section(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corrections")
    jets, btag = (str(p) for p in (write_jet_corrections(folder / "j.json"), write_btag_corrections(folder / "b.json")))
    scale = {"file": jets, "uncertainties": {"jes": "Total", "forward": "Forward"}}
    weights = {"file": btag, "heavy": "heavy", "light": "light", "efficiency_file": btag, "efficiency": "efficiency"}
    smeared = {**scale, "resolution": "Resolution", "resolution_scale": "Ratio"}
    return {"corrections": {"jets": smeared, "fatjets": scale, "btag": weights}}


@pytest.fixture
def metadata(section):
    return DatasetMetadata(format="nanoaod", n_higgs=3, is_signal=False, nanoaod=section)


def as_the_engine_does(events, metadata):
    events.metadata.update(metadata.model_dump(exclude_unset=True))
    return events


def test_one_read_and_the_least_inference(relaid, open_nanoaod, metadata, monkeypatch):
    processor = load_processor("systematics", {"methods": ("chi2",)})
    reconstructed = []

    def counting(wanted, record, analysis, options):
        reconstructed.append(len(record))
        return reconstruct(wanted, record, analysis, options)

    # of the function itself: a class that came back from another process brings globals of its own
    monkeypatch.setitem(type(processor).process.__globals__, "reconstruct", counting)
    log = []
    events = open_nanoaod(relaid[12], stop=600, log=log, only=set(processor.branches(metadata)))
    output = processor.process(as_the_engine_does(events, metadata))
    read_branches = [access.branch for access in log]
    assert len(set(read_branches)) > 20
    repeated = {b for b in read_branches if read_branches.count(b) > 1}
    assert not {b for b in repeated if not b.startswith("n")}  # counts are looked at again, data never
    assert set(output["histograms"][systematics.EVENTS].axes["variation"]) == {*NAMES, *SHAPES}
    # once for nominal, once for each variation of the jets, never for the weights
    assert len(reconstructed) == 1 + len(SHAPES)
    everything = reconstructed[0]
    forward = [n for n, shape in zip(reconstructed[1:], SHAPES, strict=True) if shape.startswith("forward")]
    assert all(0.1 * everything < n < 0.9 * everything for n in forward)  # events without forward jets are not repeated


def test_the_same_as_everything_anew(relaid, open_nanoaod, metadata):
    """Candidates put together from old and new ones equal those of a full reconstruction."""
    events = open_nanoaod(relaid[15], stop=600)
    options = method_options(["chi2"])

    def prepared(variation):
        record = read(events, metadata, (), variation).record
        return truncated(selected(record, event_selection(record, metadata, higgs(3)).all()), 10, 3)

    def chi2(record):
        return reconstruct({"default": ["chi2"]}, record, higgs(3), options)["default"]

    nominal = prepared("nominal")
    for variation in ("forward_up", "forward_down", "jes_up"):
        varied = prepared(variation)
        position, same = systematics.unchanged(nominal, varied)
        assert same.any() == variation.startswith("forward")
        assert nominal.id[position[same]].tolist() == varied.id[same].tolist()
        mixed = systematics.reconstruct_changed(chi2, nominal, chi2(nominal), varied)["chi2"]
        plain = chi2(varied)["chi2"]
        for name in plain.fields:
            assert mixed[name].tolist() == plain[name].tolist()
    nothing = nominal[:0]
    assert len(systematics.reconstruct_changed(chi2, nothing, chi2(nothing), nominal)["chi2"]) == len(nominal)
    assert len(systematics.reconstruct_changed(chi2, nominal, chi2(nominal), nothing)["chi2"]) == 0


def test_the_run_fills_one_axis(relaid, tmp_path, section):
    metadata = {"format": "nanoaod", "n_higgs": 3, "label": "HHH → 6b", "nanoaod": section}
    content = {"HHH": {"files": [str(relaid[12])], "metadata": metadata}}
    (tmp_path / "f.json").write_text(json.dumps(content))
    options = ["--fileset", str(tmp_path / "f.json"), "--processor", "systematics"]
    options.append("--no-plots")
    assert main([*options, "--output", str(tmp_path / "r")]) == 0
    assert main([*options, "--output", str(tmp_path / "s"), "--chunksize", "400"]) == 0
    histograms, _ = results.read_histograms(tmp_path / "r")
    in_chunks, _ = results.read_histograms(tmp_path / "s")
    mass = histograms[systematics.MASS][{"dataset": "HHH", "method": "chi2", "kind": "resolved"}]
    for name, histogram in histograms.items():
        np.testing.assert_allclose(histogram.values(flow=True), in_chunks[name].values(flow=True), rtol=1e-12)
    sums = {name: mass[{"variation": name}].sum(flow=True).value for name in [*NAMES, *SHAPES]}
    assert sums["btag_down"] < sums["nominal"] < sums["btag_up"]
    mean = {name: np.average(mass.axes["mass"].centers, weights=mass[{"variation": name}].values()) for name in sums}
    assert mean["jes_down"] < mean["nominal"] < mean["jes_up"]
    assert 0 < abs(mean["forward_up"] - mean["nominal"]) < abs(mean["jes_up"] - mean["nominal"])
    figures.draw_all(tmp_path / "r", formats=("png",))
    assert {path.stem for path in (tmp_path / "r" / "plots").rglob("*.png")} == {
        f"systematics_chi2_resolved_{source}" for source in ("jes", "forward", "jer", "btag")
    }
    cutflow = json.loads((tmp_path / "r" / "cutflow.json").read_text())["datasets"]["HHH"]["cuts"]
    events = histograms[systematics.EVENTS][{"dataset": "HHH", "variation": "nominal"}].sum(flow=True)
    assert events.value == pytest.approx(cutflow[-1]["weighted"], rel=1e-12)


def test_delphes_has_nothing_but_the_nominal(tmp_path):
    options = ["--fileset", "demo", "--datasets", "HHH", "--processor", "systematics", "--max-chunks", "1"]
    assert main([*options, "--chunksize", "500", "--no-plots", "--output", str(tmp_path / "r")]) == 0
    histograms, _ = results.read_histograms(tmp_path / "r")
    assert list(histograms[systematics.EVENTS].axes["variation"]) == ["nominal"]


def test_a_variation_changes_what_it_says(relaid, open_nanoaod, metadata):
    events = open_nanoaod(relaid[12], stop=100)
    nominal, varied = (nanoaod.read(events, metadata, (), name).record.jets for name in ("nominal", "forward_up"))
    nominal, varied = (jets[ak.argsort(jets.index)] for jets in (nominal, varied))
    common = ak.num(nominal) == ak.num(varied)
    factor = flat(varied.pt[common]) / flat(nominal.pt[common])
    expected = np.where(np.abs(flat(nominal.eta[common])) > 2, 1 + FORWARD, 1.0)
    np.testing.assert_allclose(factor, expected, rtol=1e-6)


def test_variations_reach_the_fit(relaid, tmp_path, section):
    """From files to shape uncertainties: one source of the model for each variation, in every region."""
    from shutil import copy

    from hhh_coffea.fit import main as fit

    metadata = {"format": "nanoaod", "n_higgs": 3, "nanoaod": section, "cross_section": 1.0}
    copy(relaid[12], tmp_path / "other.root")
    content = {
        "HHH": {"files": [str(relaid[12])], "metadata": metadata},
        "QCD": {"files": [str(tmp_path / "other.root")], "metadata": {**metadata, "is_signal": False}},
    }
    (tmp_path / "f.json").write_text(json.dumps(content))
    options = ["--fileset", str(tmp_path / "f.json"), "--processor", "systematics", "--luminosity", "1", "--no-plots"]
    regions = ["--region", "hard=jets.pt[0] > 150", "--region", "soft=jets.pt[0] <= 150"]
    assert main([*options, *regions, "--observable", "ht=sum(jets.pt)@20,0,2000", "--output", str(tmp_path / "r")]) == 0
    histograms, _ = results.read_histograms(tmp_path / "r")
    ht = histograms["observable_ht"][{"dataset": "HHH", "method": "chi2"}]
    mean = {name: ht[{"variation": name}].project("value") for name in ("jes_down", "nominal", "jes_up")}
    down, nominal, up = (np.average(h.axes[0].centers, weights=h.values()) for h in mean.values())
    assert down < nominal < up
    assert fit([str(tmp_path / "r"), "--no-plots", "--z-background", "1.5", "--z-signal", "1.5"]) == 0
    workspace = json.loads((tmp_path / "r" / "fit" / "chi2" / "workspace.json").read_text())
    assert [channel["name"] for channel in workspace["channels"]] == ["hard", "soft"]
    for channel in workspace["channels"]:
        for sample in channel["samples"]:
            shapes = {m["name"] for m in sample["modifiers"] if m["type"] == "histosys"}
            assert shapes == {"jes", "forward", "jer", "btag"}
