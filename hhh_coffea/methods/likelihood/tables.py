"""Assignments of n jets as tensors, and which block fits each is the sum of (spec §3.1, §3.2)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from hhh_coffea.methods.chi2_tops import PATTERNS
from hhh_coffea.topology.assignments import assignments


@dataclass(frozen=True)
class Table:
    """Blocks and permutations of n jets, in the order of :func:`hhh_coffea.topology.assignments.assignments`.

    ``permutations``: b_had, q1 < q2, b_lep, and with a Higgs boson b1 < b2. ``of``: for each permutation its row among
    the triplets (b, q1, q2), the leptonic b jets and the Higgs pairs.
    """

    n_jets: int
    triplets: Tensor  # (T, 3)
    pairs: Tensor  # (H, 2); empty without a Higgs boson
    permutations: Tensor  # (P, 4 or 6)
    of: Tensor  # (P, 2 or 3)
    tops: Tensor  # (P,): row of the same top quarks in the table without a Higgs boson

    @property
    def singles(self) -> Tensor:
        """Jets on their own, ``(n, 1)``: the leptonic b."""
        return torch.arange(self.n_jets, device=self.triplets.device).unsqueeze(1)

    @property
    def higgs(self) -> bool:
        """Whether there is a Higgs boson."""
        return len(self.pairs) > 0

    def to(self, device: torch.device) -> Table:
        """The same on another device."""
        return Table(
            self.n_jets, *(t.to(device) for t in (self.triplets, self.pairs, self.permutations, self.of, self.tops))
        )


@cache
def table(n_jets: int, higgs: bool) -> Table:
    """n!/(2(n − 4)!) permutations, with a Higgs boson n!/(4(n − 6)!)."""
    found = assignments(tuple(PATTERNS[name] for name in ("ht", "lt", *(["h"] if higgs else []))), n_jets)
    triplets, _, *pairs = (torch.tensor(choices, dtype=torch.int64) for choices in found.choices)
    n_tops = len(assignments((PATTERNS["ht"], PATTERNS["lt"]), n_jets).rows)
    return Table(
        n_jets,
        triplets,
        pairs[0] if pairs else torch.empty(0, 2, dtype=torch.int64),
        torch.tensor(found.objects, dtype=torch.int64),
        torch.tensor(found.rows),
        # every choice of top quarks leaves equally many for the Higgs boson, which come one after the other
        torch.arange(n_tops).repeat_interleave(len(found.rows) // n_tops),
    )
