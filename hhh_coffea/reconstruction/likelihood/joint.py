"""Both top quarks at once with a free top mass: the nine-parameter fit of a permutation (spec §3.2)."""

from __future__ import annotations

import torch
from torch import Tensor

from hhh_coffea.reconstruction.likelihood.hadronic import Hadronic, HadronicBlock
from hhh_coffea.reconstruction.likelihood.leptonic import Leptonic, LeptonicBlock
from hhh_coffea.reconstruction.likelihood.newton import dense
from hhh_coffea.reconstruction.likelihood.terms import BreitWigner

TOP_RANGE = (100.0, 1000.0)  # GeV
LONGEST_MASS = 0.1  # of the top mass in one step
N_HAD, N_LEP = 3, 5
LAST = N_HAD + N_LEP


class JointBlock:
    """Some permutations. Parameters ``(9, n)``: those of the hadronic block, of the leptonic block, top mass."""

    def __init__(self, hadronic: HadronicBlock, leptonic: LeptonicBlock) -> None:
        self.hadronic, self.leptonic = hadronic, leptonic
        one = torch.ones_like(hadronic.low[:1])
        self.low = torch.cat([hadronic.low, leptonic.low, TOP_RANGE[0] * one])
        self.high = torch.cat([hadronic.high, leptonic.high, TOP_RANGE[1] * one])

    def reach(self, x: Tensor) -> Tensor:
        """Those of the blocks, and 10% of the top mass."""
        parts = [self.hadronic.reach(x[:N_HAD]), self.leptonic.reach(x[N_HAD:LAST]), LONGEST_MASS * x[LAST:]]
        return torch.cat(parts)

    def __call__(self, x: Tensor) -> Tensor:
        """Value, gradient, minus second derivatives; then the Breit–Wigner terms (see :mod:`.newton`)."""
        mass, n = x[LAST], x.shape[1]
        had, had_term, had_t, had_slope = self.hadronic.parts(x[:N_HAD], mass)
        lep, lep_term, lep_t, lep_slope = self.leptonic.parts(x[N_HAD:LAST], mass)
        h = TopTerm(had_term, had_t, mass, self.hadronic)
        t = TopTerm(lep_term, lep_t, mass, self.leptonic)
        curved = [had[1 + N_HAD : 1 + N_HAD + 6], lep[1 + N_LEP : 1 + N_LEP + 15]]
        border = [h.mixed * had_slope, t.mixed * lep_slope, (h.curvature + t.curvature).unsqueeze(0)]
        first = [had[1 : 1 + N_HAD], lep[1 : 1 + N_LEP], (h.slope + t.slope).unsqueeze(0)]
        zeros = x.new_zeros(N_LEP, n)
        weighted = []
        for rows, size, term in ((had[10:], N_HAD, h), (lep[21:], N_LEP, t)):
            for k in range(2):
                weight, slope = rows[k * (1 + size)], rows[k * (1 + size) + 1 : (k + 1) * (1 + size)]
                own = (term.residual_slope if k else zeros[0]).unsqueeze(0)
                parts = (slope, zeros) if size == N_HAD else (zeros[:N_HAD], slope)
                weighted += [weight.unsqueeze(0), *parts, own]
        return torch.cat([(had[0] + lep[0]).unsqueeze(0), *first, *curved, *border, *weighted])


class TopTerm:
    """Derivatives of one B(m; M) in M, r = (m²/M − M)/Γ."""

    def __init__(self, term: BreitWigner, t: Tensor, mass: Tensor, block: HadronicBlock | LeptonicBlock) -> None:
        gamma, weight = block.options.gamma_top, 1 if block.options.normalised else 2
        inverse = 1 / mass
        r_m = -(t * inverse * inverse + 1) / gamma
        r_t = inverse / gamma
        self.residual_slope = r_m
        self.slope = term.slope * r_m - weight * inverse
        self.mixed = term.curvature * r_t * r_m + term.slope * r_t * inverse  # times the gradient of m²
        self.curvature = term.curvature * r_m**2 - term.slope * 2 * t * inverse**3 / gamma - weight * inverse**2


class Joint:
    """Permutations given by the numbers of their fits among the triplets and the leptonic b jets."""

    pattern = (
        dense(N_HAD)
        + [(i + N_HAD, j + N_HAD) for i, j in dense(N_LEP)]
        + [(LAST, j) for j in range(LAST + 1)]
    )

    def __init__(self, hadronic: Hadronic, leptonic: Leptonic, of: tuple[Tensor, Tensor]) -> None:
        self.hadronic, self.leptonic, self.of = hadronic, leptonic, of

    def block(self, fits: Tensor) -> JointBlock:
        """The permutations with these numbers."""
        return JointBlock(self.hadronic.block(self.of[0][fits]), self.leptonic.block(self.of[1][fits]))
