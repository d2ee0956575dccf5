"""Discovery significance and CLs limits, asymptotic (Cowan, Cranmer, Gross, Vitells: arXiv:1007.1727)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from pyhf.infer.intervals.upper_limits import upper_limit
from scipy.optimize import brentq
from scipy.stats import norm

from hhh_coffea.inference.likelihood import Fit, Likelihood
from hhh_coffea.inference.model import ModelError
from hhh_coffea.inference.templates import FloatArray

BANDS = (-2, -1, 0, 1, 2)  # standard deviations of the expected limit
PRECISION = 1e-4  # relative, of the root search


@dataclass(frozen=True)
class Limits:
    """Upper limits on the signal strength μ at ``level``."""

    expected: tuple[float, float, float, float, float]  # −2σ, −1σ, median, +1σ, +2σ without signal
    observed: float | None
    level: float

    @property
    def median(self) -> float:
        """The median expected limit."""
        return self.expected[2]


def expected_significance(likelihood: Likelihood, mu: float = 1.0) -> float:
    """Median discovery significance √q₀ of a signal of strength ``mu`` (arXiv:1007.1727, equations 12, 52 and 97).

    The best fit to Asimov data is known, so only the fit at μ = 0 is done.
    """
    data = likelihood.asimov(mu)
    best = likelihood.twice_nll(likelihood.nominal(mu), data)
    return float(np.sqrt(max(0.0, likelihood.fit_at(0.0, data).twice_nll - best)))


def observed_significance(likelihood: Likelihood, data: FloatArray) -> float:
    """√q₀ of data; 0 where the best fit is below 0."""
    best = likelihood.best_fit(data)
    if best.mu <= 0:
        return 0.0
    return float(np.sqrt(max(0.0, likelihood.fit_at(0.0, data).twice_nll - best.twice_nll)))


def expected_limits(likelihood: Likelihood, level: float = 0.95) -> Limits:
    """Median CLs limit without signal, and its bands.

    With Asimov data of μ = 0 the expected CLs at N standard deviations is (1 − Φ(√q̃_μ − N)) / Φ(N), so the limit is
    where √q̃_μ = Φ⁻¹(1 − α Φ(N)) + N (arXiv:1007.1727, section 4.3). One function of μ is searched for five roots; its
    best fit, μ = 0, is known.

    Raises
    ------
    ModelError
        if the limit is beyond any reach of the model.
    """
    data = likelihood.asimov(0.0)
    best = likelihood.twice_nll(likelihood.nominal(0.0), data)
    fits: dict[float, Fit] = {}

    def root_q(mu: float) -> float:
        if mu not in fits:
            near = min(fits, key=lambda other: abs(other - mu), default=None)
            start = None if near is None else fits[near].parameters
            fits[mu] = likelihood.fit_at(mu, data, start)
        return float(np.sqrt(max(0.0, fits[mu].twice_nll - best)))

    alpha = 1 - level
    wanted = [float(norm.ppf(1 - alpha * norm.cdf(n)) + n) for n in BANDS]
    # √q̃ is nearly linear: one step gives a first bracket that the root search then narrows
    unit = likelihood.scale
    slope = root_q(unit) / unit
    if not slope > 0:
        raise ModelError("the model does not depend on the signal strength: no limit can be set")
    found = [_root(root_q, value, value / slope) for value in wanted]
    return Limits((found[0], found[1], found[2], found[3], found[4]), None, level)


def observed_limits(likelihood: Likelihood, data: FloatArray, level: float = 0.95) -> Limits:
    """CLs limit of data, and the expected ones with nuisance parameters fitted to data at μ = 0, by pyhf."""
    observed, expected = upper_limit(data, likelihood.model, scan=None, level=1 - level, rtol=PRECISION)
    scaled = [float(limit) * likelihood.scale for limit in expected]
    bands = (scaled[0], scaled[1], scaled[2], scaled[3], scaled[4])
    return Limits(bands, float(observed) * likelihood.scale, level)


def _root(function: Callable[[float], float], wanted: float, guess: float) -> float:
    low, high = 0.8 * guess, 1.2 * guess
    for _ in range(60):
        if function(low) <= wanted:
            break
        low /= 1.5
    for _ in range(60):
        if function(high) >= wanted:
            break
        high *= 1.5
    else:
        raise ModelError(f"no signal strength up to {high:.3g} is excluded")
    return float(brentq(lambda mu: function(mu) - wanted, low, high, rtol=PRECISION))
