"""Signal against background from events: classes, weights, numbers of the event as inputs, ROC; and ordinals of b tags."""

import json

import awkward as ak
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from conftest import DEMO, REPOSITORY
from matplotlib.axes import Axes
from nanoaod_writer import write_nanoaod

from hhh_coffea.assigner import Assigner
from hhh_coffea.figures.models.training import draw_roc, roc_curve
from hhh_coffea.lazy import event_record, open_events
from hhh_coffea.run import main
from hhh_coffea.spanet.training.config import ConfigError, TrainingConfig
from hhh_coffea.spanet.training.dataset import TrainingData
from hhh_coffea.spanet.training.loss import effective_number_weights
from hhh_coffea.spanet.training.preparation import prepare
from hhh_coffea.spanet.training.state import TrainingError
from hhh_coffea.train import main as train

torch.set_num_threads(1)
EXAMPLE = REPOSITORY / "docs" / "examples" / "hh4b_classes.yaml"
RECIPE = {
    "epochs": 2,
    "batch_size": 256,
    "validation_fraction": 0.2,
    "ema_decay": 0.5,
    "class_weights": "balanced",
    "loss": {"classification": 1.0, "detection_over_present": False},
    "network": {"hidden_dim": 16, "num_encoder_layers": 1, "pair_dim": 4},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classes")
    data = ["data", "--fileset", "demo_hh4b", "--topology", str(EXAMPLE), "--output", str(folder / "data")]
    assert train(data) == 0
    (folder / "tiny.yaml").write_text(yaml.safe_dump(RECIPE))
    network = ["spanet", "--data", str(folder / "data"), "--config", str(folder / "tiny.yaml"), "--device", "cpu"]
    assert train([*network, "--output", str(folder / "model")]) == 0
    return folder


def test_data_hold_classes_and_numbers_of_the_event(folder):
    data = TrainingData.open(folder / "data")
    rows = data.rows(np.arange(len(data)))
    assert set(rows["classifications/EVENT/signal"]) == {0, 1}
    pt, mask = rows["inputs/Jets"][..., 0], rows["masks/Jets"]
    np.testing.assert_allclose(rows["inputs/Event"][:, 0, 0], (pt * mask).sum(axis=1), rtol=1e-5)
    np.testing.assert_array_equal(rows["inputs/Event"][:, 0, 1], mask.sum(axis=1))
    background = rows["classifications/EVENT/signal"] == 0
    assert (rows["weights/h1"][background] == 0).all()


def test_weights_of_classes(folder):
    """Effective numbers of the sums of event weights in the training events; an empty class is named."""
    data = TrainingData.open(folder / "data")
    trainer = prepare(TrainingConfig.from_mapping(RECIPE), data)
    rows = data.rows(trainer.train)
    target, weight = rows["classifications/EVENT/signal"], rows["weight"].astype(float)
    sums = np.array([weight[target == k].sum() for k in (0, 1)]) * len(weight) / weight.sum()
    want = effective_number_weights(torch.from_numpy(sums))
    torch.testing.assert_close(trainer.class_weight["EVENT/signal"], want)
    assert (want[0] < want[1]) == (sums[0] > sums[1])
    assert prepare(TrainingConfig.from_mapping({**RECIPE, "class_weights": "events"}), data).class_weight == {}
    with pytest.raises(ConfigError, match="'class_weights': must be events or balanced"):
        TrainingConfig.from_mapping({"class_weights": "even"})
    with pytest.raises(TrainingError, match="class 0 of EVENT/signal has events of weight 0"):
        prepare(TrainingConfig.from_mapping(RECIPE), _only_signal(data, folder / "signal"))


def _only_signal(data, folder):
    schema = json.loads((data.path / "schema.json").read_text())
    folder.mkdir()
    schema["shards"] = [shard for shard in schema["shards"] if shard["dataset"] == "HH"]
    schema["events"] = sum(shard["events"] for shard in schema["shards"])
    (folder / "schema.json").write_text(json.dumps(schema))
    (folder / "shards").symlink_to(data.path / "shards")
    return TrainingData.open(folder)


def test_validation_has_accuracy_and_roc(folder):
    history = json.loads((folder / "model" / "history.json").read_text())
    best = history["epochs"][history["best_epoch"] - 1]
    scores = json.loads((folder / "model" / "class_scores.json").read_text())["class_0_and_1"]["EVENT/signal"]
    none, one, area = roc_curve(scores)
    assert area == pytest.approx(best["auc/EVENT/signal"], abs=1e-6)
    assert best["auc/EVENT/signal"] > 0.7
    assert 0.5 < best["accuracy/EVENT/signal"] <= 1
    assert none[0] == one[0] == 0
    assert none[-1] == one[-1] == 1
    assert (folder / "model" / "roc.png").stat().st_size > 10_000


def test_class_in_the_table_of_events_and_from_the_assigner(folder, tmp_path):
    options = ["--fileset", "demo_hh4b", "--datasets", "HH", "--methods", "spanet", "--model", str(folder / "model")]
    options += ["--device", "cpu", "--no-plots", "--events", "--region", "like=candidates.signal[0] > 0.5"]
    assert main([*options, "--output", str(tmp_path / "r")]) == 0
    table = pd.read_parquet(tmp_path / "r" / "events").set_index("entry")
    assert table.region_like.equals(table.signal > 0.5)
    record = event_record(open_events("demo_hh4b", "HH", mode="virtual"), ["chi2"])
    found = Assigner(folder / "model", device="cpu")(record.jets)
    np.testing.assert_allclose(found["class_EVENT_signal"][:, 1], table.signal[ak.to_numpy(record.id)], atol=1e-4)


def test_networks_of_b_tag_ordinals(tmp_path):
    """Trained on NanoAOD through the commands, and run; a format without ordinals is named."""
    file = write_nanoaod(DEMO / "hh.root", tmp_path / "hh.root", 12, 1500)
    metadata = {"format": "nanoaod", "analysis": "hh_resolved", "nanoaod": {"version": 12, "year": "2022EE"}}
    (tmp_path / "f.json").write_text(json.dumps({"HH": {"files": [str(file)], "metadata": metadata}}))
    text = EXAMPLE.read_text().replace("btag: none", "btag_wp5: none").partition("CLASSIFICATIONS")[0]
    (tmp_path / "wp5.yaml").write_text(text)
    data = ["data", "--fileset", str(tmp_path / "f.json"), "--output", str(tmp_path / "data")]
    assert train([*data, "--topology", str(tmp_path / "wp5.yaml")]) == 0
    rows = TrainingData.open(tmp_path / "data").rows(np.arange(500))
    assert set(np.unique(rows["inputs/Jets"][..., 4][rows["masks/Jets"]])) == {0.0, 5.0}  # the writer's two scores
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump({**RECIPE, "epochs": 1, "class_weights": ""}))
    network = ["spanet", "--data", str(tmp_path / "data"), "--config", str(tmp_path / "tiny.yaml"), "--device", "cpu"]
    assert train([*network, "--output", str(tmp_path / "model")]) == 0
    run = ["--methods", "spanet", "--model", str(tmp_path / "model"), "--device", "cpu", "--no-plots"]
    assert main([*run, "--fileset", str(tmp_path / "f.json"), "--output", str(tmp_path / "r")]) == 0
    record = event_record(open_events("demo_hh4b", "HH", mode="virtual"), ["chi2"])
    with pytest.raises(Exception, match=r"takes 'btag_wp5' of jets, and they have no field 'btag_wp5'"):
        Assigner(tmp_path / "model", device="cpu")(record.jets)


def test_the_curve_begins_where_five_events_are_left(tmp_path, monkeypatch):
    """Of 50 events of class 0, at a tenth; the axes say what is counted."""
    drawn, plain = [], Axes.set
    monkeypatch.setattr(Axes, "set", lambda axis, **what: drawn.append(what) or plain(axis, **what))
    content = {"class_0_and_1": {"EVENT/signal": [[30.0, 15.0, 5.0, 0.0], [0.0, 5.0, 15.0, 20.0]]}}
    (tmp_path / "class_scores.json").write_text(json.dumps(content))
    assert draw_roc(tmp_path) == tmp_path / "roc.png"
    assert any(what.get("ylim") == (0.1, 1) for what in drawn)
