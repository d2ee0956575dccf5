"""Efficiencies of Table 1: by hand, against plain loops, on perfect predictions, and equal to the reference numbers."""

import awkward as ak
import numpy as np
import pytest
from hist.intervals import clopper_pearson_interval

from hhh_coffea.analyses import load_analysis
from hhh_coffea.methods import method_options, reconstruct
from hhh_coffea.reconstruction.targets import Targets
from hhh_coffea.results import assignment_efficiency as eff
from hhh_coffea.results.assignment_confusion import confusion, places_of

PLACES = {"ht": slice(0, 3), "lt": slice(3, 4), "h": slice(4, 6)}


class Events:
    """(matched, predicted) rows of b_had q1 q2 b_lep [b1 b2] as targets and candidates of the declared analysis."""

    def __init__(self, rows):
        matched, predicted = (np.array([row[k] for row in rows]) for k in (0, 1))
        self.analysis = load_analysis("tth_semileptonic" if matched.shape[1] == 6 else "ttbar_semileptonic")
        self.names = tuple(self.analysis.kinds)
        unknown = np.full((len(rows), len(self.names)), np.nan)
        self.targets = Targets({n: matched[:, None, PLACES[n]] for n in self.names}, unknown, unknown)
        kinds = self.analysis.kinds
        parts = [
            [
                {"kind": kinds[n].number, "objects": [*row[PLACES[n]], -1, -1][:3], "overlaps": False}
                for n in self.names
                if (row[PLACES[n]] >= 0).all()
            ]
            for row in predicted
        ]
        counts = [len(part) for part in parts]
        flat = [candidate for part in parts for candidate in part]
        columns = {k: np.array([c[k] for c in flat]) for k in ("kind", "objects", "overlaps")}
        columns["objects"] = columns["objects"].reshape(-1, 3).astype(np.int64)
        columns["overlaps"] = columns["overlaps"].astype(bool)
        self.candidates = ak.unflatten(ak.zip(columns, depth_limit=1), counts)

    def count(self, n_jets, bins, use=slice(None)):
        whole = self.analysis.evaluate(self.candidates, self.targets, "default").categories["all"]
        return eff.count(self.names, whole.targets[use], whole.retrieved[use], n_jets[use], bins)

    def confusion(self):
        return confusion(self.candidates, self.targets, self.analysis.kinds)


def test_six_events_by_hand():
    events = Events(
        [
            ([0, 1, 2, 3], [0, 1, 2, 3]),  # full, all right
            ([0, 1, 2, 3], [0, 2, 1, 3]),  # full, light quarks exchanged: right
            ([0, 1, 2, 3], [3, 1, 2, 0]),  # full, b jets exchanged: both wrong
            ([0, 1, -1, 3], [0, 1, 2, 3]),  # only t_L, right
            ([0, 1, 2, -1], [0, 1, 3, 2]),  # only t_H, wrong
            ([-1, 1, 2, -1], [0, 1, 2, 3]),  # nothing to find
        ]
    )
    counts = events.count(np.array([4, 5, 7, 4, 6, 4]), (4, 5, 6))
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
    assert [p.name for p in places_of(events.analysis.kinds)] == ["ht: b", "ht: q1 q2", "lt: b"]
    # given (rows) to b and q of t_H, b of t_L; truly (columns) of these, or nobody's
    assert events.confusion().tolist() == [[4, 0, 1, 1], [0, 10, 0, 2], [1, 1, 3, 1]]
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
    return Events(rows), n_jets, rows


@pytest.mark.parametrize("with_higgs", [False, True])
def test_equals_plain_loops(with_higgs):
    """The evaluator's formula in loops: daughters sorted inside each orbit, Σ C against Σ M."""
    events, n_jets, rows = random_events(7, 10_000, with_higgs)
    bins = events.analysis.jet_bins
    table = eff.efficiencies(events.count(n_jets, bins))
    keys = {kind: {label: {} for label in eff.labels(bins)} for kind in eff.KINDS}
    for (matched, predicted), n in zip(rows, n_jets, strict=True):
        label = eff.labels(bins)[min(n, bins[-1]) - bins[0]]
        possible, right = {}, {}
        for name, parts in {"ht": ((0,), (1, 2)), "lt": ((3,),), "h": ((4, 5),)}.items():
            if name in events.names:
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
    events, n_jets, rows = random_events(3, 2000, with_higgs)
    bins = (4, 6, 7)
    table = eff.efficiencies(Events([(matched, matched) for matched, _ in rows]).count(n_jets, bins))
    for kind in ("all", "full"):
        assert {e["value"] for columns in table[kind].values() for e in columns.values()} <= {1.0, None}
    table = eff.efficiencies(events.count(n_jets, bins))
    for columns in table["full"].values():
        assert all(columns["event"]["numerator"] <= entry["numerator"] for entry in columns.values())
        assert len({entry["denominator"] for entry in columns.values()}) == 1


def test_counts_add_up():
    events, n_jets, _ = random_events(5, 500, True)
    whole = events.count(n_jets, (6, 7, 8))
    first = np.arange(500) < 200
    total = events.count(n_jets, (6, 7, 8), first) + events.count(n_jets, (6, 7, 8), ~first)
    for name in ("passed", "total"):
        assert np.array_equal(getattr(whole, name), getattr(total, name))
    assert events.count(n_jets, (6, 7, 8), np.zeros(500, dtype=bool)).total.sum() == 0
    with pytest.raises(ValueError, match="do not add"):
        whole + events.count(n_jets, (6, 7))


def test_no_assignment_is_wrong():
    events = Events([([0, 1, 2, 3], [-1, -1, -1, -1]), ([-1, -1, -1, -1], [-1, -1, -1, -1])])
    assert events.count(np.array([4, 4]), (4,)).passed.sum() == 0
    assert events.confusion().sum() == 0


def test_chi2_efficiencies_equal_the_reference(sample):
    """All, Full and over all selected events, by jet multiplicity, of the χ² assignment on every test file."""
    analysis, record = sample.analysis, sample.record
    found = reconstruct({"default": ["chi2"]}, record, analysis, method_options(["chi2"]))["default"]["chi2"]
    table = eff.efficiencies(eff.of_method(analysis, record, analysis.evaluate(found, sample.targets, "default")))
    for kind, theirs in (("all", "All"), ("full", "Full"), ("selected", "over_selected")):
        for label, expected in sample.reference["table1"][theirs].items():
            mine = table[kind][label.replace(">=", "≥ ")]
            columns = {"event": "Ev", "ht": "ht", "lt": "lt", "h": "h"}
            numbers = {columns[k]: [v["numerator"], v["denominator"]] for k, v in mine.items()}
            assert numbers == expected
