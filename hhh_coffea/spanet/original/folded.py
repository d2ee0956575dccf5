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

from hhh_coffea.spanet.original.blocks import Block, Gate, GatedLayer, Head, StackedEncoder
from hhh_coffea.spanet.original.pointwise import Pointwise


class Part(NamedTuple):
    """Rows of a memory, as a tensor and as the elementwise steps want them."""

    tensor: Tensor
    native: Any


class Memory:
    """Room for N columns of one network at work, and what is in it: views of one piece of memory.

    ``x (D, N)`` is the state, ``rstd (N)`` 1 / its standard deviation. ``y (D, N)`` takes what a gate may let in,
    ``ry`` both r∘x and y, ``yx`` both y and x, as neighbours, so that a gate's products are two instead of six.
    ``first`` are rows for all that is short-lived.
    """

    def __init__(self, flat: Tensor, rows: tuple[int, int], columns: int, steps: Pointwise):
        (d, scratch), self.steps = rows, steps
        space = flat[: self.size(rows, columns)].view(3 * d + 1 + scratch, columns)
        self.space, self.dim = space, d
        self._first: dict[int, Part] = {}
        self.x, self.y, self.r = self._part(2 * d, 3 * d), self._part(d, 2 * d), self._part(0, d)
        self.rstd = Part(space[3 * d], steps.native(space[3 * d]))
        self.ry, self.yx = space[: 2 * d], space[d : 3 * d]
        self.gates, self.candidate = self.first(2 * d).tensor, self.first(3 * d).tensor[2 * d :]

    def _part(self, start: int, stop: int) -> Part:
        rows = self.space[start:stop]
        return Part(rows, self.steps.native(rows))

    def first(self, rows: int) -> Part:
        """First rows of the scratch space: ``(rows, N)``."""
        if rows not in self._first:
            self._first[rows] = self._part(3 * self.dim + 1, 3 * self.dim + 1 + rows)
        return self._first[rows]

    def refresh(self) -> None:
        """Bring ``rstd`` up to date with ``x``."""
        self.steps.spread(self.x.native, self.rstd.native)

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
    bias: Any

    def __call__(self, m: Memory) -> None:
        """Let ``m.y`` into ``m.x``."""
        a, x = m.first(3 * m.dim).native, m.x.native
        torch.mm(self.both, m.yx, out=m.gates)
        m.steps.reset(a, self.bias, x, m.r.native)
        torch.mm(self.candidate, m.ry, out=m.candidate)
        m.steps.update(a, self.bias, x, m.rstd.native)


class FoldedBlock(NamedTuple):
    """A GRU block; the biases as :meth:`.pointwise.Pointwise.native` makes them."""

    first: Tensor
    first_bias: Any
    second: Tensor
    second_bias: Any
    residual: Affine | None
    gate: FoldedGate | None
    act: str
    norm: bool

    def __call__(self, m: Memory, x: Tensor | None = None) -> None:
        """Update ``m.x``; with ``x (I, N)`` as the input in its place."""
        steps, rstd = m.steps, m.rstd.native
        if x is None:
            x = m.x.tensor
        else:
            if self.residual is not None:
                m.x.tensor.copy_(self.residual(x))
            elif self.gate is not None:
                m.x.tensor.copy_(x)
            steps.spread(steps.native(x), rstd)
        hidden = m.first(self.first.shape[0])
        torch.mm(self.first, x, out=hidden.tensor)
        steps.activate(self.act, hidden.native, self.first_bias, rstd if self.norm else None)
        torch.mm(self.second, hidden.tensor, out=m.y.tensor)
        steps.activate(self.act, m.y.native, self.second_bias)
        if self.gate is None:
            m.x.tensor.copy_(m.y.tensor)
            m.refresh()
        else:
            self.gate(m)


class FoldedLayer(NamedTuple):
    """A gated transformer layer."""

    qkv: Tensor
    qkv_bias: Any
    heads: int
    gate: FoldedGate
    feed_forward: FoldedBlock

    def __call__(self, m: Memory, batch: int) -> None:
        """Update ``m.x``, whose columns are tokens of ``batch`` events each."""
        d = m.dim
        qkv = m.first(3 * d)
        torch.mm(self.qkv, m.x.tensor, out=qkv.tensor)
        shape = (-1, batch)
        m.steps.attend(
            qkv.native.reshape(3 * d, *shape),
            m.rstd.native.reshape(shape),
            self.qkv_bias,
            self.heads,
            m.y.native.reshape(d, *shape),
        )
        self.gate(m)
        self.feed_forward(m)


class FoldedEncoder(NamedTuple):
    """Blocks and layers with the learned token."""

    blocks: list[FoldedBlock]
    token: Tensor
    layers: list[FoldedLayer]

    def __call__(self, x: Tensor, without: Memory, m: Memory) -> Tensor:
        """``x (D, T, B)`` → ``(D, 1 + T, B)``, the summary first; in the memories for T·B and (1 + T)·B columns."""
        batch = x.shape[2]
        if self.blocks:
            without.x.tensor.view_as(x).copy_(x)
            without.refresh()
            for block in self.blocks:
                block(without)
            x = without.x.tensor.view_as(x)
        out = m.x.tensor.view(m.dim, -1, batch)
        out[:, 1:] = x
        out[:, 0] = self.token
        m.refresh()
        for layer in self.layers:
            layer(m, batch)
        return out


class FoldedHead(NamedTuple):
    """Blocks and a linear layer."""

    blocks: list[FoldedBlock]
    last: Affine

    def __call__(self, x: Tensor, m: Memory) -> Tensor:
        """``x (D, B)`` → ``(out, B)``."""
        m.x.tensor.copy_(x)
        m.refresh()
        for block in self.blocks:
            block(m)
        return self.last(m.x.tensor)


# --- folding ----------------------------------------------------------------------------------------------------------
def affine(linear: Any, norm: Any = None) -> Affine:
    """Fold a linear layer and the normalisation before it, up to the factor 1 / standard deviation."""
    weight, bias = linear.weight.detach(), linear.bias.detach()
    if isinstance(norm, nn.LayerNorm):  # W (γ∘(x − mean)/std + β) + b
        bias = bias + weight @ norm.bias.detach()
        weight = weight * norm.weight.detach()
        weight = weight - weight.mean(1, keepdim=True)
    return Affine(weight.clone().contiguous(), bias.clone())


class Folder:
    """Fold the parts of a model whose biases go to ``steps``."""

    def __init__(self, steps: Pointwise, act: str):
        self.steps, self.act = steps, act

    def _gate(self, gate: Gate, projection: Any = None) -> FoldedGate:
        d = len(gate.bias)
        weight: Tensor = gate.update.weight
        bias: Tensor = gate.update.bias - F.pad(gate.bias, (d, d))  # z: … − b
        if projection is not None:
            bias = bias + weight @ projection.bias
            weight = weight @ projection.weight
        both = torch.cat([weight[: 2 * d], gate.state.weight], dim=1)  # for y and x
        candidate = 2 * torch.cat([gate.candidate.weight, weight[2 * d :]], dim=1)  # for r∘x and y; 2: tanh from σ
        bias = torch.cat([bias[: 2 * d], 2 * bias[2 * d :]]).detach()
        return FoldedGate(both.detach().contiguous(), candidate.detach().contiguous(), self.steps.native(bias))

    def block(self, block: Block) -> FoldedBlock:
        """Fold a GRU block."""
        residual = affine(block.residual) if isinstance(block.residual, nn.Linear) else None
        gate = self._gate(block.gate) if isinstance(block.gate, Gate) else None
        first, second = affine(block.linear_1, block.norm), affine(block.linear_2)
        biases = [self.steps.native(a.bias) for a in (first, second)]
        normed = isinstance(block.norm, nn.LayerNorm)
        return FoldedBlock(first.weight, biases[0], second.weight, biases[1], residual, gate, self.act, normed)

    def _layer(self, layer: GatedLayer) -> FoldedLayer:
        qkv = affine(layer.attention.qkv, layer.norm)
        d, heads = layer.attention.out.out_features, layer.attention.heads
        scale = torch.ones(3 * d, device=qkv.bias.device)
        scale[:d] = (d // heads) ** -0.5
        weight, bias = scale.unsqueeze(1) * qkv.weight, self.steps.native(scale * qkv.bias)
        gate = self._gate(layer.gate, layer.attention.out)
        return FoldedLayer(weight, bias, heads, gate, self.block(layer.feed_forward))

    def encoder(self, encoder: StackedEncoder) -> FoldedEncoder:
        """Fold blocks and gated layers."""
        blocks = [self.block(b) for b in encoder.embedding if isinstance(b, Block)]
        layers = [self._layer(x) for x in encoder.layers if isinstance(x, GatedLayer)]
        return FoldedEncoder(blocks, encoder.token.detach().clone().unsqueeze(1), layers)

    def head(self, head: Head) -> FoldedHead:
        """Fold a head, its batch normalisation as it is in evaluation."""
        norm: Any = head.norm
        scale = (norm.weight / torch.sqrt(norm.running_var + norm.eps)).detach()
        shift = (norm.bias - norm.running_mean * scale).detach()
        last = affine(head.linear)
        blocks = [self.block(b) for b in head.blocks if isinstance(b, Block)]
        return FoldedHead(blocks, Affine((last.weight * scale).contiguous(), last.bias + last.weight @ shift))
