"""Systematic variations: one axis of the histograms, and reconstruction repeated only where its inputs change."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import awkward as ak
import hist
import numpy as np
import numpy.typing as npt
from hist import Hist

from hhh_coffea.base.arrays import IntArray, counts_of, event_index, flat, pad
from hhh_coffea.datasets.nanoaod_options import NOMINAL

MASS, EVENTS = "systematics_mass", "systematics_events"
BoolArray = npt.NDArray[np.bool_]
Candidates = dict[str, ak.Array]  # by method


def book() -> dict[str, Hist]:
    """Empty histograms: candidate mass (GeV) by method and kind, and selected events; both by variation."""

    def names(*axes: str) -> list[Any]:
        return [hist.axis.StrCategory([], growth=True, name=name) for name in axes]

    mass = hist.axis.Regular(40, 30, 230, name="mass", label="Candidate mass [GeV]")
    jets = hist.axis.Integer(0, 16, underflow=False, name="n", label="Jets per event")
    weight = hist.storage.Weight()
    return {
        MASS: Hist(*names("dataset", "method", "kind", "variation"), mass, storage=weight),
        EVENTS: Hist(*names("dataset", "variation"), jets, storage=weight),
    }


def fill(
    histograms: dict[str, Hist],
    dataset: str,
    weights: Mapping[str, npt.NDArray[np.float64]],
    n_jets: IntArray,
    found: Candidates,
    kinds: tuple[str, ...],
) -> None:
    """Fill variations, by name with the weight of each event: candidates that survive overlap removal, and the events."""
    for variation, weight in weights.items():
        histograms[EVENTS].fill(dataset=dataset, variation=variation, n=n_jets, weight=weight)
    for method, candidates in found.items():
        use = ~flat(candidates.overlaps)
        kind, mass = flat(candidates.kind)[use], flat(candidates.mass)[use]
        event = event_index(counts_of(candidates.kind))[use]
        for number, name in enumerate(kinds):
            chosen = kind == number
            for variation, weight in weights.items():
                key = {"dataset": dataset, "method": method, "kind": name, "variation": variation}
                histograms[MASS].fill(**key, mass=mass[chosen], weight=weight[event[chosen]])


def not_varied(histograms: Mapping[str, Hist]) -> list[str]:
    """A warning for each dataset of which only the nominal events were filled."""
    if EVENTS not in histograms:
        return []
    events = histograms[EVENTS].project("dataset", "variation").values()
    axes = histograms[EVENTS].axes
    filled = {d: {v for j, v in enumerate(axes["variation"]) if events[i, j]} for i, d in enumerate(axes["dataset"])}
    return [
        f"dataset {name!r}: nothing was varied; name corrections under 'nanoaod' in its metadata (docs/nanoaod.md)"
        for name, variations in filled.items()
        if variations == {NOMINAL}
    ]


def unchanged(nominal: ak.Array, varied: ak.Array) -> tuple[IntArray, BoolArray]:
    """Which events of a varied record have the very inputs of the nominal one.

    Both are truncated records, ordered by ``id``. Returns, for each varied event, its position in ``nominal`` (any
    where it is not there) and whether all its jets and fat jets are equal to those, bit by bit.
    """
    ids, other = np.asarray(nominal.id), np.asarray(varied.id)
    if len(ids) == 0:
        return np.zeros(len(other), dtype=np.int64), np.zeros(len(other), dtype=bool)
    position = np.minimum(np.searchsorted(ids, other), len(ids) - 1).astype(np.int64)
    same = ids[position] == other
    for name in ("jets", "fatjets"):
        before, after = nominal[name], varied[name]
        counts = [counts_of(before.pt)[position], counts_of(after.pt)]
        same &= counts[0] == counts[1]
        length = int(max((c.max(initial=0) for c in counts), default=0))
        # the first pT first: where every event has changed, it shows at once
        for field, width in (("pt", 1), *((field, length) for field in after.fields)):
            left = np.flatnonzero(same)
            if not len(left):
                return position, same
            a, b = pad(before[field], width, 0)[position[left]], pad(after[field], width, 0)[left]
            same[left] = (a == b).all(axis=1)
    return position, same


def reconstruct_changed(
    reconstruct: Callable[[ak.Array], Candidates], nominal: ak.Array, found: Candidates, varied: ak.Array
) -> Candidates:
    """Candidates of a varied record: those of the nominal one where no input changed, made anew elsewhere.

    A method's candidates depend on the event alone, so this equals ``reconstruct(varied)``.
    """
    position, same = unchanged(nominal, varied)
    if not same.any():
        return reconstruct(varied)
    back = np.empty(len(varied), dtype=np.int64)
    back[np.flatnonzero(same)] = np.arange(same.sum())
    back[np.flatnonzero(~same)] = same.sum() + np.arange((~same).sum())
    old = {method: candidates[position[same]] for method, candidates in found.items()}
    if same.all():
        return old
    new = reconstruct(varied[~same])
    return {method: ak.concatenate([old[method], new[method]], axis=0)[back] for method in old}
