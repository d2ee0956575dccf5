"""The model directory: what is written is what is read, and mismatches are told apart."""

from __future__ import annotations

import os
import stat

import pytest
import torch
import yaml

from hhh_coffea.spanet.checkpoint import CheckpointError, build, describe, load, save, sha256
from hhh_coffea.topology.topology import Topology


@pytest.fixture
def directory(tmp_path):
    torch.manual_seed(1)
    model = build(Topology.bundled("hhh"), "default", {"hidden_dim": 16, "num_encoder_layers": 1})
    model.normalisers[0].mean[0] = 4.5
    return save(model, tmp_path / "small", training={"epochs": 3, "data": ["a.root"]})


def test_roundtrip(directory, events):
    model = load(directory)
    assert not model.training
    inputs, masks = events(model.topology, 5)
    again = load(save(model, directory.parent / "again"))
    with torch.inference_mode():
        a, b = model(inputs, masks), again(inputs, masks)
    assert torch.equal(a.assignment["h1"], b.assignment["h1"])
    assert sha256(directory / "weights.safetensors") == sha256(directory.parent / "again" / "weights.safetensors")
    description = describe(directory)
    assert description["normalisation"]["Jets"]["pt"][0] == 4.5
    assert description["training"]["epochs"] == 3
    assert Topology.from_text(description["event"]).targets == model.topology.targets
    assert "small" in (directory / "README.md").read_text()


def test_permissions_are_those_of_the_umask(directory):
    """Everything in a model directory can be read by whoever may read new files: not the owner alone."""
    before = os.umask(0o022)
    try:
        again = save(load(directory), directory.parent / "shared")
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in again.iterdir()}
    assert modes == {"model.yaml": 0o644, "weights.safetensors": 0o644, "README.md": 0o644}


def edit(directory, **changes):
    path = directory / "model.yaml"
    description = yaml.safe_load(path.read_text())
    for key, value in changes.items():
        if value is None:
            del description[key]
        else:
            description[key] = value
    path.write_text(yaml.safe_dump(description))


@pytest.mark.parametrize(("changes", "says"), [
    ({"schema_version": 99}, "schema_version 99"),
    ({"schema_version": None}, "no schema_version"),
    ({"architecture": "transformer"}, "unknown architecture 'transformer'"),
    ({"event": None}, "'event' is missing"),
    ({"options": {"hidden_dim": 32, "num_encoder_layers": 1}}, "weights do not fit"),
    ({"options": {"hidden_dim": 16, "num_encoder_layers": 2}}, r"missing encoder\.1"),
])  # fmt: skip
def test_mismatches_are_errors(directory, changes, says):
    edit(directory, **changes)
    with pytest.raises(CheckpointError, match=says):
        load(directory)


def test_unknown_option_is_an_error(directory):
    edit(directory, options={"hidden_dim": 16, "depth": 1})
    with pytest.raises(ValueError, match="unknown options: depth"):
        load(directory)


def test_changed_or_missing_weights_are_errors(directory, tmp_path):
    weights = directory / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\1")
    with pytest.raises(CheckpointError, match="sha256"):
        load(directory)
    weights.unlink()
    with pytest.raises(CheckpointError, match=r"no weights\.safetensors"):
        load(directory)
    with pytest.raises(CheckpointError, match="not a model directory"):
        load(tmp_path / "nowhere")
