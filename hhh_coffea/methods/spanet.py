"""Candidates from SPANet, run in this process: the event record in, candidates out.

A model says by its event topology which features of which objects it takes and which targets it looks for.
Scores depend on the event alone, whatever the chunk and the other events in the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import awkward as ak
import numpy as np
import numpy.typing as npt

from hhh_coffea.methods.spanet_inputs import (
    PADDED_LENGTH,
    SpanetError,
    collection_of,
    extra_features_of,
    network_inputs,
    overlaps,
    padded_length,
)
from hhh_coffea.methods.spanet_model import SpanetModel, load_model, load_models, lock
from hhh_coffea.reconstruction.analysis import Analysis
from hhh_coffea.reconstruction.candidates import mark_overlaps
from hhh_coffea.topology.kinds import NONE, daughter_order, partner

if TYPE_CHECKING:
    from hhh_coffea.topology.topology import Topology

__all__ = [
    "PADDED_LENGTH",
    "Interpretation",
    "SpanetError",
    "SpanetModel",
    "collection_of",
    "decode",
    "decoding",
    "extra_features_of",
    "load_model",
    "load_models",
    "network_inputs",
    "reconstruct",
]

Way = Callable[..., Any]
DETAILS, MARGIN = "details", "margin"
TINY = 1e-30
BATCH = 8192  # events: enough of every multiplicity for lots without padding, and 50 MB at most


class Interpretation(NamedTuple):
    """:class:`hhh_coffea.spanet.decoding.decode.Decoded` of N events as numpy arrays."""

    objects: npt.NDArray[np.int64]  # (N, targets, daughters), −1 where none
    selected: npt.NDArray[np.bool_]  # (N, targets)
    assignment_probability: npt.NDArray[np.float32]
    detection_probability: npt.NDArray[np.float32]
    probability: npt.NDArray[np.float32]

    def score(self) -> npt.NDArray[np.float64]:
        """Σ ln M over the targets chosen, M = AP · DP their marginal probability: ``(N,)``."""
        marginal = np.log(np.maximum(self.assignment_probability * self.detection_probability.astype(np.float64), TINY))
        total: npt.NDArray[np.float64] = np.where(self.selected, marginal, 0.0).sum(axis=1)
        return total


def reconstruct(
    record: ak.Array, model: SpanetModel, decodings: Iterable[str], analysis: Analysis
) -> dict[str, ak.Array]:
    """Candidates of each decoding with AP and DP as their probabilities, those of single large-radius jets first.

    ``record`` is truncated. A target that the decoding leaves out gives no candidate. Of :func:`details` the columns that the
    analysis declares are added.
    """
    from hhh_coffea.spanet.decoding.candidates import spans

    topology = model.topology
    lengths = [padded_length(record, collection_of(i, model.name)) for i in topology.sequential]
    first = spans(topology, lengths)
    # the model's kinds with those of the analysis, whatever both are called; single objects first
    pairs = [(kind, partner(kind, analysis.kinds)) for kind in model.kinds.values()]
    pairs.sort(key=lambda pair: pair[0].degree)
    ways = {name: decoding(name) for name in decodings}
    ways |= {DETAILS: details} if analysis.outputs else {}
    ways |= {MARGIN: margin_of_best} if MARGIN in analysis.outputs else {}
    results = evaluate(record, model, ways)
    told = dict(zip(("assignment_entropy", *head_names(topology)), results.pop(DETAILS, ()), strict=False))
    if MARGIN in results:
        told[MARGIN] = results.pop(MARGIN)[0]
    found = {}
    for name, result in results.items():
        decoded = Interpretation(*result)
        told |= {"event_score": decoded.score(), "probability": decoded.probability}
        objects = np.where(decoded.selected[..., None], decoded.objects, NONE)
        parts = []
        for kind, own in pairs:
            if own is None:
                raise SpanetError(f"SPANet model {model.name!r} has targets that analysis {analysis.name!r} lacks")
            members = list(kind.members)
            place = objects[:, members][..., : kind.degree]
            starts = np.array([first[source][0] for source in topology.targets[members[0]].sources])
            place = np.where(place >= 0, place - starts, NONE)
            order = daughter_order(own, kind)  # the model may list them in another order
            assert order is not None
            place = place[..., list(order)]
            probabilities = decoded.assignment_probability[:, members], decoded.detection_probability[:, members]
            columns = {column: values[:, members] if values.ndim > 1 else values for column, values in told.items()}
            parts.append((own, analysis.candidates(record, own.name, place, *probabilities, columns)))
        fatjet = next((kind for kind, _ in parts if kind.collections == ("fatjets",)), None)
        candidates = ak.concatenate([part for _, part in parts], axis=1)
        found[name] = (
            candidates if fatjet is None else mark_overlaps(record, candidates, fatjet, tuple(analysis.kinds.values()))
        )
    return found


def details(outputs: Any, topology: Topology, *_: Any) -> list[Any]:
    """What the network says beside assignments: entropy of each target's assignment (nats) ``(B, P)``, and :func:`head_names`.

    Entropy: −Σ P ln P over unordered assignments, P the sum over the orders that the target's symmetry makes equal.
    """
    import torch

    entropies = []
    for target in topology.targets:
        logp = outputs.assignment[target.name].flatten(1)
        log_all = torch.where(torch.isfinite(logp), logp + np.log(len(target.group)), 0.0)
        entropies.append(-(logp.exp() * log_all).sum(1))
    classes = [outputs.classification[key].softmax(-1)[:, -1] for key in topology.classifications]
    return [torch.stack(entropies, dim=1), *(outputs.regression[r.key] for r in topology.regressions), *classes]


def margin_of_best(outputs: Any, topology: Topology, lengths: list[int], *_: Any) -> list[Any]:
    """By how much the best complete choice beats the second best: :func:`hhh_coffea.spanet.decoding.complete.margin`."""
    from hhh_coffea.spanet.decoding.complete import complete, margin

    return [margin(outputs, topology, lengths, complete(outputs, topology, lengths))]


def head_names(topology: Topology) -> list[str]:
    """Regressions, and classes of which the probability of the last is given, by the last part of their keys."""
    return [key.split("/")[-1] for key in (*(r.key for r in topology.regressions), *topology.classifications)]


def decode(record: ak.Array, model: SpanetModel, decodings: Iterable[str]) -> dict[str, Interpretation]:
    """Interpret every event in each of these ways, the network run once; see :func:`decoding`."""
    ways = {name: decoding(name) for name in decodings}
    return {name: Interpretation(*found) for name, found in evaluate(record, model, ways).items()}


def evaluate(record: ak.Array, model: SpanetModel, ways: Mapping[str, Way]) -> dict[str, list[npt.NDArray[Any]]]:
    """Run the network once over all events, and each function of its outputs: what these return, as numpy arrays.

    A function gets ``(outputs, topology, lengths, overlaps, prices)`` of a batch and returns tensors ``(B, …)``.
    """
    import torch

    inputs, masks = network_inputs(record, model)
    near = overlaps(record, model.topology)
    kinds = [i.kind for i in model.topology.inputs]
    lengths = [x.shape[1] for x, kind in zip(inputs, kinds, strict=True) if kind == "sequential"]
    n_events = len(record)
    topology, forward, device, price = model.network()
    parts: dict[str, list[Any]] = {name: [] for name in ways}

    def on_device(array: npt.NDArray[Any], batch: slice) -> Any:
        # a GPU sees one shape only; where there are no events, one of padding tells the shapes
        return torch.from_numpy(_fill(array[batch], BATCH if device.type == "cuda" else 1)).to(device)

    with lock(str(device)), torch.inference_mode():
        for start in range(0, max(n_events, 1), BATCH):
            batch = slice(start, min(start + BATCH, n_events))
            here = [on_device(a, batch) for a in inputs]
            outputs = forward(here, [on_device(a, batch) for a in masks])
            close = None if near is None else on_device(near, batch)
            prices = None if price is None else price.of_assignments(outputs, here, topology)
            for name, found in parts.items():
                result = ways[name](outputs, topology, lengths, close, prices)
                found.append([t[: batch.stop - start].cpu().numpy() for t in result])
    return {name: [np.concatenate(p) for p in zip(*found, strict=True)] for name, found in parts.items()}


def decoding(name: str) -> Any:
    """Function ``(outputs, topology, lengths, overlaps, prices) → Decoded`` of a decoding by its name.

    The name is ``NAME`` or ``NAME:NUMBER``.
    ``joint:0.5`` and ``reference:0.5`` have ``presence=0.5``. ``greedy:0.3`` keeps the targets whose DP is at least
    0.3; without a number 0.5, for the original's extraction assigns all targets, present or not. ``expected:0.4``
    declares candidates that are right with a probability above 0.4, and ``expected_by_kind:0.4`` so among the pairs, and
    again among the large-radius jets; both take prices. ``all`` gives every particle a candidate, present or not. The
    published post-processing and ``expected_by_kind`` leave the removal of overlaps to the metrics, which show both sides of it.
    """
    from hhh_coffea.spanet.decoding import decode
    from hhh_coffea.spanet.decoding.candidates import LEAST
    from hhh_coffea.spanet.decoding.complete import complete

    kind, _, number = name.partition(":")
    if kind == "joint":
        return lambda *arguments: decode.joint(*arguments[:4], presence=float(number or 0))
    if kind == "expected":
        return lambda *arguments: decode.expected(*arguments[:4], least=float(number or LEAST), prices=arguments[4])
    if kind == "expected_by_kind":
        return lambda outputs, topology, lengths, _, prices: decode.expected(
            outputs, topology, lengths, least=float(number or LEAST), prices=prices, by_kind=True
        )
    if kind == "greedy":
        least = float(number or 0.5)

        def greedy(outputs: Any, topology: Topology, lengths: list[int], *_: Any) -> Any:
            found = decode.greedy(outputs, topology, lengths, own_input=True)
            return found._replace(selected=found.selected & (found.detection_probability >= least))

        return greedy
    if kind == "all" and not number:
        return lambda *arguments: complete(*arguments[:3])
    if kind == "reference":
        return lambda *arguments: decode.reference(*arguments[:3], presence=float(number or 0))
    raise SpanetError(
        f"no decoding {name!r}; there are all, and joint, expected, expected_by_kind, greedy and reference with :NUMBER or "
        "without"
    )


def _fill(batch: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    """Fill a batch up to a size with empty events."""
    missing = max(size - len(batch), 0)
    return np.ascontiguousarray(np.pad(batch, [(0, missing)] + [(0, 0)] * (batch.ndim - 1)) if missing else batch)
