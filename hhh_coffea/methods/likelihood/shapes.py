"""Shapes of transfer functions: ln W(x | measured) with first and second derivative (spec §3.1).

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

from hhh_coffea.methods.likelihood import formulas
from hhh_coffea.methods.likelihood.formulas import Triple

LOG_ROOT_2PI = 0.5 * math.log(2 * math.pi)
EXACT = 40.0  # above, softplus(x) is x to the last digit
SMALLEST = 1e-12  # A = 0 switches the second Gaussian off: its logarithm must stay finite
Form = Callable[..., Triple]


class Jet2(NamedTuple):
    """A function's value, first and second derivative."""

    f: Tensor
    d: Tensor
    dd: Tensor


class Parametrisation(NamedTuple):
    """Function of x of one parameter; ``swapped``: the published order of its two coefficients is the other one."""

    form: Form
    swapped: bool = False


_LINEAR = Parametrisation(formulas.linear)
_INVERSE, _INVERSE_FIRST = Parametrisation(formulas.plus_inverse), Parametrisation(formulas.plus_inverse, True)
_ROOT, _ROOT_FIRST = Parametrisation(formulas.plus_root), Parametrisation(formulas.plus_root, True)
_ROOT_LINEAR, _QUADRATURE = Parametrisation(formulas.root_and_linear), Parametrisation(formulas.quadrature)

# μ1, σ1, A, μ2, σ2 in order, (p0, p1) of each: the five published sets, and that of muons, where x is pT
SHAPES: dict[str, tuple[Parametrisation, ...]] = {
    "E1": (_LINEAR, _ROOT_FIRST, _LINEAR, _LINEAR, _LINEAR),
    "E2": (_ROOT_LINEAR, _ROOT_FIRST, _ROOT_LINEAR, _LINEAR, _LINEAR),
    "E3": (_INVERSE_FIRST, _QUADRATURE, _LINEAR, _INVERSE_FIRST, _INVERSE_FIRST),
    "E4": (_INVERSE, _ROOT, _INVERSE, _ROOT, _LINEAR),
    "E5": (_LINEAR, _ROOT, _LINEAR, _ROOT, _LINEAR),
    "pT": (_LINEAR,) * 5,
}


def parameters(shape: str, c: Tensor, x: Tensor) -> tuple[Triple, ...]:
    """μ1, σ1, A, μ2, σ2 at x; ``c`` is ``(12, …)``: ten coefficients, then the lower and upper end of the range.

    Outside of the range they are what they are at its nearer end.
    """
    at = torch.clamp(x, c[10], c[11])
    inside = ((x > c[10]) & (x < c[11])).to(x.dtype)
    u = 1 / at
    v = u.sqrt()
    found = []
    for k, (form, swapped) in enumerate(SHAPES[shape]):
        a, b = (c[2 * k + 1], c[2 * k]) if swapped else (c[2 * k], c[2 * k + 1])
        found.append(form(a, b, at, u, v, inside))
    return tuple(found)


def double_gaussian(shape: str, c: Tensor, x: Tensor, measured: Tensor, *, jacobian: bool = False) -> Jet2:
    """Logarithm of the double Gaussian in d = (x − measured)/x.

    W = [exp(−(d − μ1)²/2σ1²) + A exp(−(d − μ2)²/2σ2²)] / (√(2π)(σ1 + Aσ2)). ``jacobian`` subtracts ln x: W is then a
    density in the measured energy.
    """
    mu1, s1, a, mu2, s2 = parameters(shape, c, x)
    g1, g2 = formulas.exponents(1 / x, measured, mu1, s1, mu2, s2)
    amplitude = a[0].clamp_min(SMALLEST)
    odds = amplitude.log() + g1[0] - g2[0]  # ln of A times the ratio of the exponentials
    norm, first, second = formulas.mixture(odds.sigmoid(), amplitude, g1, g2, s1, a, s2)
    value = softplus(odds, threshold=EXACT) - g1[0] - norm.log() - LOG_ROOT_2PI
    if jacobian:
        return Jet2(value - x.log(), first - 1 / x, second + 1 / (x * x))
    return Jet2(value, first, second)


def gaussian(c: Tensor, x: Tensor, measured: Tensor) -> Jet2:
    """Logarithm of a Gaussian in measured − x with σ² = a²x² + b²x + c² at the fitted x; ``c`` is ``(3, …)``."""
    chi2, variance, first, second = formulas.gaussian(c[0], c[1], c[2], x, measured)
    return Jet2(-0.5 * (chi2 + variance.log()) - LOG_ROOT_2PI, first, second)
