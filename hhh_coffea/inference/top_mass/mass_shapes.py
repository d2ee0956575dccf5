"""Shapes of a reconstructed mass: Gaussian plus Landau, whose parameters are linear in the top-quark mass and in the JSF.

    p(m) = f·Gauss(m; μ_G, σ_G) + (1 − f)·Landau(m; μ_L, σ_L), each truncated to a window and normalised there

Every parameter is θ = θ₀ + θ₁·(m_t − 173 GeV) + θ₂·(JSF − 1). The Landau distribution is that of scipy.stats: μ_L and σ_L are
its ``loc`` and ``scale``, and its maximum is not where ROOT's is. Bins hold differences of the cumulative distributions.
M. Fenton et al., Commun. Phys. 7, 139 (2024), arXiv:2309.01886.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from iminuit import Minuit
from scipy.special import ndtr, xlogy
from scipy.stats import landau

from hhh_coffea.base.errors import UserError

FloatArray = npt.NDArray[np.float64]
CENTRAL_MASS, CENTRAL_JSF = 173.0, 1.0  # where the linear functions are expanded: m_t in GeV
NAMES = ("fraction", "gauss_mean", "gauss_sigma", "landau_location", "landau_scale")
TINY = 1e-300
CALLS = 6000  # of the likelihood, at most: MIGRAD needs some 1,000
# narrowest σ_G and σ_L (GeV), by their place: jets are not measured well enough for less, and few events make false peaks
NARROWEST = {2: 3.0, 4: 1.5}
EMPTY = 1e-12  # probability in the window below which a shape is taken as flat


class ShapeError(UserError):
    """A shape cannot be fitted; the message says why."""


def probabilities(parameters: npt.ArrayLike, edges: FloatArray, mirrored: bool = False) -> FloatArray:
    """Probability of each bin: parameters ``(…, 5)`` in the order of :data:`NAMES` → ``(…, bins)``, which sum to 1.

    ``mirrored``: the Landau's tail points to low masses, −m in place of m.
    """
    fraction, gauss, tail, *_ = _parts(parameters, edges, mirrored)
    found: FloatArray = fraction * _within(gauss) + (1 - fraction) * _within(tail)
    return found


def _parts(parameters: npt.ArrayLike, edges: FloatArray, mirrored: bool) -> tuple[FloatArray, ...]:
    """Fraction ``(…, 1)``, both cumulative distributions at the edges ``(…, edges)``, their arguments, and widths ``(…, 1)``."""
    theta = np.asarray(parameters, dtype=np.float64)
    fraction = np.clip(theta[..., 0, None], 0.0, 1.0)
    mean, location = theta[..., 1, None], theta[..., 3, None]
    sigma, scale = (np.maximum(theta[..., i, None], NARROWEST[i]) for i in (2, 4))
    z = (edges - mean) / sigma
    # a Landau distribution of −m around −location: its survival function is the cumulative distribution of m
    x = (location - edges if mirrored else edges - location) / scale
    return fraction, ndtr(z), landau.sf(x) if mirrored else landau.cdf(x), z, x, sigma, scale


def probabilities_and_slopes(theta: FloatArray, edges: FloatArray, mirrored: bool) -> tuple[FloatArray, FloatArray]:
    """:func:`probabilities` ``(S, bins)`` of parameters ``(S, 5)``, and their derivatives ``(5, S, bins)``."""
    fraction, gauss, tail, z, x, sigma, scale = _parts(theta, edges, mirrored)
    p_gauss, p_tail = _within(gauss), _within(tail)
    pdf_gauss, pdf_tail = np.exp(-z * z / 2) / np.sqrt(2 * np.pi) / sigma, landau.pdf(x) / scale
    slopes = np.stack(
        [
            p_gauss - p_tail,
            fraction * _slope_within(gauss, p_gauss, -pdf_gauss),
            fraction * _slope_within(gauss, p_gauss, -z * pdf_gauss),
            (1 - fraction) * _slope_within(tail, p_tail, -pdf_tail),
            (1 - fraction) * _slope_within(tail, p_tail, x * pdf_tail if mirrored else -x * pdf_tail),
        ]
    )
    for i, lowest in NARROWEST.items():
        slopes[i, theta[:, i] < lowest] = 0.0
    slopes[0, (theta[:, 0] < 0) | (theta[:, 0] > 1)] = 0.0
    return fraction * p_gauss + (1 - fraction) * p_tail, slopes


def _within(cumulative: FloatArray) -> FloatArray:
    """Differences of a cumulative distribution at the edges, normalised to the window; flat where nothing is in it."""
    total = cumulative[..., -1:] - cumulative[..., :1]
    part = np.diff(cumulative, axis=-1)
    return np.divide(part, total, out=np.full_like(part, 1 / part.shape[-1]), where=total > EMPTY)


def _slope_within(cumulative: FloatArray, p: FloatArray, slope: FloatArray) -> FloatArray:
    """Derivative of :func:`_within`, whose result is ``p``, from that of the cumulative distribution."""
    total = cumulative[..., -1:] - cumulative[..., :1]
    part = np.diff(slope, axis=-1) - p * (slope[..., -1:] - slope[..., :1])
    return np.divide(part, total, out=np.zeros_like(part), where=total > EMPTY)


def basis(top_mass: npt.ArrayLike, jsf: npt.ArrayLike) -> FloatArray:
    """``(…, 3)``: 1, m_t − 173 and JSF − 1."""
    mass, scale = np.broadcast_arrays(np.asarray(top_mass, float) - CENTRAL_MASS, np.asarray(jsf, float) - CENTRAL_JSF)
    return np.stack([np.ones_like(mass), mass, scale], axis=-1)


@dataclass(frozen=True)
class Shape:
    """A fitted shape of one category. ``coefficients (5, 3)``: rows are parameters, columns the :func:`basis`."""

    edges: FloatArray
    coefficients: FloatArray
    mirrored: bool = False
    chi2: float = np.nan  # Pearson's, at the best fit
    ndf: int = 0

    def parameters(self, top_mass: npt.ArrayLike, jsf: npt.ArrayLike) -> FloatArray:
        """``(…, 5)`` parameters."""
        found: FloatArray = basis(top_mass, jsf) @ self.coefficients.T
        return found

    def __call__(self, top_mass: npt.ArrayLike, jsf: npt.ArrayLike) -> FloatArray:
        """``(…, bins)`` probabilities."""
        return probabilities(self.parameters(top_mass, jsf), self.edges, self.mirrored)


@dataclass(frozen=True)
class Prior:
    """Gaussian prior of the slopes with m_t (per GeV) and JSF: ``center`` and ``width (5, 2)``.

    Where events are many it has no weight. Where they are few, the fluctuations of slopes would look like sensitivity.
    """

    center: FloatArray
    width: FloatArray

    def distance(self, coefficients: FloatArray) -> FloatArray:
        """``(5, 2)``, in standard deviations."""
        found: FloatArray = (coefficients[:, 1:] - self.center) / self.width
        return found


def fit_shape(
    counts: FloatArray,
    edges: FloatArray,
    top_mass: FloatArray,
    jsf: FloatArray,
    mirrored: bool = False,
    start: FloatArray | None = None,
    prior: Prior | None = None,
) -> Shape:
    """Fit all samples of a category at once: 15 coefficients, binned Poisson likelihood.

    Parameters
    ----------
    counts
        ``(samples, bins)`` events
    edges
        ``(bins + 1,)`` of the mass (GeV)
    top_mass, jsf
        ``(samples,)`` at which each sample was generated and scaled
    start
        coefficients to start from; from moments of the counts when None
    prior
        of the slopes; none when None

    Raises
    ------
    ShapeError
        if there are fewer events than coefficients, or if the fit does not find a minimum.
    """
    total = counts.sum(axis=1, keepdims=True)
    if total.sum() < counts.shape[0] + 15:
        raise ShapeError(
            f"{total.sum():.0f} events in {len(counts)} samples are too few for a shape of 15 coefficients"
        )
    features = basis(top_mass, jsf)
    saturated = 2 * (xlogy(counts, counts) - counts).sum()

    def cost(flat: FloatArray) -> float:
        expected = np.maximum(total * probabilities(features @ flat.reshape(5, 3).T, edges, mirrored), TINY)
        value = float(2 * (expected - xlogy(counts, expected)).sum() + saturated)
        return value if prior is None else value + float((prior.distance(flat.reshape(5, 3)) ** 2).sum())

    def gradient(flat: FloatArray) -> FloatArray:
        p, slopes = probabilities_and_slopes(features @ flat.reshape(5, 3).T, edges, mirrored)
        of_p = 2 * (total - counts / np.maximum(p, TINY))
        of_parameters = np.einsum("sb,ksb->ks", of_p, slopes)
        found: FloatArray = of_parameters @ features
        if prior is not None:
            found[:, 1:] += 2 * prior.distance(flat.reshape(5, 3)) / prior.width
        return found.ravel()

    if start is not None:
        best = _minuit(cost, gradient, np.asarray(start))
    else:
        tried = [_minuit(cost, gradient, first) for first in _starts(counts.sum(axis=0), edges, mirrored)]
        for minuit in tried:
            minuit.fixed = np.tile([False, True, True], 5)  # offsets first, then slopes
            minuit.migrad(ncall=CALLS)
        best = min(tried, key=lambda minuit: float(minuit.fval or np.inf))
        best.fixed = np.zeros(15, dtype=bool)
    best.migrad(ncall=CALLS)
    if not np.isfinite(best.fval or np.nan):
        raise ShapeError("the fit of a shape found no minimum")
    coefficients = np.array(best.values).reshape(5, 3)
    shape = Shape(edges, coefficients, mirrored)
    chi2, ndf = pearson(counts, total * shape(top_mass, jsf), coefficients.size)
    return Shape(edges, coefficients, mirrored, chi2, ndf)


def _minuit(
    cost: Callable[[FloatArray], float], gradient: Callable[[FloatArray], FloatArray], first: FloatArray
) -> Minuit:
    """A fit of all coefficients that has not begun."""
    names = [f"{name}_{power}" for name in NAMES for power in range(3)]
    minuit = Minuit(cost, first.ravel(), grad=gradient, name=names)
    minuit.errordef = Minuit.LEAST_SQUARES
    minuit.strategy = 0
    minuit.limits["fraction_0"] = (0.0, 1.0)
    # typical sizes of offsets, of slopes with m_t (per GeV), and with JSF
    steps = np.array([[0.02, 0.005, 0.2], [0.3, 0.05, 10], [0.3, 0.02, 5], [0.3, 0.05, 10], [0.3, 0.02, 5]])
    minuit.errors = steps.ravel()
    return minuit


def _starts(counts: FloatArray, edges: FloatArray, mirrored: bool) -> list[FloatArray]:
    """A narrow Gaussian on a broad tail, and a broad one on a narrow: coefficients ``(5, 3)`` without slopes but of the means."""
    middle = (edges[:-1] + edges[1:]) / 2
    cumulative = np.cumsum(counts) / counts.sum()
    low, median, high = np.interp([0.16, 0.5, 0.84], cumulative, middle)
    mode = float(middle[np.argmax(np.convolve(counts, np.ones(5), "same"))])
    width = max((high - low) / 2, 1.0)
    found = []
    for fraction, gauss_width, landau_width in ((0.7, 0.6 * width, 0.5 * width), (0.3, 1.2 * width, 0.3 * width)):
        offset = np.array([fraction, mode, gauss_width, median if not mirrored else mode, landau_width])
        slopes = np.zeros((5, 2))
        slopes[[1, 3], 1] = mode  # masses scale with the jets
        found.append(np.column_stack([offset, slopes]))
    return found


def pearson(counts: FloatArray, expected: FloatArray, n_parameters: int) -> tuple[float, int]:
    """Pearson's χ² and its degrees of freedom; its mean is right for few events in a bin too.

    Each sample's total is taken from the counts, which costs one degree of freedom per sample. Bins in which less than
    0.2 events are expected are left out: one event there would count tens.
    """
    use = expected > 0.2
    chi2 = float(((counts - expected)[use] ** 2 / expected[use]).sum())
    return chi2, int(use.sum()) - len(counts) - n_parameters
