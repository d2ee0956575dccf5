"""Every target gets an assignment, whether the network thinks it is present or not: the best disjoint choice, exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from hhh_coffea.spanet.decoding.any_targets import disjoint
from hhh_coffea.spanet.decoding.candidates import Decoded, spans
from hhh_coffea.spanet.decoding.decode import joint
from hhh_coffea.spanet.network.outputs import Outputs
from hhh_coffea.topology.topology import Topology, is_of_pairs_and_singles, pairs_and_singles

CERTAIN, NEVER = 100.0, -1e6  # logits of detection: more than any difference of ln AP


def complete(outputs: Outputs, topology: Topology, lengths: Sequence[int]) -> Decoded:
    """The disjoint assignments of all pairs (of all single objects where there are no pairs) with the largest Σ ln AP.

    Events with too few objects get as many as they can. In topologies of other targets every particle gets an assignment.
    """
    if not is_of_pairs_and_singles(topology):
        return disjoint(outputs, topology, lengths, detection=False)
    resolved, boosted = pairs_and_singles(topology)
    wanted = {topology.targets[i].name for i in resolved or boosted}
    # double precision: the logits are far larger than the differences of ln AP that decide
    forced = replace(
        outputs,
        assignment={name: value.double() for name, value in outputs.assignment.items()},
        detection={
            name: torch.full_like(value, CERTAIN if name in wanted else NEVER, dtype=torch.float64)
            for name, value in outputs.detection.items()
        },
        gain={},
    )
    found = joint(forced, topology, lengths)
    dp = torch.stack([outputs.detection[name] for name in topology.target_names], dim=1).sigmoid()
    return found._replace(assignment_probability=found.assignment_probability.to(dp.dtype), detection_probability=dp)


def margin(outputs: Outputs, topology: Topology, lengths: Sequence[int], best: Decoded) -> Tensor:
    """``(B,)``: Σ P of the best complete choice minus Σ P of the second best, P the probability of one ordering.

    The second best is that without the assignments of the best, in whichever target they were (margin of the pairing in
    the CMS HH → 4b analysis). Best is by Σ ln AP, so the difference of sums may be negative. 0 where there is no choice.
    """
    places = spans(topology, lengths)
    without = dict(outputs.assignment)
    for target in topology.targets:
        logp = outputs.assignment[target.name]
        start, stop = places[target.sources[0]]
        offset = start if logp.shape[1] == stop - start else 0
        for i, chosen in enumerate(topology.targets):
            if (chosen.sources, chosen.group) == (target.sources, target.group):
                objects = best.objects[:, i, : chosen.degree]
                without[target.name] = _struck(without[target.name], objects, offset, chosen.group)
    second = complete(replace(outputs, assignment=without), topology, lengths)

    def total(found: Decoded) -> Tensor:
        orders = torch.tensor([float(len(t.group)) for t in topology.targets], device=found.objects.device)
        return (torch.where(found.selected, found.assignment_probability, 0.0) / orders).sum(1)

    return total(best) - total(second)


def _struck(logp: Tensor, objects: Tensor, offset: int, group: Sequence[Sequence[int]]) -> Tensor:
    """``logp (B, N1, …, Nk)`` with the assignments ``(B, k)`` impossible, in every order that is the same."""
    have = (objects >= 0).all(1)
    event = torch.arange(len(logp), device=logp.device)[have]
    result = logp.clone()
    for order in group:
        place = (objects[have] - offset)[:, list(order)]
        result[(event, *place.unbind(1))] = -torch.inf
    return result
