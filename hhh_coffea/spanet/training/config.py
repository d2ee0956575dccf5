"""What a training can be told: a YAML file, validated key by key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from hhh_coffea.base.errors import UserError, did_you_mean, why_unreadable
from hhh_coffea.base.user_files import expanded, load_yaml
from hhh_coffea.spanet.training.loss import LossOptions
from hhh_coffea.spanet.training.optimiser import OPTIMISERS

CLASS_WEIGHTS = ("events", "balanced")
BUNDLED = Path(__file__).parents[1] / "recipes"


class ConfigError(UserError):
    """The configuration cannot be used; the message names the key."""


@dataclass(frozen=True)
class TrainingConfig:
    """A training recipe; docs/training.md says what each key is good for.

    ``network`` are the options of the ``architecture`` (dropout is one of them), ``loss`` those of
    :class:`~.loss.LossOptions`. ``balance_presence``: power of the weight that makes all patterns of present targets
    count alike; 0 is off, 1 is the original's ``balance_particles``. ``partial_events``: also use events that miss a
    target. ``max_events`` limits the training events, for learning curves. ``patience``: epochs without a better
    ``criterion`` after which to stop, 0 never. ``groups``: parts of a batch padded apart (see
    :func:`~.batches.forward_in_groups`).

    ``class_weights``: what an event counts in the loss of classes; 1, or its weight (``events``), or its weight times one that
    makes classes count alike (``balanced``).

    ``start_from``: model directory whose weights and normalisation are the start. ``fine_tune``: the same, for other
    regressions and classes; with ``trunk: frozen`` these alone are trained and assignments stay what they are.

    ``keep``: the epoch with the ``best``
    ``criterion``, or the ``last``, where what is wanted is more than that. ``criterion``: a number of the validation
    (:meth:`~.validation.Validation.numbers`): ``product`` of purity and efficiency, ``full`` or ``all`` whole assignments,
    ``auc/EVENT/signal``; the least of ``validation_loss`` and ``rms/…``, of others the largest.
    """

    architecture: str = "default"
    network: Mapping[str, Any] = field(default_factory=dict)
    loss: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 1
    epochs: int = 20
    batch_size: int = 512
    optimiser: str = "adamw"
    learning_rate: float = 1.5e-3
    final_learning_rate: float = 0.0
    warmup_epochs: float = 0.5
    weight_decay: float = 0.01
    gradient_clip: float = 1.0
    ema_decay: float = 0.999
    rotate_phi: bool = True
    reflect_eta: bool = True
    reflect_phi: bool = False
    scale_range: tuple[float, ...] = ()
    partial_events: bool = True
    balance_presence: float = 0.0
    class_weights: str = ""
    validation_fraction: float = 0.05
    max_events: int = 0
    patience: int = 0
    groups: int = 2
    amp: bool = True
    start_from: str = ""
    fine_tune: str = ""
    trunk: str = "frozen"
    keep: str = "best"
    criterion: str = "product"

    @property
    def freezes(self) -> bool:
        """Whether only regressions and classes are trained."""
        return bool(self.fine_tune) and self.trunk == "frozen"

    @classmethod
    def from_mapping(cls, content: Mapping[str, Any], name: str = "configuration") -> TrainingConfig:
        """Check keys, types and ranges; :class:`ConfigError` names the key that is wrong."""
        known = {f.name: f for f in fields(cls)}
        for key in content:
            if key not in known:
                hint = did_you_mean(str(key), known)
                raise ConfigError(f"{name}: key {key!r}: there is no such key{hint}; there are {', '.join(known)}")
        default = cls()
        config = cls(**{key: _typed(name, key, value, getattr(default, key)) for key, value in content.items()})
        for key, (low, high) in RANGES.items():
            if not low <= getattr(config, key) <= high:
                raise ConfigError(f"{name}: key {key!r}: must be from {low} to {high} (got {getattr(config, key)!r})")
        if config.scale_range and not (
            len(config.scale_range) == 2 and 0 < config.scale_range[0] < config.scale_range[1]
        ):
            raise ConfigError(
                f"{name}: key 'scale_range': must be two numbers, 0 < low < high (got {list(config.scale_range)!r})"
            )
        if config.keep not in ("best", "last"):
            raise ConfigError(f"{name}: key 'keep': must be best or last (got {config.keep!r})")
        if config.class_weights not in ("", *CLASS_WEIGHTS):
            raise ConfigError(
                f"{name}: key 'class_weights': must be {' or '.join(CLASS_WEIGHTS)}, or empty (got {config.class_weights!r})"
            )
        if config.optimiser not in OPTIMISERS:
            raise ConfigError(f"{name}: key 'optimiser': must be {' or '.join(OPTIMISERS)} (got {config.optimiser!r})")
        if config.trunk not in ("frozen", "free"):
            raise ConfigError(f"{name}: key 'trunk': must be frozen or free (got {config.trunk!r})")
        if config.start_from and config.fine_tune:
            raise ConfigError(f"{name}: keys 'start_from' and 'fine_tune': only one of them")
        config.loss_options(name)
        return config

    @classmethod
    def read(cls, path: str | Path, changes: Sequence[str] = ()) -> TrainingConfig:
        """Read a YAML file, or a bundled recipe by its bare name; ``changes`` are ``key=value``, ``network.key=value``."""
        file = expanded(str(path))
        if not file.is_file() and (bundled := BUNDLED / f"{path}.yaml").is_file():
            file = bundled
        try:
            content = load_yaml(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            recipes = sorted(p.stem for p in BUNDLED.glob("*.yaml"))
            if isinstance(error, FileNotFoundError):
                reason = f"there is no such file and no such recipe{did_you_mean(str(path), recipes)}"
            else:
                reason = f"cannot be read as YAML: {why_unreadable(error)}"
            raise ConfigError(f"{path}: {reason}; bundled recipes: {', '.join(recipes)}") from error
        if not isinstance(content, dict):
            raise ConfigError(f"{path}: must be a mapping of keys to values")
        for change in changes:
            key, equals, value = change.partition("=")
            outer, _, inner = key.partition(".")
            if not equals or (inner and outer not in ("network", "loss")):
                raise ConfigError(f"{change!r}: must be key=value, network.key=value or loss.key=value")
            try:
                meant = load_yaml(value)
            except yaml.YAMLError as error:
                raise ConfigError(f"{change!r}: cannot be read as YAML: {why_unreadable(error)}") from error
            if inner:
                content[outer] = {**(content.get(outer) or {}), inner: meant}
            else:
                content[outer] = meant
        return cls.from_mapping(content, str(path))

    def loss_options(self, name: str = "configuration") -> LossOptions:
        """``loss`` as options of the loss."""
        default, chosen = LossOptions(), {}
        for key, value in self.loss.items():
            if key not in (known := [f.name for f in fields(LossOptions)]):
                raise ConfigError(f"{name}: key 'loss.{key}': there is no such key; there are {', '.join(known)}")
            chosen[key] = _typed(name, f"loss.{key}", value, getattr(default, key))
        for key, choices in (("combine", ("min", "softmin", "mean")), ("reduction", ("mean", "sum"))):
            if chosen.get(key, choices[0]) not in choices:
                raise ConfigError(f"{name}: key 'loss.{key}': must be one of {', '.join(choices)}")
        return LossOptions(**chosen)


LARGE = 2**53
RANGES: dict[str, tuple[float, float]] = {
    "seed": (0, LARGE),
    "epochs": (1, LARGE),
    "batch_size": (1, LARGE),
    "learning_rate": (1e-12, 1e3),
    "final_learning_rate": (0, 1e3),
    "warmup_epochs": (0, LARGE),
    "weight_decay": (0, 1e3),
    "gradient_clip": (0, LARGE),
    "ema_decay": (0, 1),
    "balance_presence": (0, 1),
    "validation_fraction": (0, 0.9),
    "max_events": (0, LARGE),
    "patience": (0, LARGE),
    "groups": (1, 64),
}


def _typed(name: str, key: str, value: Any, like: Any) -> Any:
    """``value`` as the type of the default ``like``; YAML reads 1e-3 as text, so numbers are converted."""
    kind: type = dict if isinstance(like, Mapping) else type(like)
    try:
        if kind is tuple:
            return tuple(float(number) for number in value)
        if kind in (bool, dict, str):
            if not isinstance(value, kind):
                raise ValueError(value)
            return value
        if isinstance(value, bool) or (kind is int and float(value) != int(float(value))):
            raise ValueError(value)
        return kind(float(value))
    except (TypeError, ValueError):
        words = {
            "int": "a whole number",
            "float": "a number",
            "bool": "true or false",
            "dict": "a mapping",
            "tuple": "a list of numbers",
        }
        raise ConfigError(f"{name}: key {key!r}: must be {words.get(kind.__name__, 'text')} (got {value!r})") from None
