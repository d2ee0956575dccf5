"""How often jets are assigned right, for targets of any topology: the efficiencies of the SPANet papers' tables.

M. Fenton et al., Commun. Phys. 7, 139 (2024), Table 1. A target is *reconstructable* in an event if all its daughters
have a matched object, and *right* if it was given these objects, up to its symmetry. Every target of every event always
has an assignment: there is no detection threshold.

``all``       events with any reconstructable target. Event: all reconstructable targets are right, whatever is done
              with the others. Target: right over reconstructable.
``full``      the same among the events in which every target is reconstructable.
``selected``  over all events. Event: every target is reconstructable and right. Target: reconstructable and right.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from hhh_coffea.base.arrays import IntArray
from hhh_coffea.reconstruction.matching import AssignmentTarget
from hhh_coffea.results.summary import ratio
from hhh_coffea.topology.topology import Permutation

KINDS = ("all", "full", "selected")
EVENT = "event"
BoolArray = npt.NDArray[np.bool_]
Groups = Mapping[str, tuple[Permutation, ...]]


@dataclass(frozen=True)
class AssignmentCounts:
    """Counts that add up over chunks of events. ``names`` are the targets; multiplicities fall into ``len(bins)`` bins.

    ``passed`` and ``total`` are ``(bins, kinds, 1 + targets)``: of the event, then of each target. ``patterns`` is
    ``(bins, 2^targets)``: events by which of their targets are reconstructable, target t being bit t.
    """

    names: tuple[str, ...]
    bins: tuple[int, ...]
    passed: IntArray
    total: IntArray
    patterns: IntArray

    def __add__(self, other: AssignmentCounts) -> AssignmentCounts:
        """Counts of both.

        Raises
        ------
        ValueError
            if the targets or bins differ.
        """
        if (self.names, self.bins) != (other.names, other.bins):
            raise ValueError(f"counts of {self.names} in {self.bins} and of {other.names} in {other.bins} do not add")
        parts = ((getattr(self, name), getattr(other, name)) for name in ("passed", "total", "patterns"))
        return AssignmentCounts(self.names, self.bins, *(a + b for a, b in parts))


def same_objects(first: IntArray, second: IntArray, group: tuple[Permutation, ...]) -> BoolArray:
    """``(N,)``: whether ``(N, k)`` objects are the same up to a target's symmetry. No object (−1) is not the same."""
    equal = np.logical_or.reduce([(first[:, list(g)] == second).all(axis=1) for g in group])
    result: BoolArray = equal & (second >= 0).all(axis=1)
    return result


def right_targets(
    targets: Mapping[str, AssignmentTarget], assigned: Mapping[str, IntArray], groups: Groups
) -> tuple[BoolArray, BoolArray]:
    """``(N, T)`` each: which targets are reconstructable, and which of those are right."""
    reconstructable = np.stack([target.mask for target in targets.values()], axis=1)
    right = np.stack(
        [same_objects(assigned[name], target.objects, groups[name]) for name, target in targets.items()], axis=1
    )
    return reconstructable, right & reconstructable


def count(
    targets: Mapping[str, AssignmentTarget],
    assigned: Mapping[str, IntArray],
    groups: Groups,
    multiplicity: IntArray,
    bins: tuple[int, ...],
    use: BoolArray | None = None,
) -> AssignmentCounts:
    """Count right assignments of N events.

    Parameters
    ----------
    targets, assigned, groups
        by name of the target: what is true, the ``(N, k)`` positions that a method chose, and the target's symmetry
    multiplicity, bins
        ``(N,)`` number of jets, and the first of each bin: ``(4, 5, 6)`` is 4, 5 and ≥ 6. Fewer jets than in the first
        bin are not counted.
    use
        ``(N,)``: events to count (semi-leptonic ones); all if None
    """
    reconstructable, right = right_targets(targets, assigned, groups)
    some: BoolArray = np.logical_or.reduce(reconstructable, axis=1)
    full: BoolArray = np.logical_and.reduce(reconstructable, axis=1)
    all_right: BoolArray = np.logical_and.reduce(right == reconstructable, axis=1)
    every: BoolArray = np.ones(full.shape, dtype=np.bool_)

    def columns(event: BoolArray, by_target: BoolArray) -> BoolArray:
        return np.column_stack([event, by_target])

    total = (
        columns(some, reconstructable),
        columns(full, reconstructable & full[:, None]),
        columns(every, np.ones_like(reconstructable)),
    )
    passed = (
        columns(some & all_right, right),
        columns(full & all_right, right & full[:, None]),
        columns(full & all_right, right),
    )
    bin_of = np.searchsorted(bins, multiplicity, side="right") - 1
    counted = bin_of >= 0 if use is None else (bin_of >= 0) & use

    def by_bin(masks: tuple[BoolArray, ...]) -> IntArray:
        result = np.zeros((len(bins), len(KINDS), 1 + len(targets)), dtype=np.int64)
        np.add.at(result, bin_of[counted], np.stack(masks, axis=1)[counted])
        return result

    pattern = reconstructable @ (1 << np.arange(len(targets)))
    patterns = np.zeros((len(bins), 1 << len(targets)), dtype=np.int64)
    np.add.at(patterns, (bin_of[counted], pattern[counted]), 1)
    return AssignmentCounts(tuple(targets), tuple(bins), by_bin(passed), by_bin(total), patterns)


def labels(bins: tuple[int, ...]) -> list[str]:
    """Names of the bins, and ``all``: ``(4, 5, 6)`` → 4, 5, ≥ 6, all."""
    closed = [str(low) if high == low + 1 else f"{low}–{high - 1}" for low, high in pairwise(bins)]
    return [*closed, f"≥ {bins[-1]}", "all"]


def efficiencies(counts: AssignmentCounts) -> dict[str, dict[str, dict[str, Any]]]:
    """Kind → bin (and ``all``) → ``event`` and each target → fraction with its Clopper–Pearson interval.

    See :func:`hhh_coffea.results.summary.ratio`: ``value`` is None where nothing is counted.
    """
    passed, total = (np.concatenate([a, a.sum(axis=0, keepdims=True)]) for a in (counts.passed, counts.total))
    return {
        kind: {
            label: {
                name: ratio(int(passed[b, k, column]), int(total[b, k, column]))
                for column, name in enumerate((EVENT, *counts.names))
            }
            for b, label in enumerate(labels(counts.bins))
        }
        for k, kind in enumerate(KINDS)
    }


def shares(counts: AssignmentCounts) -> dict[str, dict[str, dict[str, Any]]]:
    """Bin (and ``all``) → ``any``, ``full`` and each target → share of all events where it is reconstructable."""
    patterns = np.concatenate([counts.patterns, counts.patterns.sum(axis=0, keepdims=True)])
    number = np.arange(patterns.shape[1])
    which = {"any": number > 0, "full": number == len(number) - 1}
    which |= {name: (number >> t) & 1 > 0 for t, name in enumerate(counts.names)}
    return {
        label: {name: ratio(int(row[mask].sum()), int(row.sum())) for name, mask in which.items()}
        for label, row in zip(labels(counts.bins), patterns, strict=True)
    }


def confusion(
    targets: Mapping[str, AssignmentTarget], assigned: Mapping[str, IntArray], use: BoolArray | None = None
) -> IntArray:
    """``(T, T + 1)``: objects that target i was given, by the target whose daughter they truly are; last: none's."""
    result = np.zeros((len(targets), len(targets) + 1), dtype=np.int64)
    for i, name in enumerate(targets):
        given = assigned[name] if use is None else assigned[name][use]
        owner = np.full(given.shape, len(targets))
        for t, target in enumerate(targets.values()):
            true = target.objects if use is None else target.objects[use]
            owner[((given[:, :, None] == true[:, None, :]) & (given[:, :, None] >= 0)).any(axis=2)] = t
        result[i] = np.bincount(owner[given >= 0], minlength=len(targets) + 1)
    return result
