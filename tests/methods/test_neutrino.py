"""Neutrino p_z by the W mass: events on shell, off shell, at the edge, and mirrored along the beam."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hhh_coffea.base.kinematics import Cartesian, cartesian, invariant_mass
from hhh_coffea.methods.neutrino import W_MASS, massless, neutrino, pz, pz_roots
from hhh_coffea.reconstruction.composites import summed


def boosted_w(seed, n=2000):
    """Decays of W bosons of mass W_MASS, flat in angle, moving with some hundred GeV: lepton and neutrino."""
    rng = np.random.default_rng(seed)
    cosine, phi = rng.uniform(-1, 1, n), rng.uniform(-np.pi, np.pi, n)
    sine = np.sqrt(1 - cosine**2)
    direction = np.stack([sine * np.cos(phi), sine * np.sin(phi), cosine])
    p = rng.normal(0, [[80], [80], [150]], (3, n))
    energy = np.sqrt(W_MASS**2 + (p**2).sum(axis=0))
    decay = []
    for sign in (1, -1):
        rest = sign * W_MASS / 2 * direction
        along = (rest * p).sum(axis=0)
        shift = along / (W_MASS * (energy + W_MASS)) + 0.5
        decay.append(Cartesian(energy / 2 + along / W_MASS, *(rest + p * shift)))
    return decay


def met_of(nu):
    return np.hypot(nu.px, nu.py), np.arctan2(nu.py, nu.px)


def test_on_shell_the_truth_is_a_root():
    lepton, nu = boosted_w(1)
    np.testing.assert_allclose(invariant_mass(summed(lepton, nu)), W_MASS, rtol=1e-9)
    roots = pz_roots(lepton, *met_of(nu))
    assert roots.real.mean() > 0.99  # rounding at the edge
    nearer = np.minimum(np.abs(roots.plus - nu.pz), np.abs(roots.minus - nu.pz))
    sharp = np.abs(roots.plus - roots.minus) > 1  # a double root loses half of the digits
    assert (nearer[sharp] < 1e-6 * (1 + np.abs(nu.pz[sharp]))).all()


def test_mass_with_the_chosen_root():
    lepton, nu = boosted_w(2)
    pt, phi = met_of(nu)
    for scale in (0.5, 1.0):  # less MET than there was still leaves real roots
        roots = pz_roots(lepton, pt * scale, phi)
        assert roots.real.mean() > 0.99
        mass = invariant_mass(summed(lepton, neutrino(lepton, pt * scale, phi)))
        easy = roots.real & (np.hypot(lepton.px, lepton.py) > 5) & (np.abs(pz(roots)) < 1e3)
        assert easy.sum() > 1500
        np.testing.assert_allclose(mass[easy], W_MASS, rtol=1e-9)
    assert (np.abs(pz(roots)) <= np.minimum(np.abs(roots.plus), np.abs(roots.minus))).all()


def test_by_hand():
    """Lepton along x with 40 GeV, MET opposite: μ = m²/2 − 40·MET, and p_z^ℓ = 0 gives ± the same."""
    lepton = massless(np.array([40.0]), np.array([0.0]), np.array([0.0]))
    roots = pz_roots(lepton, np.array([30.0]), np.array([np.pi]))
    mu = W_MASS**2 / 2 - 1200
    assert roots.plus == pytest.approx(np.sqrt(mu**2 - 1200**2) / 40, rel=1e-12)
    assert roots.minus == pytest.approx(-roots.plus)
    assert pz(roots) == roots.plus  # equal size: the first
    # μ = p_T MET exactly: a double root, which counts as real
    roots = pz_roots(Cartesian(*np.array([[5.0], [4.0], [0.0], [3.0]])), np.array([2.0]), np.array([0.0]), w_mass=0.0)
    assert roots.real.all()
    assert roots.plus == roots.minus == pytest.approx(1.5)


def test_complex_roots_give_the_real_part():
    """It is where the squared constraint, E_ℓ²E_ν² − (μ + p_z^ℓ p_z)², is least along p_z; the mass stays above m_W."""
    rng = np.random.default_rng(3)
    lepton = massless(rng.uniform(20, 200, 3000), rng.normal(0, 1.2, 3000), rng.uniform(-3, 3, 3000))
    pt, phi = rng.uniform(20, 300, 3000), rng.uniform(-3, 3, 3000)
    roots = pz_roots(lepton, pt, phi)
    bad = ~roots.real
    assert bad.sum() > 500
    np.testing.assert_array_equal(roots.plus[bad], roots.minus[bad])
    mu = W_MASS**2 / 2 + lepton.px * pt * np.cos(phi) + lepton.py * pt * np.sin(phi)

    def constraint(z):
        return lepton.energy**2 * (pt**2 + z**2) - (mu + lepton.pz * z) ** 2

    chosen = pz(roots)
    for step in (-1e-2, 1e-2):
        assert (constraint(chosen + step)[bad] > constraint(chosen)[bad]).all()
    assert (invariant_mass(summed(lepton, neutrino(lepton, pt, phi)))[bad] > W_MASS).all()


@settings(deadline=None)
@given(
    st.floats(10, 500), st.floats(-2.5, 2.5), st.floats(-3, 3), st.floats(0, 500), st.floats(-3, 3), st.floats(-3, 3)
)
def test_symmetries(pt, eta, phi, met, met_phi, angle):
    """Mirrored along the beam the roots change places and sign; turned about it nothing changes."""
    roots = pz_roots(cartesian(pt, eta, phi, 0.0), met, met_phi)
    mirrored = pz_roots(cartesian(pt, -eta, phi, 0.0), met, met_phi)
    scale = 1 + abs(float(roots.plus)) + abs(float(roots.minus))
    assert float(mirrored.plus) == pytest.approx(-float(roots.minus), abs=1e-9 * scale)
    assert float(mirrored.minus) == pytest.approx(-float(roots.plus), abs=1e-9 * scale)
    turned = pz_roots(cartesian(pt, eta, phi + angle, 0.0), met, met_phi + angle)
    # near a double root the square root magnifies rounding
    assert float(turned.plus + turned.minus) == pytest.approx(float(roots.plus + roots.minus), abs=1e-9 * scale)
