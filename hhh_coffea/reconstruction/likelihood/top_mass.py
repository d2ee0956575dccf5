"""Free top mass: the two top blocks are profiled in M, then the best permutations are fitted in all nine parameters."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from hhh_coffea.reconstruction.likelihood.blocks import Blocks, Group
from hhh_coffea.reconstruction.likelihood.hadronic import Hadronic
from hhh_coffea.reconstruction.likelihood.joint import LAST, N_HAD, Joint, TopTerm
from hhh_coffea.reconstruction.likelihood.leptonic import Leptonic
from hhh_coffea.reconstruction.likelihood.newton import Maximum, maximise
from hhh_coffea.reconstruction.likelihood.tables import table

# GeV. The fits of a block change little between two of them, and start from each other, from the middle outwards.
GRID = (100.0, 120.0, 135.0, 148.0, 158.0, 166.0, 174.0, 182.0, 191.0, 202.0, 216.0, 235.0, 262.0, 300.0)
MIDDLE = GRID.index(174.0)
ROUGH = 1e-4  # ln L to which the profile is fitted
INSIDE = torch.linspace(0, 1, 9, dtype=torch.float64)  # points of an interval at which the profile is looked up
LARGEST = 1 << 22  # numbers in one array of profiles


class Profile:
    """T(M) of all fits of one kind: value and derivative ``(G, n)``, parameters ``(G, P, n)``."""

    def __init__(self, problem: Hadronic | Leptonic, max_iterations: int) -> None:
        mass = torch.tensor(GRID, dtype=torch.float64, device=problem.b.device)
        n = len(problem.b)
        first = problem.at_mass(mass[MIDDLE].item())
        start = maximise(
            first, first.starts(), starts=first.n_starts, tolerance=ROUGH, max_iterations=max_iterations
        ).best(first.n_starts)
        self.x = start.x.new_empty(len(GRID), *start.x.shape)
        self.value, self.slope = (start.value.new_empty(len(GRID), n) for _ in range(2))
        for nodes in (range(MIDDLE, len(GRID)), range(MIDDLE - 1, -1, -1)):
            x = start.x
            for k in nodes:
                here = problem.at_mass(mass[k].item())
                x = maximise(here, x, tolerance=ROUGH, max_iterations=max_iterations).x
                self._keep(k, here, x, mass[k])

    def _keep(self, k: int, problem: Hadronic | Leptonic, x: Tensor, mass: Tensor) -> None:
        self.x[k] = x
        for fits in torch.arange(x.shape[1], device=x.device).split(1 << 16):
            block = problem.block(fits)
            rows, term, t, _ = block.parts(x[:, fits], mass)
            self.value[k, fits] = rows[0].nan_to_num(nan=-torch.inf)
            self.slope[k, fits] = TopTerm(term, t, mass, block).slope


class FreeTopMass:
    """Maxima over the top mass as well."""

    def __init__(self, blocks: Blocks) -> None:
        self.blocks, self.options = blocks, blocks.options
        self.hadronic = Profile(blocks.hadronic, self.options.max_iterations)
        self.leptonic = Profile(blocks.leptonic, self.options.max_iterations)
        self.higgs = blocks.higgs.maximise() if blocks.higgs else None

    def log_likelihood(self, group: Group, tags: Tensor) -> Tensor:
        """``(M, P)``: the ``polish`` best permutations of an event from the full fit, others from the profile."""
        tops = replace(group, table=table(group.table.n_jets, False).to(tags.device))
        value = self._profile(tops)[0]
        if self.options.polish is None:
            event, row = (i.flatten() for i in torch.meshgrid(*map(torch.arange, value.shape), indexing="ij"))
        else:
            ranking = self._with_higgs(group, value) + tags
            top = group.table.tops[ranking.topk(min(self.options.polish, ranking.shape[1]), dim=1).indices]
            event, row = torch.arange(len(top), device=top.device).repeat_interleave(top.shape[1]), top.flatten()
        fitted = self._polish(tops, event.to(value.device), row.to(value.device))
        value[event, row] = torch.maximum(value[event, row].where(~fitted.converged, -torch.inf), fitted.value)
        return self._with_higgs(group, value)

    def parameters(
        self, group: Group, event: Tensor, permutation: Tensor
    ) -> tuple[Tensor, Tensor, float | Tensor, tuple[Tensor, Tensor]]:
        """Of these permutations: energies of jets and lepton ``(M, 5 or 7)``, neutrino, top mass, and two flags."""
        tops = replace(group, table=table(group.table.n_jets, False).to(event.device))
        fitted = self._polish(tops, event, group.table.tops[permutation])
        fits = group.fits(event, permutation)
        x, converged, at_limit = fitted.x, fitted.converged, fitted.at_limit
        higgs: list[Tensor] = []
        if self.higgs is not None:
            higgs = list(self.higgs.x[:, fits[2]])
            converged = converged & self.higgs.converged[fits[2]]
            at_limit = at_limit | self.higgs.at_limit[fits[2]]
        energies = torch.stack([x[0], x[N_HAD], x[1], x[2], *higgs, x[N_HAD + 1]], dim=1)
        neutrino = self.blocks.leptonic.block(fits[1]).neutrino(x[N_HAD:LAST])
        return energies, neutrino.T, x[LAST], (converged, at_limit)

    def _with_higgs(self, group: Group, tops: Tensor) -> Tensor:
        """Values of the top quarks' permutations ``(M, P_tt)`` → of all ``(M, P)``."""
        value = tops[:, group.table.tops]
        return value if self.higgs is None else value + group.of(self.higgs.value, 2)[:, group.table.of[:, 2]]

    def _profile(self, tops: Group) -> tuple[Tensor, Tensor, Tensor]:
        """Maximum over M of the sum of both profiles, M there, and the node next to it: ``(M, P_tt)``."""
        size = max(1, LARGEST // (len(GRID) * len(tops.table.permutations)))
        rows = torch.arange(len(tops.rows), device=tops.rows.device)
        parts = [self._peak(tops, at) for at in rows.split(size)]
        value, mass, node = (torch.cat(p) for p in zip(*parts, strict=True))
        return value, mass, node

    def _peak(self, tops: Group, at: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        of = tops.table.of

        def sums(had: Tensor, lep: Tensor) -> Tensor:
            return tops.of(had, 0)[:, at][..., of[:, 0]] + tops.of(lep, 1)[:, at][..., of[:, 1]]

        value, slope = sums(self.hadronic.value, self.leptonic.value), sums(self.hadronic.slope, self.leptonic.slope)
        best, node = value.max(0)
        mass = torch.tensor(GRID, dtype=torch.float64, device=value.device)
        peak = mass[node]
        s = INSIDE.to(value.device)
        for side in (-1, 0):  # the intervals below and above the best node, by cubic Hermite interpolation
            low = (node + side).clamp(0, len(GRID) - 2).unsqueeze(0)
            v0, v1 = (value.gather(0, low + k)[0].unsqueeze(-1) for k in (0, 1))
            m0, m1 = mass[low[0]].unsqueeze(-1), mass[low[0] + 1].unsqueeze(-1)
            d0, d1 = (slope.gather(0, low + k)[0].unsqueeze(-1) * (m1 - m0) for k in (0, 1))
            rise = v1 - v0
            curve = v0 + s * (d0 + s * (3 * rise - 2 * d0 - d1 + s * (d0 + d1 - 2 * rise)))
            top, where = curve.nan_to_num(nan=-torch.inf).max(-1)
            better = top > best
            best = torch.where(better, top, best)
            peak = torch.where(better, (m0 + (m1 - m0) * s).gather(-1, where.unsqueeze(-1))[..., 0], peak)
        return best, peak, node

    def _polish(self, tops: Group, event: Tensor, row: Tensor) -> Maximum:
        """Full fits of these permutations of the top quarks from the nearest node of the profile."""
        _, mass, node = (v[event, row] for v in self._profile(tops))
        had, lep = tops.fits(event, row)
        start = torch.cat([self.hadronic.x[node, :, had].T, self.leptonic.x[node, :, lep].T, mass.unsqueeze(0)])
        problem = Joint(self.blocks.hadronic, self.blocks.leptonic, (had, lep))
        return maximise(problem, start, tolerance=self.options.tolerance, max_iterations=self.options.max_iterations)
