"""The event topology: which inputs there are, which particles are sought in them, and what is symmetric.

The file format is the event YAML of SPANet (A. Shmakov et al., SciPost Phys. 12, 178 (2022); M. Fenton et al.,
Commun. Phys. 7, 139 (2024)), so that event files written for it are read unchanged. A *target* is a particle to
reconstruct (``h1``), its *daughters* (``b1``, ``b2``) are the objects it is made of.

Every error names the file, the line and the key it is about.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from hhh_coffea.base.errors import UserError, why_unreadable
from hhh_coffea.base.user_files import expanded

Permutation = tuple[int, ...]
"""``g[i]`` is the position that position ``i`` is sent to."""

BUNDLED = Path(__file__).parent / "events"


class TopologyError(UserError):
    """An event YAML that cannot be understood; the message names file, line and key."""


@dataclass(frozen=True)
class Feature:
    """One number per object; ``log`` is applied before ``normalize``."""

    name: str
    log: bool
    normalize: bool


@dataclass(frozen=True)
class Input:
    """A collection of objects (``sequential``) or a single vector per event (``global``)."""

    name: str
    kind: Literal["sequential", "global"]
    features: tuple[Feature, ...]

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the features, in the order of the last axis of the input array."""
        return tuple(feature.name for feature in self.features)


@dataclass(frozen=True)
class Target:
    """A particle to reconstruct: its daughters, the input each is sought in, and their permutation group."""

    name: str
    daughters: tuple[str, ...]
    sources: tuple[str | None, ...]
    group: tuple[Permutation, ...]

    @property
    def degree(self) -> int:
        """Number of daughters."""
        return len(self.daughters)

    @property
    def orbits(self) -> tuple[tuple[int, ...], ...]:
        """Daughters that the group exchanges, as tuples of positions."""
        return orbits(self.group, self.degree)


@dataclass(frozen=True)
class Regression:
    """A number to predict, of the whole event (``EVENT/x``), a target (``t/PARTICLE/x``) or a daughter (``t/b/x``)."""

    key: str
    kind: Literal["gaussian", "laplacian", "log_gaussian"]


@dataclass(frozen=True)
class Topology:
    """A validated event topology. ``text`` is the YAML it was read from."""

    inputs: tuple[Input, ...]
    targets: tuple[Target, ...]
    event_group: tuple[Permutation, ...]
    regressions: tuple[Regression, ...]
    classifications: tuple[str, ...]
    text: str
    notes: tuple[str, ...] = ()  # what of the text was read in another way than it says

    @cached_property
    def sequential(self) -> tuple[Input, ...]:
        """Inputs with objects that can be assigned; their order is the order of the concatenated token list."""
        return tuple(i for i in self.inputs if i.kind == "sequential")

    @cached_property
    def target_names(self) -> tuple[str, ...]:
        """Names of the targets in the order of the file."""
        return tuple(target.name for target in self.targets)

    @cached_property
    def symmetric_classes(self) -> tuple[tuple[int, ...], ...]:
        """Targets that the event group exchanges, e.g. ``((0, 1, 2), (3, 4, 5))`` for h1..h3 and bh1..bh3."""
        return orbits(self.event_group, len(self.targets))

    @cached_property
    def alternatives(self) -> tuple[tuple[int, ...], ...]:
        """Targets that are the same particle seen in different ways, e.g. ``((0, 3), (1, 4), (2, 5))``.

        Two symmetric classes describe the same particles when every element of the event group moves their
        members alike, no input is shared between them, and one of them is made of single objects: h_i in jets and bh_i
        in large-radius jets.
        """
        merged: list[list[tuple[int, ...]]] = []
        for members in self.symmetric_classes:
            for classes in merged:
                first = classes[0]
                if (
                    len(first) == len(members)
                    and self._moves_alike(first, members)
                    and 1 in (self.targets[first[0]].degree, self.targets[members[0]].degree)
                    and all(self._sources(first).isdisjoint(self._sources(members)) for first in classes)
                ):
                    classes.append(members)
                    break
            else:
                merged.append([members])
        return tuple(alternative for classes in merged for alternative in zip(*classes, strict=True))

    def _moves_alike(self, a: Sequence[int], b: Sequence[int]) -> bool:
        return all([a.index(g[i]) for i in a] == [b.index(g[i]) for i in b] for g in self.event_group)

    def _sources(self, members: Iterable[int]) -> set[str | None]:
        return {source for index in members for source in self.targets[index].sources}

    @classmethod
    def from_file(cls, path: str | Path) -> Topology:
        """Read an event YAML from ``path``; :class:`TopologyError` names what is wrong in it."""
        try:
            text = expanded(str(path)).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise TopologyError(f"{path}: cannot be read: {why_unreadable(error)}") from error
        return cls.from_text(text, name=str(path))

    @classmethod
    def bundled(cls, name: str) -> Topology:
        """Read one of the topologies shipped with the package, e.g. ``"hhh"`` (see :func:`bundled_names`)."""
        if name not in bundled_names():
            raise TopologyError(f"no bundled topology {name!r}; there are: {', '.join(bundled_names())}")
        return cls.from_file(BUNDLED / f"{name}.yaml")

    @classmethod
    def from_text(cls, text: str, name: str = "event YAML") -> Topology:
        """Read an event YAML from a string; ``name`` stands for the file in error messages."""
        from hhh_coffea.topology.event_yaml import (
            Reader,  # it makes Topology objects, so it cannot be imported at the top
        )

        return Reader(text, name).read()


def pairs_and_singles(topology: Topology) -> tuple[list[int], list[int]]:
    """Targets that are pairs of jets and targets that are single objects, in the order of the particles they are.

    ValueError for a topology that is anything else: ``joint`` and ``reference`` are defined for these.
    """
    alternatives = topology.alternatives
    alike = len({len(a) for a in alternatives}) == 1
    columns = list(zip(*alternatives, strict=True)) if alike else []
    targets = [[topology.targets[i] for i in column] for column in columns]
    degrees = [{t.degree for t in column} for column in targets]
    symmetric = all(len(t.group) == t.degree for column in targets for t in column)
    sources = [{t.sources[0] for t in column} for column in targets]
    if degrees not in ([{2}], [{1}], [{2}, {1}]) or not symmetric or any(len(s) != 1 for s in sources):
        raise ValueError("this decoding needs symmetric pairs of jets, single objects, or both for each particle")
    resolved = [list(c) for c, d in zip(columns, degrees, strict=True) if d == {2}]
    boosted = [list(c) for c, d in zip(columns, degrees, strict=True) if d == {1}]
    return (resolved or [[]])[0], (boosted or [[]])[0]


def is_of_pairs_and_singles(topology: Topology) -> bool:
    """Whether :func:`pairs_and_singles` knows a topology."""
    try:
        pairs_and_singles(topology)
    except ValueError:
        return False
    return True


def bundled_names() -> tuple[str, ...]:
    """Names of the topologies shipped with the package."""
    return tuple(sorted(path.stem for path in BUNDLED.glob("*.yaml")))


def close_group(generators: Iterable[Permutation], size: int) -> tuple[Permutation, ...]:
    """All products of the generators, identity first, otherwise sorted.

    >>> close_group([(1, 0, 2), (0, 2, 1)], 3)
    ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
    """
    generators = list(generators)
    identity = tuple(range(size))
    group, frontier = {identity}, [identity]
    while frontier:  # a finite set closed under products is closed under inverses too
        products = {tuple(g[i] for i in h) for h in frontier for g in generators}
        frontier = sorted(products - group)
        group |= products
    return tuple(sorted(group))


def orbits(group: Sequence[Permutation], size: int) -> tuple[tuple[int, ...], ...]:
    """Positions that the group exchanges, each orbit and the list of orbits in increasing order."""
    return tuple(sorted({tuple(sorted({g[i] for g in group})) for i in range(size)}))


def from_cycles(cycles: Iterable[Sequence[int]], size: int) -> Permutation:
    """Permutation that sends every member of each cycle to the next.

    >>> from_cycles([(0, 1), (2, 3)], 5)
    (1, 0, 3, 2, 4)
    """
    image = list(range(size))
    for cycle in cycles:
        for here, there in zip(cycle, (*cycle[1:], cycle[0]), strict=True):
            image[here] = there
    return tuple(image)
