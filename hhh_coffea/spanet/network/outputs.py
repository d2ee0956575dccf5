"""What every network of the package returns, and the step all of them share: from scores to probabilities."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hhh_coffea.topology.topology import Permutation


@dataclass
class Outputs:
    """Predictions for B events; every mapping is keyed by target or head name.

    ``assignment[p]``: log-probability of every ordered combination of objects for the k daughters of target p,
    ``(B, N1, …, Nk)``, −inf where impossible. Either over all sequential objects in their concatenated order
    (architecture ``original``) or over the objects of the daughter's own input (``default``).
    ``detection[p]``: logit of "p is present", ``(B,)``. ``regression[key]``: ``(B,)``. ``classification[key]``:
    logits ``(B, classes)``. ``vectors``: embedding of the event (``EVENT``) and of each target, ``(B, D)``.
    ``gain[p]``: of networks with ``interpretations`` alone, in the shape of ``assignment[p]``: what the assignment adds to the
    logarithm of an interpretation's weight (:mod:`.interpretations`). ``marginal[p]``: likewise, ln of the probability of the
    assignment in the sum over all interpretations.
    """

    assignment: dict[str, Tensor]
    detection: dict[str, Tensor]
    regression: dict[str, Tensor] = field(default_factory=dict)
    classification: dict[str, Tensor] = field(default_factory=dict)
    vectors: dict[str, Tensor] = field(default_factory=dict)
    gain: dict[str, Tensor] = field(default_factory=dict)
    marginal: dict[str, Tensor] = field(default_factory=dict)


def masked_log_softmax(scores: Tensor, valid: Tensor, batch_axes: int = 1) -> Tensor:
    """Log-softmax over all axes but the first ``batch_axes``, of the ``valid`` entries alone; −inf elsewhere.

    ``valid`` is broadcast to ``scores``. An event without any valid entry is −inf throughout (not NaN), its gradient
    zero.
    """
    flat = torch.where(valid, scores, -1e9).flatten(batch_axes)
    logp = torch.log_softmax(flat, dim=-1).view_as(scores)
    return torch.where(valid, logp, -torch.inf)


def valid_combinations(masks: list[Tensor], same_list: list[object]) -> Tensor:
    """Which combinations use real objects only, none of them twice: ``(B, N1, …, Nk)``.

    ``masks[i] (B, Ni)`` are the objects offered to daughter i; two daughters with equal ``same_list`` entries are
    sought in the same list and must differ.
    """
    k = len(masks)
    shape = [[m.shape[0], *(m.shape[1] if axis == i else 1 for axis in range(k))] for i, m in enumerate(masks)]
    valid = masks[0].reshape(shape[0])
    for i in range(1, k):
        valid = valid & masks[i].reshape(shape[i])
    for i, j in itertools.combinations(range(k), 2):
        if same_list[i] == same_list[j]:
            n = masks[i].shape[1]
            distinct = ~torch.eye(n, dtype=torch.bool, device=valid.device)
            valid = valid & distinct.reshape([1, *(n if axis in (i, j) else 1 for axis in range(k))])
    return valid


@lru_cache(maxsize=64)
def representatives(
    sizes: tuple[int, ...], offsets: tuple[int, ...], group: tuple[Permutation, ...]
) -> npt.NDArray[np.int64]:
    """One ordering of every assignment, ``(C, k)``: all combinations of distinct objects, first of each orbit."""
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in sizes), indexing="ij"), axis=-1).reshape(-1, len(sizes))
    absolute = grid + np.asarray(offsets)
    keep = np.ones(len(grid), dtype=bool)
    for i, j in itertools.combinations(range(len(sizes)), 2):
        keep &= absolute[:, i] != absolute[:, j]
    weights = np.cumprod([1, *(max(sizes) for _ in sizes[1:])])[::-1]  # orders combinations as their flat index does
    for g in group:
        keep &= grid @ weights <= grid[:, list(g)] @ weights
    return grid[keep]
