"""Higgs candidates from SPANet, run in this process: the event record in, candidates out.

A model says by its event topology which features of which objects it takes and how many Higgs bosons it looks for.
Scores depend on the event alone: every batch has the same size, whatever the chunk.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import awkward as ak
import numpy as np
import numpy.typing as npt

from hhh_coffea.bundled import find_bundled, list_bundled
from hhh_coffea.events.record import field as record_field
from hhh_coffea.jagged import counts_of, pad
from hhh_coffea.kinematics import delta_r_squared
from hhh_coffea.reconstruction.candidates import NONE, OVERLAP_RADIUS, boosted_candidates, merge, resolved_candidates

if TYPE_CHECKING:
    from hhh_coffea.spanet.topology import Input, Topology

BATCH = 1024  # larger batches leave the processor's cache (docs/spanet.md)
BUNDLED = ("spanet_hhh", "spanet_hh")  # what runs when no model is named
# Event-YAML feature → field of the record; sines and cosines of φ are made here
JET_FEATURES = {"pt": "pt", "eta": "eta", "mass": "mass", "btag": "btag", "btag_score": "btag_score", "phi": "phi"}
FATJET_FEATURES = {
    "fj_pt": "pt",
    "fj_eta": "eta",
    "fj_phi": "phi",
    "fj_mass": "mass",
    "fj_sdmass": "softdrop_mass",
    "fj_tau21": "tau21",
    "fj_tau32": "tau32",
    "fj_ncharged": "n_charged",
    "fj_nneutral": "n_neutral",
    "fj_chargedenergyfrac": "charged_fraction",
    "fj_xbb": "xbb",
    "fj_regressed_mass": "regressed_mass",
}
ANGLES = {"sinphi": np.sin, "cosphi": np.cos, "sin_phi": np.sin, "cos_phi": np.cos}

_NETWORKS: dict[tuple[str, str], Any] = {}  # one a process and device, by sha256
_LOCKS: dict[str, threading.Lock] = {}  # threads take turns on a device
_LOCKS_LOCK = threading.Lock()


class SpanetError(ValueError):
    """The model cannot be used; the message names it and what does not fit."""


class Interpretation(NamedTuple):
    """:class:`hhh_coffea.spanet.decode.Decoded` of N events as numpy arrays."""

    objects: npt.NDArray[np.int64]  # (N, targets, daughters), −1 where none
    selected: npt.NDArray[np.bool_]  # (N, targets)
    assignment_probability: npt.NDArray[np.float32]
    detection_probability: npt.NDArray[np.float32]


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
        topology: Topology = self._network()[0].topology
        return topology

    @property
    def n_higgs(self) -> int:
        """Higgs bosons it looks for."""
        return len(self.topology.alternatives)

    @property
    def substructure(self) -> tuple[str, ...]:
        """Fat-jet fields it reads beyond the kinematics."""
        return substructure_of(self.topology)

    def decode(self, record: ak.Array, decodings: Iterable[str]) -> dict[str, Interpretation]:
        """Interpret every event in each of these ways, the network run once; see :func:`decoding`."""
        import torch

        inputs, masks = network_inputs(record, self)
        near = overlaps(record, self.topology)
        lengths = [i.shape[1] for i in inputs]
        network, forward, device = self._network()
        parts: dict[str, list[Any]] = {name: [] for name in decodings}
        ways = {name: decoding(name) for name in parts}
        n_events = len(record)
        with _lock(str(device)), torch.inference_mode():
            for start in range(
                0, max(n_events, 1), BATCH
            ):  # one batch of padding tells the shapes where there are no events
                batch = slice(start, min(start + BATCH, n_events))
                x = [torch.from_numpy(_fill(a[batch])).to(device) for a in inputs]
                m = [torch.from_numpy(_fill(a[batch])).to(device) for a in masks]
                outputs = forward(x, m)
                o = None if near is None else torch.from_numpy(_fill(near[batch])).to(device)
                for name, found in parts.items():
                    result = ways[name](outputs, network.topology, lengths, o)
                    found.append([t[: batch.stop - start].cpu().numpy() for t in result])
        return {
            name: Interpretation(*(np.concatenate(p) for p in zip(*found, strict=True)))
            for name, found in parts.items()
        }

    def _network(self) -> Any:
        """(network, callable, device), made on first use in this process."""
        import torch

        from hhh_coffea.spanet.checkpoint import load_bytes

        device = device_of(self.device)
        # the description too: two models may share weights and read them differently
        key = (hashlib.sha256(self.description).hexdigest() + self.sha256, str(device))
        if key not in _NETWORKS:
            if device.type == "cpu":
                torch.set_num_threads(1)  # a worker is one process with one thread: more only get in each other's way
            network = load_bytes(self.description, self.weights, self.name, device)
            _NETWORKS[key] = (network, _fastest(network, device), device)
        return _NETWORKS[key]


def decoding(name: str) -> Any:
    """Function ``(outputs, topology, lengths, overlaps) → Decoded`` of a decoding by name: ``NAME`` or ``NAME:NUMBER``.

    ``joint:0.5`` has ``presence=0.5``. ``greedy:0.3`` keeps the targets whose DP is at least 0.3; without a number 0.5,
    for the original's extraction assigns all targets, present or not. ``reference`` takes no number; the published
    post-processing removes overlaps afterwards, so that metrics show both sides of it.
    """
    from hhh_coffea.spanet import decode

    kind, _, number = name.partition(":")
    if kind == "joint":
        return lambda *arguments: decode.joint(*arguments, presence=float(number or 0))
    if kind == "greedy":
        least = float(number or 0.5)

        def greedy(outputs: Any, topology: Topology, lengths: list[int], _: Any) -> Any:
            found = decode.greedy(outputs, topology, lengths, own_input=True)
            return found._replace(selected=found.selected & (found.detection_probability >= least))

        return greedy
    if name == "reference":
        return lambda outputs, topology, lengths, _: decode.reference(outputs, topology, lengths)
    raise SpanetError(f"no decoding {name!r}; there are joint, greedy (each with :NUMBER or without) and reference")


def load_model(name: str | Path, device: str = "auto") -> SpanetModel:
    """Read a model directory, or a bundled model by its bare name, and check that it can be used.

    Raises
    ------
    SpanetError
        naming the model, and the feature or device that cannot be had.
    """
    from hhh_coffea.spanet.checkpoint import CheckpointError, describe
    from hhh_coffea.spanet.decode import pairs_and_singles

    path = Path(name).expanduser()
    if not path.is_dir():
        bundled = find_bundled("models", str(name)) if path.parent == Path() else None
        if bundled is None:
            raise SpanetError(
                f"{name}: no such SPANet model, neither here nor among the bundled {list_bundled('models')}"
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
        pairs_and_singles(model.topology)
    except (CheckpointError, OSError, ValueError) as error:
        raise SpanetError(f"SPANet model {name}: {error}") from error
    for event_input in model.topology.inputs:
        collection_of(event_input, model.name)
    return model


def _trained_on(card: dict[str, Any]) -> tuple[str, ...]:
    from hhh_coffea.spanet.dataset import UNKNOWN_FORMAT

    data = (card.get("training") or {}).get("data")
    # models from before other formats could be read do not say which
    formats = tuple(data.get("formats", ["delphes"])) if isinstance(data, dict) else ()
    return () if UNKNOWN_FORMAT in formats else formats


def load_models(names: Iterable[str | Path], device: str = "auto") -> tuple[SpanetModel, ...]:
    """Load models for different numbers of Higgs bosons; the bundled ones of :data:`BUNDLED` where none is named.

    Raises
    ------
    SpanetError
        as :func:`load_model`, if two models look for the same number of Higgs bosons, or if there is none at all.
    """
    names = list(names) or [name for name in BUNDLED if find_bundled("models", name) is not None]
    models = tuple(load_model(name, device) for name in names)
    if not models:
        raise SpanetError("method 'spanet' needs a model and none is bundled: name one with --model")
    for i, model in enumerate(models):
        for other in models[:i]:
            if other.n_higgs == model.n_higgs:
                raise SpanetError(
                    f"models {other.name!r} and {model.name!r} both look for {model.n_higgs} Higgs bosons"
                )
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


def reconstruct(record: ak.Array, model: SpanetModel, decodings: Iterable[str]) -> dict[str, ak.Array]:
    """Candidates of each decoding, boosted ones first, with AP and DP as their probabilities.

    ``record`` is truncated. A target that the decoding leaves out gives no candidate.
    """
    from hhh_coffea.spanet.decode import pairs_and_singles, spans

    topology = model.topology
    resolved, boosted = pairs_and_singles(topology)
    lengths = [_length(record, collection_of(i, model.name)) for i in topology.sequential]
    first = spans(topology, lengths)
    found = {}
    for name, decoded in model.decode(record, decodings).items():
        objects = np.where(decoded.selected[..., None], decoded.objects, NONE)

        def positions(members: list[int], daughter: int, objects: npt.NDArray[Any] = objects) -> npt.NDArray[np.int64]:
            if not members:
                return np.full((len(record), 1), NONE)
            place = objects[:, members, daughter]
            return np.where(place >= 0, place - first[topology.targets[members[0]].sources[0]][0], NONE)

        def probabilities(members: list[int], decoded: Any = decoded) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
            chosen = members or [0]
            return decoded.assignment_probability[:, chosen], decoded.detection_probability[:, chosen]

        pairs = resolved_candidates(record, positions(resolved, 0), positions(resolved, 1), *probabilities(resolved))
        fat = boosted_candidates(record, positions(boosted, 0), *probabilities(boosted))
        found[name] = merge(record, fat, pairs)
    return found


class TakesInputs(Protocol):
    """A model, or what is to become one: its name for errors, and its topology."""

    @property
    def name(self) -> str:
        """What errors call it."""

    @property
    def topology(self) -> Topology:
        """Its event topology."""


def substructure_of(topology: Topology) -> tuple[str, ...]:
    """Fat-jet fields of the record that a topology takes beyond the kinematics."""
    wanted = {FATJET_FEATURES.get(f, "") for i in topology.inputs for f in i.feature_names}
    return tuple(sorted(wanted - {"", "pt", "eta", "phi", "mass"}))


def network_inputs(record: ak.Array, model: TakesInputs) -> tuple[list[npt.NDArray[Any]], list[npt.NDArray[np.bool_]]]:
    """Padded features ``(N, M, F)`` in the order of the topology, and masks ``(N, M)``.

    Raises
    ------
    KeyError
        naming the model and the feature that this file's format does not provide.
    """
    inputs, masks = [], []
    for event_input in model.topology.inputs:
        name = collection_of(event_input, model.name)
        objects, length = record[name], _length(record, name)
        columns = []
        for feature in event_input.feature_names:
            bare = feature.removeprefix("fj_")
            if bare in ANGLES:
                values = ANGLES[bare](pad(objects.phi, length, 0.0))
            else:
                known = (FATJET_FEATURES if name == "fatjets" else JET_FEATURES)[feature]
                values = pad(record_field(objects, known, f"SPANet model {model.name!r}"), length, 0)
            columns.append(values.astype(np.float32))
        inputs.append(np.stack(columns, axis=-1))
        masks.append(np.arange(length) < counts_of(objects.pt)[:, None])
    return inputs, masks


def collection_of(event_input: Input, model: str) -> str:
    """``jets`` or ``fatjets``: whose features this input takes.

    Raises
    ------
    SpanetError
        naming the model and the features that the event record cannot give.
    """
    is_fat = any(name.startswith("fj_") for name in event_input.feature_names)
    known = {**(FATJET_FEATURES if is_fat else JET_FEATURES)}
    known |= {("fj_" if is_fat else "") + angle: "phi" for angle in ANGLES}
    if event_input.kind != "sequential":
        raise SpanetError(
            f"SPANet model {model!r}: input {event_input.name!r} is {event_input.kind}, jets are sequential"
        )
    if unknown := [name for name in event_input.feature_names if name not in known]:
        raise SpanetError(
            f"SPANet model {model!r}: input {event_input.name!r} takes {unknown}, which the event record does not have; "
            f"it has {sorted(known)}"
        )
    return "fatjets" if is_fat else "jets"


def overlaps(record: ak.Array, topology: Topology) -> npt.NDArray[np.bool_] | None:
    """``(N, jets, fatjets)``: which lie within ΔR < 0.5; None where the topology has no fat jets."""
    if len(topology.inputs) < 2:
        return None
    directions = []
    for name in ("jets", "fatjets"):
        length = _length(record, name)
        directions.append([pad(record[name][k], length, 0.0) for k in ("eta", "phi")])
    (eta, phi), (fat_eta, fat_phi) = directions
    near = (
        delta_r_squared(eta[:, :, None], phi[:, :, None], fat_eta[:, None, :], fat_phi[:, None, :]) < OVERLAP_RADIUS**2
    )
    exists = [
        np.arange(d[0].shape[1]) < counts_of(record[n].pt)[:, None]
        for n, d in zip(("jets", "fatjets"), directions, strict=True)
    ]
    both: npt.NDArray[np.bool_] = near & exists[0][:, :, None] & exists[1][:, None, :]
    return both


PADDED_LENGTH = {"jets": 10, "fatjets": 3}


def _length(record: ak.Array, name: str) -> int:
    """Slots of an input: those of the published analysis, or more where the record keeps more objects."""
    counts = counts_of(record[name].pt)
    return max(PADDED_LENGTH[name], int(counts.max()) if len(counts) else 0)


def _fill(batch: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Fill a batch up to its fixed size with empty events."""
    missing = BATCH - len(batch)
    return np.ascontiguousarray(np.pad(batch, [(0, missing)] + [(0, 0)] * (batch.ndim - 1)) if missing else batch)


def _fastest(network: Any, device: Any) -> Any:
    """The quickest way to evaluate a network here: the same numbers in every case."""
    from hhh_coffea.spanet.inference import FastOriginal

    if network.architecture == "original" and device.type == "cpu":
        try:
            return FastOriginal(network)
        except ValueError:  # an option it has no fast form of
            pass
    return network


def _lock(device: str) -> threading.Lock:
    with _LOCKS_LOCK:
        return _LOCKS.setdefault(device, threading.Lock())
