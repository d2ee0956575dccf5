"""Assignments of n jets, and which block fits each is the sum of (spec §3.1, §3.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations, permutations

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Table:
    """Blocks and permutations of n jets; everything in lexicographic order.

    ``permutations``: b_had, b_lep, q1 < q2, and with a Higgs boson b1 < b2. ``of``: for each permutation its row among
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
    jets = range(n_jets)
    triplets = [(b, i, j) for b in jets for i, j in combinations(jets, 2) if b not in (i, j)]
    pairs = list(combinations(jets, 2)) if higgs else []
    triplet_row = {t: row for row, t in enumerate(triplets)}
    pair_row = {p: row for row, p in enumerate(pairs)}
    rows: list[tuple[int, ...]] = []
    of: list[list[int]] = []
    for b_had, b_lep in permutations(jets, 2):
        for i, j in combinations([k for k in jets if k not in (b_had, b_lep)], 2):
            blocks = [triplet_row[b_had, i, j], b_lep]
            if not higgs:
                rows.append((b_had, b_lep, i, j))
                of.append(blocks)
                continue
            for b1, b2 in combinations([k for k in jets if k not in (b_had, b_lep, i, j)], 2):
                rows.append((b_had, b_lep, i, j, b1, b2))
                of.append([*blocks, pair_row[b1, b2]])
    width = 3 if higgs else 2

    def tensor(content: Sequence[Sequence[int]], columns: int) -> Tensor:
        return torch.from_numpy(np.array(content, dtype=np.int64).reshape(-1, columns))

    permuted = tensor(rows, 2 * width)
    tops = torch.arange(len(rows))
    if higgs:
        row_of = {tuple(p): row for row, p in enumerate(table(n_jets, False).permutations.tolist())}
        tops = torch.tensor([row_of[r[:4]] for r in rows])
    return Table(n_jets, tensor(triplets, 3), tensor(pairs, 2), permuted, tensor(of, width), tops)
