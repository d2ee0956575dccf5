"""The leptonic block: E of b and lepton, and the neutrino (spec §3.3).

The neutrino is described by v = m²_ℓν and its momentum (a, b) perpendicular to the lepton: along the lepton,
p_∥ = (a² + b²)/(2q) − q/2 with q = v/(2E_ℓ), the only solution. So the narrow peak of the W boson is a line along one
parameter, where in (px, py, pz) it is a curved surface that a minimiser can hardly follow; and both p_z of the W mass
constraint are two points of one smooth function.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from hhh_coffea.reconstruction.likelihood.events import Jets, Leptons
from hhh_coffea.reconstruction.likelihood.hadronic import LONGEST, Quarks, dot
from hhh_coffea.reconstruction.likelihood.newton import Pattern, dense
from hhh_coffea.reconstruction.likelihood.options import LikelihoodOptions
from hhh_coffea.reconstruction.likelihood.terms import BreitWigner, breit_wigner
from hhh_coffea.reconstruction.likelihood.transfer import Transfer

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
        self.met = torch.stack([missing[0] * cos_phi + missing[1] * sin_phi, missing[1] * cos_phi - missing[0] * sin_phi])
        self.sigma = missing[2]
        zero = torch.zeros_like(cos_phi)
        self.axes = torch.stack(
            [torch.stack([-sin_phi, cos_phi, zero]), torch.stack([self.cos * cos_phi, self.cos * sin_phi, -self.sin])]
        )  # (2, 3, n): directions of a and b
        b = quarks.direction[:, 0]
        self.cos_bl, self.cos_ba, self.cos_bb = dot(b, self.lepton), dot(b, self.axes[0]), dot(b, self.axes[1])
        far = torch.full_like(self.sigma, torch.inf)
        low, high = (torch.full_like(self.sigma, v) for v in W_RANGE)
        self.low = torch.stack([quarks.low[0], kinematics[5], low, -far, -far])
        self.high = torch.stack([quarks.high[0], kinematics[6], high, far, far])

    def reach(self, x: Tensor) -> Tensor:
        """At most 40% of each energy and squared mass."""
        longest = LONGEST * x
        longest[3:] = LONGEST_ACROSS
        return longest

    def neutrino(self, x: Tensor) -> Tensor:
        """Momentum of the neutrino, ``(3, n)``."""
        q = 0.5 * x[2] / x[1]
        along = 0.5 * ((x[3] ** 2 + x[4] ** 2) / q - q)
        return along * self.lepton + x[3] * self.axes[0] + x[4] * self.axes[1]

    def __call__(self, x: Tensor) -> Tensor:
        """Value, gradient, minus second derivatives; then the Breit–Wigner terms."""
        return self.parts(x, self.top_mass)[0]

    def parts(self, x: Tensor, top_mass: float | Tensor) -> tuple[Tensor, BreitWigner, Tensor, Tensor]:
        """Rows as above; then of the top quark: its Breit–Wigner term, m² and the gradient of m² ``(5, n)``."""
        o = self.options
        tf = self.quarks.transfer(x[:1])
        tl = self.transfer(self.coefficients, x[1] * self.factor, self.lepton_energy * self.factor)
        p, dp, ddp = (y[0] for y in self.quarks.momentum(x[:1]))
        eb, el, v, a, b = x
        # p_∥ = kρ² − q/2 (P) and E_ν = kρ² + q/2 (N), ρ² = a² + b²; index l: derivative in E_ℓ
        iv, il = 1 / v, 1 / el
        k = el * iv
        rho, half = (a * a + b * b) * iv, 0.25 * v * il  # ρ²/v, q/2
        bow = rho * el  # kρ²
        along, energy = bow - half, bow + half
        half_l, half_v = -half * il, 0.25 * il
        bow_v = -bow * iv
        p_l, n_l = rho - half_l, rho + half_l
        p_v, n_v = bow_v - half_v, bow_v + half_v
        p_a, p_b = 2 * k * a, 2 * k * b  # of both P and N, as all mixed ones with a and b
        h_ll = -2 * half_l * il
        mixed, h_lv = -rho * iv, -half_v * il
        p_vv = -2 * bow_v * iv
        p_la, p_lb = 2 * a * iv, 2 * b * iv
        p_va, p_vb = -p_a * iv, -p_b * iv
        # top quark: v + m_b² + 2(E_b X − p_b Y)
        big_x, big_y = el + energy, (el + along) * self.cos_bl + a * self.cos_ba + b * self.cos_bb
        t = v + self.quarks.mass2[0] + 2 * (eb * big_x - p * big_y)
        pc = p * self.cos_bl
        minus, plus = 2 * (eb - pc), 2 * (eb + pc)  # of what P and N share, and of ±q/2
        y_l, y_v, y_a, y_b = (
            self.cos_bl * (1 + p_l),
            self.cos_bl * p_v,
            self.cos_bl * p_a + self.cos_ba,
            self.cos_bl * p_b + self.cos_bb,
        )
        t_b, t_bb = 2 * (big_x - dp * big_y), -2 * ddp * big_y
        t_l = minus * (1 + rho) + plus * half_l
        t_v = 1 + minus * bow_v + plus * half_v
        t_a, t_bb_ = minus * p_a - 2 * p * self.cos_ba, minus * p_b - 2 * p * self.cos_bb
        t_bl, t_bv = 2 * (1 + n_l - dp * y_l), 2 * (n_v - dp * y_v)
        t_ba, t_b_b = 2 * (p_a - dp * y_a), 2 * (p_b - dp * y_b)
        t_ll, t_lv, t_vv = plus * h_ll, minus * mixed + plus * h_lv, minus * p_vv

        bw = breit_wigner(v, o.w_mass, o.w_width, normalised=o.normalised)
        bt = breit_wigner(t, top_mass, o.gamma_top, normalised=o.normalised)
        per_w, per_t = 1 / (o.w_mass * o.w_width), 1 / (top_mass * o.gamma_top)
        st = bt.slope * per_t
        ct = bt.curvature * per_t**2
        # missing momentum, m1 along the lepton's transverse direction and m2 = a across it
        precision = 1 / (self.sigma * self.sigma)
        off1, off2 = along * self.sin + b * self.cos - self.met[0], a - self.met[1]
        pull = off1 * precision * self.sin
        m_l, m_v, m_a, m_b = self.sin * p_l, self.sin * p_v, self.sin * p_a, self.sin * p_b + self.cos
        slope1 = off1 * precision
        w_l, w_v, w_a, w_b = m_l * precision, m_v * precision, m_a * precision, m_b * precision
        ct_b, ct_l, ct_v, ct_a, ct_c = ct * t_b, ct * t_l, ct * t_v, ct * t_a, ct * t_bb_
        bend = 2 * k * (pull - st * minus)
        f2 = self.factor * self.factor
        rows = [
            tf.f[0] + tl.f + bw.value + bt.value - 0.5 * (off1**2 + off2**2) * precision + (precision / (2 * math.pi)).log(),
            tf.d[0] + st * t_b,
            tl.d * self.factor + st * t_l - slope1 * m_l,
            bw.slope * per_w + st * t_v - slope1 * m_v,
            st * t_a - slope1 * m_a - off2 * precision,
            st * t_bb_ - slope1 * m_b,
            -tf.dd[0] + ct_b * t_b - st * t_bb,
            ct_b * t_l - st * t_bl,
            -tl.dd * f2 + ct_l * t_l - st * t_ll + w_l * m_l - pull * h_ll,
            ct_b * t_v - st * t_bv,
            ct_l * t_v - st * t_lv + w_l * m_v + pull * (mixed - h_lv),
            bw.curvature * per_w**2 + ct_v * t_v - st * t_vv + w_v * m_v + pull * p_vv,
            ct_b * t_a - st * t_ba,
            ct_l * t_a + w_l * m_a + p_la * (pull - st * minus),
            ct_v * t_a + w_v * m_a + p_va * (pull - st * minus),
            ct_a * t_a + w_a * m_a + precision + bend,
            ct_b * t_bb_ - st * t_b_b,
            ct_l * t_bb_ + w_l * m_b + p_lb * (pull - st * minus),
            ct_v * t_bb_ + w_v * m_b + p_vb * (pull - st * minus),
            ct_a * t_bb_ + w_a * m_b,
            ct_c * t_bb_ + w_b * m_b + bend,
        ]
        zero = torch.zeros_like(v)
        slope_t = torch.stack([t_b, t_l, t_v, t_a, t_bb_])
        rows += [bw.weight, zero, zero, zero + per_w, zero, zero, bt.weight, *(per_t * slope_t)]
        return torch.stack(rows), bt, t, slope_t

    def masses2(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Squared masses of the W boson and the top quark."""
        p = self.quarks.size(x[:1])[0]
        eb, el, v, a, b = x
        bow, half = (a * a + b * b) * el / v, 0.25 * v / el
        along = (el + bow - half) * self.cos_bl + a * self.cos_ba + b * self.cos_bb
        return v, v + self.quarks.mass2[0] + 2 * (eb * (el + bow + half) - p * along)


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

    def at_mass(self, top_mass: float) -> Leptonic:
        """The same with this top mass (GeV)."""
        return replace(self, top_mass=top_mass)

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
