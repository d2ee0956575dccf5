"""Reading and checking the event YAML; :class:`~hhh_coffea.topology.topology.Topology` is what comes out."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import yaml

from hhh_coffea.base.errors import why_unreadable
from hhh_coffea.topology.topology import (
    Feature,
    Input,
    Permutation,
    Regression,
    Target,
    Topology,
    TopologyError,
    close_group,
    from_cycles,
    orbits,
)

SECTIONS = ("INPUTS", "EVENT", "PERMUTATIONS", "REGRESSIONS", "CLASSIFICATIONS")
REGRESSION_KINDS = ("gaussian", "laplacian", "log_gaussian")
TRANSFORMS = ("none", "log", "normalize", "log_normalize")


class Reader:
    """Walks the YAML nodes rather than the values, because only nodes know their line."""

    def __init__(self, text: str, name: str):
        self.text, self.name = text, name

    def _fail(self, node: yaml.Node | None, key: str, message: str) -> TopologyError:
        line = f", line {node.start_mark.line + 1}" if node is not None else ""
        return TopologyError(f"{self.name}{line}, {key}: {message}")

    def read(self) -> Topology:
        """Return the topology; TopologyError names file, line and key of what is wrong."""
        try:
            root = yaml.compose(self.text, Loader=yaml.SafeLoader)
        except yaml.YAMLError as error:
            raise TopologyError(f"{self.name}: not valid YAML: {why_unreadable(error)}") from error
        except RecursionError:
            raise TopologyError(f"{self.name}: not valid YAML: nested too deeply") from None
        if root is None:
            raise self._fail(None, "file", "is empty")
        sections = {key.value: value for key, value in self._items(root, "file")}
        for key, _ in self._items(root, "file"):
            if key.value not in SECTIONS:
                raise self._fail(key, key.value, f"unknown section; known are {', '.join(SECTIONS)}")
        for required in ("INPUTS", "EVENT"):
            if required not in sections or self._is_null(sections[required]):
                raise self._fail(root, required, "this section is required and may not be empty")
        inputs = self._inputs(sections["INPUTS"])
        permutations = sections.get("PERMUTATIONS")
        targets = self._targets(sections["EVENT"], permutations, inputs)
        names = [target.name for target in targets]
        event_group, notes = self._event_group(permutations, targets, self._group(permutations, "EVENT", names))
        regressions = tuple(self._regression(key, node) for key, node in self._heads(sections, "REGRESSIONS", targets))
        classifications = tuple(
            f"{key}/{self._scalar(node, key)}" for key, node in self._heads(sections, "CLASSIFICATIONS", targets)
        )
        return Topology(inputs, targets, event_group, regressions, classifications, self.text, notes)

    # --- node helpers -------------------------------------------------------------------------------------------
    @staticmethod
    def _is_null(node: yaml.Node | None) -> bool:
        return node is None or node.tag == "tag:yaml.org,2002:null"

    def _items(self, node: yaml.Node | None, key: str) -> list[tuple[yaml.ScalarNode, yaml.Node]]:
        if node is None or self._is_null(node):
            return []
        if not isinstance(node, yaml.MappingNode):
            raise self._fail(node, key, "expected a mapping (key: value)")
        seen: set[str] = set()
        for name, _ in node.value:
            if self._scalar(name, key) in seen:
                raise self._fail(name, f"{key}/{name.value}", "appears twice")
            seen.add(name.value)
        return list(node.value)

    def _sequence(self, node: yaml.Node | None, key: str) -> list[yaml.Node]:
        if node is None or self._is_null(node):
            return []
        if not isinstance(node, yaml.SequenceNode):
            raise self._fail(node, key, "expected a list")
        return list(node.value)

    def _scalar(self, node: yaml.Node, key: str) -> str:
        if not isinstance(node, yaml.ScalarNode) or self._is_null(node):
            raise self._fail(node, key, "expected a name")
        return str(node.value)

    # --- sections -----------------------------------------------------------------------------------------------
    def _inputs(self, section: yaml.Node) -> tuple[Input, ...]:
        found: list[Input] = []
        for kind, collections in self._items(section, "INPUTS"):
            if kind.value not in ("SEQUENTIAL", "GLOBAL"):
                raise self._fail(kind, f"INPUTS/{kind.value}", "input kinds supported are SEQUENTIAL and GLOBAL")
            for name, features in self._items(collections, f"INPUTS/{kind.value}"):
                key = f"INPUTS/{kind.value}/{name.value}"
                if any(i.name == name.value for i in found):
                    raise self._fail(name, key, "an input of this name exists already")
                parsed = tuple(self._feature(f, value, key) for f, value in self._items(features, key))
                if not parsed:
                    raise self._fail(name, key, "has no features")
                found.append(Input(name.value, "sequential" if kind.value == "SEQUENTIAL" else "global", parsed))
        if not any(i.kind == "sequential" for i in found):
            raise self._fail(section, "INPUTS/SEQUENTIAL", "at least one sequential input is required")
        return tuple(found)

    def _feature(self, name: yaml.ScalarNode, value: yaml.Node, key: str) -> Feature:
        transform = self._scalar(value, f"{key}/{name.value}")
        if transform not in (*TRANSFORMS, "true", "false"):  # booleans: the older spelling of (not) normalised
            raise self._fail(value, f"{key}/{name.value}", f"{transform!r} is none of {', '.join(TRANSFORMS)}")
        return Feature(name.value, "log" in transform, "normalize" in transform or transform == "true")

    def _targets(
        self, section: yaml.Node, permutations: yaml.Node | None, inputs: Sequence[Input]
    ) -> tuple[Target, ...]:
        found = []
        sequential = [i.name for i in inputs if i.kind == "sequential"]
        for name, entries in self._items(section, "EVENT"):
            key = f"EVENT/{name.value}"
            if name.value in ("EVENT", "PARTICLE"):
                raise self._fail(name, key, "this name is reserved")
            daughters: list[str] = []
            sources: list[str | None] = []
            for entry in self._sequence(entries, key):
                source = None
                if isinstance(entry, yaml.MappingNode):
                    if len(entry.value) != 1:
                        raise self._fail(entry, key, "expected one 'daughter: input' here")
                    [(entry, source_node)] = self._items(entry, key)  # noqa: PLW2901 - now both spellings are alike
                    source = self._scalar(source_node, f"{key}/{entry.value}")
                    if source not in sequential:
                        message = f"no sequential input {source!r}; there are {', '.join(sequential)}"
                        raise self._fail(source_node, f"{key}/{entry.value}", message)
                if self._scalar(entry, key) in daughters:
                    raise self._fail(entry, key, f"daughter {entry.value!r} appears twice")
                daughters.append(self._scalar(entry, key))
                sources.append(source if source is not None or len(sequential) > 1 else sequential[0])
            if not daughters:
                raise self._fail(name, key, "has no daughters")
            group = self._group(permutations, name.value, daughters)
            target = Target(name.value, tuple(daughters), tuple(sources), group)
            for orbit in target.orbits:
                if len({sources[i] for i in orbit}) > 1:
                    raise self._fail(name, key, "daughters from different inputs cannot be permuted")
            found.append(target)
        names = {target.name for target in found} | {"EVENT"}
        for name, _ in self._items(permutations, "PERMUTATIONS"):
            if name.value not in names:
                raise self._fail(name, f"PERMUTATIONS/{name.value}", "no such particle in EVENT")
        return tuple(found)

    def _group(self, section: yaml.Node | None, name: str, members: Sequence[str]) -> tuple[Permutation, ...]:
        generators: list[Permutation] = []
        key = f"PERMUTATIONS/{name}"
        node = {k.value: v for k, v in self._items(section, "PERMUTATIONS")}.get(name)
        for entry in self._sequence(node, key):
            parts = self._sequence(entry, key)
            nested = any(isinstance(part, yaml.SequenceNode) for part in parts)
            cycles = [self._cycle(part, key, members) for part in (parts if nested else [entry])]
            flat = [i for cycle in cycles for i in cycle]
            if len(set(flat)) != len(flat):
                raise self._fail(entry, key, "a name appears twice in one permutation")
            if nested:  # one generator: the product of disjoint cycles
                generators.append(from_cycles(cycles, len(members)))
            else:  # all permutations of the names listed: every transposition is a generator
                pairs = itertools.combinations(cycles[0], 2)
                generators += [from_cycles([pair], len(members)) for pair in pairs]
        return close_group(generators, len(members))

    def _cycle(self, node: yaml.Node, key: str, members: Sequence[str]) -> tuple[int, ...]:
        names = [(self._scalar(part, key), part) for part in self._sequence(node, key)]
        for name, part in names:
            if name not in members:
                raise self._fail(part, key, f"{name!r} is none of {', '.join(members)}")
        return tuple(members.index(name) for name, _ in names)

    def _event_group(
        self, section: yaml.Node | None, targets: Sequence[Target], group: Sequence[Permutation]
    ) -> tuple[tuple[Permutation, ...], tuple[str, ...]]:
        """The group of the event, without exchanges of targets that are sought in different inputs, and a note if there were any.

        Objects of different inputs are never the same, so such an exchange makes no two assignments equal.
        """
        for orbit in orbits(group, len(targets)):
            if len({(len(targets[i].sources), targets[i].group) for i in orbit}) > 1:
                names = ", ".join(targets[i].name for i in orbit)
                raise self._fail(section, "PERMUTATIONS/EVENT", f"{names} differ in daughters, inputs or permutations")
        kept = tuple(g for g in group if all(targets[j].sources == targets[i].sources for i, j in enumerate(g)))
        apart = [o for o in orbits(group, len(targets)) if len({targets[i].sources for i in o}) > 1]
        names = "; ".join(", ".join(targets[i].name for i in orbit) for orbit in apart)
        note = f"{self.name}: PERMUTATIONS/EVENT: {names} draw from different inputs, and are not exchanged"
        return kept, (note,) if apart else ()

    def _heads(
        self, sections: dict[str, yaml.Node], section: str, targets: Sequence[Target]
    ) -> Iterator[tuple[str, yaml.Node]]:
        """Prefix (``EVENT``, ``t1/PARTICLE``, ``t1/b``) and node of every head of a section."""
        by_name = {target.name: target for target in targets}
        for name, node in self._items(sections.get(section), section):
            if name.value == "EVENT":
                yield from (("EVENT", item) for item in self._sequence(node, f"{section}/EVENT"))
            elif name.value in by_name:
                for part, entries in self._items(node, f"{section}/{name.value}"):
                    key = f"{name.value}/{part.value}"
                    if part.value not in ("PARTICLE", *by_name[name.value].daughters):
                        raise self._fail(part, f"{section}/{key}", "expected PARTICLE or a daughter's name")
                    yield from ((key, item) for item in self._sequence(entries, f"{section}/{key}"))
            else:
                raise self._fail(name, f"{section}/{name.value}", "expected EVENT or a particle's name")

    def _regression(self, key: str, node: yaml.Node) -> Regression:
        name, kind = node, "gaussian"
        if isinstance(node, yaml.SequenceNode):
            parts = self._sequence(node, key)
            if len(parts) != 2:
                raise self._fail(node, f"REGRESSIONS/{key}", "expected a name or [name, kind]")
            name, kind = parts[0], self._scalar(parts[1], key)
        if kind in REGRESSION_KINDS:
            return Regression(f"{key}/{self._scalar(name, key)}", kind)  # type: ignore[arg-type]
        raise self._fail(node, f"REGRESSIONS/{key}", f"kind {kind!r} is none of {', '.join(REGRESSION_KINDS)}")
