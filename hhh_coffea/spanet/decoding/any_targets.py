"""Joint decoding of targets with any number of daughters: t → bqq beside t → b and H → bb."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from hhh_coffea.spanet.decoding.candidates import (
    Decoded,
    candidates,
    chance_of_being_right,
    constant,
    detection_of,
    marginals,
    paid,
    spans,
)
from hhh_coffea.spanet.decoding.disjoint import best_disjoint_choice
from hhh_coffea.spanet.network.outputs import Outputs
from hhh_coffea.topology.topology import Topology

LOT = 64  # events that are worth a part of their own
FORCED = -1e5  # gain of a target without assignment where each should have one: below any ln AP


def disjoint(
    outputs: Outputs,
    topology: Topology,
    lengths: Sequence[int],
    *,
    detection: bool,
    presence: float = 0.0,
    prices: Mapping[str, Tensor] | None = None,
    least: float | None = None,
) -> Decoded:
    """Find the best disjoint assignments of targets of any kind, exactly (:func:`.disjoint.best_disjoint_choice`).

    With ``detection`` what :func:`joint` says of pairs. Without, every particle gets an assignment as its first alternative, as
    far as there are objects: that with the largest Σ ln AP. ``least``: the gains are those of :func:`.decode.expected`,
    with ``prices``.
    """
    parts = _by_multiplicity(outputs, topology, lengths)
    if len(parts) > 1:
        found = [
            disjoint(
                *(_first(outputs, rows, n), topology, shorter),
                detection=detection,
                presence=presence,
                least=least,
                prices=None if prices is None else {name: _cut(price[rows], n) for name, price in prices.items()},
            )
            for rows, n, shorter in parts
        ]
        back = torch.cat([rows for rows, _, _ in parts]).argsort()
        return Decoded(*(torch.cat(columns)[back] for columns in zip(*found, strict=True)))
    places, gains, logs, price_of, objects = spans(topology, lengths), [], [], [], []
    particle_of = {i: number for number, alternative in enumerate(topology.alternatives) for i in alternative}
    first = {alternative[0] for alternative in topology.alternatives}
    for i, target in enumerate(topology.targets):
        log_ap, index, flat = candidates(target, outputs.assignment[target.name], places, own=True)
        gain = log_ap
        if detection:
            gain = log_ap + outputs.detection[target.name].unsqueeze(1) + presence
        elif i not in first:
            gain = torch.full_like(log_ap, -torch.inf)
        gains.append(gain)
        logs.append(log_ap)
        price_of.append(None if prices is None else prices[target.name].flatten(1).index_select(1, flat))
        objects.append(index)
    right: list[Tensor] = []
    if least is not None:
        right = chance_of_being_right(topology, marginals(topology, outputs, logs))
        gains = [
            (p if price is None else paid(p, price, log_ap)) - least
            for p, price, log_ap in zip(right, price_of, logs, strict=True)
        ]
    absent = 0.0 if detection else FORCED
    probabilities, chances = [], []
    picks = best_disjoint_choice(gains, objects, absent, [particle_of[i] for i in range(len(gains))])  # (B, P)
    chosen = torch.full((*picks.shape, max(t.degree for t in topology.targets)), -1, device=picks.device)
    for i, (pick, log_ap, index) in enumerate(zip(picks.T, logs, objects, strict=True)):
        have, safe = pick >= 0, pick.clamp_min(0)
        chosen[:, i, : index.shape[1]] = torch.where(have.unsqueeze(1), constant(index, pick)[safe], -1)
        probabilities.append(torch.where(have, log_ap.gather(1, safe.unsqueeze(1)).squeeze(1).exp(), 0.0))
        if right:
            chances.append(torch.where(have, right[i].gather(1, safe.unsqueeze(1)).squeeze(1).clamp_max(1), 0.0))
    ap, dp = torch.stack(probabilities, dim=1), detection_of(outputs, topology)
    return Decoded(chosen, picks >= 0, ap, dp, torch.stack(chances, dim=1) if right else ap * dp)


def _by_multiplicity(
    outputs: Outputs, topology: Topology, lengths: Sequence[int]
) -> list[tuple[Tensor, int, list[int]]]:
    """Events ``(b,)`` of similar multiplicity n, and the lengths cut to it: assignments grow as a power of n.

    One part, of all events, where daughters come from several inputs.
    """
    own = {i.name: number for number, i in enumerate(topology.sequential)}
    least = min(topology.targets, key=lambda target: target.degree)
    (source, *others) = {source for target in topology.targets for source in target.sources}
    possible = outputs.assignment[least.name]
    everything = torch.arange(len(possible), device=possible.device)
    if others or source not in own or possible.shape[1] != lengths[own[source]]:
        return [(everything, 0, list(lengths))]
    for _ in range(least.degree - 1):
        possible = possible.amax(-1)
    number = torch.arange(1, possible.shape[1] + 1, device=possible.device)
    reach, order = torch.where(torch.isfinite(possible), number, 0).amax(1).sort(stable=True)
    found, start, stop = [], 0, 0
    for n, count in zip(*(x.tolist() for x in torch.unique_consecutive(reach, return_counts=True)), strict=True):
        stop += count
        if stop - start >= LOT or stop == len(order):
            n = max(n, sum(target.degree for target in topology.targets))  # noqa: PLW2901 - never fewer than all want
            n = min(n, lengths[own[source]])  # noqa: PLW2901
            shorter = [n if number == own[source] else length for number, length in enumerate(lengths)]
            found.append((order[start:stop], n, shorter))
            start = stop
    return found or [(everything, 0, list(lengths))]


def _first(outputs: Outputs, rows: Tensor, n: int) -> Outputs:
    """Some events, and the first n objects alone."""
    assignment = {name: _cut(logp[rows], n) for name, logp in outputs.assignment.items()}
    return Outputs(assignment, {name: value[rows] for name, value in outputs.detection.items()})


def _cut(x: Tensor, n: int) -> Tensor:
    return x[(slice(None), *(slice(0, n) for _ in x.shape[1:]))]
