"""Kinds of targets: those that an event's symmetry exchanges are one kind, and are counted together.

A particle may be seen as a pair of small-radius jets or as one large-radius jet: two kinds
for the same particles. Semi-leptonic tt̄ has two kinds with one particle each.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import permutations

import numpy as np

from hhh_coffea.base.arrays import IntArray
from hhh_coffea.topology.topology import Input, Permutation, Topology

EVENT_FEATURES = ("ht", "n_jets")  # of the jets of an event together
NONE = -1  # the position of an object that is not there
READABLE = {"fatjets": "large-radius jets"}  # collections of the record that readers call otherwise
_BITS = 48  # of the number that names an assignment


@dataclass(frozen=True)
class Kind:
    """Targets of a topology that are alike."""

    name: str
    number: int  # its place among the kinds of the topology
    members: tuple[int, ...]  # targets, by their number in the topology
    particles: tuple[int, ...]  # which particle each member is
    daughters: tuple[str, ...]
    collections: tuple[str, ...]  # of the event record, in which each daughter is sought
    group: tuple[Permutation, ...]
    width: int  # daughters of the kind that has most

    @property
    def degree(self) -> int:
        """Number of daughters."""
        return len(self.daughters)

    def identity(self, objects: IntArray) -> IntArray:
        """``(…, k)`` objects → ``(…)``: a number that is the same for equal assignments alone, −1 if an object is missing.

        Assignments that the kind's symmetry exchanges are equal.
        """
        columns = [np.asarray(objects[..., d], dtype=np.int64) for d in range(self.degree)]
        least = reduce(np.minimum, [self._number(columns, g) for g in self.group])
        return np.where(reduce(np.minimum, columns) >= 0, least, NONE)

    def ordered(self, objects: IntArray) -> IntArray:
        """``(…, k)``: of the orders that the kind's symmetry makes equal, the first in lexicographic order."""
        columns = [np.asarray(objects[..., d], dtype=np.int64) for d in range(self.degree)]
        result, least = columns, self._number(columns, self.group[0])
        for g in self.group[1:]:
            number = self._number(columns, g)
            less = number < least
            result = [np.where(less, columns[i], column) for i, column in zip(g, result, strict=True)]
            least = np.minimum(number, least)
        return np.stack(result, axis=-1)

    def _number(self, columns: Sequence[IntArray], order: Permutation) -> IntArray:
        number = columns[order[0]]
        for d in order[1:]:
            number = (number << (_BITS // self.width)) + columns[d]
        return number


def collection_of(event_input: Input) -> str:
    """The collection of the event record that an input of an event YAML stands for, by the names of its features.

    Features ``fj_…`` are those of large-radius jets, ``charge``, ``flavor`` and ``isolation`` those of leptons; a GLOBAL input
    with nothing but :data:`EVENT_FEATURES` is made of all jets (``event``).
    """
    names = event_input.feature_names
    if event_input.kind == "global" and set(names) <= set(EVENT_FEATURES):
        return "event"
    if any(name.startswith("fj_") for name in names):
        return "fatjets"
    if {"charge", "flavor", "isolation"}.intersection(names):
        return "leptons"
    return "jets" if event_input.kind == "sequential" else "met"


def kinds_of(topology: Topology, names: Sequence[str] = ()) -> dict[str, Kind]:
    """The kinds of a topology by name, in its order.

    Parameters
    ----------
    topology
        targets and their symmetry
    names
        of the kinds; when not given, those of their first members without the number: ``t`` of t1 and t2

    Raises
    ------
    ValueError
        if the number of names is not that of kinds.
    """
    classes = topology.symmetric_classes
    names = names or _names(topology, classes)
    if len(set(names)) != len(classes):
        raise ValueError(
            f"{len(names)} names for {len(classes)} kinds of targets, each to be named once: {list(names)}"
        )
    particle = {target: p for p, alternative in enumerate(topology.alternatives) for target in alternative}
    collections: Mapping[str | None, str] = {i.name: collection_of(i) for i in topology.sequential}
    width = max(target.degree for target in topology.targets)
    found = {}
    for number, (name, members) in enumerate(zip(names, classes, strict=True)):
        first = topology.targets[members[0]]
        found[name] = Kind(
            name,
            number,
            members,
            tuple(particle[member] for member in members),
            first.daughters,
            tuple(collections.get(source, "jets") for source in first.sources),
            first.group,
            width,
        )
    return found


def same_targets(some: Mapping[str, Kind], of: Mapping[str, Kind]) -> bool:
    """Whether ``some`` kinds, of a model say, are among those ``of`` an analysis, each once, and cover all its particles."""
    found = [partner(kind, of) for kind in some.values()]
    names = {kind.name for kind in found if kind is not None}
    return len(names) == len(some) and _particles(some) == _particles(of)


def partner(kind: Kind, among: Mapping[str, Kind]) -> Kind | None:
    """The kind of another topology made of the same objects with the same symmetry, whatever it is called."""
    alike = [o for o in among.values() if len(o.members) == len(kind.members) and daughter_order(kind, o) is not None]
    return next((other for other in alike if other.name == kind.name), alike[0] if alike else None)


def daughter_order(kind: Kind, other: Kind) -> Permutation | None:
    """Which daughter of ``other`` each daughter of ``kind`` is, None where the two are not made alike.

    Daughters of the same names are the same. Where the names differ it is the first order in which collections and
    symmetry agree: ``(b, q1, q2)`` is ``(z, x, y)`` if both may exchange the last two.
    """
    if kind.degree != other.degree:
        return None
    orders: Iterable[Permutation] = permutations(range(kind.degree))
    if set(kind.daughters) == set(other.daughters):
        orders = [tuple(other.daughters.index(name) for name in kind.daughters)]
    for order in orders:
        same_objects = kind.collections == tuple(other.collections[j] for j in order)
        if same_objects and set(kind.group) == {tuple(order.index(g[j]) for j in order) for g in other.group}:
            return order
    return None


def in_words(kinds: Mapping[str, Kind]) -> str:
    """Kinds of targets for messages: ``3 × 2 jets, 3 × 1 large-radius jet``."""

    def some(collection: str, number: int) -> str:
        words = READABLE.get(collection, collection)
        return f"{number} {words.removesuffix('s') if number == 1 else words}"

    def objects(kind: Kind) -> str:
        return " + ".join(some(c, kind.collections.count(c)) for c in dict.fromkeys(kind.collections))

    return ", ".join(f"{len(kind.members)} × {objects(kind)}" for kind in kinds.values())


def _particles(kinds: Mapping[str, Kind]) -> set[int]:
    return {particle for kind in kinds.values() for particle in kind.particles}


def _names(topology: Topology, classes: Sequence[tuple[int, ...]]) -> list[str]:
    firsts = [topology.targets[members[0]].name for members in classes]
    bare = [name.rstrip("0123456789") or name for name in firsts]
    return bare if len(set(bare)) == len(bare) else firsts
