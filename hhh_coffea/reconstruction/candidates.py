"""Higgs candidates: the one form every method returns, and the removal of overlaps between them.

Per event a list of ``{kind, jet1, jet2, fatjet, pt, eta, phi, mass, assignment_probability, detection_probability,
overlaps}``: ``kind`` is :data:`RESOLVED` or :data:`BOOSTED`, ``jet1 < jet2`` and ``fatjet`` are positions in the
record's lists (−1 where none), and ``overlaps`` marks resolved candidates that overlap a boosted one.
"""

from __future__ import annotations

import awkward as ak
import numpy as np
import numpy.typing as npt

from hhh_coffea.base.arrays import IntArray, counts_of, event_index, flat, pad, unflatten
from hhh_coffea.base.kinematics import Cartesian, FloatArray, cartesian, delta_r_squared, polar
from hhh_coffea.events.record import momentum

RESOLVED, BOOSTED = 0, 1
KINDS = ("resolved", "boosted")
FIELDS = (
    *("kind", "jet1", "jet2", "fatjet", "pt", "eta", "phi", "mass"),
    *("assignment_probability", "detection_probability", "overlaps"),
)
NONE = -1
OVERLAP_RADIUS = 0.5


def resolved_candidates(
    record: ak.Array,
    jet1: IntArray,
    jet2: IntArray,
    assignment_probability: FloatArray | float = 1.0,
    detection_probability: FloatArray | float = 1.0,
) -> ak.Array:
    """Candidates from pairs of small-radius jets.

    ``jet1`` and ``jet2`` are ``(N, C)`` positions in ``record.jets``, −1 where there is no candidate.
    """
    exists = jet1 >= 0
    low, high = np.minimum(jet1, jet2)[exists], np.maximum(jet1, jet2)[exists]
    four_vector = polar(pair_momentum(record, jet1, jet2))
    return _candidates(exists, RESOLVED, low, high, None, four_vector, assignment_probability, detection_probability)


def pair_momentum(record: ak.Array, jet1: IntArray, jet2: IntArray) -> Cartesian:
    """Flat summed momenta (GeV) of the jet pairs at ``(N, C)`` positions, those with −1 left out."""
    exists = jet1 >= 0
    counts = counts_of(record.jets.pt)
    start = (np.cumsum(counts) - counts)[np.nonzero(exists)[0]]
    first, second = start + jet1[exists], start + jet2[exists]
    return Cartesian(*(component[first] + component[second] for component in momentum(record.jets)))


def fatjet_momentum(record: ak.Array, fatjet: IntArray) -> Cartesian:
    """Flat momenta (GeV) of the fat jets at ``(N, C)`` positions, those with −1 left out."""
    exists = fatjet >= 0
    counts = counts_of(record.fatjets.pt)
    index = (np.cumsum(counts) - counts)[np.nonzero(exists)[0]] + fatjet[exists]
    return cartesian(*(flat(record.fatjets[name])[index] for name in ("pt", "eta", "phi", "mass")))


def boosted_candidates(
    record: ak.Array,
    fatjet: IntArray,
    assignment_probability: FloatArray | float = 1.0,
    detection_probability: FloatArray | float = 1.0,
) -> ak.Array:
    """Candidates from single fat jets; ``fatjet`` is ``(N, C)``, −1 where there is no candidate.

    The candidate's mass is the ungroomed one of the fat jet, as published (§5).
    """
    fatjets = record.fatjets
    exists = fatjet >= 0
    starts = np.cumsum(counts_of(fatjets.pt)) - counts_of(fatjets.pt)
    index = starts[np.nonzero(exists)[0]] + fatjet[exists]
    pt, eta, phi, mass = (flat(fatjets[name])[index].astype(np.float64) for name in ("pt", "eta", "phi", "mass"))
    return _candidates(
        exists, BOOSTED, None, None, fatjet[exists], (pt, eta, phi, mass), assignment_probability, detection_probability
    )


def merge(record: ak.Array, boosted: ak.Array, resolved: ak.Array) -> ak.Array:
    """Boosted candidates first, then the resolved ones, with ``overlaps`` set."""
    return mark_overlaps(record, ak.concatenate([boosted, resolved], axis=1))


def mark_overlaps(record: ak.Array, candidates: ak.Array) -> ak.Array:
    """Set ``overlaps``: a resolved candidate with either jet within ΔR < 0.5 of a boosted candidate is dropped by it.

    Boosted always wins (§4 of the published analysis, and ours). Nothing is removed here: metrics and figures choose.
    """
    boosted = candidates.fatjet[candidates.kind == BOOSTED]
    width = int(counts_of(boosted).max(initial=0))
    overlaps = np.zeros(int(counts_of(candidates.kind).sum()), dtype=bool)
    if width:
        event = event_index(counts_of(candidates.kind))
        fat = pad(boosted, width, NONE)[event]  # (candidates, boosted)
        fat_eta, fat_phi = _directions(record.fatjets, event[:, None], fat)
        for name in ("jet1", "jet2"):
            jet = flat(candidates[name])
            eta, phi = _directions(record.jets, event, jet)
            close = delta_r_squared(eta[:, None], phi[:, None], fat_eta, fat_phi) < OVERLAP_RADIUS**2
            overlaps |= (close & (fat >= 0) & (jet >= 0)[:, None]).any(axis=1)
    return ak.with_field(candidates, ak.unflatten(overlaps, counts_of(candidates.kind)), "overlaps")


def _directions(objects: ak.Array, event: IntArray, position: IntArray) -> tuple[FloatArray, FloatArray]:
    """(η, φ) at ``position`` in each ``event``; any value where the position is −1."""
    counts = counts_of(objects.eta)
    starts = np.cumsum(counts) - counts
    index = np.where(position >= 0, starts[event] + position, 0)
    eta, phi = flat(objects.eta), flat(objects.phi)
    if len(eta) == 0:
        return np.zeros(index.shape), np.zeros(index.shape)
    return eta[index], phi[index]


def _candidates(
    exists: npt.NDArray[np.bool_],
    kind: int,
    jet1: IntArray | None,
    jet2: IntArray | None,
    fatjet: IntArray | None,
    four_vector: tuple[FloatArray, FloatArray, FloatArray, FloatArray],
    assignment_probability: FloatArray | float,
    detection_probability: FloatArray | float,
) -> ak.Array:
    total = int(exists.sum())
    none = np.full(total, NONE, dtype=np.int64)
    pt, eta, phi, mass = four_vector
    return unflatten(
        {
            "kind": np.full(total, kind, dtype=np.int8),
            "jet1": none if jet1 is None else jet1,
            "jet2": none if jet2 is None else jet2,
            "fatjet": none if fatjet is None else fatjet,
            "pt": pt,
            "eta": eta,
            "phi": phi,
            "mass": mass,
            "assignment_probability": np.broadcast_to(assignment_probability, exists.shape)[exists].astype(np.float64),
            "detection_probability": np.broadcast_to(detection_probability, exists.shape)[exists].astype(np.float64),
            "overlaps": np.zeros(total, dtype=bool),
        },
        exists.sum(axis=1),
    )
