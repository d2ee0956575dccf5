"""Tables of sets of jets that dynamic programming over them needs; they depend on the number of jets alone."""

from __future__ import annotations

import itertools
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

IntArray = npt.NDArray[np.int64]


@lru_cache(maxsize=32)
def subsets(n: int, size: int) -> IntArray:
    """All sets of ``size`` out of n jets, in lexicographic order: ``(sets, size)``."""
    return np.array(list(itertools.combinations(range(n), size)), dtype=np.int64).reshape(-1, size)


def splits(n: int, m: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Ways to split each set of 2m jets into a pair and a set of 2m − 2: their indices, ``(sets, ways)`` twice."""
    pairs, others = _split_tables(n, m)
    return torch.from_numpy(pairs).to(device), torch.from_numpy(others).to(device)


def disjoint(n: int, size: int, device: torch.device) -> Tensor:
    """For each pair of jets, the sets of ``size`` jets without them: ``(Q, sets)`` indices."""
    return torch.from_numpy(_disjoint_table(n, size)).to(device)


def are_disjoint(n: int, size: int, device: torch.device) -> Tensor:
    """1 where a set of ``size`` jets and a pair have no jet in common, otherwise 0: ``(sets, Q)``."""
    return torch.from_numpy(_are_disjoint_table(n, size)).to(device)


@lru_cache(maxsize=32)
def _split_tables(n: int, m: int) -> tuple[IntArray, IntArray]:
    pair_of = {tuple(s): i for i, s in enumerate(subsets(n, 2).tolist())}
    rest_of = {tuple(s): i for i, s in enumerate(subsets(n, 2 * m - 2).tolist())}
    pairs, others = [], []
    for jets in subsets(n, 2 * m).tolist():
        ways = list(itertools.combinations(jets, 2))
        pairs.append([pair_of[q] for q in ways])
        others.append([rest_of[tuple(j for j in jets if j not in q)] for q in ways])
    return np.array(pairs), np.array(others)


@lru_cache(maxsize=32)
def _disjoint_table(n: int, size: int) -> IntArray:
    return np.stack([np.flatnonzero(column) for column in _are_disjoint_table(n, size).T])


@lru_cache(maxsize=32)
def _are_disjoint_table(n: int, size: int) -> npt.NDArray[np.float32]:
    sets = subsets(n, size)
    return np.stack([~np.isin(sets, pair).any(1) for pair in subsets(n, 2)], axis=1).astype(np.float32)
