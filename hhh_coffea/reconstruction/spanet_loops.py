"""The elementwise steps of the original network (:mod:`hhh_coffea.spanet.original.pointwise`) as loops compiled by numba.

They stand here and not with the network because that needs torch and numpy alone, while numba comes with coffea. Each
loop reads and writes its arrays once, where torch needs a pass over memory for every operator. exp and erf are
polynomials, a third of the cost of the exact functions: relative error of exp below 1e-7, absolute error of gelu below
1e-6, of the size of fp32 rounding and far inside the 1e-5 promised for the outputs.

Shapes: D features, N columns (tokens times events). Arrays are fp32 and C-contiguous. Nothing here checks that.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import float32, njit, types
from numba.extending import intrinsic
from torch import Tensor

from hhh_coffea.spanet.original.pointwise import Pointwise

# NaN and infinity keep their meaning; sums keep their order, so results do not depend on the machine's vector width
FAST: Any = {"fastmath": {"contract", "nsz", "arcp"}, "error_model": "numpy", "nogil": True, "boundscheck": False}
loop, inlined = njit(cache=True, **FAST), njit(inline="always", **FAST)
EVENTS, COLUMNS = 64, 128  # at a time in the inner loops: what fits into the first-level cache

ZERO, HALF, ONE, TWO = float32(0), float32(0.5), float32(1), float32(2)
LOG2E, ROUND, LARGEST, LARGE = float32(-1.44269504), float32(1.5 * 2**23), float32(126), float32(3e38)
# 2^r for |r| ≤ 1/2 (minimax, relative error 8e-8)
E0, E1, E2 = float32(1.0000000716572075), float32(0.6931469670483723), float32(0.24022119710752748)
E3, E4, E5 = float32(0.055507132935179886), float32(0.009675542058938918), float32(0.0013276467655310396)
# erf(x) = x P(x²) / Q(x²) for |x| ≤ 4, with which gelu is right to 1e-6
P0, P1, P2 = float32(-1.60960333262415e-02), float32(-2.95459980854025e-03), float32(-7.34990630326855e-04)
P3, P4, P5 = float32(-5.69250639462346e-05), float32(-2.10102402082508e-06), float32(2.77068142495902e-08)
P6 = float32(-2.72614225801306e-10)
Q0, Q1, Q2 = float32(-1.42647390514189e-02), float32(-7.37332916720468e-03), float32(-1.68282697438203e-03)
Q3, Q4 = float32(-2.13374055278905e-04), float32(-1.45660718464996e-05)
ROOT_HALF, ERF_END = float32(0.5**0.5), float32(4)


@intrinsic
def _times_power(context: Any, p: Any, m: Any) -> Any:  # noqa: ARG001  numba's form
    """p · 2^n, n being the lowest bits of the float m: an integer sum on the exponent of p."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        integer = context.get_value_type(types.int32)
        value, power = (builder.bitcast(a, integer) for a in arguments)
        total = builder.add(value, builder.shl(power, integer(23)))
        return builder.bitcast(total, context.get_value_type(types.float32))

    return types.float32(types.float32, types.float32), generate


@inlined  # type: ignore[untyped-decorator]
def _exp_minus(x: Any) -> Any:
    t = min(max(x * LOG2E, -LARGEST), LARGEST)
    m = t + ROUND
    r = t - (m - ROUND)
    r2 = r * r
    return _times_power((E0 + E1 * r) + r2 * ((E2 + E3 * r) + r2 * (E4 + E5 * r)), m)  # type: ignore[call-arg]  # numba passes the first argument


@inlined  # type: ignore[untyped-decorator]
def _sigmoid(x: Any) -> Any:
    return ONE / (ONE + _exp_minus(x))


@inlined  # type: ignore[untyped-decorator]
def _gelu(x: Any) -> Any:
    t = min(max(x * ROOT_HALF, -ERF_END), ERF_END)
    u = t * t
    p = P0 + u * (P1 + u * (P2 + u * (P3 + u * (P4 + u * (P5 + u * P6)))))
    q = Q0 + u * (Q1 + u * (Q2 + u * (Q3 + u * Q4)))
    y = HALF * x
    return y + y * (t * p / q)


@loop  # type: ignore[untyped-decorator]
def gelu(y: Any, scale: Any, bias: Any) -> None:
    """``y (O, N)`` ← gelu(scale∘y + bias), ``scale (N)``, ``bias (O)``."""
    for o in range(y.shape[0]):
        row, b = y[o], bias[o]
        for n in range(y.shape[1]):
            row[n] = _gelu(row[n] * scale[n] + b)


@loop  # type: ignore[untyped-decorator]
def plain_gelu(y: Any, bias: Any) -> None:
    """``y (O, N)`` ← gelu(y + bias)."""
    for o in range(y.shape[0]):
        row, b = y[o], bias[o]
        for n in range(y.shape[1]):
            row[n] = _gelu(row[n] + b)


@loop  # type: ignore[untyped-decorator]
def reset(a: Any, bias: Any, x: Any, out: Any) -> None:
    """``out (D, N)`` = σ(a + bias)∘x for the first D rows of ``a``."""
    for o in range(x.shape[0]):
        row, old, new, b = a[o], x[o], out[o], bias[o]
        for n in range(x.shape[1]):
            new[n] = _sigmoid(row[n] + b) * old[n]


@inlined  # type: ignore[untyped-decorator]
def _spread(x: Any, first: Any, last: Any, mean: Any, rstd: Any) -> None:
    d, width = x.shape[0], last - first
    part = rstd[first:last]
    for n in range(width):
        mean[n] = float32(0)
        part[n] = float32(0)
    for o in range(d):
        row = x[o, first:last]
        for n in range(width):
            mean[n] += row[n]
    for n in range(width):
        mean[n] *= ONE / float32(d)
    for o in range(d):
        row = x[o, first:last]
        for n in range(width):
            centred = row[n] - mean[n]
            part[n] += centred * centred
    for n in range(width):
        part[n] = ONE / np.sqrt(part[n] * (ONE / float32(d)) + float32(1e-5))


@loop  # type: ignore[untyped-decorator]
def spread(x: Any, rstd: Any) -> None:
    """``rstd (N)`` = 1 / standard deviation over the rows of ``x (D, N)``."""
    mean = np.empty(COLUMNS, np.float32)
    for first in range(0, x.shape[1], COLUMNS):
        _spread(x, first, min(first + COLUMNS, x.shape[1]), mean, rstd)


@loop  # type: ignore[untyped-decorator]
def update(a: Any, bias: Any, x: Any, rstd: Any) -> None:
    """``x`` ← x + z∘(h − x), z = σ(a[D:2D] + bias), h = 2σ(a[2D:] + bias) − 1, and ``rstd (N)`` of the new x."""
    d = x.shape[0]
    mean = np.empty(COLUMNS, np.float32)
    for first in range(0, x.shape[1], COLUMNS):
        last = min(first + COLUMNS, x.shape[1])
        for o in range(d):
            update_gate, candidate, row = a[d + o, first:last], a[2 * d + o, first:last], x[o, first:last]
            b, c = bias[d + o], bias[2 * d + o]
            for n in range(last - first):
                z = _sigmoid(update_gate[n] + b)
                h = TWO * _sigmoid(candidate[n] + c) - ONE
                row[n] += z * (h - row[n])
        _spread(x, first, last, mean, rstd)


@inlined  # type: ignore[untyped-decorator]
def _add_product(out: Any, a: Any, b: Any) -> None:
    """``out (n)`` += Σ_k a_k∘b_k for ``a, b (K, n)``, four terms at a time to spare loads and stores of the sum."""
    fours = len(a) // 4 * 4
    for k in range(0, fours, 4):
        a0, a1, a2, a3, b0, b1, b2, b3 = a[k], a[k + 1], a[k + 2], a[k + 3], b[k], b[k + 1], b[k + 2], b[k + 3]
        for n in range(EVENTS):
            out[n] += (a0[n] * b0[n] + a1[n] * b1[n]) + (a2[n] * b2[n] + a3[n] * b3[n])
    for k in range(fours, len(a)):
        a0, b0 = a[k], b[k]
        for n in range(EVENTS):
            out[n] += a0[n] * b0[n]


@inlined  # type: ignore[untyped-decorator]
def _take(into: Any, row: Any, scale: Any, bias: Any, first: Any, width: Any) -> None:
    for n in range(width):
        into[n] = row[first + n] * scale[first + n] + bias


@loop  # type: ignore[untyped-decorator]
def attend(qkv: Any, scale: Any, bias: Any, heads: int, out: Any) -> None:  # noqa: PLR0912
    """``out (D, T, B)`` = softmax(qᵀk) v with q, k, v = scale∘qkv + bias; ``qkv (3D, T, B)``, ``scale (T, B)``."""
    tokens, batch = qkv.shape[1], qkv.shape[2]
    d = out.shape[0] // heads
    # one head of some events; the order of axes keeps every row and every sum contiguous
    q, k = np.zeros((tokens, d, EVENTS), np.float32), np.zeros((tokens, d, EVENTS), np.float32)
    v = np.zeros((d, tokens, EVENTS), np.float32)
    p = np.empty((tokens, EVENTS), np.float32)
    top, total, mean = np.empty(EVENTS, np.float32), np.empty(EVENTS, np.float32), np.empty(EVENTS, np.float32)
    for first in range(0, batch, EVENTS):
        width = min(EVENTS, batch - first)
        for head in range(heads):
            for c in range(d):
                o = head * d + c
                for t in range(tokens):
                    _take(q[t, c], qkv[o, t], scale[t], bias[o], first, width)
                    _take(k[t, c], qkv[heads * d + o, t], scale[t], bias[heads * d + o], first, width)
                    _take(v[c, t], qkv[2 * heads * d + o, t], scale[t], bias[2 * heads * d + o], first, width)
            for i in range(tokens):
                for n in range(EVENTS):
                    top[n] = -LARGE
                    total[n] = ZERO
                for j in range(tokens):
                    score = p[j]
                    for n in range(EVENTS):
                        score[n] = ZERO
                    _add_product(score, q[i], k[j])
                    for n in range(EVENTS):
                        top[n] = score[n] if score[n] > top[n] else top[n]
                for j in range(tokens):
                    score = p[j]
                    for n in range(EVENTS):
                        score[n] = _exp_minus(top[n] - score[n])
                        total[n] += score[n]
                for n in range(EVENTS):
                    total[n] = ONE / total[n]
                for c in range(d):
                    for n in range(EVENTS):
                        mean[n] = ZERO
                    _add_product(mean, p, v[c])
                    into = out[head * d + c, i]
                    for n in range(width):
                        into[first + n] = mean[n] * total[n]


class Compiled(Pointwise):
    """The steps for contiguous fp32 on a CPU; arrays in place of tensors."""

    # the loops themselves in place of methods: a wrapper around each would cost as much as a short loop
    spread, reset, update, attend = (
        staticmethod(spread),
        staticmethod(reset),
        staticmethod(update),
        staticmethod(attend),
    )

    def native(self, x: Tensor) -> Any:  # noqa: D102
        return x.numpy()

    def activate(self, name: str, y: Any, bias: Any, scale: Any = None) -> None:  # noqa: D102
        if name != "gelu":
            super().activate(name, *(None if x is None else torch.from_numpy(x) for x in (y, bias, scale)))
        elif scale is None:
            plain_gelu(y, bias)
        else:
            gelu(y, scale, bias)
