"""The training table of large-radius jets on disk: parquet, one file a chunk, written by workers and read by the trainer."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from hhh_coffea.base.arrays import IntArray, counts_of, event_index, flat, position_in_event
from hhh_coffea.base.atomic import replacing
from hhh_coffea.base.hashing import is_validation
from hhh_coffea.events.record import field

DEFAULT_FEATURES = (  # the nine of the published analysis, in its order (§3)
    "pt",
    "eta",
    "mass",
    "softdrop_mass",
    "charged_fraction",
    "n_charged",
    "n_neutral",
    "tau21",
    "tau32",
)
_LABELS = ("signal", "validation", "dataset", "file", "entry", "fatjet")


@dataclass(frozen=True)
class Rows:
    """Some large-radius jets: features ``(rows, features)`` and, one value a row, their class, part, dataset and event.

    ``event`` is the same for large-radius jets of one event, and of no other.
    """

    features: npt.NDArray[np.float32]
    signal: npt.NDArray[np.bool_]
    validation: npt.NDArray[np.bool_]
    dataset: npt.NDArray[np.str_]
    event: npt.NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.signal)

    def where(self, use: npt.NDArray[np.bool_]) -> Rows:
        """Keep the rows in ``use``."""
        return Rows(*(getattr(self, name)[use] for name in Rows.__dataclass_fields__))

    def by_class(self) -> dict[str, dict[str, int]]:
        """Signal and background rows of each dataset."""
        return {
            str(name): {
                "signal": int((self.signal & (self.dataset == name)).sum()),
                "background": int((~self.signal & (self.dataset == name)).sum()),
            }
            for name in np.unique(self.dataset)
        }


def write_part(
    folder: str | Path,
    chunk: Mapping[str, Any],
    record: ak.Array,
    fatjet_of_particle: IntArray,
    features: Sequence[str],
    validation_fraction: float,
) -> npt.NDArray[np.bool_]:
    """Write the large-radius jets of a chunk and return which are signal.

    ``fatjet_of_particle`` is ``(N, n)``: positions in ``record.fatjets``, −1 where a particle has none. ``chunk`` is
    ``events.metadata``. The name depends on the file's content and the range of entries alone, and the file appears whole
    or not at all, so a chunk that is processed again replaces what it wrote before.
    """
    counts = counts_of(record.fatjets.pt)
    event, position = event_index(counts), position_in_event(counts)
    signal: npt.NDArray[np.bool_] = (fatjet_of_particle[event] == position[:, None]).any(axis=1)
    entry = np.asarray(record.id, dtype=np.int64)[event]
    columns: dict[str, Any] = {
        name: flat(field(record.fatjets, name, "the BDT's training table")).astype(np.float32) for name in features
    }
    columns |= {
        "signal": signal,
        "validation": is_validation(chunk["fileuuid"], entry, validation_fraction),
        "dataset": pa.DictionaryArray.from_arrays(np.zeros(len(entry), np.int32), pa.array([chunk["dataset"]])),
        "file": pa.DictionaryArray.from_arrays(np.zeros(len(entry), np.int32), pa.array([chunk["fileuuid"]])),
        "entry": entry,
        "fatjet": flat(record.fatjets.index).astype(np.int32),
    }
    path = Path(folder) / (
        f"{chunk['dataset']}-{chunk['fileuuid']}-{chunk['entrystart']:012d}-{chunk['entrystop']:012d}.parquet"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        pq.write_table(pa.table(columns), partial, compression="zstd")
    return signal


def parts(folder: Path) -> list[Path]:
    """Files of a table, in an order that does not depend on where the data lay."""
    return sorted(folder.glob("*.parquet"))


def read_part(path: Path, features: Sequence[str]) -> Rows:
    """Read one file of a table."""
    table = pq.read_table(path, columns=[*features, *_LABELS])

    def column(name: str) -> Any:
        return table.column(name).to_numpy(zero_copy_only=False)

    values = np.empty((len(table), len(features)), dtype=np.float32)
    for number, name in enumerate(features):
        values[:, number] = column(name)
    return Rows(
        values,
        column("signal").astype(bool),
        column("validation").astype(bool),
        column("dataset").astype(np.str_),
        _event(table.column("file"), column("entry")),
    )


def _event(file: pa.ChunkedArray, entry: IntArray) -> npt.NDArray[np.uint64]:
    """One number an event: half of the file's uuid, which is random, plus the entry."""
    codes = file.combine_chunks()
    if len(codes) == 0:
        return np.empty(0, dtype=np.uint64)
    starts = np.array(
        [uuid.UUID(name).int & 0xFFFFFFFFFFFFFFFF for name in codes.dictionary.to_pylist()], dtype=np.uint64
    )
    event: npt.NDArray[np.uint64] = starts[codes.indices.to_numpy()] + entry.astype(np.uint64)  # modulo 2^64
    return event


def count_classes(path: Path) -> IntArray:
    """((training background, signal), (validation background, signal)) of one file."""
    rows = read_part(path, ())
    table = [[((rows.validation == part) & (rows.signal == kind)).sum() for kind in (0, 1)] for part in (0, 1)]
    return np.array(table, dtype=np.int64)


def read_parts(folder: Path, features: Sequence[str]) -> Iterator[Rows]:
    """Read a table file by file."""
    for path in parts(folder):
        yield read_part(path, features)


def concatenate(rows: Sequence[Rows]) -> Rows:
    """Put rows one after the other."""
    return Rows(*(np.concatenate([getattr(r, name) for r in rows]) for name in Rows.__dataclass_fields__))
