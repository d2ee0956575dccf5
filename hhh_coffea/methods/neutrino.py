"""The neutrino of a leptonic W boson, from the missing transverse momentum and the mass of the W boson."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hhh_coffea.base.kinematics import Array, Cartesian, FloatArray, cartesian

W_MASS = 80.37  # GeV, as in M. Fenton et al., Commun. Phys. 7, 139 (2024)


class Roots(NamedTuple):
    """Both solutions for p_z (GeV); where they are complex, both are the real part and ``real`` is false."""

    plus: FloatArray
    minus: FloatArray
    real: npt.NDArray[np.bool_]


def pz_roots(lepton: Cartesian, met_pt: Array, met_phi: Array, w_mass: float = W_MASS) -> Roots:
    """Solutions of m(ℓν) = ``w_mass`` for the neutrino's p_z, with p_T of the neutrino = MET (GeV).

    With μ = m_W²/2 + p⃗_T^ℓ·p⃗_T^ν and a massless lepton: p_z = [μ p_z^ℓ ± E_ℓ √(μ² − p_T^ℓ² MET²)] / p_T^ℓ². A
    negative discriminant (MET too large, or the W off its mass) leaves the real part.
    """
    met = np.asarray(met_pt, dtype=np.float64)
    px, py = (met * f(np.asarray(met_phi, dtype=np.float64)) for f in (np.cos, np.sin))
    pt_squared = lepton.px * lepton.px + lepton.py * lepton.py
    energy = np.sqrt(pt_squared + lepton.pz * lepton.pz)
    mu = w_mass * w_mass / 2 + lepton.px * px + lepton.py * py
    discriminant = mu * mu - pt_squared * met * met
    spread = energy * np.sqrt(np.maximum(discriminant, 0)) / pt_squared
    middle = mu * lepton.pz / pt_squared
    return Roots(middle + spread, middle - spread, discriminant >= 0)


def pz(roots: Roots) -> FloatArray:
    """Of two real solutions the one with the smaller absolute value, ``plus`` where they are equal; else the real part."""
    chosen: FloatArray = np.where(np.abs(roots.plus) <= np.abs(roots.minus), roots.plus, roots.minus)
    return chosen


def neutrino(lepton: Cartesian, met_pt: Array, met_phi: Array, w_mass: float = W_MASS) -> Cartesian:
    """Four-momentum of the massless neutrino with the chosen p_z (GeV)."""
    met = np.asarray(met_pt, dtype=np.float64)
    px, py = (met * f(np.asarray(met_phi, dtype=np.float64)) for f in (np.cos, np.sin))
    longitudinal = pz(pz_roots(lepton, met_pt, met_phi, w_mass))
    return Cartesian(np.sqrt(px * px + py * py + longitudinal * longitudinal), px, py, longitudinal)


def massless(pt: Array, eta: Array, phi: Array) -> Cartesian:
    """Four-momentum of a lepton whose mass is neglected."""
    return cartesian(pt, eta, phi, np.zeros(()))


def neutrino_at(met_pt: Array, met_phi: Array, eta: Array) -> Cartesian:
    """Four-momentum of the massless neutrino with p_T = MET and a given η: p_z = MET sinh η (GeV)."""
    return massless(met_pt, eta, met_phi)
