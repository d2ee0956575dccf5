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

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hhh_coffea.spanet.network.sets import disjoint, splits, subsets

BoolArray = npt.NDArray[np.bool_]

MAX_JETS, MAX_PARTICLES = 12, 4
CHUNK = 512  # events at a time: the tables of a chunk stay in the cache
KEEP = (3, 8, 24)  # candidates of each particle tried before the full problem is solved
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
    g = torch.stack(list(pairs)).float() if pairs else empty
    h = torch.stack(list(singles)).float() if singles else empty
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
    g, h, near = (
        g.transpose(1, 2),
        h.transpose(1, 2),
        near.permute(1, 2, 0).contiguous(),
    )  # (n, Q, B), (n, F, B), (N, F, B)
    if torch.compiler.is_exporting() or torch.onnx.is_in_onnx_export():  # no shapes that depend on the data
        pair, fat = _with_fats(g.clamp_min(0.0), h.clamp_min(NEVER), near, n_jets)
    else:
        pair, fat = _in_stages(g, h, near, n_jets)
    if back is not None:
        pair = torch.where(pair >= 0, back[pair.clamp_min(0)], -1)
    return pair.T, fat.T


def _in_stages(g: Tensor, h: Tensor, near: Tensor, n_jets: int) -> tuple[Tensor, Tensor]:
    """As :func:`_with_fats`; a cheap answer first, more work only for events where that is not provably the best."""
    keys = with_places(torch.cat([g, h], dim=1).clamp_min(NEVER))  # (n, Q + F, B): a particle is one or the other
    uses = _Uses(near, n_jets)
    pair, fat, clash = _independent(keys, uses)
    open_ = clash.nonzero().squeeze(1)
    for k in KEEP:
        if not len(open_):
            return pair, fat
        pair[:, open_], fat[:, open_], unsure = _among_best(keys.index_select(2, open_), uses.of(open_), k)
        open_ = open_[unsure]
    for some in torch.split(open_, CHUNK):
        if len(some):
            gains, fat_gains = g[..., some].clamp_min(0.0), h[..., some].clamp_min(NEVER)
            pair[:, some], fat[:, some] = _with_fats(gains, fat_gains, near[..., some], n_jets)
    return pair, fat


def with_places(x: Tensor) -> Tensor:
    """Return ``x (…, C, B)`` as doubles that carry in their lowest bits, free in what was a float, the place in C.

    A maximum without its position is a vector operation, several times faster than one with it: see :func:`best`.
    """
    keys = x.to(torch.float64, copy=True, memory_format=torch.contiguous_format)
    keys.view(torch.int64).bitwise_or_(torch.arange(x.shape[-2], device=x.device).unsqueeze(1))
    return keys


def best(keys: Tensor) -> tuple[Tensor, Tensor]:
    """Largest of ``keys (…, C, B)``, as it was before :func:`with_places`, and its place: ``(…, B)`` each."""
    top = keys.amax(-2)
    return top.float(), top.view(torch.int64) & ((1 << keys.shape[-2].bit_length()) - 1)


class _Uses:
    """What candidates use and what they forbid others to use, as bits: jets from 0, large-radius jets from 32."""

    def __init__(self, near: Tensor, n_jets: int):
        (n, n_fat, batch), device = near.shape, near.device
        jets = torch.from_numpy(subsets(max(n_jets, 2), 2)).to(device)
        self.n_pairs, self.n_fat = len(jets) if n_jets > 1 else 0, n_fat
        self.single = torch.cat([(1 << jets).sum(1)[: self.n_pairs], 1 << torch.arange(32, 32 + n_fat, device=device)])
        # jets near each large-radius jet; a row of zeros for all pairs
        bits = 1 << torch.arange(n, device=device)
        touched = [sum((near[j, f] * bits[j] for j in range(n)), bits.new_zeros(batch)) for f in range(n_fat)]
        self.touched = torch.stack([*touched, bits.new_zeros(batch)])  # (F + 1, B)

    def of(self, events: Tensor) -> _Uses:
        """Return the same for some of the events."""
        part = object.__new__(_Uses)
        part.n_pairs, part.n_fat, part.single = self.n_pairs, self.n_fat, self.single
        part.touched = self.touched.index_select(1, events)
        return part

    def __call__(self, place: Tensor, none: Tensor) -> tuple[Tensor, Tensor]:
        """``place (c, B)`` of a candidate, ``none (c, B)`` where there is none → two integers ``(c, B)``."""
        used = self.single[place].masked_fill_(none, 0)
        row = torch.where(none | (place < self.n_pairs), self.n_fat, place - self.n_pairs)
        return used, self.touched.gather(0, row)


def _split(place: Tensor, none: Tensor, n_pairs: int) -> tuple[Tensor, Tensor]:
    """Index of the pair, index of the large-radius jet; −1 where there is none."""
    is_pair = place < n_pairs
    return place.masked_fill(none | ~is_pair, -1), (place - n_pairs).masked_fill(none | is_pair, -1)


def _clash(u: Tensor, f: Tensor, v: Tensor, e: Tensor) -> Tensor:
    """Whether one candidate, using u and forbidding f, excludes another, using v and forbidding e."""
    return ((u & (v | e)) | (f & v)) != 0


def _independent(keys: Tensor, uses: _Uses) -> tuple[Tensor, Tensor, Tensor]:
    """Choose the best for each particle on its own, and tell in which events these choices clash.

    Where they do not, they are the best interpretation: nothing can gain more than every particle's own best.
    ``keys (n, Q + F, B)`` → pairs ``(n, B)``, singles ``(n, B)``, clash ``(B)``.
    """
    value, place = best(keys)  # (n, B)
    none = value <= 0
    used, forbidden = uses(place, none)
    clash = torch.zeros_like(none[0])
    for i, j in itertools.combinations(range(len(keys)), 2):
        clash |= _clash(used[i], forbidden[i], used[j], forbidden[j])
    return *_split(place, none, uses.n_pairs), clash


def _among_best(keys: Tensor, uses: _Uses, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Best consistent choice among each particle's k best candidates, and where it might not be the best of all.

    With v_i the (k+1)-th gain of particle i, anything using a candidate left out gains at most v_i plus the best of all
    other particles: where the choice found gains as much for every i, or v_i ≤ 0, it is the best interpretation.
    Arguments and results as in :func:`_independent`.
    """
    n, candidates, batch = keys.shape
    k = min(k, candidates - 1)
    values, places = (
        [keys.new_zeros((n, batch), dtype=torch.float32)],
        [torch.zeros_like(keys[:, 0], dtype=torch.int64)],
    )
    for _ in range(k + 1):  # first of all absent, gaining 0; then the best, the second best, …
        value, place = best(keys)
        values.append(value)
        places.append(place)
        keys.scatter_(1, place.unsqueeze(1), 2 * NEVER)
    left_out, top = values.pop(), values[1].clamp_min(0.0)  # (n, B)
    gains, place = torch.stack(values, dim=1), torch.stack(places[:-1], dim=1)  # (n, 1 + k, B)
    none = torch.zeros_like(place, dtype=torch.bool)
    none[:, 0] = True
    used, forbidden = (x.view_as(place) for x in uses(place.flatten(0, 1), none.flatten(0, 1)))
    total = gains[0]
    for i in range(1, n):  # (1+k, …, B) grows by one axis for each particle
        total = total.unsqueeze(-2) + gains[i]
        for j in range(i):
            clash = _clash(used[j].unsqueeze(1), forbidden[j].unsqueeze(1), used[i], forbidden[i])  # (1+k, 1+k, B)
            shape = [k + 1 if axis in (j, i) else 1 for axis in range(i + 1)]
            total = total + torch.where(clash, NEVER, 0.0).view(*shape, batch)
    value, flat = best(with_places(total.flatten(0, n - 1)))  # (B)
    picks = torch.stack([flat // (k + 1) ** (n - 1 - i) % (k + 1) for i in range(n)]).unsqueeze(1)  # (n, 1, B)
    unsure = ((left_out > 0) & (left_out + top.sum(0) - top > value)).any(0)
    place, none = place.gather(1, picks).squeeze(1), picks.squeeze(1) == 0
    return *_split(place, none, uses.n_pairs), unsure


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
    free = disjoint(n_jets, 2 * n - 2, g.device)  # (Q, sets)
    rest = tables[-1].index_select(0, free.flatten()).view(*free.shape, -1).amax(1)  # (Q, B)
    value, last = (rest + g[-1]).max(0)
    chosen = [last]
    rows = free[last].T  # (sets, B)
    jets = rows.gather(0, tables[-1].gather(0, rows).argmax(0, keepdim=True))  # (1, B): which set is left
    for m in range(n - 1, 1, -1):
        pairs, others = (t[jets[0]].T for t in splits(n_jets, m, g.device))  # (ways, B)
        way = (g[m - 1].gather(0, pairs) + tables[m - 2].gather(0, others)).argmax(0, keepdim=True)
        chosen.append(pairs.gather(0, way)[0])
        jets = others.gather(0, way)
    pair = torch.stack([jets[0], *reversed(chosen)])  # (n, B)
    return torch.where(g.gather(1, pair.unsqueeze(1)).squeeze(1) > 0, pair, -1), value


def _extend(table: Tensor, g: Tensor, n_jets: int, m: int) -> Tensor:
    """V_m from V_{m−1} ``(sets of 2m−2 jets, B)`` and the m-th gain ``(Q, B)``: ``(sets of 2m jets, B)``."""
    best: Tensor | None = None
    pairs, others = splits(n_jets, m, g.device)
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
