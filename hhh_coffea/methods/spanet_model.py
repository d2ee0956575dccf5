"""SPANet models of the main job: found, checked, sent to workers by value, one network a process and device."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hhh_coffea.base.bundled import SPANETS, find_bundled, list_bundled
from hhh_coffea.base.user_files import expanded
from hhh_coffea.methods.spanet_inputs import SpanetError, collection_of, extra_features_of
from hhh_coffea.topology.kinds import Kind, in_words, kinds_of, same_targets

if TYPE_CHECKING:
    from hhh_coffea.topology.topology import Topology

BUNDLED = (  # what runs when no model is named, each for its targets
    *("spanet_hhh", "spanet_hh", "spanet_hhh_resolved", "spanet_hh_resolved"),
    *("spanet_ttbar", "spanet_tth"),
)


class Loaded(NamedTuple):
    """A network ready to be evaluated."""

    topology: Topology
    forward: Any  # inputs, masks → hhh_coffea.spanet.network.outputs.Outputs
    device: Any
    price: Any  # hhh_coffea.spanet.decoding.mass_price.MassPrice of expected decoding, or None


_NETWORKS: dict[tuple[str, str], Loaded] = {}  # by sha256 and device
_LOCKS: dict[str, threading.Lock] = {}  # threads take turns on a device
_LOCKS_LOCK = threading.Lock()


@dataclass(frozen=True)
class SpanetModel:
    """A model directory by value: it travels to workers, which build one network a process of it."""

    name: str
    sha256: str
    description: bytes = field(repr=False)  # model.yaml
    weights: bytes = field(repr=False)
    device: str = "auto"
    trained_on: tuple[str, ...] = ()  # formats of the training files; empty where that is not known

    @property
    def topology(self) -> Topology:
        """The event topology the network was made for."""
        return self.network().topology

    @property
    def kinds(self) -> dict[str, Kind]:
        """Kinds of targets it looks for."""
        return kinds_of(self.topology)

    @property
    def extra_features(self) -> tuple[str, ...]:
        """What it reads of objects beyond their kinematics."""
        return extra_features_of(self.topology)

    def network(self) -> Loaded:
        """The network in this process, made on first use."""
        import torch

        from hhh_coffea.spanet.checkpoint import load_bytes, price_of
        from hhh_coffea.spanet.network.packed import Packed

        device = device_of(self.device)
        # the description too: two models may share weights and read them differently
        key = (hashlib.sha256(self.description).hexdigest() + self.sha256, str(device))
        if key not in _NETWORKS:
            if device.type == "cpu":
                torch.set_num_threads(1)  # a worker is one process with one thread: more only get in each other's way
            network = load_bytes(self.description, self.weights, self.name, device)
            price = price_of(self.description, network.topology, self.name)
            forward = Packed(network) if device.type == "cpu" else network
            _NETWORKS[key] = Loaded(network.topology, forward, device, price)
        return _NETWORKS[key]


def load_model(name: str | Path, device: str = "auto") -> SpanetModel:
    """Read a model directory, or a bundled model by its bare name, and check that it can be used.

    Raises
    ------
    SpanetError
        naming the model, and the feature or device that cannot be had.
    """
    from hhh_coffea.spanet.checkpoint import CheckpointError, describe

    path = expanded(str(name))
    if not path.is_dir():
        bundled = find_bundled("models", str(name)) if path.parent == Path() else None
        if bundled is None:
            raise SpanetError(
                f"{name}: no such SPANet model, neither here nor among the bundled {list_bundled('models', SPANETS)}"
            )
        path = bundled
    try:
        card = describe(path)
        weights = (path / str(card["weights"]["file"])).read_bytes()
        model = SpanetModel(
            path.resolve().name,
            hashlib.sha256(weights).hexdigest(),
            (path / "model.yaml").read_bytes(),
            weights,
            device,
            _trained_on(card),
        )
        device_of(device)
        model.topology  # noqa: B018 - builds the network, so that faults show here
    except (CheckpointError, OSError, ValueError) as error:
        raise SpanetError(f"SPANet model {name}: {error}") from error
    for event_input in model.topology.inputs:
        collection_of(event_input, model.name)
    return model


def _trained_on(card: dict[str, Any]) -> tuple[str, ...]:
    from hhh_coffea.spanet.training.dataset import UNKNOWN_FORMAT

    data = (card.get("training") or {}).get("data")
    # models from before other formats could be read do not say which
    formats = tuple(data.get("formats", ["delphes"])) if isinstance(data, dict) else ()
    return () if UNKNOWN_FORMAT in formats else formats


def load_models(names: Iterable[str | Path], device: str = "auto") -> tuple[SpanetModel, ...]:
    """Load models for different targets; the bundled ones of :data:`BUNDLED` where none is named.

    Raises
    ------
    SpanetError
        as :func:`load_model`, if two models look for the same targets, or if there is none at all.
    """
    if not (named := list(names)):  # of those that look for the same particles the first is taken
        bundled = [name for name in BUNDLED if find_bundled("models", name) is not None]
        if not bundled:
            raise SpanetError("method 'spanet' needs a model and none is bundled: name one with --model")
        return tuple(load_model(name, device) for name in bundled)
    models = tuple(load_model(name, device) for name in named)
    for i, model in enumerate(models):
        for other in models[:i]:
            if same_targets(other.kinds, model.kinds) or same_targets(model.kinds, other.kinds):
                raise SpanetError(f"models {other.name!r} and {model.name!r} both look for {in_words(model.kinds)}")
    return models


def device_of(name: str) -> Any:
    """``auto`` (a GPU where there is one), ``cpu``, ``cuda`` or ``cuda:i`` → torch device; SpanetError if not there."""
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise SpanetError(f"option 'device': no device {name!r}; there are auto, cpu, cuda, cuda:i") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SpanetError(f"option 'device': {name!r} asked for, but torch sees no GPU")
    return device


def lock(device: str) -> threading.Lock:
    """The lock of a device: threads of this process take turns on it."""
    with _LOCKS_LOCK:
        return _LOCKS.setdefault(device, threading.Lock())
