"""Trainings that start from a model, and recipes changed on the command line, end to end on the demo."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
import yaml

from hhh_coffea.spanet.checkpoint import CheckpointError, build, load, save
from hhh_coffea.spanet.training import trainer as training
from hhh_coffea.spanet.training.batches import make_batch
from hhh_coffea.spanet.training.config import ConfigError, TrainingConfig
from hhh_coffea.spanet.training.dataset import TrainingData
from hhh_coffea.train import main

torch.set_num_threads(1)
CPU = torch.device("cpu")
TINY = TrainingConfig(
    network={"hidden_dim": 16, "num_encoder_layers": 1, "pair_dim": 8},
    loss={"detection_over_present": False},
    epochs=1,
    batch_size=256,
    learning_rate=5e-3,
    ema_decay=0.5,
    validation_fraction=0.05,
    max_events=768,
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "hhh"
    assert (
        main(
            [
                "data",
                "--fileset",
                "demo",
                "--datasets",
                "HHH",
                "--chunksize",
                "2000",
                "--output",
                str(folder),
                "--max-chunks",
                "1",
            ]
        )
        == 0
    )
    return TrainingData.open(folder)


def test_start_from_a_model(data, tmp_path):
    torch.manual_seed(5)
    start = build(data.topology, "default", {**TINY.network, "dropout": 0.1})
    for normaliser in start.normalisers:
        normaliser.mean.fill_(0.25)
    save(start, tmp_path / "start")
    config = dataclasses.replace(TINY, start_from=str(tmp_path / "start"))
    trainer = training.prepare(config, data, "cpu")
    for key, value in start.state_dict().items():
        assert torch.equal(trainer.model.state_dict()[key], value)
        assert torch.equal(trainer.average.state_dict()[key], value)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({"network": TINY.network, "epochs": 1, "batch_size": 512, "keep": "last"}))
    arguments = ["spanet", "--data", str(data.path), "--config", str(recipe), "--device", "cpu"]
    arguments += ["--start-from", str(tmp_path / "start"), "--output", str(tmp_path / "tuned")]
    assert main(arguments) == 0
    told = yaml.safe_load((tmp_path / "tuned" / "model.yaml").read_text())["training"]["start_from"]
    assert told["model"] == "start"
    assert len(told["weights_sha256"]) == 64
    assert (load(tmp_path / "tuned").normalisers[0].mean == 0.25).all()
    # a deeper network starts as the same function, and learns in its new layer
    deeper = training.prepare(
        dataclasses.replace(config, network={**TINY.network, "num_encoder_layers": 2}), data, "cpu"
    )
    batch = make_batch(data.rows(np.arange(8)), data.topology, CPU)
    found, expected = (m.eval()(batch.inputs, batch.masks) for m in (deeper.model, start))
    assert torch.equal(found.detection["h1"], expected.detection["h1"])
    found.detection["h1"].sum().backward()
    assert deeper.model.encoder[1].attention.out.weight.grad.abs().max() > 0
    shallower = dataclasses.replace(config, network={**TINY.network, "num_encoder_layers": 0})
    with pytest.raises(CheckpointError, match="num_encoder_layers = 1, the configuration 0"):
        training.prepare(shallower, data, "cpu")
    other = dataclasses.replace(config, network={**TINY.network, "hidden_dim": 32})
    with pytest.raises(CheckpointError, match="hidden_dim = 16, the configuration 32"):
        training.prepare(other, data, "cpu")
    with pytest.raises(CheckpointError, match="architecture or event topology"):
        training.prepare(dataclasses.replace(config, architecture="original", network={}), data, "cpu")
    with pytest.raises(CheckpointError, match=r"no model\.yaml"):
        training.prepare(dataclasses.replace(config, start_from=str(tmp_path)), data, "cpu")


def test_recipe_changed_on_the_command_line():
    plain = TrainingConfig.read("hhh")
    changed = TrainingConfig.read("hhh", ["keep=last", "network.hidden_dim=32", "learning_rate=1e-4"])
    assert (changed.keep, changed.learning_rate) == ("last", 1e-4)
    assert changed.network == {**plain.network, "hidden_dim": 32}
    for wrong in ("keep", "epochs.x=3"):
        with pytest.raises(ConfigError, match="must be key=value"):
            TrainingConfig.read("hhh", [wrong])
    with pytest.raises(ConfigError, match="'kept'"):
        TrainingConfig.read("hhh", ["kept=last"])


def test_configuration_errors():
    with pytest.raises(ConfigError, match="key 'keep': must be best or last"):
        TrainingConfig.from_mapping({"keep": "first"})
    with pytest.raises(ConfigError, match="key 'balance_presence': must be from"):
        TrainingConfig.from_mapping({"balance_presence": 2})
