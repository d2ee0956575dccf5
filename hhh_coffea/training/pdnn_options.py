"""Settings of ``train pdnn``, validated key by key."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError

from hhh_coffea.base.errors import UserError, did_you_mean, why_unreadable
from hhh_coffea.base.strict import Positive, Strict, in_plain_words
from hhh_coffea.base.user_files import load_yaml
from hhh_coffea.methods.pdnn.network import NetworkOptions


class PdnnTraining(Strict):
    """How a permutation network is trained."""

    hidden: int = Field(256, ge=1, le=4096, description="units of each hidden layer")
    layers: int = Field(4, ge=1, le=32, description="hidden layers")
    masses: bool = Field(True, description="masses of the jets of each target are inputs too")
    dropout: float = Field(0.0, ge=0, lt=1)
    loss: Literal["binary", "softmax", "both"] = Field(
        "both",
        description="binary cross-entropy, which makes scores comparable between events; cross-entropy among the "
        "permutations drawn of an event, which orders them better; or the sum of both",
    )
    wrong: int = Field(11, ge=1, description="wrong permutations drawn of each event in each epoch")
    mirror: bool = Field(True, description="half of the events mirrored, φ → −φ and z → −z, anew in each epoch")
    epochs: int = Field(20, ge=1)
    patience: int = Field(0, ge=0, description="epochs without a better one after which to stop; 0: never")
    batch_size: int = Field(2048, ge=1, description="permutations")
    learning_rate: Positive = Field(1e-3, description="falls to 0 as half a cosine")
    weight_decay: float = Field(0.01, ge=0, allow_inf_nan=False)
    ema_decay: float = Field(0.998, ge=0, lt=1, description="of the moving average of the weights, which is kept")
    validation_fraction: float = Field(0.1, gt=0, lt=1)
    max_jets: int = Field(8, ge=1, le=10, description="jets offered, b-tagged ones first, then by pT")
    seed: int = Field(1, ge=0)

    @property
    def network(self) -> NetworkOptions:
        """Those of the network."""
        return NetworkOptions(hidden=self.hidden, layers=self.layers, masses=self.masses)


def read_settings(changes: Sequence[str]) -> PdnnTraining:
    """Defaults with changes, each ``key=value``.

    Raises
    ------
    UserError
        naming the key.
    """
    given: dict[str, Any] = {}
    for change in changes:
        key, equals, value = change.partition("=")
        if not equals:
            raise UserError(f"{change!r}: must be key=value")
        if key not in PdnnTraining.model_fields:
            known = PdnnTraining.model_fields
            raise UserError(
                f"key {key!r}: there is no such key{did_you_mean(key, known)}; there are {', '.join(known)}"
            )
        try:
            given[key] = load_yaml(value)
        except yaml.YAMLError as error:
            raise UserError(f"{change!r}: cannot be read as YAML: {why_unreadable(error)}") from error
        if isinstance(given[key], str):  # YAML reads 1e-3 as text
            with suppress(ValueError):
                given[key] = float(given[key])
    try:
        return PdnnTraining.model_validate(given)
    except ValidationError as error:
        problem = error.errors()[0]
        raise UserError(f"key {problem['loc'][0]!r}: {in_plain_words(problem)}") from None
