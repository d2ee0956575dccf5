"""Shapes of transfer functions: ln W(x | measured) with first and second derivative by hand (spec §3.1).

x is the fitted energy (pT for muons), in GeV. Five parameters of a double Gaussian are functions of x with two
coefficients each. Every function here takes coefficients as rows, ``(rows, …)``, and x and measured values of shape ``(…)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

LOG_ROOT_2PI = 0.5 * math.log(2 * math.pi)
EXACT = 40.0  # above, softplus(x) is x to the last digit
SMALLEST = 1e-12  # A = 0 switches the second Gaussian off: its logarithm must stay finite


class Jet2(NamedTuple):
    """A function's value, first and second derivative."""

    f: Tensor
    d: Tensor
    dd: Tensor


class Parameter(NamedTuple):
    """As :class:`Jet2`; a second derivative that is 0 everywhere is None."""

    f: Tensor
    d: Tensor
    dd: Tensor | None


class Basis(NamedTuple):
    """x, 1/x and 1/√x with derivatives; outside of the range all are constant."""

    x: Tensor
    inside: Tensor
    inverse: Jet2
    root: Jet2


def basis(x: Tensor, low: Tensor, high: Tensor) -> Basis:
    """Building blocks of the parameter functions, evaluated at the edge of the range outside of it."""
    inside = ((x > low) & (x < high)).to(x.dtype)
    x = torch.clamp(x, low, high)
    u = 1 / x
    v = u.sqrt()
    du, dv = -u * u * inside, -0.5 * u * v * inside
    return Basis(x, inside, Jet2(u, du, -2 * u * du), Jet2(v, dv, -1.5 * u * dv))


Form = Callable[[Tensor, Tensor, Basis], Parameter]


def _linear(a: Tensor, b: Tensor, at: Basis) -> Parameter:
    return Parameter(torch.addcmul(a, b, at.x), b * at.inside, None)


def _plus_inverse(a: Tensor, b: Tensor, at: Basis) -> Parameter:
    return Parameter(torch.addcmul(a, b, at.inverse.f), b * at.inverse.d, b * at.inverse.dd)


def _plus_root(a: Tensor, b: Tensor, at: Basis) -> Parameter:
    return Parameter(torch.addcmul(a, b, at.root.f), b * at.root.d, b * at.root.dd)


def _inverse_plus(a: Tensor, b: Tensor, at: Basis) -> Parameter:
    return _plus_inverse(b, a, at)


def _root_plus(a: Tensor, b: Tensor, at: Basis) -> Parameter:
    return _plus_root(b, a, at)


def _root_and_linear(a: Tensor, b: Tensor, at: Basis) -> Parameter:
    return Parameter(a * at.root.f + b * at.x, a * at.root.d + b * at.inside, a * at.root.dd)


def _quadrature(a: Tensor, b: Tensor, at: Basis) -> Parameter:
    """√(a²/x + b²)."""
    square = a * a
    f = (square * at.inverse.f + b * b).sqrt()
    half = 0.5 / f
    d = square * at.inverse.d * half
    return Parameter(f, d, square * at.inverse.dd * half - d * d / f)


# μ1, σ1, A, μ2, σ2 in order, (p0, p1) of each: the five published sets, and that of muons, where x is pT
SHAPES: dict[str, tuple[Form, Form, Form, Form, Form]] = {
    "E1": (_linear, _root_plus, _linear, _linear, _linear),
    "E2": (_root_and_linear, _root_plus, _root_and_linear, _linear, _linear),
    "E3": (_inverse_plus, _quadrature, _linear, _inverse_plus, _inverse_plus),
    "E4": (_plus_inverse, _plus_root, _plus_inverse, _plus_root, _linear),
    "E5": (_linear, _plus_root, _linear, _plus_root, _linear),
    "pT": (_linear, _linear, _linear, _linear, _linear),
}


def parameters(shape: str, c: Tensor, x: Tensor) -> tuple[Parameter, ...]:
    """μ1, σ1, A, μ2, σ2 at x; ``c`` is ``(12, …)``: ten coefficients, then the lower and upper end of the range."""
    at = basis(x, c[10], c[11])
    return tuple(form(c[2 * k], c[2 * k + 1], at) for k, form in enumerate(SHAPES[shape]))


def double_gaussian(shape: str, c: Tensor, x: Tensor, measured: Tensor, *, jacobian: bool = False) -> Jet2:
    """Logarithm of the double Gaussian in d = (x − measured)/x.

    W = [exp(−(d − μ1)²/2σ1²) + A exp(−(d − μ2)²/2σ2²)] / (√(2π)(σ1 + Aσ2)). ``jacobian`` subtracts ln x: W is then a
    density in the measured energy.
    """
    mu1, s1, a, mu2, s2 = parameters(shape, c, x)
    u = x.reciprocal()
    ratio = measured * u
    first = ratio * u
    second = -2 * first * u  # derivatives of d = 1 − ratio
    d = 1 - ratio
    amplitude = a.f.clamp_min(SMALLEST)
    rate = a.d / amplitude
    g1 = _half_square(d, first, second, mu1, s1)
    g2 = _half_square(d, first, second, mu2, s2)
    # A times the ratio of the exponentials is e^odds
    odds = amplitude.log().add_(g1.f).sub_(g2.f)
    odds_d = (g1.d - g2.d).add_(rate)
    odds_dd = (g1.dd - g2.dd).addcmul_(rate, rate, value=-1)
    if a.dd is not None:
        odds_dd.addcdiv_(a.dd, amplitude)
    w2 = odds.sigmoid()  # share of the second Gaussian
    norm = torch.addcmul(s1.f, amplitude, s2.f)
    inverse = norm.reciprocal()
    norm_d = (s1.d + a.d * s2.f).addcmul_(amplitude, s2.d).mul_(inverse)
    norm_dd = torch.mul(a.d, s2.d).mul_(2)
    for factor, curve in ((None, s1.dd), (s2.f, a.dd), (amplitude, s2.dd)):
        if curve is not None:
            norm_dd = norm_dd + curve if factor is None else norm_dd.addcmul_(factor, curve)
    norm_dd = norm_dd.mul_(inverse).addcmul_(norm_d, norm_d, value=-1)
    density = x * norm if jacobian else norm
    f = softplus(odds, threshold=EXACT).sub_(g1.f).sub_(density.log()).sub_(LOG_ROOT_2PI)
    fd = torch.mul(w2, odds_d).sub_(g1.d).sub_(norm_d)
    fdd = torch.addcmul(odds_dd, (1 - w2).mul_(odds_d), odds_d).mul_(w2).sub_(g1.dd).sub_(norm_dd)
    if jacobian:
        fd, fdd = fd - u, torch.addcmul(fdd, u, u)
    return Jet2(f, fd, fdd)


def _half_square(d: Tensor, d1: Tensor, d2: Tensor, mu: Parameter, sigma: Parameter) -> Jet2:
    """Evaluate (d − μ)²/2σ² where d, μ and σ all depend on x."""
    inverse = sigma.f.reciprocal()
    u = (d - mu.f).mul_(inverse)
    u1 = (d1 - mu.d).addcmul_(u, sigma.d, value=-1).mul_(inverse)
    u2 = torch.addcmul(d2, u1, sigma.d, value=-2)
    if mu.dd is not None:
        u2.sub_(mu.dd)
    if sigma.dd is not None:
        u2.addcmul_(u, sigma.dd, value=-1)
    u2.mul_(inverse)
    return Jet2((u * u).mul_(0.5), u * u1, (u * u2).addcmul_(u1, u1))


def gaussian(c: Tensor, x: Tensor, measured: Tensor) -> Jet2:
    """Logarithm of a Gaussian in measured − x with σ² = a²x² + b²x + c² at the fitted x; ``c`` is ``(3, …)``."""
    a, b = c[0] * c[0], c[1] * c[1]
    variance = a * x * x + b * x + c[2] * c[2]
    v1, v2 = 2 * a * x + b, 2 * a
    inverse = 1 / variance
    delta = x - measured
    pull = delta * delta * inverse  # χ² = δ²/V
    slope = v1 * inverse
    chi2_d = 2 * delta * inverse - pull * slope
    chi2_dd = 2 * inverse - 2 * chi2_d * slope - pull * v2 * inverse
    return Jet2(
        -0.5 * (pull + variance.log()) - LOG_ROOT_2PI,
        -0.5 * (chi2_d + slope),
        -0.5 * (chi2_dd + v2 * inverse - slope * slope),
    )
