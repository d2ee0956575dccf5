"""Damped Newton maximisation of very many small functions at once.

A batch is one tensor per quantity with the fits along its last axis, so that each line works on thousands of fits.
Unfinished fits are collected after every round and dealt into full blocks again: no block waits for its slowest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

BLOCK = 4096  # fits evaluated together on a CPU: their arrays stay in the cache
BLOCK_DEVICE = 1 << 19  # on an accelerator
ROUND = 4  # iterations between collections
SMALLEST_PIVOT = 1e-3  # of the diagonal element
STUCK = 1e10  # damping at which no step helps
Pattern = Sequence[tuple[int, int]]  # elements (i, j), i ≥ j, of a symmetric matrix that are not always 0, by rows


def dense(size: int) -> list[tuple[int, int]]:
    """Lower triangle of a full matrix."""
    return [(i, j) for i in range(size) for j in range(i + 1)]


class Block(Protocol):
    """Some of the fits of a problem: ``low``, ``high`` are the ranges ``(P, n)``, ``x`` the parameters ``(P, n)``."""

    low: Tensor
    high: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Rows ``(1 + P + K, n)``: value, gradient, and minus the second derivatives in the problem's pattern."""

    def reach(self, x: Tensor) -> Tensor:
        """Longest step of each parameter, ``(P, n)``."""


class Problem(Protocol):
    """Many fits of one kind."""

    pattern: Pattern

    def block(self, fits: Tensor) -> Block:
        """The fits with these numbers."""


@dataclass(frozen=True)
class Maximum:
    """Where the fits ended."""

    x: Tensor  # (P, n)
    value: Tensor  # (n,); −inf where the function is not finite at the start
    converged: Tensor  # (n,), bool
    at_limit: Tensor  # (n,), bool: a parameter is at the end of its range


def solve(pattern: Pattern, h: Tensor, g: Tensor) -> Tensor:
    """Step ``(P, n)`` of H·step = g by LDLᵀ on whole arrays, with pivots made positive.

    ``h`` are the elements of ``pattern``. A negative pivot is a direction in which the function curves upwards: its
    absolute value makes the step go up along it.
    """
    size = len(g)
    at = {ij: row for row, ij in enumerate(pattern)}
    lower: dict[tuple[int, int], Tensor] = {}
    pivots: list[Tensor] = []
    for j in range(size):
        pivot = diagonal = h[at[j, j]]
        scaled = {k: lower[j, k] * pivots[k] for k in range(j) if (j, k) in lower}
        for k, c in scaled.items():
            pivot = pivot - c * lower[j, k]
        pivot = torch.maximum(pivot.abs(), SMALLEST_PIVOT * diagonal.abs()).clamp_min(1e-30)
        pivots.append(pivot)
        inverse = 1 / pivot
        for i in range(j + 1, size):
            shared = [k for k in scaled if (i, k) in lower]
            if (i, j) not in at and not shared:
                continue
            element = h[at[i, j]] if (i, j) in at else torch.zeros_like(pivot)
            for k in shared:
                element = element - scaled[k] * lower[i, k]
            lower[i, j] = element * inverse
    y = list(g.unbind(0))
    for i in range(size):
        for k in range(i):
            if (i, k) in lower:
                y[i] = y[i] - lower[i, k] * y[k]
    y = [v / d for v, d in zip(y, pivots, strict=True)]
    for i in reversed(range(size)):
        for k in range(i + 1, size):
            if (k, i) in lower:
                y[i] = y[i] - lower[k, i] * y[k]
    return torch.stack(y)


def maximise(problem: Problem, x: Tensor, *, tolerance: float = 1e-9, max_iterations: int = 60) -> Maximum:
    """Maximise all fits of ``problem`` from the starts ``x`` ``(P, n)``.

    A step solves (H + λ·diag|H|)·δ = g, is shortened to ``reach`` and cut at the ranges; it is taken if the value does
    not fall. λ is divided by 5 then, and multiplied by 8 otherwise. A fit has converged when the next step promises a
    gain of less than ``tolerance``.
    """
    n = x.shape[1]
    x = x.clone()
    rows = 1 + len(x) + len(problem.pattern)
    state, damping = x.new_empty(rows, n), x.new_zeros(n)
    converged, at_limit = (torch.zeros(n, dtype=torch.bool, device=x.device) for _ in range(2))
    left = torch.arange(n, device=x.device)
    size = BLOCK if x.device.type == "cpu" else BLOCK_DEVICE
    for first in range(0, max_iterations, ROUND):
        unfinished = []
        for fits in left.split(size):
            block = problem.block(fits)
            here = x[:, fits].clamp(block.low, block.high) if first == 0 else x[:, fits]
            now = block(here) if first == 0 else state[:, fits]
            if first == 0:
                now[0].nan_to_num_(nan=-torch.inf, posinf=-torch.inf, neginf=-torch.inf)
            lam, done = damping[fits], now[0] == -torch.inf
            ok = torch.zeros_like(done)
            for _ in range(min(ROUND, max_iterations - first)):
                step, outward = _step(problem.pattern, block, here, now, lam)
                good = (now[1 : 1 + len(x)] * step).sum(0) < 2 * tolerance
                ok |= good & ~done
                done = done | ok | (lam > STUCK)
                there = torch.where(done, here, (here + step).clamp(block.low, block.high))
                new = block(there)
                taken = (new[0] >= now[0]) & ~done
                here, now = torch.where(taken, there, here), torch.where(taken, new, now)
                lam = torch.where(taken, lam * 0.2, (lam * 8).clamp_min(1e-3))
            x[:, fits], state[:, fits], damping[fits] = here, now, lam
            converged[fits] = ok
            at_limit[fits] = outward.any(0)
            unfinished.append(fits[~done])
        left = torch.cat(unfinished) if unfinished else left
        if not len(left):
            break
    return Maximum(x, state[0], converged, at_limit)


def _step(pattern: Pattern, block: Block, x: Tensor, state: Tensor, damping: Tensor) -> tuple[Tensor, Tensor]:
    """Step of each fit, and which parameters are at the end of their range with the gradient pointing outwards."""
    size = len(x)
    g, h = state[1 : 1 + size], state[1 + size :].clone()
    outward = ((x >= block.high) & (g > 0)) | ((x <= block.low) & (g < 0))
    diagonal = [row for row, (i, j) in enumerate(pattern) if i == j]
    # a huge diagonal element keeps the parameter where it is
    scale = h[diagonal].abs()
    h[diagonal] += damping * scale + outward * (1e20 * (1 + scale))
    step = solve(pattern, h, g * ~outward)
    step *= ~outward
    step *= (block.reach(x) / step.abs().clamp_min(1e-30)).amin(0).clamp_max(1)
    return step, outward
