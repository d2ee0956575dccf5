"""Truth matching of single quarks to jets: the targets of any topology that is made of small-radius jets."""

from __future__ import annotations

from typing import Any, NamedTuple

import awkward as ak
import numpy as np
import numpy.typing as npt

from hhh_coffea.base.arrays import IntArray, counts_of, event_index, flat, position_in_event
from hhh_coffea.base.kinematics import FloatArray, delta_r_squared
from hhh_coffea.topology.kinds import NONE

BLOCK = 4096  # objects at a time: their distances stay in the processor's cache


class NearPairs(NamedTuple):
    """Pairs of an object and a particle of its event within some ΔR, by rising object, then by rising particle."""

    item: IntArray  # flat index of the object
    particle: IntArray  # column of the particle
    distance: FloatArray  # ΔR²


def near_pairs(
    eta: npt.NDArray[Any], phi: npt.NDArray[Any], event: IntArray, of_eta: FloatArray, of_phi: FloatArray, radius: float
) -> NearPairs:
    """All pairs with ΔR < ``radius`` of flat objects, each with its event, and the particles ``(N, n)`` of the events.

    A particle whose direction is NaN is near nothing.
    """
    n, parts = of_eta.shape[1], []
    for start in range(0, max(len(eta), 1), BLOCK):
        block = slice(start, start + BLOCK)
        # flat tables of (object, particle); of rows, take is several times faster than indexing
        own = (np.repeat(values[block].astype(np.float64), n) for values in (eta, phi))
        others = (values.take(event[block], axis=0).ravel() for values in (of_eta, of_phi))
        distance = delta_r_squared(*own, *others)
        near = np.flatnonzero(distance < radius**2)
        parts.append((start + near // n, near % n, distance[near]))
    return NearPairs(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def match_quarks(jets: ak.Array, eta: FloatArray, phi: FloatArray, radius: float) -> IntArray:
    """``(N, q)``: position in ``jets`` of the jet of each quark, −1 where it has none.

    Of all (quark, jet) pairs of an event with ΔR < ``radius`` the nearest is taken first, and each quark and each jet
    once: one global list, whatever particle a quark belongs to. Ties go to the first quark, then to the first jet of the
    file.

    Parameters
    ----------
    jets
        of the event record, in any order; ``index`` is the position in the file
    eta, phi
        ``(N, q)``, NaN where an event has no such quark
    """
    counts = counts_of(jets.eta)
    n_events, n_quarks = eta.shape
    event, position = event_index(counts), position_in_event(counts)
    jet, quark, distance = near_pairs(flat(jets.eta), flat(jets.phi), event, eta, phi, radius)
    number = event[jet] * n_quarks + quark
    order = np.lexsort((flat(jets.index)[jet], number))
    jet, number = jet[order], number[order]
    chosen = nearest_exclusive(distance[order], jet, number)
    result = np.full(n_events * n_quarks, NONE, dtype=np.int64)
    result[number[chosen]] = position[jet[chosen]]
    return result.reshape(n_events, n_quarks)


def nearest_exclusive(distance: FloatArray, left: IntArray, right: IntArray) -> IntArray:
    """Indices of the (left, right) pairs that remain when the nearest is taken first and every object only once.

    ``left`` and ``right`` number the objects globally (an object of another event has another number). Ties go to the
    pair listed first. Rounds take every pair that is the nearest left for both its objects, which is what taking one
    pair at a time would do.
    """
    # most objects have a single partner: only the others compete
    alone = (np.bincount(left)[left] == 1) & (np.bincount(right)[right] == 1) if len(left) else np.zeros(0, dtype=bool)
    taken = [np.flatnonzero(alone)]
    order = np.flatnonzero(~alone)
    order = order[np.argsort(distance[order], kind="stable")]
    while len(order):
        rank = np.arange(len(order))
        best_of_left = np.empty(left.max() + 1, dtype=np.int64)
        best_of_right = np.empty(right.max() + 1, dtype=np.int64)
        # written back to front, so that the nearest pair of each object is what stays
        best_of_left[left[order[::-1]]] = rank[::-1]
        best_of_right[right[order[::-1]]] = rank[::-1]
        mutual = (best_of_left[left[order]] == rank) & (best_of_right[right[order]] == rank)
        accepted = order[mutual]
        taken.append(accepted)
        used_left = np.zeros(len(best_of_left), dtype=bool)
        used_right = np.zeros(len(best_of_right), dtype=bool)
        used_left[left[accepted]] = True
        used_right[right[accepted]] = True
        order = order[~used_left[left[order]] & ~used_right[right[order]]]
    return np.concatenate(taken)
