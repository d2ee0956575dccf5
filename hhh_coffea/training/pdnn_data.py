"""Training data of the permutation network: inputs of full events and which of their permutations is the correct one."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt

from hhh_coffea.base.arrays import IntArray
from hhh_coffea.base.errors import UserError
from hhh_coffea.base.hashing import split_number
from hhh_coffea.methods.pdnn.inputs import Events, Layout, events_of
from hhh_coffea.reconstruction.analysis import Analysis
from hhh_coffea.reconstruction.targets import Targets
from hhh_coffea.topology.assignments import assignments, split

Columns = dict[str, npt.NDArray[Any]]
BITS = 8  # of a jet in the number that stands for a permutation; more than 7 jets would not fit into 64 bits together


class TrainingDataError(UserError):
    """The events cannot be trained on; the message says why."""


def check(name: str, analysis: Analysis, is_signal: bool) -> None:
    """TrainingDataError if a dataset has no truth, or its analysis has targets that are not made of jets alone."""
    if not is_signal:
        raise TrainingDataError(f"dataset {name!r}: background has no correct assignment: leave it out with --datasets")
    elsewhere = {c for kind in analysis.kinds.values() for c in kind.collections} - {"jets"}
    if elsewhere or len(analysis.topology.alternatives) != len(analysis.topology.targets):
        raise TrainingDataError(
            f"dataset {name!r}: analysis {analysis.name!r} has targets that are not made of jets alone: the permutation "
            "network assigns jets"
        )
    if missing := {"leptons", "met"} - set(analysis.collections):
        raise TrainingDataError(
            f"dataset {name!r}: analysis {analysis.name!r} does not read {', '.join(sorted(missing))}: the permutation "
            "network needs one lepton and the missing transverse momentum"
        )


def training_columns(record: ak.Array, targets: Targets, analysis: Analysis, max_jets: int, uuid: str) -> Columns:
    """Columns of the full events of a record: all targets have their jets, and these are among those offered.

    ``jets momenta event lepton counts``
        as in :class:`.Events`, padded to ``max_jets``
    ``truth``
        ``(n, K)`` int8: jets of all targets side by side, positions among those offered
    ``split entry``
        what tells training from validation (:mod:`hhh_coffea.base.hashing`)
    """
    events = events_of(record, max_jets)
    slots = np.concatenate([np.zeros((len(record), 0), dtype=np.int64), *_truth(targets, analysis)], axis=1)
    at = slots[:, :, None] == np.where(events.order >= 0, events.order, -2)[:, None]
    full = at.any(axis=2).all(axis=1) if at.shape[2] else np.zeros(len(record), dtype=bool)
    wide = [np.zeros((int(full.sum()), max_jets, k), dtype=np.float32) for k in (6, 4)]
    for padded, own in zip(wide, (events.jets, events.momenta), strict=True):
        padded[:, : own.shape[1]] = own[full]
    truth = at[full].argmax(axis=2) if len(wide[0]) else np.zeros((0, slots.shape[1]))
    entry = np.asarray(ak.to_numpy(record.id), dtype=np.int64)[full]
    return {
        "jets": wide[0],
        "momenta": wide[1],
        "event": events.event[full],
        "lepton": events.lepton[full],
        "counts": events.counts[full].astype(np.int8),
        "truth": truth.astype(np.int8),
        "split": split_number(uuid, entry),
        "entry": entry,
    }


def _truth(targets: Targets, analysis: Analysis) -> list[IntArray]:
    """Jets of each target in the order of the topology, each ``(N, k)``; equivalent ones are not yet told apart."""
    place = {target: (kind, m) for kind in analysis.kinds.values() for m, target in enumerate(kind.members)}
    return [
        targets.objects[place[t][0].name][:, place[t][1]].astype(np.int64)
        for t in range(len(analysis.topology.targets))
    ]


def ordered(columns: Mapping[str, npt.NDArray[Any]]) -> Columns:
    """Columns in an order that does not depend on how the events were read."""
    order = np.lexsort((columns["event"][:, 0], columns["entry"], columns["split"]))
    return {name: values[order] for name, values in columns.items()}


def digest(columns: Mapping[str, npt.NDArray[Any]]) -> str:
    """SHA-256 of the columns."""
    found = hashlib.sha256()
    for name in sorted(columns):
        found.update(name.encode())
        found.update(np.ascontiguousarray(columns[name]).tobytes())
    return found.hexdigest()


def events_from(columns: Mapping[str, npt.NDArray[Any]]) -> Events:
    """The inputs among the columns; ``order`` is that of the jets offered."""
    counts = columns["counts"].astype(np.int64)
    place = np.arange(columns["jets"].shape[1])
    order = np.where(place < counts[:, None], place, -1)
    return Events(columns["jets"], columns["momenta"], columns["event"], columns["lepton"], counts, order)


def correct_rows(truth: npt.NDArray[np.integer], layout: Layout, n_jets: int) -> IntArray:
    """``(N, K)`` jets of all targets → the row of each event's permutation in the table of ``n_jets`` jets.

    Raises
    ------
    ValueError
        if a row of ``truth`` is no assignment of these jets.
    """
    table = assignments(layout.targets, n_jets, layout.event_group).objects
    codes = _code(table)
    order = np.argsort(codes)
    parts = split(truth, layout.targets)
    found = np.full(len(truth), -1, dtype=np.int64)
    for g in layout.event_group or (tuple(range(len(parts))),):
        exchanged = np.concatenate([_first(parts[i], layout.targets[t].group) for t, i in enumerate(g)], axis=1)
        wanted = _code(exchanged)
        at = order[np.searchsorted(codes[order], wanted).clip(max=len(order) - 1)]
        found = np.where(codes[at] == wanted, at, found)
    if (found < 0).any():
        raise ValueError(f"{truth[found < 0][0]} is no assignment of {n_jets} jets")
    return found


def _first(objects: npt.NDArray[np.integer], group: tuple[tuple[int, ...], ...]) -> npt.NDArray[np.integer]:
    """Of the orders that a target's group makes equal the first in lexicographic order."""
    ways = np.stack([objects[:, list(g)] for g in group])  # (G, N, k)
    best = _code(ways).argmin(axis=0)
    chosen: npt.NDArray[np.integer] = np.take_along_axis(ways, best[None, :, None], axis=0)[0]
    return chosen


def _code(objects: npt.NDArray[np.integer]) -> IntArray:
    """``(…, k)`` objects → ``(…)``: a number for each, in lexicographic order."""
    if objects.shape[-1] * BITS > 63:
        raise TrainingDataError(f"{objects.shape[-1]} jets in one permutation are more than the 7 that there may be")
    found = np.zeros(objects.shape[:-1], dtype=np.int64)
    for column in np.moveaxis(objects, -1, 0):
        found = (found << BITS) + column
    return found
