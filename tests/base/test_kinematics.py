"""Four-vectors against hand-worked numbers and against scikit-hep/vector."""

import numpy as np
import pytest
import vector
from hypothesis import given
from hypothesis import strategies as st

from hhh_coffea.base.kinematics import Cartesian, cartesian, delta_r_squared, invariant_mass, polar

angles = st.floats(-np.pi, np.pi)
etas = st.floats(-5, 5)


def test_back_to_back_pair_by_hand():
    """Two massless 62.5 GeV jets back to back in the transverse plane make a mass of 125 GeV at rest in pT."""
    p = cartesian(np.array([62.5, 62.5]), np.zeros(2), np.array([0.0, np.pi]), np.zeros(2))
    total = Cartesian(*(c.sum() for c in p))
    assert invariant_mass(total) == pytest.approx(125.0)
    assert polar(total)[0] == pytest.approx(0.0, abs=1e-12)


def test_negative_square_is_zero_mass():
    assert invariant_mass(Cartesian(*(np.array([x]) for x in (1.0, 1.0, 1e-4, 0.0))))[0] == 0.0


def test_delta_r_takes_the_short_way_round():
    eta1, phi1 = np.array([1.0, 0.3]), np.array([np.pi - 0.1, 0.0])
    eta2, phi2 = np.array([1.0, 0.0]), np.array([-np.pi + 0.1, 0.4])
    direction = (np.array([x]) for x in (eta1, phi1, eta2, phi2))
    assert delta_r_squared(*direction)[0] == pytest.approx([0.04, 0.25])


@given(st.floats(1, 1000), etas, angles, st.floats(0, 100), st.floats(1, 1000), etas, angles, st.floats(0, 100))
def test_agrees_with_vector(pt1, eta1, phi1, m1, pt2, eta2, phi2, m2):
    ours = [cartesian(np.array([a]), np.array([b]), np.array([c]), np.array([d])) for a, b, c, d in
            ((pt1, eta1, phi1, m1), (pt2, eta2, phi2, m2))]  # fmt: skip
    pt, eta, phi, mass = (x[0] for x in polar(Cartesian(*(a + b for a, b in zip(*ours, strict=True)))))
    first, second = vector.obj(pt=pt1, eta=eta1, phi=phi1, mass=m1), vector.obj(pt=pt2, eta=eta2, phi=phi2, mass=m2)
    total = first + second
    scale = total.E
    assert pt == pytest.approx(total.pt, abs=1e-9 * scale)
    assert mass == pytest.approx(total.mass, abs=1e-6 * scale)
    if total.pt > 1e-3 * scale:
        assert eta == pytest.approx(total.eta, abs=1e-6)
        assert np.cos(phi - total.phi) == pytest.approx(1)
    direction = (np.array([x]) for x in (eta1, phi1, eta2, phi2))
    assert delta_r_squared(*direction)[0] == pytest.approx(first.deltaR(second) ** 2, abs=1e-9)
