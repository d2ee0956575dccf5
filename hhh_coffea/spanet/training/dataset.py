"""Training data on disk: a directory of memory-mapped shards and one ``schema.json`` that says what is in them.

A shard is a structured ``.npy`` file with one row an event, so that a batch of events in any order costs one read each
and memory does not grow with the number of events. Columns:

``inputs/<input>``   ``(M, F)`` float32, raw features in the topology's order (GeV), 0 where there is no object
``masks/<input>``    ``(M,)`` bool, true for real objects
``targets/<target>`` ``(k,)`` int16, positions of the daughters in their own input's list, −1 where absent; in the list
                     of all sequential objects for a daughter that declares no input
``weights/<target>`` float32, weight of the target in the loss, where the data have one
``regressions/<key>`` float32, NaN where unknown; ``classifications/<key>`` int16, −1 where unknown: the topology's heads
``weight``           float32, generator weight
``entry``            int64, entry number in the file
``split``            float32 in [0, 1), a hash of (file uuid, entry): validation takes those below its fraction

Only numpy is needed here; hhh_coffea/training/spanet_data.py writes the shards.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hhh_coffea.base.errors import UserError
from hhh_coffea.topology.topology import Topology

SCHEMA_VERSION = 1
SCHEMA_FILE = "schema.json"
UNKNOWN_FORMAT = "unknown"  # of the files behind a shard, where it was made of something else than a fileset
IntArray = npt.NDArray[np.int64]
Rows = npt.NDArray[np.void]


class DatasetError(UserError):
    """A training data directory that cannot be used; the message names it and says why."""


def row_type(topology: Topology, lengths: Sequence[int], weighted: Sequence[str] = ()) -> np.dtype[np.void]:
    """Columns of a shard for inputs padded to ``lengths``, in the topology's order; ``weighted``: targets with weights."""
    columns: list[tuple[Any, ...]] = []
    for event_input, length in zip(topology.inputs, lengths, strict=True):
        columns += [
            (f"inputs/{event_input.name}", "<f4", (length, len(event_input.features))),
            (f"masks/{event_input.name}", "?", (length,)),
        ]
    columns += [(f"targets/{target.name}", "<i2", (target.degree,)) for target in topology.targets]
    columns += [(f"weights/{name}", "<f4") for name in weighted]
    columns += [(f"regressions/{r.key}", "<f4") for r in topology.regressions]
    columns += [(f"classifications/{key}", "<i2") for key in topology.classifications]
    return np.dtype([*columns, ("weight", "<f4"), ("entry", "<i8"), ("split", "<f4")])


@dataclass(frozen=True)
class TrainingData:
    """An opened training data directory; rows are numbered through all shards in the order of the schema."""

    path: Path
    schema: dict[str, Any]
    topology: Topology
    shards: tuple[Rows, ...]
    first: IntArray  # first row of each shard, and the total: (shards + 1,)

    @classmethod
    def open(cls, directory: str | Path) -> TrainingData:
        """Map every shard that the schema lists.

        Raises
        ------
        DatasetError
            naming the directory, and the shard or key at fault.
        """
        path = Path(directory)
        schema = read_schema(path)
        topology = Topology.from_text(schema["topology"], name=f"{path / SCHEMA_FILE}: topology")
        lengths = [schema["inputs"][i.name]["length"] for i in topology.inputs]
        expected = row_type(topology, lengths, schema.get("weighted_targets", ()))
        shards = []
        for entry in schema["shards"]:
            file = path / entry["file"]
            try:
                shard = np.load(file, mmap_mode="r", allow_pickle=False)
            except (OSError, ValueError, EOFError) as error:
                raise DatasetError(f"{file}: cannot be read: {error}") from error
            if shard.dtype != expected or shard.shape != (entry["events"],):
                raise DatasetError(f"{file}: does not hold the {entry['events']} events and columns of {SCHEMA_FILE}")
            shards.append(shard)
        first = np.cumsum([0, *(len(shard) for shard in shards)])
        return cls(path, schema, topology, tuple(shards), first)

    def __len__(self) -> int:
        return int(self.first[-1])

    @property
    def lengths(self) -> list[int]:
        """Padded length of each input."""
        return [self.schema["inputs"][i.name]["length"] for i in self.topology.inputs]

    @property
    def classes(self) -> dict[str, int]:
        """Number of classes of each classification."""
        return {key: self.schema["classes"][key] for key in self.topology.classifications}

    def provenance(self) -> dict[str, Any]:
        """Files, their formats, and whose matching is the truth: what ``model.yaml`` says of the data."""
        files = {s["uuid"]: s["source"] for s in self.schema["shards"]}
        return {
            "files": [{"file": name, "uuid": uuid} for uuid, name in files.items()],
            "formats": sorted({s.get("format", "delphes") for s in self.schema["shards"]}),
            "truth": self.schema.get("truth", "default"),
        }

    def rows(self, index: npt.NDArray[np.integer[Any]]) -> Rows:
        """Copy of the rows ``index``, in increasing order of ``index``."""
        index = np.sort(index)
        bounds = np.searchsorted(index, self.first)
        parts = [
            shard[index[low:high] - start]
            for shard, start, low, high in zip(self.shards, self.first[:-1], bounds[:-1], bounds[1:], strict=True)
            if high > low
        ]
        return np.concatenate(parts) if parts else np.empty(0, self.shards[0].dtype)

    def column(self, name: str) -> npt.NDArray[Any]:
        """One column of all events in memory, for the small ones: ``weight``, ``split``, ``targets/h1``."""
        return np.concatenate([shard[name] for shard in self.shards])

    def blocks(self, size: int = 16384) -> Iterator[tuple[int, Rows]]:
        """All rows in order, a block at a time, with the number of the first."""
        for shard, start in zip(self.shards, self.first[:-1], strict=True):
            for low in range(0, len(shard), size):
                yield int(start) + low, shard[low : low + size]


def read_schema(path: Path) -> dict[str, Any]:
    """Read and check ``schema.json``."""
    file = path / SCHEMA_FILE
    if not file.is_file():
        raise DatasetError(f"{path}: not a training data directory (no {SCHEMA_FILE})")
    try:
        schema = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DatasetError(f"{file}: cannot be read as JSON: {error}") from error
    if not isinstance(schema, dict) or schema.get("schema_version") != SCHEMA_VERSION:
        found = schema.get("schema_version") if isinstance(schema, dict) else None
        raise DatasetError(f"{file}: schema_version {found}, this package reads {SCHEMA_VERSION}")
    for key in ("topology", "inputs", "shards", "events"):
        if key not in schema:
            raise DatasetError(f"{file}: key {key!r} is missing")
    if not schema["shards"] or not schema["events"]:
        raise DatasetError(f"{file}: holds no events")
    return schema
