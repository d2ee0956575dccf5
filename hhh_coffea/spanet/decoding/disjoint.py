"""The best choice of one assignment for each target, no object used twice: exact, for targets of any number of daughters.

First every target takes its best assignment: where these do not clash, nothing can be better. Elsewhere comes dynamic
programming over sets of objects: V(S), the best way to hand the objects of S to the first m targets, is the largest of
V(S \\ T) + gain_m(T) over the sets T in S that target m may have. It is done for every choice of targets that are present, those
that cannot win left out. Arrays are (…, B), events last.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from hhh_coffea.spanet.decoding.joint import best, with_places
from hhh_coffea.spanet.network.sets import IntArray

NEVER = -1e9
LARGEST = 1 << 22  # numbers in a table of sets


def best_disjoint_choice(
    gains: Sequence[Tensor], objects: Sequence[IntArray], absent: float, particles: Sequence[int] = ()
) -> Tensor:
    """Which candidate each of n targets takes, ``(B, n)``, −1 for none.

    The sum of gains is largest: ``gains[i] (B, C_i)`` of the candidates of target i with ``objects[i] (C_i, k_i)``, ``absent``
    of a target without. Targets with equal entries of ``particles`` exclude each other. ValueError for more than 62 objects
    and particles.
    """
    bits = _bits(objects, particles or range(len(gains)))
    values = [gain.T.float().clamp_min(NEVER) for gain in gains]  # (C, B)
    tops = [best(with_places(value)) for value in values]
    chosen = torch.stack([torch.where(top > absent, place, -1) for top, place in tops])  # (n, B)
    uses = [torch.from_numpy(own).to(chosen.device) for own in bits]
    taken = [torch.where(c >= 0, u[c.clamp_min(0)], 0) for c, u in zip(chosen, uses, strict=True)]
    clash = torch.zeros_like(chosen[0], dtype=torch.bool)
    for a, b in itertools.combinations(taken, 2):
        clash |= (a & b) != 0
    left = clash.nonzero().squeeze(1)
    if len(left):
        # targets with few assignments first: their sets are combined most often
        order = sorted(range(len(gains)), key=lambda i: len(bits[i]))
        step = max(16, LARGEST // max(len(own) for own in bits) // 20)
        for some in torch.split(left, step):
            found = _exhaustive([values[i].index_select(1, some) for i in order], [bits[i] for i in order], absent)
            chosen[torch.tensor(order, device=some.device).unsqueeze(1), some] = found
    return chosen.T


def _bits(objects: Sequence[IntArray], particles: Sequence[int]) -> list[IntArray]:
    """What each candidate uses: a bit for each object, and one for the particle that its target is."""
    n = 1 + max(int(table.max(initial=-1)) for table in objects)
    if n + len(set(particles)) > 62:
        raise ValueError(f"at most 62 objects and particles are decoded jointly, not {n} and {len(set(particles))}")
    return [
        np.bitwise_or.reduce(np.int64(1) << table.astype(np.int64), axis=1) | np.int64(1) << (n + particle)
        for table, particle in zip(objects, particles, strict=True)
    ]


class _Ways(NamedTuple):
    """Sets of objects, and of each the ways to make it: rows of two tables, or of one."""

    sets: IntArray  # (S,), as bits
    first: IntArray  # (ways, S), rows; the number of rows where there are fewer ways
    second: IntArray


def _exhaustive(values: Sequence[Tensor], bits: Sequence[IntArray], absent: float) -> Tensor:
    """The best choice ``(n, B)`` among all, for gains ``values[i] (C_i, B)``."""
    n, batch = len(values), values[0].shape[1]
    own = [_grouped(some.tobytes()) for some in bits]
    tops = torch.stack([value.amax(0) for value in values]).double()  # (n, B)
    tables: dict[tuple[int, ...], tuple[Tensor, IntArray]] = {}

    def table(some: tuple[int, ...]) -> tuple[Tensor, IntArray]:
        """Best gain of the targets ``some`` for each set that they may have together, ``(S + 1, B)``, and the sets."""
        if some not in tables:
            last = some[-1]
            if len(some) == 1:
                tables[some] = _reduced(_with_never(values[last]), None, own[last]), own[last].sets
            else:
                (a, sets), (b, more) = table(some[:-1]), table((last,))
                ways = _unions(sets.tobytes(), more.tobytes())
                tables[some] = _reduced(a, b, ways), ways.sets
        return tables[some]

    total = torch.full((batch,), n * absent, dtype=torch.float64, device=tops.device)
    chosen = torch.full((n, batch), -1, device=tops.device)
    for size in range(n, 0, -1):
        for some in itertools.combinations(range(n), size):
            bound = tops[list(some)].sum(0) + (n - size) * absent
            if not bool((bound > total).any()):
                continue
            gain, place = table(some)[0].max(0)  # (B)
            here = gain.double() + (n - size) * absent
            better = ((here > total) & (gain > NEVER / 2)).nonzero().squeeze(1)
            if not len(better):
                continue
            total[better] = here[better]
            chosen[:, better] = -1
            place = place[better]
            for m in range(size, 0, -1):  # from the whole set back to the sets of each target
                target = some[m - 1]
                if m > 1:
                    (a, sets), (b, more) = table(some[: m - 1]), table((target,))
                    ways = _unions(sets.tobytes(), more.tobytes())
                    rows = [torch.from_numpy(x).to(place.device)[:, place] for x in (ways.first, ways.second)]
                    way = (a[rows[0], better] + b[rows[1], better]).argmax(0, keepdim=True)
                    place, part = rows[0].gather(0, way)[0], rows[1].gather(0, way)[0]
                else:
                    part = place
                candidates = torch.from_numpy(own[target].first).to(part.device)[:, part]  # (ways, events)
                gains = _with_never(values[target])[candidates, better]
                chosen[target, better] = candidates.gather(0, gains.argmax(0, keepdim=True))[0]
    return chosen


def _with_never(values: Tensor) -> Tensor:
    """One more row, for what does not exist."""
    return torch.cat([values, torch.full_like(values[:1], NEVER)])


def _reduced(a: Tensor, b: Tensor | None, ways: _Ways) -> Tensor:
    """Largest over the ways of a[first] + b[second], and a row for what does not exist: ``(S + 1, B)``."""
    found: Tensor | None = None
    for first, second in zip(ways.first, ways.second, strict=True):
        here = a.index_select(0, torch.from_numpy(first).to(a.device))
        if b is not None:
            here = here + b.index_select(0, torch.from_numpy(second).to(b.device))
        found = here if found is None else torch.maximum(found, here)
    if found is None:
        found = a[:0]
    return _with_never(found) if len(found) else torch.full_like(a[:1], NEVER)


@lru_cache(maxsize=256)
def _grouped(bits: bytes) -> _Ways:
    """Candidates by the set of objects that they use: orders of daughters that are not alike share one."""
    every = np.frombuffer(bits, dtype=np.int64)
    return _ways(every, np.arange(len(every)), np.arange(len(every)), len(every), len(every))


@lru_cache(maxsize=256)
def _unions(first: bytes, second: bytes) -> _Ways:
    """Every union of a set of each list that share nothing."""
    a, b = np.frombuffer(first, dtype=np.int64), np.frombuffer(second, dtype=np.int64)
    i, j = np.nonzero((a[:, None] & b) == 0)
    return _ways(a[i] | b[j], i, j, len(a), len(b))


def _ways(made: IntArray, first: IntArray, second: IntArray, none_first: int, none_second: int) -> _Ways:
    sets, number = np.unique(made, return_inverse=True)
    order = np.argsort(number, kind="stable")
    counts = np.bincount(number, minlength=len(sets))
    rank = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    rows = np.full((2, int(counts.max(initial=0)), len(sets)), none_first)
    rows[1] = none_second
    rows[0, rank, number[order]], rows[1, rank, number[order]] = first[order], second[order]
    return _Ways(sets, rows[0], rows[1])
