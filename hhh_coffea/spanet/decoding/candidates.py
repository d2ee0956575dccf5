"""What every decoding works with: assignments as candidates with their objects, and the form of a result."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from hhh_coffea.spanet.decoding.joint import BoolArray
from hhh_coffea.spanet.network.outputs import Outputs, representatives
from hhh_coffea.spanet.network.sets import IntArray
from hhh_coffea.topology.topology import Target, Topology

TINY = 1e-6
LEAST = (
    0.3  # probability of being right above which a candidate is worth declaring: half the purity that can be expected
)


class Decoded(NamedTuple):
    """One interpretation of each of B events, for P targets of at most K daughters.

    ``objects (B, P, K)``: positions in the list of all sequential objects, −1 where there is none.
    ``selected (B, P)``: this target is part of the interpretation. ``assignment_probability``,
    ``detection_probability (B, P)``: AP of the objects given (0 without any) and DP. ``probability (B, P)``: that the
    objects given are a true target, AP·DP; ``expected`` sums it over the targets that the event exchanges. Objects are given
    for unselected targets too where the method ranks them (``greedy``, ``reference``).
    """

    objects: Tensor
    selected: Tensor
    assignment_probability: Tensor
    detection_probability: Tensor
    probability: Tensor


def spans(topology: Topology, lengths: Sequence[int]) -> dict[str | None, tuple[int, int]]:
    """First and one-past-last position of every sequential input in the list of all objects; None: the whole list."""
    ends = list(itertools.accumulate(lengths))
    found: dict[str | None, tuple[int, int]] = {
        i.name: (end - n, end) for i, n, end in zip(topology.sequential, lengths, ends, strict=True)
    }
    found[None] = (0, ends[-1])
    return found


def candidates(
    target: Target, logp: Tensor, places: dict[str | None, tuple[int, int]], own: bool
) -> tuple[Tensor, IntArray, Tensor]:
    """Log AP of every assignment of a target ``(B, C)``, its objects' positions in the full list ``(C, k)``, and its
    place in ``logp.flatten(1)``, ``(C)``.

    ``logp (B, N1, …, Nk)`` is over the daughters' own inputs or over all objects; ``own`` leaves out, in the second
    case, assignments outside the daughters' own inputs.
    """
    everything = places[None]
    sizes = tuple(logp.shape[1:])
    own_spans = tuple(places[source] for source in target.sources)
    spans_ = tuple(s if n == s[1] - s[0] else everything for s, n in zip(own_spans, sizes, strict=True))
    index = representatives(sizes, tuple(start for start, _ in spans_), target.group)
    absolute = index + np.asarray([start for start, _ in spans_])
    if own:
        inside = [(a <= c) & (c < b) for (a, b), c in zip(own_spans, absolute.T, strict=True)]
        index, absolute = index[np.all(inside, axis=0)], absolute[np.all(inside, axis=0)]
    flat = constant(np.ravel_multi_index(tuple(index.T), sizes), logp)
    return logp.flatten(1).index_select(1, flat).add_(math.log(len(target.group))), absolute, flat


def constant(array: IntArray | BoolArray, like: Tensor) -> Tensor:
    """Put a table that depends on shapes alone onto the device of ``like``."""
    return torch.from_numpy(array).to(like.device)


def detection_of(outputs: Outputs, topology: Topology) -> Tensor:
    """DP of every target, ``(B, P)``."""
    return torch.stack([outputs.detection[name] for name in topology.target_names], dim=1).sigmoid()


def marginals(topology: Topology, outputs: Outputs, logs: Sequence[Tensor]) -> list[Tensor]:
    """AP·DP of each assignment, ``(B, C)`` for each target; ``logs``: ln AP (:func:`candidates`)."""
    detection = [outputs.detection[name].sigmoid().unsqueeze(1) for name in topology.target_names]
    return [log_ap.exp() * d for log_ap, d in zip(logs, detection, strict=True)]


def chance_of_being_right(topology: Topology, own: Sequence[Tensor]) -> list[Tensor]:
    """Probability that the objects of each assignment are a true target, ``(B, C)`` for each target.

    ``own``: probability that they are this very target. A candidate may be any of the targets that the event exchanges: it is
    summed over them. No two of them are the same particle, so these exclude each other.
    """
    found: dict[int, Tensor] = {}
    for members in topology.symmetric_classes:
        found |= dict.fromkeys(members, torch.stack([own[i] for i in members]).sum(0))
    return [found[i] for i in range(len(own))]


def paid(chance: Tensor, price: Tensor, log_ap: Tensor) -> Tensor:
    """Probabilities of being right, the price taken from their logit, all ``(B, C)``; −∞ for an impossible assignment."""
    cheaper = torch.sigmoid(chance.clamp(TINY, 1 - TINY).logit() - price)
    return torch.where(log_ap > -torch.inf, cheaper, -torch.inf)
