"""The leptonic block: E of b and lepton, three-momentum of the neutrino (spec §3.3)."""

from __future__ import annotations

import torch
from torch import Tensor

from hhh_coffea.reconstruction.likelihood.events import MET_RANGE, PZ_RANGE, Jets, Leptons
from hhh_coffea.reconstruction.likelihood.hadronic import LEAST_CURVATURE, LONGEST, Quarks, dot
from hhh_coffea.reconstruction.likelihood.newton import dense
from hhh_coffea.reconstruction.likelihood.options import LikelihoodOptions
from hhh_coffea.reconstruction.likelihood.terms import BreitWigner, breit_wigner, missing_momentum
from hhh_coffea.reconstruction.likelihood.transfer import Transfer

LONGEST_PT, LONGEST_PZ = 40.0, 50.0  # GeV, of a neutrino's component in one step; p_z: plus 40% of it
AT_REST = 1e-9  # GeV²: keeps |p_ν| differentiable


class LeptonicBlock:
    """Some pairs of b jet and lepton. ``top_mass`` may be a number, or one per pair."""

    def __init__(
        self,
        quarks: Quarks,
        lepton: tuple[Transfer, Leptons],
        options: LikelihoodOptions,
        top_mass: float | Tensor,
        exact: bool = False,
    ) -> None:
        self.quarks, self.options, self.top_mass, self.exact = quarks, options, top_mass, exact
        self.transfer, (kinematics, self.coefficients, missing) = lepton
        self.lepton_energy, self.factor = kinematics[0], kinematics[1]
        self.lepton = kinematics[2:5]
        self.met, self.sigma = missing[:2], missing[2]
        self.b = quarks.direction[:, 0]
        self.cos_bl = dot(self.b, self.lepton)
        far = torch.full_like(self.sigma, PZ_RANGE)
        self.low = torch.stack([quarks.low[0], kinematics[5], *(self.met - MET_RANGE), -far])
        self.high = torch.stack([quarks.high[0], kinematics[6], *(self.met + MET_RANGE), far])

    def reach(self, x: Tensor) -> Tensor:
        """At most 40% of each energy, and a part of the ranges of the neutrino."""
        longest = LONGEST * x.abs()
        longest[2:4] = LONGEST_PT
        longest[4] += LONGEST_PZ
        return longest

    def __call__(self, x: Tensor) -> Tensor:
        """Value, gradient, minus second derivatives: ``(21, n)``."""
        return self.parts(x, self.top_mass)[0]

    def parts(self, x: Tensor, top_mass: float | Tensor) -> tuple[Tensor, BreitWigner, Tensor, Tensor]:
        """Rows as above; then of the top quark: its Breit–Wigner term, m² and the gradient of m² ``(5, n)``."""
        o = self.options
        tf = self.quarks.transfer(x[:1])
        tl = self.transfer(self.coefficients, x[1] * self.factor, self.lepton_energy * self.factor)
        p, dp, ddp = (v[0] for v in self.quarks.momentum(x[:1]))
        eb, el, nu = x[0], x[1], x[2:]
        en = (dot(nu, nu) + AT_REST).sqrt()
        unit = nu / en
        # W boson: 2 E_ℓ (|p_ν| − n_ℓ·p_ν)
        away = en - dot(self.lepton, nu)
        w = 2 * el * away
        w_l, w_lp = 2 * away, 2 * (unit - self.lepton)  # w_lp: mixed derivatives in E_ℓ and p_ν
        w_p = el * w_lp
        # top quark
        along = el * self.cos_bl + dot(self.b, nu)
        t = w + self.quarks.mass2[0] + 2 * (eb * (el + en) - p * along)
        t_b, t_bb = 2 * (el + en - dp * along), -2 * ddp * along
        t_l = w_l + 2 * (eb - p * self.cos_bl)
        t_p = w_p + 2 * (eb * unit - p * self.b)
        t_bl, t_bp = 2 * (1 - dp * self.cos_bl), 2 * (unit - dp * self.b)

        bw = breit_wigner(w, o.w_mass, o.w_width, normalised=o.normalised, exact=self.exact)
        bt = breit_wigner(t, top_mass, o.gamma_top, normalised=o.normalised, exact=self.exact)
        per_w, per_t = 1 / (o.w_mass * o.w_width), 1 / (top_mass * o.gamma_top)
        sw, st = bw.slope * per_w, bt.slope * per_t
        cw, ct = bw.curvature * per_w**2, bt.curvature * per_t**2
        kb, kl = -tf.dd[0], -tl.dd * self.factor * self.factor
        if not self.exact:
            kb, kl = kb.clamp_min(LEAST_CURVATURE), kl.clamp_min(LEAST_CURVATURE)
        precision = 1 / (self.sigma * self.sigma)
        pull = (self.met - nu[:2]) * precision
        ct_b, ct_l, ct_p = ct * t_b, ct * t_l, ct * t_p
        cw_l, cw_p = cw * w_l, cw * w_p
        mixed_b = ct_b * t_p - st * t_bp
        mixed_l = ct_l * t_p + cw_l * w_p - (st + sw) * w_lp
        # of |p_ν|: (δ_ij − u_i u_j)/|p_ν|, with 2E_ℓ in both masses and 2E_b in the top's
        bend = 2 * ((st + sw) * el + st * eb) / en
        ux, uy, uz = unit
        gradient_p = st * t_p + sw * w_p
        rows = [
            tf.f[0] + tl.f + missing_momentum(nu[:2], self.met, self.sigma) + bw.value + bt.value,
            tf.d[0] + st * t_b,
            tl.d * self.factor + st * t_l + sw * w_l,
            gradient_p[0] + pull[0],
            gradient_p[1] + pull[1],
            gradient_p[2],
            kb + ct_b * t_b - st * t_bb,
            ct_b * t_l - st * t_bl,
            kl + ct_l * t_l + cw_l * w_l,
            mixed_b[0],
            mixed_l[0],
            precision + ct_p[0] * t_p[0] + cw_p[0] * w_p[0] - bend * (1 - ux * ux),
            mixed_b[1],
            mixed_l[1],
            ct_p[1] * t_p[0] + cw_p[1] * w_p[0] + bend * ux * uy,
            precision + ct_p[1] * t_p[1] + cw_p[1] * w_p[1] - bend * (1 - uy * uy),
            mixed_b[2],
            mixed_l[2],
            ct_p[2] * t_p[0] + cw_p[2] * w_p[0] + bend * ux * uz,
            ct_p[2] * t_p[1] + cw_p[2] * w_p[1] + bend * uy * uz,
            ct_p[2] * t_p[2] + cw_p[2] * w_p[2] - bend * (1 - uz * uz),
        ]
        return torch.stack(rows), bt, t, torch.cat([t_b.unsqueeze(0), t_l.unsqueeze(0), t_p])


class Leptonic:
    """All pairs of b jet and lepton: ``b`` are positions among the flattened jets, ``event`` those of the leptons."""

    pattern = dense(5)

    def __init__(
        self,
        bottom: tuple[Transfer, Jets],
        lepton: tuple[Transfer, Leptons],
        b: Tensor,
        event: Tensor,
        options: LikelihoodOptions,
        top_mass: float | Tensor | None = None,
        exact: bool = False,
    ) -> None:
        self.bottom, self.lepton, self.b, self.event, self.options = bottom, lepton, b, event, options
        self.top_mass = options.top_mass if top_mass is None else top_mass
        self.exact = exact

    def block(self, fits: Tensor) -> LeptonicBlock:
        """The pairs with these numbers; numbers beyond the last start again, for several starts."""
        mass = self.top_mass[fits] if isinstance(self.top_mass, Tensor) else self.top_mass
        fits = fits % len(self.b)
        quarks = Quarks([(self.bottom[0], self.bottom[1].take(self.b[fits].unsqueeze(0)))])
        lepton = (self.lepton[0], self.lepton[1].take(self.event[fits]))
        return LeptonicBlock(quarks, lepton, self.options, mass, self.exact)

    def starts(self) -> Tensor:
        """Starts ``(5, 3n)``: measured values with both p_z that give the W mass (or their real part), and p_z = 0."""
        one = self.block(torch.arange(len(self.b), device=self.b.device))
        roots = neutrino_pz(one.lepton_energy * one.lepton, one.met, self.options.w_mass)
        rest = torch.stack([one.quarks.energy[0], one.lepton_energy, one.met[0], one.met[1]])
        starts = [torch.cat([rest, pz.unsqueeze(0)]) for pz in (*roots, torch.zeros_like(one.sigma))]
        return torch.cat([s.clamp(one.low, one.high) for s in starts], dim=1)


def neutrino_pz(lepton: Tensor, met: Tensor, w_mass: float) -> tuple[Tensor, Tensor]:
    """Both p_z of the neutrino that give the W mass with a massless lepton ``(3, n)``; complex: their real part twice."""
    pt2 = lepton[0] ** 2 + lepton[1] ** 2
    mu = 0.5 * w_mass**2 + lepton[0] * met[0] + lepton[1] * met[1]
    energy2 = pt2 + lepton[2] ** 2
    root = (energy2 * (mu**2 - pt2 * (met[0] ** 2 + met[1] ** 2))).clamp_min(0).sqrt()
    return (mu * lepton[2] + root) / pt2, (mu * lepton[2] - root) / pt2
