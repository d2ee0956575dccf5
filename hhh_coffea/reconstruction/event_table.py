"""One row for each selected event and method, as parquet: kinematics of its candidates and of all of them together.

docs/results_directory.md has the formulas. Energies in GeV, angles in radians.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from hhh_coffea.base.arrays import IntArray, counts_of, event_index, flat, pad, position_in_event
from hhh_coffea.base.atomic import replacing
from hhh_coffea.base.kinematics import Cartesian, FloatArray, cartesian, delta_r_squared, polar, rest_frame
from hhh_coffea.events.record import momentum
from hhh_coffea.reconstruction.analysis import Analysis
from hhh_coffea.reconstruction.candidate_table import stem
from hhh_coffea.reconstruction.metrics import Evaluation

KINEMATICS = ("pt", "eta", "phi", "mass")
PROBABILITIES = ("assignment_probability", "detection_probability", "probability")
EXTRA = 2  # jets of no candidate that have columns


def write_events(
    folder: str | Path,
    chunk: Mapping[str, Any],
    method: str,
    analysis: Analysis,
    record: ak.Array,
    candidates: ak.Array,
    result: Evaluation,
    known: bool,
    more: Mapping[str, npt.NDArray[Any] | None],
    analyses: Iterable[Analysis] = (),
) -> dict[str, int]:
    """Write a chunk's events of one method into ``folder``; returns the file's name, with the folder's, and its bytes.

    Parameters are those of :func:`hhh_coffea.reconstruction.candidate_table.write_candidates`; ``known`` says whether there is
    truth, ``more`` are further columns ``(N,)``: regions, observables; None for a mask that only other datasets have.
    """
    every = (*analyses, analysis)
    n = max(one.n_particles for one in every)
    whole = next(iter(result.categories.values()))
    columns = event_columns(analysis, record, candidates, whole.candidates, n)
    for name in dict.fromkeys(name for one in every for name in one.outputs):  # the same columns in every file
        columns[name] = columns.pop(name, np.full(len(record), np.nan))
    file = os.fsencode(chunk["filename"]).decode(errors="replace")  # names of files need not be UTF-8
    names = {"dataset": chunk["dataset"], "file": file, "method": method}
    table = {name: pa.array([text] * len(record), pa.string()) for name, text in names.items()}
    table["entry"] = pa.array(np.asarray(record.id, dtype=np.int64))
    table["weight"] = pa.array(np.asarray(record.weight, dtype=np.float64))
    full = np.logical_and.reduce(whole.targets, axis=1)
    right = full & np.logical_and.reduce(whole.retrieved == whole.targets, axis=1)
    for name, values in (("full", full), ("right", right)):
        table[name] = pa.array(values) if known else pa.nulls(len(record), pa.bool_())
    for name, values in {**columns, **more}.items():
        if values is None:
            table[name] = pa.nulls(len(record), pa.bool_())
            continue
        table[name] = pa.array(values, mask=np.isnan(values)) if values.dtype.kind == "f" else pa.array(values)
    begin = stem(chunk["dataset"], chunk["filename"], chunk["entrystart"], chunk["entrystop"])
    path = Path(folder) / f"{begin}-{method.replace(':', '_')}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        with partial.open("wb") as stream:
            pq.write_table(pa.table(table), stream, compression="zstd")
        return {f"{path.parent.name}/{path.name}": partial.stat().st_size}


def event_columns(
    analysis: Analysis, record: ak.Array, candidates: ak.Array, surviving: npt.NDArray[np.bool_], n: int
) -> dict[str, npt.NDArray[Any]]:
    """Columns ``(N,)`` of the first ``n`` surviving candidates (flat mask) by falling pT; NaN where there are fewer."""
    kept = np.flatnonzero(surviving)
    event = event_index(counts_of(candidates.kind))[kept]
    kept = kept[np.lexsort((-flat(candidates.pt)[kept], event))]
    counts = np.bincount(event, minlength=len(record))
    slot = position_in_event(counts)
    inside = slot < n
    place = event[inside], slot[inside]

    def table(values: npt.NDArray[Any]) -> FloatArray:
        found = np.full((len(record), n), np.nan)
        found[place] = values[kept][inside]
        return found

    own = {name: table(flat(candidates[name])) for name in (*KINEMATICS, *PROBABILITIES)}
    columns: dict[str, npt.NDArray[Any]] = {
        "jets": counts_of(record.jets.pt),
        "ht": pad(record.jets.pt, _longest(record.jets), 0.0).sum(axis=1, dtype=np.float64),
        "candidates": counts,
    }
    parts = cartesian(*(own[name] for name in KINEMATICS))  # (N, n), NaN where there is none
    total = Cartesian(*(np.nansum(part, axis=1) for part in parts))
    some = counts > 0
    summed = dict(zip(KINEMATICS, (np.where(some, x, np.nan) for x in polar(total)), strict=True))
    columns |= {f"total_{name}": values for name, values in summed.items()}
    frame = Cartesian(*(part[:, None] for part in total))
    flight = rest_frame(parts, frame)
    leading = _leading_daughter(analysis, record, candidates, kept[inside], place, n)
    decay, backwards = rest_frame(leading, parts), rest_frame(frame, parts)
    angles = {
        "cos_theta_star": _cos_to_beam(flight),
        "cos_theta_beam": _cos_to_beam(decay),
        "cos_helicity": np.abs(_cos_between(decay, backwards)),
    }
    for i in range(n):
        columns |= {f"candidate{i + 1}_{name}": values[:, i] for name, values in {**own, **angles}.items()}
    for i, j in combinations(range(n), 2):
        eta, phi = own["eta"], own["phi"]
        columns[f"delta_r_{i + 1}{j + 1}"] = np.sqrt(delta_r_squared(eta[:, i], phi[:, i], eta[:, j], phi[:, j]))
    columns |= _of_first_jets(analysis, record)
    columns |= _extra_jets(analysis, record, candidates, kept)
    for name in analysis.outputs:
        if name in candidates.fields:
            columns[name] = table(flat(candidates[name]))[:, 0]
    return columns


def _longest(objects: ak.Array) -> int:
    return int(counts_of(objects.pt).max(initial=1))


def _daughters(analysis: Analysis, record: ak.Array, candidates: ak.Array, chosen: IntArray) -> Any:
    """(collection, rows of ``chosen``, flat positions in the collection) of every daughter of every kind."""
    event = event_index(counts_of(candidates.kind))[chosen]
    kind, objects = flat(candidates.kind)[chosen], flat(candidates.objects)[chosen]
    for one in analysis.kinds.values():
        rows = np.flatnonzero(kind == one.number)
        for daughter, collection in enumerate(one.collections):
            counts = counts_of(record[collection].pt)
            yield one, collection, rows, (np.cumsum(counts) - counts)[event[rows]] + objects[rows, daughter]


def _leading_daughter(
    analysis: Analysis,
    record: ak.Array,
    candidates: ak.Array,
    chosen: IntArray,
    place: tuple[IntArray, IntArray],
    n: int,
) -> Cartesian:
    """``(N, n)`` momentum of each candidate's daughter of largest pT, NaN of candidates of one object."""
    best = np.full(len(chosen), -1.0)
    found = np.full((4, len(chosen)), np.nan)
    for kind, collection, rows, index in _daughters(analysis, record, candidates, chosen):
        if kind.degree < 2:
            continue
        pt = flat(record[collection].pt)[index]
        higher = pt > best[rows]
        best[rows[higher]] = pt[higher]
        found[:, rows[higher]] = np.stack(momentum(record[collection], index[higher]))
    full = np.full((4, len(record), n), np.nan)
    full[(slice(None), *place)] = found
    return Cartesian(*full)


def _extra_jets(
    analysis: Analysis, record: ak.Array, candidates: ak.Array, kept: IntArray
) -> dict[str, npt.NDArray[Any]]:
    """Jets that no candidate is made of, in the order of the record."""
    counts = counts_of(record.jets.pt)
    free = np.ones(int(counts.sum()), dtype=bool)
    for _, collection, _, index in _daughters(analysis, record, candidates, kept):
        if collection == "jets":
            free[index] = False
    event = event_index(counts)[free]
    left = np.bincount(event, minlength=len(record))
    columns: dict[str, npt.NDArray[Any]] = {"extra_jets": left}
    slot = position_in_event(left)
    for i in range(EXTRA):
        for name in KINEMATICS:
            values = np.full(len(record), np.nan)
            values[event[slot == i]] = flat(record.jets[name])[free][slot == i]
            columns[f"extra{i + 1}_{name}"] = values
    return columns


def _of_first_jets(analysis: Analysis, record: ak.Array) -> dict[str, FloatArray]:
    """Smallest and largest ΔR among the first jets of the record, as many as the targets need."""
    eta, phi = (pad(record.jets[name], analysis.jets_needed, np.nan) for name in ("eta", "phi"))
    pairs = list(combinations(range(analysis.jets_needed), 2))
    distances = [np.full(len(record), np.nan)]
    distances += [np.sqrt(delta_r_squared(eta[:, i], phi[:, i], eta[:, j], phi[:, j])) for i, j in pairs]
    names = {"min_delta_r": np.fmin, "max_delta_r": np.fmax}  # jets that are not there do not count
    return {name: function.reduce(distances) for name, function in names.items()}


def _cos_to_beam(p: Cartesian) -> FloatArray:
    """|cos| of the polar angle."""
    with np.errstate(invalid="ignore", divide="ignore"):
        found: FloatArray = np.abs(p.pz) / np.sqrt(p.px**2 + p.py**2 + p.pz**2)
    return found


def _cos_between(a: Cartesian, b: Cartesian) -> FloatArray:
    with np.errstate(invalid="ignore", divide="ignore"):
        product = a.px * b.px + a.py * b.py + a.pz * b.pz
        square = (a.px**2 + a.py**2 + a.pz**2) * (b.px**2 + b.py**2 + b.pz**2)
        found: FloatArray = product / np.sqrt(square)
    return found
