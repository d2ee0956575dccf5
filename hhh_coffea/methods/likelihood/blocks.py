"""The block fits of events with leptons of one flavor, and how permutations are made of them (spec §3.2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from hhh_coffea.methods.likelihood.events import ELECTRON, LeptonJets, jets_as, leptons_as
from hhh_coffea.methods.likelihood.hadronic import Hadronic
from hhh_coffea.methods.likelihood.higgs import Higgs
from hhh_coffea.methods.likelihood.leptonic import Leptonic
from hhh_coffea.methods.likelihood.maximum import maximise
from hhh_coffea.methods.likelihood.newton import Maximum
from hhh_coffea.methods.likelihood.tables import Table, table
from hhh_coffea.methods.likelihood.transfer import Transfer
from hhh_coffea.methods.likelihood.transfer_file import TransferFunctions
from hhh_coffea.methods.likelihood_options import LikelihoodOptions

LIGHT_MASS = 0.0


@dataclass(frozen=True)
class Group:
    """Events with equally many jets, and where their fits start among those of each kind."""

    rows: Tensor  # (M,): positions among the events
    table: Table
    first: tuple[int, int, int]  # of the triplets, leptonic b jets, Higgs pairs

    def of(self, values: Tensor, kind: int) -> Tensor:
        """Values ``(…, n)`` of all fits of a kind (0, 1, 2) → ``(…, M, entries)`` of this group's."""
        entries = (len(self.table.triplets), self.table.n_jets, len(self.table.pairs))[kind]
        part = values[..., self.first[kind] : self.first[kind] + len(self.rows) * entries]
        return part.reshape(*part.shape[:-1], len(self.rows), entries)

    def sums(self, hadronic: Tensor, leptonic: Tensor, higgs: Tensor | None) -> Tensor:
        """Values ``(…, n)`` of all fits of each kind → ``(…, M, P)`` of the permutations."""
        of = self.table.of
        total = self.of(hadronic, 0)[..., of[:, 0]] + self.of(leptonic, 1)[..., of[:, 1]]
        return total if higgs is None else total + self.of(higgs, 2)[..., of[:, 2]]

    def fits(self, event: Tensor, permutation: Tensor) -> list[Tensor]:
        """Numbers of the fits, one tensor per kind, of the permutations with these numbers."""
        of = self.table.of[permutation]
        entries = (len(self.table.triplets), self.table.n_jets, len(self.table.pairs))
        return [self.first[k] + event * entries[k] + of[..., k] for k in range(of.shape[-1])]


class Blocks:
    """All block fits of ``events``, whose leptons have one flavor and whose jets are in the order offered."""

    def __init__(
        self, events: LeptonJets, flavor: int, functions: TransferFunctions, options: LikelihoodOptions
    ) -> None:
        device = events.met.device
        light, bottom, lepton = (
            Transfer.of(getattr(functions, p), jacobian=options.jacobian, device=device)
            for p in ("light", "bottom", "electron" if flavor == ELECTRON else "muon")
        )
        self.options = options
        self.bottom = bottom, jets_as(events, bottom, options.bottom_mass, options)
        self.light = light, jets_as(events, light, LIGHT_MASS, options)
        self.lepton = lepton, leptons_as(events, flavor, lepton, functions.met, options)
        self.groups = list(_groups(events, options.higgs))
        slots = events.mask.shape[1]

        def flat(kind: str) -> Tensor:
            """Positions among the flattened jets, ``(columns, n)``, of the jets of all entries of a table."""
            parts = [
                (g.rows[:, None, None] * slots + getattr(g.table, kind)).reshape(-1, getattr(g.table, kind).shape[1])
                for g in self.groups
            ]
            return torch.cat(parts).T.contiguous()

        if not self.groups:
            return
        triplets, singles = flat("triplets"), flat("singles")[0]
        self.hadronic = Hadronic(self.bottom, self.light, triplets[0], triplets[1:], options, options.top_mass)
        self.leptonic = Leptonic(self.bottom, self.lepton, singles, singles // slots, options, options.top_mass)
        self.higgs = Higgs(self.bottom, flat("pairs"), options) if options.higgs else None

    def maximise(self) -> tuple[Maximum, Maximum, Maximum | None]:
        """Maxima of all fits of each kind at the fixed top mass."""
        o = self.options
        found = [
            maximise(p, p.starts(), starts=p.n_starts, tolerance=o.tolerance, max_iterations=o.max_iterations)
            for p in (self.hadronic, self.leptonic)
        ]
        return found[0], found[1], self.higgs.maximise() if self.higgs else None


def _groups(events: LeptonJets, higgs: bool) -> Iterator[Group]:
    """Events with equally many jets; those with too few are left out."""
    counts = events.mask.sum(1)
    first = (0, 0, 0)
    for n in range(6 if higgs else 4, events.mask.shape[1] + 1):
        rows = torch.nonzero(counts == n)[:, 0]
        if not len(rows):
            continue
        t = table(n, higgs).to(rows.device)
        yield Group(rows, t, first)
        entries = (len(t.triplets), n, len(t.pairs))
        first = (first[0] + len(rows) * entries[0], first[1] + len(rows) * n, first[2] + len(rows) * entries[2])
