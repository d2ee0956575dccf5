"""Truth matching of objects to generated particles, nearest first: the targets of any topology made of jets."""

from __future__ import annotations

import awkward as ak
import numpy as np

from hhh_coffea.base.arrays import IntArray, counts_of, flat
from hhh_coffea.base.compiled import compiled
from hhh_coffea.base.kinematics import Array, FloatArray
from hhh_coffea.reconstruction.targets import BoolArray
from hhh_coffea.topology.kinds import NONE

# Of the objects of N events, flat: η, φ, how many each event has, and which may be matched. Plain tuples: what numba keeps of
# a compiled function could not be read again once a class of ours among its arguments is renamed
Objects = tuple[Array, Array, IntArray, BoolArray]
# η and φ, ``(N, n, m)``: m directions of each particle, to all of which an object must be near; its distance is that to the
# first. A particle with a direction that is NaN is near nothing
Particles = tuple[Array, Array]


@compiled
def distance(eta, phi, of_eta, of_phi):  # type: ignore[no-untyped-def]
    """ΔR² of two directions with azimuths in [−π, π]: one number, in double precision."""
    delta_eta, delta_phi = np.float64(eta) - np.float64(of_eta), abs(np.float64(phi) - np.float64(of_phi))
    delta_phi = min(delta_phi, 2 * np.pi - delta_phi)  # the short way round
    return delta_eta * delta_eta + delta_phi * delta_phi


def match_quarks(jets: ak.Array, eta: FloatArray, phi: FloatArray, radius: float) -> IntArray:
    """``(N, q)``: position in ``jets`` of the jet of each quark, −1 where it has none: see :func:`match_nearest`.

    Ties go to the first quark, then to the first jet of the file.

    Parameters
    ----------
    jets
        of the event record, in any order; ``index`` is the position in the file
    eta, phi
        ``(N, q)``, NaN where an event has no such quark
    """
    index = flat(jets.index)
    objects = (flat(jets.eta), flat(jets.phi), counts_of(jets), np.ones(len(index), dtype=np.bool_))
    found: IntArray = match_nearest(objects, index, (eta[..., None], phi[..., None]), radius)
    return found


@compiled
def match_nearest(objects, rank, particles, radius):  # type: ignore[no-untyped-def]
    """``(N, n)``: position of the object of each particle in its event's list, −1 where it has none.

    Of all pairs of an event that are near the nearest is taken first, and each particle and each object once: one list for
    the whole event. Ties go to the first particle, then to the object of lowest ``rank`` (one for every object).
    """
    (eta, phi, counts, use), (of_eta, of_phi) = objects, particles
    n_events, n_particles, n_directions = of_eta.shape
    found = np.full((n_events, n_particles), NONE, dtype=np.int64)
    most = 1 + n_particles * (counts.max() if n_events else 0)
    item, particle, order = np.empty((3, most), dtype=np.int64)
    square, taken, start = np.empty(most), np.zeros(len(eta), dtype=np.bool_), 0
    for event in range(n_events):
        n = 0
        for i in range(start, start + counts[event]):
            for p in range(n_particles if use[i] else 0):
                near = True
                for d in range(n_directions - 1, -1, -1):
                    square[n] = distance(eta[i], phi[i], of_eta[event, p, d], of_phi[event, p, d])
                    near &= square[n] < radius * radius
                item[n], particle[n] = i, p
                n += near  # every pair is written, and the next one over it if it is far
        for pair in range(n):
            k, own = pair, (square[pair], particle[pair], rank[item[pair]])
            while k > 0:
                before = order[k - 1]
                if own >= (square[before], particle[before], rank[item[before]]):
                    break
                order[k] = before
                k -= 1
            order[k] = pair
        for pair in order[:n]:
            if not taken[item[pair]] and found[event, particle[pair]] == NONE:
                taken[item[pair]], found[event, particle[pair]] = True, item[pair] - start
        start += counts[event]
    return found
