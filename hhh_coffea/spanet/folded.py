"""Blocks of the original network with their constants folded, working in place on preallocated memory.

Features first, columns (tokens times events) last: ``(D, N)``. Then every matrix product is one large one, and
normalisation, activations and gates are operations on long contiguous rows (:mod:`.pointwise`). Folded into the
weights are

* scale, shift and the subtraction of the mean of a layer normalisation: they commute with the next matrix, which
  leaves one factor per column, 1 / standard deviation, to be applied with that matrix' bias;
* the attention's output projection and the gate's bias, into the gate; its six matrices, into two;
* batch normalisation, into the last layer of a head.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import Block, Gate, GatedLayer, Head, StackedEncoder
from .pointwise import Pointwise


class Memory:
    """Room for N columns of one network at work, and what is in it: views of one piece of memory.

    ``x (D, N)`` is the state, ``rstd (N)`` 1 / its standard deviation. ``y (D, N)`` takes what a gate may let in,
    ``ry`` both r∘x and y, ``yx`` both y and x, as neighbours, so that a gate's products are two instead of six.
    """

    def __init__(self, flat: Tensor, rows: tuple[int, int], columns: int, steps: Pointwise):
        (dim, scratch), self.steps = rows, steps
        space = flat[: self.size(rows, columns)].view(3 * dim + 1 + scratch, columns)
        self.reset, self.y, self.x = space[:dim], space[dim : 2 * dim], space[2 * dim : 3 * dim]
        self.ry, self.yx, self.rstd = space[: 2 * dim], space[dim : 3 * dim], space[3 * dim]
        self.scratch = space[3 * dim + 1 :]

    @staticmethod
    def size(rows: tuple[int, int], columns: int) -> int:
        """Elements needed."""
        return (3 * rows[0] + 1 + rows[1]) * columns


class Affine(NamedTuple):
    """x → weight x + bias for columns x: ``(O, I)`` and ``(O)``."""

    weight: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """``(I, N)`` → ``(O, N)``."""
        return torch.mm(self.weight, x).add_(self.bias.unsqueeze(1))


class FoldedGate(NamedTuple):
    """A gate: W and U of r and z side by side ``(2D, 2D)``, those of h ``(D, 2D)``, biases ``(3D)``."""

    both: Tensor
    candidate: Tensor
    bias: Tensor

    def __call__(self, m: Memory) -> None:
        """Let ``m.y`` into ``m.x``."""
        d = len(m.x)
        a = m.scratch[: 3 * d]
        torch.mm(self.both, m.yx, out=a[: 2 * d])
        m.steps.reset(a, self.bias, m.x, m.reset)
        torch.mm(self.candidate, m.ry, out=a[2 * d :])
        m.steps.update(a, self.bias, m.x, m.rstd)


class FoldedBlock(NamedTuple):
    """A GRU block."""

    first: Affine
    second: Affine
    residual: Affine | None
    gate: FoldedGate | None
    act: str
    norm: bool

    def __call__(self, m: Memory, x: Tensor | None = None) -> None:
        """Update ``m.x``; with ``x (I, N)`` as the input in its place."""
        steps, rstd = m.steps, m.rstd
        if x is None:
            x = m.x
        else:
            if self.residual is not None:
                torch.add(torch.mm(self.residual.weight, x), self.residual.bias.unsqueeze(1), out=m.x)
            elif self.gate is not None:
                m.x.copy_(x)
            steps.spread(x, rstd)
        hidden = m.scratch[: len(self.first.bias)]
        torch.mm(self.first.weight, x, out=hidden)
        steps.activate(self.act, hidden, self.first.bias, rstd if self.norm else None)
        torch.mm(self.second.weight, hidden, out=m.y)
        steps.activate(self.act, m.y, self.second.bias)
        if self.gate is None:
            m.x.copy_(m.y)
            steps.spread(m.x, rstd)
        else:
            self.gate(m)


class FoldedLayer(NamedTuple):
    """A gated transformer layer."""

    qkv: Affine
    heads: int
    gate: FoldedGate
    feed_forward: FoldedBlock

    def __call__(self, m: Memory, batch: int) -> None:
        """Update ``m.x``, whose columns are tokens of ``batch`` events each."""
        d = len(m.x)
        qkv = m.scratch[: 3 * d]
        torch.mm(self.qkv.weight, m.x, out=qkv)
        shaped, scale, out = qkv.view(3 * d, -1, batch), m.rstd.view(-1, batch), m.y.view(d, -1, batch)
        m.steps.attend(shaped, self.qkv.bias, scale, self.heads, out)
        self.gate(m)
        self.feed_forward(m)


class FoldedEncoder(NamedTuple):
    """Blocks and layers with the learned token."""

    blocks: list[FoldedBlock]
    token: Tensor
    layers: list[FoldedLayer]

    def __call__(self, x: Tensor, without: Memory, m: Memory) -> Tensor:
        """``x (D, T, B)`` → ``(D, 1 + T, B)``, the summary first; in the memories for T·B and (1 + T)·B columns."""
        d, _, batch = x.shape
        if self.blocks:
            without.x.view_as(x).copy_(x)
            without.steps.spread(without.x, without.rstd)
            for block in self.blocks:
                block(without)
            x = without.x.view_as(x)
        out = m.x.view(d, -1, batch)
        out[:, 1:] = x
        out[:, 0] = self.token
        m.steps.spread(m.x, m.rstd)
        for layer in self.layers:
            layer(m, batch)
        return out


class FoldedHead(NamedTuple):
    """Blocks and a linear layer."""

    blocks: list[FoldedBlock]
    last: Affine

    def __call__(self, x: Tensor, m: Memory) -> Tensor:
        """``x (D, B)`` → ``(out, B)``."""
        m.x.copy_(x)
        m.steps.spread(m.x, m.rstd)
        for block in self.blocks:
            block(m)
        return self.last(m.x)


# --- folding ----------------------------------------------------------------------------------------------------------
def affine(linear: Any, norm: Any = None) -> Affine:
    """Fold a linear layer and the normalisation before it, up to the factor 1 / standard deviation."""
    weight, bias = linear.weight.detach(), linear.bias.detach()
    if isinstance(norm, nn.LayerNorm):  # W (γ∘(x − mean)/std + β) + b
        bias = bias + weight @ norm.bias.detach()
        weight = weight * norm.weight.detach()
        weight = weight - weight.mean(1, keepdim=True)
    return Affine(weight.clone().contiguous(), bias.clone())


def _gate(gate: Gate, projection: Any = None) -> FoldedGate:
    d = len(gate.bias)
    weight: Tensor = gate.update.weight
    bias: Tensor = gate.update.bias - F.pad(gate.bias, (d, d))  # z: … − b
    if projection is not None:
        bias = bias + weight @ projection.bias
        weight = weight @ projection.weight
    both = torch.cat([weight[: 2 * d], gate.state.weight], dim=1)  # for y and x
    candidate = 2 * torch.cat([gate.candidate.weight, weight[2 * d :]], dim=1)  # for r∘x and y; 2: tanh from σ
    bias = torch.cat([bias[: 2 * d], 2 * bias[2 * d :]])
    return FoldedGate(both.detach().contiguous(), candidate.detach().contiguous(), bias.detach())


def fold_block(block: Block, act: str) -> FoldedBlock:
    """Fold a GRU block."""
    residual = affine(block.residual) if isinstance(block.residual, nn.Linear) else None
    gate = _gate(block.gate) if isinstance(block.gate, Gate) else None
    norm = isinstance(block.norm, nn.LayerNorm)
    return FoldedBlock(affine(block.linear_1, block.norm), affine(block.linear_2), residual, gate, act, norm)


def _layer(layer: GatedLayer, act: str) -> FoldedLayer:
    qkv = affine(layer.attention.qkv, layer.norm)
    d, heads = layer.attention.out.out_features, layer.attention.heads
    scale = torch.ones(3 * d, device=qkv.bias.device)
    scale[:d] = (d // heads) ** -0.5
    return FoldedLayer(
        Affine(scale.unsqueeze(1) * qkv.weight, scale * qkv.bias),
        heads,
        _gate(layer.gate, layer.attention.out),
        fold_block(layer.feed_forward, act),
    )


def fold_encoder(encoder: StackedEncoder, act: str) -> FoldedEncoder:
    """Fold blocks and gated layers."""
    blocks = [fold_block(b, act) for b in encoder.embedding if isinstance(b, Block)]
    layers = [_layer(x, act) for x in encoder.layers if isinstance(x, GatedLayer)]
    return FoldedEncoder(blocks, encoder.token.detach().clone().unsqueeze(1), layers)


def fold_head(head: Head, act: str) -> FoldedHead:
    """Fold a head, its batch normalisation as it is in evaluation."""
    norm: Any = head.norm
    scale = (norm.weight / torch.sqrt(norm.running_var + norm.eps)).detach()
    shift = (norm.bias - norm.running_mean * scale).detach()
    last = affine(head.linear)
    blocks = [fold_block(b, act) for b in head.blocks if isinstance(b, Block)]
    return FoldedHead(blocks, Affine((last.weight * scale).contiguous(), last.bias + last.weight @ shift))
