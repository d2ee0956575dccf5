"""Four-vector arithmetic on plain numpy arrays of any shape, in double precision (GeV, radians)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hhh_coffea.base.compiled import compiled

FloatArray = npt.NDArray[np.float64]
Array = npt.NDArray[np.generic]


class Cartesian(NamedTuple):
    """Energy and momentum, each an array of the same shape (GeV)."""

    energy: FloatArray
    px: FloatArray
    py: FloatArray
    pz: FloatArray


def cartesian(pt: Array, eta: Array, phi: Array, mass: Array) -> Cartesian:
    """(pT, η, φ, m) → (E, px, py, pz); inputs broadcast, the outputs are float64."""
    given = [np.asarray(part) for part in (pt, np.exp(eta, dtype=np.float64), phi, mass)]  # numpy's exp is faster
    shape = np.broadcast_shapes(*(part.shape for part in given))
    parts = [np.broadcast_to(part, shape) for part in given]  # read-only views: numba is told so without a warning
    made: FloatArray = _cartesian(*(part.ravel() for part in parts))
    return Cartesian(*made.reshape(4, *parts[0].shape))


@compiled
def _cartesian(pt, exp_eta, phi, mass):  # type: ignore[no-untyped-def]
    """``(4, n)``; pz = pT sinh η."""
    made = np.empty((4, len(pt)))
    for i in range(len(pt)):
        t, m, azimuth = np.float64(pt[i]), np.float64(mass[i]), np.float64(phi[i])
        z = (exp_eta[i] - 1 / exp_eta[i]) * 0.5 * t
        made[0, i], made[1, i] = np.sqrt(t * t + z * z + m * m), np.cos(azimuth) * t
        made[2, i], made[3, i] = np.sin(azimuth) * t, z
    return made


def invariant_mass(p: Cartesian) -> FloatArray:
    """√max(0, E² − p²): rounding (and groomed jets with one constituent) may leave a negative square."""
    square = p.energy**2 - p.px**2 - p.py**2 - p.pz**2
    return np.sqrt(np.maximum(square, 0.0))


def rest_frame(p: Cartesian, of: Cartesian) -> Cartesian:
    """Momenta ``p`` boosted to where the momenta ``of`` are at rest; shapes broadcast."""
    mass = np.maximum(invariant_mass(of), 1e-9)
    along = (p.px * of.px + p.py * of.py + p.pz * of.pz) / mass
    energy = (of.energy * p.energy) / mass - along
    shift = (along / (of.energy + mass)) - p.energy / mass
    return Cartesian(energy, p.px + shift * of.px, p.py + shift * of.py, p.pz + shift * of.pz)


def polar(total: Cartesian) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """(pT, η, φ, mass) of a four-vector, in GeV and radians; η is infinite along the beam."""
    pt = np.sqrt(total.px * total.px + total.py * total.py)
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.abs(total.pz / pt)
        # asinh written out: numpy's log is several times faster than its arcsinh
        eta = np.copysign(np.log(slope + np.sqrt(slope * slope + 1)), total.pz)
    return pt, eta, np.arctan2(total.py, total.px), invariant_mass(total)


def delta_r_squared(eta1: Array, phi1: Array, eta2: Array, phi2: Array) -> FloatArray:
    """ΔR² = Δη² + Δφ² of azimuths in [−π, π]; inputs broadcast."""
    square: FloatArray = np.subtract(eta1, eta2, dtype=np.float64)
    square *= square
    delta_phi: FloatArray = np.subtract(phi1, phi2, dtype=np.float64)
    np.abs(delta_phi, out=delta_phi)
    np.minimum(delta_phi, 2 * np.pi - delta_phi, out=delta_phi)  # the short way round
    delta_phi *= delta_phi
    square += delta_phi
    return square
