"""Efficiencies of Table 1: by hand, against plain loops, on perfect predictions, and equal to the reference numbers."""

import numpy as np
import pytest
from hist.intervals import clopper_pearson_interval

from hhh_coffea.analyses.tops_kinematics import leptonic_w
from hhh_coffea.base.arrays import counts_of, flat
from hhh_coffea.events.record import momentum
from hhh_coffea.reconstruction.chi2_tops import PATTERNS, assign
from hhh_coffea.reconstruction.composites import summed
from hhh_coffea.reconstruction.matching import AssignmentTarget, target_of
from hhh_coffea.results import assignment_efficiency as eff

GROUPS = {name: pattern.group for name, pattern in PATTERNS.items()}


def events(rows):
    """(matched, predicted) rows of b_had q1 q2 b_lep [b1 b2] → targets and assignments by name."""
    matched, predicted = (np.array([row[k] for row in rows]) for k in (0, 1))
    places = {"ht": slice(0, 3), "lt": slice(3, 4), "h": slice(4, 6)}
    names = ["ht", "lt", "h"] if matched.shape[1] == 6 else ["ht", "lt"]
    return {n: target_of(matched[:, places[n]]) for n in names}, {n: predicted[:, places[n]] for n in names}


def test_six_events_by_hand():
    targets, assigned = events(
        [
            ([0, 1, 2, 3], [0, 1, 2, 3]),  # full, all right
            ([0, 1, 2, 3], [0, 2, 1, 3]),  # full, light quarks exchanged: right
            ([0, 1, 2, 3], [3, 1, 2, 0]),  # full, b jets exchanged: both wrong
            ([0, 1, -1, 3], [0, 1, 2, 3]),  # only t_L, right
            ([0, 1, 2, -1], [0, 1, 3, 2]),  # only t_H, wrong
            ([-1, 1, 2, -1], [0, 1, 2, 3]),  # nothing to find
        ]
    )
    counts = eff.count(targets, assigned, GROUPS, np.array([4, 5, 7, 4, 6, 4]), (4, 5, 6))
    table = eff.efficiencies(counts)

    def numbers(kind, label):
        return [
            (table[kind][label][n]["numerator"], table[kind][label][n]["denominator"]) for n in ("event", "ht", "lt")
        ]

    assert numbers("all", "all") == [(3, 5), (2, 4), (3, 4)]
    assert numbers("full", "all") == [(2, 3), (2, 3), (2, 3)]
    assert numbers("selected", "all") == [(2, 6), (2, 6), (3, 6)]
    assert numbers("all", "4") == [(2, 2), (1, 1), (2, 2)]
    assert numbers("all", "5") == [(1, 1), (1, 1), (1, 1)]
    assert numbers("all", "≥ 6") == [(0, 2), (0, 2), (0, 1)]
    assert table["full"]["5"]["event"]["value"] == 1
    low, high = clopper_pearson_interval(np.array([3]), np.array([5]), coverage=0.6827)[:, 0]
    assert table["all"]["all"]["event"]["low"] == pytest.approx(low)
    assert table["all"]["all"]["event"]["high"] == pytest.approx(high)
    share = eff.shares(counts)["all"]
    assert {name: entry["numerator"] for name, entry in share.items()} == {"any": 5, "full": 3, "ht": 4, "lt": 4}
    assert {entry["denominator"] for entry in share.values()} == {6}
    assert eff.confusion(targets, assigned).tolist() == [[14, 1, 3], [2, 3, 1]]
    assert eff.labels((4, 6, 8)) == ["4–5", "6–7", "≥ 8", "all"]


def random_events(seed, n_events, with_higgs):
    rng = np.random.default_rng(seed)
    length = 6 if with_higgs else 4
    n_jets = rng.integers(length, length + 5, n_events)
    rows = []
    for n in n_jets:
        matched = rng.permutation(n)[:length]
        predicted = matched.copy() if rng.random() < 0.5 else rng.permutation(n)[:length]
        if rng.random() < 0.5:
            i, j = rng.choice(length, 2, replace=False)
            predicted[[i, j]] = predicted[[j, i]]
        rows.append((np.where(rng.random(length) < 0.15, -1, matched), predicted))
    return *events(rows), n_jets, rows


@pytest.mark.parametrize("with_higgs", [False, True])
def test_equals_plain_loops(with_higgs):
    """The evaluator's formula in loops: daughters sorted inside each orbit, Σ C against Σ M."""
    targets, assigned, n_jets, rows = random_events(7, 10_000, with_higgs)
    bins = (6, 7, 8) if with_higgs else (4, 5, 6)
    table = eff.efficiencies(eff.count(targets, assigned, GROUPS, n_jets, bins))
    keys = {kind: {label: {} for label in eff.labels(bins)} for kind in eff.KINDS}
    for (matched, predicted), n in zip(rows, n_jets, strict=True):
        label = eff.labels(bins)[min(n, bins[-1]) - bins[0]]
        possible, right = {}, {}
        for name, parts in {"ht": ((0,), (1, 2)), "lt": ((3,),), "h": ((4, 5),)}.items():
            if name in targets:
                possible[name] = all(matched[i] >= 0 for orbit in parts for i in orbit)
                equal = [sorted(matched[i] for i in o) == sorted(predicted[i] for i in o) for o in parts]
                right[name] = possible[name] and all(equal)
        m, c = sum(possible.values()), sum(right.values())
        is_full = m == len(possible)
        outcomes = {
            "all": {"event": (m == c, m > 0)} | {p: (right[p], possible[p]) for p in possible},
            "full": {"event": (m == c, is_full)} | {p: (right[p], is_full) for p in possible},
            "selected": {"event": (m == c and is_full, True)} | {p: (right[p], True) for p in possible},
        }
        for kind, columns in outcomes.items():
            for name, (passed, counted) in columns.items():
                for where in (label, "all"):
                    old = keys[kind][where].get(name, (0, 0))
                    keys[kind][where][name] = (old[0] + (passed and counted), old[1] + counted)
    for kind, by_label in keys.items():
        for label, columns in by_label.items():
            mine = {k: (v["numerator"], v["denominator"]) for k, v in table[kind][label].items()}
            assert mine == columns


@pytest.mark.parametrize("with_higgs", [False, True])
def test_perfect_and_full(with_higgs):
    """The truth scores 1 everywhere; in full events no target is right less often than the event."""
    targets, assigned, n_jets, _ = random_events(3, 2000, with_higgs)
    bins = (4, 6, 7)
    perfect = {name: target.objects for name, target in targets.items()}
    table = eff.efficiencies(eff.count(targets, perfect, GROUPS, n_jets, bins))
    for kind in ("all", "full"):
        assert {e["value"] for columns in table[kind].values() for e in columns.values()} <= {1.0, None}
    table = eff.efficiencies(eff.count(targets, assigned, GROUPS, n_jets, bins))
    for columns in table["full"].values():
        assert all(columns["event"]["numerator"] <= entry["numerator"] for entry in columns.values())
        assert len({entry["denominator"] for entry in columns.values()}) == 1


def test_counts_add_up_and_leave_out_what_is_not_used():
    targets, assigned, n_jets, _ = random_events(5, 500, True)
    use = np.arange(500) % 3 > 0
    whole = eff.count(targets, assigned, GROUPS, n_jets, (6, 7, 8), use)

    def part(mask):
        some = {name: AssignmentTarget(t.objects[mask], t.mask[mask]) for name, t in targets.items()}
        return eff.count(some, {k: v[mask] for k, v in assigned.items()}, GROUPS, n_jets[mask], (6, 7, 8))

    first = np.arange(500) < 200
    total = part(use & first) + part(use & ~first)
    for name in ("passed", "total"):
        assert np.array_equal(getattr(whole, name), getattr(total, name))
    assert part(np.zeros(500, dtype=bool)).total.sum() == 0
    with pytest.raises(ValueError, match="do not add"):
        whole + eff.count(targets, assigned, GROUPS, n_jets, (6, 7))


def test_no_assignment_is_wrong():
    targets, assigned = events([([0, 1, 2, 3], [-1, -1, -1, -1]), ([-1, -1, -1, -1], [-1, -1, -1, -1])])
    counts = eff.count(targets, assigned, GROUPS, np.array([4, 4]), (4,))
    assert counts.passed.sum() == 0
    assert eff.confusion(targets, assigned).sum() == 0


def test_chi2_efficiencies_equal_the_reference(sample):
    """All, Full and over all selected events, by jet multiplicity, of the χ² assignment on every test file."""
    record = sample.record
    n_jets = counts_of(record.jets.pt)
    w = summed(*leptonic_w(record))
    chosen = assign(momentum(record.jets), flat(record.jets.btag), n_jets, w, sample.with_higgs)
    bins = (6, 7, 8) if sample.with_higgs else (4, 5, 6)
    counts = eff.count(sample.targets, chosen.objects, GROUPS, n_jets, bins, sample.truth.semileptonic)
    table = eff.efficiencies(counts)
    for kind, theirs in (("all", "All"), ("full", "Full"), ("selected", "over_selected")):
        for label, expected in sample.reference["table1"][theirs].items():
            mine = table[kind][label.replace(">=", "≥ ")]
            columns = {"event": "Ev", "ht": "ht", "lt": "lt", "h": "h"}
            numbers = {columns[k]: [v["numerator"], v["denominator"]] for k, v in mine.items()}
            assert numbers == expected
