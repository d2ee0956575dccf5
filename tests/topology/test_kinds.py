"""Kinds of targets: what is the same assignment, what they are called, and which kinds of two topologies are alike."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hhh_coffea.analyses.higgs import higgs
from hhh_coffea.topology.kinds import daughter_order, in_words, kinds_of, partner, same_targets
from hhh_coffea.topology.topology import Topology, close_group

TOPS = """\
INPUTS:
  SEQUENTIAL:
    Jets: {pt: log_normalize, btag: none}
EVENT:
  t1: [{b: Jets}, {q1: Jets}, {q2: Jets}]
  t2: [{b: Jets}, {q1: Jets}, {q2: Jets}]
PERMUTATIONS:
  EVENT: [[t1, t2]]
  t1: [[q1, q2]]
  t2: [[q1, q2]]
"""
MIXED = """\
INPUTS:
  SEQUENTIAL:
    Jets: {pt: log_normalize, btag: none}
    Leptons: {pt: log_normalize, charge: none}
EVENT:
  lt: [{l: Leptons}, {b: Jets}]
  ht: [{b: Jets}, {q1: Jets}, {q2: Jets}]
PERMUTATIONS:
  ht: [[q1, q2]]
"""


def kinds(text, *names):
    return kinds_of(Topology.from_text(text), names)


def positions(degree):
    return st.lists(st.integers(-1, 6), min_size=degree, max_size=degree)


GROUPS = {
    "none": close_group([], 3),
    "last two": close_group([(0, 2, 1)], 3),
    "turns": close_group([(1, 2, 0)], 3),
    "all": close_group([(1, 0, 2), (0, 2, 1)], 3),
    "two pairs": close_group([(1, 0, 2, 3), (0, 1, 3, 2), (2, 3, 0, 1)], 4),
}


@settings(deadline=None)
@given(st.sampled_from(sorted(GROUPS)), st.data())
def test_assignments_are_equal_up_to_the_symmetry_and_no_further(name, data):
    """Identity against the plain definition, and ``ordered`` is the least of all equal orders."""
    group = GROUPS[name]
    degree = len(group[0])
    kind = replace(kinds(TOPS)["t"], daughters=tuple("abcd"[:degree]), group=group, width=degree)
    a, b = (data.draw(positions(degree)) for _ in range(2))
    if data.draw(st.booleans()):  # chance alone makes few equal ones
        b = list(data.draw(st.permutations(a)))
    orders = [[a[i] for i in g] for g in group]
    number_a, number_b = kind.identity(np.array([a, b])).tolist()
    complete = min(a) >= 0 and min(b) >= 0
    assert (number_a == -1) == (min(a) < 0)
    if complete:
        assert (number_a == number_b) == (b in orders)
        assert {int(kind.identity(np.array(order))) for order in orders} == {number_a}
        assert {tuple(kind.ordered(np.array(order)).tolist()) for order in orders} == {tuple(min(orders))}


def test_any_shape_and_none():
    kind = kinds(TOPS)["t"]
    objects = np.arange(24).reshape(2, 4, 3)
    assert kind.identity(objects).shape == (2, 4)
    np.testing.assert_array_equal(kind.ordered(objects[..., [0, 2, 1]]), objects)
    assert kind.identity(objects[:, :0]).shape == (2, 0)
    assert kind.ordered(objects[:0]).shape == (0, 4, 3)


def test_what_a_kind_is():
    lt, ht = kinds(MIXED).values()
    assert (lt.name, lt.number, lt.members, lt.particles) == ("lt", 0, (0,), (0,))
    assert (lt.daughters, lt.collections, lt.degree, lt.width) == (("l", "b"), ("leptons", "jets"), 2, 3)
    assert (ht.name, ht.number, ht.members, ht.particles) == ("ht", 1, (1,), (1,))
    assert ht.group == ((0, 1, 2), (0, 2, 1))
    (t,) = kinds(TOPS).values()
    assert (t.name, t.members, t.particles) == ("t", (0, 1), (0, 1))
    resolved, boosted = higgs(3).kinds.values()
    assert (resolved.members, boosted.members) == ((0, 1, 2), (3, 4, 5))
    assert resolved.particles == boosted.particles == (0, 1, 2)  # one Higgs boson seen in two ways
    assert (resolved.collections, boosted.collections) == (("jets", "jets"), ("fatjets",))


def test_names():
    assert list(kinds(TOPS, "top")) == ["top"]
    assert list(kinds(MIXED, "leptonic", "hadronic")) == ["leptonic", "hadronic"]
    # without their numbers two would be called the same: the whole names stay
    two = MIXED.replace("lt:", "t1:").replace("ht:", "t2:")
    assert list(kinds(two)) == ["t1", "t2"]
    with pytest.raises(ValueError, match=r"1 names for 2 kinds of targets, each to be named once: \['top'\]"):
        kinds(MIXED, "top")
    with pytest.raises(ValueError, match="2 names for 2 kinds of targets, each to be named once"):
        kinds(MIXED, "top", "top")


def test_in_words():
    assert in_words(higgs(2).kinds) == "2 × 2 jets, 2 × 1 large-radius jet"
    assert in_words(kinds(MIXED)) == "1 × 1 lepton + 1 jet, 1 × 3 jets"


def test_models_and_the_analyses_they_are_for():
    """Bundled topologies against the declared analyses: the same number of Higgs bosons, whatever else they look at."""
    for n, name in ((2, "hh"), (3, "hhh")):
        for kind in ("", "_resolved", "_nanoaod"):
            found = kinds_of(Topology.bundled(f"{name}{kind}"))
            assert same_targets(found, higgs(n).kinds)
            assert not same_targets(found, higgs(5 - n).kinds)
            assert partner(found["h"], higgs(n).kinds) is higgs(n).kinds["resolved"]
    # an analysis of pairs alone has no use for a model that looks for fat jets as well
    full, resolved = (kinds_of(Topology.bundled(f"hhh{kind}")) for kind in ("", "_resolved"))
    assert not same_targets(full, resolved)
    assert partner(full["bh"], resolved) is None
    assert not same_targets(kinds(MIXED), kinds(TOPS))
    assert not same_targets({"ht": kinds(MIXED)["ht"]}, kinds(MIXED))  # one particle is left out


def test_daughters_in_another_order_and_of_other_names():
    own = kinds(TOPS)["t"]
    turned = kinds(TOPS.replace("[{b: Jets}, {q1: Jets}, {q2: Jets}]", "[{q2: Jets}, {q1: Jets}, {b: Jets}]"))["t"]
    assert daughter_order(own, turned) == (2, 1, 0)
    text = TOPS.replace("[{b: Jets}, {q1: Jets}, {q2: Jets}]", "[{x: Jets}, {y: Jets}, {z: Jets}]")
    renamed = kinds(text.replace("[[q1, q2]]", "[[x, y]]"))["t"]
    assert daughter_order(own, renamed) == (2, 0, 1)
    assert daughter_order(renamed, own) == (1, 2, 0)
    assert partner(renamed, {"t": own}) is own
    # all three alike is another target, and so is one without symmetry, whatever their names
    assert daughter_order(own, kinds(text.replace("[[q1, q2]]", "[[x, y, z]]"))["t"]) is None
    assert daughter_order(own, kinds(TOPS.replace("  t1: [[q1, q2]]\n  t2: [[q1, q2]]\n", ""))["t"]) is None
    # names decide where they are the same, even if another order would do: here b and q1 may be exchanged
    assert daughter_order(own, kinds(TOPS.replace("[[q1, q2]]", "[[b, q1]]"))["t"]) is None


@settings(deadline=None)
@given(st.permutations(range(3)), st.sampled_from(["none", "last two", "turns", "all"]))
def test_the_order_of_daughters_carries_the_symmetry_over(order, name):
    """Daughters of a kind shuffled and renamed: the order found maps equal assignments to equal ones."""
    kind = replace(kinds(TOPS)["t"], group=GROUPS[name])
    moved = {tuple(order.index(g[j]) for j in order) for g in kind.group}
    other = replace(kind, daughters=("x", "y", "z"), group=tuple(sorted(moved)))
    found = daughter_order(kind, other)
    assert found is not None
    for objects in permutations(range(3)):
        numbers = {int(kind.identity(np.array(objects)[list(g)][list(found)])) for g in other.group}
        assert len(numbers) == 1


def test_two_kinds_of_a_model_are_not_one_of_the_analysis():
    """Two particles that differ are not both found in one kind of an analysis."""
    alike = MIXED.replace("[{l: Leptons}, {b: Jets}]", "[{b: Jets}, {q1: Jets}, {q2: Jets}]")
    both = kinds(alike.replace("  ht: [[", "  lt: [[q1, q2]]\n  ht: [["))
    assert same_targets(both, both)
    renamed = {f"other_{name}": replace(kind, name=f"other_{name}") for name, kind in both.items()}
    assert not same_targets(renamed, both)


def test_particles_of_equal_numbers_from_different_inputs_are_not_one():
    """Z → ℓℓ and H → bb are two particles, although they share no input; h1 and bh1 are one."""
    text = """
INPUTS:
  SEQUENTIAL:
    Jets: {pt: none}
    Leptons: {pt: none, charge: none}
EVENT:
  z: [{l1: Leptons}, {l2: Leptons}]
  h: [{b1: Jets}, {b2: Jets}]
"""
    assert Topology.from_text(text).alternatives == ((0,), (1,))
    assert Topology.bundled("hhh").alternatives == ((0, 3), (1, 4), (2, 5))
