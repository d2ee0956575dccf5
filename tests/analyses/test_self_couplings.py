"""Weights of HH and HHH against the amplitudes written out, event by event."""

from __future__ import annotations

import numpy as np
import pytest
import uproot

from hhh_coffea.analyses.self_couplings import (
    HH,
    HHH,
    POLYNOMIALS,
    GeneratorError,
    amplitude_terms,
    coupling_weights,
    weights_at,
)


def generated(n: int, k: int, seed: int = 1) -> list[np.ndarray]:
    """Transverse momenta, η, φ and masses of k bosons; the masses differ from event to event."""
    rng = np.random.default_rng(seed)
    pt, eta = rng.exponential(150, (n, k)) + 5, rng.normal(0, 1.5, (n, k))
    phi, mass = rng.uniform(-np.pi, np.pi, (n, k)), np.repeat(rng.uniform(80, 170, (n, 1)), k, axis=1)
    return [pt, eta, phi, mass]


def amplitude(pt, eta, phi, mass, kappa3, kappa4):
    """Of one event, from the formulae of the specification with plain sums of four-vectors."""
    vectors = [
        np.array([np.sqrt((p * np.cosh(e)) ** 2 + m**2), p * np.cos(f), p * np.sin(f), p * np.sinh(e)])
        for p, e, f, m in zip(pt, eta, phi, mass, strict=True)
    ]

    def s_of(*which):
        total = sum(vectors[i] for i in which)
        return total[0] ** 2 - (total[1:] ** 2).sum()

    m2 = mass[0] ** 2
    l3, l4 = 3 * m2 * kappa3, 3 * m2 * kappa4
    if len(vectors) == 2:
        return -1 + l3 / (s_of(0, 1) - m2)
    pairs = [s_of(i, j) - m2 for i, j in ((0, 1), (0, 2), (1, 2))]
    return 2 - sum(l3 / s for s in pairs) + 1 / (s_of(0, 1, 2) - m2) * (l4 + sum(l3**2 / s for s in pairs))


def directly(events, kappa3, kappa4):
    return np.array([amplitude(*e, kappa3, kappa4) ** 2 / amplitude(*e, 1, 1) ** 2 for e in zip(*events, strict=True)])


@pytest.mark.parametrize("k", [2, 3])
def test_weights_are_ratios_of_amplitudes(k):
    """50 random couplings: each event's weight to 1e-9 of itself, and from its coefficients to 1e-9 of the terms that cancel."""
    events = generated(200, k)
    coefficients = coupling_weights(*events)
    rng = np.random.default_rng(2)
    for kappa3, kappa4 in np.stack([rng.uniform(-10, 10, 50), rng.uniform(-100, 100, 50)], axis=1):
        point = [kappa3, kappa4][: len(POLYNOMIALS[k].parameters)]
        direct = directly(events, kappa3, kappa4)
        np.testing.assert_allclose(weights_at(*events, point), direct, rtol=1e-9)
        monomials = POLYNOMIALS[k].monomials(point)
        polynomial = coefficients @ monomials
        assert (np.abs(polynomial - direct) < 1e-9 * (np.abs(coefficients) @ np.abs(monomials))).all()
        # of a sum of events, which is what histograms hold, nothing is lost
        assert polynomial.sum() == pytest.approx(direct.sum(), rel=1e-9)


def test_where_the_amplitude_vanishes():
    """A weight that is 10⁻⁹ of its terms: right to 1e-9 of itself from the amplitude, and to no digit from coefficients."""
    events = generated(1, 2)
    a, b = amplitude_terms(*events)[0]
    kappa3 = float(-a / b * (1 + 1e-5))
    direct = directly(events, kappa3, 1)
    assert weights_at(*events, [kappa3]) == pytest.approx(direct, rel=1e-9, abs=0)
    assert coupling_weights(*events) @ HH.monomials([kappa3]) != pytest.approx(direct, rel=1e-9, abs=0)


@pytest.mark.parametrize("k", [2, 3])
def test_weight_at_the_reference_is_one(k):
    polynomial = POLYNOMIALS[k]
    assert coupling_weights(*generated(100, k)) @ polynomial.monomials(polynomial.reference) == pytest.approx(1)


@pytest.mark.parametrize("k", [2, 3])
def test_no_weight_is_negative(k):
    coefficients, rng = coupling_weights(*generated(200, k)), np.random.default_rng(3)
    points = rng.uniform(-20, 20, (300, len(POLYNOMIALS[k].parameters)))
    monomials = POLYNOMIALS[k].monomials(points)
    size = np.abs(coefficients) @ np.abs(monomials).T
    assert (coefficients @ monomials.T > -1e-12 * size).all()
    if k == 2:
        c, b, a = coefficients.T
        assert (b**2 <= 4 * a * c * (1 + 1e-12)).all()


@pytest.mark.parametrize("k", [2, 3])
def test_order_and_rotation_change_nothing(k):
    pt, eta, phi, mass = generated(50, k)
    whole = coupling_weights(pt, eta, phi, mass)
    assert coupling_weights(pt[:, ::-1], eta[:, ::-1], phi[:, ::-1], mass) == pytest.approx(whole, rel=1e-9)
    assert coupling_weights(pt, -eta, phi + 0.7, mass) == pytest.approx(whole, rel=1e-9)


def test_only_ratios_of_masses_matter():
    pt, eta, phi, mass = generated(50, 3)
    assert coupling_weights(2 * pt, eta, phi, 2 * mass) == pytest.approx(coupling_weights(pt, eta, phi, mass), rel=1e-9)


def test_threshold_of_hh():
    """At rest A = −1 + κ3: it vanishes in the standard model, and the weight is infinite."""
    at_rest = coupling_weights(np.zeros((1, 2)), np.zeros((1, 2)), np.zeros((1, 2)), np.full((1, 2), 125.0))
    assert not np.isfinite(at_rest).any()


def test_threshold_of_hhh():
    """At rest s = 9m² and s_ij = 4m²: A = 2 − 3κ3 + (3κ4 + 9κ3²)/8, which is ½ in the standard model."""
    zeros = np.zeros((1, 3))
    found = coupling_weights(zeros, zeros, zeros, np.full((1, 3), 125.0))
    for kappa3, kappa4 in ((0, 0), (2, 1), (-1, 5)):
        expected = (2 - 3 * kappa3 + (3 * kappa4 + 9 * kappa3**2) / 8) ** 2 / 0.25
        assert found @ HHH.monomials([kappa3, kappa4]) == pytest.approx([expected])


def test_other_numbers_of_bosons():
    with pytest.raises(GeneratorError, match=r"shape \(5, 4\): two or three"):
        coupling_weights(*generated(5, 4))


@pytest.mark.parametrize(("name", "k"), [("hh_test", 2), ("hhh_test", 3)])
def test_real_events(shared_dir, name, k):
    """Every event of the test files has finite weights; they are as many events as it takes at moderate couplings."""
    columns = [f"Particle.{n}" for n in ("PID", "Status", "PT", "Eta", "Phi", "Mass")]
    with uproot.open(shared_dir / "data" / "delphes" / f"{name}.root") as file:
        events = file["Delphes"].arrays(columns, entry_stop=4000)
    first = (events["Particle.PID"] == 25) & (events["Particle.Status"] == 22)
    kinematics = [np.asarray(events[c][first].to_list(), dtype=float) for c in columns[2:]]
    found = coupling_weights(*kinematics)
    assert found.shape == (4000, len(POLYNOMIALS[k]))
    assert np.isfinite(found).all()
    weight = found @ POLYNOMIALS[k].monomials([0.0] * len(POLYNOMIALS[k].parameters))
    assert weight.sum() ** 2 / (weight**2).sum() > 1000


def test_monomials_in_the_order_of_the_storage():
    assert HH.monomials([3.0]).tolist() == [1, 3, 9]
    assert HHH.monomials([2.0, 5.0]).tolist() == [1, 2, 4, 8, 16, 5, 10, 20, 25]
