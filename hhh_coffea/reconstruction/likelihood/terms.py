"""Terms of ln L that are not transfer functions, with their derivatives (spec §3.1, §3.3)."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class BreitWigner(NamedTuple):
    """B and what Newton's method needs of it, in terms of r = (s − M²)/(MΓ), s the squared mass."""

    value: Tensor
    slope: Tensor  # dB/dr
    curvature: Tensor  # −d²B/dr², or a positive stand-in


def breit_wigner(
    s: Tensor, mass: float | Tensor, width: float, *, normalised: bool = False, exact: bool = True
) -> BreitWigner:
    """B = −ln[(s − M²)² + M²Γ²]; ``normalised`` adds ln(MΓ).

    ``exact=False`` replaces the curvature, negative at |r| > 1, by that of a reweighted least-squares step there:
    a Newton step then goes towards the peak from any distance.
    """
    scale = mass * width
    r = (s - mass * mass) / scale
    inverse = 1 / (1 + r * r)
    weight = 1 if normalised else 2
    constant = weight * (scale.log() if isinstance(scale, Tensor) else math.log(scale))
    value = inverse.log() - constant
    curvature = 2 * (2 * inverse - 1) * inverse  # 2(1 − r²)/(1 + r²)²
    if not exact:
        curvature = torch.maximum(curvature, OUTSIDE * inverse)
    return BreitWigner(value, -2 * r * inverse, curvature)


OUTSIDE = 0.2  # curvature of the stand-in, in units of 1/(1 + r²)


def missing_momentum(p: Tensor, measured: Tensor, sigma: Tensor) -> Tensor:
    """ln of the Gaussian of (px, py), each with width σ (GeV): ``p`` and ``measured`` are ``(2, n)``, the result ``(n,)``."""
    pull = (p - measured) / sigma
    return -0.5 * (pull * pull).sum(0) - 2 * sigma.log() - math.log(2 * math.pi)
