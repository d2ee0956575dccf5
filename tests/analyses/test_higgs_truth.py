"""Truth matching: worked-out events, a slow independent version, and invariances."""

import math

import awkward as ak
import numpy as np
import pytest

from hhh_coffea.analyses import higgs_truth as truth
from hhh_coffea.datasets.fileset import DatasetMetadata
from hhh_coffea.events.delphes import read


def b_jet(eta, phi, pt=50.0, flavor=5):
    return {"pt": pt, "eta": eta, "phi": phi, "mass": 5.0, "flavor": flavor}


def higgs(eta, phi, b1, b2, pt=100.0):
    return {
        "pt": pt, "eta": eta, "phi": phi, "mass": 125.0,
        "b1": {"pt": 50.0, "eta": b1[0], "phi": b1[1], "mass": 4.8},
        "b2": {"pt": 50.0, "eta": b2[0], "phi": b2[1], "mass": 4.8},
    }  # fmt: skip


def pairs_of(targets):
    """(N, n) lists of jet positions, −1 where there is no target."""
    return targets.objects["resolved"].tolist()


def fatjets_of(targets):
    return targets.objects["boosted"][..., 0].tolist()


def test_default_takes_the_nearest_and_each_once(make_record):
    """One Higgs, quarks at η = 0 and 1. Jet 0 is near quark 1 (ΔR 0.1), jet 1 nearer (0.05), jet 2 near quark 2."""
    record = make_record(
        [[b_jet(0.1, 0), b_jet(-0.05, 0), b_jet(1.2, 0), b_jet(1.0, 0, flavor=4)]],
        higgs=[[higgs(0.5, 0, (0, 0), (1, 0))]],
    )
    targets = truth.match(record, 1, 10, 1)
    assert pairs_of(targets) == [[[1, 2]]]
    # published: the first two jets near ANY of its quarks, here both near the same one
    reference = truth.match_reference(record, 1, 10, 1)
    assert pairs_of(reference) == [[[0, 1]]]


def test_default_needs_two_quarks_reference_does_not(make_record):
    record = make_record([[b_jet(0.1, 0), b_jet(-0.05, 0)]], higgs=[[higgs(0.5, 0, (0, 0), (2, 0))]])
    assert not truth.match(record, 1, 10, 1).exists("resolved").any()
    assert truth.match_reference(record, 1, 10, 1).exists("resolved").all()


def test_last_higgs_wins_in_reference_nearest_in_default(make_record):
    """Jet 0 at ΔR 0.1 from a quark of h1 and 0.4 from a quark of h2: published gives it to h2."""
    record = make_record(
        [[b_jet(0.1, 0), b_jet(2.0, 0), b_jet(-2.0, 0), b_jet(3.0, 0)]],
        higgs=[[higgs(1, 0, (0, 0), (2.0, 0)), higgs(-1, 0, (0.5, 0), (-2.0, 0))]],
    )
    default, reference = (f(record, 2, 10, 2) for f in (truth.match, truth.match_reference))
    assert pairs_of(default) == [[[0, 1], [-1, -1]]]
    assert pairs_of(reference) == [[[-1, -1], [0, 2]]]


def test_kept_jets_and_matching_before_truncation(make_record):
    """A jet beyond the kept ones still takes its quark: no other jet steps in, and there is no target."""
    record = make_record([[b_jet(0.3, 0), b_jet(1.0, 0), b_jet(0.0, 0)]], higgs=[[higgs(0.5, 0, (0, 0), (1, 0))]])
    assert pairs_of(truth.match(record, 1, 10, 1)) == [[[1, 2]]]
    assert not truth.match(record, 1, 2, 1).exists("resolved").any()
    assert pairs_of(truth.match_reference(record, 1, 2, 1)) == [[[0, 1]]]


def test_boosted_nearest_and_exclusive(make_record):
    """Fat jet 0 is 0.3 from h1 and 0.1 from h2, fat jet 1 is 0.5 from h1; both hold all quarks."""
    quarks = ((0.2, 0.0), (0.1, 0.1))
    record = make_record(
        [[]],
        fatjets=[
            [{"pt": 400.0, "eta": 0.3, "phi": 0.0, "mass": 120.0}, {"pt": 300.0, "eta": -0.5, "phi": 0.0, "mass": 90.0}]
        ],
        higgs=[[higgs(0.0, 0, *quarks), higgs(0.2, 0, *quarks)]],
    )
    assert fatjets_of(truth.match(record, 2, 10, 2)) == [[1, 0]]
    assert fatjets_of(truth.match(record, 2, 10, 1)) == [[-1, 0]]
    assert fatjets_of(truth.match_reference(record, 2, 10, 2)) == [[-1, 0]]  # last Higgs takes both; its first counts


def test_boosted_needs_both_quarks(make_record):
    fat = [[{"pt": 400.0, "eta": 0.0, "phi": 0.0, "mass": 120.0}]]
    inside = make_record([[]], fatjets=fat, higgs=[[higgs(0.1, 0, (0.7, 0), (-0.7, 0))]])
    outside = make_record([[]], fatjets=fat, higgs=[[higgs(0.1, 0, (0.85, 0), (-0.7, 0))]])
    for match in (truth.match, truth.match_reference):
        assert match(inside, 1, 10, 1).exists("boosted").all()
        assert not match(outside, 1, 10, 1).exists("boosted").any()


def slow_default(event, n, max_jets, max_fatjets):
    """Independent plain-Python version of both default targets of one event (a dict of lists)."""

    def dr(a, b):
        dphi = abs(a["phi"] - b["phi"]) % (2 * math.pi)
        return math.hypot(a["eta"] - b["eta"], min(dphi, 2 * math.pi - dphi))

    quarks = [h[b] for h in event["higgs"] for b in ("b1", "b2")]
    pairs = sorted(
        (dr(q, j), qi, ji) for qi, q in enumerate(quarks) for ji, j in enumerate(event["jets"]) if abs(j["flavor"]) == 5
    )
    jet_of, taken = {}, set()
    for distance, quark, jet in pairs:
        if distance < 0.5 and quark not in jet_of and jet not in taken:
            jet_of[quark] = jet
            taken.add(jet)
    resolved = []
    for i in range(n):
        pair = sorted(jet_of.get(2 * i + k, -1) for k in (0, 1))
        resolved.append(pair if pair[0] >= 0 and pair[1] < max_jets else [-1, -1])
    fat_pairs = sorted(
        (dr(h, f), fi, hi)
        for hi, h in enumerate(event["higgs"])
        for fi, f in enumerate(event["fatjets"])
        if max(dr(h, f), dr(h["b1"], f), dr(h["b2"], f)) < 0.8
    )
    fat_of, taken = {}, set()
    for _, fat, who in fat_pairs:
        if who not in fat_of and fat not in taken:
            fat_of[who] = fat
            taken.add(fat)
    return resolved, [fat_of[i] if fat_of.get(i, 99) < max_fatjets else -1 for i in range(n)]


def slow_reference(event, n, max_jets, max_fatjets):
    """The published double loops of spec §1, one event."""

    def dr(a, b):
        dphi = abs(a["phi"] - b["phi"]) % (2 * math.pi)
        return math.hypot(a["eta"] - b["eta"], min(dphi, 2 * math.pi - dphi))

    jet_higgs = []
    for jet in event["jets"]:
        owner = -1
        for i, h in enumerate(event["higgs"]):
            for b in ("b1", "b2"):
                if dr(jet, h[b]) < 0.5 and abs(jet["flavor"]) == 5:
                    owner = i
        jet_higgs.append(owner)
    fat_higgs = []
    for fat in event["fatjets"]:
        owner = -1
        for i, h in enumerate(event["higgs"]):
            if dr(fat, h) < 0.8 and dr(fat, h["b1"]) < 0.8 and dr(fat, h["b2"]) < 0.8:
                owner = i
        fat_higgs.append(owner)
    resolved, boosted = [], []
    for i in range(n):
        jets = [p for p, owner in enumerate(jet_higgs[:max_jets]) if owner == i][:2]
        resolved.append(jets if len(jets) == 2 else [-1, -1])
        fats = [p for p, owner in enumerate(fat_higgs[:max_fatjets]) if owner == i]
        boosted.append(fats[0] if fats else -1)
    return resolved, boosted


@pytest.mark.parametrize(("name", "n"), [("hhh", 3), ("hh", 2)])
def test_real_events_agree_with_the_slow_versions(open_delphes, name, n):
    from conftest import DEMO

    record = read(open_delphes(DEMO / f"{name}.root", stop=400), DatasetMetadata(format="delphes", n_higgs=n)).record
    for match, slow in ((truth.match, slow_default), (truth.match_reference, slow_reference)):
        for max_jets, max_fatjets in ((10, n), (5, 1)):
            targets = match(record, n, max_jets, max_fatjets)
            for i, event in enumerate(record.tolist()):
                resolved, boosted = slow(event, n, max_jets, max_fatjets)
                assert pairs_of(targets)[i] == resolved
                assert fatjets_of(targets)[i] == boosted


def test_rotation_and_reflection_change_nothing(demo_untruncated):
    record = demo_untruncated
    before = truth.match(record, 3, 10, 3)

    def turned(objects):
        phi = (objects.phi + 1.234 + np.pi) % (2 * np.pi) - np.pi
        return ak.with_field(ak.with_field(objects, phi, "phi"), -objects.eta, "eta")

    higgs_ = turned(record.higgs)
    for b in ("b1", "b2"):
        higgs_ = ak.with_field(higgs_, turned(record.higgs[b]), b)
    record = ak.zip({"jets": turned(record.jets), "fatjets": turned(record.fatjets), "higgs": higgs_}, depth_limit=1)
    after = truth.match(record, 3, 10, 3)
    # single-precision directions: a distance exactly at a threshold may cross it
    for name in ("resolved", "boosted"):
        assert (before.objects[name] != after.objects[name]).any(axis=2).mean() < 1e-3


def test_order_of_higgs_does_not_matter_in_default(demo_untruncated):
    record = demo_untruncated
    before = truth.match(record, 3, 10, 3)
    swapped = ak.with_field(record, record.higgs[:, ::-1], "higgs")
    after = truth.match(swapped, 3, 10, 3)
    for name in ("resolved", "boosted"):
        assert (before.objects[name] == after.objects[name][:, ::-1]).all()
    for name in ("pt", "mass"):
        assert (getattr(before, name) == getattr(after, name)[:, ::-1]).all()


@pytest.fixture
def demo_untruncated(open_delphes):
    from conftest import DEMO

    return read(open_delphes(DEMO / "hhh.root", stop=2000), DatasetMetadata(format="delphes", n_higgs=3)).record
