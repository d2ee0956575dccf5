"""χ² of tops: the reference's assignments, brute force, what tags do, invariances, many jets, bad input."""

import itertools

import awkward as ak
import numpy as np
import pytest

from hhh_coffea.analyses.tops_kinematics import leptonic_w, systems
from hhh_coffea.base.arrays import counts_of, flat, padded
from hhh_coffea.base.kinematics import Cartesian, cartesian, invariant_mass
from hhh_coffea.events.record import momentum
from hhh_coffea.methods import best_assignment
from hhh_coffea.methods.chi2_tops import PATTERNS, TopChi2Options, assign
from hhh_coffea.reconstruction.composites import summed
from hhh_coffea.topology.assignments import Pattern, assignments

NAMES = ("ht", "lt", "h")


def test_equals_the_reference_event_by_event(sample):
    """Chosen jets, χ², masses and neutrino of 2,000 events of each file, to the digits that are given."""
    record, n_jets = sample.record, counts_of(sample.record.jets.pt)
    w = summed(*leptonic_w(record))
    found = assign(momentum(record.jets), flat(record.jets.btag), n_jets, w, sample.with_higgs)
    in_file = padded(flat(record.jets.index), n_jets, 32, -1)
    chosen = np.take_along_axis(in_file, np.concatenate(list(found.objects.values()), axis=1), axis=1)
    found_systems = systems(record, found.objects)
    masses = {name: invariant_mass(found_systems[name]) for name in found.objects}
    row_of = {entry: row for row, entry in enumerate(ak.to_numpy(record.id).tolist())}
    rows = [row_of[row[0]] for row in sample.reference["rows"]]
    _, _, _, jets, chi2, ht, lt, h, pz = zip(*sample.reference["rows"], strict=True)
    assert chosen[rows].tolist() == list(jets)
    np.testing.assert_allclose(found.chi2[rows], chi2, atol=6e-7)
    np.testing.assert_allclose(found_systems["neutrino"].pz[rows], pz, atol=6e-7)
    for name, expected in (("ht", ht), ("lt", lt), ("h", h)):
        if name in masses:
            np.testing.assert_allclose(masses[name][rows], expected, atol=6e-7)


def toy(seed, n_jets, n_events=25):
    """Random jets, tags and leptonic W bosons: ``(n_events, n_jets)``, flat."""
    rng = np.random.default_rng(seed)
    shape = (n_events, n_jets)
    jets = cartesian(rng.uniform(25, 200, shape), rng.normal(0, 1.2, shape), rng.uniform(-3.1, 3.1, shape), 10.0)
    btag = rng.random(shape) < 0.4
    w = cartesian(rng.uniform(20, 200, n_events), rng.normal(0, 1, n_events), rng.uniform(-3, 3, n_events), 80.4)
    return jets, btag, w


def run(jets, btag, w, with_higgs, options=None):
    n_events, n_jets = btag.shape
    flat_jets = Cartesian(*(component.ravel() for component in jets))
    return assign(flat_jets, btag.ravel(), np.full(n_events, n_jets), w, with_higgs, options)


def slow(jets, btag, w, with_higgs, o):
    """The best of all orderings with their χ² and number of mistags, one event."""
    p = np.stack(jets, axis=1)
    nu = np.array(w)

    def mass(*parts):
        total = sum(parts)
        return np.sqrt(max(total[0] ** 2 - (total[1:] ** 2).sum(), 0))

    best = (np.inf, np.inf, None)
    for row in itertools.permutations(range(len(p)), 6 if with_higgs else 4):
        b, q1, q2, bl, *h = row
        if q1 > q2 or (h and h[0] > h[1]):
            continue
        chi2 = ((mass(p[q1], p[q2]) - o.w_mass) / o.w_width) ** 2
        chi2 += ((mass(p[q1], p[q2], p[b]) - o.top_mass) / o.hadronic_top_width) ** 2
        chi2 += ((mass(p[bl], nu) - o.top_mass) / o.leptonic_top_width) ** 2
        if h:
            chi2 += ((mass(p[h[0]], p[h[1]]) - o.higgs_mass) / o.higgs_width) ** 2
        mistags = sum(not btag[j] for j in (b, bl, *h)) + btag[q1] + btag[q2]
        if o.btag == "terms":
            chi2 += o.btag_penalty * mistags
        best = min(best, (mistags if o.btag == "veto" else 0, chi2, row, mistags))
    return best


@pytest.mark.parametrize(
    ("with_higgs", "n_jets", "n_events"), [(False, 4, 25), (False, 6, 25), (True, 6, 10), (True, 8, 2)]
)
@pytest.mark.parametrize("btag", ["terms", "veto", "none"])
def test_equals_brute_force(with_higgs, n_jets, n_events, btag):
    options = TopChi2Options(btag=btag, w_mass=82, top_mass=170, higgs_mass=120, w_width=9, higgs_width=20)
    jets, tags, w = toy(n_jets, n_jets, n_events)
    found = run(jets, tags, w, with_higgs, options)
    chosen = np.concatenate(list(found.objects.values()), axis=1)
    for k in range(n_events):
        one = Cartesian(*(component[k] for component in jets))
        _, chi2, row, mistags = slow(one, tags[k], [c[k] for c in w], with_higgs, options)
        assert chosen[k].tolist() == list(row)
        assert found.mistags[k] == mistags
        assert found.chi2[k] == pytest.approx(chi2, rel=1e-6)


def test_order_of_jets_does_not_matter():
    jets, tags, w = toy(11, 7, 200)
    found = run(jets, tags, w, True)
    order = np.random.default_rng(0).permuted(np.tile(np.arange(7), (200, 1)), axis=1)
    mixed = Cartesian(*(np.take_along_axis(component, order, axis=1) for component in jets))
    again = run(mixed, np.take_along_axis(tags, order, axis=1), w, True)
    np.testing.assert_allclose(again.chi2, found.chi2, rtol=1e-9)
    for name in NAMES:
        back = np.take_along_axis(order, again.objects[name], axis=1)
        if name == "ht":
            back[:, 1:].sort(axis=1)
        elif name == "h":
            back.sort(axis=1)
        assert np.array_equal(back, found.objects[name])


def test_only_the_first_jets_are_tried():
    jets, tags, w = toy(5, 12, 50)
    first = Cartesian(*(component[:, :10] for component in jets))
    found, expected = (
        run(jets, tags, w, True, TopChi2Options(max_jets=10)),
        run(first, tags[:, :10], w, True, TopChi2Options(max_jets=10)),
    )
    assert all(np.array_equal(found.objects[name], expected.objects[name]) for name in NAMES)
    assert (run(jets, tags, w, False, TopChi2Options(max_jets=4)).objects["ht"] < 4).all()
    assert (run(jets, tags, w, True, TopChi2Options(max_jets=4)).objects["h"] < 6).all()  # as many as are needed
    assert (run(jets, tags, w, False, TopChi2Options(max_jets=10)).chi2 <= run(jets, tags, w, False).chi2).all()


def test_events_with_too_few_jets_get_no_assignment():
    """Counts of 0, 3, 4 and 6 jets in one call; no events at all."""
    jets, tags, w = toy(9, 13, 1)
    pieces = Cartesian(*(component.ravel() for component in jets))
    repeated = Cartesian(*(np.repeat(component, 4) for component in w))
    found = assign(pieces, tags.ravel(), np.array([0, 3, 4, 6]), repeated, False)
    assert np.isnan(found.chi2).tolist() == [True, True, False, False]
    assert found.objects["ht"][:2].tolist() == [[-1] * 3] * 2
    assert found.mistags[:2].tolist() == [-1, -1]
    assert np.isnan(assign(pieces, tags.ravel(), np.array([0, 3, 4, 6]), repeated, True).chi2).tolist() == [
        True
    ] * 3 + [False]
    empty = np.zeros(0)
    nothing = assign(Cartesian(*[empty] * 4), empty, np.zeros(0, dtype=np.int64), Cartesian(*[empty] * 4), True)
    assert nothing.objects["h"].shape == (0, 2)


def test_not_a_number_is_refused_and_options_are_checked():
    jets, tags, w = toy(2, 5, 10)
    jets.energy[3, 2] = np.nan
    with pytest.raises(ValueError, match="χ² of NaN"):
        run(jets, tags, w, False)
    with pytest.raises(ValueError, match="max_jets"):
        TopChi2Options(max_jets=11)
    with pytest.raises(ValueError, match="w_width"):
        TopChi2Options(w_width=0)


@pytest.mark.parametrize("n", [6, 8])
def test_splitting_the_table_changes_nothing(monkeypatch, n):
    """The best of each set of objects and of what it leaves is the best of all assignments."""
    targets = tuple(PATTERNS[name] for name in NAMES)
    rng = np.random.default_rng(n)
    scores = [rng.random((len(some), 300)) for some in assignments(targets, n).choices]
    found = {}
    for limit in (0, 10**9):
        monkeypatch.setattr(best_assignment, "FEW_ROWS", limit)
        found[limit] = best_assignment.best_assignment(scores, targets, n)
    assert np.array_equal(found[0][0], found[10**9][0])
    np.testing.assert_allclose(found[0][1], found[10**9][1], rtol=1e-12)
    alone = (Pattern.of(2, (0, 1)),)
    objects, total = best_assignment.best_assignment([rng.random((15, 4))], alone, 6)
    assert objects.shape == (4, 2)
    assert total.shape == (4,)


def test_systems_are_sums_of_their_parts(sample):
    """tt̄ = t_H + t_L = five jets and leptons; without an assignment there is no momentum."""
    record = sample.record[:200]
    n_jets = counts_of(record.jets.pt)
    first = np.arange(6)[None, :] + np.zeros((200, 1), dtype=np.int64)
    objects = {"ht": first[:, :3].copy(), "lt": first[:, 3:4], "h": first[:, 2:4] if n_jets.min() < 6 else first[:, 4:]}
    objects["ht"][0] = -1
    found = systems(record, objects)
    for event in (1, 50, 199):
        j = record.jets[event]
        pz = (
            sum(j.pt[i] * np.sinh(j.eta[i]) for i in range(4)) + found["lepton"].pz[event] + found["neutrino"].pz[event]
        )
        assert found["ttbar"].pz[event] == pytest.approx(pz, rel=1e-5)
        energy = found["w_had"].energy[event] + np.sqrt((j.pt[0] * np.cosh(j.eta[0])) ** 2 + j.mass[0] ** 2)
        assert found["ht"].energy[event] == pytest.approx(energy, rel=1e-5)
    assert np.isnan(found["ttbar"].energy[0])
    assert np.isfinite(found["lt"].energy).all()
    real = found["w_lep"]
    assert (invariant_mass(real) > 80.36).all()
