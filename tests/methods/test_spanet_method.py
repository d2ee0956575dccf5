"""SPANet inside the main job: the imported reference checkpoint, invariances, and what it refuses."""

import json
import shutil

import awkward as ak
import numpy as np
import pytest
import yaml
from conftest import DEMO

from hhh_coffea.analyses.higgs import higgs
from hhh_coffea.base.arrays import flat
from hhh_coffea.datasets.fileset import DatasetMetadata
from hhh_coffea.events.delphes import read
from hhh_coffea.events.record import selected, truncated
from hhh_coffea.methods import spanet
from hhh_coffea.reconstruction.selection import event_selection
from hhh_coffea.run import main

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Untrained networks with fixed weights: what is tested here does not depend on how good they are."""
    from hhh_coffea.spanet.checkpoint import build, save
    from hhh_coffea.topology.topology import Topology

    folder = tmp_path_factory.mktemp("models")
    for name, architecture in (("hhh", "default"), ("hh", "default"), ("hhh_resolved", "default")):
        torch.manual_seed(3)
        save(build(Topology.bundled(name), architecture, {}).eval(), folder / name)
    return folder


@pytest.fixture
def events(open_delphes):
    def make(model, n_higgs=3, count=300, start=0):
        metadata = DatasetMetadata(format="delphes", n_higgs=n_higgs)
        name = {3: "hhh", 2: "hh"}[n_higgs]
        chunk = open_delphes(DEMO / f"{name}.root", start=start, stop=start + count)
        record = read(chunk, metadata, model.extra_features).record
        return truncated(selected(record, event_selection(record, metadata, higgs(n_higgs)).all()), 10, n_higgs)

    return make


def reconstruct(record, model, decodings):
    """Candidates of three Higgs bosons by decoding, with their objects by name."""
    found = spanet.reconstruct(record, model, decodings, higgs(3))
    return {name: higgs(3).with_columns(candidates) for name, candidates in found.items()}


def same(a, b, tolerance=1e-5):
    for name in ("kind", "jet1", "jet2", "fatjet", "overlaps"):
        assert a[name].tolist() == b[name].tolist()
    for name in ("assignment_probability", "detection_probability"):
        np.testing.assert_allclose(flat(a[name]), flat(b[name]), atol=tolerance)


@pytest.mark.parametrize("name", ["hhh", "hhh_resolved"])
def test_scores_depend_on_the_event_alone(models, events, name):
    """Neither on its neighbours in the chunk nor on the size of the last batch."""
    model = spanet.load_model(models / name)
    record = events(model)
    whole = reconstruct(record, model, spanet_decodings)
    for part in (slice(0, 1), slice(5, 60), slice(100, None)):
        piece = reconstruct(record[part], model, spanet_decodings)
        for decoding in spanet_decodings:
            same(piece[decoding], whole[decoding][part])


spanet_decodings = ("joint", "reference", "greedy")


def test_joint_candidates_are_consistent(models, events):
    """No jet twice, no pair near a chosen fat jet, at most n Higgs bosons; probabilities are probabilities."""
    model = spanet.load_model(models / "hhh")
    candidates = reconstruct(events(model, count=2000), model, ["joint"])["joint"]
    assert not ak.any(candidates.overlaps)
    assert ak.max(ak.num(candidates)) <= 3
    for event in candidates[:300].tolist():
        jets = [c[k] for c in event for k in ("jet1", "jet2") if c[k] >= 0]
        fats = [c["fatjet"] for c in event if c["fatjet"] >= 0]
        assert len(set(jets)) == len(jets)
        assert len(set(fats)) == len(fats)
    for name in ("assignment_probability", "detection_probability"):
        values = flat(candidates[name])
        assert ((values >= 0) & (values <= 1 + 1e-6)).all()


def test_order_of_jets_is_forgotten(models, events):
    """Shuffled jets give the same candidates, found again through their positions in the file."""
    model = spanet.load_model(models / "hhh")
    record = events(model, count=200)
    order = ak.argsort(record.jets.phi, axis=1)
    shuffled = ak.with_field(record, record.jets[order], "jets")
    found, other = (reconstruct(r, model, ["joint"])["joint"] for r in (record, shuffled))

    def pairs(r, candidates):
        rows = []
        for event, jets in zip(candidates.tolist(), r.jets.index.tolist(), strict=True):
            rows.append({(frozenset(jets[c[k]] for k in ("jet1", "jet2") if c[k] >= 0), c["fatjet"]) for c in event})
        return rows

    assert pairs(record, found) == pairs(shuffled, other)


def test_reference_decoding_leaves_overlaps_to_the_metrics(models, events):
    model = spanet.load_model(models / "hhh")
    candidates = reconstruct(events(model, count=2000), model, ["reference"])["reference"]
    assert ak.any(candidates.overlaps)


def test_no_events(models, events):
    model = spanet.load_model(models / "hhh")
    candidates = reconstruct(events(model)[:0], model, ["joint"])["joint"]
    assert len(candidates) == 0


def test_the_imported_original_gives_its_own_probabilities(shared_dir, tmp_path, events):
    """A checkpoint of the original SPANet, through the event record and without padding, against the plain network."""
    from hhh_coffea.spanet.checkpoint import save
    from hhh_coffea.spanet.original.lightning_checkpoint import import_original

    network = import_original(shared_dir / "reference" / "spanet_checkpoints" / "hhh_boosted").eval()
    save(network, tmp_path / "original")
    model = spanet.load_model(tmp_path / "original")
    record = events(model, count=300)
    inputs, masks = spanet.network_inputs(record, model)
    with torch.inference_mode():
        plain = network([torch.from_numpy(x) for x in inputs], [torch.from_numpy(m) for m in masks])
    found = spanet.decode(record, model, ["greedy"])["greedy"]
    np.testing.assert_allclose(found.detection_probability[:, 0], plain.detection["h1"].sigmoid().numpy(), atol=1e-5)


@pytest.mark.slow
def test_main_job_with_all_three_methods(models, tmp_path):
    """Same bytes for two chunk sizes and executors; the model's sha256 is on record; metrics hold together."""
    options = ["--fileset", "demo", "--methods", "chi2,chi2+bdt,spanet", "--no-plots", "--device", "cpu"]
    options += ["--model", f"{models / 'hhh'},{models / 'hh'}"]
    assert main([*options, "--output", str(tmp_path / "a")]) == 0
    assert (
        main(
            [
                *options,
                "--output",
                str(tmp_path / "b"),
                "--chunksize",
                "1500",
                "--executor",
                "futures",
                "--workers",
                "2",
            ]
        )
        == 0
    )
    a, b = (json.loads((tmp_path / k / "summary.json").read_text())["results"] for k in "ab")
    assert a == b
    provenance = json.loads((tmp_path / "a" / "provenance.json").read_text())
    assert {k: v["name"] for k, v in provenance["models"].items()} == {
        "bdt": "hbb_bdt",
        "spanet hhh": "hhh",
        "spanet hh": "hh",
    }
    for dataset in ("HHH", "HH"):
        for definition in ("default", "reference"):
            row = a[dataset][definition]["spanet"]["categories"]["merged"]
            assert 0 < row["correct"] <= row["candidates"]


def test_mistakes_are_named(models, tmp_path, capsys):
    def run(*options, dataset="HHH"):
        arguments = ["--fileset", "demo", "--datasets", dataset, "--methods", "spanet", "--no-plots"]
        code = main([*arguments, "--output", str(tmp_path / "r"), *options])
        return code, capsys.readouterr().err

    code, error = run("--model", str(models / "hhh"), dataset="HH")
    assert code == 2
    assert "no model for analysis 'hh' (2 × 2 jets, 2 × 1 large-radius jet)" in error
    assert "given: hhh (3 × 2 jets, 3 × 1 large-radius jet)" in error
    code, error = run("--model", str(tmp_path / "nowhere"))
    assert code == 2
    assert "no such SPANet model" in error
    code, error = run("--model", f"{models / 'hhh'},{models / 'hhh_resolved'}")
    assert code == 2
    assert "both look for 3" in error
    code, error = run("--model", str(models / "hhh"), "--device", "abacus")
    assert code == 2
    assert "no device 'abacus'" in error
    if not torch.cuda.is_available():
        code, error = run("--model", str(models / "hhh"), "--device", "cuda:0")
        assert code == 2
        assert "torch sees no GPU" in error


def test_damaged_and_foreign_models_are_refused(models, tmp_path):
    shutil.copytree(models / "hhh", tmp_path / "damaged")
    weights = bytearray((tmp_path / "damaged" / "weights.safetensors").read_bytes())
    weights[-1] ^= 1
    (tmp_path / "damaged" / "weights.safetensors").write_bytes(weights)
    with pytest.raises(spanet.SpanetError, match="sha256"):
        spanet.load_model(tmp_path / "damaged")
    shutil.copytree(models / "hhh_resolved", tmp_path / "foreign")
    card = yaml.safe_load((tmp_path / "foreign" / "model.yaml").read_text())
    card["event"] = card["event"].replace("btag: none", "deepflavb: none")
    (tmp_path / "foreign" / "model.yaml").write_text(yaml.safe_dump(card))
    with pytest.raises(spanet.SpanetError, match=r"takes \['deepflavb'\], which the event record does not have"):
        spanet.load_model(tmp_path / "foreign")


def test_a_feature_the_format_lacks_is_named(models, events):
    model = spanet.load_model(models / "hhh")
    record = events(model, count=20)
    poor = ak.with_field(record, ak.without_field(record.fatjets, "charged_fraction"), "fatjets")
    with pytest.raises(KeyError, match=r"SPANet model 'hhh' needs 'charged_fraction'"):
        reconstruct(poor, model, ["joint"])
