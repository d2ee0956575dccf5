"""Event weights that are polynomials in couplings: monomials, coefficients from weights or from several samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.linalg

from hhh_coffea.base.errors import UserError
from hhh_coffea.inference.templates import FloatArray

LARGEST_CONDITION = 1e6  # beyond, coefficients are differences of large numbers


class CouplingError(UserError):
    """Points in the couplings that determine no polynomial, or coefficients of another one."""


@dataclass(frozen=True)
class Polynomial:
    """The monomials of an event weight.

    ``scales`` are typical values of the parameters: condition numbers are those of parameter / scale.
    """

    parameters: tuple[str, ...]
    exponents: tuple[tuple[int, ...], ...]  # (monomials, parameters)
    reference: tuple[float, ...]  # where the events were generated
    scales: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.exponents)

    def monomials(self, points: npt.ArrayLike) -> FloatArray:
        """Values of the monomials: ``(…, parameters)`` → ``(…, monomials)``."""
        points = np.asarray(points, dtype=np.float64)
        if points.shape[-1:] != (len(self.parameters),):
            raise CouplingError(f"a point has {len(self.parameters)} values ({', '.join(self.parameters)})")
        values: FloatArray = np.prod(points[..., None, :] ** np.array(self.exponents), axis=-1)
        return values

    def condition(self, points: npt.ArrayLike) -> float:
        """Condition number of the equations that points ``(points, parameters)`` give for the coefficients."""
        design = self.monomials(np.asarray(points, dtype=np.float64) / np.array(self.scales))
        return float(np.linalg.cond(design))

    def inverse(self, points: npt.ArrayLike) -> FloatArray:
        """``(monomials, points)``: coefficients from the values at points, least squares where there are more.

        Raises
        ------
        CouplingError
            if the points are too few or do not determine every coefficient.
        """
        points = np.asarray(points, dtype=np.float64)
        scales = np.array(self.scales)
        design = self.monomials(points / scales)
        rank = int(np.linalg.matrix_rank(design))
        if rank < len(self):
            raise CouplingError(
                f"{len(points)} points determine {rank} of {len(self)} coefficients of {', '.join(self.parameters)}"
            )
        # solved in scaled parameters, then back
        return np.linalg.pinv(design) / self.monomials(scales)[:, None]

    def best_points(self, candidates: npt.ArrayLike) -> FloatArray:
        """As many of the candidates ``(n, parameters)`` as there are coefficients, chosen for a small condition number.

        QR factorisation with pivoting takes, one after the other, the point that is least determined by the others.
        """
        candidates = np.asarray(candidates, dtype=np.float64)
        design = self.monomials(candidates / np.array(self.scales))
        order = scipy.linalg.qr(design.T, pivoting=True, mode="r")[1]
        chosen: FloatArray = candidates[np.sort(order[: len(self)])]
        self.inverse(chosen)
        return chosen


def coefficients_from_weights(polynomial: Polynomial, points: npt.ArrayLike, weights: npt.ArrayLike) -> FloatArray:
    """Coefficients ``(N, monomials)`` of matrix-element weights ``(N, points)``, computed at ``points``.

    Weights are relative to that of the generated point, or not: the coefficients are of whatever they are of.
    """
    weights = np.asarray(weights, dtype=np.float64)
    if weights.ndim != 2 or weights.shape[1] != len(np.asarray(points)):
        raise CouplingError(f"weights of shape {weights.shape} for {len(np.asarray(points))} points")
    return weights @ polynomial.inverse(points).T


def sample_coefficients(polynomial: Polynomial, points: npt.ArrayLike) -> FloatArray:
    """Coefficients ``(samples, monomials)`` of every event of samples generated at ``points``.

    The sum of all samples, each normalised to its own cross section, is then the prediction at any point: an event of
    sample i weighs ℓ_i(κ), for three samples of HH Lagrange's Π_{j≠i} (κ − κ_j) / (κ_i − κ_j). Weights may be negative.
    """
    points = np.asarray(points, dtype=np.float64)
    if len(points) != len(polynomial):
        raise CouplingError(f"{len(points)} samples for {len(polynomial)} coefficients: give exactly as many")
    return polynomial.inverse(points).T


def condition_warning(polynomial: Polynomial, points: npt.ArrayLike) -> str | None:
    """What to say of points that determine the coefficients badly; None where they do it well."""
    condition = polynomial.condition(points)
    if condition <= LARGEST_CONDITION:
        return None
    names = ", ".join(polynomial.parameters)
    return (
        f"the points in {names} give equations with the condition number {condition:.1g}: choose others, farther apart"
    )


def pairs(n: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Positions i ≤ j of the n(n+1)/2 products of two coefficients."""
    return np.triu_indices(n)


def pair_monomials(monomials: FloatArray) -> FloatArray:
    """Products of monomials ``(…, n)`` → ``(…, n(n+1)/2)``, those of different ones twice.

    Their sum with the products c_i c_j of coefficients is the square of the weight.
    """
    first, second = pairs(monomials.shape[-1])
    return monomials[..., first] * monomials[..., second] * np.where(first == second, 1.0, 2.0)


def grid(*axes: Sequence[float] | FloatArray) -> FloatArray:
    """All combinations of the values of each parameter ``(points, parameters)``, the last parameter fastest."""
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))
