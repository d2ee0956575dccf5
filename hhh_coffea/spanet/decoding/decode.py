"""From probabilities to one interpretation of the event. Batched torch throughout: no loop over events.

Four methods, all returning :class:`Decoded`:

``greedy``     the original SPANet's extraction, as intended: take the most probable assignment, strike its objects,
               repeat.
``joint``      the most probable consistent interpretation: every particle resolved, boosted or absent, no object
               used twice, no resolved pair overlapping a chosen large-radius jet. Exact. Other targets, as t → bqq,
               likewise, without overlaps.
``expected``   the consistent interpretation with the most candidates expected to be right, each of which must be worth it.
               Exact.
``reference``  the post-processing of the published HHH analysis (arXiv 2412.03819): number of particles from the
               detection probabilities, best ones kept, overlap removal.

AP, the assignment probability, is |G| times the probability of one ordering of the daughters (all |G| orderings are the
same assignment); DP, the detection probability, is the sigmoid of the detection logit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hhh_coffea.spanet.decoding.any_targets import disjoint
from hhh_coffea.spanet.decoding.candidates import (
    LEAST,
    Decoded,
    candidates,
    chance_of_being_right,
    constant,
    detection_of,
    marginals,
    paid,
    spans,
)
from hhh_coffea.spanet.decoding.joint import BoolArray, best_interpretation
from hhh_coffea.spanet.network.outputs import Outputs
from hhh_coffea.spanet.network.sets import IntArray
from hhh_coffea.topology.topology import Topology, is_of_pairs_and_singles, pairs_and_singles


def greedy(
    outputs: Outputs, topology: Topology, lengths: Sequence[int], *, own_input: bool = False, group_factor: bool = True
) -> Decoded:
    """Assign the most probable (target, objects), strike both, and repeat until every target had its turn.

    SPANet's extraction (Commun. Phys. 7, 139 (2024), Methods), with its intentions kept: a target without a possible
    assignment left stays without objects, and assignments compare by AP, |G| counted (``group_factor=False``: by the
    probability of one ordering, as its code does). ``lengths``: padded length of each sequential input.
    ``own_input``: only objects of the input the daughter is declared in. Ties go to the first target, first objects.
    """
    places = spans(topology, lengths)
    found = [candidates(t, outputs.assignment[t.name], places, own_input) for t in topology.targets]
    k, p = max(t.degree for t in topology.targets), len(found)
    parts: list[tuple[Tensor, Tensor, Tensor]] = [(torch.empty(0),) * 3] * p
    for members in _sharing_objects([objects for _, objects, _ in found]):
        norms = [math.log(len(topology.targets[i].group)) for i in members]
        logs = torch.cat(
            [found[i][0] - (0.0 if group_factor else x) for i, x in zip(members, norms, strict=True)], dim=1
        )
        tables = [np.pad(found[i][1], ((0, 0), (0, k - found[i][1].shape[1])), constant_values=-1) for i in members]
        owners = np.repeat(np.arange(len(members)), [len(table) for table in tables])
        conflict = _conflicts(np.concatenate(tables), owners)
        objects, owner = constant(np.concatenate(tables), logs), constant(owners, logs)
        taken = _take_in_turn(logs, conflict, len(members))  # (B, m) candidates as they were taken
        who = torch.where(taken >= 0, owner[taken.clamp_min(0)], len(members))  # a column to throw away
        place = torch.full_like(who, -1)
        place = F.pad(place, (0, 1), value=-1).scatter(1, who, taken)[:, :-1]  # (B, m) by target
        have, safe = place >= 0, place.clamp_min(0)
        ap = torch.where(have, logs.gather(1, safe).exp(), 0.0)
        for column, (i, x) in enumerate(zip(members, norms, strict=True)):
            chosen = torch.where(have[:, column, None], objects[safe[:, column]], -1)
            parts[i] = (chosen, have[:, column], ap[:, column] * (1.0 if group_factor else math.exp(x)))
    chosen, have, ap = (torch.stack(list(part), dim=1) for part in zip(*parts, strict=True))
    dp = detection_of(outputs, topology)
    return Decoded(chosen, have, ap, dp, ap * dp)


NEVER = -(2.0**100)
TAKE = 256


def _take_in_turn(logs: Tensor, conflict: BoolArray, rounds: int) -> Tensor:
    """Best candidate of ``logs (B, C)``, then the best ``conflict (C, C)`` leaves, …: ``(B, rounds)``, −1 if none."""
    taken = []
    if torch.compiler.is_exporting() or torch.onnx.is_in_onnx_export():
        open_, table = logs.clone(), constant(conflict, logs)
        for _ in range(rounds):
            best, index = open_.max(dim=1)
            taken.append(torch.where(best > -torch.inf, index, -1))
            open_.masked_fill_(table[index], -torch.inf)
        return torch.stack(taken, dim=1)
    if len(logs) > TAKE:  # what is struck again and again stays in the cache
        return torch.cat([_take_in_turn(some, conflict, rounds) for some in torch.split(logs, TAKE)])
    # The same several times faster: a maximum without its position is a vector operation, one with it is not. So the
    # position goes into the 29 lowest bits of the number, free in a double that was a float; negative, so that
    # at equality the first one is the largest.
    keys = logs.double().clamp_(NEVER, -(2.0**-100))
    keys.view(torch.int64).bitwise_or_(torch.arange(keys.shape[1], device=keys.device))
    low = (1 << keys.shape[1].bit_length()) - 1
    strike = torch.where(constant(conflict, logs), 2 * NEVER, 0.0).double()
    for _ in range(rounds):
        best = keys.amax(1)
        index = best.view(torch.int64) & low
        taken.append(torch.where(best > NEVER, index, -1))
        if len(taken) < rounds:
            keys += strike.index_select(0, index.clamp_max(keys.shape[1] - 1))
    return torch.stack(taken, dim=1)


def _conflicts(objects: IntArray, owner: IntArray) -> BoolArray:
    """Which candidates exclude which, ``(C, C)``: same target ``(C)``, or an object ``(C, k)`` in common."""
    uses = np.zeros((len(objects), objects.max() + 2), dtype=np.float32)
    np.put_along_axis(uses, objects + 1, 1.0, axis=1)  # column 0 collects the padding −1
    conflict: BoolArray = (uses[:, 1:] @ uses[:, 1:].T > 0) | (owner[:, None] == owner[None, :])
    return conflict


def _sharing_objects(objects: Sequence[IntArray]) -> list[list[int]]:
    """Targets grouped such that different groups have no object in common: greedy treats each group by itself."""
    groups: list[tuple[set[int], list[int]]] = []
    for i, candidate in enumerate(objects):
        used, members = set(np.unique(candidate).tolist()), [i]
        for group in [g for g in groups if g[0] & used]:
            groups.remove(group)
            used, members = used | group[0], group[1] + members
        groups.append((used, sorted(members)))
    return [members for _, members in groups]


def joint(
    outputs: Outputs,
    topology: Topology,
    lengths: Sequence[int],
    overlaps: Tensor | None = None,
    *,
    presence: float = 0.0,
) -> Decoded:
    """Find the most probable consistent interpretation of every event, exactly.

    Each particle is resolved (a pair of jets), boosted (one large-radius jet) or absent, no object is used twice and
    no resolved pair contains a jet that ``overlaps (B, N, F)`` with a chosen large-radius jet (see
    :func:`overlap_matrix`; None: no such constraint). Among these the one with the largest

        Σ over chosen targets of ln(AP·DP) + Σ over the others of ln(1 − DP)

    is taken. Subtracting the constant Σ ln(1 − DP) leaves a gain of ln AP + logit DP for each chosen target; networks with
    ``interpretations`` have gains of their own. ``presence`` is added to every gain: above 0 more targets are declared, at
    lower purity.
    ValueError for more than 12 jets or 4 particles. Targets that are anything but pairs and single objects may have more;
    ``overlaps`` are none of theirs.
    """
    if not is_of_pairs_and_singles(topology):
        return disjoint(outputs, topology, lengths, detection=True, presence=presence)
    found = _candidates(outputs, topology, lengths)
    gains = []
    for target, (log_ap, _, flat) in zip(topology.targets, found, strict=True):
        if outputs.gain:
            gain = outputs.gain[target.name].flatten(1).index_select(1, flat) + math.log(len(target.group))
        else:
            gain = log_ap + outputs.detection[target.name].unsqueeze(1)
        gains.append(gain + presence)
    own = marginals(topology, outputs, [log_ap for log_ap, _, _ in found])
    return _decoded(_choice(gains, topology, overlaps), found, own, outputs, topology)


def expected(
    outputs: Outputs,
    topology: Topology,
    lengths: Sequence[int],
    overlaps: Tensor | None = None,
    *,
    least: float = LEAST,
    prices: Mapping[str, Tensor] | None = None,
    by_kind: bool = False,
) -> Decoded:
    """Find the consistent interpretation with the largest Σ over chosen candidates of (p − ``least``), exactly.

    p is the probability that a candidate is right (:func:`chance_of_being_right`), so every candidate has p > ``least``.
    For C right ones of n candidates, purity times efficiency is proportional to C²/n. It is largest where a candidate is
    declared if it adds more than C/2n to C: at ``least`` = purity / 2. Constraints as in :func:`joint`.
    ``prices[target]``, in the shape of the target's log-probabilities, is taken from logit p (:class:`~.mass_price.MassPrice`).

    ``by_kind``: the pairs are chosen as if there were no large-radius jets, and these as if there were no pairs, as the
    published definitions count them. Pairs that overlap are then left out by whoever counts.
    """
    if not is_of_pairs_and_singles(topology):
        return disjoint(outputs, topology, lengths, detection=True, least=least, prices=prices)
    found = _candidates(outputs, topology, lengths)
    if outputs.marginal and not by_kind:
        of_each = zip(topology.targets, found, strict=True)
        own = [
            outputs.marginal[t.name].flatten(1).index_select(1, flat).exp() * len(t.group)
            for t, (_, _, flat) in of_each
        ]
    else:
        own = marginals(topology, outputs, [log_ap for log_ap, _, _ in found])
    right = chance_of_being_right(topology, own)
    worth = right
    if prices is not None:
        worth = [
            paid(p, prices[target.name].flatten(1).index_select(1, flat), log_ap)
            for target, p, (log_ap, _, flat) in zip(topology.targets, right, found, strict=True)
        ]
    choice = _choice([p - least for p in worth], topology, overlaps, by_kind)
    return _decoded(_claimed(choice, own, topology, not by_kind), found, right, outputs, topology)


Candidate = tuple[Tensor, IntArray, Tensor]


def _candidates(outputs: Outputs, topology: Topology, lengths: Sequence[int]) -> list[Candidate]:
    places = spans(topology, lengths)
    return [candidates(t, outputs.assignment[t.name], places, own=True) for t in topology.targets]


def _choice(
    gains: Sequence[Tensor], topology: Topology, overlaps: Tensor | None, by_kind: bool = False
) -> tuple[Tensor, Tensor]:
    """The consistent pairs and single objects with the largest sum of ``gains (B, C)``, together or each by itself."""
    resolved, boosted = pairs_and_singles(topology)
    pairs, singles = [gains[i] for i in resolved], [gains[i] for i in boosted]
    if by_kind and pairs and singles:
        return best_interpretation(pairs, [], None)[0], best_interpretation([], singles, None)[1]
    return best_interpretation(pairs, singles, overlaps)  # (B, n) each


def _claimed(
    choice: tuple[Tensor, Tensor], own: Sequence[Tensor], topology: Topology, together: bool
) -> tuple[Tensor, Tensor]:
    """The same candidates, each of them the target that claims it among those that the event exchanges.

    p is the same for all of these. Of the permutations of particles that leave the event as it is, the one with the largest
    Σ ``own (B, C)`` is taken, for both kinds ``together`` or for each.
    """
    resolved, boosted = pairs_and_singles(topology)
    members = resolved or boosted
    orders = torch.tensor(sorted({tuple(members.index(g[i]) for i in members) for g in topology.event_group}))
    orders = orders.to(choice[0].device)  # (orders, n): whose pick each particle gets
    place = torch.arange(len(members), device=orders.device)
    totals = []
    for kind, picks in zip((resolved, boosted), choice, strict=True):
        total = own[0].new_zeros(picks.shape[0], len(orders))
        if kind:
            of_each = torch.stack([own[i].gather(1, picks.clamp_min(0)) for i in kind], dim=1)  # (B, particle, pick)
            total = torch.where(picks.unsqueeze(1) >= 0, of_each, 0.0)[:, place, orders].sum(-1)
        totals.append(total)
    if together:
        totals = [totals[0] + totals[1]] * 2
    pair, single = (picks.gather(1, orders[total.argmax(1)]) for picks, total in zip(choice, totals, strict=True))
    return pair, single


def _decoded(
    choice: tuple[Tensor, Tensor],
    found: Sequence[Candidate],
    right: Sequence[Tensor],
    outputs: Outputs,
    topology: Topology,
) -> Decoded:
    """What the pairs and the single objects chosen for each particle, ``(B, n)`` twice, are; ``right (B, C)``: probabilities."""
    batch, p, k = choice[0].shape[0], len(topology.targets), max(t.degree for t in topology.targets)
    chosen = torch.full((batch, p, k), -1, dtype=torch.int64, device=choice[0].device)
    ap, probability = (found[0][0].new_zeros((batch, p)) for _ in range(2))
    for members, picks in zip(pairs_and_singles(topology), choice, strict=True):
        for column, i in enumerate(members):
            log_ap, objects, _ = found[i]
            pick = picks[:, column]
            safe, have = pick.clamp_min(0), pick >= 0
            positions = constant(objects, pick)[safe]
            chosen[:, i, : positions.shape[1]] = torch.where(have.unsqueeze(1), positions, -1)
            ap[:, i] = torch.where(have, log_ap.gather(1, safe.unsqueeze(1)).squeeze(1).exp(), 0.0)
            chance = right[i].gather(1, safe.unsqueeze(1)).squeeze(1)
            probability[:, i] = torch.where(have, chance.clamp_max(1), 0.0)  # a sum of AP·DP may exceed 1
    return Decoded(chosen, chosen[..., 0] >= 0, ap, detection_of(outputs, topology), probability)


def reference(
    outputs: Outputs,
    topology: Topology,
    lengths: Sequence[int],
    overlaps: Tensor | None = None,
    *,
    presence: float = 0.0,
) -> Decoded:
    """Apply the post-processing of the published analysis (arXiv 2412.03819, code of July 2025) to greedy assignments.

    For pairs and single objects separately: N = the most probable number of particles, from the Poisson-binomial
    distribution of the DPs; keep the N targets with the largest DP·AP. Pairs with AP < 1/169 get DP = 0 first. Kept
    targets with an object outside their own input are dropped, and so are pairs with a jet that ``overlaps`` with a
    kept large-radius jet. ``presence`` is added to the logit of every DP, as in :func:`joint`; as published: 0.
    """
    resolved, boosted = pairs_and_singles(topology)
    places = spans(topology, lengths)
    found = greedy(outputs, topology, lengths, group_factor=False)
    ap, dp = found.assignment_probability, found.detection_probability
    selected = torch.zeros_like(found.selected)
    dp = torch.sigmoid(torch.logit(dp) + presence) if presence else dp.clone()
    if resolved:
        dp[:, resolved] = torch.where(ap[:, resolved] < 1 / 169, 0.0, dp[:, resolved])
    for members in (resolved, boosted):
        if not members:
            continue
        count = most_probable_count(dp[:, members])  # (B)
        order = (dp * ap)[:, members].argsort(dim=1, descending=True, stable=True)
        rank = order.argsort(dim=1)
        start, stop = places[topology.targets[members[0]].sources[0]]
        used = found.objects[:, members, : topology.targets[members[0]].degree]
        inside = ((used >= start) & (used < stop)).all(-1)
        selected[:, members] = (rank < count.unsqueeze(1)) & inside
    if resolved and boosted and overlaps is not None:
        first_jet, first_fat = (places[topology.targets[m[0]].sources[0]][0] for m in (resolved, boosted))
        fat = (found.objects[:, boosted, 0] - first_fat).clamp(0, overlaps.shape[2] - 1)  # (B, n)
        jets = (found.objects[:, resolved, :2] - first_jet).clamp(0, overlaps.shape[1] - 1)  # (B, n, 2)
        rows = torch.arange(len(fat), device=fat.device)
        near = overlaps[rows[:, None, None, None], jets[:, :, :, None], fat[:, None, None, :]].any(2)  # (B, n, n)
        selected[:, resolved] &= ~(near & selected[:, boosted].unsqueeze(1)).any(-1)
    return Decoded(found.objects, selected, ap, dp, ap * dp)


def most_probable_count(probabilities: Tensor) -> Tensor:
    """Mode of the Poisson-binomial distribution: most probable number of successes of ``(B, n)`` independent trials."""
    pmf = torch.ones_like(probabilities[:, :1])
    for p in probabilities.unsqueeze(2).unbind(1):
        none = F.pad(pmf * (1 - p), (0, 1))
        pmf = none + F.pad(pmf * p, (1, 0))
    return pmf.argmax(dim=1)
