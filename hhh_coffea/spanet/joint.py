"""The combinatorial problem behind ``joint`` decoding, solved exactly for many events at once.

n particles, each with a gain for every pair of N jets and for every one of F large-radius jets. Choose at most one of
them for every particle, no jet twice, no pair touching a chosen large-radius jet, such that the sum of gains is
largest. Choosing nothing gains 0, so pairs of negative gain may count as 0, "absent", which leaves a problem without
special cases: the best n *disjoint* pairs.

Dynamic programming over sets of jets: V_m(S), the best way to hand the 2m jets of S to the first m particles, is the
largest of V_{m−1}(S \\ q) + gain_m(q) over the pairs q in S. For N = 10 and n = 3 that is 210·6 + 45·70 sums instead
of the 45·28·15 triples of disjoint pairs. The large-radius jets are few and are enumerated.

Arrays are (…, B), events last: every step is then a sum or maximum of contiguous rows.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

MAX_JETS, MAX_PARTICLES = 12, 4
CHUNK = 512  # events at a time: the tables of a chunk stay in the cache
KEEP = (3, 8)  # candidates of each particle tried before the full problem is solved
NEVER = -1e9


def best_interpretation(
    pairs: Sequence[Tensor], singles: Sequence[Tensor], overlaps: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Best choice of each event: index of the pair and of the single object of every particle, −1 for neither.

    ``pairs[i] (B, N(N−1)/2)``: gain of particle i as each pair of jets, in the order (0,1), (0,2), …; ``singles[i]
    (B, F)``: as each large-radius jet; ``overlaps (B, N, F)``. Either list may be empty. Returns ``(B, n)`` twice.
    """
    template = (pairs or singles)[0]
    batch, n = template.shape[0], max(len(pairs), len(singles))
    n_jets = round((1 + (1 + 8 * pairs[0].shape[1]) ** 0.5) / 2) if pairs else 0
    if n > MAX_PARTICLES or n_jets > MAX_JETS:
        raise ValueError(
            f"at most {MAX_PARTICLES} particles and {MAX_JETS} jets are decoded jointly, not {n}, {n_jets}"
        )
    empty = template[:, :0].expand(n, -1, -1)  # (n, B, 0)
    g = torch.stack(list(pairs)) if pairs else empty
    h = torch.stack(list(singles)) if singles else empty
    near = template.new_zeros((batch, n_jets, h.shape[2]), dtype=torch.bool) if overlaps is None else overlaps
    back: Tensor | None = None
    if n_jets < 2 * n:  # jets that gain nothing make room for absent particles; with them every V(S) exists
        padded = subsets(2 * n, 2)
        real = torch.from_numpy(np.flatnonzero((padded < n_jets).all(axis=1))).to(g.device)
        back = torch.full((len(padded),), -1, device=g.device).index_copy(
            0, real, torch.arange(len(real), device=g.device)
        )
        g = g.new_zeros((n, batch, len(padded))).index_copy(2, real, g)
        near = torch.nn.functional.pad(near, (0, 0, 0, 2 * n - n_jets))
        n_jets = 2 * n
    if torch.compiler.is_exporting() or torch.onnx.is_in_onnx_export():  # no shapes that depend on the data
        pair, fat = _with_fats(_rows(g).clamp_min(0.0), _rows(h).clamp_min(NEVER), near.permute(1, 2, 0), n_jets)
        pair, fat = pair.T, fat.T
    else:
        pair, fat, open_ = _independent(g, h, near, n_jets)
        for k in KEEP:  # few candidates first, more only for events where that is not provably enough
            part = open_.nonzero().squeeze(1)
            if not len(part):
                break
            pair[part], fat[part], open_[part] = _among_best(g[:, part], h[:, part], near[part], n_jets, k)
        for part in torch.split(open_.nonzero().squeeze(1), CHUNK):
            if len(part):
                gains, fat_gains = _rows(g[:, part]).clamp_min(0.0), _rows(h[:, part]).clamp_min(NEVER)
                p, f = _with_fats(gains, fat_gains, near[part].permute(1, 2, 0), n_jets)
                pair[part], fat[part] = p.T, f.T
    if back is not None:
        pair = torch.where(pair >= 0, back[pair.clamp_min(0)], -1)
    return pair, fat


def _rows(x: Tensor) -> Tensor:
    """``(n, B, Q)`` → ``(n, Q, B)``, contiguous: events last."""
    return x.transpose(1, 2).contiguous()


def _independent(g: Tensor, h: Tensor, near: Tensor, n_jets: int) -> tuple[Tensor, Tensor, Tensor]:
    """Choose the best for each particle on its own, and tell in which events these choices clash.

    Where they do not, they are the best interpretation: nothing can gain more than every particle's own best.
    ``g (n, B, Q)``, ``h (n, B, F)``, ``near (B, N, F)`` → pairs ``(B, n)``, singles ``(B, n)``, clash ``(B)``.
    """
    n, batch, n_pairs = g.shape
    none = h.new_zeros((n, batch)), torch.full((n, batch), -1, device=h.device)
    best_pair, pair = g.max(2) if n_pairs else none
    best_fat, fat = h.max(2) if h.shape[2] else none
    boosted = (best_fat > 0) & (best_fat > best_pair)
    resolved = (best_pair > 0) & ~boosted
    pair, fat = torch.where(resolved, pair, -1), torch.where(boosted, fat, -1)
    uses, forbids = _bits(pair.T.unsqueeze(2), fat.T.unsqueeze(2), near, n_jets)  # (B, n, 1)
    clash = torch.zeros(batch, dtype=torch.bool, device=h.device)
    for i, j in itertools.combinations(range(n), 2):
        clash |= ((uses[:, i] & (uses[:, j] | forbids[:, j])) | (forbids[:, i] & uses[:, j])).squeeze(1) != 0
    return pair.T.contiguous(), fat.T.contiguous(), clash


def _among_best(g: Tensor, h: Tensor, near: Tensor, n_jets: int, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Best consistent choice among each particle's k best candidates, and where it might not be the best of all.

    With v_i the (k+1)-th gain of particle i, anything using a candidate left out gains at most v_i plus the best of all
    other particles: where the choice found gains as much for every i, or v_i ≤ 0, it is the best interpretation.
    Arguments and results as in :func:`_independent`.
    """
    (n, batch, n_pairs), n_fat = g.shape, h.shape[2]
    both = torch.cat([g, h], dim=2)  # (n, B, Q + F): a particle is one or the other
    k = min(k, n_pairs + n_fat - 1)
    top, index = both.topk(k + 1, dim=2)
    left_out, best = top[..., k], top[..., 0].clamp_min(0.0)  # (n, B)
    gains = torch.nn.functional.pad(top[..., :k], (1, 0))  # (n, B, 1 + k): first of all absent, gaining 0
    pair = torch.where(index < n_pairs, index, -1)[..., :k]
    fat = torch.where(index < n_pairs, -1, index - n_pairs)[..., :k]
    pair, fat = (torch.nn.functional.pad(x, (1, 0), value=-1).transpose(0, 1) for x in (pair, fat))  # (B, n, 1 + k)
    uses, forbids = _bits(pair, fat, near, n_jets)
    total = gains[0].clamp_min(NEVER)
    for i in range(1, n):  # (B, 1+k, …) grows by one axis for each particle
        total = total.unsqueeze(-1)
        for j in range(i):
            u, f = uses[:, j].unsqueeze(2), forbids[:, j].unsqueeze(2)
            v, e = uses[:, i].unsqueeze(1), forbids[:, i].unsqueeze(1)
            pairing = torch.where(((u & (v | e)) | (f & v)) != 0, NEVER, 0.0)  # (B, 1+k, 1+k)
            if j == 0:
                pairing = pairing + gains[i].unsqueeze(1)
            total = total + pairing.view(batch, *(k + 1 if axis in (j, i) else 1 for axis in range(i + 1)))
    value, flat = total.flatten(1).max(1)
    picks = torch.stack([flat // (k + 1) ** (n - 1 - i) % (k + 1) for i in range(n)], dim=1).unsqueeze(2)  # (B, n, 1)
    bound = left_out + best.sum(0) - best
    unsure = ((left_out > 0) & (bound > value)).any(0)
    return pair.gather(2, picks).squeeze(2), fat.gather(2, picks).squeeze(2), unsure


def _bits(pair: Tensor, fat: Tensor, near: Tensor, n_jets: int) -> tuple[Tensor, Tensor]:
    """Return what candidates use and what they forbid others to use: bits, jets from 0, large-radius jets from 32.

    ``pair``, ``fat (B, n, c)`` with −1 for none, ``near (B, N, F)`` → two integers ``(B, n, c)``.
    """
    jets = torch.from_numpy(subsets(max(n_jets, 2), 2)).to(pair.device)
    of_pair = torch.cat([(1 << jets).sum(1), jets.new_zeros(1)])  # the last entry is index −1
    uses = of_pair[pair] | torch.where(fat >= 0, 1 << (fat.clamp_min(0) + 32), 0)
    if not near.shape[2] or not near.shape[1]:
        return uses, torch.zeros_like(uses)
    weights = (1 << torch.arange(near.shape[1], device=near.device)).float()  # exact: far fewer than 24 jets
    touched = (near.transpose(1, 2).float() @ weights).long()  # (B, F)
    touched = torch.nn.functional.pad(touched, (0, 1))
    return uses, touched.gather(1, fat.flatten(1) % touched.shape[1]).view_as(fat)


def _with_fats(g: Tensor, h: Tensor, near: Tensor, n_jets: int) -> tuple[Tensor, Tensor]:
    """Enumerate which particle is which large-radius jet; the pairs of the others follow from the tables."""
    n, n_fat, batch = h.shape
    if not n_fat:
        pair, _ = best_disjoint(g, n_jets)
        return pair, torch.full_like(pair, -1)
    tables: dict[tuple[int, ...], Tensor] = {(i,): g[i] for i in range(n)}
    for m in range(2, n):
        for some in itertools.combinations(range(n), m):
            tables[some] = _extend(tables[some[:-1]], g[some[-1]], n_jets, m)
    rows, codes = [best_disjoint(g, n_jets)[1]], [(-1,) * n]
    for m in range(1, min(n, n_fat) + 1):
        for fats in itertools.combinations(range(n_fat), m):
            blocked = near[:, list(fats)].any(1)  # (N, B)
            best: dict[tuple[int, ...], Tensor] = {(): g.new_zeros(batch)}
            for size in range(1, n - m + 1):
                free = ~_any_of(blocked, n_jets, 2 * size)  # (sets of 2·size jets, B)
                for some in itertools.combinations(range(n), size):
                    here = torch.where(free, tables[some], 0.0).amax(0)
                    for fewer in itertools.combinations(some, size - 1):
                        here = torch.maximum(here, best[fewer])
                    best[some] = here
            for particles in itertools.permutations(range(n), m):
                gain, code = best[tuple(i for i in range(n) if i not in particles)], [-1] * n
                for particle, f in zip(particles, fats, strict=True):
                    gain = gain + h[particle, f]
                    code[particle] = f
                rows.append(gain)
                codes.append(tuple(code))
    fat = torch.tensor(codes, device=h.device)[torch.stack(rows).argmax(0)].T  # (n, B)
    taken = torch.stack([(fat == f).any(0) for f in range(n_fat)])  # (F, B)
    blocked = _any_of((near & taken).any(1), n_jets, 2)  # (Q, B)
    left = torch.where((fat >= 0).unsqueeze(1) | blocked, 0.0, g)
    return best_disjoint(left, n_jets)[0], fat


def best_disjoint(g: Tensor, n_jets: int) -> tuple[Tensor, Tensor]:
    """Best n disjoint pairs for ``g (n, Q, B)`` ≥ 0: pair of each particle ``(n, B)`` (−1: absent), value ``(B)``."""
    n = len(g)
    if not g.shape[1]:
        return torch.full_like(g[:, :1].sum(1), -1, dtype=torch.int64), g.sum((0, 1))
    if n == 1:
        value, pair = g[0].max(0)
        return torch.where(value > 0, pair, -1).unsqueeze(0), value
    tables = [g[0]]
    for m in range(2, n):
        tables.append(_extend(tables[-1], g[m - 1], n_jets, m))
    # the last particle: only the largest is wanted, so look up the best set disjoint from each pair
    disjoint = _disjoint(n_jets, 2 * n - 2, g.device)  # (Q, sets)
    rest = tables[-1].index_select(0, disjoint.flatten()).view(*disjoint.shape, -1).amax(1)  # (Q, B)
    value, last = (rest + g[-1]).max(0)
    chosen = [last]
    rows = disjoint[last].T  # (sets, B)
    jets = rows.gather(0, tables[-1].gather(0, rows).argmax(0, keepdim=True))  # (1, B): which set is left
    for m in range(n - 1, 1, -1):
        pairs, others = (t[jets[0]].T for t in _splits(n_jets, m, g.device))  # (ways, B)
        way = (g[m - 1].gather(0, pairs) + tables[m - 2].gather(0, others)).argmax(0, keepdim=True)
        chosen.append(pairs.gather(0, way)[0])
        jets = others.gather(0, way)
    pair = torch.stack([jets[0], *reversed(chosen)])  # (n, B)
    return torch.where(g.gather(1, pair.unsqueeze(1)).squeeze(1) > 0, pair, -1), value


def _extend(table: Tensor, g: Tensor, n_jets: int, m: int) -> Tensor:
    """V_m from V_{m−1} ``(sets of 2m−2 jets, B)`` and the m-th gain ``(Q, B)``: ``(sets of 2m jets, B)``."""
    best: Tensor | None = None
    pairs, others = _splits(n_jets, m, g.device)
    for pair, other in zip(pairs.unbind(1), others.unbind(1), strict=True):
        here = table.index_select(0, other) + g.index_select(0, pair)
        best = here if best is None else torch.maximum(best, here)
    assert best is not None
    return best


def _any_of(flags: Tensor, n_jets: int, size: int) -> Tensor:
    """Whether a flag ``(N, B)`` is set for any jet of each set of ``size`` jets: ``(sets, B)``."""
    index = torch.from_numpy(subsets(n_jets, size)).to(flags.device)
    out = flags.index_select(0, index[:, 0])
    for column in index.unbind(1)[1:]:
        out = out | flags.index_select(0, column)
    return out


@lru_cache(maxsize=32)
def subsets(n: int, size: int) -> IntArray:
    """All sets of ``size`` out of n jets, in lexicographic order: ``(sets, size)``."""
    return np.array(list(itertools.combinations(range(n), size)), dtype=np.int64).reshape(-1, size)


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


def _splits(n: int, m: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Ways to split each set of 2m jets into a pair and a set of 2m − 2: their indices, ``(sets, ways)`` twice."""
    pairs, others = _split_tables(n, m)
    return torch.from_numpy(pairs).to(device), torch.from_numpy(others).to(device)


@lru_cache(maxsize=32)
def _disjoint_table(n: int, size: int) -> IntArray:
    sets = subsets(n, size)
    return np.stack([np.nonzero(~np.isin(sets, pair).any(1))[0] for pair in subsets(n, 2)])


def _disjoint(n: int, size: int, device: torch.device) -> Tensor:
    """For each pair of jets, the sets of ``size`` jets without them: ``(Q, sets)`` indices."""
    return torch.from_numpy(_disjoint_table(n, size)).to(device)
