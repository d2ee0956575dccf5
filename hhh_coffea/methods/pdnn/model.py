"""The model directory of a permutation network: ``pdnn.json`` (what it is), ``pdnn.safetensors`` (its numbers), ``README.md``.

Nothing in it is executable. A model travels to workers by value, and each process builds one network of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, ValidationError

from hhh_coffea.base.atomic import replacing
from hhh_coffea.base.bundled import PDNNS, find_bundled, list_bundled
from hhh_coffea.base.errors import UserError, did_you_mean
from hhh_coffea.base.strict import Strict, in_plain_words
from hhh_coffea.base.user_files import expanded
from hhh_coffea.methods.pdnn.inputs import Layout
from hhh_coffea.methods.pdnn.network import NetworkOptions, PermutationNetwork
from hhh_coffea.methods.spanet_model import device_of
from hhh_coffea.topology.kinds import Kind, in_words, kinds_of, same_targets
from hhh_coffea.topology.topology import Topology

CARD, WEIGHTS = "pdnn.json", "pdnn.safetensors"
BUNDLED = ("pdnn_ttbar", "pdnn_tth")  # what runs when no model is named
_NETWORKS: dict[tuple[str, str], PermutationNetwork] = {}  # by model and device


class PdnnError(UserError):
    """A permutation network cannot be used; the message names it and what does not fit."""


class WeightsFile(Strict):
    """The file of weights and its SHA-256."""

    file: str
    sha256: str


class Card(Strict):
    """``pdnn.json``."""

    schema_version: Literal[1]
    event: str = Field(description="event YAML: targets and their symmetry")
    network: NetworkOptions
    max_jets: int = Field(ge=1, le=12, description="jets offered, b-tagged ones first, then by pT")
    weights: WeightsFile
    training: dict[str, Any] = Field(default_factory=dict, description="data, settings, and what the validation gave")


@dataclass(frozen=True)
class PdnnModel:
    """A model directory by value."""

    name: str
    description: bytes = field(repr=False)  # pdnn.json
    weights: bytes = field(repr=False)
    device: str = "auto"

    @cached_property
    def card(self) -> Card:
        """The card, validated; PdnnError names the entry that is wrong."""
        try:
            return Card.model_validate_json(self.description)
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'file'}: {in_plain_words(e)}" for e in error.errors())
            raise PdnnError(f"{self.name}: {CARD}: {wrong}") from error

    @cached_property
    def topology(self) -> Topology:
        """What it looks for."""
        return Topology.from_text(self.card.event, name=f"{self.name}: {CARD} (event)")

    @property
    def kinds(self) -> dict[str, Kind]:
        """Kinds of targets it looks for."""
        return kinds_of(self.topology)

    @property
    def sha256(self) -> str:
        """Of the weights."""
        return hashlib.sha256(self.weights).hexdigest()

    @property
    def trained_on(self) -> tuple[str, ...]:
        """Formats of the files it was trained on; empty where that is not known."""
        return tuple(self.card.training.get("formats", ()))

    def network(self) -> PermutationNetwork:
        """The network in this process, made on first use, in evaluation mode."""
        device = device_of(self.device)
        key = (hashlib.sha256(self.description).hexdigest() + self.sha256, str(device))
        if key not in _NETWORKS:
            if device.type == "cpu":
                torch.set_num_threads(1)  # a worker is one process with one thread
            _NETWORKS[key] = self._build().to(device)
        return _NETWORKS[key]

    def _build(self) -> PermutationNetwork:
        from safetensors import SafetensorError
        from safetensors.torch import load

        if self.sha256 != self.card.weights.sha256:
            raise PdnnError(
                f"{self.name}: sha256 of {self.card.weights.file} is {self.sha256}, {CARD} says "
                f"{self.card.weights.sha256}: not the weights that it describes"
            )
        network = PermutationNetwork(Layout.of(self.topology, self.card.network.masses), self.card.network)
        try:
            network.load_state_dict(load(self.weights))
        except (SafetensorError, RuntimeError) as error:
            what = str(error).splitlines()[-1].strip()
            raise PdnnError(f"{self.name}: {self.card.weights.file} does not fit {CARD}: {what}") from error
        return network.eval().requires_grad_(False)


def load_model(name: str | Path, device: str = "auto") -> PdnnModel:
    """Read a model directory, or a bundled model by its bare name, and check that it can be used.

    Raises
    ------
    UserError
        naming the model and what is wrong with it.
    """
    path = expanded(str(name))
    if not path.is_dir():
        names = list_bundled("models", PDNNS)
        bundled = find_bundled("models", str(name)) if path.parent == Path() else None
        if bundled is None:
            raise PdnnError(f"{name}: no such permutation network{did_you_mean(str(name), names)}; bundled: {names}")
        path = bundled
    try:
        model = PdnnModel(path.resolve().name, (path / CARD).read_bytes(), b"", device)
        weights = (path / model.card.weights.file).read_bytes()
    except OSError as error:
        raise PdnnError(f"{name}: not a model of the method pdnn: {error.filename}: {error.strerror}") from error
    model = PdnnModel(model.name, model.description, weights, device)
    if elsewhere := {c for kind in model.kinds.values() for c in kind.collections} - {"jets"}:
        raise PdnnError(f"{name}: {CARD}: event: daughters must be jets, not {', '.join(sorted(elsewhere))}")
    model.network()  # faults show here
    return model


def load_models(names: Iterable[str | Path] = (), device: str = "auto") -> tuple[PdnnModel, ...]:
    """Load models for different targets; the bundled ones of :data:`BUNDLED` where none is named.

    Raises
    ------
    UserError
        as :func:`load_model`, if two models look for the same targets, or if there is none at all.
    """
    names = list(names) or [name for name in BUNDLED if find_bundled("models", name) is not None]
    models = tuple(load_model(name, device) for name in names)
    if not models:
        raise PdnnError("method 'pdnn' needs a model and none is bundled: --set pdnn.model=FOLDER")
    for i, model in enumerate(models):
        for other in models[:i]:
            if same_targets(other.kinds, model.kinds):
                raise PdnnError(f"models {other.name!r} and {model.name!r} both look for {in_words(model.kinds)}")
    return models


def save_model(
    folder: Path, network: PermutationNetwork, event: str, max_jets: int, training: dict[str, Any], text: str
) -> None:
    """Write a model directory; the card comes last, so that it never describes weights that are not there."""
    from safetensors.torch import save

    weights = save({k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()})
    card = Card(
        schema_version=1,
        event=event,
        network=network.options,
        max_jets=max_jets,
        weights=WeightsFile(file=WEIGHTS, sha256=hashlib.sha256(weights).hexdigest()),
        training=training,
    )
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in (
        (WEIGHTS, weights),
        ("README.md", text.encode()),
        (CARD, (card.model_dump_json(indent=1) + "\n").encode()),
    ):
        with replacing(folder / name) as partial:
            partial.write_bytes(content)
