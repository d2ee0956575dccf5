"""Partial results added up in a tree whose shape depends on the plan alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from coffea.processor import accumulate

from hhh_coffea.engine.chunks import Partial

FAN_IN = 8  # partial results merged at a time


def merge(parts: Sequence[Partial]) -> Partial:
    """Add partial results up, in the order given."""
    return Partial(
        accumulate([part.output for part in parts]),
        sum(part.chunks for part in parts),
        sum(part.events for part in parts),
        [failure for part in parts for failure in part.failures],
        sum(part.seconds for part in parts),
        sum(part.resumed for part in parts),
        sum((part.unkept for part in parts), Counter()),
    )


class MergeTree:
    """Adds results up in a tree of :data:`FAN_IN` branches that depends on their positions only.

    Results may arrive in any order: a group is merged once complete, so that floating-point sums come out the same
    whatever the executor, and few results are held at a time. ``merge_group`` may return a future.
    """

    def __init__(self, total: int, merge_group: Callable[[list[Any]], Any] = merge) -> None:
        self._sizes = [total]
        while self._sizes[-1] > 1:
            self._sizes.append(-(-self._sizes[-1] // FAN_IN))
        self._pending: list[dict[int, dict[int, Any]]] = [{} for _ in self._sizes]
        self._merge = merge_group
        self.result: Any = None

    def add(self, position: int, value: Any, level: int = 0) -> None:
        """Take the result at a position, and merge every group that this completes."""
        if level == len(self._sizes) - 1:
            self.result = value
            return
        group = position // FAN_IN
        members = self._pending[level].setdefault(group, {})
        members[position] = value
        if len(members) == min(FAN_IN, self._sizes[level] - group * FAN_IN):
            del self._pending[level][group]
            self.add(group, self._merge([members[k] for k in sorted(members)]), level + 1)
