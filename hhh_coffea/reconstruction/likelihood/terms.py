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
    curvature: Tensor  # −d²B/dr²
    weight: Tensor  # 2/(1 + r²): curvature of a reweighted least-squares step


def breit_wigner(s: Tensor, mass: float | Tensor, width: float, *, normalised: bool = False) -> BreitWigner:
    """B = −ln[(s − M²)² + M²Γ²]; ``normalised`` adds ln(MΓ)."""
    scale = mass * width
    r = (s - mass * mass) / scale
    inverse = 1 / (1 + r * r)
    constant = (1 if normalised else 2) * (scale.log() if isinstance(scale, Tensor) else math.log(scale))
    return BreitWigner(inverse.log() - constant, -2 * r * inverse, 2 * (2 * inverse - 1) * inverse, 2 * inverse)
