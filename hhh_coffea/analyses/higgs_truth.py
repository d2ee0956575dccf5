"""Which jets truly came from which Higgs boson: the targets, in our definition and in the published one.

A *resolved* target of a Higgs is the pair of small-radius jets of its two b quarks, a *boosted* target the fat jet
that holds both. A Higgs may have both, or neither.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import awkward as ak
import numpy as np

from hhh_coffea.base.arrays import IntArray, counts_of, event_index, flat, position_in_event
from hhh_coffea.base.kinematics import FloatArray, delta_r_squared
from hhh_coffea.events.record import field
from hhh_coffea.reconstruction.matching import nearest_exclusive
from hhh_coffea.reconstruction.targets import BoolArray, Targets
from hhh_coffea.topology.kinds import NONE

RESOLVED_RADIUS = 0.5
BOOSTED_RADIUS = 0.8


class Distances(NamedTuple):
    """What both definitions match by: all b-flavoured jets and all fat jets (flat) against the Higgs of their event."""

    jet_event: IntArray
    jet_position: IntArray  # in the event's sorted list
    jet_to_quarks: FloatArray  # (jets, n, 2): ΔR² to each quark of each Higgs
    fatjet_event: IntArray
    fatjet_position: IntArray
    fatjet_to_higgs: FloatArray  # (fat jets, n): ΔR²
    fatjet_holds_higgs: BoolArray  # (fat jets, n): Higgs and both its quarks within 0.8


def distances(record: ak.Array, n_higgs: int) -> Distances:
    """Measure every distance once.

    ``record`` holds all objects above threshold (not truncated) of events with exactly ``n_higgs`` Higgs.
    """
    higgs = field(record, "higgs", "truth matching")

    def shaped(values: ak.Array) -> FloatArray:
        return flat(values).astype(np.float64).reshape(len(record), n_higgs)

    quark_eta, quark_phi = (np.stack([shaped(b[k]) for b in (higgs.b1, higgs.b2)], axis=2) for k in ("eta", "phi"))

    jets = record.jets
    counts = counts_of(jets.eta)
    keep = np.flatnonzero(np.abs(flat(field(jets, "flavor", "truth matching"))) == 5)
    event, position = event_index(counts)[keep], position_in_event(counts)[keep]
    eta, phi = flat(jets.eta)[keep, None, None], flat(jets.phi)[keep, None, None]
    jet_to_quarks = delta_r_squared(eta, phi, quark_eta[event], quark_phi[event])

    fatjets = record.fatjets
    counts = counts_of(fatjets.eta)
    fat_event = event_index(counts)
    eta, phi = flat(fatjets.eta), flat(fatjets.phi)
    to_higgs = delta_r_squared(eta[:, None], phi[:, None], shaped(higgs.eta)[fat_event], shaped(higgs.phi)[fat_event])
    to_quarks = delta_r_squared(eta[:, None, None], phi[:, None, None], quark_eta[fat_event], quark_phi[fat_event])
    holds = (np.maximum(to_quarks[..., 0], to_quarks[..., 1]) < BOOSTED_RADIUS**2) & (to_higgs < BOOSTED_RADIUS**2)
    return Distances(event, position, jet_to_quarks, fat_event, position_in_event(counts), to_higgs, holds)


def match(record: ak.Array, n_higgs: int, max_jets: int, max_fatjets: int, near: Distances | None = None) -> Targets:
    """Targets in our definition (``default``).

    Resolved: of all (b quark, b-flavoured jet) pairs with ΔR < 0.5, the nearest is taken first and each quark and each
    jet once, over all jets above threshold; the target exists if both quarks got a jet and both jets are among the
    first ``max_jets``. Boosted: ΔR(fat jet, H) < 0.8 and both quarks within 0.8, nearest to the Higgs first, each fat
    jet and each Higgs once; the fat jet must be among the first ``max_fatjets``.

    ``record`` and ``near`` are those of :func:`distances`.
    """
    near = near or distances(record, n_higgs)
    to_quarks = near.jet_to_quarks.reshape(len(near.jet_event), 2 * n_higgs)
    jet, quark = np.divmod(np.flatnonzero(to_quarks < RESOLVED_RADIUS**2), 2 * n_higgs)
    quark_number = near.jet_event[jet] * 2 * n_higgs + quark
    chosen = nearest_exclusive(to_quarks[jet, quark], jet, quark_number)
    jet_of_quark = np.full(len(record) * 2 * n_higgs, NONE, dtype=np.int64)
    jet_of_quark[quark_number[chosen]] = near.jet_position[jet[chosen]]
    pair = np.sort(jet_of_quark.reshape(len(record), n_higgs, 2), axis=2)
    exists = (pair[..., 0] != NONE) & (pair[..., 1] < max_jets)

    fatjet, higgs = np.nonzero(near.fatjet_holds_higgs)
    higgs_number = near.fatjet_event[fatjet] * n_higgs + higgs
    chosen = nearest_exclusive(near.fatjet_to_higgs[fatjet, higgs], fatjet, higgs_number)
    fatjet_of_higgs = np.full(len(record) * n_higgs, NONE, dtype=np.int64)
    fatjet_of_higgs[higgs_number[chosen]] = near.fatjet_position[fatjet[chosen]]
    kept = np.where(fatjet_of_higgs < max_fatjets, fatjet_of_higgs, NONE).reshape(len(record), n_higgs)
    return _targets(record, n_higgs, pair, exists, kept)


def match_reference(
    record: ak.Array, n_higgs: int, max_jets: int, max_fatjets: int, near: Distances | None = None
) -> Targets:
    """Targets as published (``reference``, §1), faults included.

    Each b-flavoured jet goes to the LAST Higgs in record order that has a quark within 0.5 of it; the first two jets
    of a Higgs among the kept ones are its pair, be they from one quark or two. Each fat jet goes to the last Higgs
    within 0.8 whose quarks are within 0.8 too; a Higgs takes its first fat jet among the kept ones.
    """
    near = near or distances(record, n_higgs)
    shape = (len(record), n_higgs)
    nearest_quark = np.minimum(near.jet_to_quarks[..., 0], near.jet_to_quarks[..., 1])
    higgs = _last_true(nearest_quark < RESOLVED_RADIUS**2)
    pair = _first_positions(near.jet_event, near.jet_position, higgs, shape, 2, max_jets)
    higgs = _last_true(near.fatjet_holds_higgs)
    fatjet = _first_positions(near.fatjet_event, near.fatjet_position, higgs, shape, 1, max_fatjets)
    return _targets(record, n_higgs, pair, pair[..., 1] != NONE, fatjet[..., 0])


def match_each(
    definitions: Iterable[str], record: ak.Array, n_higgs: int, max_jets: int, max_fatjets: int
) -> dict[str, Targets]:
    """Targets by definition, ``default`` or ``reference``; distances are computed once."""
    near = distances(record, n_higgs)
    matches = {"default": match, "reference": match_reference}
    return {d: matches[d](record, n_higgs, max_jets, max_fatjets, near) for d in definitions}


def _last_true(matrix: BoolArray) -> IntArray:
    """Last true column of each row, −1 where there is none."""
    last = np.full(len(matrix), NONE, dtype=np.int64)
    for column in range(matrix.shape[1]):
        last[matrix[:, column]] = column
    return last


def _first_positions(
    event: IntArray, position: IntArray, higgs: IntArray, shape: tuple[int, int], wanted: int, kept: int
) -> IntArray:
    """``(*shape, wanted)``: the first positions below ``kept`` of the objects assigned to each Higgs, −1 where fewer."""
    use = np.flatnonzero((higgs != NONE) & (position < kept))
    owner = event[use] * shape[1] + higgs[use]
    position = position[use]
    order = np.argsort(owner, kind="stable")  # positions already rise within an event
    owner, position = owner[order], position[order]
    rank = position_in_event(np.bincount(owner, minlength=shape[0] * shape[1]))
    first = np.full((shape[0] * shape[1], wanted), NONE, dtype=np.int64)
    early = rank < wanted
    first[owner[early], rank[early]] = position[early]
    return first.reshape(*shape, wanted)


def _targets(record: ak.Array, n_higgs: int, pair: IntArray, exists: BoolArray, fatjet: IntArray) -> Targets:
    def of_higgs(name: str) -> FloatArray:
        return flat(record.higgs[name]).astype(np.float64).reshape(len(record), n_higgs)

    pairs = np.where(exists[..., None], pair, NONE)
    return Targets({"resolved": pairs, "boosted": fatjet[..., None]}, of_higgs("pt"), of_higgs("mass"))
