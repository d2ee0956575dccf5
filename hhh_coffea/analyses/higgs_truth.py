"""Which jets truly came from which Higgs boson: the targets, in our definition and in the published one.

A *resolved* target of a Higgs is the pair of small-radius jets of its two b quarks, a *boosted* target the large-radius jet
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
from hhh_coffea.reconstruction.matching import NearPairs, near_pairs, nearest_first
from hhh_coffea.reconstruction.targets import BoolArray, Targets
from hhh_coffea.topology.kinds import NONE

RESOLVED_RADIUS = 0.5
BOOSTED_RADIUS = 0.8


class Distances(NamedTuple):
    """What both definitions match by: b-flavoured jets and large-radius jets (flat) near to a quark or a Higgs of their event."""

    jet_event: IntArray
    jet_position: IntArray  # in the event's sorted list
    jet_to_quark: NearPairs  # within 0.5; quarks 2i and 2i + 1 are those of Higgs i
    fatjet_event: IntArray
    fatjet_position: IntArray
    fatjet_to_higgs: NearPairs  # within 0.8, as are both quarks of the Higgs


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
    event = event_index(counts)[keep]
    position = keep - (np.cumsum(counts) - counts)[event]
    of_eta, of_phi = (of_all.reshape(len(record), 2 * n_higgs) for of_all in (quark_eta, quark_phi))
    to_quark = near_pairs(flat(jets.eta)[keep], flat(jets.phi)[keep], event, of_eta, of_phi, RESOLVED_RADIUS)

    fatjets = record.fatjets
    counts = counts_of(fatjets.eta)
    fat_event = event_index(counts)
    eta, phi = flat(fatjets.eta), flat(fatjets.phi)
    near = near_pairs(eta, phi, fat_event, shaped(higgs.eta), shaped(higgs.phi), BOOSTED_RADIUS)
    which = (near.event, near.particle)
    to_its_quarks = delta_r_squared(eta[near.item, None], phi[near.item, None], quark_eta[which], quark_phi[which])
    holds = (to_its_quarks < BOOSTED_RADIUS**2).all(axis=1)
    to_higgs = NearPairs(*(column[holds] for column in near))
    return Distances(event, position, to_quark, fat_event, position_in_event(counts), to_higgs)


def match(record: ak.Array, n_higgs: int, max_jets: int, max_fatjets: int, near: Distances | None = None) -> Targets:
    """Targets in our definition (``default``).

    Resolved: of all (b quark, b-flavoured jet) pairs with ΔR < 0.5, the nearest is taken first and each quark and each
    jet once, over all jets above threshold; the target exists if both quarks got a jet and both jets are among the
    first ``max_jets``. Boosted: ΔR(large-radius jet, H) < 0.8 and both quarks within 0.8, nearest to the Higgs first, each
    large-radius jet and each Higgs once; the jet must be among the first ``max_fatjets``.

    ``record`` and ``near`` are those of :func:`distances`.
    """
    near = near or distances(record, n_higgs)
    jet = nearest_first(near.jet_to_quark, near.jet_position, near.jet_position, (len(record), 2 * n_higgs))
    low, high = np.minimum(jet[:, ::2], jet[:, 1::2]), np.maximum(jet[:, ::2], jet[:, 1::2])
    pair = np.stack([low, high], axis=2)
    fatjet = nearest_first(near.fatjet_to_higgs, near.fatjet_position, near.fatjet_position, (len(record), n_higgs))
    kept = np.where(fatjet < max_fatjets, fatjet, NONE)
    return _targets(record, n_higgs, pair, (low != NONE) & (high < max_jets), kept)


def match_reference(
    record: ak.Array, n_higgs: int, max_jets: int, max_fatjets: int, near: Distances | None = None
) -> Targets:
    """Targets as published (``reference``, §1), faults included.

    Each b-flavoured jet goes to the LAST Higgs in record order that has a quark within 0.5 of it; the first two jets
    of a Higgs among the kept ones are its pair, be they from one quark or two. Each large-radius jet goes to the last Higgs
    within 0.8 whose quarks are within 0.8 too; a Higgs takes its first large-radius jet among the kept ones.
    """
    near = near or distances(record, n_higgs)
    shape = (len(record), n_higgs)
    jet, _, quark, _ = near.jet_to_quark
    higgs = _last(jet, quark // 2, len(near.jet_event))
    pair = _first_positions(near.jet_event, near.jet_position, higgs, shape, 2, max_jets)
    fatjet, _, of_fatjet, _ = near.fatjet_to_higgs
    higgs = _last(fatjet, of_fatjet, len(near.fatjet_event))
    kept = _first_positions(near.fatjet_event, near.fatjet_position, higgs, shape, 1, max_fatjets)
    return _targets(record, n_higgs, pair, pair[..., 1] != NONE, kept[..., 0])


def match_each(
    definitions: Iterable[str], record: ak.Array, n_higgs: int, max_jets: int, max_fatjets: int
) -> dict[str, Targets]:
    """Targets by definition, ``default`` or ``reference``; distances are computed once."""
    near = distances(record, n_higgs)
    matches = {"default": match, "reference": match_reference}
    return {d: matches[d](record, n_higgs, max_jets, max_fatjets, near) for d in definitions}


def _last(item: IntArray, particle: IntArray, n_items: int) -> IntArray:
    """The last particle that each object is paired with (pairs by rising particle), −1 where there is none."""
    last = np.full(n_items, NONE, dtype=np.int64)
    last[item] = particle  # what is written last stays
    return last


def _first_positions(
    event: IntArray, position: IntArray, higgs: IntArray, shape: tuple[int, int], wanted: int, kept: int
) -> IntArray:
    """``(*shape, wanted)``: the first positions below ``kept`` of the objects assigned to each Higgs, −1 where fewer."""
    use = np.flatnonzero((higgs != NONE) & (position < kept))
    owner, position = event[use] * shape[1] + higgs[use], position[use]
    first = np.full((shape[0] * shape[1], wanted), NONE, dtype=np.int64)
    for column in first.T:
        column[owner[::-1]] = position[::-1]  # back to front: the first stays, for positions rise within an event
        later = position != column[owner]
        owner, position = owner[later], position[later]
    return first.reshape(*shape, wanted)


def _targets(record: ak.Array, n_higgs: int, pair: IntArray, exists: BoolArray, fatjet: IntArray) -> Targets:
    def of_higgs(name: str) -> FloatArray:
        return flat(record.higgs[name]).astype(np.float64).reshape(len(record), n_higgs)

    pairs = np.stack([np.where(exists, pair[..., k], NONE) for k in (0, 1)], axis=2)
    return Targets({"resolved": pairs, "boosted": fatjet[..., None]}, of_higgs("pt"), of_higgs("mass"))
