"""Trained BDTs: read from a model directory or from plain xgboost JSON, checked, and ready to score large-radius jets.

A model directory holds ``model.yaml`` (see :class:`ModelCard`), the weights (``.ubj``) and a model card for people. A
plain xgboost file is matched by its feature names, those of the published analysis included. The weights travel to
workers by value, and every process makes one booster of them, whatever the executor.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hhh_coffea.base.bundled import BDTS, find_bundled, list_bundled
from hhh_coffea.base.errors import UserError, why_unreadable
from hhh_coffea.base.strict import in_plain_words
from hhh_coffea.base.user_files import expanded, load_yaml

SCHEMA_VERSION = 1
CARD = "model.yaml"

# What a model may ask of a large-radius jet: fields of the event record. Directions in φ are left out, for physics has none.
FEATURES = (
    "pt",
    "eta",
    "mass",
    "softdrop_mass",
    "charged_fraction",
    "n_charged",
    "n_neutral",
    "tau21",
    "tau32",
    "xbb",
    "regressed_mass",
)
# The published analysis calls them otherwise (§3)
PUBLISHED_NAMES = {
    "fj_pt": "pt",
    "fj_eta": "eta",
    "fj_mass": "mass",
    "fj_sdmass": "softdrop_mass",
    "fj_chargedenergyfrac": "charged_fraction",
    "fj_ncharged": "n_charged",
    "fj_nneutral": "n_neutral",
    "fj_tau21": "tau21",
    "fj_tau32": "tau32",
}
_BOOSTERS: dict[str, Any] = {}  # one a process, by the sha256 of the weights


class BdtError(UserError):
    """The model cannot be used; the message names the file and the features or field at fault."""


class ModelCard(BaseModel):
    """``model.yaml`` of a BDT. ``working_points`` and the two records below are what training measured."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    schema_version: Literal[1]
    architecture: Literal["xgboost"]
    weights: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    features: list[str] = Field(
        min_length=1, description="fields of the large-radius jets of the record, in the order of training"
    )
    working_points: dict[str, float]
    training: dict[str, Any] = Field(default_factory=dict)
    validation: dict[str, Any] = Field(default_factory=dict)
    test: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True)
class BdtModel:
    """Weights with what is needed to apply them."""

    name: str
    features: tuple[str, ...]
    working_points: Mapping[str, float]
    sha256: str
    weights: bytes = field(repr=False)
    trained_on: tuple[str, ...] = ()  # formats of the training files; empty where that is not known

    @property
    def substructure(self) -> tuple[str, ...]:
        """Features beyond the kinematics, which the event record holds only when asked."""
        return tuple(name for name in self.features if name not in ("pt", "eta", "phi", "mass"))

    def cut(self, working_point: str | float) -> float:
        """Score of a working point: one of the model's by name, or a value.

        Raises
        ------
        BdtError
            for a name that the model does not have; the message lists those it has.
        """
        try:
            return float(working_point)
        except ValueError:
            pass
        if working_point not in self.working_points:
            names = ", ".join(self.working_points) or "none: give a value"
            raise BdtError(f"BDT model {self.name!r}: no working point {working_point!r}; it has {names}")
        return self.working_points[str(working_point)]

    def predict(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Score rows of :attr:`features` ``(jets, features)``; NaN and infinite values count as missing."""
        if len(features) == 0:
            return np.empty(0, dtype=np.float32)
        finite = np.where(np.isfinite(features), features, np.float32(np.nan))
        scores: npt.NDArray[np.float32] = self._booster().inplace_predict(finite, validate_features=False)
        return scores

    def _booster(self) -> Any:
        if self.sha256 not in _BOOSTERS:
            _BOOSTERS[self.sha256] = read_booster(self.weights, self.name)
        return _BOOSTERS[self.sha256]


def load_model(name: str | Path) -> BdtModel:
    """Load a model.

    Parameters
    ----------
    name
        a model directory, its ``model.yaml``, an xgboost file (``.json`` or ``.ubj``) that holds its feature names, or
        the bare name of a bundled model

    Raises
    ------
    BdtError
        naming the file, and the features where they do not fit the event record.
    """
    path = expanded(str(name))
    if not path.exists():
        bundled = find_bundled("models", str(name)) if path.parent == Path() else None
        if bundled is None:
            raise BdtError(
                f"{name}: no such BDT model, neither here nor among the bundled {list_bundled('models', BDTS)}"
            )
        path = bundled
    if path.is_dir():
        path = path / CARD
    return _from_card(path) if path.name == CARD else _from_xgboost(path)


def read_booster(weights: bytes, where: str) -> Any:
    """Make a one-threaded xgboost booster of a model file's bytes (JSON or UBJSON)."""
    import xgboost

    try:
        booster = xgboost.Booster()
        booster.load_model(bytearray(weights))
    except xgboost.core.XGBoostError as error:
        raise BdtError(f"{where}: not a model xgboost can load: {str(error).splitlines()[0]}") from error
    booster.set_param({"nthread": 1})  # a worker is one process with one thread: more only get in each other's way
    return booster


def read_card(path: Path) -> ModelCard:
    """Read and validate a ``model.yaml``."""
    try:
        content = load_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BdtError(f"{path}: cannot be read as YAML: {why_unreadable(error)}") from error
    try:
        return ModelCard.model_validate(content)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"])
        raise BdtError(f"{path}: not the card of a BDT: field {place!r}: {in_plain_words(problem)}") from None


def _from_card(path: Path) -> BdtModel:
    card = read_card(path)
    file = path.parent / card.weights
    weights = _bytes(file)
    digest = hashlib.sha256(weights).hexdigest()
    if digest != card.sha256:
        raise BdtError(f"{file}: its sha256 is {digest}, but {path.name} says {card.sha256}: the weights were changed")
    _check_features(path, card.features)
    booster = read_booster(weights, str(file))
    takes = booster.feature_names or [f"feature {k}" for k in range(booster.num_features())]
    if len(takes) != len(card.features) or (booster.feature_names and takes != card.features):
        raise BdtError(f"{path}: names {len(card.features)} features {card.features}, the weights take {takes}")
    _BOOSTERS[digest] = booster
    formats = {str(selection.get("format")) for selection in card.training.get("selection", {}).values()}
    name, points = path.parent.resolve().name, dict(card.working_points)
    return BdtModel(name, tuple(card.features), points, digest, weights, tuple(sorted(formats)))


def _from_xgboost(path: Path) -> BdtModel:
    weights = _bytes(path)
    booster = read_booster(weights, str(path))
    if not booster.feature_names:
        raise BdtError(
            f"{path}: holds no feature names, so they cannot be matched; they may be any of {', '.join(FEATURES)}"
        )
    features = [PUBLISHED_NAMES.get(name, name) for name in booster.feature_names]
    _check_features(path, features)
    objective = json.loads(booster.save_config())["learner"]["objective"]["name"]
    if objective != "binary:logistic":
        raise BdtError(f"{path}: its objective is {objective!r}; scores between 0 and 1 need 'binary:logistic'")
    digest = hashlib.sha256(weights).hexdigest()
    _BOOSTERS[digest] = booster
    return BdtModel(path.stem, tuple(features), {}, digest, weights)


def _check_features(path: Path, features: list[str]) -> None:
    if unknown := [name for name in features if name not in FEATURES]:
        raise BdtError(f"{path}: features {unknown} are not features of a large-radius jet: {', '.join(FEATURES)}")
    if len(set(features)) != len(features):
        raise BdtError(f"{path}: names a feature twice: {features}")


def _bytes(path: Path) -> bytes:
    try:
        weights = path.read_bytes()
    except OSError as error:
        raise BdtError(f"{path}: cannot be read: {error.strerror}") from error
    if path.suffix == ".json":
        try:
            json.loads(weights)
        except ValueError:
            pass  # xgboost says what is wrong
        except RecursionError:  # xgboost would go down as deep, and take the process with it
            raise BdtError(f"{path}: not a model xgboost can load: nested too deeply") from None
    return weights
