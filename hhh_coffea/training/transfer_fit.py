"""Transfer functions from pairs of generated and reconstructed energies (spec §3.6).

The fit is unbinned and global in E. W is a density in d = (E − E_measured)/E; with the Jacobian 1/E it is one in the
measured energy, and it is normalised over the energies that the jet selection lets through, up to twice the generated one:
above, a jet is no longer that quark's (another parton is in it), and no Gaussian describes the tail.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from hhh_coffea.base.errors import UserError
from hhh_coffea.base.kinematics import FloatArray
from hhh_coffea.methods.likelihood.formulas import Triple
from hhh_coffea.methods.likelihood.shapes import SMALLEST, parameters
from hhh_coffea.methods.likelihood.transfer_file import DoubleGaussian, LinearMet, TaggingRates

JET_SHAPES = ("E4", "E1", "E5")
RANGE = (20.0, 1000.0)  # GeV
MAX_AMPLITUDE = 10.0
FEWEST = 500  # pairs for ten parameters
LEAST_D = -1.0  # the measured energy is at most twice the generated one
ROUGH_PAIRS = 4000  # on which starts are tried
RESTARTS = 6  # of the minimiser, which loses its way at the walls
ENOUGH = 0.01  # gain in ln L for which it is started again
FLATTEST = 1e-9  # least curvature that is believed, of the greatest
SCALE = 100.0  # GeV: parameters are fitted in units in which this energy is 1
PULL_BINS = 20


class TransferFitError(UserError):
    """Too few pairs, or no fit."""


@dataclass(frozen=True)
class Pairs:
    """Generated and measured energy (pT for muons) of matched objects, and the least energy that is selected, ``(N,)``."""

    generated: FloatArray
    measured: FloatArray
    threshold: FloatArray

    def within(self, low: float, high: float) -> Pairs:
        """Those with a generated energy in the range, and at most twice as much measured."""
        keep = (self.generated >= low) & (self.generated <= high)
        keep &= self.measured <= (1 - LEAST_D) * self.generated
        keep &= self.threshold < (1 - LEAST_D) * self.generated
        return Pairs(self.generated[keep], self.measured[keep], self.threshold[keep])

    def thinned(self, n: int) -> Pairs:
        """About n of them, evenly spaced; all if there are fewer."""
        step = max(1, len(self.generated) // n)
        return Pairs(self.generated[::step], self.measured[::step], self.threshold[::step])


def fit_double_gaussians(
    bins: Mapping[tuple[float, float], Pairs], shapes: Sequence[str] = JET_SHAPES, narrowest: float = 0.005
) -> list[DoubleGaussian]:
    """Double Gaussians of one particle in its |η| bins, all of the shape with the greatest likelihood.

    σ1, σ2 ≥ ``narrowest`` and 0 ≤ A ≤ 10 in the range of each bin: the central 99.8% of its generated energies, at most
    20 to 1000 GeV.

    Raises
    ------
    TransferFitError
        if a bin has fewer than 500 pairs in its range, or no shape can be fitted.
    """
    chosen = {}
    for eta, pairs in bins.items():
        if len(pairs.generated):
            low, high = np.quantile(pairs.generated, [0.001, 0.999])
            chosen[eta] = (max(float(low), RANGE[0]), min(float(high), RANGE[1]))
        if eta not in chosen or (n := len(pairs.within(*chosen[eta]).generated)) < FEWEST:
            n = n if eta in chosen else 0
            raise TransferFitError(f"|η| {eta[0]} to {eta[1]}: {n} pairs, {FEWEST} are needed")
    fits = {s: [_fit_shape(bins[eta].within(*r), s, *r, narrowest) for eta, r in chosen.items()] for s in shapes}
    shape = min(fits, key=lambda s: sum(loss for loss, _ in fits[s]))
    if not all(math.isfinite(loss) for loss, _ in fits[shape]):
        raise TransferFitError(f"no shape of {', '.join(shapes)} can be fitted")
    functions = []
    for (eta, ends), (_, coefficients) in zip(chosen.items(), fits[shape], strict=True):
        pairs = bins[eta].within(*ends)
        function = DoubleGaussian.model_validate(
            {"kind": "double_gaussian", "eta": eta, "shape": shape, "parameters": coefficients, "range": ends}
        )
        found = {"n": len(pairs.generated), "chi2_ndf": chi2_of_pulls(pulls(function, pairs))}
        functions.append(function.model_copy(update=found))
    return functions


class _Loss:
    """−ln L of pairs, less what does not depend on the ten coefficients, and steep walls around what is not allowed.

    The coefficients are those for energies in units of :data:`SCALE`.
    """

    def __init__(self, pairs: Pairs, shape: str, ends: tuple[float, float], narrowest: float) -> None:
        self.shape, self.narrowest = shape, narrowest
        self.x, measured, threshold = (
            torch.tensor(a / SCALE) for a in (pairs.generated, pairs.measured, pairs.threshold)
        )
        self.d, self.top = 1 - measured / self.x, 1 - threshold / self.x
        self.ends = torch.tensor([e / SCALE for e in ends], dtype=torch.float64)
        self.grid = torch.linspace(ends[0] / SCALE, ends[1] / SCALE, 64, dtype=torch.float64)

    def at(self, p: Tensor, x: Tensor) -> tuple[Triple, ...]:
        """μ1, σ1, A, μ2, σ2 at x."""
        return parameters(self.shape, torch.cat([p, self.ends]).unsqueeze(1).expand(-1, len(x)), x)

    def value(self, p: Tensor) -> Tensor:
        """The loss, differentiable in p."""
        at = self.at(p, self.x)
        mu1, s1, a, mu2, s2 = (v[0] for v in at)
        one = -0.5 * ((self.d - mu1) / s1).square()
        two = a.clamp_min(SMALLEST).log() - 0.5 * ((self.d - mu2) / s2).square()
        density = torch.logaddexp(one, two) - (s1 + a * s2).log()
        _, s1, a, _, s2 = (v[0] for v in self.at(p, self.grid))
        wall = sum(((self.narrowest - s) / self.narrowest).clamp_min(0).square().sum() for s in (s1, s2))
        wall = wall + (-a).clamp_min(0).square().sum() * 1e2 + (a - MAX_AMPLITUDE).clamp_min(0).square().sum()
        total: Tensor = -(density - _log_accepted(at, self.top)).sum() + 100 * len(self.x) ** 0.5 * wall
        return total

    def __call__(self, p: FloatArray) -> tuple[float, FloatArray]:
        """Value and gradient; a huge value where they are not finite."""
        tensor = torch.tensor(p, requires_grad=True)
        value = self.value(tensor)
        value.backward()  # type: ignore[no-untyped-call]
        gradient = tensor.grad
        if gradient is None or not torch.isfinite(value) or not torch.isfinite(gradient).all():
            return 1e12, np.zeros_like(p)
        return float(value.detach()), gradient.numpy()

    def frame(self, p: FloatArray) -> FloatArray:
        """Directions ``(10, 10)`` as columns, along each of which the loss rises by about 1/2 from its least value."""
        second = torch.autograd.functional.hessian(self.value, torch.tensor(p))  # type: ignore[no-untyped-call]
        if not torch.isfinite(second).all():
            return np.eye(len(p))
        values, vectors = torch.linalg.eigh(second)
        size = values.abs()
        found: FloatArray = (vectors / size.clamp_min(FLATTEST * float(size.max())).sqrt()).numpy()
        return found

    def minimise(self, start: FloatArray, frame: FloatArray | None = None) -> tuple[float, FloatArray]:
        """Least value found from a start, and where; a ``frame`` that is known is kept."""
        last, value = math.inf, 1e12
        for _ in range(RESTARTS):
            axes, origin = self.frame(start) if frame is None else frame, start

            def moved(z: FloatArray, axes: FloatArray = axes, origin: FloatArray = origin) -> tuple[float, FloatArray]:
                value, gradient = self(origin + axes @ z)
                return value, axes.T @ gradient

            found = minimize(moved, np.zeros(len(start)), jac=True, method="L-BFGS-B", options={"maxfun": 150})
            start, value = origin + axes @ found.x, float(found.fun)
            if last - value < ENOUGH:
                break
            last = value
        return value, start


def _fit_shape(pairs: Pairs, shape: str, low: float, high: float, narrowest: float) -> tuple[float, tuple[float, ...]]:
    """(−ln L, coefficients) of the best of a few starts, which are tried on some of the pairs first."""
    core = float(np.subtract(*np.quantile((pairs.generated - pairs.measured) / pairs.generated, [0.84, 0.16]))) / 2
    few = _Loss(pairs.thinned(ROUGH_PAIRS), shape, (low, high), narrowest)
    every = _Loss(pairs, shape, (low, high), narrowest)
    with torch.enable_grad():
        starts = [_start(shape, 0.8 * core, a, wide * core) for a, wide in ((0.2, 2.5), (0.5, 1.8))]
        tried = sorted((few.minimise(start) for start in starts), key=lambda found: found[0])
        for _, start in tried:
            value, found = every.minimise(start, few.frame(start))
            coefficients = _in_gev(shape, found)
            if _valid(shape, coefficients, low, high):
                return value, coefficients
    return math.inf, (0.0,) * 10


# power of x that the second coefficient of each parameter goes with; the first one is then the constant, or the reverse
POWERS: dict[str, tuple[tuple[float, float], ...]] = {
    "E1": ((0, 1), (-0.5, 0), (0, 1), (0, 1), (0, 1)),
    "E2": ((-0.5, 1), (-0.5, 0), (-0.5, 1), (0, 1), (0, 1)),
    "E3": ((-1, 0), (-0.5, 0), (0, 1), (-1, 0), (-1, 0)),
    "E4": ((0, -1), (0, -0.5), (0, -1), (0, -0.5), (0, 1)),
    "E5": ((0, 1), (0, -0.5), (0, 1), (0, -0.5), (0, 1)),
    "pT": ((0, 1),) * 5,
}


def _start(shape: str, sigma: float, amplitude: float, wide: float) -> FloatArray:
    """All five parameters flat in x (nearly: a parameter without a constant follows its first power)."""
    values = (0.0, sigma, amplitude, 0.05, wide)
    start = [
        (v, 0.01 * v) if powers[0] == 0 else (0.01 * v, v) for v, powers in zip(values, POWERS[shape], strict=True)
    ]
    return np.array(start).reshape(-1)


def _in_gev(shape: str, scaled: FloatArray) -> tuple[float, ...]:
    """Coefficients for x in GeV instead of units of 100 GeV."""
    powers = np.array(POWERS[shape]).reshape(-1)
    return tuple(float(v) for v in scaled * SCALE**-powers)


def _valid(shape: str, coefficients: tuple[float, ...], low: float, high: float) -> bool:
    c = torch.tensor([*coefficients, low, high], dtype=torch.float64).unsqueeze(1)
    _, s1, a, _, s2 = (v[0] for v in parameters(shape, c, torch.linspace(low, high, 500, dtype=torch.float64)))
    return bool((s1 > 0).all() and (a >= 0).all() and (s2 > 0).all())


def _shares(at: tuple[Triple, ...], d: Tensor) -> Tensor:
    """Share of the double Gaussian below d."""
    (mu1, s1, a, mu2, s2) = (p[0] for p in at)
    first = s1 * torch.special.ndtr((d - mu1) / s1)
    second = a * s2 * torch.special.ndtr((d - mu2) / s2)
    found: Tensor = (first + second) / (s1 + a * s2)
    return found


def _log_accepted(at: tuple[Triple, ...], top: Tensor) -> Tensor:
    """ln of the probability that d is between its least value and ``top``, where the selection's threshold is."""
    return (_shares(at, top) - _shares(at, torch.full_like(top, LEAST_D))).clamp_min(1e-12).log()


def pulls(function: DoubleGaussian, pairs: Pairs) -> FloatArray:
    """Φ⁻¹ of the probability to measure less energy, among what is selected: standard normal if the function is right."""
    x, measured, threshold = (torch.tensor(a) for a in (pairs.generated, pairs.measured, pairs.threshold))
    c = torch.tensor([*function.parameters, *function.range], dtype=torch.float64).unsqueeze(1)
    at = parameters(function.shape, c, x)
    rest, below, top = (_shares(at, d) for d in (torch.full_like(x, LEAST_D), 1 - measured / x, 1 - threshold / x))
    found: FloatArray = torch.special.ndtri(((top - below) / (top - rest)).clamp(1e-9, 1 - 1e-9)).numpy()
    return found


def chi2_of_pulls(values: FloatArray) -> float:
    """χ² per degree of freedom of pulls in 20 bins that a normal distribution fills equally."""
    probability = torch.special.ndtr(torch.tensor(values)).numpy()
    counts, _ = np.histogram(probability, bins=PULL_BINS, range=(0, 1))
    expected = len(values) / PULL_BINS
    return float(((counts - expected) ** 2 / expected).sum() / (PULL_BINS - 1))


def fit_met(difference: FloatArray, sum_et: FloatArray) -> LinearMet:
    """σ = p0 + p1·ΣE_T of the components of the missing momentum less those of the neutrino, ``(2, N)``, by likelihood."""
    if difference.shape[1] < FEWEST:
        raise TransferFitError(f"missing momentum: {difference.shape[1]} events, {FEWEST} are needed")
    square = (difference**2).sum(0)

    def loss(p: FloatArray) -> float:
        sigma = p[0] + p[1] * sum_et
        return float((square / (2 * sigma**2) + 2 * np.log(sigma)).sum())

    start = math.sqrt(float(square.mean()) / 2)
    found = minimize(loss, [0.7 * start, 0.3 * start / float(sum_et.mean())], bounds=[(0.1, None), (0, None)])
    return LinearMet(kind="linear", p0=float(found.x[0]), p1=float(found.x[1]))


def tagging_rates(pt: FloatArray, tagged: FloatArray, bottom: FloatArray, *, edges: Sequence[float]) -> TaggingRates:
    """Shares of tagged jets among b jets and among all others, in bins of pT that start at ``edges`` (GeV).

    Half a jet is added to tagged and to untagged ones: no rate is 0 or 1.

    Raises
    ------
    TransferFitError
        if a bin has no b jet or no other jet.
    """
    at = np.clip(np.digitize(pt, edges) - 1, 0, None)
    rates: list[tuple[float, ...]] = []
    for flavor, name in ((1, "b jets"), (0, "other jets")):
        found = []
        for k, low in enumerate(edges):
            tags = tagged[(at == k) & (bottom == flavor)]
            if not len(tags):
                raise TransferFitError(f"b tagging: no {name} in the bin that starts at pT = {low:g} GeV")
            found.append(float((tags.sum() + 0.5) / (len(tags) + 1)))
        rates.append(tuple(found))
    return TaggingRates(pt=tuple(edges), efficiency=rates[0], mistag=rates[1])
