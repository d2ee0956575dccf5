"""Histograms at any couplings after one pass: sums of coefficients, and of their products for the errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import hist
import numpy as np
import numpy.typing as npt
from hist import Hist

from hhh_coffea.inference.couplings.polynomial import CouplingError, Polynomial, pair_monomials, pairs
from hhh_coffea.inference.templates import FloatArray, Template

MONOMIAL, PAIR = "monomial", "pair"  # names of the last axes


@dataclass(frozen=True)
class Moments:
    """Of one process in one region: what its template is at any couplings."""

    polynomial: Polynomial
    sums: FloatArray  # (bins, monomials) Σ w c_i
    products: FloatArray  # (bins, pairs) Σ w² c_i c_j

    def at(self, point: npt.ArrayLike) -> Template:
        """The template at ``point`` ``(parameters,)``."""
        monomials = self.polynomial.monomials(point)
        return Template(self.sums @ monomials, self.products @ pair_monomials(monomials))

    def totals(self, points: npt.ArrayLike) -> FloatArray:
        """Expected events in all bins at points ``(points, parameters)``."""
        totals: FloatArray = self.polynomial.monomials(points) @ self.sums.sum(axis=0)
        return totals

    def effective_events(self, points: npt.ArrayLike) -> FloatArray:
        """(Σw)²/Σw² at points: how many unweighted events would be known as well. Small where few events dominate."""
        monomials = self.polynomial.monomials(points)
        squares: FloatArray = pair_monomials(monomials) @ self.products.sum(axis=0)
        return self.totals(points) ** 2 / squares

    def cut(self, low: int, high: int) -> Moments:
        """The bins from ``low`` up to and without ``high``."""
        return Moments(self.polynomial, self.sums[low:high], self.products[low:high])

    def scaled(self, factor: float) -> Moments:
        """``factor`` times the events."""
        return Moments(self.polynomial, self.sums * factor, self.products * factor**2)

    def rebinned(self, boundaries: npt.NDArray[np.int64]) -> Moments:
        """Keep the bin edges at these positions, see :meth:`hhh_coffea.inference.templates.Region.rebinned`."""
        starts = boundaries[:-1]
        sums, products = (np.add.reduceat(values, starts) for values in (self.sums, self.products))
        return Moments(self.polynomial, sums, products)


def book(polynomial: Polynomial, *axes: Any) -> tuple[Hist, Hist]:
    """Empty histograms of sums and of products, with ``axes`` before the last; they add up like any other."""
    n = len(polynomial)
    sizes = ((MONOMIAL, n), (PAIR, n * (n + 1) // 2))
    sums, products = (
        Hist(*axes, hist.axis.Integer(0, size, flow=False, name=name), storage=hist.storage.Double())
        for name, size in sizes
    )
    return sums, products


def fill(
    histograms: tuple[Hist, Hist],
    coefficients: FloatArray,
    weight: FloatArray,
    observable: Mapping[str, FloatArray],
    categories: Mapping[str, str] | None = None,
) -> None:
    """Add events: coefficients ``(N, monomials)``, weights ``(N,)`` and one array ``(N,)`` for each numeric axis.

    Raises
    ------
    CouplingError
        if there are not as many coefficients as monomials.
    """
    sums, products = histograms
    n = sums.axes[MONOMIAL].size
    if coefficients.shape != (len(weight), n):
        raise CouplingError(f"coefficients of shape {coefficients.shape}; {len(weight)} events of {n} are wanted")
    first, second = pairs(n)
    for histogram, name, values in (
        (sums, MONOMIAL, coefficients * weight[:, None]),
        (products, PAIR, coefficients[:, first] * coefficients[:, second] * weight[:, None] ** 2),
    ):
        size = values.shape[1]
        repeated = {key: np.repeat(column, size) for key, column in observable.items()}
        number = np.tile(np.arange(size), len(weight))
        histogram.fill(**(categories or {}), **repeated, **{name: number}, weight=values.ravel())


def moments_of(polynomial: Polynomial, histograms: tuple[Hist, Hist], chosen: Mapping[str, str]) -> Moments:
    """Moments of one process and region: ``chosen`` names a value of each axis of names; flow goes to the outer bins.

    Raises
    ------
    CouplingError
        if an axis is left open, or if the histograms are of another polynomial.
    """
    found = []
    sizes = (len(polynomial), len(polynomial) * (len(polynomial) + 1) // 2)
    for histogram, name, size in zip(histograms, (MONOMIAL, PAIR), sizes, strict=True):
        part = histogram[{axis: hist.loc(value) for axis, value in chosen.items()}]
        names = [axis.name for axis in part.axes]
        if len(names) != 2 or names[1] != name or part.axes[1].size != size:
            raise CouplingError(
                f"histogram with the axes {names}: one observable and {size} values of {name!r} are wanted"
            )
        values, traits = part.values(flow=True), part.axes[0].traits
        low, high = int(traits.underflow), int(traits.overflow)
        inside = np.array(values[low : len(values) - high], dtype=np.float64)
        inside[0] += values[0] if low else 0
        inside[-1] += values[-1] if high else 0
        found.append(inside)
    return Moments(polynomial, found[0], found[1])
