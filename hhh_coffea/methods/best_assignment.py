"""The assignment of least total score, where every target is scored on its own."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hhh_coffea.base.arrays import IntArray
from hhh_coffea.base.kinematics import FloatArray
from hhh_coffea.topology.assignments import Pattern, assignments

FEW_ROWS = 1000  # assignments that are all looked at; more are split in two


def best_assignment(
    scores: Sequence[FloatArray], targets: tuple[Pattern, ...], n_objects: int
) -> tuple[npt.NDArray[np.int8], FloatArray]:
    """Objects ``(N, K)`` of all targets side by side, and the total score ``(N,)``, for which it is least.

    ``scores`` holds for each target ``(C, N)``, one score a choice of :func:`assignments`; events come last, so that
    every step has long rows. Exact: with many assignments, the last target is given the best of what each set of
    objects leaves over. Equal totals go to the first assignment, in the second case to the first set.
    """
    table = assignments(targets, n_objects)
    if len(table.rows) <= FEW_ROWS or len(targets) == 1:
        total = scores[0][table.rows[:, 0]]
        for score, row in zip(scores[1:], table.rows.T[1:], strict=True):
            total += score[row]
        best = np.argmin(total, axis=0)
        return table.objects[best], np.take_along_axis(total, best[None], axis=0)[0]
    parts = _split(targets, n_objects)
    first = assignments(targets[:-1], n_objects)
    event = np.arange(scores[0].shape[1])
    front = scores[0][first.rows[parts.front, 0]]  # (sets, ways, N)
    for score, row in zip(scores[1:-1], first.rows.T[1:], strict=True):
        front += score[row[parts.front]]
    back = scores[-1][parts.back]
    total = front.min(axis=1)
    total += back.min(axis=1)
    chosen = np.argmin(total, axis=0)
    way = np.argmin(front[chosen, :, event], axis=1)
    rest = np.argmin(back[chosen, :, event], axis=1)
    objects = (first.objects[parts.front[chosen, way]], table.choices[-1][parts.back[chosen, rest]])
    return np.concatenate(objects, axis=1), total[chosen, event]


class _Split(NamedTuple):
    """By the set of objects that all targets but the last use."""

    front: IntArray  # (sets, ways): rows of the table of these targets
    back: IntArray  # (sets, rest): choices of the last target among the other objects


@lru_cache(maxsize=32)
def _split(targets: tuple[Pattern, ...], n_objects: int) -> _Split:
    first, last = assignments(targets[:-1], n_objects), assignments(targets[-1:], n_objects).choices[0]

    def bits(objects: npt.NDArray[np.int8]) -> IntArray:
        result: IntArray = np.bitwise_or.reduce(np.int64(1) << objects.astype(np.int64), axis=1)
        return result

    sets, owner = np.unique(bits(first.objects), return_inverse=True)
    # every set of objects can be filled in the same number of ways
    front = np.argsort(owner, kind="stable").reshape(len(sets), -1)
    back = np.nonzero((sets[:, None] & bits(last)) == 0)[1].reshape(len(sets), -1)
    return _Split(front, back)
