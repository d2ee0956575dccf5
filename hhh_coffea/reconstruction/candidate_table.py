"""Per-event candidates as parquet: one row a candidate, one file a chunk and method."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from hhh_coffea.base.arrays import IntArray, counts_of, event_index, flat
from hhh_coffea.base.atomic import replacing
from hhh_coffea.reconstruction.candidates import KINDS

_NAME = pa.dictionary(pa.int32(), pa.string())
SCHEMA = pa.schema(
    [
        ("dataset", _NAME),
        ("file", _NAME),
        ("entry", pa.int64()),
        ("method", _NAME),
        ("kind", _NAME),
        ("jet1", pa.int32()),
        ("jet2", pa.int32()),
        ("fatjet", pa.int32()),
        ("pt", pa.float64()),
        ("eta", pa.float64()),
        ("phi", pa.float64()),
        ("mass", pa.float64()),
        ("assignment_probability", pa.float64()),
        ("detection_probability", pa.float64()),
        ("overlaps", pa.bool_()),
        ("correct", pa.bool_()),
    ],
    metadata={"schema_version": "1"},
)
_written: dict[str, dict[str, int]] = {}  # files of the chunks this process is at: name → bytes


def write_candidates(
    folder: str | Path,
    chunk: Mapping[str, Any],
    method: str,
    record: ak.Array,
    candidates: ak.Array,
    correct: npt.NDArray[np.bool_] | None,
) -> None:
    """Write a chunk's candidates of one method into ``folder``.

    ``jet1``, ``jet2`` and ``fatjet`` become positions in the FILE (−1 where none), ``correct`` is null without truth.
    ``chunk`` is ``events.metadata``. The name depends on the chunk alone and the file appears whole or not at all, so a
    chunk that is processed again replaces what it wrote before.
    """
    event = event_index(counts_of(candidates.kind))

    def constant(value: str) -> pa.Array:
        return pa.DictionaryArray.from_arrays(np.zeros(len(event), dtype=np.int32), pa.array([value]))

    columns: dict[str, Any] = {
        "dataset": constant(chunk["dataset"]),
        "file": constant(chunk["filename"]),
        "entry": np.asarray(record.id)[event],
        "method": constant(method),
        "kind": pa.DictionaryArray.from_arrays(flat(candidates.kind).astype(np.int32), pa.array(KINDS)),
        "jet1": _position_in_file(record.jets, event, flat(candidates.jet1)),
        "jet2": _position_in_file(record.jets, event, flat(candidates.jet2)),
        "fatjet": _position_in_file(record.fatjets, event, flat(candidates.fatjet)),
        "correct": pa.nulls(len(event), pa.bool_()) if correct is None else correct,
    }
    for name in ("pt", "eta", "phi", "mass", "assignment_probability", "detection_probability", "overlaps"):
        columns[name] = flat(candidates[name])
    table = pa.table({name: columns[name] for name in SCHEMA.names}, schema=SCHEMA)
    name = stem(chunk["dataset"], chunk["filename"], chunk["entrystart"], chunk["entrystop"])
    path = Path(folder) / f"{name}-{method.replace(':', '_')}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        # without arrow's own schema names read back as plain text: not every tool takes dictionaries from several files
        pq.write_table(table, partial, compression="zstd", store_schema=False)
        size = partial.stat().st_size
    _written.setdefault(name, {})[path.name] = size


def stem(dataset: str, file: str, start: int, stop: int) -> str:
    """How the names of a chunk's files begin."""
    return f"{dataset}-{hashlib.sha256(file.encode()).hexdigest()[:12]}-{start:012d}-{stop:012d}"


def stem_of(name: str) -> str:
    """The :func:`stem` of a file of candidates by its name; empty if it is none."""
    found = re.match(r"(.*-[0-9a-f]{12}-\d{12}-\d{12})-[^-].*\.parquet$", name)
    return found[1] if found else ""


def written_by(dataset: str, file: str, start: int, stop: int) -> dict[str, int]:
    """Name and bytes of the files that this process wrote for a chunk since it was last asked."""
    return _written.pop(stem(dataset, file, start, stop), {})


def _position_in_file(objects: ak.Array, event: IntArray, position: IntArray) -> npt.NDArray[np.int32]:
    counts = counts_of(objects.index)
    starts = np.cumsum(counts) - counts
    index = flat(objects.index)
    result = np.full(len(position), -1, dtype=np.int32)
    there = position >= 0
    result[there] = index[(starts[event] + position)[there]]
    return result
