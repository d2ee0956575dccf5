"""ln L of one permutation of tt̄ for scipy's minimisers: written out in numbers and compiled, from no code of the package.

Jets have double Gaussians of shape E4, leptons single ones: as :func:`likelihood_events.functions` has them.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from likelihood_events import SlowLikelihood
from numba import njit


@njit(error_model="numpy")
def _double_gaussian(x, measured, p):
    at = min(max(x, p[10]), p[11])
    r = math.sqrt(at)
    mu1, s1, a = p[0] + p[1] / at, p[2] + p[3] / r, p[4] + p[5] / at
    mu2, s2 = p[6] + p[7] / r, p[8] + p[9] * at
    d = (x - measured) / x
    e1, e2 = -((d - mu1) ** 2) / (2 * s1**2), -((d - mu2) ** 2) / (2 * s2**2)
    top = max(e1, e2)
    value = top + math.log(math.exp(e1 - top) + a * math.exp(e2 - top))
    return value - math.log(math.sqrt(2 * math.pi) * (s1 + a * s2))


@njit(error_model="numpy")
def _gaussian(x, measured, sigma):
    return -0.5 * ((x - measured) / sigma) ** 2 - math.log(sigma * math.sqrt(2 * math.pi))


@njit(error_model="numpy")
def _breit_wigner(e, px, py, pz, mass, width):
    s = e * e - px * px - py * py - pz * pz
    return -math.log((s - mass**2) ** 2 + mass**2 * width**2)


@njit(error_model="numpy")
def _log_likelihood(x, low, high, unit, jets, lepton, met, masses):
    """``jets (4, 16)``: direction (3), measured E, transfer function (12), in the order b_had, q1, q2, b_lep."""
    total = 0.0
    p = np.zeros((5, 4))
    for k in range(4):
        e = min(max(x[k] * unit[k], low[k]), high[k])
        mass = masses[2] if k in (0, 3) else 0.0
        size = math.sqrt(e * e - mass * mass)
        p[k, 0] = e
        for i in range(3):
            p[k, 1 + i] = size * jets[k, i]
        total += _double_gaussian(e, jets[k, 3], jets[k, 4:])
    e = min(max(x[4] * unit[4], low[4]), high[4])
    factor, a, b, c = lepton[4], lepton[5], lepton[6], lepton[7]
    seen = e * factor
    total += _gaussian(seen, lepton[3] * factor, math.sqrt((a * seen) ** 2 + b * b * seen + c * c))
    nu = np.empty(3)
    for i in range(3):
        nu[i] = min(max(x[5 + i] * unit[5 + i], low[5 + i]), high[5 + i])
    total += _gaussian(nu[0], met[0], met[2]) + _gaussian(nu[1], met[1], met[2])
    p[4, 0] = e + math.sqrt(nu[0] ** 2 + nu[1] ** 2 + nu[2] ** 2)
    for i in range(3):
        p[4, 1 + i] = e * lepton[i] + nu[i]
    w_mass, w_width, _, top_mass, top_width = masses
    w, h, t = p[1] + p[2], p[0] + p[1] + p[2], p[3] + p[4]
    total += _breit_wigner(w[0], w[1], w[2], w[3], w_mass, w_width)
    total += _breit_wigner(p[4, 0], p[4, 1], p[4, 2], p[4, 3], w_mass, w_width)
    total += _breit_wigner(h[0], h[1], h[2], h[3], top_mass, top_width)
    return total + _breit_wigner(t[0], t[1], t[2], t[3], top_mass, top_width)


def _direction(eta: float, phi: float) -> tuple[float, float, float]:
    return math.cos(phi) / math.cosh(eta), math.sin(phi) / math.cosh(eta), math.tanh(eta)


def compiled(
    slow: SlowLikelihood, permutation: list[int], bounds: list[tuple[float, float]], unit: np.ndarray
) -> Callable[[np.ndarray], float]:
    """−ln L of the eight parameters (E of b_had, q1, q2, b_lep, E_ℓ, p_ν) in these units, at the fixed top mass."""
    o, s, rows = slow.options, slow.scalars, []
    for position, jet in enumerate(permutation):
        eta, phi = slow.event["eta"][jet], slow.event["phi"][jet]
        bins = slow.tf.light if position in (1, 2) else slow.tf.bottom
        function = next((b for b in bins if abs(eta) < b.eta[1]), bins[-1])
        assert getattr(function, "shape", "") == "E4"
        rows.append([*_direction(eta, phi), slow.measured_energy(jet), *function.parameters, *function.range])
    (one,) = slow.tf.electron if s["lepton_flavor"] == 0 else slow.tf.muon
    factor = 1.0 if s["lepton_flavor"] == 0 else 1 / math.cosh(s["lepton_eta"])
    energy = s["lepton_pt"] * math.cosh(s["lepton_eta"])
    lepton = np.array([*_direction(s["lepton_eta"], s["lepton_phi"]), energy, factor, one.a, one.b, one.c])
    sigma = slow.tf.met.p0 + slow.tf.met.p1 * s["sum_et"]
    met = np.array([s["met"] * math.cos(s["met_phi"]), s["met"] * math.sin(s["met_phi"]), sigma])
    masses = np.array([o.w_mass, o.w_width, o.bottom_mass, o.top_mass, o.gamma_top])
    low, high = np.array(bounds).T.copy()
    jets = np.array(rows)
    return lambda x: -_log_likelihood(x, low, high, unit, jets, lepton, met, masses)
