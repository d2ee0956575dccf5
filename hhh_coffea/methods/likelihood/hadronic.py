"""The hadronic block: E of b, q1 and q2 of one triplet of jets (spec §3.3)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from hhh_coffea.methods.likelihood import formulas
from hhh_coffea.methods.likelihood.events import Jets
from hhh_coffea.methods.likelihood.newton import BLOCK, Pattern, dense
from hhh_coffea.methods.likelihood.shapes import Jet2
from hhh_coffea.methods.likelihood.transfer import Transfer, evaluate
from hhh_coffea.methods.likelihood_options import LikelihoodOptions

LONGEST = 0.4  # of an energy in one step


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Scalar product of directions ``(3, …)``."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


class Quarks:
    """Jets in the positions of quarks, ``(k, n)``: transfer functions and momenta."""

    def __init__(self, parts: list[tuple[Transfer, Jets]]) -> None:
        kinematics = torch.cat([jets.kinematics for _, jets in parts], dim=1)
        self.energy, self.mass2 = kinematics[0], kinematics[1]
        self.direction = kinematics[2:5]
        self.low, self.high = kinematics[5], kinematics[6]
        if len({transfer.form for transfer, _ in parts}) == 1:
            parts = [(parts[0][0], Jets(kinematics, torch.cat([jets.coefficients for _, jets in parts], dim=1)))]
        self._parts = [(t, jets.coefficients, jets.kinematics[0]) for t, jets in parts]

    def transfer(self, x: Tensor) -> Jet2:
        """Evaluate ln W of each jet."""
        found, first = [], 0
        for transfer, coefficients, measured in self._parts:
            found.append(evaluate(transfer.form, coefficients, x[first : first + len(measured)], measured))
            first += len(measured)
        return found[0] if len(found) == 1 else Jet2(*(torch.cat(t) for t in zip(*found, strict=True)))

    def coefficients(self) -> list[Tensor]:
        """Coefficients ``(rows, n)`` of each quark's transfer function."""
        return [c[:, k] for _, c, _ in self._parts for k in range(c.shape[1])]

    def forms(self) -> list[tuple[str | None, bool]]:
        """Form of each quark's transfer function."""
        return [transfer.form for transfer, c, _ in self._parts for _ in range(c.shape[1])]

    def size(self, x: Tensor) -> Tensor:
        """|p|."""
        return (x * x - self.mass2).sqrt()


class HadronicBlock:
    """Some triplets."""

    def __init__(self, quarks: Quarks, options: LikelihoodOptions, top_mass: float) -> None:
        self.quarks, self.options, self.top_mass = quarks, options, top_mass
        self.low, self.high = quarks.low, quarks.high
        b, q1, q2 = quarks.direction.unbind(1)
        self.cos_b1, self.cos_b2, self.cos_12 = dot(b, q1), dot(b, q2), dot(q1, q2)

    longest: ClassVar[Sequence[tuple[float, float]]] = [(LONGEST, 0.0)] * 3

    def top_mass2(self, x: Tensor) -> Tensor:
        """m² of the top quark, ``(…, n)`` of parameters ``(3, …, n)``."""
        m2 = self.quarks.mass2
        pb, p1, p2 = ((e * e - m).sqrt() for e, m in zip(x, m2, strict=True))
        pairs = x[0] * x[1] + x[0] * x[2] + x[1] * x[2] - p1 * p2 * self.cos_12
        found: Tensor = m2.sum(0) + 2 * (pairs - pb * (p1 * self.cos_b1 + p2 * self.cos_b2))
        return found

    def __call__(self, x: Tensor) -> Tensor:
        """Value, gradient, minus second derivatives; then the Breit–Wigner terms (see :mod:`.newton`)."""
        return self.parts(x, self.top_mass)[0]

    def parts(self, x: Tensor, top_mass: float | Tensor) -> tuple[Tensor, TopTerm]:
        """Rows as above, and what they depend on the top mass by."""
        o = self.options
        tf = self.quarks.transfer(x)
        by_quark = tuple(zip(*tf, strict=True))
        cos = (self.cos_b1, self.cos_b2, self.cos_12)
        per_w, per_t = 1 / (o.w_mass * o.w_width), 1 / (top_mass * o.gamma_top)
        inverse, t, slope, curvature, *rows = formulas.hadronic(
            tuple(x), tuple(self.quarks.mass2), cos, by_quark, o.w_mass, per_w, top_mass, per_t
        )
        value = tf.f.sum(0) + inverse.log() - peak(o, top_mass)
        return torch.stack([value, *rows]), TopTerm(t, slope, curvature, top_mass, o)


class TopTerm:
    """Derivatives of one ln L term B(m; M) in M: ``residual`` dr/dM, ``slope``, ``curvature`` −d²B/dM², ``mixed``."""

    def __init__(
        self, t: Tensor, slope: Tensor, curvature: Tensor, mass: float | Tensor, options: LikelihoodOptions
    ) -> None:
        weight = 1 if options.normalised else 2
        self.residual, self.slope, self.curvature, self.mixed = formulas.top_mass_terms(
            slope, curvature, t, mass, options.gamma_top, weight
        )


def peak(options: LikelihoodOptions, top_mass: float | Tensor) -> float | Tensor:
    """What the Breit–Wigner terms of a W boson and a top quark subtract: 2 ln(MΓ), or with their norm ln(MΓ), of each."""
    log_top = top_mass.log() if isinstance(top_mass, Tensor) else math.log(top_mass)
    weight = 1 if options.normalised else 2
    return weight * (math.log(options.w_mass * options.w_width * options.gamma_top) + log_top)


@dataclass(frozen=True)
class Hadronic:
    """All triplets of many events: ``b`` and ``q`` ``(2, n)`` are positions among the flattened jets."""

    pattern: ClassVar[Pattern] = dense(3)
    n_starts: ClassVar[int] = 3

    bottom: tuple[Transfer, Jets]
    light: tuple[Transfer, Jets]
    b: Tensor
    q: Tensor
    options: LikelihoodOptions
    top_mass: float
    gathered: dict[int, Any] = field(default_factory=dict, repr=False)  # for maximum.maximise: the same at every mass

    def at_mass(self, top_mass: float) -> Hadronic:
        """The same with this top mass (GeV)."""
        return replace(self, top_mass=top_mass)

    def only(self, fits: Tensor) -> Hadronic:
        """The fits with these numbers as a problem of their own."""
        return replace(self, gathered={}, b=self.b[fits], q=self.q[:, fits])

    def block(self, fits: Tensor) -> HadronicBlock:
        """The triplets with these numbers; numbers beyond the last start again, for several starts."""
        fits = fits % len(self.b)
        quarks = Quarks(
            [
                (self.bottom[0], self.bottom[1].take(self.b[fits].unsqueeze(0))),
                (self.light[0], self.light[1].take(self.q[:, fits])),
            ]
        )
        return HadronicBlock(quarks, self.options, self.top_mass)

    def starts(self) -> Tensor:
        """Starts ``(3, 3n)``, each on other peaks; all quarks are taken as massless.

        The measured energies; light quarks scaled to the W mass, then the b to the top mass; light quarks scaled to the
        top mass with the b as measured.
        """
        found: list[list[Tensor]] = [[], [], []]
        for fits in torch.split(torch.arange(len(self.b), device=self.b.device), BLOCK):
            at = self.block(fits)
            eb, e1, e2 = at.quarks.energy
            m2_qq = (2 * e1 * e2 * (1 - at.cos_12)).clamp_min(1)
            m2_bq = (2 * eb * (e1 * (1 - at.cos_b1) + e2 * (1 - at.cos_b2))).clamp_min(1)
            top2 = self.top_mass**2
            w = self.options.w_mass / m2_qq.sqrt()
            b = (top2 - self.options.w_mass**2) / (m2_bq * w)
            both = (-m2_bq + (m2_bq * m2_bq + 4 * m2_qq * top2).sqrt()) / (2 * m2_qq)
            scaled = ((eb, e1, e2), (eb * b, e1 * w, e2 * w), (eb, e1 * both, e2 * both))
            for starts, energies in zip(found, scaled, strict=True):
                starts.append(torch.stack(energies).clamp(at.low, at.high))
        return torch.cat([part for starts in found for part in starts], dim=1)
