"""The leptonic block: E of b and lepton, and the neutrino (spec §3.3).

The neutrino is described by v = m²_ℓν and its momentum (a, b) perpendicular to the lepton: along the lepton,
p_∥ = (a² + b²)/(2q) − q/2 with q = v/(2E_ℓ), the only solution. So the narrow peak of the W boson is a line along one
parameter, where in (px, py, pz) it is a curved surface that a minimiser can hardly follow; and both p_z of the W mass
constraint are two points of one smooth function.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from hhh_coffea.methods.likelihood import formulas
from hhh_coffea.methods.likelihood.events import Jets, Leptons
from hhh_coffea.methods.likelihood.hadronic import LONGEST, Quarks, TopTerm, dot, peak
from hhh_coffea.methods.likelihood.newton import Pattern, dense
from hhh_coffea.methods.likelihood.transfer import Transfer
from hhh_coffea.methods.likelihood_options import LikelihoodOptions

LONGEST_ACROSS = 60.0  # GeV, of the neutrino's momentum across the lepton in one step
W_RANGE = (1.0, 1e7)  # GeV²


class LeptonicBlock:
    """Some pairs of b jet and lepton.

    Parameters ``(5, n)``: E_b, E_ℓ, v, a (across the lepton in the transverse plane), b (in the plane of lepton and beam).
    """

    def __init__(
        self,
        quarks: Quarks,
        lepton: tuple[Transfer, Leptons],
        options: LikelihoodOptions,
        top_mass: float,
    ) -> None:
        self.quarks, self.options, self.top_mass = quarks, options, top_mass
        self.transfer, (kinematics, self.coefficients, missing) = lepton
        self.lepton_energy, self.factor = kinematics[0], kinematics[1]
        self.lepton = kinematics[2:5]
        self.sin = (self.lepton[0] ** 2 + self.lepton[1] ** 2).sqrt()
        self.cos = self.lepton[2]
        cos_phi, sin_phi = self.lepton[0] / self.sin, self.lepton[1] / self.sin
        # missing momentum along the lepton's transverse direction, and across it
        self.met = torch.stack(
            [missing[0] * cos_phi + missing[1] * sin_phi, missing[1] * cos_phi - missing[0] * sin_phi]
        )
        self.precision = 1 / (missing[2] * missing[2])
        zero = torch.zeros_like(cos_phi)
        self.axes = torch.stack(
            [torch.stack([-sin_phi, cos_phi, zero]), torch.stack([self.cos * cos_phi, self.cos * sin_phi, -self.sin])]
        )  # (2, 3, n): directions of a and b
        b = quarks.direction[:, 0]
        self.cos_bl, self.cos_ba, self.cos_bb = dot(b, self.lepton), dot(b, self.axes[0]), dot(b, self.axes[1])
        far = torch.full_like(self.sin, torch.inf)
        low, high = (torch.full_like(self.sin, v) for v in W_RANGE)
        self.low = torch.stack([quarks.low[0], kinematics[5], low, -far, -far])
        self.high = torch.stack([quarks.high[0], kinematics[6], high, far, far])

    longest: ClassVar[Sequence[tuple[float, float]]] = (*((LONGEST, 0.0),) * 3, *((0.0, LONGEST_ACROSS),) * 2)

    def neutrino(self, x: Tensor) -> Tensor:
        """Momentum of the neutrino, ``(3, n)``."""
        bow, half = formulas.along_lepton(*x[1:])
        found: Tensor = (bow - half) * self.lepton + x[3] * self.axes[0] + x[4] * self.axes[1]
        return found

    def top_mass2(self, x: Tensor) -> Tensor:
        """m² of the top quark, ``(…, n)`` of parameters ``(5, …, n)``."""
        eb, el, v, a, b = x
        bow, half = formulas.along_lepton(el, v, a, b)
        m2 = self.quarks.mass2[0]
        along = (el + bow - half) * self.cos_bl + a * self.cos_ba + b * self.cos_bb
        found: Tensor = v + m2 + 2 * (eb * (el + bow + half) - (eb * eb - m2).sqrt() * along)
        return found

    def __call__(self, x: Tensor) -> Tensor:
        """Value, gradient, minus second derivatives; then the Breit–Wigner terms (see :mod:`.newton`)."""
        return self.parts(x, self.top_mass)[0]

    def parts(self, x: Tensor, top_mass: float | Tensor) -> tuple[Tensor, TopTerm]:
        """Rows as above, and what they depend on the top mass by."""
        o = self.options
        tf = self.quarks.transfer(x[:1])
        f, d, dd = self.transfer(self.coefficients, x[1] * self.factor, self.lepton_energy * self.factor)
        chi2, inverse, t, slope, curvature, *rows = formulas.leptonic(
            tuple(x),
            self.quarks.mass2[0],
            (self.cos_bl, self.cos_ba, self.cos_bb),
            (self.sin, self.cos),
            (self.met[0], self.met[1], self.precision),
            (tf.f[0], tf.d[0], tf.dd[0]),
            (f, d * self.factor, dd * self.factor * self.factor),
            o.w_mass,
            1 / (o.w_mass * o.w_width),
            top_mass,
            1 / (top_mass * o.gamma_top),
        )
        value = tf.f[0] + f + chi2 + (inverse * self.precision).log() - math.log(2 * math.pi) - peak(o, top_mass)
        return torch.stack([value, *rows]), TopTerm(t, slope, curvature, top_mass, o)


@dataclass(frozen=True)
class Leptonic:
    """All pairs of b jet and lepton: ``b`` are positions among the flattened jets, ``event`` those of the leptons."""

    pattern: ClassVar[Pattern] = dense(5)
    n_starts: ClassVar[int] = 4

    bottom: tuple[Transfer, Jets]
    lepton: tuple[Transfer, Leptons]
    b: Tensor
    event: Tensor
    options: LikelihoodOptions
    top_mass: float
    gathered: dict[int, Any] = field(default_factory=dict, repr=False)  # for maximum.maximise: the same at every mass

    def at_mass(self, top_mass: float) -> Leptonic:
        """The same with this top mass (GeV)."""
        return replace(self, top_mass=top_mass)

    def only(self, fits: Tensor) -> Leptonic:
        """The fits with these numbers as a problem of their own."""
        return replace(self, gathered={}, b=self.b[fits], event=self.event[fits])

    def block(self, fits: Tensor) -> LeptonicBlock:
        """The pairs with these numbers; numbers beyond the last start again, for several starts."""
        fits = fits % len(self.b)
        quarks = Quarks([(self.bottom[0], self.bottom[1].take(self.b[fits].unsqueeze(0)))])
        lepton = (self.lepton[0], self.lepton[1].take(self.event[fits]))
        return LeptonicBlock(quarks, lepton, self.options, self.top_mass)

    def starts(self) -> Tensor:
        """Starts ``(5, 4n)``: measured energies, momentum across the lepton as measured, and the top mass.

        Two have the W boson on its mass shell, and b from the top mass; where no b gives it, the nearest, and in one of
        the two the b jet gets the energy that does. Two have the measured missing momentum, p_z from the top mass and the
        W boson off its mass shell.
        """
        at = self.block(torch.arange(len(self.b), device=self.b.device))
        eb, el, (along, across) = at.quarks.energy[0], at.lepton_energy, at.met
        p, m2 = at.quarks.size(at.quarks.energy)[0], at.quarks.mass2[0]
        v = torch.full_like(el, self.options.w_mass**2)
        k, half = el / v, 0.25 * v / el
        bow = k * across**2
        # half of m_t² − v − m_b², as wanted and as a function of b
        wanted = 0.5 * (self.top_mass**2 - v - m2)
        constant = eb * (el + bow + half) - p * ((el + bow - half) * at.cos_bl + across * at.cos_ba)
        square, linear = k * (eb - p * at.cos_bl), -p * at.cos_bb
        first, second = roots(square, linear, constant - wanted)
        found = constant + second * (linear + square * second)
        nearest = linear**2 < 4 * square * (constant - wanted)
        moved = torch.where(nearest, eb * wanted / found, eb)
        starts = [torch.stack([eb, el, v, across, first]), torch.stack([moved, el, v, across, second])]
        # b and lepton as one body; its transverse momentum along the lepton's, across it, and its p_z
        energy = eb + el
        px = p * (at.cos_bl * at.sin + at.cos_bb * at.cos) + el * at.sin
        py, pz = p * at.cos_ba, p * (at.cos_bl * at.cos - at.cos_bb * at.sin) + el * at.cos
        met2 = along**2 + across**2
        mu = 0.5 * (self.top_mass**2 - energy**2 + px**2 + py**2 + pz**2) + px * along + py * across
        for nu_z in roots(energy**2 - pz**2, -2 * mu * pz, energy**2 * met2 - mu**2):
            w = 2 * el * ((met2 + nu_z**2).sqrt() - along * at.sin - nu_z * at.cos)
            starts.append(torch.stack([eb, el, w, across, along * at.cos - nu_z * at.sin]))
        return torch.cat([s.clamp(at.low, at.high) for s in starts], dim=1)


def roots(a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Both roots of ax² + bx + c, a > 0; complex: their real part twice."""
    root = (b * b - 4 * a * c).clamp_min(0).sqrt()
    return (root - b) / (2 * a), (-root - b) / (2 * a)
