"""Event YAMLs: what they mean, and what is said about wrong ones."""

from __future__ import annotations

import math

import pytest

from hhh_coffea.topology.topology import Topology, TopologyError, bundled_names, close_group, orbits

SMALL = """\
INPUTS:
  SEQUENTIAL:
    Jets: {pt: log_normalize, eta: normalize, tag: none, mass: log}
  GLOBAL:
    Met: {met: normalize}
EVENT:
  a: [{x: Jets}, {y: Jets}]
  b: [{x: Jets}, {y: Jets}]
PERMUTATIONS:
  EVENT:
    - [a, b]
  a:
    - [x, y]
  b:
    - [x, y]
REGRESSIONS:
  EVENT: [m, [n, log_gaussian]]
  a: {PARTICLE: [pt], x: [e]}
CLASSIFICATIONS:
  EVENT: [signal]
"""


def test_every_bundled_topology_reads():
    own = {f"{n}{kind}" for n in ("hhh", "hh") for kind in ("", "_resolved", "_nanoaod")}
    assert set(bundled_names()) == {*own, "ttbar", "ttbar_semileptonic", "tth_semileptonic", "semi_leptonic_ttH"}
    for name in bundled_names():
        assert Topology.bundled(name).targets


@pytest.mark.parametrize(("name", "n"), [("hhh", 3), ("hh", 2)])
def test_boosted_and_resolved_higgs_are_exchanged_together(name, n):
    topology = Topology.bundled(name)
    assert len(topology.event_group) == math.factorial(n)  # the diagonal group, not its square
    assert topology.symmetric_classes == (tuple(range(n)), tuple(range(n, 2 * n)))
    assert topology.alternatives == tuple((i, n + i) for i in range(n))
    assert [t.degree for t in topology.targets] == [2] * n + [1] * n
    assert topology.targets[0].group == ((0, 1), (1, 0))
    assert topology.targets[n].sources == ("BoostedJets",)


def test_sections_and_transforms():
    t = Topology.from_text(SMALL)
    assert [(f.name, f.log, f.normalize) for f in t.inputs[0].features] == [
        ("pt", True, True), ("eta", False, True), ("tag", False, False), ("mass", True, False)
    ]  # fmt: skip
    assert [i.kind for i in t.inputs] == ["sequential", "global"]
    assert [(r.key, r.kind) for r in t.regressions] == [
        ("EVENT/m", "gaussian"), ("EVENT/n", "log_gaussian"), ("a/PARTICLE/pt", "gaussian"), ("a/x/e", "gaussian")
    ]  # fmt: skip
    assert t.classifications == ("EVENT/signal",)
    assert Topology.from_text(t.text) == t


def test_flat_permutation_is_the_full_group_and_nested_one_generator():
    text = "INPUTS: {SEQUENTIAL: {J: {pt: none}}}\nEVENT:\n" + "".join(f"  p{i}: [x]\n" for i in range(4))
    assert len(Topology.from_text(text + "PERMUTATIONS: {EVENT: [[p0, p1, p2, p3]]}").event_group) == 24
    two = Topology.from_text(text + "PERMUTATIONS: {EVENT: [[[p0, p1], [p2, p3]]]}")
    assert two.event_group == ((0, 1, 2, 3), (1, 0, 3, 2))
    cycle = Topology.from_text(text + "PERMUTATIONS: {EVENT: [[[p0, p1, p2]]]}")
    assert cycle.event_group == ((0, 1, 2, 3), (1, 2, 0, 3), (2, 0, 1, 3))


def test_group_closure():
    assert len(close_group([(1, 2, 3, 4, 0), (1, 0, 2, 3, 4)], 5)) == 120
    assert orbits(close_group([(1, 0, 2)], 3), 3) == ((0, 1), (2,))


@pytest.mark.parametrize(
    ("old", "new", "line", "key", "says"),
    [
        ("eta: normalize", "eta: normalise", 3, "INPUTS/SEQUENTIAL/Jets/eta", "'normalise' is none of"),
        ("SEQUENTIAL:", "SEQUENCE:", 2, "INPUTS/SEQUENCE", "SEQUENTIAL and GLOBAL"),
        ("  b: [{x: Jets}", "  b: [{x: Leptons}", 8, "EVENT/b/x", "no sequential input 'Leptons'"),
        ("  b: [{x: Jets}", "  b: [{x: Met}", 8, "EVENT/b/x", "no sequential input 'Met'"),
        ("  b: [{x: Jets}, {y: Jets}]", "  b: []", 8, "EVENT/b", "no daughters"),
        ("{y: Jets}]\n  b:", "{x: Jets}]\n  b:", 7, "EVENT/a", "appears twice"),
        ("    - [a, b]", "    - [a, c]", 11, "PERMUTATIONS/EVENT", "'c' is none of a, b"),
        ("    - [a, b]", "    - [a, a]", 11, "PERMUTATIONS/EVENT", "appears twice"),
        ("  a:\n    - [x", "  q:\n    - [x", 12, "PERMUTATIONS/q", "no such particle"),
        ("  b:\n    - [x, y]\n", "", 10, "PERMUTATIONS/EVENT", "a, b differ"),
        ("log_gaussian", "poisson", 17, "REGRESSIONS/EVENT", "'poisson' is none of"),
        ("PARTICLE", "z", 18, "REGRESSIONS/a/z", "PARTICLE or a daughter"),
        ("CLASSIFICATIONS:", "CLASSES:", 19, "CLASSES", "unknown section"),
        ("EVENT:\n  a:", "EVENTS:\n  a:", 6, "EVENTS", "unknown section"),
        ("  GLOBAL:", "  GLOBAL: [", None, "not valid YAML", ""),
    ],
)
def test_errors_name_line_and_key(old, new, line, key, says):
    assert old in SMALL
    with pytest.raises(TopologyError) as caught:
        Topology.from_text(SMALL.replace(old, new, 1), name="event.yaml")
    message = str(caught.value)
    assert message.startswith("event.yaml")
    assert key in message
    assert says in message
    if line is not None:
        assert f"line {line}," in message


def test_missing_section_and_unknown_bundle():
    with pytest.raises(TopologyError, match="EVENT"):
        Topology.from_text("INPUTS: {SEQUENTIAL: {J: {pt: none}}}")
    with pytest.raises(TopologyError, match="empty"):
        Topology.from_text("")
    with pytest.raises(TopologyError, match="hhh_resolved"):
        Topology.bundled("hhhh")


def test_files_of_the_original_are_read_unchanged(shared_dir):
    t = Topology.from_file(shared_dir / "data/spanet_examples/semi_leptonic_ttH.yaml")
    assert t.target_names == ("lt", "ht", "h")
    assert t.targets[1].orbits == ((0,), (1, 2))
    assert len(t.regressions) == 5
    boosted = Topology.from_file(shared_dir / "reference/spanet_checkpoints/hhh_boosted/event.yaml")
    assert boosted.event_group == Topology.bundled("hhh").event_group


def test_targets_of_different_inputs_are_not_exchanged():
    """Event files of CMS analyses name such exchanges: they make no two assignments equal."""
    jets = "{pt: log_normalize, eta: normalize, phi: none}"
    text = (
        f"INPUTS: {{SEQUENTIAL: {{A: {jets}, B: {jets}}}}}\n"
        "EVENT: {h1: [b1: A, b2: A], h2: [b1: B, b2: B], h3: [b1: A, b2: A]}\n"
        "PERMUTATIONS: {EVENT: [[h1, h2, h3]], h1: [[b1, b2]], h2: [[b1, b2]], h3: [[b1, b2]]}\n"
    )
    found = Topology.from_text(text, "cms.yaml")
    assert found.symmetric_classes == ((0, 2), (1,))
    assert set(found.event_group) == {(0, 1, 2), (2, 1, 0)}
    assert found.notes == (
        "cms.yaml: PERMUTATIONS/EVENT: h1, h2, h3 draw from different inputs, and are not exchanged",
    )
