"""Every way to give n objects to the targets of an event, each once: assignments modulo symmetry.

Two assignments are the same if the daughters of a target are exchanged as its group allows (q1 ↔ q2 of a W boson), or
whole targets as the event's group allows (one of two equal particles and the other).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hhh_coffea.base.arrays import IntArray
from hhh_coffea.topology.topology import Permutation, Topology


class Pattern(NamedTuple):
    """What a target looks like to a permutation method: its number of daughters and their permutation group."""

    degree: int
    group: tuple[Permutation, ...]

    @classmethod
    def of(cls, degree: int, *exchangeable: tuple[int, int]) -> Pattern:
        """A target whose daughters ``exchangeable`` in pairs are the same: ``Pattern.of(3, (1, 2))`` is b, {q1, q2}."""
        group = [tuple(range(degree))]
        for i, j in exchangeable:
            swap = {i: j, j: i}
            group += [tuple(swap.get(k, k) for k in g) for g in group]
        return cls(degree, tuple(sorted(set(group))))


class Assignments(NamedTuple):
    """Assignments of n objects to T targets, in lexicographic order of their objects.

    Methods that score targets on their own score the ``choices`` of each once and add them up by ``rows``.
    """

    choices: tuple[npt.NDArray[np.int8], ...]  # of each target: (C, k), its objects in every way
    rows: IntArray  # (P, T): which choice of each target
    objects: npt.NDArray[np.int8]  # (P, K): objects of all targets side by side


def patterns(topology: Topology) -> tuple[Pattern, ...]:
    """The targets of a declared topology."""
    return tuple(Pattern(target.degree, target.group) for target in topology.targets)


@lru_cache(maxsize=128)
def assignments(targets: tuple[Pattern, ...], n_objects: int, event_group: tuple[Permutation, ...] = ()) -> Assignments:
    """The table for ``n_objects`` objects; without rows where they are too few.

    ``event_group`` holds permutations of the targets (of equal patterns) that leave an event the same. The arrays are
    read-only and shared by all callers. tt̄ (b, {q, q}; b): n!/(2(n−4)!) rows; ttH ({b, b} more): n!/(4(n−6)!).

    Raises
    ------
    ValueError
        if the event's group exchanges targets of different patterns.
    """
    for g in event_group:
        if any(targets[i] != targets[j] for i, j in enumerate(g)):
            raise ValueError(f"the event group exchanges targets that are not alike: {g}")
    choices = tuple(_choices(target, n_objects) for target in targets)
    rows = np.arange(len(choices[0]))[:, None]
    used = _bits(choices[0])
    for some in choices[1:]:
        bits = _bits(some)
        before, choice = np.nonzero((used[:, None] & bits) == 0)
        rows = np.column_stack([rows[before], choice])
        used = used[before] | bits[choice]
    # of the ways to exchange whole targets the first stands for all; equal patterns number their choices alike
    keep = np.ones(len(rows), dtype=bool)
    for g in event_group:
        keep &= _not_after(rows, rows[:, list(g)])
    rows = rows[keep]
    objects = np.concatenate([some[rows[:, t]] for t, some in enumerate(choices)], axis=1)
    shared: tuple[npt.NDArray[Any], ...] = (*choices, rows, objects)
    for array in shared:
        array.flags.writeable = False
    return Assignments(choices, rows, objects)


def _choices(target: Pattern, n_objects: int) -> npt.NDArray[np.int8]:
    """``(C, k)`` distinct objects of one target, the first of each orbit of its group."""
    every = list(itertools.permutations(range(n_objects), target.degree))
    table = np.array(every, dtype=np.int8).reshape(len(every), target.degree)
    keep = np.ones(len(table), dtype=bool)
    for g in target.group:
        keep &= _not_after(table, table[:, list(g)])
    return table[keep]


def _not_after(first: npt.NDArray[np.integer], second: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
    """Rows of ``first`` that are not after those of ``second`` in lexicographic order."""
    undecided, result = np.ones(len(first), dtype=bool), np.ones(len(first), dtype=bool)
    for a, b in zip(first.T, second.T, strict=True):
        result[undecided & (a > b)] = False
        undecided &= a == b
    return result


def _bits(objects: npt.NDArray[np.int8]) -> IntArray:
    """Objects of each row as a set of bits."""
    result: IntArray = np.bitwise_or.reduce(np.int64(1) << objects.astype(np.int64), axis=1)
    return result


def split(objects: npt.NDArray[np.integer], targets: Sequence[Pattern]) -> list[npt.NDArray[np.integer]]:
    """``(…, K)`` objects side by side → those of each target, ``(…, k)``."""
    ends = np.cumsum([target.degree for target in targets])[:-1]
    return np.split(objects, ends, axis=-1)
