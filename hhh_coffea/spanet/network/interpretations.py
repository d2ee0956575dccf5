"""The sum over all consistent interpretations of an event: every particle resolved, boosted or absent, no object used twice.

Network outputs give every candidate a gain, ln AP + logit DP. An interpretation is a choice of candidates; its weight is the
exponential of the sum of their gains, and its probability is that weight divided by Z, the sum over all interpretations in which
no jet is used twice and no pair contains a jet that overlaps with a chosen large-radius jet. A conditional random field in the
language of machine learning. Z and the probability of each candidate are exact: the dynamic programming over sets of jets of
:mod:`..decoding.joint`, with sums and products in place of maxima and sums.

A particle that is seen as a pair of jets and as a large-radius jet is in an interpretation once. Definitions that count both
ask two more questions: which pairs there are if no large-radius jet is chosen, and the other way round. These are the same sums
with one kind of candidate left out, the probabilities under that condition (:func:`views`).

Shapes: n particles, Q = N(N − 1)/2 pairs of N jets, F large-radius jets, B events. Arrays are (…, B), events last: every step
then works on contiguous rows.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from hhh_coffea.spanet.network.features import overlap_matrix, pair_numbers
from hhh_coffea.spanet.network.outputs import Outputs
from hhh_coffea.spanet.network.sets import are_disjoint, splits, subsets
from hhh_coffea.topology.topology import Topology, pairs_and_singles

LARGEST = 80.0  # ln of the largest weight of an interpretation: a float holds e^88
LEAST = 1e-30  # of the probabilities that have a logarithm
CLOSE = 1e-6  # to 0 and 1: the probabilities of detection, whose logits must be finite


def log_sum(pairs: Tensor, singles: Tensor, overlaps: Tensor | None) -> Tensor:
    """ln Z of each event, ``(B)``, from gains ``pairs (n, Q, B)`` and ``singles (n, F, B)``; −inf for what is impossible.

    ``overlaps (B, N, F)``. Choosing nothing has the weight 1, so ln Z ≥ 0. The derivative of ln Z with respect to a gain is the
    probability of that candidate, which :func:`sums` finds together with Z: going backwards costs nothing.
    """
    found: Tensor = _LogSum.apply(pairs, singles, overlaps)  # type: ignore[no-untyped-call]
    return found


class _LogSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pairs: Tensor, singles: Tensor, overlaps: Tensor | None) -> Tensor:
        log_z, of_pairs, of_singles, _ = sums(pairs, singles, overlaps)
        ctx.save_for_backward(of_pairs, of_singles)
        return log_z

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        of_pairs, of_singles = ctx.saved_tensors
        return gradient * of_pairs, gradient * of_singles, None


class Sums(NamedTuple):
    """ln Z ``(B)``, and the probability of each candidate, ``pairs (n, Q, B)`` and ``singles (n, F, B)``.

    ``pairs_alone``: that of pairs if no single object is chosen.
    """

    log_z: Tensor
    pairs: Tensor
    singles: Tensor
    pairs_alone: Tensor


def sums(pairs: Tensor, singles: Tensor, overlaps: Tensor | None) -> Sums:
    """Sums over all consistent interpretations; arguments as for :func:`log_sum`."""
    n = len(pairs)
    n_jets = round((1 + (1 + 8 * pairs.shape[1]) ** 0.5) / 2) if pairs.shape[1] else 0
    a, h = (x.float().clamp_max(LARGEST / n).exp() for x in (pairs, singles))
    alone = a
    z, of_pairs, of_singles = torch.zeros_like(a[0, :1].sum(0)), torch.zeros_like(a), torch.zeros_like(h)
    exporting = torch.compiler.is_exporting() or torch.onnx.is_in_onnx_export()
    real = h.amax(0) > 0 if h.shape[1] else None  # (F, B)
    for m in range(min(n, h.shape[1]) + 1):
        for fats in itertools.combinations(range(h.shape[1]), m):
            left, own, events = a, h, None
            if (
                m and real is not None and not exporting
            ):  # few events have them; a graph has no shapes that depend on data
                events = real[list(fats)].all(0).nonzero().squeeze(1)
                if not len(events):
                    continue
                left, own = a.index_select(2, events), h.index_select(2, events)
            if m and overlaps is not None and a.shape[1]:
                near = (overlaps if events is None else overlaps.index_select(0, events))[:, :, list(fats)].any(
                    2
                )  # (b, N)
                i, j = torch.from_numpy(subsets(n_jets, 2).T.copy()).to(near.device)
                left = left * ~(near.index_select(1, i) | near.index_select(1, j)).T
            rest = _Rest(left, n_jets)
            here, here_pairs = torch.zeros_like(own[0, :1].sum(0)), torch.zeros_like(left)
            here_singles = torch.zeros_like(own)
            for particles in itertools.permutations(range(n), m):
                others = tuple(i for i in range(n) if i not in particles)
                weight = math.prod(
                    (own[p, f] for p, f in zip(particles, fats, strict=True)), start=torch.ones_like(here)
                )
                total = weight * rest.total(others)
                here = here + total
                for p, f in zip(particles, fats, strict=True):
                    here_singles[p, f] += total
                for t in others:
                    here_pairs[t] += weight * left[t] * rest.beside(tuple(i for i in others if i != t))
            if not m:
                alone = here_pairs / here
            if events is None:
                z, of_pairs, of_singles = z + here, of_pairs + here_pairs, of_singles + here_singles
            else:
                z.index_add_(0, events, here)
                of_pairs.index_add_(2, events, here_pairs)
                of_singles.index_add_(2, events, here_singles)
    return Sums(z.log(), of_pairs / z, of_singles / z, alone)


class _Rest:
    """Sums over disjoint pairs of the particles that are no large-radius jets; ``a (n, Q, B)``: weights of pairs."""

    def __init__(self, a: Tensor, n_jets: int):
        self.a, self.n_jets = a, n_jets
        self.tables: dict[tuple[int, ...], Tensor] = {(i,): a[i] for i in range(len(a))}
        self.known: dict[tuple[int, ...], Tensor] = {}

    def table(self, some: tuple[int, ...]) -> Tensor:
        """Sum over the ways in which m particles use all 2m jets of a set, ``(sets, B)``."""
        if some not in self.tables:
            taken, others = splits(self.n_jets, len(some), self.a.device)  # (sets, ways) each
            first, last = self.table(some[:-1]), self.a[some[-1]]
            ways = first.index_select(0, others.flatten()) * last.index_select(0, taken.flatten())
            self.tables[some] = ways.view(*taken.shape, -1).sum(1)
        return self.tables[some]

    def beside(self, others: tuple[int, ...]) -> Tensor:
        """Sum over what ``others`` may be, absent or pairs, beside each pair of one more particle: ``(Q, B)``."""
        if others not in self.known:
            found = torch.ones_like(self.a[0])
            for m in range(1, min(len(others), self.n_jets // 2 - 1) + 1):
                every = sum(self.table(some) for some in itertools.combinations(others, m))
                found = found + are_disjoint(self.n_jets, 2 * m, self.a.device).T @ every
            self.known[others] = found
        return self.known[others]

    def total(self, particles: tuple[int, ...]) -> Tensor:
        """Sum over what ``particles`` may be, absent or pairs: ``(B)``."""
        if not particles:
            return torch.ones_like(self.a[0, :1].sum(0))
        *others, last = particles
        return self.total(tuple(others)) + (self.a[last] * self.beside(tuple(others))).sum(0)


def gains_of(outputs: Outputs, topology: Topology) -> tuple[Tensor, Tensor]:
    """Gains of pairs ``(n, Q, B)`` and of single objects ``(n, F, B)``, particles in the order of the topology."""
    resolved, boosted = pairs_and_singles(topology)
    template, n = next(iter(outputs.gain.values())), len(resolved or boosted)
    pairs = singles = template.new_zeros(n, 0, template.shape[0])  # len() would fix the batch of an exported graph
    if resolved:
        gain = torch.stack([outputs.gain[topology.targets[i].name] for i in resolved])  # (n, B, N, N)
        n_jets = gain.shape[-1]
        low, high = subsets(n_jets, 2).T
        flat = torch.from_numpy(low * n_jets + high).to(gain.device)
        pairs = gain.flatten(2).index_select(2, flat).transpose(1, 2) + math.log(2)  # both orders are one assignment
    if boosted:
        singles = torch.stack([outputs.gain[topology.targets[i].name] for i in boosted]).transpose(1, 2)
    return pairs, singles


def overlaps_of(topology: Topology, inputs: Sequence[Tensor], masks: Sequence[Tensor]) -> Tensor | None:
    """:func:`overlap_matrix`, or None where there are no large-radius jets beside small-radius jets."""
    return overlap_matrix(topology, inputs, masks) if all(pairs_and_singles(topology)) else None


def views(
    topology: Topology, pairs: Tensor, singles: Tensor, overlaps: Tensor | None
) -> list[tuple[list[int], tuple[Tensor, Tensor, Tensor | None]]]:
    """What is asked of an event, of all candidates, of pairs alone and of singles alone: targets, arguments of :func:`log_sum`.

    Where particles are seen in one way, that is one question.
    """
    resolved, boosted = pairs_and_singles(topology)
    everything = [(resolved + boosted, (pairs, singles, overlaps))]
    if not resolved or not boosted:
        return everything
    return [*everything, (resolved, (pairs, singles[:, :0], None)), (boosted, (pairs[:, :0], singles, None))]


def with_probabilities(outputs: Outputs, topology: Topology, overlaps: Tensor | None) -> Outputs:
    """Outputs whose AP and DP are sums over interpretations of pairs alone or of singles alone; ``gain`` stays what it was.

    AP·DP is then the probability of a candidate, DP the sum of these over all candidates of a target. ``marginal`` is the
    logarithm of the probability of each assignment in the sum over all interpretations.
    """
    resolved, boosted = pairs_and_singles(topology)
    pairs, singles = gains_of(outputs, topology)
    every = sums(pairs, singles, overlaps)
    singles_alone = sums(pairs[:, :0], singles, None).singles if resolved and boosted else every.singles
    for members, gains, alone, together in (
        (resolved, pairs, every.pairs_alone, every.pairs),
        (boosted, singles, singles_alone, every.singles),
    ):
        for i, gain, p, q in zip(members, gains, alone, together, strict=False):  # (C, B)
            name = topology.targets[i].name
            shape = outputs.gain[name].shape
            log_p = _log(p, gain)
            outputs.assignment[name] = _table(log_p - log_p.logsumexp(0), gain, shape)
            outputs.detection[name] = p.sum(0).clamp(CLOSE, 1 - CLOSE).logit()
            outputs.marginal[name] = _table(_log(q, gain), gain, shape)
    return outputs


def _log(p: Tensor, gain: Tensor) -> Tensor:
    """Logarithms of probabilities; improbable is not impossible."""
    return torch.where(gain > -math.inf, p.clamp_min(LEAST).log(), -math.inf)


def _table(log_p: Tensor, gain: Tensor, shape: Sequence[int]) -> Tensor:
    """ln P of candidates ``(C, B)`` as a table ``(B, F)``, or ``(B, N, N)`` with P/2 for either order; −∞ where the gain is."""
    log_p = torch.where(gain > -math.inf, log_p, -math.inf).T
    if len(shape) == 2:
        return log_p
    places = pair_numbers(shape[-1], log_p.device).flatten()
    return F.pad(log_p - math.log(2), (0, 1), value=-math.inf).index_select(1, places).view(-1, *shape[1:])
