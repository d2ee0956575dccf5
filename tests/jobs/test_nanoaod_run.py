"""NanoAOD through the commands: models trained from it, real files of CMS counted anew with plain uproot, refusals."""

import json
from pathlib import Path

import awkward as ak
import numpy as np
import pyarrow.dataset as ds
import pytest
import uproot
import yaml
from conftest import DEMO

from hhh_coffea.figures.looks.labels import labels_of
from hhh_coffea.methods.bdt_model import load_model
from hhh_coffea.results.directory import foreign_by_kind, foreign_models
from hhh_coffea.run import main
from hhh_coffea.train import main as train

TRIGGERS = {"v12": "HLT_QuadPFJet70_50_40_35_PFBTagParticleNet_2BTagSum0p65", "v15": "HLT_PFHT250_QuadPFJet25"}
FEATURES = "pt,eta,mass,softdrop_mass,tau21,tau32,xbb"
RECIPE = {
    "epochs": 1,
    "batch_size": 256,
    "validation_fraction": 0.2,
    "ema_decay": 0.5,
    "network": {"hidden_dim": 8, "num_encoder_layers": 1, "pair_dim": 4},
}


def fileset(path: Path, **datasets) -> str:
    content = {
        name: {"files": [str(file)], "metadata": {"format": "nanoaod", "n_higgs": 3, **metadata}}
        for name, (file, metadata) in datasets.items()
    }
    path.write_text(json.dumps(content))
    return str(path)


@pytest.fixture(scope="module")
def models(relaid, tmp_path_factory):
    """A BDT and a SPANet trained for seconds on re-laid events, through the same commands as for Delphes."""
    folder = tmp_path_factory.mktemp("models")
    events = fileset(folder / "training.json", HHH=(relaid[12], {}))
    arguments = ["bdt", "--fileset", events, "--features", FEATURES, "--no-search", "--output", str(folder / "bdt")]
    assert train(arguments) == 0
    data = ["data", "--fileset", events, "--topology", "hhh_nanoaod", "--output", str(folder / "data")]
    assert train(data) == 0
    (folder / "tiny.yaml").write_text(yaml.safe_dump(RECIPE))
    network = ["spanet", "--data", str(folder / "data"), "--config", str(folder / "tiny.yaml"), "--device", "cpu"]
    assert train([*network, "--output", str(folder / "spanet")]) == 0
    return folder


def run(folder: Path, models: Path, events: str) -> dict:
    methods = ["--methods", "chi2,chi2+bdt,spanet", "--bdt", str(models / "bdt"), "--model", str(models / "spanet")]
    options = ["--device", "cpu", "--metrics", "default", "--no-plots", "--candidates"]
    assert main(["--fileset", events, "--output", str(folder), *methods, *options]) == 0
    return json.loads((folder / "summary.json").read_text())


def test_all_methods_on_both_versions(relaid, models, tmp_path):
    """The models know where they come from; χ² gives the same numbers for the same events, and data give no truth."""
    assert load_model(models / "bdt").trained_on == ("nanoaod",)
    card = yaml.safe_load((models / "spanet" / "model.yaml").read_text())
    assert card["training"]["data"]["formats"] == ["nanoaod"]
    events = fileset(
        tmp_path / "f.json", A=(relaid[12], {}), B=(relaid[15], {}), DATA=(relaid["data"], {"is_signal": False})
    )
    summary = run(tmp_path / "r", models, events)
    found = {name: entry["default"] for name, entry in summary["results"].items()}
    assert found["A"]["chi2"] == found["B"]["chi2"]
    for name in ("A", "B"):
        assert {m: found[name][m]["categories"]["merged"]["correct"] > 100 for m in ("chi2", "chi2+bdt")} == {
            "chi2": True,
            "chi2+bdt": True,
        }
        assert (
            found[name]["spanet"]["categories"]["merged"]["targets"]
            == found["A"]["chi2"]["categories"]["merged"]["targets"]
        )
        assert found[name]["chi2+bdt"]["categories"]["boosted"]["correct"] > 20
    data = found["DATA"]["chi2"]["categories"]["merged"]
    assert data["candidates"] == found["B"]["chi2"]["categories"]["merged"]["candidates"]
    assert data["purity"] is None
    assert summary["other"]["read_as"]["DATA"] == [
        "NanoAOD v15, data, 2024 (guessed), b tag Jet_btagUParTAK4B > 0.1272, jet ID tight"
    ]


def plain_counts(path: Path, n_jets: int, trigger: str) -> dict[str, int]:
    """Selected jets, fat jets and events of a file, from its branches alone."""
    with uproot.open(path) as file:
        tree = file["Events"]
        names = ("pt", "eta", "neHEF", "neEmEF", "chHEF", "chMultiplicity", "neMultiplicity", "jetId", "btagPNetB")
        names += ("btagUParTAK4B",)
        there = [f"{c}_{n}" for c in ("Jet", "FatJet") for n in names if f"{c}_{n}" in tree]
        leptons = ["Electron_pt", "Electron_eta", "Electron_cutBased", "Muon_pt", "Muon_eta", "Muon_looseId"]
        x = tree.arrays([*there, *leptons, "Muon_pfRelIso04_all", "Flag_goodVertices", trigger, "genWeight"])

    def tight(c: str) -> ak.Array:
        eta = abs(x[f"{c}_eta"])
        if f"{c}_jetId" in x.fields:
            good = (x[f"{c}_jetId"] & 2) == 2
            if f"{c}_neHEF" not in x.fields:
                return good
            good = good & ((eta <= 2.7) | (eta > 3.0) | (x[f"{c}_neHEF"] < 0.99))
            return good & ((eta <= 3.0) | (x[f"{c}_neEmEF"] < 0.4))
        charged, neutral = x[f"{c}_chMultiplicity"], x[f"{c}_neMultiplicity"]
        central = (x[f"{c}_neHEF"] < 0.99) & (x[f"{c}_neEmEF"] < 0.9) & (x[f"{c}_chHEF"] > 0.01) & (charged > 0)
        central = central & (ak.values_astype(charged, int) + neutral > 1)
        edge = (x[f"{c}_neHEF"] < 0.9) & (x[f"{c}_neEmEF"] < 0.99)
        forward = (neutral >= 2) & (x[f"{c}_neEmEF"] < 0.4)
        return (
            ((eta <= 2.6) & central)
            | ((eta > 2.6) & (eta <= 2.7) & edge)
            | ((eta > 2.7) & (eta <= 3.0) & (x[f"{c}_neHEF"] < 0.99))
            | ((eta > 3.0) & forward)
        )

    jets = tight("Jet") & (x.Jet_pt >= 20)
    score, cut = (x.Jet_btagUParTAK4B, 0.1272) if "Jet_btagUParTAK4B" in x.fields else (x.Jet_btagPNetB, 0.245)
    electrons = (x.Electron_pt >= 15) & (abs(x.Electron_eta) <= 2.5) & (x.Electron_cutBased >= 2)
    muons = (x.Muon_pt >= 15) & (abs(x.Muon_eta) <= 2.4) & x.Muon_looseId & (x.Muon_pfRelIso04_all < 0.25)
    fired = x.Flag_goodVertices & x[trigger]
    no_lepton = fired & ~ak.any(electrons, axis=1) & ~ak.any(muons, axis=1)
    events = no_lepton & (ak.sum(jets, axis=1) >= n_jets)
    return {
        "fired": int(ak.sum(fired)),
        "no lepton": int(ak.sum(no_lepton)),
        "events": int(ak.sum(events)),
        "weighted": float(ak.sum(ak.values_astype(x.genWeight, np.float64)[events])),
        "jets": int(ak.sum(jets)),
        "tagged": int(ak.sum(jets & (score > cut))),
        "fatjets": int(ak.sum(tight("FatJet") & (x.FatJet_pt >= 200))),
    }


@pytest.mark.slow
def test_real_files_of_cms(shared_dir, models, tmp_path, open_nanoaod):
    """Every method runs on both; cuts, weights, jets and b tags are those of a computation with plain uproot."""
    from hhh_coffea.datasets.fileset import DatasetMetadata
    from hhh_coffea.events.nanoaod import reader as nanoaod

    paths = {v: shared_dir / "data" / "nanoaod" / f"tt_{v}.root" for v in TRIGGERS}
    sections = {
        v: {"met_filters": ["Flag_goodVertices"], "triggers": [trigger], "lepton_veto": {}}
        for v, trigger in TRIGGERS.items()
    }
    datasets = {v: (path, {"is_signal": False, "nanoaod": sections[v]}) for v, path in paths.items()}
    summary = run(tmp_path / "r", models, fileset(tmp_path / "f.json", **datasets))
    cutflow = json.loads((tmp_path / "r" / "cutflow.json").read_text())["datasets"]
    table = ds.dataset(tmp_path / "r" / "candidates").to_table().to_pandas()
    for version, path in paths.items():
        expected = plain_counts(path, 6, TRIGGERS[version])
        rows = {row["cut"]: row for row in cutflow[version]["cuts"]}
        assert rows["all events"]["events"] == 200
        assert rows["trigger"]["events"] == expected["fired"] > 50
        assert rows["no lepton"]["events"] == expected["no lepton"]
        assert rows["≥ 6 jets"]["events"] == expected["events"] > 20
        assert rows["≥ 6 jets"]["weighted"] == pytest.approx(expected["weighted"], rel=1e-12)
        metadata = DatasetMetadata(format="nanoaod", n_higgs=3, is_signal=False, nanoaod=sections[version])
        log = []
        record = nanoaod.read(open_nanoaod(path, log=log, only=set(nanoaod.branches(metadata))), metadata).record
        ak.materialize(record)
        assert len({access.branch for access in log}) < 35  # of 654 and 2,656
        assert int(ak.sum(ak.num(record.jets))) == expected["jets"]
        assert int(ak.sum(record.jets.btag)) == expected["tagged"] > 100
        assert int(ak.sum(ak.num(record.fatjets))) == expected["fatjets"] > 20
        for method in ("chi2", "chi2+bdt", "spanet"):
            of_method = table[(table.dataset == version) & (table.method == method)]
            assert summary["results"][version]["default"][method]["categories"]["merged"]["purity"] is None
            assert of_method.correct.isna().all()
            if method == "chi2":
                assert len(of_method) == 3 * expected["events"]
    assert (table[table.dataset == "v12"].entry < 200).all()


def test_models_stay_with_the_format_they_were_trained_on(relaid, models, tmp_path, capsys):
    nano = fileset(tmp_path / "nano.json", A=(relaid[15], {}))

    def error_of(events, *options):
        assert main(["--fileset", events, "--output", str(tmp_path / "r"), "--no-plots", *options]) == 2
        return capsys.readouterr().err

    error = error_of(nano, "--methods", "chi2,chi2+bdt")
    assert (
        "BDT model 'hbb_bdt' was trained on delphes events: its features pt, eta, mass, softdrop_mass, charged_frac"
        in error
    )
    assert "in nanoaod events" in error
    error = error_of(nano, "--methods", "spanet", "--model", "spanet_hhh", "--device", "cpu")
    assert (
        "SPANet model 'spanet_hhh' was trained on delphes events: its features pt, eta, sinphi, cosphi, btag, mass"
        in error
    )
    error = error_of("demo", "--datasets", "HHH", "--methods", "chi2+bdt", "--bdt", str(models / "bdt"))
    assert "BDT model 'bdt' was trained on nanoaod" in error
    assert "in delphes events" in error
    error = error_of(nano, "--processor", "bdt_scan")
    assert "BDT model 'hbb_bdt' was trained on delphes" in error
    assert not (tmp_path / "r" / "summary.json").exists()


def test_a_missing_branch_is_a_failure_with_its_name(relaid, models, tmp_path, capsys):
    """It ends in the ledger, as any other fault of a file."""
    metadata = {"is_signal": False, "nanoaod": {"tagger": "UParTAK4B"}}
    events = fileset(tmp_path / "f.json", A=(relaid[12], metadata))
    assert main(["--fileset", events, "--output", str(tmp_path / "r"), "--no-plots"]) == 1
    assert "no branch Jet_btagUParTAK4B (metadata field 'nanoaod.tagger')" in capsys.readouterr().out
    reason = json.loads((tmp_path / "r" / "provenance.json").read_text())["failures"][0]["reason"]
    assert "['DeepFlavB', 'PNetB', 'RobustParTAK4B']" in reason


def test_a_missing_trigger_is_told_from_all_of_the_file(relaid, tmp_path, capsys):
    """The run describes only the branches it reads; the message knows the others."""
    with uproot.open(relaid[12]) as file:
        trigger = file["Events"].keys(filter_name="HLT_*")[0]
    metadata = {"is_signal": False, "nanoaod": {"triggers": [trigger + "x"]}}
    events = fileset(tmp_path / "f.json", A=(relaid[12], metadata))
    assert main(["--fileset", events, "--output", str(tmp_path / "r"), "--no-plots"]) == 1
    told = " ".join(capsys.readouterr().out.split())
    assert f"no branch {trigger}x (metadata field 'nanoaod.triggers'); the file has {trigger}" in told
    reason = json.loads((tmp_path / "r" / "provenance.json").read_text())["failures"][0]["reason"]
    assert trigger.removeprefix("HLT_") in reason


@pytest.mark.filterwarnings("ignore:Missing cross-reference")  # coffea's schema misses what these files do not have
def test_training_data_of_a_stock_runner(relaid, tmp_path):
    """coffea's own Runner with its own NanoAODSchema makes the same shards as the command."""
    from coffea.nanoevents import NanoAODSchema
    from coffea.processor import IterativeExecutor, Runner

    from hhh_coffea.engine.processors import load_processor
    from hhh_coffea.spanet.training.dataset import TrainingData

    processor = load_processor("training_data", {"topology": "hhh_nanoaod", "data": tmp_path / "a"})
    metadata = {"format": "nanoaod", "n_higgs": 3}
    content = {"HHH": {"files": {str(relaid[12]): "Events"}, "metadata": metadata}}
    Runner(IterativeExecutor(status=False), schema=NanoAODSchema, metadata_cache={})(
        content, processor_instance=processor, treename="Events"
    )
    events = fileset(tmp_path / "f.json", HHH=(relaid[12], {}))
    assert train(["data", "--fileset", events, "--topology", "hhh_nanoaod", "--output", str(tmp_path / "b")]) == 0
    a, b = (TrainingData.open(tmp_path / name) for name in "ab")
    for mine, other in zip(a.shards, b.shards, strict=True):
        np.testing.assert_array_equal(mine, other)


@pytest.mark.filterwarnings("ignore:Missing cross-reference")
def test_a_stock_runner_refuses_foreign_models_too(relaid):
    from coffea.nanoevents import NanoAODSchema
    from coffea.processor import IterativeExecutor, Runner

    from hhh_coffea.engine.processors import load_processor

    processor = load_processor("assignment", {"methods": ("chi2+bdt",)})
    content = {"HHH": {"files": {str(relaid[15]): "Events"}, "metadata": {"format": "nanoaod", "n_higgs": 3}}}
    with pytest.raises(Exception, match=r"ForeignEventsError.*'hbb_bdt' was trained on delphes"):
        Runner(IterativeExecutor(status=False, retries=0), schema=NanoAODSchema, metadata_cache={})(
            content, processor_instance=processor, treename="Events"
        )


def test_lazy_arrays(relaid, tmp_path):
    """Interactive work knows the format too: the candidates of the main job, in dask partitions or in one piece."""
    from hhh_coffea import lazy
    from hhh_coffea.methods import ForeignEventsError

    events = fileset(tmp_path / "f.json", A=(relaid[12], {}))
    whole = lazy.reconstruct(lazy.open_events(events, mode="virtual"), "chi2")
    parts = lazy.reconstruct(lazy.open_events(events, chunksize=800), "chi2").compute()
    assert len(whole) > 1000
    for name in whole.fields:
        assert parts[name].tolist() == whole[name].tolist()
    with pytest.raises(ForeignEventsError, match="'hbb_bdt' was trained on delphes"):
        lazy.reconstruct(lazy.open_events(events, mode="virtual"), "chi2+bdt")


def test_a_model_of_other_events_is_used_only_when_asked_for(tmp_path, capsys):
    """And then the run, its record and every figure say so."""
    metadata = {"format": "nanoaod", "analysis": "hh_resolved", "is_signal": False}
    fileset = tmp_path / "f.json"
    fileset.write_text(json.dumps({"tt": {"files": [str(DEMO / "tt_nanoaod.root")], "metadata": metadata}}))
    options = ["--fileset", str(fileset), "--methods", "spanet", "--model", "spanet_hh_resolved", "--no-plots"]
    assert main([*options, "--output", str(tmp_path / "r")]) == 2
    assert "--accept-foreign-model" in capsys.readouterr().err
    assert main([*options, "--accept-foreign-model", "--output", str(tmp_path / "r")]) == 0
    assert "spanet_hh_resolved: trained on events of another format" in capsys.readouterr().out
    provenance = json.loads((tmp_path / "r" / "provenance.json").read_text())
    assert any("spanet_hh_resolved" in warning for warning in provenance["warnings"])
    assert foreign_models(provenance) == ["spanet_hh_resolved"]
    assert "spanet_hh_resolved" in labels_of({}, {}, foreign_by_kind(provenance)).warning
