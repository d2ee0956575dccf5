"""Variations: one read of the file, inference only where inputs change, and the numbers of a plain recomputation."""

import json

import awkward as ak
import correction_files
import hist
import numpy as np
import pytest
import uproot
from conftest import DEMO
from correction_files import FORWARD, write_btag_corrections, write_jet_corrections
from nanoaod_writer import write_nanoaod

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
from hhh_coffea.results.histograms import canonical
from hhh_coffea.run import main

NAMES = ["nominal", "btag_up", "btag_down"]
SOURCES = ("jes", "forward", "jer", "btag")
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
    assert all(list(h.axes[-1]) == [*NAMES, *SHAPES] for h in output["histograms"].values())
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
        return reconstruct({"default": ["chi2"]}, record, higgs(3), options)

    nominal = prepared("nominal")
    for variation in ("forward_up", "forward_down", "jes_up"):
        varied = prepared(variation)
        position, same = systematics.unchanged(nominal, varied)
        assert same.any() == variation.startswith("forward")
        assert nominal.id[position[same]].tolist() == varied.id[same].tolist()
        mixed = systematics.reconstruct_changed(chi2, nominal, chi2(nominal), varied)["default"]["chi2"]
        plain = chi2(varied)["default"]["chi2"]
        for name in plain.fields:
            assert mixed[name].tolist() == plain[name].tolist()
    nothing = nominal[:0]
    for before, after in ((nothing, nominal), (nominal, nothing)):
        found = systematics.reconstruct_changed(chi2, before, chi2(before), after)
        assert len(found["default"]["chi2"]) == len(after)


def histograms_of(name, file, open_nanoaod, section, analysis, stop=600, **options):
    """Those that a processor fills with a file's first events, sorted."""
    metadata = DatasetMetadata(format="nanoaod", analysis=analysis, nanoaod=section)
    processor = load_processor(name, {"methods": ("chi2",), **options})
    output = processor.process(as_the_engine_does(open_nanoaod(file, stop=stop), metadata))
    return {name: canonical(histogram) for name, histogram in output["histograms"].items()}


def assert_same(varied, variation, expected, rtol=0.0):
    """One variation of the histograms has the names, axes and contents of those expected."""
    assert varied.keys() == expected.keys()
    for name, histogram in expected.items():
        found = varied[name][{"variation": hist.loc(variation)}]
        assert found.axes == histogram.axes, name
        for part in ("values", "variances"):
            ours, theirs = (getattr(h, part)(flow=True) for h in (found, histogram))
            np.testing.assert_allclose(ours, theirs, rtol=rtol, err_msg=name)


MINE = {"observables": {"ht": {"value": "sum(jets.pt)", "bins": 20, "low": 0, "high": 2000}}}
MINE["regions"] = {"hard": "jets.pt[0] > 150", "soft": "jets.pt[0] <= 150"}


@pytest.mark.parametrize(("analysis", "options"), [("hhh", {}), ("hhh", MINE), ("hhh_resolved", {})])
def test_the_nominal_is_the_main_job(relaid, open_nanoaod, section, analysis, options):
    """Bit by bit, with quantities and assignments where the analysis has them."""
    jobs = ("systematics", "assignment")
    varied, main_job = (histograms_of(j, relaid[12], open_nanoaod, section, analysis, **options) for j in jobs)
    assert (analysis == "hhh") == ("assignments" not in main_job)
    assert ("observable_ht" in main_job) == bool(options)
    assert_same(varied, "nominal", main_job)


@pytest.mark.parametrize("analysis", ["hhh", "hhh_resolved"])
def test_a_variation_is_a_run_on_jets_shifted_beforehand(relaid, open_nanoaod, section, analysis, tmp_path):
    """The independent way: a file whose jets have 1.04 times the momentum, read by the main job without corrections."""
    shifted = {}
    with uproot.open(relaid[12]) as file:
        for name in ("Jet", "FatJet"):
            leaves = file["Events"].keys(filter_name=f"{name}_*")
            columns = file["Events"].arrays(leaves)
            collection = {key.removeprefix(f"{name}_"): columns[key] for key in leaves}
            for leaf in ("pt", "mass"):
                collection[leaf] = ak.values_astype(ak.values_astype(collection[leaf], float) * 1.04, np.float32)
            shifted[name] = ak.zip(collection)
    file = write_nanoaod(DEMO / "hhh.root", tmp_path / "shifted.root", 12, stop=1500, more=shifted)
    scale = {"file": section["corrections"]["jets"]["file"], "uncertainties": {"jes": "Total"}}
    of_jets = {"corrections": {"jets": scale, "fatjets": scale}}
    varied = histograms_of("systematics", relaid[12], open_nanoaod, of_jets, analysis, **MINE)
    assert_same(varied, "jes_up", histograms_of("assignment", file, open_nanoaod, {}, analysis, **MINE))
    with pytest.raises(AssertionError):  # and the nominal is not
        assert_same(varied, "nominal", histograms_of("assignment", file, open_nanoaod, {}, analysis, **MINE))


def test_a_variation_is_a_run_with_other_weights(relaid, open_nanoaod, section, tmp_path, monkeypatch):
    """The main job with scale factors that are called nominal and are those shifted up."""
    monkeypatch.setattr(correction_files, "HEAVY", {**correction_files.HEAVY, "central": correction_files.HEAVY["up"]})
    monkeypatch.setattr(correction_files, "LIGHT", {**correction_files.LIGHT, "central": correction_files.LIGHT["up"]})
    other = str(write_btag_corrections(tmp_path / "b.json"))
    btag = {**section["corrections"]["btag"], "file": other, "efficiency_file": other}
    expected = histograms_of(
        *("assignment", relaid[12], open_nanoaod, {"corrections": {**section["corrections"], "btag": btag}}),
        *("hhh_resolved",),
        **MINE,
    )
    varied = histograms_of("systematics", relaid[12], open_nanoaod, section, "hhh_resolved", **MINE)
    assert_same(varied, "btag_up", expected, rtol=1e-12)


def test_the_run_has_one_axis_more(relaid, tmp_path, section):
    metadata = {"format": "nanoaod", "n_higgs": 3, "label": "HHH → 6b", "nanoaod": section}
    content = {"HHH": {"files": [str(relaid[12])], "metadata": metadata}}
    (tmp_path / "f.json").write_text(json.dumps(content))
    options = ["--fileset", str(tmp_path / "f.json"), "--metrics", "default", "--no-plots"]
    varied = ["--processor", "systematics"]
    assert main([*options, *varied, "--output", str(tmp_path / "r")]) == 0
    assert main([*options, *varied, "--output", str(tmp_path / "s"), "--chunksize", "400"]) == 0
    assert main([*options, "--output", str(tmp_path / "main")]) == 0
    histograms, _ = results.read_histograms(tmp_path / "r", every=True)
    in_chunks, _ = results.read_histograms(tmp_path / "s", every=True)
    for name, histogram in histograms.items():
        assert histogram.axes == in_chunks[name].axes
        np.testing.assert_allclose(histogram.values(flow=True), in_chunks[name].values(flow=True), rtol=1e-12)
    # whoever asks for no variation reads what the main job gives
    for content in (
        lambda folder: results.read_histograms(folder)[0],
        lambda folder: (folder / "summary.json").read_text(),
    ):
        assert content(tmp_path / "r") == content(tmp_path / "main")
    place = {"dataset": "HHH", "method": "chi2", "definition": "default", "category": "resolved", "correct": sum}
    mass = histograms["candidate_mass"][place]
    sums = {name: mass[{"variation": name}].sum(flow=True).value for name in [*NAMES, *SHAPES]}
    assert sums["btag_down"] < sums["nominal"] < sums["btag_up"]
    mean = {name: np.average(mass.axes["mass"].centers, weights=mass[{"variation": name}].values()) for name in sums}
    assert mean["jes_down"] < mean["nominal"] < mean["jes_up"]
    assert 0 < abs(mean["forward_up"] - mean["nominal"]) < abs(mean["jes_up"] - mean["nominal"])
    for name in ("r", "main"):
        figures.draw_all(tmp_path / name, formats=("png",))
    assert {path.stem for path in (tmp_path / "r" / "plots").rglob("*.png")} == {
        *(f"systematics_chi2_resolved_with_{source}" for source in SOURCES),
        *(path.stem for path in (tmp_path / "main" / "plots").rglob("*.png")),
    }


def test_delphes_has_nothing_but_the_nominal(tmp_path):
    options = ["--fileset", "demo", "--datasets", "HHH", "--processor", "systematics", "--max-chunks", "1"]
    assert main([*options, "--chunksize", "500", "--no-plots", "--output", str(tmp_path / "r")]) == 0
    histograms, _ = results.read_histograms(tmp_path / "r", every=True)
    assert list(histograms["candidate_mass"].axes["variation"]) == ["nominal"]


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
    histograms, _ = results.read_histograms(tmp_path / "r", every=True)
    ht = histograms["observable_ht"][{"dataset": "HHH", "method": "chi2"}]
    mean = {name: ht[{"variation": name}].project("value") for name in ("jes_down", "nominal", "jes_up")}
    down, nominal, up = (np.average(h.axes[0].centers, weights=h.values()) for h in mean.values())
    assert down < nominal < up
    every_region = ["hard", "soft"]
    for asked, channels in (
        ([], every_region),
        (["--observable", "ranked_mass"], every_region),
        (["--observable", "candidate_mass", "--select", "region=all"], ["all"]),
        (["--observable", "ranked_mass", "--select", "rank=1"], every_region),
    ):
        options = ["--no-plots", "--z-background", "1.5", "--z-signal", "1.5"]
        assert fit([str(tmp_path / "r"), *options, *asked]) == 0
        workspace = json.loads((tmp_path / "r" / "fit" / "chi2" / "workspace.json").read_text())
        assert [channel["name"] for channel in workspace["channels"]] == channels
        for channel in workspace["channels"]:
            for sample in channel["samples"]:
                shapes = {m["name"] for m in sample["modifiers"] if m["type"] == "histosys"}
                assert shapes == {*SOURCES}
