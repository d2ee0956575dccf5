"""Damped Newton maximisation of very many small functions at once.

A batch is one tensor per quantity with the fits along its last axis, so that each line works on thousands of fits.
Unfinished fits are collected after every round and dealt into full blocks again: no block waits for its slowest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

BLOCK = 8192  # fits evaluated together on a CPU: their arrays stay in the cache
BLOCK_DEVICE = 1 << 19  # on an accelerator
ROUND = 4  # iterations between collections
SMALLEST_PIVOT = 1e-3  # of the diagonal element
NEAR = 0.01  # relative distance of two starts on their way to one maximum
STUCK = 1e10  # damping at which no step helps
Pattern = Sequence[tuple[int, int]]  # elements (i, j), i ≥ j, of a symmetric matrix that are not always 0, by rows


def dense(size: int) -> list[tuple[int, int]]:
    """Lower triangle of a full matrix."""
    return [(i, j) for i in range(size) for j in range(i + 1)]


class Block(Protocol):
    """Some of the fits of a problem; ``x`` are the parameters ``(P, n)``."""

    low: Tensor  # ranges, (P, n)
    high: Tensor
    longest: ClassVar[Sequence[tuple[float, float]]]  # step of each parameter: relative to it, and added to that

    def __call__(self, x: Tensor) -> Tensor:
        """Rows ``(1 + P + K + T(1 + P), n)``: value, gradient, minus the second derivatives in the problem's pattern.

        Then for each of T Breit–Wigner terms the weight 2/(1 + r²) and the gradient of r.
        """


class Problem(Protocol):
    """Many fits of one kind."""

    pattern: ClassVar[Pattern]

    def block(self, fits: Tensor, /) -> Block:
        """The fits with these numbers."""


@dataclass(frozen=True)
class Maximum:
    """Where the fits ended."""

    x: Tensor  # (P, n)
    value: Tensor  # (n,); −inf where the function is not finite at the start
    converged: Tensor  # (n,), bool
    at_limit: Tensor  # (n,), bool: a parameter is at the end of its range

    def best(self, starts: int) -> Maximum:
        """The best of several starts of each fit, which lie one after the other."""
        value, at = self.value.view(starts, -1).max(0)
        x = self.x.view(len(self.x), starts, -1).gather(1, at.expand(len(self.x), 1, -1))[:, 0]
        flags = (flag.view(starts, -1).gather(0, at.unsqueeze(0))[0] for flag in (self.converged, self.at_limit))
        return Maximum(x, value, *flags)


class Factors:
    """LDLᵀ of symmetric matrices on whole arrays, with pivots made positive.

    A negative pivot is a direction in which the function curves upwards: its absolute value makes the step go up along it.
    """

    def __init__(self, pattern: Pattern, h: Tensor) -> None:
        """``h`` are the elements of ``pattern``, ``(K, n)``."""
        at = {ij: row for row, ij in enumerate(pattern)}
        self.size = 1 + max(i for i, _ in pattern)
        self.lower: dict[tuple[int, int], Tensor] = {}
        self.positive = torch.ones_like(h[0], dtype=torch.bool)
        self.pivots: list[Tensor] = []
        for j in range(self.size):
            pivot = diagonal = h[at[j, j]]
            scaled = {k: self.lower[j, k] * self.pivots[k] for k in range(j) if (j, k) in self.lower}
            for k, c in scaled.items():
                pivot = pivot - c * self.lower[j, k]
            self.positive &= pivot > SMALLEST_PIVOT * diagonal.abs()
            pivot = torch.maximum(pivot.abs(), SMALLEST_PIVOT * diagonal.abs()).clamp_min(1e-30)
            self.pivots.append(pivot)
            inverse = 1 / pivot
            for i in range(j + 1, self.size):
                shared = [k for k in scaled if (i, k) in self.lower]
                if (i, j) not in at and not shared:
                    continue
                element = h[at[i, j]] if (i, j) in at else torch.zeros_like(pivot)
                for k in shared:
                    element = element - scaled[k] * self.lower[i, k]
                self.lower[i, j] = element * inverse

    def solve(self, g: Tensor) -> Tensor:
        """Solve for right-hand sides ``(P, n)``."""
        y = list(g.unbind(0))
        for i in range(self.size):
            for k in range(i):
                if (i, k) in self.lower:
                    y[i] = y[i] - self.lower[i, k] * y[k]
        y = [v / d for v, d in zip(y, self.pivots, strict=True)]
        for i in reversed(range(self.size)):
            for k in range(i + 1, self.size):
                if (k, i) in self.lower:
                    y[i] = y[i] - self.lower[k, i] * y[k]
        return torch.stack(y)


def maximise(
    problem: Problem, x: Tensor, *, starts: int = 1, tolerance: float = 1e-9, max_iterations: int = 60
) -> Maximum:
    """Maximise all fits of ``problem`` from the starts ``x`` ``(P, n)``; with several ``starts``, one after the other.

    A step solves (H + λ·diag|H|)·δ = g, is shortened to ``reach`` and cut at the ranges; it is taken if the value does
    not fall. λ is divided by 10 then, and multiplied by 8 (at least 0.1) otherwise. A fit has converged when the next step
    promises a gain of less than ``tolerance``.
    """
    n = x.shape[1]
    x = x.clone()
    state = x.new_empty(0)
    damping = x.new_zeros(n)
    converged, at_limit = (torch.zeros(n, dtype=torch.bool, device=x.device) for _ in range(2))
    left = torch.arange(n, device=x.device)
    size = BLOCK if x.device.type == "cpu" else BLOCK_DEVICE
    for first in range(0, max_iterations, ROUND):
        unfinished = []
        for fits in torch.split(left, size):
            block = problem.block(fits)
            here = x[:, fits].clamp(block.low, block.high) if first == 0 else x[:, fits]
            now = block(here) if first == 0 else state[:, fits]
            if not len(state):
                state = x.new_empty(len(now), n)
            if first == 0:
                now[0].nan_to_num_(nan=-torch.inf, posinf=-torch.inf, neginf=-torch.inf)
            lam, done = damping[fits], now[0] == -torch.inf
            ok = torch.zeros_like(done)
            for _ in range(min(ROUND, max_iterations - first)):
                there, gain, outward = _step(problem.pattern, block, here, now, lam)
                good = gain < tolerance
                ok |= good & ~done
                done = done | ok | (lam > STUCK)
                new = block(there)
                taken = (new[0] >= now[0]) & ~done
                here, now = torch.where(taken, there, here), torch.where(taken, new, now)
                lam = torch.where(taken, lam * 0.1, (lam * 8).clamp_min(0.1))
            x[:, fits], state[:, fits], damping[fits] = here, now, lam
            converged[fits] = ok
            at_limit[fits] = outward.any(0)
            unfinished.append(fits[~done])
        left = torch.cat(unfinished) if unfinished else left
        if starts > 1 and first:
            left = left[~_followers(x.view(len(x), starts, -1), state[0].view(starts, -1)).flatten()[left]]
        if not len(left):
            break
    return Maximum(x, state[0], converged, at_limit)


def _followers(x: Tensor, value: Tensor) -> Tensor:
    """Starts ``(P, S, n)`` that are where a better start of the same fit is: they need not be followed, ``(S, n)``."""
    leader = value.argmax(0)
    ahead = x.gather(1, leader.expand(len(x), 1, -1))
    near = ((x - ahead).abs() < NEAR * (x.abs() + ahead.abs()) + NEAR).all(0)
    return near & (leader != torch.arange(len(value), device=x.device).unsqueeze(1))


def _step(pattern: Pattern, block: Block, x: Tensor, state: Tensor, damping: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Trial point, gain in value that it promises, and which parameters are at the end of their range, pulled outwards."""
    size = len(x)
    g, h = state[1 : 1 + size], state[1 + size : 1 + size + len(pattern)].clone()
    outward = ((x >= block.high) & (g > 0)) | ((x <= block.low) & (g < 0))
    g = g * ~outward
    diagonal = [row for row, (i, j) in enumerate(pattern) if i == j]
    # a huge diagonal element keeps the parameter where it is
    scale = h[diagonal].abs()
    h[diagonal] += damping * scale + outward * (1e20 * (1 + scale))
    factors = Factors(pattern, h)
    step = factors.solve(g)
    if len(bent := torch.nonzero(~factors.positive)[:, 0]):
        # not near a maximum: take the Breit–Wigner terms as reweighted least squares, whose curvature is never negative
        terms = state[1 + size + len(pattern) :].index_select(1, bent).view(-1, 1 + size, len(bent))
        weight, slope = terms[:, 0], terms[:, 1:]
        missing = weight * (2 - weight)  # 2/(1 + r²) less the exact curvature
        rows, columns = ([ij[k] for ij in pattern] for k in (0, 1))
        h = h.index_select(1, bent) + ((missing.unsqueeze(1) * slope)[:, rows] * slope[:, columns]).sum(0)
        step[:, bent] = Factors(pattern, h).solve(g.index_select(1, bent))
    gain = 0.5 * (g * step).sum(0)
    relative, absolute = x.new_tensor(block.longest).T.unsqueeze(-1)
    longest = relative * x.abs() + absolute
    step *= (longest / step.abs().clamp_min(1e-30)).amin(0).clamp_max(1)
    return (x + step).clamp(block.low, block.high), gain, outward
