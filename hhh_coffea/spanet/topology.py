"""The event topology: which inputs there are, which particles are sought in them, and what is symmetric.

The file format is the event YAML of SPANet (A. Shmakov et al., SciPost Phys. 12, 178 (2022); M. Fenton et al.,
Commun. Phys. 7, 139 (2024)), so that event files written for it are read unchanged. A *target* is a particle to
reconstruct (``h1``), its *daughters* (``b1``, ``b2``) are the objects it is made of.

Every error names the file, the line and the key it is about.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import yaml

Permutation = tuple[int, ...]
"""``g[i]`` is the position that position ``i`` is sent to."""

SECTIONS = ("INPUTS", "EVENT", "PERMUTATIONS", "REGRESSIONS", "CLASSIFICATIONS")
REGRESSION_KINDS = ("gaussian", "laplacian", "log_gaussian")
TRANSFORMS = ("none", "log", "normalize", "log_normalize")
BUNDLED = Path(__file__).parent / "topologies"


class TopologyError(ValueError):
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
        members alike and no input is shared between them: h_i in jets and bh_i in large-radius jets.
        """
        merged: list[list[tuple[int, ...]]] = []
        for members in self.symmetric_classes:
            for classes in merged:
                first = classes[0]
                if len(first) == len(members) and self._moves_alike(first, members) and all(
                    self._sources(first).isdisjoint(self._sources(members)) for first in classes
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
        return cls.from_text(Path(path).read_text(encoding="utf-8"), name=str(path))

    @classmethod
    def bundled(cls, name: str) -> Topology:
        """Read one of the topologies shipped with the package, e.g. ``"hhh"`` (see :func:`bundled_names`)."""
        if name not in bundled_names():
            raise TopologyError(f"no bundled topology {name!r}; there are: {', '.join(bundled_names())}")
        return cls.from_file(BUNDLED / f"{name}.yaml")

    @classmethod
    def from_text(cls, text: str, name: str = "event YAML") -> Topology:
        """Read an event YAML from a string; ``name`` stands for the file in error messages."""
        return _Reader(text, name).read()


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


class _Reader:
    """Walks the YAML nodes rather than the values, because only nodes know their line."""

    def __init__(self, text: str, name: str):
        self.text, self.name = text, name

    def fail(self, node: yaml.Node | None, key: str, message: str) -> TopologyError:
        line = f", line {node.start_mark.line + 1}" if node is not None else ""
        return TopologyError(f"{self.name}{line}, {key}: {message}")

    def read(self) -> Topology:
        try:
            root = yaml.compose(self.text, Loader=yaml.SafeLoader)
        except yaml.YAMLError as error:
            raise TopologyError(f"{self.name}: not valid YAML: {error}") from error
        if root is None:
            raise self.fail(None, "file", "is empty")
        sections = {key.value: value for key, value in self.items(root, "file")}
        for key, _ in self.items(root, "file"):
            if key.value not in SECTIONS:
                raise self.fail(key, key.value, f"unknown section; known are {', '.join(SECTIONS)}")
        for required in ("INPUTS", "EVENT"):
            if required not in sections or self.is_null(sections[required]):
                raise self.fail(root, required, "this section is required and may not be empty")
        inputs = self.inputs(sections["INPUTS"])
        permutations = sections.get("PERMUTATIONS")
        targets = self.targets(sections["EVENT"], permutations, inputs)
        names = [target.name for target in targets]
        event_group = self.group(permutations, "EVENT", names)
        self.check_event_group(permutations, targets, event_group)
        regressions = tuple(self.regression(key, node) for key, node in self.heads(sections, "REGRESSIONS", targets))
        classifications = tuple(
            f"{key}/{self.scalar(node, key)}" for key, node in self.heads(sections, "CLASSIFICATIONS", targets)
        )
        return Topology(inputs, targets, event_group, regressions, classifications, self.text)

    # --- node helpers -------------------------------------------------------------------------------------------
    @staticmethod
    def is_null(node: yaml.Node | None) -> bool:
        return node is None or node.tag == "tag:yaml.org,2002:null"

    def items(self, node: yaml.Node | None, key: str) -> list[tuple[yaml.ScalarNode, yaml.Node]]:
        if node is None or self.is_null(node):
            return []
        if not isinstance(node, yaml.MappingNode):
            raise self.fail(node, key, "expected a mapping (key: value)")
        seen: set[str] = set()
        for name, _ in node.value:
            if self.scalar(name, key) in seen:
                raise self.fail(name, f"{key}/{name.value}", "appears twice")
            seen.add(name.value)
        return list(node.value)

    def sequence(self, node: yaml.Node | None, key: str) -> list[yaml.Node]:
        if node is None or self.is_null(node):
            return []
        if not isinstance(node, yaml.SequenceNode):
            raise self.fail(node, key, "expected a list")
        return list(node.value)

    def scalar(self, node: yaml.Node, key: str) -> str:
        if not isinstance(node, yaml.ScalarNode) or self.is_null(node):
            raise self.fail(node, key, "expected a name")
        return str(node.value)

    # --- sections -----------------------------------------------------------------------------------------------
    def inputs(self, section: yaml.Node) -> tuple[Input, ...]:
        found: list[Input] = []
        for kind, collections in self.items(section, "INPUTS"):
            if kind.value not in ("SEQUENTIAL", "GLOBAL"):
                raise self.fail(kind, f"INPUTS/{kind.value}", "input kinds supported are SEQUENTIAL and GLOBAL")
            for name, features in self.items(collections, f"INPUTS/{kind.value}"):
                key = f"INPUTS/{kind.value}/{name.value}"
                if any(i.name == name.value for i in found):
                    raise self.fail(name, key, "an input of this name exists already")
                parsed = tuple(self.feature(f, value, key) for f, value in self.items(features, key))
                if not parsed:
                    raise self.fail(name, key, "has no features")
                found.append(Input(name.value, "sequential" if kind.value == "SEQUENTIAL" else "global", parsed))
        if not any(i.kind == "sequential" for i in found):
            raise self.fail(section, "INPUTS/SEQUENTIAL", "at least one sequential input is required")
        return tuple(found)

    def feature(self, name: yaml.ScalarNode, value: yaml.Node, key: str) -> Feature:
        transform = self.scalar(value, f"{key}/{name.value}")
        if transform not in (*TRANSFORMS, "true", "false"):  # booleans: the older spelling of (not) normalised
            raise self.fail(value, f"{key}/{name.value}", f"{transform!r} is none of {', '.join(TRANSFORMS)}")
        return Feature(name.value, "log" in transform, "normalize" in transform or transform == "true")

    def targets(
        self, section: yaml.Node, permutations: yaml.Node | None, inputs: Sequence[Input]
    ) -> tuple[Target, ...]:
        found = []
        sequential = [i.name for i in inputs if i.kind == "sequential"]
        for name, entries in self.items(section, "EVENT"):
            key = f"EVENT/{name.value}"
            if name.value in ("EVENT", "PARTICLE"):
                raise self.fail(name, key, "this name is reserved")
            daughters: list[str] = []
            sources: list[str | None] = []
            for entry in self.sequence(entries, key):
                source = None
                if isinstance(entry, yaml.MappingNode):
                    [(daughter, source_node)] = self.items(entry, key)[:1] or [(None, None)]
                    if daughter is None or len(entry.value) != 1:
                        raise self.fail(entry, key, "expected one 'daughter: input' here")
                    source = self.scalar(source_node, f"{key}/{daughter.value}") if source_node is not None else None
                    if source not in sequential:
                        known = ", ".join(sequential)
                        raise self.fail(source_node, f"{key}/{daughter.value}", f"no sequential input {source!r} ({known})")
                    entry = daughter  # noqa: PLW2901 - from here on both spellings are alike
                if self.scalar(entry, key) in daughters:
                    raise self.fail(entry, key, f"daughter {entry.value!r} appears twice")
                daughters.append(self.scalar(entry, key))
                sources.append(source if source is not None or len(sequential) > 1 else sequential[0])
            if not daughters:
                raise self.fail(name, key, "has no daughters")
            group = self.group(permutations, name.value, daughters)
            target = Target(name.value, tuple(daughters), tuple(sources), group)
            for orbit in target.orbits:
                if len({sources[i] for i in orbit}) > 1:
                    raise self.fail(name, key, "daughters from different inputs cannot be permuted")
            found.append(target)
        names = {target.name for target in found} | {"EVENT"}
        for name, _ in self.items(permutations, "PERMUTATIONS"):
            if name.value not in names:
                raise self.fail(name, f"PERMUTATIONS/{name.value}", "no such particle in EVENT")
        return tuple(found)

    def group(self, section: yaml.Node | None, name: str, members: Sequence[str]) -> tuple[Permutation, ...]:
        generators: list[Permutation] = []
        key = f"PERMUTATIONS/{name}"
        node = {k.value: v for k, v in self.items(section, "PERMUTATIONS")}.get(name)
        for entry in self.sequence(node, key):
            parts = self.sequence(entry, key)
            nested = any(isinstance(part, yaml.SequenceNode) for part in parts)
            cycles = [self.cycle(part, key, members) for part in (parts if nested else [entry])]
            flat = [i for cycle in cycles for i in cycle]
            if len(set(flat)) != len(flat):
                raise self.fail(entry, key, "a name appears twice in one permutation")
            if nested:  # one generator: the product of disjoint cycles
                generators.append(_from_cycles(cycles, len(members)))
            else:  # all permutations of the names listed: every transposition is a generator
                pairs = itertools.combinations(cycles[0], 2)
                generators += [_from_cycles([pair], len(members)) for pair in pairs]
        return close_group(generators, len(members))

    def cycle(self, node: yaml.Node, key: str, members: Sequence[str]) -> tuple[int, ...]:
        names = [(self.scalar(part, key), part) for part in self.sequence(node, key)]
        for name, part in names:
            if name not in members:
                raise self.fail(part, key, f"{name!r} is none of {', '.join(members)}")
        return tuple(members.index(name) for name, _ in names)

    def check_event_group(
        self, section: yaml.Node | None, targets: Sequence[Target], group: Sequence[Permutation]
    ) -> None:
        for orbit in orbits(group, len(targets)):
            shapes = {(targets[i].sources, targets[i].group) for i in orbit}
            if len(shapes) > 1:
                names = ", ".join(targets[i].name for i in orbit)
                raise self.fail(section, "PERMUTATIONS/EVENT", f"{names} differ in daughters, inputs or permutations")

    def heads(
        self, sections: dict[str, yaml.Node], section: str, targets: Sequence[Target]
    ) -> Iterator[tuple[str, yaml.Node]]:
        """Prefix (``EVENT``, ``t1/PARTICLE``, ``t1/b``) and node of every head of a section."""
        by_name = {target.name: target for target in targets}
        for name, node in self.items(sections.get(section), section):
            if name.value == "EVENT":
                yield from (("EVENT", item) for item in self.sequence(node, f"{section}/EVENT"))
            elif name.value in by_name:
                for part, entries in self.items(node, f"{section}/{name.value}"):
                    key = f"{name.value}/{part.value}"
                    if part.value not in ("PARTICLE", *by_name[name.value].daughters):
                        raise self.fail(part, f"{section}/{key}", "expected PARTICLE or a daughter's name")
                    yield from ((key, item) for item in self.sequence(entries, f"{section}/{key}"))
            else:
                raise self.fail(name, f"{section}/{name.value}", "expected EVENT or a particle's name")

    def regression(self, key: str, node: yaml.Node) -> Regression:
        name, kind = node, "gaussian"
        if isinstance(node, yaml.SequenceNode):
            parts = self.sequence(node, key)
            if len(parts) != 2:
                raise self.fail(node, f"REGRESSIONS/{key}", "expected a name or [name, kind]")
            name, kind = parts[0], self.scalar(parts[1], key)
        for known in REGRESSION_KINDS:
            if kind == known:
                return Regression(f"{key}/{self.scalar(name, key)}", known)
        raise self.fail(node, f"REGRESSIONS/{key}", f"kind {kind!r} is none of {', '.join(REGRESSION_KINDS)}")


def _from_cycles(cycles: Iterable[Sequence[int]], size: int) -> Permutation:
    image = list(range(size))
    for cycle in cycles:
        for here, there in zip(cycle, (*cycle[1:], cycle[0]), strict=True):
            image[here] = there
    return tuple(image)
