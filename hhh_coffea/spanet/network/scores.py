"""Scores of a target at pairs and at larger combinations of objects.

Shapes: B events, S objects, p targets that are alike, L pairs or combinations, D width, E channels of the pair embedding.
"""

from __future__ import annotations

import itertools
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hhh_coffea.spanet.network.features import scaled, squared_mass
from hhh_coffea.spanet.network.options import DefaultOptions
from hhh_coffea.spanet.network.outputs import representatives
from hhh_coffea.topology.topology import Permutation, Target


class Pairs(NamedTuple):
    """Kinematics of all Q = S(S − 1)/2 pairs of objects. Number Q stands for an object with itself."""

    embedded: Tensor  # (B, Q + 1, E)
    numbers: Tensor  # (S, S): which pair each two objects are
    masses: Tensor  # (B, Q): ln m² of each pair, scaled
    mass: Tensor  # (B, S): of each object (GeV)


class PairScore(nn.Module):
    """Score of a target at each pair of objects: a linear function, made by the target, of relu(A x_i + A' x_j + C e_ij).

    A' is A where the two daughters are interchangeable, which makes the score symmetric.
    """

    def __init__(self, options: DefaultOptions, n_objects: int):
        super().__init__()
        d, s = options.hidden_dim, options.score_dim
        self.target, self.pair = nn.Linear(d, s), nn.Linear(options.pair_dim, s)
        self.objects = nn.ModuleList(nn.Linear(d, s, bias=False) for _ in range(n_objects))

    def forward(self, v: Tensor, x: Tensor, i: Tensor, j: Tensor, pairs: Tensor) -> Tensor:
        """``v (B, p, D)``, objects ``x (B, T, D)``, L pairs ``i, j (L)`` of them, ``pairs (B, L, E)`` → ``(B, p, L)``."""
        hidden = self.pair(pairs)  # (B, L, score_dim)
        hidden += self.objects[0](x).index_select(1, i)  # several times faster than [:, i]
        hidden += self.objects[-1](x).index_select(1, j)
        return self.target(v) @ F.relu_(hidden).transpose(1, 2)  # type: ignore[no-any-return]


class CombinationScore(nn.Module):
    """Score of a target at each combination of its k > 2 daughters: a linear function, made by the target, of
    relu(Σ over pairs of daughters of (A x_i + A' x_j + C e_ij) + f(m)), m the mass of the combination.

    A, A' and C depend on the orbits of the two daughters, A' is A within an orbit: the score has the target's symmetry.
    """

    def __init__(self, options: DefaultOptions, target: Target):
        super().__init__()
        d, s = options.hidden_dim, options.score_dim
        orbit_of = [next(o for o, orbit in enumerate(target.orbits) if i in orbit) for i in range(target.degree)]
        self.daughters = [  # two daughters at a time, that of the lower orbit first
            (i, j, f"{orbit_of[i]}_{orbit_of[j]}")
            if orbit_of[i] <= orbit_of[j]
            else (j, i, f"{orbit_of[j]}_{orbit_of[i]}")
            for i, j in itertools.combinations(range(target.degree), 2)
        ]
        self.target = nn.Linear(d, s)
        self.mass = nn.Sequential(nn.Linear(1, options.pair_hidden), nn.ReLU(), nn.Linear(options.pair_hidden, s))
        self.pairs, self.first, self.second = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()
        for key in dict.fromkeys(key for *_, key in self.daughters):
            low, high = key.split("_")
            self.pairs[key], self.first[key] = nn.Linear(options.pair_dim, s, bias=False), nn.Linear(d, s, bias=False)
            if low != high:
                self.second[key] = nn.Linear(d, s, bias=False)

    def forward(self, v: Tensor, x: Tensor, index: Tensor, pairs: Pairs) -> Tensor:
        """``v (B, p, D)``, objects ``x (B, T, D)``, L combinations ``index (L, k)`` of them → ``(B, p, L)``."""
        n = len(pairs.numbers)
        hidden = self.mass(scaled(self._squared_mass(index, pairs).clamp_min(1e-2).log()).unsqueeze(-1))  # (B, L, s)
        every = pairs.numbers.flatten()
        known = {}  # of any two objects, in this order: (B, S², s)
        for key in self.pairs:
            first = self.first[key](x[:, :n])
            second = self.second[key](x[:, :n]) if key in self.second else first
            both = (first.unsqueeze(2) + second.unsqueeze(1)).flatten(1, 2)
            known[key] = both + self.pairs[key](pairs.embedded).index_select(1, every)
        for i, j, key in self.daughters:
            hidden = hidden + known[key].index_select(1, index[:, i] * n + index[:, j])
        return self.target(v) @ F.relu(hidden).transpose(1, 2)  # type: ignore[no-any-return]

    def _squared_mass(self, index: Tensor, pairs: Pairs) -> Tensor:
        """m² of each combination, ``(B, L)`` GeV²: Σ over pairs of m_ij² − (k − 2) Σ m_i²."""
        squares, own = squared_mass(pairs.masses), pairs.mass.square().index_select(1, index.flatten())
        total = -(index.shape[1] - 2) * own.view(len(own), *index.shape).sum(-1)  # (B, L)
        for i, j, _ in self.daughters:
            total = total + squares.index_select(1, pairs.numbers[index[:, i], index[:, j]])
        return total


def combinations(
    spans: tuple[tuple[int, int], ...], group: tuple[Permutation, ...], device: torch.device
) -> tuple[Tensor, Tensor]:
    """Every way to choose daughters out of their ``spans`` among the tokens, one for all orders that the group makes equal.

    Returns ``(L, k)`` positions among the tokens, and for each entry of the flat ``N1·…·Nk`` table its combination, L where an
    object would be taken twice.
    """
    index, place = _combinations(spans, group)
    return torch.from_numpy(index).to(device), torch.from_numpy(place).to(device)


@lru_cache(maxsize=128)
def _combinations(
    spans: tuple[tuple[int, int], ...], group: tuple[Permutation, ...]
) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.int64]], np.ndarray[tuple[int, ...], np.dtype[np.int64]]]:
    sizes, starts = tuple(b - a for a, b in spans), tuple(a for a, _ in spans)
    chosen = representatives(sizes, starts, group)
    place = np.full(sizes, len(chosen))
    for g in group:
        place[tuple(chosen[:, list(g)].T)] = np.arange(len(chosen))
    return chosen + np.array(starts), place.ravel()
