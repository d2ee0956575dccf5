"""Systematic variations: one axis of the histograms, and reconstruction repeated only where its inputs change."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import awkward as ak
import numpy as np
import numpy.typing as npt
from hist import Hist

from hhh_coffea.base.arrays import IntArray, counts_of, pad
from hhh_coffea.datasets.nanoaod_options import NOMINAL
from hhh_coffea.results.histograms import VARIATION

BoolArray = npt.NDArray[np.bool_]
Candidates = dict[str, dict[str, ak.Array]]  # by definition and method


def not_varied(histograms: Mapping[str, Hist]) -> list[str]:
    """A warning for each dataset of which only the nominal events were filled, where variations were asked for."""
    everyone = histograms.get("multiplicity")
    if everyone is None or VARIATION not in [axis.name for axis in everyone.axes]:
        return []
    events = everyone.project("dataset", VARIATION)
    datasets, varied = ([str(name) for name in axis] for axis in events.axes)
    return [
        f"dataset {name!r}: nothing was varied; name corrections under 'nanoaod' in its metadata (docs/nanoaod.md)"
        for name, values in zip(datasets, events.values(), strict=True)
        if {v for v, filled in zip(varied, values, strict=True) if filled} == {NOMINAL}
    ]


def unchanged(nominal: ak.Array, varied: ak.Array) -> tuple[IntArray, BoolArray]:
    """Which events of a varied record have the very inputs of the nominal one.

    Both are truncated records, ordered by ``id``. Returns, for each varied event, its position in ``nominal`` (any
    where it is not there) and whether all its jets, large-radius jets and missing momentum are equal to those, bit by bit.
    """
    ids, other = np.asarray(nominal.id), np.asarray(varied.id)
    if len(ids) == 0:
        return np.zeros(len(other), dtype=np.int64), np.zeros(len(other), dtype=bool)
    position = np.minimum(np.searchsorted(ids, other), len(ids) - 1).astype(np.int64)
    same = ids[position] == other
    if "met" in varied.fields:  # of all jets, also those that are not kept
        for part in varied.met.fields:
            same &= np.asarray(nominal.met[part])[position] == np.asarray(varied.met[part])
    for name in (n for n in ("jets", "fatjets") if n in varied.fields):
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
    old = {d: {m: candidates[position[same]] for m, candidates in methods.items()} for d, methods in found.items()}
    if same.all():
        return old
    new = reconstruct(varied[~same])
    return {
        d: {m: ak.concatenate([before, new[d][m]], axis=0)[back] for m, before in methods.items()}
        for d, methods in old.items()
    }
