"""Candidates paired at random: what masses look like when nobody looks at them.

For every event in which a method found k resolved candidates that survive overlap removal, k disjoint pairs are drawn at
random from the jets the method could have paired (``usable_jets``), every set of pairs as likely as any other. The
number of candidates, the events, and the jets with their tags and momenta are thus the method's own; only which jets are
put together is left to chance. :data:`DRAWS` such draws are averaged.

The random numbers of a jet are a function of (file uuid, entry, draw, position of the jet): chunks and workers change
nothing.
"""

from __future__ import annotations

import awkward as ak
import numpy as np
import numpy.typing as npt

from hhh_coffea.base.arrays import IntArray, counts_of, event_index, padded
from hhh_coffea.base.kinematics import Cartesian, FloatArray, delta_r_squared, invariant_mass
from hhh_coffea.events.btagging import uniform
from hhh_coffea.events.record import momentum
from hhh_coffea.reconstruction.candidates import OVERLAP_RADIUS
from hhh_coffea.topology.kinds import NONE

BoolArray = npt.NDArray[np.bool_]
DRAWS = 16  # a power of two: 1/16 of a unit weight adds up without rounding
_STREAM = 2**42  # no jet has this position, so these numbers have nothing to do with those of b tags and splits


def usable_jets(record: ak.Array, candidates: ak.Array, is_fat: BoolArray, first: int) -> BoolArray:
    """``(N, first)``: jets among the ``first`` of an event that lie ΔR ≥ 0.5 from every candidate ``is_fat`` (flat).

    ``first`` is what the targets need (or K) for χ², all jets kept for the network.
    """
    counts = counts_of(record.jets.pt)
    eta, phi = (padded(_flat(record.jets[k]), counts, first, np.nan) for k in ("eta", "phi"))
    usable = np.arange(first) < counts[:, None]
    event = event_index(counts_of(candidates.eta))[is_fat]
    fat_eta, fat_phi = (_flat(candidates[k])[is_fat, None] for k in ("eta", "phi"))
    near = delta_r_squared(eta[event], phi[event], fat_eta, fat_phi)
    np.logical_and.at(usable, event, ~(near < OVERLAP_RADIUS**2))
    return usable


def random_pairs(usable: BoolArray, k: IntArray, file_uuid: str, entry: IntArray, draw: int) -> IntArray:
    """``(N, max k, 2)``: positions of ``k (N)`` disjoint pairs of ``usable (N, M)`` jets, −1 where there are no more.

    Fewer than k where fewer than 2k jets are usable.
    """
    n, m = usable.shape
    place = _STREAM + 64 * draw + np.arange(m)
    number = np.stack([uniform(file_uuid, entry, np.full(n, p)) for p in place], axis=1) if m else np.zeros((n, 0))
    order = np.argsort(np.where(usable, number, 2.0), axis=1)  # usable jets first, in random order
    width = min(int(k.max(initial=0)), m // 2)
    pairs = order[:, : 2 * width].reshape(n, width, 2)
    exists = np.arange(width) < np.minimum(k, usable.sum(axis=1) // 2)[:, None]
    return np.where(exists[..., None], pairs, NONE)


def padded_momenta(record: ak.Array, first: int) -> Cartesian:
    """Momenta (GeV) of the ``first`` jets of each event, ``(N, first)`` each, 0 where there is none."""
    counts = counts_of(record.jets.pt)
    return Cartesian(
        *(padded(np.asarray(part, dtype=np.float64), counts, first, 0.0) for part in momentum(record.jets))
    )


def pt_and_mass(momenta: Cartesian, pairs: IntArray) -> tuple[FloatArray, FloatArray]:
    """pT and mass (GeV) of the jet pairs ``(N, K, 2)``, NaN where there is none: ``(N, K)`` each."""
    row, exists = np.arange(len(pairs))[:, None], pairs[..., 0] >= 0
    if not exists.any():
        return np.full(exists.shape, np.nan), np.full(exists.shape, np.nan)
    total = Cartesian(*(part[row, pairs[..., 0]] + part[row, pairs[..., 1]] for part in momenta))
    mass, pt = invariant_mass(total), np.hypot(total.px, total.py)
    return np.where(exists, pt, np.nan), np.where(exists, mass, np.nan)


def _flat(array: ak.Array) -> FloatArray:
    return np.asarray(ak.to_numpy(ak.flatten(array, axis=1)), dtype=np.float64)
