"""Candidates against targets of any topology: three daughters by hand, and any events against plain loops."""

import awkward as ak
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hhh_coffea.analyses import Analysis
from hhh_coffea.reconstruction.metrics import Comparison, Counted, one_for_each_kind
from hhh_coffea.reconstruction.targets import Targets, no_targets
from hhh_coffea.topology.topology import Topology

# two top quarks, each three small-radius jets or one large-radius jet
BOTH = """\
INPUTS:
  SEQUENTIAL:
    Jets: {pt: log_normalize, btag: none}
    BoostedJets: {fj_pt: log_normalize, fj_mass: normalize}
EVENT:
  t1: [{b: Jets}, {q1: Jets}, {q2: Jets}]
  t2: [{b: Jets}, {q1: Jets}, {q2: Jets}]
  bt1: [{bqq: BoostedJets}]
  bt2: [{bqq: BoostedJets}]
PERMUTATIONS:
  EVENT: [[[t1, t2], [bt1, bt2]]]
  t1: [[q1, q2]]
  t2: [[q1, q2]]
"""


def no_match(record, definitions, kept):
    return {}


TOPS = Analysis("tops", Topology.from_text(BOTH), no_match)
T, BT = TOPS.kinds["t"], TOPS.kinds["bt"]


def make_candidates(events, overlaps=None):
    """Candidates from lists of ``(kind, objects)`` in each event."""
    counts = [len(event) for event in events]
    rows = [(kind.number, [*objects] + [-1] * (3 - len(objects))) for event in events for kind, objects in event]
    columns = {
        "kind": np.array([row[0] for row in rows], dtype=np.int8),
        "objects": np.array([row[1] for row in rows], dtype=np.int64).reshape(-1, 3),
        "overlaps": np.zeros(len(rows), dtype=bool) if overlaps is None else np.array(overlaps, dtype=bool),
    }
    return ak.unflatten(ak.zip(columns, depth_limit=1), np.array(counts, dtype=np.int64))


def make_targets(triplets, fatjets):
    n = len(triplets)
    return Targets(
        {
            "t": np.array(triplets, dtype=np.int64).reshape(n, 2, 3),
            "bt": np.array(fatjets, dtype=np.int64).reshape(n, 2, 1),
        },
        np.full((n, 2), 200.0),
        np.full((n, 2), 172.5),
    )


def counts(result):
    return {
        name: tuple(int(x.sum()) for x in (c.candidates, c.candidates & result.correct, c.targets, c.retrieved))
        for name, c in result.categories.items()
    }


def test_three_daughters_by_hand():
    """b must be b, the two others may be exchanged; jets of a triplet that are those of no target are wrong."""
    none = [-1, -1, -1]
    targets = make_targets(
        # event 0: two triplets; 1: t1 as triplet and fat jet; 2: t2 as fat jet only; 3: nothing
        [[[0, 1, 2], [3, 4, 5]], [[5, 0, 1], none], [none, none], [none, none]],
        [[-1, -1], [0, -1], [-1, 1], [-1, -1]],
    )
    candidates = make_candidates(
        [
            [(T, [0, 2, 1]), (T, [4, 3, 5])],  # the first correct (q1 and q2 exchanged), the second has a wrong b
            [(BT, [0]), (T, [5, 0, 1])],  # both are t1: it is found once; the triplet overlaps
            [(BT, [0]), (T, [0, 1, 2])],  # the wrong fat jet, and a triplet where there is none
            [],
        ],
        [False, False, False, True, False, False],
    )
    result = TOPS.evaluate(candidates, targets, "default")
    assert result.correct.tolist() == [True, False, True, True, False, False]
    assert counts(result) == {
        # candidates that survive, correct ones, targets, found ones
        "all": (5, 2, 4, 2),
        "t": (3, 1, 3, 2),  # t1 of event 1 has a triplet, and was found (as a fat jet)
        "bt": (2, 1, 2, 1),
    }
    assert result.events.n_candidates.tolist() == [2, 1, 2, 0]
    assert result.events.all_correct.tolist() == [False, True, False, True]
    assert result.events.n_targets.tolist() == [2, 1, 1, 0]
    assert result.events.all_retrieved.tolist() == [False, True, False, True]
    # classes in the order of the kinds: t before bt, each particle in one
    assert {k: n.tolist() for k, n in result.events.target_class.items()} == {"t": [2, 1, 0, 0], "bt": [0, 0, 1, 0]}
    assert {k: n.tolist() for k, n in result.events.candidate_class.items()} == {"t": [2, 0, 1, 0], "bt": [0, 1, 1, 0]}


def test_the_same_positions_in_another_collection_are_another_object():
    """Jet 1 is not fat jet 1, and a target of one particle is none of the other kind."""
    targets = make_targets([[[1, 2, 3], [-1, -1, -1]]], [[-1, 1]])
    comparison = Comparison(make_candidates([[(BT, [1]), (BT, [2]), (T, [1, 3, 2])]]), targets, TOPS.kinds)
    assert comparison.correct.tolist() == [True, False, True]
    assert comparison.found(comparison.of("bt")).tolist() == [[False, True]]
    assert comparison.found(comparison.of("t")).tolist() == [[True, False]]
    assert comparison.has("t", "bt").tolist() == [[True, True]]
    assert comparison.first("bt", ["t"]).tolist() == [[False, True]]


def test_half_a_target_is_none():
    """A target with a daughter that has no object does not exist, and no candidate is it."""
    targets = make_targets([[[0, 1, -1], [-1, 4, 5]]], [[-1, -1]])
    assert not targets.exists("t").any()
    result = TOPS.evaluate(make_candidates([[(T, [0, 1, 2]), (T, [3, 4, 5])]]), targets, "default")
    assert counts(result)["all"] == (2, 0, 0, 0)


def test_no_truth_and_no_events():
    candidates = make_candidates([[(T, [0, 1, 2])], [(BT, [0])]])
    unknown = no_targets(2, TOPS.kinds, TOPS.n_particles)
    assert not unknown.known
    assert {kind: positions.shape for kind, positions in unknown.objects.items()} == {"t": (2, 2, 3), "bt": (2, 2, 1)}
    assert counts(TOPS.evaluate(candidates, unknown, "default"))["all"] == (2, 0, 0, 0)
    nothing = TOPS.evaluate(candidates[:0], no_targets(0, TOPS.kinds, 2), "default")
    assert counts(nothing)["all"] == (0, 0, 0, 0)


def test_categories():
    """One kind alone has no row of its own; an analysis may count as it likes."""
    assert list(one_for_each_kind({"t": T})) == ["all"]
    assert list(TOPS.categories_of("default")) == ["all", "t", "bt"]

    def fat(c):
        return Counted(c.of("bt"), c.has("bt"), c.found(c.of("bt")) & c.has("bt"))

    own = Analysis("own", TOPS.topology, no_match, categories={"default": {"fat": fat}}, classes=("bt",))
    targets = make_targets([[[0, 1, 2], [3, 4, 5]]], [[0, -1]])
    result = own.evaluate(make_candidates([[(BT, [0]), (T, [0, 1, 2])]]), targets, "default")
    assert counts(result) == {"fat": (1, 1, 1, 1)}
    assert set(result.events.target_class) == {"bt"}
    with pytest.raises(KeyError, match="analysis 'tops' has no kind 'x'; there are t, bt"):
        TOPS.candidates(ak.Array([]), "x", np.zeros((0, 1, 3), dtype=int))


triplet = st.lists(st.integers(0, 4), min_size=3, max_size=3, unique=True)
maybe = st.one_of(st.just([-1, -1, -1]), triplet)
event = st.tuples(
    st.tuples(maybe, maybe),
    st.tuples(st.integers(-1, 2), st.integers(-1, 2)),
    st.lists(
        st.tuples(st.one_of(st.tuples(st.just(0), triplet), st.tuples(st.just(1), st.integers(0, 2))), st.booleans()),
        max_size=4,
    ),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(event, max_size=4))
def test_agrees_with_plain_loops(events):
    """The definitions once more, one event and one candidate at a time, with sets in place of numbers."""
    candidates = make_candidates(
        [[(BT, [o]) if fat else (T, o) for (fat, o), _ in found] for _, _, found in events],
        [dropped for _, _, found in events for _, dropped in found],
    )
    result = TOPS.evaluate(
        candidates, make_targets([list(t) for t, _, _ in events], [list(f) for _, f, _ in events]), "default"
    )

    def name(fat, objects):
        return ("fat", objects) if fat else ("triplet", objects[0], frozenset(objects[1:]))

    expected = {"all": [0] * 4, "t": [0] * 4, "bt": [0] * 4}
    correct, all_correct, all_found = [], [], []
    for triplets, fatjets, found in events:
        of_particle = [
            {
                **({"t": name(0, triplets[p])} if triplets[p][0] >= 0 else {}),
                **({"bt": name(1, fatjets[p])} if fatjets[p] >= 0 else {}),
            }
            for p in (0, 1)
        ]
        surviving = {name(fat, objects) for (fat, objects), dropped in found if not dropped}
        right = [any(name(f, o) in own.values() for own in of_particle) for (f, o), _ in found]
        correct += right
        for row, kinds in (("all", {"t", "bt"}), ("t", {"t"}), ("bt", {"bt"})):
            for ((fat, _), dropped), is_right in zip(found, right, strict=True):
                if not dropped and ("bt" if fat else "t") in kinds:
                    expected[row][0] += 1
                    expected[row][1] += is_right
            for own in of_particle:
                if kinds & own.keys():
                    expected[row][2] += 1
                    expected[row][3] += bool(surviving & set(own.values()))
        all_correct.append(all(r for r, (_, dropped) in zip(right, found, strict=True) if not dropped))
        all_found.append(all(surviving & set(own.values()) for own in of_particle if own))
    assert result.correct.tolist() == correct
    assert counts(result) == {row: tuple(numbers) for row, numbers in expected.items()}
    assert result.events.all_correct.tolist() == all_correct
    assert result.events.all_retrieved.tolist() == all_found


@settings(max_examples=50, deadline=None)
@given(st.lists(event, min_size=1, max_size=3), st.data())
def test_the_symmetry_changes_nothing(events, data):
    """Tops and their light quarks exchanged in the truth: the same numbers."""
    candidates = make_candidates(
        [[(BT, [o]) if fat else (T, o) for (fat, o), _ in found] for _, _, found in events],
        [dropped for _, _, found in events for _, dropped in found],
    )
    triplets, fatjets = [list(t) for t, _, _ in events], [list(f) for _, f, _ in events]
    before = TOPS.evaluate(candidates, make_targets(triplets, fatjets), "default")
    for i in range(len(events)):
        if data.draw(st.booleans()):
            triplets[i], fatjets[i] = triplets[i][::-1], fatjets[i][::-1]
        triplets[i] = [data.draw(st.sampled_from([[b, x, y], [b, y, x]])) for b, x, y in triplets[i]]
    after = TOPS.evaluate(candidates, make_targets(triplets, fatjets), "default")
    assert counts(after) == counts(before)
    assert after.correct.tolist() == before.correct.tolist()
