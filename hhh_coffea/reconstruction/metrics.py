"""What a method got right: one comparison of candidates with targets for every topology.

Purity = correct candidates / candidates. Efficiency = retrieved targets / targets. A candidate is correct if its objects
are those of a target of its kind, up to the kind's symmetry. Which candidates and targets a row of the summary counts,
its *category*, is declared by the analysis.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Literal, NamedTuple

import awkward as ak
import numpy as np

from hhh_coffea.base.arrays import IntArray, counts_of, event_index, flat, true_in_row
from hhh_coffea.reconstruction.targets import BoolArray, Targets
from hhh_coffea.topology.kinds import Kind

Definition = Literal["default", "reference"]
DEFINITIONS: tuple[Definition, ...] = ("default", "reference")


class Counted(NamedTuple):
    """Who counts in a category: candidates (flat), and targets and retrieved targets ``(N, n)``, one a particle."""

    candidates: BoolArray
    targets: BoolArray
    retrieved: BoolArray


class Comparison:
    """Candidates of N events beside their targets: what categories are made of."""

    def __init__(self, candidates: ak.Array, targets: Targets, kinds: Mapping[str, Kind]) -> None:
        self.targets, self.kinds = targets, kinds
        self.kind = flat(candidates.kind)
        self.event = event_index(counts_of(candidates.kind))
        self.survives: BoolArray = ~flat(candidates.overlaps)
        self._objects = flat(candidates.objects)

    def of(self, *names: str) -> BoolArray:
        """Flat: candidates of these kinds."""
        return reduce(np.logical_or, [self.kind == self.kinds[name].number for name in names])

    def has(self, *names: str) -> BoolArray:
        """``(N, n)``: particles that have a target of one of these kinds."""
        return reduce(np.logical_or, [self._has[name] for name in names], np.zeros(self.targets.pt.shape, dtype=bool))

    def first(self, name: str, before: Sequence[str]) -> BoolArray:
        """``(N, n)``: particles that have a target of this kind and none of the kinds ``before`` it."""
        return self.has(name) & ~self.has(*before)

    def found(self, use: BoolArray) -> BoolArray:
        """``(N, n)``: particles of which some candidate in ``use`` is a target."""
        candidate, place = self._matches
        result = np.zeros(self.targets.pt.shape, dtype=bool)
        result.reshape(-1)[place[use[candidate]]] = True
        return result

    @cached_property
    def _has(self) -> dict[str, BoolArray]:
        """By kind, ``(N, n)``: particles that have a target of it."""
        found = {name: np.zeros(self.targets.pt.shape, dtype=bool) for name in self.kinds}
        for name, kind in self.kinds.items():
            exists = self.targets.exists(name)
            for member, particle in enumerate(kind.particles):
                found[name][:, particle] |= exists[:, member]
        return found

    @cached_property
    def correct(self) -> BoolArray:
        """Flat: candidates that are a target."""
        found = np.zeros(len(self.kind), dtype=bool)
        found[self._matches[0]] = True
        return found

    @cached_property
    def _matches(self) -> tuple[IntArray, IntArray]:
        """Every candidate that is a target of its kind, and the particle that it is: their flat indices."""
        n_particles = self.targets.pt.shape[1]
        candidates, places = [], []
        for kind in self.kinds.values():
            own = np.flatnonzero(self.kind == kind.number)
            made_of, target = kind.identity(self._objects[own]), kind.identity(self.targets.objects[kind.name])
            event = self.event[own]
            for member, particle in enumerate(kind.particles):
                same = np.flatnonzero((made_of == target[event, member]) & (made_of >= 0))
                candidates.append(own[same])
                places.append(event[same] * n_particles + particle)
        return np.concatenate(candidates), np.concatenate(places)


Category = Callable[[Comparison], Counted]


@dataclass(frozen=True)
class EventLevel:
    """Per event: surviving candidates and whether all are correct, targets and whether all are retrieved, classes."""

    n_candidates: IntArray
    all_correct: BoolArray
    n_targets: IntArray
    all_retrieved: BoolArray
    target_class: Mapping[str, IntArray]  # by kind: particles that have a target of it, and none of a kind before it
    candidate_class: Mapping[str, IntArray]  # by kind: surviving candidates


@dataclass(frozen=True)
class Evaluation:
    """How one method did on a chunk of events, in one definition."""

    event: IntArray  # of each candidate, flat
    correct: BoolArray  # likewise
    categories: dict[str, Counted]
    events: EventLevel


def evaluate(
    candidates: ak.Array,
    targets: Targets,
    kinds: Mapping[str, Kind],
    categories: Mapping[str, Category],
    classes: Sequence[str],
) -> Evaluation:
    """Compare the candidates of N events with their targets.

    Parameters
    ----------
    kinds
        of the topology, by name
    categories
        of one set of definitions, by name; the first is that of whole events
    classes
        kinds by which events are classified, in the order in which a particle counts for one of them
    """
    comparison = Comparison(candidates, targets, kinds)
    counted = {name: category(comparison) for name, category in categories.items()}
    whole = next(iter(counted.values()))

    def per_event(use: BoolArray) -> IntArray:
        return np.bincount(comparison.event, use, len(targets.pt)).astype(np.int64)  # faster than of those in use

    events = EventLevel(
        n_candidates=per_event(comparison.survives),
        all_correct=per_event(comparison.survives & ~comparison.correct) == 0,
        n_targets=true_in_row(whole.targets),
        all_retrieved=true_in_row(whole.targets & ~whole.retrieved) == 0,
        target_class={name: true_in_row(comparison.first(name, classes[:i])) for i, name in enumerate(classes)},
        candidate_class={name: per_event(comparison.survives & comparison.of(name)) for name in classes},
    )
    return Evaluation(comparison.event, comparison.correct, counted, events)


def one_for_each_kind(kinds: Mapping[str, Kind], everything: str = "all") -> dict[str, Category]:
    """Categories of an analysis that declares none: all kinds together, and each on its own.

    Candidates count that survive overlap removal, and a particle is found by any candidate that is a target of it.
    """

    def category(names: Sequence[str]) -> Category:
        def counted(c: Comparison) -> Counted:
            targets = c.has(*names)
            return Counted(c.survives & c.of(*names), targets, c.found(c.survives) & targets)

        return counted

    return {everything: category(tuple(kinds)), **({n: category((n,)) for n in kinds} if len(kinds) > 1 else {})}
