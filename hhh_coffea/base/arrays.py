"""Jagged awkward arrays ↔ flat and padded numpy arrays, without loops over events."""

from __future__ import annotations

from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]


def counts_of(array: ak.Array) -> IntArray:
    """Length of each event's list."""
    return np.asarray(ak.num(array, axis=1), dtype=np.int64)


def flat(array: ak.Array) -> npt.NDArray[Any]:
    """All events' values one after the other (one level of nesting removed)."""
    return np.asarray(ak.to_numpy(ak.flatten(array, axis=1)))


def event_index(counts: IntArray) -> IntArray:
    """Event number of each flat value: counts (2, 0, 1) → (0, 0, 2)."""
    return np.repeat(np.arange(len(counts), dtype=np.int64), counts)


def position_in_event(counts: IntArray) -> IntArray:
    """Position of each flat value in its event's list: counts (2, 0, 1) → (0, 1, 0)."""
    starts = np.cumsum(counts) - counts
    return np.arange(counts.sum(), dtype=np.int64) - np.repeat(starts, counts)


def rank_in_event(values: npt.NDArray[Any], counts: IntArray) -> IntArray:
    """Rank of each flat value in its event's list, 0 the largest: (5, 7, 1), counts (2, 1) → (1, 0, 0)."""
    rank = np.empty(len(values), dtype=np.int64)
    rank[np.lexsort((-values, event_index(counts)))] = position_in_event(counts)
    return rank


def pad(array: ak.Array, length: int, fill: float | bool) -> npt.NDArray[Any]:
    """``(N, length)`` numpy array of each event's first values, ``fill`` where there are fewer."""
    return padded(flat(array), counts_of(array), length, fill)


def padded(values: npt.NDArray[Any], counts: IntArray, length: int, fill: float | bool) -> npt.NDArray[Any]:
    """Flat values with their counts → ``(N, length)``, as :func:`pad`."""
    column = np.arange(length)
    inside = column < counts[:, None]
    if len(values) == 0:
        return np.full(inside.shape, fill, dtype=values.dtype)
    starts = np.cumsum(counts) - counts
    index = np.where(inside, starts[:, None] + column, 0)
    return np.where(inside, values[index], np.asarray(fill, dtype=values.dtype))


def unflatten(values: dict[str, npt.NDArray[Any]], counts: IntArray) -> ak.Array:
    """Flat columns → one list of records per event."""
    return ak.unflatten(ak.zip(values), counts)
