"""Discovery significance and CLs limits, asymptotic (Cowan, Cranmer, Gross, Vitells: arXiv:1007.1727)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm

from hhh_coffea.inference.likelihood import Likelihood
from hhh_coffea.inference.minimum import minimum
from hhh_coffea.inference.model import ModelError
from hhh_coffea.inference.templates import FloatArray

BANDS = (-2, -1, 0, 1, 2)  # standard deviations of the expected limit
PRECISION = 1e-5  # relative, of the root search
Five = tuple[float, float, float, float, float]
Function = Callable[[float], float]


@dataclass(frozen=True)
class Limits:
    """Upper limits on the signal strength μ at the confidence level ``level``."""

    expected: Five  # −2σ, −1σ, median, +1σ, +2σ without signal
    observed: float | None
    level: float

    @property
    def median(self) -> float:
        """The median expected limit."""
        return self.expected[2]


def expected_significance(likelihood: Likelihood, mu: float = 1.0) -> float:
    """Median discovery significance √q₀ of a signal of strength ``mu`` (arXiv:1007.1727, equations 12, 52 and 97).

    The best fit to Asimov data has −2 ln L = 0, so only the fit at μ = 0 is done.
    """
    return float(np.sqrt(max(0.0, minimum(likelihood, likelihood.asimov(mu), mu=0.0).twice_nll)))


def observed_significance(likelihood: Likelihood, data: FloatArray) -> float:
    """√q₀ of data; 0 where the best fit is below 0."""
    best = minimum(likelihood, data)
    if best.mu <= 0:
        return 0.0
    return float(np.sqrt(max(0.0, minimum(likelihood, data, mu=0.0).twice_nll - best.twice_nll)))


def expected_limits(likelihood: Likelihood, level: float = 0.95) -> Limits:
    """Median CLs limit without signal, and its bands, with nuisance parameters at their nominal values.

    Raises
    ------
    ModelError
        if no signal strength is excluded.
    """
    return Limits(_bands(_root_q_asimov(likelihood, likelihood.asimov(0.0)), likelihood.scale, level), None, level)


def observed_limits(likelihood: Likelihood, data: FloatArray, level: float = 0.95) -> Limits:
    """CLs limit of data, and the expected ones with nuisance parameters fitted to data at μ = 0.

    Test statistic q̃_μ, CLs = CLs+b / CLb (arXiv:1007.1727, equations 16, 62 and 65–67).

    Raises
    ------
    ModelError
        if no signal strength is excluded.
    """
    best, background = minimum(likelihood, data), minimum(likelihood, data, mu=0.0)
    lowest = best.twice_nll if best.mu > 0 else background.twice_nll
    root_q_asimov = _root_q_asimov(likelihood, likelihood.expected(background.parameters))
    expected = _bands(root_q_asimov, likelihood.scale, level)

    @cache
    def excess(mu: float) -> float:
        """Positive where ``mu`` is excluded."""
        q = max(0.0, minimum(likelihood, data, mu).twice_nll - lowest) if mu > best.mu else 0.0
        root_q, root_a = float(np.sqrt(q)), root_q_asimov(mu)
        distance = root_q - root_a if root_q <= root_a else (q - root_a**2) / (2 * root_a)
        cls = norm.sf(distance + root_a) / norm.sf(distance)
        return (1 - level) - float(cls)

    observed = _root(excess, max(expected[2], best.mu))
    return Limits(expected, observed, level)


def _root_q_asimov(likelihood: Likelihood, data: FloatArray) -> Function:
    """√q̃_μ of Asimov data at μ = 0, whose best fit has −2 ln L = 0."""

    @cache
    def root_q(mu: float) -> float:
        return float(np.sqrt(max(0.0, minimum(likelihood, data, mu).twice_nll)))

    return root_q


def _bands(root_q: Function, unit: float, level: float) -> Five:
    """Expected limits: CLs at N standard deviations is (1 − Φ(√q̃_μ − N)) / Φ(N), equal to α at the limit.

    So √q̃_μ = Φ⁻¹(1 − α Φ(N)) + N there (arXiv:1007.1727, section 4.3): one function of μ, five roots.
    """
    alpha = 1 - level
    if not root_q(unit) > 0:
        raise ModelError("the model does not depend on the signal strength: no limit can be set")
    found = []
    for n in BANDS:
        wanted = float(norm.ppf(1 - alpha * norm.cdf(n)) + n)
        guess = unit * wanted / root_q(unit)  # √q̃ is nearly linear in μ
        found.append(_root(_shifted(root_q, wanted), guess))
    return (found[0], found[1], found[2], found[3], found[4])


def _shifted(function: Function, value: float) -> Function:
    return lambda mu: function(mu) - value


def _root(function: Function, guess: float) -> float:
    """Where a rising function is 0, near a positive guess."""
    low, high = 0.8 * guess, 1.2 * guess
    for _ in range(100):
        if function(low) <= 0:
            break
        low /= 1.5
    for _ in range(100):
        if function(high) >= 0:
            return float(brentq(function, low, high, rtol=PRECISION, xtol=1e-12 * high))
        low, high = high, 1.5 * high
    raise ModelError(f"no signal strength up to {high:.3g} is excluded")
