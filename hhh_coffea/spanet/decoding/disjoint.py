"""The best choice of one assignment for each target, no object used twice: exact, for targets of any number of daughters.

Candidates of a target are all its assignments. First every target takes its best: where these do not clash, nothing can be
better. Elsewhere the best consistent combination of each target's K best is found, with a bound on what those left out could
gain; where the bound does not settle it, K grows until all are in.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from hhh_coffea.spanet.decoding.joint import IntArray, best, with_places

NEVER = -1e9
KEEP = (3, 6, 12, 24, 60)  # candidates of each target that are combined before all of them are
LARGEST = 1 << 22  # combinations at a time


def best_disjoint_choice(
    gains: Sequence[Tensor], objects: Sequence[IntArray], absent: float, particles: Sequence[int] = ()
) -> Tensor:
    """Which candidate each of n targets takes, ``(B, n)``, −1 for none.

    The sum of gains is largest: ``gains[i] (B, C_i)`` of the candidates of target i with ``objects[i] (C_i, k_i)``, ``absent``
    of a target without. Targets with equal entries of ``particles`` exclude each other. ValueError for more than 62 objects
    and particles.
    """
    n = len(gains)
    uses = _bits(objects, particles or range(n), gains[0].device)
    values = [gain.T.float().clamp_min(NEVER) for gain in gains]  # (C, B)
    tops = [best(with_places(value)) for value in values]
    chosen = torch.stack([torch.where(top > absent, place, -1) for top, place in tops])  # (n, B)
    taken = [torch.where(c >= 0, u[c.clamp_min(0)], 0) for c, u in zip(chosen, uses, strict=True)]
    clash = torch.zeros_like(chosen[0], dtype=torch.bool)
    for a, b in itertools.combinations(taken, 2):
        clash |= (a & b) != 0
    left = clash.nonzero().squeeze(1)
    for k in (*KEEP, max(len(u) for u in uses)):
        sizes = [min(k, len(u)) for u in uses]
        step = max(1, LARGEST // int(np.prod([size + 1 for size in sizes])))
        unsure = []
        for some in torch.split(left, step):
            if len(some):
                picks, open_ = _among_best([v.index_select(1, some) for v in values], uses, sizes, absent)
                chosen[:, some] = picks
                unsure.append(some[open_])
        left = torch.cat(unsure) if unsure else left[:0]
        if not len(left):
            break
    return chosen.T


def _bits(objects: Sequence[IntArray], particles: Sequence[int], device: torch.device) -> list[Tensor]:
    """What each candidate uses: a bit for each object, and one for the particle that its target is."""
    n = 1 + max(int(table.max(initial=-1)) for table in objects)
    if n + len(set(particles)) > 62:
        raise ValueError(f"at most 62 objects and particles are decoded jointly, not {n} and {len(set(particles))}")
    found = []
    for table, particle in zip(objects, particles, strict=True):
        bits = np.bitwise_or.reduce(np.int64(1) << table.astype(np.int64), axis=1) | np.int64(1) << (n + particle)
        found.append(torch.from_numpy(bits).to(device))
    return found


def _among_best(
    values: Sequence[Tensor], uses: Sequence[Tensor], sizes: Sequence[int], absent: float
) -> tuple[Tensor, Tensor]:
    """Best consistent choice ``(n, B)`` among each target's best ``sizes[i]`` and none, and where it may not be the best."""
    batch, total, tables = values[0].shape[1], None, []
    tops, left_out = [], []
    for number, (value, use, size) in enumerate(zip(values, uses, sizes, strict=True)):
        gain, place = value.topk(min(size + 1, len(value)), dim=0)  # sorted
        tops.append(gain[0].clamp_min(absent).double())
        left_out.append(gain[size].double() if len(gain) > size else torch.full_like(tops[-1], 2 * NEVER))
        gain = torch.cat([torch.full_like(gain[:1], absent), gain[:size]]).double()  # (1 + size, B), first: none
        place = torch.cat([torch.full_like(place[:1], -1), place[:size]])
        used = torch.where(place >= 0, use[place.clamp_min(0)], 0)
        tables.append((place, used))
        if total is None:
            total = gain
            continue
        total = total.unsqueeze(-2) + gain  # grows by one axis for each target
        for other in range(number):
            clash = (tables[other][1].unsqueeze(1) & used) != 0  # (1 + size, 1 + size, B)
            shape = [total.shape[axis] if axis in (other, number) else 1 for axis in range(number + 1)]
            total = total.masked_fill(clash.view(*shape, batch), 2 * NEVER)
    assert total is not None
    value, flat = total.flatten(0, -2).max(0)  # (B)
    picks = []
    for (place, _), size in zip(reversed(tables), reversed(total.shape[:-1]), strict=True):
        picks.append(place.gather(0, (flat % size).unsqueeze(0)).squeeze(0))
        flat = flat // size
    everything = torch.stack(tops).sum(0)
    beyond = torch.stack([out + everything - top for out, top in zip(left_out, tops, strict=True)]).amax(0)
    return torch.stack(picks[::-1]), (beyond > value).nonzero().squeeze(1)
