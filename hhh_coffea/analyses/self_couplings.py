"""Self-couplings of the Higgs boson in HH and HHH: event weights as polynomials of κ3 and κ4.

Potential m²h²/2 + κ3 (m²/2v) h³ + κ4 (m²/8v²) h⁴. In units of v the couplings are L3 = 3m²κ3 and L4 = 3m²κ4. The
gluons couple to h by log(1 + h/v), the limit of a heavy top quark, so the contact terms of one, two and three Higgs
bosons are c1 = 1, c2 = −1 and c3 = 2; a form factor that depends on the total mass alone cancels in ratios:

    A_HH(κ3)      = c2 + c1 L3 / (s − m²)
    A_HHH(κ3, κ4) = c3 + c2 Σ_{i<j} L3/(s_ij − m²) + c1/(s − m²) · [L4 + Σ_{i<j} L3²/(s_ij − m²)]

The weight relative to the standard model is A(κ)²/A(1)². The interference of the diagrams has no effect of the mass of
the top quark in this limit: it is exact for samples that were generated with this interaction, and an approximation for
others, which bring matrix-element weights or samples at several points (:mod:`hhh_coffea.inference.couplings.polynomial`).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hhh_coffea.base.errors import UserError
from hhh_coffea.base.kinematics import Cartesian, cartesian
from hhh_coffea.inference.couplings.polynomial import Polynomial

FloatArray = npt.NDArray[np.float64]
C1, C2, C3 = 1.0, -1.0, 2.0  # contact terms: derivatives of log(1 + h) at 0
HH = Polynomial(("kappa3",), ((0,), (1,), (2,)), reference=(1.0,), scales=(1.0,))
HHH = Polynomial(
    ("kappa3", "kappa4"),
    ((0, 0), (1, 0), (2, 0), (3, 0), (4, 0), (0, 1), (1, 1), (2, 1), (0, 2)),
    reference=(1.0, 1.0),
    scales=(1.0, 10.0),
)
POLYNOMIALS = {2: HH, 3: HHH}  # by the number of Higgs bosons
PAIRS = {2: ((0, 1),), 3: ((0, 1), (0, 2), (1, 2))}


class GeneratorError(UserError):
    """Generated Higgs bosons that an amplitude cannot be computed from."""


def coupling_weights(pt: npt.ArrayLike, eta: npt.ArrayLike, phi: npt.ArrayLike, mass: npt.ArrayLike) -> FloatArray:
    """Coefficients of A(κ)²/A(1)² in the monomials of :data:`HH` or :data:`HHH`.

    Parameters
    ----------
    pt, eta, phi, mass
        of the generated Higgs bosons before the shower, ``(N, 2)`` or ``(N, 3)`` (GeV); m is the mean of their masses

    Returns
    -------
    array
        ``(N, 3)`` or ``(N, 9)``; each row adds up to 1, the weight at κ = 1. Infinite where the amplitude at κ = 1 is 0,
        as that of HH is at threshold.

    Raises
    ------
    GeneratorError
        for another number of Higgs bosons.
    """
    amplitude = amplitude_terms(pt, eta, phi, mass)
    if amplitude.shape[1] == 2:
        a, b = amplitude.T
        squared = [a * a, 2 * a * b, b * b]
    else:
        a, b, c, d = amplitude.T
        squared = [a * a, 2 * a * b, b * b + 2 * a * c, 2 * b * c, c * c, 2 * a * d, 2 * b * d, 2 * c * d, d * d]
    with np.errstate(divide="ignore"):
        weights: FloatArray = np.stack(squared, axis=1) / amplitude.sum(axis=1, keepdims=True) ** 2
    return weights


def weights_at(
    pt: npt.ArrayLike, eta: npt.ArrayLike, phi: npt.ArrayLike, mass: npt.ArrayLike, point: npt.ArrayLike
) -> FloatArray:
    """A(κ)²/A(1)² of each event ``(N,)`` at one point, κ3 or (κ3, κ4); parameters are those of :func:`coupling_weights`.

    The amplitude is summed before it is squared. Its terms cancel as far as those of a direct evaluation do, and not twice as
    far, as the coefficients of the square: where A(κ) is 10⁻⁴ of its terms, these lose eight digits and this loses four.
    """
    terms = amplitude_terms(pt, eta, phi, mass)
    couplings = np.asarray(point, dtype=np.float64)
    powers = [1.0, couplings[0]] if terms.shape[1] == 2 else [1.0, couplings[0], couplings[0] ** 2, couplings[1]]
    with np.errstate(divide="ignore"):
        ratio: FloatArray = (terms @ np.array(powers) / terms.sum(axis=1)) ** 2
    return ratio


def amplitude_terms(pt: npt.ArrayLike, eta: npt.ArrayLike, phi: npt.ArrayLike, mass: npt.ArrayLike) -> FloatArray:
    """Terms of the amplitude: a + bκ3 of HH ``(N, 2)``, a + bκ3 + cκ3² + dκ4 of HHH ``(N, 4)``."""
    masses = np.asarray(mass, dtype=np.float64)
    if masses.ndim != 2 or masses.shape[1] not in PAIRS:
        raise GeneratorError(f"Higgs bosons of shape {masses.shape}: two or three in each event are required")
    momenta = cartesian(np.asarray(pt), np.asarray(eta), np.asarray(phi), masses)
    square = masses.mean(axis=1) ** 2
    s = _mass_squared(momenta, slice(None))
    l3 = 3 * square  # at κ3 = 1; L4 at κ4 = 1 is the same
    if masses.shape[1] == 2:
        return np.stack([np.full_like(s, C2), C1 * l3 / (s - square)], axis=1)
    propagators = np.sum([1 / (_mass_squared(momenta, list(pair)) - square) for pair in PAIRS[3]], axis=0)
    whole = C1 / (s - square)
    return np.stack([np.full_like(s, C3), C2 * l3 * propagators, whole * l3**2 * propagators, whole * l3], axis=1)


def _mass_squared(momenta: Cartesian, which: slice | list[int]) -> FloatArray:
    total = Cartesian(*(component[:, which].sum(axis=1) for component in momenta))
    square: FloatArray = total.energy**2 - total.px**2 - total.py**2 - total.pz**2
    return square
