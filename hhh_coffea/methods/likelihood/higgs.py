"""The Higgs block: E of the two b jets of one pair (spec §3.3).

With M Γ = 0.5 GeV² the Breit–Wigner term is a spike. Its maximum is one of two: on the spike, m_bb = m_H exactly, where
one energy is left free; or off it. Both are fitted and the greater is taken; no iteration passes through the spike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from hhh_coffea.methods.likelihood import formulas
from hhh_coffea.methods.likelihood.events import Jets
from hhh_coffea.methods.likelihood.hadronic import LONGEST, Quarks, dot
from hhh_coffea.methods.likelihood.newton import Maximum, Pattern, dense, maximise
from hhh_coffea.methods.likelihood.transfer import Transfer
from hhh_coffea.methods.likelihood_options import LikelihoodOptions


class FreeBlock:
    """Two free energies; with ``mass`` None the transfer functions alone."""

    def __init__(self, quarks: Quarks, options: LikelihoodOptions, mass: float | None) -> None:
        self.quarks, self.options, self.mass = quarks, options, mass
        self.low, self.high = quarks.low, quarks.high
        self.cos = dot(*quarks.direction.unbind(1))

    longest: ClassVar[Sequence[tuple[float, float]]] = ((LONGEST, 0.0),) * 2

    def mass2(self, x: Tensor) -> Tensor:
        """m² of the pair."""
        p = self.quarks.size(x)
        return self.quarks.mass2.sum(0) + 2 * (x[0] * x[1] - p[0] * p[1] * self.cos)

    def __call__(self, x: Tensor) -> Tensor:
        """Value, gradient, minus second derivatives; then the Breit–Wigner term."""
        tf = self.quarks.transfer(x)
        zero = torch.zeros_like(x[0])
        if self.mass is None:
            return torch.stack([tf.f.sum(0), *tf.d, -tf.dd[0], zero, -tf.dd[1]])
        s, (s1, s2), (s11, s12, s22) = pair_mass2(self.quarks, self.cos, x)
        o = self.options
        inverse, slope, curve, weight = formulas.breit_wigner(s, self.mass, 1 / (self.mass * o.higgs_width))
        scale = 1 / (self.mass * o.higgs_width)
        slope, curve = slope * scale, curve * scale**2
        rows = [tf.f.sum(0) + inverse.log() + height(o, self.mass), tf.d[0] + slope * s1, tf.d[1] + slope * s2]
        rows.append(-tf.dd[0] + curve * s1 * s1 - slope * s11)
        rows.append(curve * s1 * s2 - slope * s12)
        rows.append(-tf.dd[1] + curve * s2 * s2 - slope * s22)
        return torch.stack([*rows, weight, scale * s1, scale * s2])


def height(options: LikelihoodOptions, mass: float) -> float:
    """Value of the Breit–Wigner term on the spike."""
    return -(1 if options.normalised else 2) * math.log(mass * options.higgs_width)


class OnShellBlock:
    """One free energy; the other is where the pair has the Higgs mass."""

    def __init__(self, free: FreeBlock, mass: float) -> None:
        self.free, self.quarks = free, free.quarks
        m1, m2 = self.quarks.mass2
        self.half = 0.5 * (mass**2 - m1 - m2)  # E1E2 − p1p2 cos
        low, high = self.quarks.low, self.quarks.high
        # the other energy falls as this one rises: both stay in their ranges between these ends
        first = torch.maximum(low[0], self.other(high[1], 1))
        last = torch.minimum(high[0], self.other(low[1], 1))
        self.possible = first < last
        self.low = first.nan_to_num(1).unsqueeze(0)
        self.high = torch.maximum(last.nan_to_num(1), first.nan_to_num(1)).unsqueeze(0)

    def other(self, e: Tensor, known: int) -> Tensor:
        """Energy of the other jet; NaN where no energy gives the mass."""
        m2, n2 = self.quarks.mass2[known], self.quarks.mass2[1 - known]
        cos = self.free.cos
        p2 = (e * e - m2) * cos * cos
        root = p2 * (self.half**2 - n2 * (e * e - p2))
        found: Tensor = (e * self.half + torch.sign(cos) * root.sqrt()) / (e * e - p2)
        return found

    longest: ClassVar[Sequence[tuple[float, float]]] = ((LONGEST, 0.0),)

    def energies(self, x: Tensor) -> Tensor:
        """Both energies, ``(2, n)``."""
        return torch.stack([x[0], self.other(x[0], 0)])

    def __call__(self, x: Tensor) -> Tensor:
        """Value without the Breit–Wigner term, derivative, minus second derivative."""
        e = self.energies(x)
        tf = self.quarks.transfer(e)
        _, (s1, s2), (s11, s12, s22) = pair_mass2(self.quarks, self.free.cos, e)
        slope = -s1 / s2
        bend = -(s11 + 2 * s12 * slope + s22 * slope * slope) / s2
        second = tf.dd[0] + tf.dd[1] * slope * slope + tf.d[1] * bend
        return torch.stack([tf.f.sum(0), tf.d[0] + tf.d[1] * slope, -second])


def pair_mass2(quarks: Quarks, cos: Tensor, x: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor], tuple[Tensor, ...]]:
    """m² of a pair, its first and second derivatives (11, 12, 22)."""
    (p1, p2), (d1, d2), (dd1, dd2) = formulas.momentum(x, quarks.mass2)
    s = quarks.mass2.sum(0) + 2 * (x[0] * x[1] - p1 * p2 * cos)
    first = (2 * (x[1] - d1 * p2 * cos), 2 * (x[0] - p1 * d2 * cos))
    return s, first, (-2 * dd1 * p2 * cos, 2 * (1 - d1 * d2 * cos), -2 * p1 * dd2 * cos)


class Higgs:
    """All pairs of b jets: ``b`` ``(2, n)`` are positions among the flattened jets."""

    pattern: ClassVar[Pattern] = dense(2)

    def __init__(self, bottom: tuple[Transfer, Jets], b: Tensor, options: LikelihoodOptions) -> None:
        self.bottom, self.b, self.options = bottom, b, options

    def only(self, fits: Tensor) -> Higgs:
        """The fits with these numbers as a problem of their own."""
        return Higgs(self.bottom, self.b[:, fits], self.options)

    def block(self, fits: Tensor) -> FreeBlock:
        """The pairs with these numbers."""
        quarks = Quarks([(self.bottom[0], self.bottom[1].take(self.b[:, fits]))])
        return FreeBlock(quarks, self.options, self.options.higgs_mass)

    def maximise(self) -> Maximum:
        """Fit all pairs: parameters ``(2, n)``."""
        o = self.options
        everything = self.block(torch.arange(self.b.shape[1], device=self.b.device))
        start = everything.quarks.energy.clamp(everything.low, everything.high)
        free = maximise(self, start, tolerance=o.tolerance, max_iterations=o.max_iterations)
        if o.higgs_mass is None:
            return free
        problem = _OnShell(self, o.higgs_mass)
        block = OnShellBlock(everything, o.higgs_mass)
        scale = (block.half / (0.5 * everything.mass2(start)).clamp_min(1)).sqrt()
        first = (start[0] * scale).unsqueeze(0).clamp(block.low, block.high)
        on = maximise(problem, first, tolerance=o.tolerance, max_iterations=o.max_iterations)
        value = torch.where(block.possible, on.value + height(o, o.higgs_mass), -torch.inf)
        better = value > free.value
        return Maximum(
            torch.where(better, block.energies(on.x), free.x),
            torch.where(better, value, free.value),
            torch.where(better, on.converged, free.converged),
            torch.where(better, on.at_limit, free.at_limit),
        )


class _OnShell:
    pattern: ClassVar[Pattern] = dense(1)

    def __init__(self, higgs: Higgs, mass: float) -> None:
        self.higgs, self.mass = higgs, mass

    def block(self, fits: Tensor) -> OnShellBlock:
        return OnShellBlock(self.higgs.block(fits), self.mass)
