"""Truth matching of single quarks to jets: the targets of any topology that is made of small-radius jets."""

from __future__ import annotations

from typing import NamedTuple

import awkward as ak
import numpy as np

from hhh_coffea.base.arrays import IntArray, counts_of, event_index, flat, position_in_event
from hhh_coffea.base.compiled import compiled
from hhh_coffea.base.kinematics import FloatArray
from hhh_coffea.topology.kinds import NONE


class NearPairs(NamedTuple):
    """Pairs of an object and a particle of its event within some ΔR, by rising object, then by rising particle."""

    item: IntArray  # flat index of the object
    event: IntArray
    particle: IntArray  # column of the particle
    distance: FloatArray  # ΔR²


@compiled
def near_pairs(eta, phi, event, of_eta, of_phi, radius):  # type: ignore[no-untyped-def]
    """All pairs with ΔR < ``radius`` of flat objects, each with its event, rising, and the particles ``(N, n)`` of the events.

    A particle whose direction is NaN is near nothing. Azimuths are in [−π, π]. Returns :class:`NearPairs`.
    """
    most = len(eta) * of_eta.shape[1]
    item, particle = np.empty(most, dtype=np.int64), np.empty(most, dtype=np.int64)
    distance, n = np.empty(most, dtype=np.float64), 0
    for i in range(len(eta)):
        for p in range(of_eta.shape[1]):
            delta_eta = np.float64(eta[i]) - of_eta[event[i], p]
            delta_phi = abs(np.float64(phi[i]) - of_phi[event[i], p])
            delta_phi = min(delta_phi, 2 * np.pi - delta_phi)  # the short way round
            square = delta_eta * delta_eta + delta_phi * delta_phi
            if square < radius * radius:
                item[n], particle[n], distance[n] = i, p, square
                n += 1
    return NearPairs(item[:n].copy(), event[item[:n]], particle[:n].copy(), distance[:n].copy())


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
    pairs = near_pairs(flat(jets.eta), flat(jets.phi), event_index(counts), eta, phi, radius)
    found: IntArray = nearest_first(pairs, flat(jets.index), position_in_event(counts), eta.shape)
    return found


@compiled
def nearest_first(pairs, rank, position, shape):  # type: ignore[no-untyped-def]
    """Take the nearest of the pairs of an event, strike both its object and its particle, and go on until none is left.

    Parameters
    ----------
    pairs
        of :func:`near_pairs`
    rank, position
        of every object: ties go to the first particle, then to the object of lowest rank
    shape
        ``(N, n)`` of the particles

    Returns
    -------
    ``(N, n)``: the ``position`` of the object of each particle, −1 where it has none.
    """
    found = np.full(shape, NONE, dtype=np.int64)
    distance, stop = pairs.distance.copy(), 0
    while stop < len(distance):
        start = stop
        while stop < len(distance) and pairs.event[stop] == pairs.event[start]:
            stop += 1
        while True:
            best = start
            for k in range(start + 1, stop):
                if distance[k] < distance[best] or (
                    distance[k] == distance[best]
                    and (pairs.particle[k], rank[pairs.item[k]]) < (pairs.particle[best], rank[pairs.item[best]])
                ):
                    best = k
            if distance[best] == np.inf:
                break
            item, particle = pairs.item[best], pairs.particle[best]
            found[pairs.event[best], particle] = position[item]
            for k in range(start, stop):
                if pairs.item[k] == item or pairs.particle[k] == particle:
                    distance[k] = np.inf
    return found
