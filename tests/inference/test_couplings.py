"""Polynomials, moments and scans (spec: tests of self-couplings)."""

from __future__ import annotations

from dataclasses import replace

import hist
import numpy as np
import pytest

from hhh_coffea.analyses.self_couplings import HH, HHH
from hhh_coffea.inference.binning import TransformationD
from hhh_coffea.inference.couplings.moments import Moments, book, fill, moments_of
from hhh_coffea.inference.couplings.polynomial import (
    CouplingError,
    coefficients_from_weights,
    condition_warning,
    grid,
    pair_monomials,
    pairs,
    sample_coefficients,
)
from hhh_coffea.inference.couplings.scans import CouplingTemplates, crossings, prepare, scan_likelihood, scan_limits
from hhh_coffea.inference.likelihood import Likelihood
from hhh_coffea.inference.limits import expected_limits
from hhh_coffea.inference.model import ModelOptions, build_workspace
from hhh_coffea.inference.templates import Region, Template, Templates

RNG = np.random.default_rng(11)
HH_POINTS = np.array([[0.0], [1.0], [5.0]])


def hhh_points(seed: int = 4) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return HHH.best_points(np.stack([rng.uniform(-5, 5, 200), rng.uniform(-50, 50, 200)], axis=1))


def squared_amplitude(terms: np.ndarray, points: np.ndarray) -> np.ndarray:
    """|a + bκ3 + cκ3² + dκ4|² of complex terms (N, 4) at points (P, 2): (N, P)."""
    k3, k4 = points.T
    return np.abs(terms @ np.stack([np.ones_like(k3), k3, k3**2, k4])) ** 2


def test_nine_points_give_nine_coefficients():
    """Matrix-element weights at nine points predict those at 50 others to 1e-9."""
    terms = RNG.normal(size=(40, 4)) + 1j * RNG.normal(size=(40, 4))
    points = hhh_points()
    coefficients = coefficients_from_weights(HHH, points, squared_amplitude(terms, points))
    elsewhere = np.stack([RNG.uniform(-10, 10, 50), RNG.uniform(-100, 100, 50)], axis=1)
    expected = squared_amplitude(terms, elsewhere)
    size = np.abs(coefficients) @ np.abs(HHH.monomials(elsewhere)).T
    assert (np.abs(coefficients @ HHH.monomials(elsewhere).T - expected) < 1e-9 * size).all()


def test_weights_of_hh_are_nowhere_negative():
    terms = RNG.normal(size=(100, 2)) + 1j * RNG.normal(size=(100, 2))
    weights = np.abs(terms @ np.stack([np.ones(3), HH_POINTS[:, 0]])) ** 2
    c, b, a = coefficients_from_weights(HH, HH_POINTS, weights).T
    assert (b**2 <= 4 * a * c * (1 + 1e-9)).all()


def test_rank():
    fixed_kappa4 = np.stack([np.linspace(-5, 5, 9), np.ones(9)], axis=1)
    with pytest.raises(CouplingError, match="9 points determine 5 of 9 coefficients of kappa3, kappa4"):
        HHH.inverse(fixed_kappa4)
    with pytest.raises(CouplingError, match="2 points determine 2 of 3"):
        HH.inverse([[0.0], [1.0]])
    with pytest.raises(CouplingError, match="8 samples for 9 coefficients"):
        sample_coefficients(HHH, hhh_points()[:8])
    with pytest.raises(CouplingError, match="weights of shape"):
        coefficients_from_weights(HH, HH_POINTS, np.ones((5, 2)))
    with pytest.raises(CouplingError, match="a point has 2 values"):
        HHH.monomials([1.0])


def test_chosen_points_are_better_than_the_first():
    candidates = grid(np.linspace(-3, 3, 7), np.linspace(-40, 40, 9))
    chosen = HHH.best_points(candidates)
    assert chosen.shape == (9, 2)
    random = [HHH.condition(RNG.choice(candidates, 9, replace=False)) for _ in range(50)]
    assert HHH.condition(chosen) < np.median(random) / 3
    close = np.array([1.0, 1.0]) + 1e-3 * RNG.normal(size=(9, 2))
    assert condition_warning(HHH, chosen) is None
    assert "condition number" in condition_warning(HHH, close)


def test_three_samples_are_lagrange():
    """ℓ_i(κ) = Π_{j≠i} (κ − κ_j)/(κ_i − κ_j); at a generated point only its sample counts."""
    coefficients = sample_coefficients(HH, HH_POINTS)
    for kappa in (-2.0, 0.0, 0.5, 5.0):
        expected = [np.prod([(kappa - b[0]) / (a[0] - b[0]) for b in HH_POINTS if b[0] != a[0]]) for a in HH_POINTS]
        assert coefficients @ HH.monomials([kappa]) == pytest.approx(expected, abs=1e-12)


def sample_moments(polynomial, points, order):
    """Moments of samples with fixed histograms, filled in some order."""
    axis = hist.axis.Regular(5, 0, 5, name="mass")
    histograms, coefficients = book(polynomial, axis), sample_coefficients(polynomial, points)
    filled = []
    for i in range(len(points)):
        rng = np.random.default_rng(i)
        filled.append((rng.uniform(0, 5, 40), rng.uniform(0.5, 1.5, 40)))
    for i in order:
        mass, weight = filled[i]
        fill(histograms, np.repeat(coefficients[[i]], 40, axis=0), weight, {"mass": mass})
    alone = [np.histogram(m, 5, (0, 5), weights=w)[0] for m, w in filled]
    squares = [np.histogram(m, 5, (0, 5), weights=w**2)[0] for m, w in filled]
    return moments_of(polynomial, histograms, {}), np.array(alone), np.array(squares)


@pytest.mark.parametrize(("polynomial", "points"), [(HH, HH_POINTS), (HHH, hhh_points())])
def test_combination_returns_each_sample_at_its_point(polynomial, points):
    moments, alone, squares = sample_moments(polynomial, points, range(len(points)))
    for i, point in enumerate(points):
        assert moments.at(point).values == pytest.approx(alone[i], abs=1e-9)
        assert moments.at(point).variances == pytest.approx(squares[i], abs=1e-7)
    # anywhere else: Σ ℓ_i h_i with the variance Σ ℓ_i² Σw²
    other = np.array(polynomial.scales) * 0.3
    factors = sample_coefficients(polynomial, points) @ polynomial.monomials(other)
    assert moments.at(other).values == pytest.approx(factors @ alone)
    assert moments.at(other).variances == pytest.approx(factors**2 @ squares)


def test_order_of_samples_changes_nothing():
    forward = sample_moments(HH, HH_POINTS, [0, 1, 2])[0]
    backward = sample_moments(HH, HH_POINTS, [2, 0, 1])[0]
    assert forward.at([2.2]).values == pytest.approx(backward.at([2.2]).values)


def events_and_moments(n: int = 300):
    """Events of HHH with coefficients of true squares, and their histogram."""
    rng = np.random.default_rng(8)
    points = hhh_points()
    coefficients = coefficients_from_weights(HHH, points, squared_amplitude(rng.normal(size=(n, 4)), points))
    mass, weight = rng.uniform(-0.5, 6, n), rng.uniform(0.5, 2, n)
    names = [hist.axis.StrCategory([], growth=True, name=name) for name in ("region", "dataset")]
    histograms = book(HHH, *names, hist.axis.Regular(5, 0, 5, name="mass"))
    halves = [slice(0, n // 2), slice(n // 2, n)]
    for part in halves:  # chunks add up
        fill(histograms, coefficients[part], weight[part], {"mass": mass[part]}, {"region": "sr", "dataset": "hhh"})
    return coefficients, mass, weight, moments_of(HHH, histograms, {"region": "sr", "dataset": "hhh"}), histograms


def test_moments_are_the_histogram_of_weighted_events():
    coefficients, mass, weight, moments, _ = events_and_moments()
    inside = np.clip(mass, 0, 4.999)
    for point in ([1.0, 1.0], [0.0, 20.0], [-3.0, -7.0]):
        w = weight * (coefficients @ HHH.monomials(point))
        found = moments.at(point)
        assert found.values == pytest.approx(np.histogram(inside, 5, (0, 5), weights=w)[0])
        assert found.variances == pytest.approx(np.histogram(inside, 5, (0, 5), weights=w**2)[0])
        assert moments.totals([point]) == pytest.approx([w.sum()])
        assert moments.effective_events([point]) == pytest.approx([w.sum() ** 2 / (w**2).sum()])
    rebinned = moments.rebinned(np.array([0, 2, 5]))
    assert rebinned.at([2.0, 3.0]).total == pytest.approx(moments.at([2.0, 3.0]).total)
    assert moments.scaled(3).at([1.0, 1.0]).variances == pytest.approx(9 * moments.at([1.0, 1.0]).variances)


def test_pairs_are_the_square_of_the_weight():
    coefficients, monomials = RNG.normal(size=(20, 9)), HHH.monomials([0.7, -3.0])
    first, second = pairs(9)
    assert len(first) == 45
    assert (coefficients[:, first] * coefficients[:, second]) @ pair_monomials(monomials) == pytest.approx(
        (coefficients @ monomials) ** 2
    )


def test_histograms_of_another_polynomial():
    *_, histograms = events_and_moments(10)
    with pytest.raises(CouplingError, match="3 values of 'monomial' are wanted"):
        moments_of(HH, histograms, {"region": "sr", "dataset": "hhh"})
    with pytest.raises(CouplingError, match="coefficients of shape"):
        fill(histograms, np.ones((4, 3)), np.ones(4), {"mass": np.ones(4)})


@pytest.fixture
def couplings() -> CouplingTemplates:
    """Background and a signal of HH with the polynomial 3 − 3κ + κ² in every bin but the last, which has κ² alone."""
    background = np.array([100.0, 50.0, 20.0])
    shape = np.array([[6.0, -6.0, 2.0], [9.0, -9.0, 3.0], [0.0, 0.0, 4.0]])
    first, second = pairs(3)
    moments = moments_from(shape, shape[:, first] * shape[:, second] / 50)
    signal = moments.at([1.0])
    samples = {"qcd": {"nominal": Template(background, background)}, "hh": {"nominal": signal}}
    templates = Templates((Region("sr", np.arange(4.0), samples),), ("hh",))
    return CouplingTemplates(templates, {("sr", "hh", "nominal"): moments}, ("kappa3",))


def moments_from(sums, products):
    return Moments(HH, sums, products)


def test_scan_of_limits(couplings):
    points = np.linspace(-4, 6, 21)[:, None]
    done = []
    scan = scan_limits(couplings, points, ModelOptions(), progress=lambda i, n: done.append((i, n)))
    assert done[-1] == (21, 21)
    # a point of the scan is the limit of its template, and yields are the polynomial
    direct = expected_limits(Likelihood(build_workspace(couplings.at([-4.0]), ModelOptions())))
    assert scan.limits[0] == pytest.approx(direct.expected)
    kappa = points[:, 0]
    assert scan.yields["hh"] == pytest.approx(5 * (3 - 3 * kappa + kappa**2) + 4 * kappa**2)
    (allowed,) = scan.allowed()
    assert -4 < allowed[0] < 1 < allowed[1] < 6
    assert np.interp(allowed[0], kappa, scan.limits[:, 2]) == pytest.approx(1)


def test_scan_of_the_likelihood(couplings):
    points = np.linspace(-4, 6, 41)[:, None]
    scan = scan_likelihood(couplings, points, ModelOptions())
    assert scan.truth.tolist() == [1.0]
    at_truth = scan.twice_delta_nll[np.argmin(np.abs(points[:, 0] - 1))]
    assert at_truth == pytest.approx(0, abs=1e-8)
    assert (scan.twice_delta_nll >= 0).all()
    found = scan.intervals()
    assert found["95%"][0][0] < found["68%"][0][0] < 1 < found["68%"][0][1] < found["95%"][0][1]
    # data that are the Asimov data give the same scan
    (region,) = couplings.templates.regions
    seen = replace(region, data=region.total(["qcd", "hh"]))
    with_data = replace(couplings, templates=replace(couplings.templates, regions=(seen,)))
    observed = scan_likelihood(with_data, points, ModelOptions(), unblind=True)
    assert observed.twice_delta_nll == pytest.approx(scan.twice_delta_nll, abs=1e-8)


def test_two_parameters(couplings):
    """HH does not depend on κ4: a scan in the plane is that in κ3, repeated."""
    both = replace(couplings, parameters=("kappa3", "kappa4"), moments=hhh_like(couplings))
    points = grid(np.linspace(-2, 4, 4), np.linspace(-20, 20, 3))
    scan = scan_likelihood(both, points, ModelOptions())
    first, second, values = scan.on_grid()
    assert (len(first), len(second)) == (4, 3)
    line = scan_likelihood(couplings, first[:, None], ModelOptions())
    assert values == pytest.approx(np.repeat(line.twice_delta_nll[:, None], 3, axis=1), abs=1e-8)
    with pytest.raises(CouplingError, match="no grid"):
        replace(scan, points=np.arange(24).reshape(12, 2)).on_grid()


def hhh_like(couplings):
    """The same moments among the nine monomials of HHH."""
    old = couplings.moments["sr", "hh", "nominal"]
    sums, products = np.zeros((3, 9)), np.zeros((3, 45))
    sums[:, :3] = old.sums
    return {("sr", "hh", "nominal"): Moments(HHH, sums, products)}


def test_moments_that_do_not_belong(couplings):
    moments = couplings.moments["sr", "hh", "nominal"]
    with pytest.raises(CouplingError, match="moments of 'qcd' in 'sr', which is no signal"):
        replace(couplings, moments={("sr", "qcd", "nominal"): moments})
    with pytest.raises(CouplingError, match=r"moments of \['jer_up'\]"):
        replace(couplings, moments={("sr", "hh", "jer_up"): moments})
    with pytest.raises(CouplingError, match="'kappa3' is not among"):
        replace(couplings, parameters=("kappa",))


def test_binning_and_checks_of_couplings(couplings):
    """Bins that are left out or merged are so in the moments too."""
    (region,) = couplings.templates.regions
    empty = {name: {"nominal": Template(np.append(t["nominal"].values, 0), np.append(t["nominal"].variances, 0))}
             for name, t in region.samples.items()}  # fmt: skip
    wider = replace(region, edges=np.arange(5.0), samples=empty)
    old = couplings.moments["sr", "hh", "nominal"]
    padded = moments_from(np.vstack([old.sums, np.zeros(3)]), np.vstack([old.products, np.zeros(6)]))
    padded_couplings = CouplingTemplates(
        replace(couplings.templates, regions=(wider,)), {("sr", "hh", "nominal"): padded}, ("kappa3",)
    )
    prepared, warnings = prepare(padded_couplings)
    assert warnings == ("region 'sr': no events outside 0 to 3; those bins are left out",)
    for kappa in (-1.0, 1.0, 4.0):
        found, expected = (c.at([kappa]).regions[0].nominal("hh").values for c in (prepared, couplings))
        assert found == pytest.approx(expected)
    merged, _ = prepare(couplings, TransformationD(z_signal=1, z_background=1))
    assert len(merged.templates.regions[0].edges) == 3
    assert merged.at([3.0]).regions[0].nominal("hh").total == pytest.approx(
        couplings.at([3.0]).regions[0].nominal("hh").total
    )


def test_crossings_by_hand():
    x = np.array([0.0, 1.0, 2.0, 3.0, 4.0])
    assert crossings(x, np.array([-1.0, 1.0, 1.0, -3.0, -1.0])) == [(0.5, 2.25)]
    assert crossings(x, np.array([1.0, -1.0, -1.0, 1.0, 1.0])) == [(0.0, 0.5), (2.5, 4.0)]
    assert crossings(x, -np.ones(5)) == []
    assert crossings(x[::-1], np.array([-1.0, -3.0, 1.0, 1.0, -1.0])) == [(0.5, 2.25)]
