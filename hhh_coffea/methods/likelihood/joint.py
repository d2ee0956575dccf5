"""Both top quarks at once with a free top mass: the nine-parameter fit of a permutation (spec §3.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from hhh_coffea.methods.likelihood.hadronic import Hadronic, HadronicBlock
from hhh_coffea.methods.likelihood.leptonic import Leptonic, LeptonicBlock
from hhh_coffea.methods.likelihood.newton import Pattern, dense

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

    longest: ClassVar[Sequence[tuple[float, float]]] = (
        *HadronicBlock.longest,
        *LeptonicBlock.longest,
        (LONGEST_MASS, 0.0),
    )

    def __call__(self, x: Tensor) -> Tensor:
        """Value, gradient, minus second derivatives; then the Breit–Wigner terms (see :mod:`.newton`)."""
        mass = x[LAST]
        had, h = self.hadronic.parts(x[:N_HAD], mass)
        lep, t = self.leptonic.parts(x[N_HAD:LAST], mass)
        curved = [had[1 + N_HAD : 10], lep[1 + N_LEP : 21]]
        had_terms, lep_terms = had[10:].view(2, 1 + N_HAD, -1), lep[21:].view(2, 1 + N_LEP, -1)
        # the gradient of m² is that of r times MΓ
        per_slope = mass * self.hadronic.options.gamma_top
        border = [h.mixed * per_slope * had_terms[1, 1:], t.mixed * per_slope * lep_terms[1, 1:]]
        border.append((h.curvature + t.curvature).unsqueeze(0))
        first = [had[1 : 1 + N_HAD], lep[1 : 1 + N_LEP], (h.slope + t.slope).unsqueeze(0)]
        zeros = x.new_zeros(N_LEP, x.shape[1])
        weighted = []
        for k, (own_h, own_t) in enumerate(((zeros[0], zeros[0]), (h.residual, t.residual))):
            weighted += [had_terms[k], zeros, own_h.unsqueeze(0)]
            weighted += [lep_terms[k, :1], zeros[:N_HAD], lep_terms[k, 1:], own_t.unsqueeze(0)]
        return torch.cat([(had[0] + lep[0]).unsqueeze(0), *first, *curved, *border, *weighted])


class Joint:
    """Permutations given by the numbers of their fits among the triplets and the leptonic b jets."""

    pattern: ClassVar[Pattern] = (
        dense(N_HAD) + [(i + N_HAD, j + N_HAD) for i, j in dense(N_LEP)] + [(LAST, j) for j in range(LAST + 1)]
    )

    def __init__(self, hadronic: Hadronic, leptonic: Leptonic, of: tuple[Tensor, Tensor]) -> None:
        self.hadronic, self.leptonic, self.of = hadronic, leptonic, of

    def block(self, fits: Tensor) -> JointBlock:
        """The permutations with these numbers."""
        return JointBlock(self.hadronic.block(self.of[0][fits]), self.leptonic.block(self.of[1][fits]))
