"""Fits of m_t and JSF to the histograms of t_H and W-boson masses: with iminuit, and many at once.

−2 ln L is that of independent Poisson bins of both histograms, whose events are the same: their correlation is ignored,
so errors have to be checked with resampled events (:func:`fit_many`). With the number of events free it is the
multinomial likelihood of both, in which m_t and JSF remain.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from iminuit import Minuit
from scipy.special import xlogy
from scipy.stats import chi2

from hhh_coffea.inference.top_mass.mass_model import OBSERVABLES, MassModel
from hhh_coffea.inference.top_mass.mass_shapes import CENTRAL_JSF, CENTRAL_MASS, FloatArray, ShapeError

JSF_RANGE = (0.96, 1.04)
MASS_RANGE = (150.0, 196.0)  # GeV: wide, so that no fit to few events ends here
STEPS = (0.02, 2e-4)  # of m_t (GeV) and JSF, for derivatives
ITERATIONS = 25
LARGEST = (3.0, 0.02)  # steps of m_t (GeV) and JSF
TOLERANCES = (1e-4, 0.1)  # of MIGRAD; templates with an edge of a range in them may not reach the first
CLOSE = (1e-4, 1e-6)  # a fit ends when its next step is below these
Histograms = dict[str, FloatArray]


class MassFit(NamedTuple):
    """m_t (GeV), JSF and number of events, with the covariance ``(3, 3)``."""

    top_mass: float
    jsf: float
    events: float
    covariance: FloatArray
    minuit: Minuit

    @property
    def error(self) -> float:
        """Standard deviation of m_t (GeV)."""
        return float(np.sqrt(self.covariance[0, 0]))

    @property
    def jsf_error(self) -> float:
        """Standard deviation of the JSF."""
        return float(np.sqrt(self.covariance[1, 1]))


def asimov(model: MassModel, events: float, top_mass: float = CENTRAL_MASS, jsf: float = CENTRAL_JSF) -> Histograms:
    """Expected histograms of so many selected events."""
    return {name: events * p for name, p in model(top_mass, jsf).items()}


def fit(model: MassModel, data: Histograms) -> MassFit:
    """Fit one pair of histograms with MIGRAD and HESSE; JSF within ±4%, no prior.

    Raises
    ------
    ShapeError
        if there are no events, or if no minimum is found.
    """
    total = float(data[OBSERVABLES[0]].sum())
    if total <= 0:
        raise ShapeError("no events to fit")
    saturated = sum(float((xlogy(n, n) - n).sum()) for n in data.values())

    def cost(top_mass: float, jsf: float, events: float) -> float:
        value = saturated
        for name, p in model(top_mass, jsf).items():
            expected = np.maximum(events * p, 1e-300)
            value += float((expected - xlogy(data[name], expected)).sum())
        return 2 * value

    minuit = Minuit(cost, top_mass=CENTRAL_MASS, jsf=CENTRAL_JSF, events=total)
    minuit.errordef = Minuit.LEAST_SQUARES
    minuit.errors = (0.3, 0.003, np.sqrt(total))
    minuit.limits = (MASS_RANGE, JSF_RANGE, (0, None))
    minuit.strategy = 2
    for minuit.tol in TOLERANCES:
        if minuit.migrad().valid:
            break
    minuit.hesse()
    if not minuit.valid or minuit.covariance is None:
        raise ShapeError(f"the fit of m_t and JSF to {total:.0f} events found no minimum")
    top_mass, jsf, events = map(float, minuit.values)
    return MassFit(top_mass, jsf, events, np.array(minuit.covariance), minuit)


def ellipse(covariance: FloatArray, level: float, points: int = 200) -> FloatArray:
    """``(points, 2)``: m_t and JSF less their best values, on the contour Δ(−2 ln L) = ``level`` of a parabola.

    The projections of level 1 are one standard deviation of each parameter, those of level 9 three.
    """
    angle = np.linspace(0, 2 * np.pi, points)
    root = np.linalg.cholesky(covariance[:2, :2])
    found: FloatArray = np.sqrt(level) * (root @ np.stack([np.cos(angle), np.sin(angle)])).T
    return found


def contour(result: MassFit, level: float = 1.0, points: int = 24) -> FloatArray:
    """The same from MINOS, which follows the likelihood itself: ``(points, 2)`` values of m_t and JSF."""
    covered = float(chi2(2).cdf(level))
    found: FloatArray = np.array(result.minuit.mncontour("top_mass", "jsf", cl=covered, size=points))
    return found


def fit_many(model: MassModel, data: Histograms) -> tuple[FloatArray, FloatArray]:
    """Fit T pairs of histograms ``(T, bins)`` at once: ``(T, 2)`` m_t and JSF, ``(T, 2, 2)`` covariances.

    Fisher scoring: Newton's method with the expected curvature N Σ ∂p ∂p / p, whose minimum is that of :func:`fit`.
    """
    n_fits = len(data[OBSERVABLES[0]])
    best = np.tile([CENTRAL_MASS, CENTRAL_JSF], (n_fits, 1))
    low, high = (np.array([m, j]) for m, j in zip(MASS_RANGE, JSF_RANGE, strict=True))
    step, highest = np.zeros((n_fits, 2)), np.full(n_fits, -np.inf)
    covariance = np.full((n_fits, 2, 2), np.nan)
    active = np.arange(n_fits)
    for _ in range(ITERATIONS):
        tried = np.clip(best[active] + step[active], low, high)
        log_likelihood, gradient, curvature = _derivatives(model, tried, {n: d[active] for n, d in data.items()})
        better = log_likelihood >= highest[active]
        up, down = active[better], active[~better]
        moved = np.abs(tried[better] - best[up])
        first = np.isinf(highest[up])
        best[up], highest[up] = tried[better], log_likelihood[better]
        covariance[up] = np.linalg.inv(curvature[better])
        wanted = np.einsum("tij,tj->ti", covariance[up], gradient[better])
        step[up] = np.clip(wanted, [-LARGEST[0], -LARGEST[1]], LARGEST)
        step[down] /= 2  # too far
        ended = np.zeros(len(active), dtype=bool)
        ended[better] = (moved < CLOSE).all(axis=1) & ~first
        ended[~better] = (np.abs(step[down]) < CLOSE).all(axis=1)
        active = active[~ended]
        if not len(active):
            break
    return best, covariance


def _derivatives(model: MassModel, at: FloatArray, data: Histograms) -> tuple[FloatArray, FloatArray, FloatArray]:
    """ln L ``(T,)``, ∂ ln L / ∂(m_t, JSF) ``(T, 2)`` and its expected negative slope ``(T, 2, 2)``."""
    points = [at]
    for i, step in enumerate(STEPS):
        shift = np.zeros(2)
        shift[i] = step
        points += [at + shift, at - shift]
    stacked = np.stack(points)  # (5, T, 2)
    found = model(stacked[..., 0], stacked[..., 1])
    log_likelihood, gradient = np.zeros(len(at)), np.zeros((len(at), 2))
    curvature = np.zeros((len(at), 2, 2))
    for name, p in found.items():
        slopes = np.stack([(p[1] - p[2]) / (2 * STEPS[0]), (p[3] - p[4]) / (2 * STEPS[1])], axis=1)  # (T, 2, bins)
        likely = np.maximum(p[0], 1e-300)
        relative = slopes / likely[:, None]
        log_likelihood += xlogy(data[name], likely).sum(axis=1)
        gradient += np.einsum("tib,tb->ti", relative, data[name])
        curvature += np.einsum("tib,tjb->tij", relative, slopes) * data[name].sum(axis=1)[:, None, None]
    return log_likelihood, gradient, curvature
