"""The kinematic likelihood fit of many events (spec §3)."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from hhh_coffea.methods.likelihood.blocks import Blocks, Group
from hhh_coffea.methods.likelihood.events import ELECTRON, MUON, LeptonJets
from hhh_coffea.methods.likelihood.tagging import log_tags
from hhh_coffea.methods.likelihood.top_mass import FreeTopMass
from hhh_coffea.methods.likelihood.transfer_file import TransferFunctions
from hhh_coffea.methods.likelihood_options import LikelihoodOptions

EVENTS = 4096  # fitted together


@dataclass(frozen=True)
class Permutations:
    """All permutations of the events with one number of offered jets."""

    events: Tensor  # (M,): positions among the input events
    jets: Tensor  # (P, 4 or 6): b_had, q1, q2, b_lep [, b1, b2], positions among the offered jets
    offered: Tensor  # (M, n): positions of the offered jets among those of the input
    log_likelihood: Tensor  # (M, P), without b tags; −inf where a fit is not finite
    log_tags: Tensor  # (M, P): what b tagging adds to it in the ranking; −inf is a veto

    @property
    def probability(self) -> Tensor:
        """Event probability ``(M, P)``: L × b-tag factors over the sum of all permutations; 0 where nothing is left."""
        return torch.softmax(self.log_likelihood + self.log_tags, dim=1).nan_to_num(0)


@dataclass(frozen=True)
class LikelihoodFit:
    """Result per event; GeV. Without an assignment ``jets`` are −1, flags False, the rest NaN."""

    jets: Tensor  # (N, 4 or 6): b_had, q1, q2, b_lep [, b1, b2], positions among the jets of the input
    log_likelihood: Tensor  # (N,), of the assignment, without b tags
    probability: Tensor  # (N,), event probability of the assignment
    energies: Tensor  # (N, 4 or 6), fitted, in the order of jets
    lepton_energy: Tensor  # (N,), fitted
    neutrino: Tensor  # (N, 3), fitted px, py, pz
    top_mass: Tensor  # (N,), in the fit
    converged: Tensor  # (N,), bool
    at_limit: Tensor  # (N,), bool: a fitted energy is at the end of its range
    n_permutations: Tensor  # (N,), with a finite fit and not vetoed
    permutations: list[Permutations] = field(default_factory=list)  # where asked for


def fit(
    events: LeptonJets, functions: TransferFunctions, options: LikelihoodOptions, *, permutations: bool = False
) -> LikelihoodFit:
    """Fit all permutations of all events on the device they are on, and choose the best of each event.

    ``permutations`` also returns every permutation (5,040 per event of ttH with 8 jets). Events with fewer than 4
    (ttH: 6) jets, or without a permutation that is finite and not vetoed, get no assignment.

    Raises
    ------
    UserError
        if the working point of b tagging is asked for and ``functions`` have no rates of it.
    """
    n, width, device = len(events), 6 if options.higgs else 4, events.met.device

    def empty(*shape: int) -> Tensor:
        return torch.full((n, *shape), torch.nan, dtype=torch.float64, device=device)

    no = torch.zeros(n, dtype=torch.bool, device=device)
    result = LikelihoodFit(
        torch.full((n, width), -1, device=device),
        empty(),
        empty(),
        empty(width),
        empty(),
        empty(3),
        empty(),
        no.clone(),
        no.clone(),
        torch.zeros(n, dtype=torch.int64, device=device),
    )
    with torch.no_grad():
        for first in range(0, n, EVENTS):
            for flavor in (ELECTRON, MUON):
                rows = first + torch.nonzero(events.lepton_flavor[first : first + EVENTS] == flavor)[:, 0]
                _fit(events.rows(rows), rows, flavor, functions, options, result, permutations)
    return result


def _fit(
    events: LeptonJets,
    rows: Tensor,
    flavor: int,
    functions: TransferFunctions,
    options: LikelihoodOptions,
    result: LikelihoodFit,
    permutations: bool,
) -> None:
    """Fit events with one flavor and write what is found into the ``rows`` of ``result``."""
    chosen, order = events.offered(options.max_jets)
    blocks = Blocks(chosen, flavor, functions, options)
    if not blocks.groups:
        return
    found = FreeTopMass(blocks) if options.free_top_mass else FixedTopMass(blocks)
    for group in blocks.groups:
        tags = log_tags(chosen.rows(group.rows), group.table, options.btag, functions.btag)
        value = found.log_likelihood(group, tags)
        ranking = value + tags
        allowed = ranking > -torch.inf
        best = ranking.argmax(1)
        some = torch.nonzero(allowed.any(1))[:, 0]
        best, at = best[some], rows[group.rows[some]]
        x, neutrino, top_mass, flags = found.parameters(group, some, best)
        positions = order[group.rows]
        result.jets[at] = positions[some].gather(1, group.table.permutations[best])
        result.log_likelihood[at] = value[some, best]
        result.probability[at] = torch.softmax(ranking[some], 1).gather(1, best.unsqueeze(1))[:, 0]
        result.energies[at], result.lepton_energy[at] = x[:, :-1], x[:, -1]
        result.neutrino[at], result.top_mass[at] = neutrino, top_mass
        result.converged[at], result.at_limit[at] = flags
        result.n_permutations[at] = allowed.sum(1)[some]
        if permutations:
            n = group.table.n_jets
            result.permutations.append(
                Permutations(rows[group.rows], group.table.permutations, positions[:, :n], value, tags)
            )


class FixedTopMass:
    """Maxima at the top mass of the options: sums over the blocks."""

    def __init__(self, blocks: Blocks) -> None:
        self.blocks = blocks
        self.maxima = [m for m in blocks.maximise() if m is not None]

    def log_likelihood(self, group: Group, tags: Tensor) -> Tensor:  # noqa: ARG002 (the same for every permutation)
        """``(M, P)``."""
        values = [m.value for m in self.maxima]
        return group.sums(values[0], values[1], values[2] if len(values) > 2 else None)

    def parameters(
        self, group: Group, event: Tensor, permutation: Tensor
    ) -> tuple[Tensor, Tensor, float | Tensor, tuple[Tensor, Tensor]]:
        """Of these permutations: energies of jets and lepton ``(M, 5 or 7)``, neutrino, top mass, and two flags."""
        fits = group.fits(event, permutation)
        had, lep, *higgs = (m.x[:, f] for m, f in zip(self.maxima, fits, strict=True))
        flags = [
            torch.stack([getattr(m, name)[f] for m, f in zip(self.maxima, fits, strict=True)])
            for name in ("converged", "at_limit")
        ]
        energies = [had[0], had[1], had[2], lep[0], *(higgs[0] if higgs else ()), lep[1]]
        neutrino = self.blocks.leptonic.block(fits[1]).neutrino(lep)
        mass = self.blocks.options.top_mass
        return torch.stack(energies, dim=1), neutrino.T, mass, (flags[0].all(0), flags[1].any(0))
