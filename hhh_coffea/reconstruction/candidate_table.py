"""Per-event candidates as parquet: one row a candidate, one file a chunk and method."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from hhh_coffea.base.arrays import counts_of, event_index, flat
from hhh_coffea.base.atomic import replacing
from hhh_coffea.reconstruction.analysis import Analysis

WRITTEN = "written_files"  # key of a processor's output: names and bytes of what it wrote, here and in write_skim()
_NAME = pa.dictionary(pa.int32(), pa.string())
_BEFORE = (("dataset", _NAME), ("file", _NAME), ("entry", pa.int64()), ("method", _NAME), ("kind", _NAME))
_NUMBERS = ("pt", "eta", "phi", "mass", "assignment_probability", "detection_probability", "probability")
_AFTER = (*((name, pa.float64()) for name in _NUMBERS), ("overlaps", pa.bool_()), ("correct", pa.bool_()))


def schema_of(analyses: Iterable[Analysis]) -> pa.Schema:
    """Columns of the table: a position in the file for each daughter and further outputs, as the analyses of a run name them."""
    every = tuple(analyses)
    columns = [(name, pa.int32()) for name in dict.fromkeys(name for a in every for name in a.columns())]
    outputs = [(name, pa.float64()) for name in dict.fromkeys(name for a in every for name in a.outputs)]
    return pa.schema([*_BEFORE, *columns, *_AFTER, *outputs], metadata={"schema_version": "1"})


def write_candidates(
    folder: str | Path,
    chunk: Mapping[str, Any],
    method: str,
    analysis: Analysis,
    record: ak.Array,
    candidates: ak.Array,
    correct: npt.NDArray[np.bool_] | None,
    analyses: Iterable[Analysis] = (),
) -> dict[str, int]:
    """Write a chunk's candidates of one method into ``folder``; returns the file's name, with the folder's, and its bytes.

    Columns of daughters are positions in the FILE (−1 where none), ``correct`` is null without truth. ``chunk`` is
    ``events.metadata``, ``analyses`` are all those of the run: every file has the columns of each. The name depends on the
    chunk alone and the file appears whole or not at all, so a chunk that is processed again replaces what it wrote before.
    """
    event = event_index(counts_of(candidates.kind))

    def constant(value: str) -> pa.Array:
        return pa.DictionaryArray.from_arrays(np.zeros(len(event), dtype=np.int32), pa.array([value]))

    kind = flat(candidates.kind).astype(np.int32)
    columns: dict[str, Any] = {
        "dataset": constant(chunk["dataset"]),
        "file": constant(os.fsencode(chunk["filename"]).decode(errors="replace")),  # names of files need not be UTF-8
        "entry": np.asarray(record.id)[event],
        "method": constant(method),
        "kind": pa.DictionaryArray.from_arrays(kind, pa.array(list(analysis.kinds))),
        **positions_in_file(analysis, record, candidates),
        "correct": pa.nulls(len(event), pa.bool_()) if correct is None else correct,
    }
    for name in (*_NUMBERS, "overlaps"):
        columns[name] = flat(candidates[name])
    for name in dict.fromkeys(name for a in (*analyses, analysis) for name in a.outputs):
        values = flat(candidates[name]) if name in candidates.fields else np.full(len(event), np.nan)
        columns[name] = pa.array(values, mask=np.isnan(values))
    schema = schema_of((*analyses, analysis))
    absent = {name: np.full(len(event), -1, dtype=np.int32) for name in schema.names if name not in columns}
    columns |= absent
    table = pa.table({name: columns[name] for name in schema.names}, schema=schema)
    name = stem(chunk["dataset"], chunk["filename"], chunk["entrystart"], chunk["entrystop"])
    path = Path(folder) / f"{name}-{method.replace(':', '_')}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        # without arrow's own schema names read back as plain text: not every tool takes dictionaries from several files
        with partial.open("wb") as stream:  # arrow takes no path that is not UTF-8
            pq.write_table(table, stream, compression="zstd", store_schema=False)
        return {f"{path.parent.name}/{path.name}": partial.stat().st_size}


def stem(dataset: str, file: str, start: int, stop: int) -> str:
    """How the names of a chunk's files begin."""
    return f"{dataset}-{hashlib.sha256(os.fsencode(file)).hexdigest()[:12]}-{start:012d}-{stop:012d}"


def stem_of(name: str) -> str:
    """The :func:`stem` of a file of candidates or of a skim by its name; empty if it is neither."""
    found = re.match(r"(.*-[0-9a-f]{12}-\d{12}-\d{12})-[^-].*\.(?:parquet|root)$", name)
    return found[1] if found else ""


def positions_in_file(analysis: Analysis, record: ak.Array, candidates: ak.Array) -> dict[str, npt.NDArray[np.int32]]:
    """Flat, by the analysis's names of daughters: position in the file, −1 where a candidate has no such daughter."""
    kind, objects = flat(candidates.kind), flat(candidates.objects)
    event = event_index(counts_of(candidates.kind))
    found = {}
    for name, places in analysis.columns().items():
        found[name] = np.full(len(kind), -1, dtype=np.int32)
        for number, daughter, collection in places:
            own = np.flatnonzero(kind == number)
            counts = counts_of(record[collection].index)
            starts = np.cumsum(counts) - counts
            found[name][own] = flat(record[collection].index)[starts[event[own]] + objects[own, daughter]]
    return found
