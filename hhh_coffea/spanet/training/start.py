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
    start = _alike(model, directory)
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


def load_trunk(model: SPANet, directory: str | Path) -> list[str]:
    """Copy the model in ``directory`` into ``model``, which may have other regressions and classes; return those that are new.

    Raises
    ------
    CheckpointError
        unless both are the same network, of architecture ``default``, for the same inputs and targets, dropout and heads
        apart; and if the one given has no event vector: it would need another token, and find other assignments.
    """
    start = _alike(model, directory)
    if not isinstance(model, DefaultSPANet) or not isinstance(start, DefaultSPANet):
        raise CheckpointError(f"{directory}: only architecture 'default' can be fine-tuned")
    for key, value in vars(model.options).items():
        if key != "dropout" and vars(start.options)[key] != value:
            raise CheckpointError(f"{directory}: has {key} = {vars(start.options)[key]!r}, the configuration {value!r}")
    if (start.event_token is None) != (model.event_token is None):
        raise CheckpointError(
            f"{directory}: has no event vector, because it was trained without regressions or classes of EVENT"
        )
    known, own, new = start.state_dict(), model.state_dict(), []
    theirs = list(start.head_sizes)
    copied = {key: known[key] for key in own if key in known and not key.startswith(("heads.", "regression_scale"))}
    for number, (key, size) in enumerate(model.head_sizes.items()):
        if start.head_sizes.get(key) != size:
            new.append(key)
            continue
        place = theirs.index(key)
        prefix = f"heads.{number}."
        copied |= {name: known[f"heads.{place}.{name.removeprefix(prefix)}"] for name in own if name.startswith(prefix)}
    scale = model.regression_scale.clone()
    for number, r in enumerate(model.topology.regressions):
        if r.key not in new:
            scale[number] = start.regression_scale[theirs.index(r.key)]
    model.load_state_dict({**own, **copied, "regression_scale": scale})
    return new


def _alike(model: SPANet, directory: str | Path) -> SPANet:
    """The model in ``directory``, if it is one for the same inputs and targets; else CheckpointError."""
    start = load(directory)
    if (start.architecture, start.topology.inputs, start.topology.targets, start.topology.event_group) != (
        model.architecture,
        model.topology.inputs,
        model.topology.targets,
        model.topology.event_group,
    ):
        raise CheckpointError(f"{directory}: has another architecture or event topology than what is to be trained")
    return start


def provenance_of_start(directory: str | Path) -> dict[str, Any]:
    """Name the model by its folder and the checksum of its weights, for ``model.yaml``."""
    return {"model": Path(directory).name, "weights_sha256": describe(directory)["weights"]["sha256"]}
