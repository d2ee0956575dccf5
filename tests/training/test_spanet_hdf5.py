"""The HDF5 layout of the original SPANet: what we write reads back, and its own example files train."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import REPOSITORY

from hhh_coffea.spanet.training import trainer as training
from hhh_coffea.spanet.training.config import TrainingConfig
from hhh_coffea.spanet.training.dataset import DatasetError, TrainingData
from hhh_coffea.spanet.training.state import TrainingError
from hhh_coffea.topology.topology import Topology
from hhh_coffea.train import main
from hhh_coffea.training.spanet_hdf5 import read_hdf5, write_hdf5

h5py = pytest.importorskip("h5py")
torch.set_num_threads(1)
TINY = TrainingConfig(
    network={"hidden_dim": 16, "num_encoder_layers": 1, "pair_dim": 8},
    loss={"regression": 1.0, "classification": 1.0},
    epochs=1,
    batch_size=128,
    max_events=512,
    validation_fraction=0.05,
    rotate_phi=False,
    reflect_eta=False,
)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """(training data directory, HDF5 file) of the same events."""
    folder = tmp_path_factory.mktemp("hdf5")
    common = ["data", "--fileset", "demo", "--datasets", "HH", "--topology", "hh"]
    assert main([*common, "--output", str(folder / "hh")]) == 0
    assert main([*common, "--output", str(folder / "hh.h5"), "--format", "spanet-hdf5"]) == 0
    assert sorted(p.name for p in folder.iterdir()) == ["hh", "hh.h5", "hh.yaml"]
    return TrainingData.open(folder / "hh"), folder / "hh.h5"


def test_round_trip(written, tmp_path):
    data, file = written
    with h5py.File(file) as content:
        jets = content["INPUTS/Jets"]
        assert set(jets) == {"MASK", "pt", "eta", "sinphi", "cosphi", "btag", "mass", "ncharged", "nneutral"}
        assert jets["MASK"].shape == jets["pt"].shape == (len(data), 10)
        assert jets["pt"][...][jets["MASK"][...]].min() > 20
        assert set(content["TARGETS/h1"]) == {"MASK", "b1", "b2"}
        assert set(content["TARGETS/bh2"]) == {"MASK", "bb"}
        assert ((content["TARGETS/h1/b1"][...] >= 0) == content["TARGETS/h1/MASK"][...]).all()
    back = read_hdf5(file, None, tmp_path / "back")
    index = np.arange(len(data))
    ours, theirs = data.rows(index), back.rows(index)
    assert ours.dtype == theirs.dtype
    for name in ours.dtype.names:
        np.testing.assert_array_equal(theirs[name], ours[name], err_msg=name)


def test_weights_of_targets_are_kept(written, tmp_path):
    _, file = written
    with h5py.File(tmp_path / "weighted.h5", "w") as copy, h5py.File(file) as content:
        for group in content:
            content.copy(group, copy)
        copy["TARGETS/h2/WEIGHT"] = np.linspace(0, 2, len(content["TARGETS/h2/b1"]), dtype=np.float32)
    data = read_hdf5(tmp_path / "weighted.h5", "hh", tmp_path / "data")
    np.testing.assert_array_equal(data.column("weights/h2"), np.linspace(0, 2, len(data), dtype=np.float32))
    again = read_hdf5(write_hdf5(data, tmp_path / "again.h5"), None, tmp_path / "second")
    np.testing.assert_array_equal(again.column("weights/h2"), data.column("weights/h2"))


@pytest.mark.parametrize("name", ["full_hadronic_ttbar", "semi_leptonic_ttH"])
def test_examples_of_the_original_train(shared_dir, tmp_path, name):
    """Three daughters of one undeclared input; a GLOBAL input, regressions and a classification."""
    examples = shared_dir / "data" / "spanet_examples"
    data = read_hdf5(examples / f"{name}.h5", examples / f"{name}.yaml", tmp_path / "data")
    with h5py.File(examples / f"{name}.h5") as content:
        target = data.topology.targets[1]
        for k, daughter in enumerate(target.daughters):
            theirs = content[f"TARGETS/{target.name}/{daughter}"][...]
            ours = data.column(f"targets/{target.name}")
            complete = (ours >= 0).all(axis=1)
            assert complete.any()
            np.testing.assert_array_equal(ours[complete, k], theirs[complete])
    progress = training.train(TINY, data, tmp_path / "model", device="cpu")
    assert np.isfinite(progress.history[0]["validation_loss"])
    if data.topology.regressions:
        model = training.prepare(TINY, data, "cpu").model
        px = data.column("regressions/EVENT/neutrino_px")
        index = [r.key for r in data.topology.regressions].index("EVENT/neutrino_px")
        assert float(model.regression_scale[index, 1]) == pytest.approx(px.std(), rel=0.1)
        assert data.classes == {"EVENT/signal": 2}
        with pytest.raises(TrainingError, match="rotate_phi"):
            training.prepare(TrainingConfig(loss={"regression": 1.0}), data, "cpu")


def test_errors_name_file_and_dataset(written, tmp_path, capsys, monkeypatch):
    _, file = written
    with h5py.File(tmp_path / "broken.h5", "w") as copy, h5py.File(file) as content:
        for group in content:
            content.copy(group, copy)
        copy["TARGETS/h1/b1"][5] = 10
        copy["TARGETS/h1/b2"][5] = 3
        copy["TARGETS/h1/MASK"][5] = True
        del copy["INPUTS/Jets/btag"]
    with pytest.raises(DatasetError, match=r"broken\.h5: INPUTS/Jets/btag is missing"):
        read_hdf5(tmp_path / "broken.h5", "hh", tmp_path / "a")
    with h5py.File(tmp_path / "broken.h5", "a") as copy:
        copy["INPUTS/Jets/btag"] = np.zeros((len(copy["EVENTS/entry"]), 10), np.float32)
    with pytest.raises(DatasetError, match=r"broken\.h5: TARGETS/h1 points at object 10 of 10"):
        read_hdf5(tmp_path / "broken.h5", "hh", tmp_path / "b")
    with pytest.raises(DatasetError, match="name the event YAML with --topology"):
        read_hdf5(tmp_path / "broken.h5", None, tmp_path / "c")
    assert main(["spanet", "--data", str(file), "--config", "hh", "--output", str(tmp_path / "m")]) == 2
    assert "import-hdf5" in capsys.readouterr().err
    (tmp_path / "own.yaml").write_text("mine: 1\n")
    ours = ["data", "--fileset", "demo", "--datasets", "HH", "--topology", "hh", "--format", "spanet-hdf5"]
    assert main([*ours, "--output", str(tmp_path / "own.h5")]) == 2
    assert "own.yaml exists" in capsys.readouterr().err
    assert (tmp_path / "own.yaml").read_text() == "mine: 1\n"
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert main(["import-hdf5", str(file), "--output", str(tmp_path / "d")]) == 2
    assert "pip install 'hhh-coffea[hdf5]'" in capsys.readouterr().err


def test_a_file_of_a_cms_analysis(tmp_path):
    """Weights of events, daughters under other names, padding 9999, columns that nothing reads: nothing is lost silently."""
    rng = np.random.default_rng(5)
    n, event = 50, tmp_path / "event.yaml"
    event.write_text(
        "INPUTS: {SEQUENTIAL: {Jet: {pt: log_normalize, eta: normalize, phi: none}}}\n"
        "EVENT: {h1: [b1: Jet, b2: Jet], h2: [b3: Jet, b4: Jet]}\n"
        "PERMUTATIONS: {EVENT: [[h1, h2]], h1: [[b1, b2]], h2: [[b3, b4]]}\n"
        "CLASSIFICATIONS: {EVENT: [class]}\n"
    )
    mask = np.arange(5) < rng.integers(4, 6, n)[:, None]
    weight = rng.uniform(0.5, 2, n)
    with h5py.File(tmp_path / "cms.h5", "w") as file:
        file["INPUTS/Jet/MASK"] = mask
        for name in ("pt", "eta", "phi"):
            file[f"INPUTS/Jet/{name}"] = np.where(mask, rng.uniform(0.1, 2, (n, 5)), 9999)
        for target, jets in (("h1", (0, 1)), ("h2", (2, 3))):
            file[f"TARGETS/{target}/b1"], file[f"TARGETS/{target}/b2"] = (np.full(n, jet) for jet in jets)
        file["CLASSIFICATIONS/EVENT/class"] = rng.integers(0, 2, n)
        file["WEIGHTS/weight"] = weight
        file["Event/kl"] = np.ones(n)
    notes = []
    data = read_hdf5(tmp_path / "cms.h5", event, tmp_path / "data", say=notes.append)
    rows = next(iter(data.blocks(100)))[1]
    assert rows["weight"].sum() == pytest.approx(weight.sum(), rel=1e-6)
    assert rows["targets/h2"].tolist() == [[2, 3]] * n
    assert (rows["inputs/Jet"][~mask] == 0).all()
    assert notes == [
        f"{tmp_path / 'cms.h5'}: daughters b3, b4 of h2 are called b1, b2 there: taken by their order",
        f"{tmp_path / 'cms.h5'}: not read: Event/kl",
    ]
    notes.clear()
    data = read_hdf5(tmp_path / "cms.h5", event, tmp_path / "dummy", dummy_targets=True, say=notes.append)
    rows = next(iter(data.blocks(100)))[1]
    assert (rows["targets/h1"] == -1).all()
    assert "targets were left out" in notes[0]
    with h5py.File(tmp_path / "cms.h5", "a") as file:
        del file["WEIGHTS/weight"]
    read_hdf5(tmp_path / "cms.h5", event, tmp_path / "plain", say=notes.append)
    assert any("no weights of events" in note for note in notes)
    with h5py.File(tmp_path / "cms.h5", "a") as file:
        del file["CLASSIFICATIONS/EVENT/class"]
        file["CLASSIFICATIONS/EVENT/class"] = rng.uniform(0, 1, n)  # a score
    with pytest.raises(DatasetError, match="CLASSIFICATIONS/EVENT/class holds values that are no numbers of classes"):
        read_hdf5(tmp_path / "cms.h5", event, tmp_path / "score")
    with h5py.File(tmp_path / "cms.h5", "a") as file:
        file["WEIGHTS/lumi"] = weight
    with pytest.raises(DatasetError, match="WEIGHTS/lumi would not be used"):
        read_hdf5(tmp_path / "cms.h5", event, tmp_path / "two")


def test_targets_of_vector_boson_fusion(tmp_path):
    """The third target and the second list of jets of docs/examples/hh4b_vbf.yaml: read, and trained for an epoch."""
    event = REPOSITORY / "docs" / "examples" / "hh4b_vbf.yaml"
    topology, rng, n = Topology.from_file(event), np.random.default_rng(7), 400
    with h5py.File(tmp_path / "vbf.h5", "w") as file:
        for event_input, slots in zip(topology.inputs, (4, 5, 0), strict=True):
            shape = (n, slots) if slots else (n,)
            file[f"INPUTS/{event_input.name}/MASK"] = np.ones(shape, bool)
            for name in event_input.feature_names:
                file[f"INPUTS/{event_input.name}/{name}"] = rng.uniform(0.1, 2, shape).astype(np.float32)
        for target, daughters, at in (("h1", "b1 b2", (0, 1)), ("h2", "b1 b2", (2, 3)), ("vbf", "q1 q2", (1, 4))):
            for daughter, position in zip(daughters.split(), at, strict=True):
                file[f"TARGETS/{target}/{daughter}"] = np.full(n, position)
        file["CLASSIFICATIONS/EVENT/class"] = rng.integers(0, 2, n)
    data = read_hdf5(tmp_path / "vbf.h5", event, tmp_path / "data")
    assert (data.column("targets/vbf") == (1, 4)).all()
    config = replace(TINY, architecture="original", network={"hidden_dim": 16, "num_encoder_layers": 1})
    progress = training.train(config, data, tmp_path / "model", device="cpu")
    assert {"found/h1", "found/h2", "found/vbf", "auc/EVENT/class"} <= set(progress.history[0])
