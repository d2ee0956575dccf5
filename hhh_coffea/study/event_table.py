"""Tables of events: plain numpy columns, one row per selected event, dataset by dataset, and what they were selected from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Columns = dict[str, npt.NDArray[Any]]
TOTALS = "totals"


@dataclass(frozen=True)
class Totals:
    """What a dataset's rows were selected from."""

    events: int  # read
    weight: float  # sum of their generator weights
    files: tuple[tuple[str, str], ...]  # name and uuid
    is_signal: bool


@dataclass(frozen=True)
class EventTable:
    """Columns ``(N,)`` or ``(N, k)`` by dataset and name, and each dataset's :class:`Totals`."""

    columns: Mapping[str, Columns]
    totals: Mapping[str, Totals]

    def __getitem__(self, dataset: str) -> Columns:
        return self.columns[dataset]

    def names(self, is_signal: bool) -> list[str]:
        """Datasets of signal, or of background."""
        return [name for name, totals in self.totals.items() if totals.is_signal == is_signal]

    def together(self, is_signal: bool) -> Columns:
        """The columns that all datasets of signal, or of background, have, one dataset after the other."""
        parts = [self.columns[name] for name in self.names(is_signal)]
        shared = [name for name in parts[0] if all(name in part for part in parts)] if parts else []
        return {name: np.concatenate([part[name] for part in parts]) for name in shared}


def cut(columns: Columns, keep: npt.NDArray[np.bool_]) -> Columns:
    """The rows in ``keep``."""
    return {name: values[keep] for name, values in columns.items()}


def write_table(path: Path, table: EventTable) -> None:
    """Write a table as ``npz``; nothing in it is pickled."""
    arrays = {f"{dataset}/{name}": v for dataset, columns in table.columns.items() for name, v in columns.items()}
    totals = {name: vars(t) for name, t in table.totals.items()}
    with path.open("wb") as stream:
        np.savez_compressed(stream, allow_pickle=False, **{TOTALS: np.array(json.dumps(totals))}, **arrays)


def read_table(path: Path) -> EventTable:
    """Read what :func:`write_table` wrote."""
    with np.load(path, allow_pickle=False) as file:
        described = json.loads(str(file[TOTALS]))
        columns: dict[str, Columns] = {name: {} for name in described}
        for key in file.files:
            dataset, slash, name = key.partition("/")
            if slash:
                columns[dataset][name] = file[key]
    totals = {
        name: Totals(t["events"], t["weight"], tuple((f, u) for f, u in t["files"]), t["is_signal"])
        for name, t in described.items()
    }
    return EventTable(columns, totals)
