"""The method chi2+bdt in both definitions, on hand-made events and on any."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import awkward as ak
import numpy as np
import pytest
from conftest import collection
from hypothesis import given, settings
from hypothesis import strategies as st

from hhh_coffea.analyses import higgs_truth as truth
from hhh_coffea.analyses.higgs import higgs
from hhh_coffea.methods import MethodOptions, bdt, methods_for, reconstruct
from hhh_coffea.methods import chi2 as pairing
from hhh_coffea.methods.chi2 import all_pairings

CUT = 0.9
RESOLVED, BOOSTED = (higgs(2).kinds[name].number for name in ("resolved", "boosted"))
KINEMATICS = ("pt", "eta", "phi", "mass")


def chi2(record: ak.Array, n: int) -> ak.Array:
    """Candidates of n Higgs bosons of the χ² pairing alone, with their objects by name."""
    return higgs(n).with_columns(pairing.reconstruct(record, higgs(n).kinds["resolved"]))


def ours(record: ak.Array, scores: np.ndarray, cut: float, n: int) -> ak.Array:
    """Candidates of n Higgs bosons in our definition, with their objects by name."""
    kinds = higgs(n).kinds
    return higgs(n).with_columns(bdt.reconstruct(record, scores, cut, kinds["boosted"], kinds["resolved"]))


def published(record: ak.Array, scores: np.ndarray, cut: float, n: int) -> ak.Array:
    """Candidates of n Higgs bosons as published, with their objects by name."""
    pairs = pairing.reconstruct(record, higgs(n).kinds["resolved"])
    return higgs(n).with_columns(bdt.reconstruct_reference(record, scores, cut, higgs(n).kinds["boosted"], pairs))


def pair_of(phi: float, half_angle: float) -> tuple[list[dict[str, float]], dict[str, Any]]:
    """Two massless b jets at φ ± half_angle, η = 0, whose mass is 125 GeV, and the Higgs boson they come from.

    m² = 2 pT² (1 − cos 2α), so pT = 125 / (2 sin α); the Higgs flies along φ with pT 2 pT cos α.
    """
    pt = 125 / (2 * np.sin(half_angle))
    jets = [
        {"pt": pt, "eta": 0.0, "phi": angle, "mass": 0.0, "flavor": 5, "btag": 1, "index": i}
        for i, angle in enumerate((phi + half_angle, phi - half_angle))
    ]
    quarks = [{name: jet[name] for name in KINEMATICS} for jet in jets]
    higgs = {"pt": 2 * pt * np.cos(half_angle), "eta": 0.0, "phi": phi, "mass": 125.0, "b1": quarks[0], "b2": quarks[1]}
    return jets, higgs


def fatjet(phi: float) -> dict[str, float]:
    return {"pt": 250.0, "eta": 0.0, "phi": phi, "mass": 110.0}


@pytest.fixture
def five_events(make_record: Callable[..., ak.Array]) -> tuple[ak.Array, np.ndarray]:
    """HH events with Higgs A at φ = 0 and B at φ = π, and the scores of their fat jets.

    Pairs of opening ±0.675 are resolved only; ±0.45 ("tight") fit into a fat jet along the Higgs and lie within the
    overlap radius of 0.5 of its axis. In every event the χ² of the true pairing is 0 and that of any other is not.

    1. no fat jet
    2. A tight, its fat jet tagged
    3. A tight, its fat jet not tagged
    4. a tagged fat jet at φ = π/2, more than 0.8 from every jet: a wrong one
    5. a tagged fat jet on the first jet of B: it holds one quark only, so it is wrong and yet overlaps B's pair
    """
    wide, tight = 0.675, 0.45
    jets, higgs = [], []
    for half_angle in (wide, tight, tight, wide, wide):
        jets_a, a = pair_of(0.0, half_angle)
        jets_b, b = pair_of(np.pi, wide)
        for jet in jets_b:
            jet["phi"] -= 2 * np.pi * (jet["phi"] > np.pi)
        jets.append([*jets_a, *jets_b])
        higgs.append([a, b])
    fatjets = [[], [fatjet(0.0)], [fatjet(0.0)], [fatjet(np.pi / 2)], [fatjet(np.pi - wide)]]
    return make_record(jets, fatjets, higgs), np.array([0.95, 0.5, 0.95, 0.95], dtype=np.float32)


def counts(result: Any) -> dict[str, tuple[int, int, int, int]]:
    """category → (candidates, correct, targets, retrieved)."""
    return {
        name: (
            int(c.candidates.sum()),
            int((c.candidates & result.correct).sum()),
            int(c.targets.sum()),
            int(c.retrieved.sum()),
        )
        for name, c in result.categories.items()
    }


def test_five_events_in_the_published_definitions(five_events: tuple[ak.Array, np.ndarray]) -> None:
    record, scores = five_events
    targets = truth.match_reference(record, 2, 10, 2)
    assert targets.exists("resolved").all()
    assert targets.exists("boosted").tolist() == [
        [False, False],
        [True, False],
        [True, False],
        [False, False],
        [False, False],
    ]

    candidates = published(record, scores, CUT, 2)
    result = higgs(2).evaluate(candidates, targets, "reference")
    # χ² finds all 10 pairs; the fat jets of events 2, 4 and 5 are tagged, that of 2 rightly. Overlap removal drops the
    # pairs A in event 2 and B in event 5, both correct.
    assert counts(result) == {
        # 3 + 10 − 2 candidates. Targets: 2 boosted + the 8 resolved without a boosted twin. Missed is A in event 3 alone:
        # it counts as boosted, and its correct pair does not retrieve it (§5). B in event 5 was dropped and still counts.
        "merged": (11, 1 + 8, 10, 9),
        "merged_without_overlap_removal": (13, 1 + 10, 10, 9),
        "boosted": (3, 1, 2, 1),
        "resolved": (10, 10, 10, 10),
        "resolved_after_overlap_removal": (8, 8, 8, 7),
    }
    assert result.events.all_correct.tolist() == [True, True, True, False, False]
    assert result.events.all_retrieved.tolist() == [True, True, False, True, True]


def test_five_events_in_our_definitions(five_events: tuple[ak.Array, np.ndarray]) -> None:
    record, scores = five_events
    candidates = ours(record, scores, CUT, 2)
    assert candidates.kind.tolist() == [
        [RESOLVED, RESOLVED],
        [BOOSTED, RESOLVED],
        [RESOLVED, RESOLVED],
        [BOOSTED, RESOLVED],
        [BOOSTED, RESOLVED],
    ]
    # event 4: the fat jet takes no jet, and the one pair left to make is that of the first two jets
    # event 5: the third jet lies in the fat jet and leaves the pool
    assert candidates.jet1.tolist() == [[0, 2], [-1, 2], [0, 2], [-1, 0], [-1, 0]]
    assert candidates.jet2.tolist() == [[1, 3], [-1, 3], [1, 3], [-1, 1], [-1, 1]]
    assert not ak.any(candidates.overlaps)
    # the score is the detection probability of a boosted candidate
    assert candidates.detection_probability[1].tolist() == pytest.approx([0.95, 1])
    result = higgs(2).evaluate(candidates, truth.match(record, 2, 10, 2), "default")
    # wrong are the boosted ones of events 4 and 5, where B is lost; A in event 3 is retrieved by its pair
    assert counts(result)["merged"] == (10, 8, 10, 8)
    assert counts(result)["boosted"] == (3, 1, 2, 2)
    # our efficiency asks whether the Higgs was found, as what does not matter: A of event 2 was, as a fat jet
    assert counts(result)["resolved"] == (7, 7, 10, 8)


def test_the_published_pairing_has_a_row_of_its_own_in_hh_only() -> None:
    assert methods_for(["chi2+bdt"], "reference", higgs(2)) == ["chi2+bdt", "chi2+bdt_as_published"]
    assert methods_for(["chi2+bdt"], "reference", higgs(3)) == ["chi2+bdt"]
    assert methods_for(["chi2+bdt"], "default", higgs(2)) == ["chi2+bdt"]


def test_the_method_needs_a_model(five_events: tuple[ak.Array, np.ndarray]) -> None:
    with pytest.raises(ValueError, match="needs a BDT"):
        reconstruct({"default": ["chi2+bdt"]}, five_events[0], higgs(2), MethodOptions())


def test_at_most_n_by_score_ours_and_by_pt_published(make_record: Callable[..., ak.Array]) -> None:
    jets = [[{"pt": 50.0 - i, "eta": 3.0, "phi": i / 2, "mass": 5.0} for i in range(6)]]
    fatjets = [[{**fatjet(-1.0 * i), "pt": 500.0 - i} for i in range(3)]]
    record = make_record(jets, fatjets)
    scores = np.array([0.91, 0.99, 0.95], dtype=np.float32)
    assert ours(record, scores, CUT, 2).fatjet.tolist() == [[1, 2]]
    assert published(record, scores, CUT, 2).fatjet.tolist() == [[0, 1, -1, -1]]


def test_a_fat_jet_at_the_cut_is_not_above_it(make_record: Callable[..., ak.Array]) -> None:
    record = make_record([[]], [[fatjet(0.0)]])
    scores = np.array([0.5], dtype=np.float32)
    assert len(ours(record, scores, 0.5, 2)[0]) == 0
    assert len(ours(record, scores, 0.4999, 2)[0]) == 1


def test_no_events(make_record: Callable[..., ak.Array]) -> None:
    record = make_record([[]], [[]])[:0]
    none = np.empty(0, dtype=np.float32)
    assert len(ours(record, none, CUT, 3)) == 0
    assert len(published(record, none, CUT, 3)) == 0


# Any events: jets and fat jets anywhere, in pT order, with scores that may be equal
direction = st.tuples(st.floats(-2.5, 2.5), st.floats(-3.14, 3.14))
small = st.lists(st.tuples(st.sampled_from([20.0, 40.0, 80.0, 150.0]), direction), min_size=0, max_size=10)
fat = st.lists(st.tuples(st.sampled_from([0.1, 0.6, 0.9, 0.95]), direction), min_size=0, max_size=4)


def record_of(events: list[tuple[Any, Any]]) -> tuple[ak.Array, np.ndarray]:
    def objects(items: Any, mass: float) -> list[dict[str, float]]:
        return [
            {"pt": pt, "eta": eta, "phi": phi, "mass": mass, "index": i} for i, (pt, (eta, phi)) in enumerate(items)
        ]

    jets = [objects(sorted(e[0], reverse=True), 5.0) for e in events]
    fatjets = [objects([(300.0 - i, d) for i, (_, d) in enumerate(e[1])], 100.0) for e in events]
    names = (*KINEMATICS, "index")
    record = ak.zip({"jets": collection(jets, names), "fatjets": collection(fatjets, names)}, depth_limit=1)
    return record, np.array([score for e in events for score, _ in e[1]], dtype=np.float32)


def distance(a: Any, b: Any) -> float:
    phi = abs(a["phi"] - b["phi"])
    return float(np.hypot(a["eta"] - b["eta"], min(phi, 2 * np.pi - phi)))


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.tuples(small, fat), min_size=1, max_size=4), st.sampled_from([2, 3]), st.sampled_from([0.5, 0.9, 0.99])
)
def test_invariants_of_our_definition(events: list[tuple[Any, Any]], n_higgs: int, cut: float) -> None:
    record, scores = record_of(events)
    candidates = ours(record, scores, cut, n_higgs)
    start = 0
    for event, found in zip(record.to_list(), candidates.to_list(), strict=True):
        jets, fatjets = event["jets"], event["fatjets"]
        score = scores[start : start + len(fatjets)]
        start += len(fatjets)
        boosted = [c["fatjet"] for c in found if c["kind"] == BOOSTED]
        pairs = [(c["jet1"], c["jet2"]) for c in found if c["kind"] == RESOLVED]
        # the best above the cut, each once, in falling order of score
        best = sorted((i for i in range(len(fatjets)) if score[i] > cut), key=lambda i: -score[i])[:n_higgs]
        assert boosted == best
        # no jet twice, none inside a taken fat jet
        used = [jet for pair in pairs for jet in pair]
        assert len(set(used)) == len(used)
        pool = [i for i, jet in enumerate(jets) if all(distance(jet, fatjets[f]) >= 0.8 for f in boosted)]
        assert set(used) <= set(pool)
        # as many pairs as are missing and possible, from the first jets of the pool, of the least χ²
        wanted = min(n_higgs - len(boosted), len(pool) // 2)
        assert len(pairs) == wanted
        assert set(used) == set(pool[: 2 * wanted])
        if wanted:
            masses = {(a, b): pair_mass(jets[pool[a]], jets[pool[b]]) for a in range(2 * wanted) for b in range(a)}
            sums = [sum((masses[b, a] - 125) ** 2 for a, b in pairing) for pairing in all_pairings(2 * wanted, wanted)]
            found_sum = sum((pair_mass(jets[b], jets[a]) - 125) ** 2 for a, b in pairs)
            assert found_sum == pytest.approx(min(sums), rel=1e-9, abs=1e-6)
        assert not any(c["overlaps"] for c in found)
        assert all(0 <= c["detection_probability"] <= 1 and c["assignment_probability"] == 1 for c in found)


def pair_mass(a: dict[str, float], b: dict[str, float]) -> float:
    def vector(p: dict[str, float]) -> np.ndarray:
        momentum = np.array([p["pt"] * np.cos(p["phi"]), p["pt"] * np.sin(p["phi"]), p["pt"] * np.sinh(p["eta"])])
        return np.array([np.sqrt(momentum @ momentum + p["mass"] ** 2), *momentum])

    total = vector(a) + vector(b)
    return float(np.sqrt(max(0.0, total[0] ** 2 - total[1:] @ total[1:])))


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(small, fat), min_size=1, max_size=4))
def test_above_the_highest_score_it_is_chi2(events: list[tuple[Any, Any]]) -> None:
    record, scores = record_of(events)
    enough = ak.num(record.jets, axis=1) >= 6
    plain = chi2(record, 3)[enough]
    assert ours(record, scores, 1.0, 3)[enough].to_list() == plain.to_list()
    assert published(record, scores, 1.0, 3)[enough].to_list() == plain.to_list()
