"""Overlap removal, purity and efficiency of Higgs bosons on events worked out by hand, in both definitions."""

import awkward as ak
import numpy as np
import pytest

from hhh_coffea.analyses.higgs import CATEGORIES, higgs
from hhh_coffea.reconstruction.candidates import merge
from hhh_coffea.reconstruction.targets import Targets, no_targets

HH = higgs(2)
RESOLVED, BOOSTED = (HH.kinds[name].number for name in ("resolved", "boosted"))


@pytest.fixture
def example(make_record):
    """Three events with two Higgs each.

    jets 0–5 lie at η = 0 … 5, φ = 0; fat jets at (η, φ) = (0.3, 0) and (−3, 0).
    """
    jets = [[{"pt": 50.0, "eta": float(i), "phi": 0.0, "mass": 5.0} for i in range(6)]] * 3
    fats = [
        [{"pt": 300.0, "eta": 0.3, "phi": 0.0, "mass": 120.0}, {"pt": 250.0, "eta": -3.0, "phi": 0.0, "mass": 110.0}]
    ] * 3
    record = make_record(jets, fats)
    targets = Targets(
        # event 0: h1 resolved (0,1) AND boosted 0; h2 resolved (2,3)
        # event 1: h1 boosted 1 only; h2 nothing
        # event 2: nothing at all
        {
            "resolved": np.array([[[0, 1], [2, 3]], [[-1, -1]] * 2, [[-1, -1]] * 2]),
            "boosted": np.array([[0, -1], [1, -1], [-1, -1]])[..., None],
        },
        pt=np.full((3, 2), 200.0),
        mass=np.full((3, 2), 125.0),
    )
    # event 0: boosted 0 (correct), resolved (0,1) (right jets, but jet 0 is within 0.5 of it), resolved (2,3) (correct)
    # event 1: resolved (0,2) and (1,3): both wrong;   event 2: none
    boosted = HH.candidates(record, "boosted", np.array([[[0]], [[-1]], [[-1]]]))
    resolved = HH.candidates(record, "resolved", np.array([[[1, 0], [2, 3]], [[0, 2], [1, 3]], [[-1, -1]] * 2]))
    return record, targets, merge(record, boosted, HH.kinds["boosted"], resolved)


def numbers(result):
    return {
        name: (
            int(c.candidates.sum()),
            int((c.candidates & result.correct).sum()),
            int(c.targets.sum()),
            int(c.retrieved.sum()),
        )
        for name, c in result.categories.items()
    }


def test_candidates_and_overlaps(example):
    candidates = HH.with_columns(example[2])
    assert candidates.kind.tolist() == [[BOOSTED, RESOLVED, RESOLVED], [RESOLVED, RESOLVED], []]
    assert candidates.overlaps.tolist() == [[False, True, False], [False, False], []]
    assert candidates.jet1.tolist() == [[-1, 0, 2], [0, 1], []]
    assert candidates.jet2.tolist() == [[-1, 1, 3], [2, 3], []]
    assert candidates.fatjet.tolist() == [[0, -1, -1], [-1, -1], []]
    assert candidates.objects.tolist() == [[[0, -1], [0, 1], [2, 3]], [[0, 2], [1, 3]], []]
    assert candidates.mass[0, 0] == 120.0


def test_default_by_hand(example):
    _, targets, candidates = example
    result = HH.evaluate(candidates, targets, "default")
    assert numbers(result) == {
        # surviving: boosted 0, (2,3), and two wrong ones; targets: h1, h2 of event 0 and h1 of event 1
        "merged": (4, 2, 3, 2),
        "boosted": (1, 1, 2, 1),
        # h1 of event 0 has a resolved target too and was retrieved (as boosted)
        "resolved": (3, 1, 2, 2),
    }


def test_reference_by_hand(example):
    _, targets, candidates = example
    result = HH.evaluate(candidates, targets, "reference")
    assert numbers(result) == {
        "merged": (4, 2, 3, 2),
        "merged_without_overlap_removal": (5, 3, 3, 2),
        "boosted": (1, 1, 2, 1),
        "resolved": (4, 2, 2, 2),
        "resolved_after_overlap_removal": (3, 1, 1, 1),
    }
    events = result.events
    assert events.n_candidates.tolist() == [2, 2, 0]
    assert events.all_correct.tolist() == [True, False, True]  # no candidates counts as pure
    assert events.n_targets.tolist() == [2, 1, 0]
    assert events.all_retrieved.tolist() == [True, False, True]
    assert {k: c.tolist() for k, c in events.target_class.items()} == {"boosted": [1, 1, 0], "resolved": [1, 0, 0]}
    assert {k: c.tolist() for k, c in events.candidate_class.items()} == {"boosted": [1, 0, 0], "resolved": [1, 2, 0]}


def test_higgs_found_only_as_resolved_counts_in_default_not_in_reference(example):
    """h1 of event 0 has both targets; drop the boosted candidate and keep its jet pair."""
    record, targets, candidates = example
    only = merge(
        record,
        candidates[candidates.kind == BOOSTED][:, :0],
        HH.kinds["boosted"],
        candidates[candidates.kind == RESOLVED],
    )
    assert numbers(HH.evaluate(only, targets, "default"))["merged"] == (4, 2, 3, 2)
    assert numbers(HH.evaluate(only, targets, "reference"))["merged"] == (4, 2, 3, 1)


@pytest.mark.parametrize("definition", ["default", "reference"])
def test_no_truth_and_no_events(example, definition):
    _, _, candidates = example
    result = HH.evaluate(candidates, no_targets(3, HH.kinds, 2), definition)
    assert set(result.categories) == set(CATEGORIES[definition])
    assert not result.correct.any()
    assert result.categories["merged"].targets.sum() == 0
    nothing = HH.evaluate(candidates[:0], no_targets(0, HH.kinds, 2), definition)
    assert numbers(nothing)["merged"] == (0, 0, 0, 0)


def test_overlap_of_far_jets_is_none(make_record):
    """ΔR is taken to the fat jet's axis: 0.49 overlaps, 0.51 does not."""
    fat = [[{"pt": 300.0, "eta": 0.0, "phi": 3.1, "mass": 120.0}]] * 2
    jets = [
        [
            {"pt": 50.0, "eta": d, "phi": -2 * np.pi + 3.1, "mass": 5.0},
            {"pt": 50.0, "eta": 3.0, "phi": 0.0, "mass": 5.0},
        ]
        for d in (0.49, 0.51)
    ]
    record = make_record(jets, fat)
    candidates = merge(
        record,
        HH.candidates(record, "boosted", np.zeros((2, 1, 1), dtype=int)),
        HH.kinds["boosted"],
        HH.candidates(record, "resolved", np.array([[[0, 1]], [[0, 1]]])),
    )
    assert ak.flatten(candidates.overlaps[candidates.kind == RESOLVED]).tolist() == [True, False]
