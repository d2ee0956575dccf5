"""Free top mass: the two top blocks are profiled in M, then the best permutations are fitted in all nine parameters."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from hhh_coffea.methods.likelihood.blocks import Blocks, Group
from hhh_coffea.methods.likelihood.hadronic import Hadronic
from hhh_coffea.methods.likelihood.joint import LAST, N_HAD, Joint
from hhh_coffea.methods.likelihood.leptonic import Leptonic
from hhh_coffea.methods.likelihood.maximum import maximise
from hhh_coffea.methods.likelihood.newton import Maximum
from hhh_coffea.methods.likelihood.tables import table
from hhh_coffea.methods.likelihood_options import LikelihoodOptions

# GeV; the fits of a block change little between two of them
GRID = (100.0, 125.0, 145.0, 159.0, 174.0, 189.0, 206.0, 230.0, 264.0, 300.0)
ANCHORS_HAD, ANCHORS_LEP = (174.0, 264.0), (125.0, 174.0, 206.0, 264.0)
ROUGH = 1e-3  # ln L to which the profile is fitted
INSIDE = (0.0, 0.2, 0.4, 0.6, 0.8)  # points of an interval at which the profile is looked up
LARGEST = 1 << 22  # numbers in one array of profiles


class Profile:
    """T(M) of all fits of one kind: value and derivative ``(G, n)``, parameters ``(G, P, n)``.

    At the ``anchors`` the fits have all their starts; at the other nodes they start from the nearest nodes below and above
    that are done.
    """

    def __init__(self, problem: Hadronic | Leptonic, anchors: tuple[float, ...], max_iterations: int) -> None:
        found: dict[int, Maximum] = {}
        for k in sorted(range(len(GRID)), key=lambda k: min(abs(k - GRID.index(a)) for a in anchors)):
            here = problem.at_mass(GRID[k])
            if GRID[k] in anchors:
                starts = here.starts().chunk(here.n_starts, dim=1)
                if found:  # the measured values have been a start at another anchor
                    starts = starts[here.n_starts - 2 :] if isinstance(here, Hadronic) else starts
            else:
                near = {max((j for j in found if j < k), default=None), min((j for j in found if j > k), default=None)}
                starts = tuple(found[j].x for j in near if j is not None)
            found[k] = maximise(
                here, torch.cat(starts, dim=1), starts=len(starts), tolerance=ROUGH, max_iterations=max_iterations
            )
        self.x = torch.stack([found[k].x for k in range(len(GRID))])
        self.value = torch.stack([found[k].value for k in range(len(GRID))])
        self.slope = torch.empty_like(self.value)
        mass = torch.tensor(GRID, dtype=torch.float64, device=self.x.device).unsqueeze(1)
        for fits in torch.split(torch.arange(len(problem.b), device=self.x.device), 1 << 12):
            block = problem.block(fits)
            self.slope[:, fits] = _slope(block.top_mass2(self.x[..., fits].transpose(0, 1)), mass, problem.options)


def _slope(t: Tensor, mass: Tensor, options: LikelihoodOptions) -> Tensor:
    """Derivative in M of one ln L term B(m; M) at m² = t: that of the profile, for the fit is at its maximum."""
    width = options.gamma_top
    r = (t / mass - mass) / width
    return 2 * r / (1 + r * r) * (t / mass**2 + 1) / width - (1 if options.normalised else 2) / mass


class FreeTopMass:
    """Maxima over the top mass as well."""

    def __init__(self, blocks: Blocks) -> None:
        self.blocks, self.options = blocks, blocks.options
        self.hadronic = Profile(blocks.hadronic, ANCHORS_HAD, self.options.max_iterations)
        self.leptonic = Profile(blocks.leptonic, ANCHORS_LEP, self.options.max_iterations)
        self.higgs = blocks.higgs.maximise() if blocks.higgs else None
        self._profiles: dict[int, tuple[Tensor, Tensor, Tensor]] = {}

    def log_likelihood(self, group: Group, tags: Tensor) -> Tensor:
        """``(M, P)``: the ``polish`` best permutations of an event from the full fit, others from the profile."""
        tops = replace(group, table=table(group.table.n_jets, False).to(tags.device))
        value = self._profile(tops)[0].clone()
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
        energies = torch.stack([x[0], x[1], x[2], x[N_HAD], *higgs, x[N_HAD + 1]], dim=1)
        neutrino = self.blocks.leptonic.block(fits[1]).neutrino(x[N_HAD:LAST])
        return energies, neutrino.T, x[LAST], (converged, at_limit)

    def _with_higgs(self, group: Group, tops: Tensor) -> Tensor:
        """Values of the top quarks' permutations ``(M, P_tt)`` → of all ``(M, P)``."""
        value = tops[:, group.table.tops]
        return value if self.higgs is None else value + group.of(self.higgs.value, 2)[:, group.table.of[:, 2]]

    def _profile(self, tops: Group) -> tuple[Tensor, Tensor, Tensor]:
        """Maximum over M of the sum of both profiles, M there, and the node next to it: ``(M, P_tt)``."""
        if (known := self._profiles.get(tops.table.n_jets)) is not None:
            return known
        size = max(1, LARGEST // (len(GRID) * len(tops.table.permutations)))
        rows = torch.arange(len(tops.rows), device=tops.rows.device)
        parts = [self._peak(tops, at) for at in torch.split(rows, size)]
        value, mass, node = (torch.cat(p) for p in zip(*parts, strict=True))
        self._profiles[tops.table.n_jets] = value, mass, node
        return value, mass, node

    def _peak(self, tops: Group, at: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        of = tops.table.of

        def sums(had: Tensor, lep: Tensor) -> Tensor:
            return tops.of(had, 0)[:, at][..., of[:, 0]] + tops.of(lep, 1)[:, at][..., of[:, 1]]

        value, slope = sums(self.hadronic.value, self.leptonic.value), sums(self.hadronic.slope, self.leptonic.slope)
        mass = torch.tensor(GRID, dtype=torch.float64, device=value.device)
        best, node = value.max(0)
        peak = mass[node]
        nodes = torch.arange(len(GRID) - 1, device=value.device)
        width = mass.diff()[:, None, None]
        d0, d1, rise = slope[:-1] * width, slope[1:] * width, value.diff(dim=0)
        for u in INSIDE[1:]:  # cubic Hermite interpolation
            curve = value[:-1] + u * (d0 + u * (3 * rise - 2 * d0 - d1 + u * (d0 + d1 - 2 * rise)))
            top, interval = curve.nan_to_num(nan=-torch.inf).max(0)
            better = top > best
            best = torch.where(better, top, best)
            peak = torch.where(better, (mass[:-1] + u * width[:, 0, 0])[interval], peak)
            node = torch.where(better, nodes[interval] + (u > 0.5), node)
        return best, peak, node

    def _polish(self, tops: Group, event: Tensor, row: Tensor) -> Maximum:
        """Full fits of these permutations of the top quarks, from the nodes of the profile on both sides of its peak."""
        _, mass, node = (v[event, row] for v in self._profile(tops))
        had, lep = tops.fits(event, row)
        other = node + torch.where(mass > torch.tensor(GRID, dtype=torch.float64, device=mass.device)[node], 1, -1)
        starts = [
            torch.cat([self.hadronic.x[k, :, had].T, self.leptonic.x[k, :, lep].T, mass.unsqueeze(0)])
            for k in (node, other.clamp(0, len(GRID) - 1))
        ]
        return maximise(
            Joint(self.blocks.hadronic, self.blocks.leptonic, (had, lep)),
            torch.cat(starts, dim=1),
            starts=2,
            tolerance=self.options.tolerance,
            max_iterations=self.options.max_iterations,
        )
