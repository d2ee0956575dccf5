"""Candidates: the one form every method returns, and the removal of overlaps between them.

Per event a list of ``{kind, objects, pt, eta, phi, mass, assignment_probability, detection_probability, probability,
overlaps}``:
``kind`` is the number of a :class:`~hhh_coffea.topology.kinds.Kind` of the topology, ``objects`` the positions of its
daughters in the record's lists (as many as the largest kind has, −1 beyond), and ``overlaps`` marks candidates that
another kind of candidate displaces. Methods may add what their analysis declares as outputs: ln L of a fit or the score of a
network (``score``), say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import reduce
from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt

from hhh_coffea.base.arrays import IntArray, counts_of, event_index, flat, pad, true_in_row, unflatten
from hhh_coffea.base.kinematics import Cartesian, FloatArray, delta_r_squared, polar
from hhh_coffea.events.record import momentum
from hhh_coffea.topology.kinds import NONE, Kind

FIELDS = (
    *("kind", "objects", "pt", "eta", "phi", "mass"),
    *("assignment_probability", "detection_probability", "probability", "overlaps"),
)
KINEMATICS = ("pt", "eta", "phi", "mass")
OVERLAP_RADIUS = 0.5


def make_candidates(
    record: ak.Array,
    kind: Kind,
    objects: IntArray,
    assignment_probability: FloatArray | float = 1.0,
    detection_probability: FloatArray | float = 1.0,
    beyond: Cartesian | None = None,
    outputs: Mapping[str, FloatArray | float] | None = None,
) -> ak.Array:
    """Candidates of one kind.

    A candidate of one object has the four-vector of that object (a large-radius jet's mass is the ungroomed one, as published,
    §5), others the sum of their daughters'.

    Parameters
    ----------
    record
        event record, truncated
    kind
        what they are
    objects
        ``(N, C, k)`` positions of the daughters in their collections, −1 throughout where there is no candidate
    assignment_probability, detection_probability
        ``(N, C)``, or one number for all
    beyond
        ``(N,)`` momenta (GeV) that belong to the candidate beside its daughters, as lepton and neutrino to a top quark
    outputs
        further columns by name, ``(N, C)``, ``(N,)`` for all candidates of an event, or one number. ``probability``, that
        the candidate is a true target, is the product of the other two where it is not given
    """
    if np.ndim(objects) != 3 or objects.shape[2] != kind.degree or not np.issubdtype(objects.dtype, np.integer):
        raise ValueError(
            f"candidates of kind {kind.name!r} are integer positions (events, candidates, {kind.degree}), not "
            f"{objects.dtype} of shape {np.shape(objects)}"
        )
    exists = np.logical_and.reduce([objects[..., d] >= 0 for d in range(kind.degree)])
    there = np.flatnonzero(exists)
    event, chosen = there // max(exists.shape[1], 1), kind.ordered(objects.reshape(-1, kind.degree).take(there, axis=0))
    _check_positions(record, kind, event, chosen)
    if kind.degree == 1 and beyond is None:
        daughters = record[kind.collections[0]]
        index = _starts(daughters)[event] + chosen[:, 0]
        four_vector = tuple(flat(daughters[name])[index].astype(np.float64) for name in KINEMATICS)
    else:
        total = summed_momentum(record, kind, event, chosen)
        if beyond is not None:
            total = Cartesian(*(a + b[event] for a, b in zip(total, beyond, strict=True)))
        four_vector = polar(total)
    positions = np.full((len(chosen), kind.width), NONE, dtype=np.int64)
    positions[:, : kind.degree] = chosen
    columns = {
        "kind": np.full(len(chosen), kind.number, dtype=np.int8),
        "objects": positions,
        **dict(zip(KINEMATICS, four_vector, strict=True)),
        "assignment_probability": np.broadcast_to(assignment_probability, exists.shape)[exists].astype(np.float64),
        "detection_probability": np.broadcast_to(detection_probability, exists.shape)[exists].astype(np.float64),
    }
    columns["probability"] = columns["assignment_probability"] * columns["detection_probability"]
    columns["overlaps"] = np.zeros(len(chosen), dtype=bool)
    for name, values in (outputs or {}).items():
        each = np.asarray(values, dtype=np.float64)
        columns[name] = np.broadcast_to(each[:, None] if each.ndim == 1 else each, exists.shape)[exists]
    return unflatten(columns, true_in_row(exists))


def checked(candidates: Any, n_events: int, at: str) -> ak.Array:
    """Return what a function of a user's returned, if these are candidates of so many events; else TypeError, with ``at``."""
    if not isinstance(candidates, ak.Array) or set(FIELDS) - set(candidates.fields):
        kind = ak.type(candidates) if isinstance(candidates, ak.Array) else type(candidates).__name__
        raise TypeError(f"{at} must return candidates, as analysis.candidates() makes them, not {kind}")
    if len(candidates) != n_events:
        raise TypeError(f"{at} returned {len(candidates)} lists for {n_events} events")
    return candidates


def _check_positions(record: ak.Array, kind: Kind, event: IntArray, chosen: IntArray) -> None:
    """ValueError if a daughter is an object that its event does not have, or if two are the same one."""
    for d, name in enumerate(kind.collections):
        counts = counts_of(record[name].pt)
        if (bad := chosen[:, d] >= counts[event]).any():
            first = int(np.flatnonzero(bad)[0])
            raise ValueError(
                f"a candidate of kind {kind.name!r} has position {chosen[first, d]} in {name}, of which event "
                f"{event[first]} of the chunk has {counts[event[first]]}"
            )
        for other in range(d):
            if kind.collections[other] == name and (chosen[:, d] == chosen[:, other]).any():
                raise ValueError(f"a candidate of kind {kind.name!r} has the same object of {name} twice")


def summed_momentum(record: ak.Array, kind: Kind, event: IntArray, objects: IntArray) -> Cartesian:
    """Summed momenta (GeV) of the daughters at ``(C, k)`` positions in the events ``(C,)``."""
    daughters = (
        momentum(record[name], _starts(record[name])[event] + objects[:, d]) for d, name in enumerate(kind.collections)
    )
    return reduce(lambda some, more: Cartesian(*(a + b for a, b in zip(some, more, strict=True))), daughters)


def merge(record: ak.Array, displacing: ak.Array, kind: Kind, others: ak.Array) -> ak.Array:
    """Candidates of ``kind`` (single large-radius jets) first, then the others, with ``overlaps`` set."""
    return mark_overlaps(record, ak.concatenate([displacing, others], axis=1), kind)


def mark_overlaps(record: ak.Array, candidates: ak.Array, kind: Kind, others: Iterable[Kind] | None = None) -> ak.Array:
    """Set ``overlaps``: a candidate with any small-radius jet within ΔR < 0.5 of one of ``kind`` is dropped by it.

    The large-radius jet always wins (§4 of the published analysis, and ours). Nothing is removed here: metrics and figures
    choose.
    ``others``: the kinds of the other candidates, where some have daughters that are no jets.
    """
    fatjets = candidates.objects[candidates.kind == kind.number][..., 0]
    width = int(counts_of(fatjets).max(initial=0))
    overlaps = np.zeros(int(counts_of(candidates.kind).sum()), dtype=bool)
    if width:
        event = event_index(counts_of(candidates.kind))
        fat = pad(fatjets, width, NONE)[event]  # (candidates, large-radius jets)
        fat_eta, fat_phi = _directions(record.fatjets, event[:, None], fat)
        objects, number = flat(candidates.objects), flat(candidates.kind)
        for d in range(kind.width):
            of_jets = number != kind.number
            if others is not None:
                has = [k.number for k in others if k.collections[d : d + 1] == ("jets",)]
                of_jets = np.isin(number, has)
            jet = np.where(of_jets, objects[:, d], NONE)
            eta, phi = _directions(record.jets, event, jet)
            close = delta_r_squared(eta[:, None], phi[:, None], fat_eta, fat_phi) < OVERLAP_RADIUS**2
            overlaps |= (close & (fat >= 0) & (jet >= 0)[:, None]).any(axis=1)
    return ak.with_field(candidates, ak.unflatten(overlaps, counts_of(candidates.kind)), "overlaps")


def _starts(objects: ak.Array) -> IntArray:
    counts = counts_of(objects.pt)
    return np.cumsum(counts) - counts


def _directions(objects: ak.Array, event: IntArray, position: npt.NDArray[np.integer]) -> tuple[FloatArray, FloatArray]:
    """(η, φ) at ``position`` in each ``event``; any value where the position is −1."""
    index = np.where(position >= 0, _starts(objects)[event] + position, 0)
    eta, phi = flat(objects.eta), flat(objects.phi)
    if len(eta) == 0:
        return np.zeros(index.shape), np.zeros(index.shape)
    return eta[index], phi[index]
