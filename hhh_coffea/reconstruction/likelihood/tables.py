"""Assignments of n jets, and which block fits each is the sum of (spec §3.1, §3.2)."""

from __future__ import annotations

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

    triplets: Tensor  # (T, 3)
    pairs: Tensor  # (H, 2); empty without a Higgs boson
    permutations: Tensor  # (P, 4 or 6)
    of: Tensor  # (P, 2 or 3)

    def to(self, device: torch.device) -> Table:
        """The same on another device."""
        return Table(*(t.to(device) for t in (self.triplets, self.pairs, self.permutations, self.of)))


@cache
def table(n_jets: int, higgs: bool) -> Table:
    """n!/(2(n − 4)!) permutations, with a Higgs boson n!/(4(n − 6)!)."""
    jets = range(n_jets)
    triplets = [(b, i, j) for b in jets for i, j in combinations(jets, 2) if b not in (i, j)]
    pairs = list(combinations(jets, 2)) if higgs else []
    triplet_row = {t: row for row, t in enumerate(triplets)}
    pair_row = {p: row for row, p in enumerate(pairs)}
    rows, of = [], []
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

    def tensor(content: list[tuple[int, ...]] | list[list[int]], columns: int) -> Tensor:
        return torch.from_numpy(np.array(content, dtype=np.int64).reshape(-1, columns))

    return Table(tensor(triplets, 3), tensor(pairs, 2), tensor(rows, 2 * width), tensor(of, width))
