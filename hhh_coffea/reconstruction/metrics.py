"""Purity and efficiency of Higgs reconstruction: our definition (``default``) and the published one (``reference``).

Purity = correct candidates / candidates. Efficiency = retrieved targets / targets. A resolved candidate is correct if
its two jets are those of a resolved target, a boosted one if its fat jet is that of a boosted target.

``default`` uses one convention throughout: only candidates that survive overlap removal count, and a Higgs is
retrieved if a surviving candidate equals its boosted OR its resolved target.

``reference`` reproduces §5 of the published analysis: a Higgs with both targets counts as boosted only, resolved
targets may be retrieved by candidates that overlap removal dropped, and an event without candidates is pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import awkward as ak
import numpy as np

from hhh_coffea.base.arrays import IntArray, counts_of, event_index, flat
from hhh_coffea.reconstruction.candidates import BOOSTED
from hhh_coffea.reconstruction.targets import BoolArray, Targets

Definition = Literal["default", "reference"]
DEFINITIONS: tuple[Definition, ...] = ("default", "reference")
CATEGORIES: dict[str, tuple[str, ...]] = {
    "default": ("merged", "boosted", "resolved"),
    "reference": ("merged", "merged_without_overlap_removal", "boosted", "resolved", "resolved_after_overlap_removal"),
}


class Category(NamedTuple):
    """Who counts in a category: candidates (flat), and targets and retrieved targets ``(N, n)``."""

    candidates: BoolArray
    targets: BoolArray
    retrieved: BoolArray


@dataclass(frozen=True)
class EventLevel:
    """Per event: surviving candidates and whether all are correct, targets and whether all are retrieved, classes."""

    n_candidates: IntArray
    all_correct: BoolArray
    n_targets: IntArray
    all_retrieved: BoolArray
    target_class: tuple[IntArray, IntArray]  # (boosted, resolved without boosted twin)
    candidate_class: tuple[IntArray, IntArray]  # (boosted, resolved), surviving


@dataclass(frozen=True)
class Evaluation:
    """How one method did on a chunk of events, in one definition."""

    correct: BoolArray  # flat, one a candidate
    categories: dict[str, Category]
    events: EventLevel


def evaluate(candidates: ak.Array, targets: Targets, definition: Definition) -> Evaluation:
    """Compare the candidates of N events with their targets ``(N, n)``."""
    kind = flat(candidates.kind)
    event = event_index(counts_of(candidates.kind))
    survives = ~flat(candidates.overlaps)
    is_boosted = kind == BOOSTED

    # one number names what a candidate or target is made of; −1 and −2 are never equal
    made_of = _name(flat(candidates.jet1), flat(candidates.jet2), flat(candidates.fatjet), is_boosted)
    resolved_target = _name(targets.jet1, targets.jet2, targets.fatjet, np.zeros(targets.pt.shape, dtype=bool))
    boosted_target = _name(targets.jet1, targets.jet2, targets.fatjet, np.ones(targets.pt.shape, dtype=bool))
    # equal[i][c]: candidate c is target i of its event
    equal = [
        (made_of == np.where(targets.resolved[:, i], resolved_target[:, i], -2)[event])
        | (is_boosted & (made_of == np.where(targets.boosted[:, i], boosted_target[:, i], -2)[event]))
        for i in range(targets.pt.shape[1])
    ]
    correct = np.logical_or.reduce(equal)

    def found_by(use: BoolArray) -> BoolArray:
        """(N, n): targets that equal some candidate in ``use``."""
        found = np.zeros(targets.pt.shape, dtype=bool)
        for i, same in enumerate(equal):
            found[event[same & use], i] = True
        return found

    if definition == "default":
        retrieved = found_by(survives)
        wanted = targets.boosted | targets.resolved
        categories = {
            "merged": Category(survives, wanted, retrieved),
            "boosted": Category(survives & is_boosted, targets.boosted, retrieved & targets.boosted),
            "resolved": Category(survives & ~is_boosted, targets.resolved, retrieved & targets.resolved),
        }
    else:
        only_resolved = targets.resolved & ~targets.boosted
        by_boosted, by_resolved = found_by(is_boosted), found_by(~is_boosted)
        wanted = targets.boosted | only_resolved
        retrieved = by_boosted | (by_resolved & only_resolved)
        categories = {
            "merged": Category(survives, wanted, retrieved),
            "merged_without_overlap_removal": Category(np.ones_like(survives), wanted, retrieved),
            "boosted": Category(is_boosted, targets.boosted, by_boosted),
            "resolved": Category(~is_boosted, targets.resolved, by_resolved),
            "resolved_after_overlap_removal": Category(
                ~is_boosted & survives, only_resolved, found_by(~is_boosted & survives) & only_resolved
            ),
        }
    return Evaluation(
        correct,
        categories,
        _event_level(event, survives, is_boosted, correct, targets, wanted, retrieved),
    )


def _name(jet1: IntArray, jet2: IntArray, fatjet: IntArray, is_boosted: BoolArray) -> IntArray:
    """Number that stands for a jet pair (even) or a fat jet (odd) of an event, −1 for a pair that is not there."""
    pair = np.where(jet1 >= 0, 2 * ((jet1 << 16) + jet2), -1)
    return np.where(is_boosted, 2 * fatjet + 1, pair)


def _event_level(
    event: IntArray,
    survives: BoolArray,
    is_boosted: BoolArray,
    correct: BoolArray,
    targets: Targets,
    wanted: BoolArray,
    retrieved: BoolArray,
) -> EventLevel:
    n_events = len(targets.pt)

    def per_event(use: BoolArray) -> IntArray:
        return np.bincount(event[use], minlength=n_events)

    return EventLevel(
        n_candidates=per_event(survives),
        all_correct=per_event(survives & ~correct) == 0,
        n_targets=wanted.sum(axis=1),
        all_retrieved=np.logical_and.reduce(retrieved | ~wanted, axis=1),
        target_class=(targets.boosted.sum(axis=1), (targets.resolved & ~targets.boosted).sum(axis=1)),
        candidate_class=(per_event(survives & is_boosted), per_event(survives & ~is_boosted)),
    )
