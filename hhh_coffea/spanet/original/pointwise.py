"""The elementwise steps of :mod:`.folded`, everything between its matrix products, in place and features first.

Written in torch, for any device. A caller may hand in the same steps by faster means: on a CPU the main job does, see
:mod:`hhh_coffea.reconstruction.spanet_loops`.

Shapes: D features, N columns (tokens times events).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

EPSILON = 1e-5  # torch's layer normalisation
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu": F.gelu, "relu": F.relu, "elu": F.elu, "celu": F.celu}


class Pointwise:
    """The steps, in torch. Arguments are what :meth:`native` makes of tensors: here, tensors."""

    def native(self, x: Tensor) -> Any:
        """Return the same memory as the steps want it."""
        return x

    def spread(self, x: Tensor, rstd: Tensor) -> None:
        """``rstd (N)`` = 1 / standard deviation over the rows of ``x (D, N)``: what a layer normalisation needs."""
        centred = x - x.mean(0)
        torch.rsqrt(centred.square_().mean(0).add_(EPSILON), out=rstd)

    def activate(self, name: str, y: Any, bias: Any, scale: Any = None) -> None:
        """``y (O, N)`` ← activation(scale∘y + bias) for ``scale (N)``, ``bias (O)``."""
        if scale is not None:
            y.mul_(scale)
        y.add_(bias.unsqueeze(1))
        y.copy_(ACTIVATIONS[name](y))

    def reset(self, a: Tensor, bias: Tensor, x: Tensor, out: Tensor) -> None:
        """``out (D, N)`` = σ(a + bias)∘x with the first D rows of ``a (3D, N)`` and ``bias (3D)``."""
        d = len(x)
        torch.mul(a[:d].add_(bias[:d].unsqueeze(1)).sigmoid_(), x, out=out)

    def update(self, a: Tensor, bias: Tensor, x: Tensor, rstd: Tensor) -> None:
        """``x (D, N)`` ← x + z∘(h − x), z and (h + 1)/2 the σ of the other rows of a + bias; ``rstd`` of the new x.

        tanh(u) = 2σ(2u) − 1, the 2 folded into the weights: σ is several times faster than tanh.
        """
        d = len(x)
        a[d:].add_(bias[d:].unsqueeze(1)).sigmoid_()
        x.lerp_(a[2 * d :].mul_(2).sub_(1), a[d : 2 * d])
        self.spread(x, rstd)

    def attend(self, qkv: Tensor, scale: Tensor, bias: Tensor, heads: int, out: Tensor) -> None:
        """``out (D, T, B)`` = softmax(qᵀk) v with q, k, v = scale∘qkv + bias, ``qkv (3D, T, B)``, ``scale (T, B)``.

        Sums over features and tokens are written out: for a dozen tokens, long rows of events beat many tiny products.
        """
        qkv.mul_(scale).add_(bias.view(-1, 1, 1))
        q, k, v = qkv.view(3, heads, -1, *qkv.shape[1:]).unbind(0)  # (H, d, T, B)
        scores = q[:, 0, :, None] * k[:, 0, None]  # (H, T, T, B): query, key
        for c in range(1, q.shape[1]):
            scores.addcmul_(q[:, c, :, None], k[:, c, None])
        scores = scores.sub_(scores.amax(2, keepdim=True)).exp_()
        y = out.view(heads, -1, *out.shape[1:])
        torch.mul(scores[:, None, :, 0], v[:, :, 0, None], out=y)
        for j in range(1, v.shape[2]):
            y.addcmul_(scores[:, None, :, j], v[:, :, j, None])
        y.div_(scores.sum(2).unsqueeze(1))
