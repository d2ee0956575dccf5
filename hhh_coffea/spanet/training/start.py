"""Starting a training from an existing model's weights, which costs a fraction of starting from nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from hhh_coffea.spanet.checkpoint import CheckpointError, SPANet, describe, load
from hhh_coffea.spanet.network.layers import EncoderLayer
from hhh_coffea.spanet.network.network import DefaultSPANet

GROWS = "num_encoder_layers"


def load_start(model: SPANet, directory: str | Path) -> None:
    """Copy weights and normalisation of the model in ``directory`` into ``model``.

    Raises
    ------
    CheckpointError
        unless both are the same network for the same inputs and targets. Dropout may differ, and ``model`` may have
        more encoder layers: those that are new come last and change nothing before they are trained.
    """
    start = load(directory)
    if (start.architecture, start.topology.inputs, start.topology.targets, start.topology.event_group) != (
        model.architecture,
        model.topology.inputs,
        model.topology.targets,
        model.topology.event_group,
    ):
        raise CheckpointError(f"{directory}: has another architecture or event topology than what is to be trained")
    theirs, ours = vars(start.options), vars(model.options)
    for key in ours:
        deeper = key == GROWS and ours[key] > theirs[key]
        if key != "dropout" and not deeper and theirs[key] != ours[key]:
            raise CheckpointError(f"{directory}: has {key} = {theirs[key]!r}, the configuration {ours[key]!r}")
    known = start.state_dict()
    model.load_state_dict({key: known.get(key, value) for key, value in model.state_dict().items()})
    if isinstance(model, DefaultSPANet):
        for layer in list(model.encoder)[theirs[GROWS] :]:
            assert isinstance(layer, EncoderLayer)
            for last in (layer.attention.out, layer.feed_forward.second):  # what a layer adds to its input
                nn.init.zeros_(last.weight)
                nn.init.zeros_(last.bias)


def provenance_of_start(directory: str | Path) -> dict[str, Any]:
    """Name the model by its folder and the checksum of its weights, for ``model.yaml``."""
    return {"model": Path(directory).name, "weights_sha256": describe(directory)["weights"]["sha256"]}
