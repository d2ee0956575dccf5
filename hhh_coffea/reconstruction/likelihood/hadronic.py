"""The hadronic block: E of b, q1 and q2 of one triplet of jets (spec §3.3)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from hhh_coffea.reconstruction.likelihood.events import Jets
from hhh_coffea.reconstruction.likelihood.newton import BLOCK, Pattern, dense
from hhh_coffea.reconstruction.likelihood.options import LikelihoodOptions
from hhh_coffea.reconstruction.likelihood.shapes import Jet2
from hhh_coffea.reconstruction.likelihood.terms import BreitWigner, breit_wigner
from hhh_coffea.reconstruction.likelihood.transfer import Transfer, evaluate

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

    def size(self, x: Tensor) -> Tensor:
        """|p|."""
        return (x * x - self.mass2).sqrt()

    def momentum(self, x: Tensor) -> Jet2:
        """|p| and its derivatives in E."""
        p = (x * x - self.mass2).sqrt()
        dp = x / p
        return Jet2(p, dp, (1 - dp * dp) / p)


class HadronicBlock:
    """Some triplets."""

    def __init__(
        self, quarks: Quarks, options: LikelihoodOptions, top_mass: float
    ) -> None:
        self.quarks, self.options, self.top_mass = quarks, options, top_mass
        self.low, self.high = quarks.low, quarks.high
        b, q1, q2 = quarks.direction.unbind(1)
        self.cos_b1, self.cos_b2, self.cos_12 = dot(b, q1), dot(b, q2), dot(q1, q2)

    def reach(self, x: Tensor) -> Tensor:
        """At most 40% of each energy."""
        return LONGEST * x

    def __call__(self, x: Tensor) -> Tensor:
        """Value, gradient, minus second derivatives; then the Breit–Wigner terms (see :mod:`.newton`)."""
        return self.parts(x, self.top_mass)[0]

    def parts(self, x: Tensor, top_mass: float | Tensor) -> tuple[Tensor, BreitWigner, Tensor, Tensor]:
        """Rows as above; then of the top quark: its Breit–Wigner term, m² and the gradient of m² ``(3, n)``."""
        o = self.options
        tf = self.quarks.transfer(x)
        p, dp, ddp = self.quarks.momentum(x)
        (eb, e1, e2), (pb, p1, p2), (db, d1, d2), (ddb, dd1, dd2) = x, p, dp, ddp
        mb, m1, m2 = self.quarks.mass2
        # W boson
        w12 = self.cos_12 * p2
        w = m1 + m2 + 2 * (e1 * e2 - p1 * w12)
        w_1, w_2 = 2 * (e2 - d1 * w12), 2 * (e1 - self.cos_12 * p1 * d2)
        w_11, w_22 = -2 * dd1 * w12, -2 * self.cos_12 * p1 * dd2
        w_12 = 2 * (1 - self.cos_12 * d1 * d2)
        # top quark
        along = self.cos_b1 * p1 + self.cos_b2 * p2  # of the W's momentum along the b
        t = w + mb + 2 * (eb * (e1 + e2) - pb * along)
        b1, b2 = pb * self.cos_b1, pb * self.cos_b2
        t_b = 2 * (e1 + e2 - db * along)
        t_1, t_2 = w_1 + 2 * (eb - b1 * d1), w_2 + 2 * (eb - b2 * d2)
        t_bb = -2 * ddb * along
        t_b1, t_b2 = 2 * (1 - db * self.cos_b1 * d1), 2 * (1 - db * self.cos_b2 * d2)
        t_11, t_22 = w_11 - 2 * b1 * dd1, w_22 - 2 * b2 * dd2

        bw = breit_wigner(w, o.w_mass, o.w_width, normalised=o.normalised)
        bt = breit_wigner(t, top_mass, o.gamma_top, normalised=o.normalised)
        per_w, per_t = 1 / (o.w_mass * o.w_width), 1 / (top_mass * o.gamma_top)
        sw, st = bw.slope * per_w, bt.slope * per_t
        cw, ct = bw.curvature * per_w**2, bt.curvature * per_t**2
        k = -tf.dd
        ct_b, ct_1, ct_2 = ct * t_b, ct * t_1, ct * t_2
        cw_1 = cw * w_1
        rows = [
            tf.f.sum(0) + bw.value + bt.value,
            tf.d[0] + st * t_b,
            tf.d[1] + st * t_1 + sw * w_1,
            tf.d[2] + st * t_2 + sw * w_2,
            k[0] + ct_b * t_b - st * t_bb,
            ct_b * t_1 - st * t_b1,
            k[1] + ct_1 * t_1 - st * t_11 + cw_1 * w_1 - sw * w_11,
            ct_b * t_2 - st * t_b2,
            ct_1 * t_2 + cw_1 * w_2 - (st + sw) * w_12,
            k[2] + ct_2 * t_2 - st * t_22 + cw * w_2 * w_2 - sw * w_22,
        ]
        zero = torch.zeros_like(w)
        rows += [bw.weight, zero, per_w * w_1, per_w * w_2]
        rows += [bt.weight, per_t * t_b, per_t * t_1, per_t * t_2]
        return torch.stack(rows), bt, t, torch.stack([t_b, t_1, t_2])

    def masses2(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Squared masses of the W boson and the top quark."""
        (eb, e1, e2), (pb, p1, p2) = x, self.quarks.size(x)
        mb, m1, m2 = self.quarks.mass2
        w = m1 + m2 + 2 * (e1 * e2 - p1 * self.cos_12 * p2)
        return w, w + mb + 2 * (eb * (e1 + e2) - pb * (self.cos_b1 * p1 + self.cos_b2 * p2))


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

    def at_mass(self, top_mass: float) -> Hadronic:
        """The same with this top mass (GeV)."""
        return replace(self, top_mass=top_mass)

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
        for fits in torch.arange(len(self.b), device=self.b.device).split(BLOCK):
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
