"""Which particle's objects were taken for which: assigned objects by the place they were given and the one they truly have.

A *place* is the daughters of a kind that its symmetry exchanges: ``ht: b``, ``ht: q1 q2``, ``h: b1 b2``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import awkward as ak
import hist
import numpy as np
from hist import Hist

from hhh_coffea.base.arrays import IntArray, counts_of, event_index, flat
from hhh_coffea.reconstruction.targets import Targets
from hhh_coffea.topology.kinds import Kind

CONFUSION = "assignment_confusion"  # name of the histogram
NOWHERE = "none"  # objects that are no target's


class Place(NamedTuple):
    """Exchangeable daughters of a kind, all in one collection."""

    kind: Kind
    daughters: tuple[int, ...]

    @property
    def name(self) -> str:
        """``ht: q1 q2``."""
        return f"{self.kind.name}: {' '.join(self.kind.daughters[d] for d in self.daughters)}"


def places_of(kinds: Mapping[str, Kind]) -> list[Place]:
    """The places of all kinds, in their order."""
    found = []
    for kind in kinds.values():
        orbits = {tuple(sorted({g[d] for g in kind.group})) for d in range(kind.degree)}
        found += [Place(kind, orbit) for orbit in sorted(orbits)]
    return found


def confusion(candidates: ak.Array, targets: Targets, kinds: Mapping[str, Kind]) -> IntArray:
    """``(P, P + 1)``: objects that place i was given, by the place that they truly have; last: none.

    Objects of targets that are not complete count as well: a matched b jet of t_H belongs to t_H, whatever became of the
    light quarks.
    """
    places = places_of(kinds)
    event = event_index(counts_of(candidates.kind))
    kind_of, objects = flat(candidates.kind), flat(candidates.objects)
    largest = max([int(objects.max(initial=0)), *(int(o.max(initial=0)) for o in targets.objects.values())])
    collections = sorted({place.kind.collections[place.daughters[0]] for place in places})
    owner = {name: np.full((len(targets.pt), largest + 1), len(places)) for name in collections}
    for number, place in enumerate(places):
        table = owner[place.kind.collections[place.daughters[0]]]
        for daughter in place.daughters:
            true = targets.objects[place.kind.name][..., daughter]  # (N, members)
            row, member = np.nonzero(true >= 0)
            table[row, true[row, member]] = number
    result = np.zeros((len(places), len(places) + 1), dtype=np.int64)
    for number, place in enumerate(places):
        own = np.flatnonzero(kind_of == place.kind.number)
        for daughter in place.daughters:
            position = objects[own, daughter]
            given = position >= 0
            truly = owner[place.kind.collections[daughter]][event[own[given]], position[given]]
            result[number] += np.bincount(truly, minlength=len(places) + 1)
    return result


def book_confusion() -> Hist:
    """Empty counts: dataset × method × definition × place given × true place."""
    names = ("dataset", "method", "definition", "given", "true")
    return Hist(*(hist.axis.StrCategory([], growth=True, name=name) for name in names), storage=hist.storage.Int64())


def fill_confusion(
    histogram: Hist, key: Mapping[str, str], kinds: Mapping[str, Kind], targets: Targets, candidates: ak.Array
) -> None:
    """Add the objects of one method; ``key`` gives dataset, method and definition."""
    names = [place.name for place in places_of(kinds)]
    table = confusion(candidates, targets, kinds)
    for given, row in zip(names, table, strict=True):
        histogram.fill(**key, given=given, true=[*names, NOWHERE], weight=row)
