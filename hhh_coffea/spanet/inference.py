"""The original network, rearranged to run fast on a CPU; the numbers stay the same to rounding.

Five things make the difference, none of which changes the function computed:

* no padding: events with equally many objects are processed together, so there is nothing to mask;
* targets that run through alike branches run through them together, one batched product for all;
* features first, events last, ``(S, D, T, B)``: every matrix product is one large one, and normalisation, gates and the
  attention of a dozen objects become operations on long contiguous rows instead of thousands of tiny products;
* constants folded: scale and shift of the norms into the next matrix, the attention's output projection and the gate
  bias into the gate, batch normalisation into the last layer of a head;
* tanh(u) as 2σ(2u) − 1, the 2 folded into the weights: torch's σ is several times faster than its tanh.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import Block, Gate, GatedLayer, Head, StackedEncoder
from .original import OriginalSPANet, combine
from .outputs import Outputs, masked_log_softmax, valid_combinations
from .topology import Target

EVENTS = 128  # at a time: a layer's activations stay in the cache
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu": F.gelu, "relu": F.relu, "elu": F.elu, "celu": F.celu}


class Affine(NamedTuple):
    """x → weight x + bias for columns x: ``(S, O, I)`` and ``(S, O, 1)`` for S networks side by side."""

    weight: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """``(S, I, …)`` → ``(S, O, …)``."""
        columns = x.reshape(*x.shape[:2], -1)
        y = x.new_empty(len(x), self.weight.shape[1], columns.shape[2])
        # few large products: torch's batched product, made for many small ones, is slower; and adding the bias
        # afterwards beats addmm, which first copies it to every column
        for weight, column, out in zip(self.weight, columns, y, strict=True):
            torch.mm(weight, column, out=out)
        return y.add_(self.bias).view(*y.shape[:2], *x.shape[2:])


def _add_products(y: Tensor, weights: Tensor, columns: Tensor) -> None:
    """``y (S, O, N)`` += ``weights (S, O, I)`` ``columns (S, I, N)``, in place."""
    for out, weight, column in zip(y, weights, columns, strict=True):
        out.addmm_(weight, column)


class FastGate(NamedTuple):
    """A gate with the folds listed above."""

    update: Affine
    state: Tensor
    candidate: Tensor

    def __call__(self, y: Tensor, x: Tensor) -> Tensor:
        """``(S, ·, …)`` new, ``(S, D, …)`` old → ``(S, D, …)``."""
        d, columns = x.shape[1], x.reshape(*x.shape[:2], -1)
        a = self.update(y.reshape(*y.shape[:2], -1))  # (S, 3D, columns)
        _add_products(a[:, : 2 * d], self.state, columns)
        rz = a[:, : 2 * d].sigmoid_()
        _add_products(a[:, 2 * d :], self.candidate, rz[:, :d] * columns)
        h = a[:, 2 * d :].sigmoid_().mul_(2).sub_(1)
        return torch.lerp(columns, h, rz[:, d:]).view(x.shape)


class FastBlock(NamedTuple):
    """A GRU block."""

    first: Affine
    second: Affine
    residual: Affine | None
    gate: FastGate | None
    act: Callable[[Tensor], Tensor]
    norm: bool

    def __call__(self, x: Tensor) -> Tensor:
        """``(S, I, …)`` → ``(S, O, …)``."""
        y = self.act(self.second(self.act(self.first(_normalised(x) if self.norm else x))))
        if self.gate is None:
            return y
        return self.gate(y, x if self.residual is None else self.residual(x))


class FastLayer(NamedTuple):
    """A gated transformer layer."""

    qkv: Affine
    heads: int
    gate: FastGate
    feed_forward: FastBlock

    def __call__(self, x: Tensor) -> Tensor:
        """``(S, D, T, B)`` → ``(S, D, T, B)``."""
        s, d, t, b = x.shape
        q, k, v = self.qkv(_normalised(x)).view(s, 3, self.heads, d // self.heads, t, b).unbind(1)
        y = _attention(q, k, v).view(s, d, t, b)
        return self.feed_forward(self.gate(y, x))


class FastEncoder(NamedTuple):
    """Blocks and layers with the learned token."""

    blocks: list[FastBlock]
    token: Tensor
    layers: list[FastLayer]

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``(S, D, T, B)`` → ``(S, D, T, B)`` and summary ``(S, D, B)``."""
        for block in self.blocks:
            x = block(x)
        x = torch.cat([self.token.expand(-1, -1, 1, x.shape[3]), x], dim=2)
        for layer in self.layers:
            x = layer(x)
        return x[:, :, 1:], x[:, :, 0]


def _normalised(x: Tensor) -> Tensor:
    """Layer normalisation over the second axis, without scale and shift."""
    centred = x - x.mean(1, keepdim=True)
    return centred.mul_(centred.square().mean(1, keepdim=True).add_(1e-5).rsqrt_())


def _attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Softmax attention for ``(S, H, d, T, B)`` each, the scale folded into q. Sums over d and T are written out."""
    scores = q[:, :, 0, :, None] * k[:, :, 0, None]  # (S, H, T, T, B): query, key
    for c in range(1, q.shape[2]):
        scores.addcmul_(q[:, :, c, :, None], k[:, :, c, None])
    scores.sub_(scores.amax(3, keepdim=True)).exp_()
    y = scores[:, :, None, :, 0] * v[:, :, :, 0, None]  # (S, H, d, T, B)
    for j in range(1, v.shape[3]):
        y.addcmul_(scores[:, :, None, :, j], v[:, :, :, j, None])
    return y.div_(scores.sum(3).unsqueeze(2))


def _side_by_side(parts: Sequence[Any]) -> Any:
    """Networks of one shape as one: every tensor gets a leading axis S."""
    first = parts[0]
    if isinstance(first, Tensor):
        return torch.stack(list(parts)).contiguous()
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        return type(first)(*(_side_by_side(column) for column in zip(*parts, strict=True)))
    if isinstance(first, (list, tuple)):
        return [_side_by_side(column) for column in zip(*parts, strict=True)]
    return first


# --- folding ----------------------------------------------------------------------------------------------------------
def _affine(linear: Any, norm: Any = None) -> Affine:
    weight, bias = linear.weight, linear.bias
    if isinstance(norm, nn.LayerNorm):  # W (γ∘n + β) + b = (W γ) n + (W β + b)
        bias = bias + weight @ norm.bias
        weight = weight * norm.weight
    return Affine(weight.detach().clone(), bias.detach().clone().unsqueeze(1))


def _gate(gate: Gate, projection: Any = None) -> FastGate:
    d = len(gate.bias)
    weight: Tensor = gate.update.weight
    bias: Tensor = gate.update.bias
    bias = bias - F.pad(gate.bias, (d, d))  # z: … − b
    if projection is not None:
        bias = bias + weight @ projection.bias
        weight = weight @ projection.weight
    twice = torch.ones(3 * d, 1, device=bias.device)
    twice[2 * d :] = 2
    update = Affine((twice * weight).detach(), (twice * bias.unsqueeze(1)).detach())
    return FastGate(update, gate.state.weight.detach().clone(), 2 * gate.candidate.weight.detach())


def _block(block: Block, act: str) -> FastBlock:
    residual = _affine(block.residual) if isinstance(block.residual, nn.Linear) else None
    gate = _gate(block.gate) if isinstance(block.gate, Gate) else None
    normed = isinstance(block.norm, nn.LayerNorm)
    return FastBlock(
        _affine(block.linear_1, block.norm), _affine(block.linear_2), residual, gate, ACTIVATIONS[act], normed
    )


def _layer(layer: GatedLayer, act: str) -> FastLayer:
    qkv = _affine(layer.attention.qkv, layer.norm)
    d, heads = layer.attention.out.out_features, layer.attention.heads
    scale = torch.ones(3 * d, 1, device=qkv.bias.device)
    scale[:d] = (d // heads) ** -0.5
    return FastLayer(
        Affine(scale * qkv.weight, scale * qkv.bias),
        heads,
        _gate(layer.gate, layer.attention.out),
        _block(layer.feed_forward, act),
    )


def _encoder(encoder: StackedEncoder, act: str) -> FastEncoder:
    blocks = [_block(b, act) for b in encoder.embedding if isinstance(b, Block)]
    layers = [_layer(x, act) for x in encoder.layers if isinstance(x, GatedLayer)]
    return FastEncoder(blocks, encoder.token.detach().clone().view(-1, 1, 1), layers)


def _head(head: Head, act: str) -> tuple[list[FastBlock], Affine]:
    norm: Any = head.norm
    scale = (norm.weight / torch.sqrt(norm.running_var + norm.eps)).detach()
    shift = (norm.bias - norm.running_mean * scale).detach()
    last = _affine(head.linear)
    affine = Affine(last.weight * scale, last.bias + (last.weight @ shift).unsqueeze(1))
    return [_block(b, act) for b in head.blocks if isinstance(b, Block)], affine


def _apply_head(head: Any, x: Tensor) -> Tensor:
    """``(S, D, B)`` → ``(S, out, B)``."""
    blocks, last = head
    for block in blocks:
        x = block(x)
    return last(x)  # type: ignore[no-any-return]


class FastOriginal:
    """Evaluate an :class:`~.original.OriginalSPANet` with the same inputs and outputs, faster on a CPU.

    The weights are copied: make it anew after training. For GRU blocks in gated transformers with layer
    normalisation or none, as all published configurations have; ValueError names what else the model uses.
    """

    def __init__(self, model: OriginalSPANet):
        o = model.options
        for name, value, known in (
            ("linear_block_type", o.linear_block_type, ("GRU",)),
            ("transformer_type", o.transformer_type, ("Gated",)),
            ("normalization", o.normalization, ("LayerNorm", "None")),
            ("linear_activation", o.linear_activation, tuple(ACTIVATIONS)),
        ):
            if value not in known:
                raise ValueError(f"fast inference needs {name} {' or '.join(known)}, not {value}")
        act = o.linear_activation
        self.model, self.topology = model, model.topology
        branches: list[Any] = list(model.branches)
        inputs: list[Any] = list(model.inputs)
        self.embeddings = [[_side_by_side([_block(b, act)]) for b in m.blocks] for m in inputs]
        self.normalisers = [m.normaliser for m in inputs]
        self.kinds = [m.kind.detach().clone().view(1, -1, 1) for m in inputs]
        self.embedding = _side_by_side([_block(model.embedding, act)])
        self.encoder = _side_by_side([_encoder(model.encoder, act)])
        self.branches = _side_by_side([_encoder(b.encoder, act) for b in branches])
        self.detection = _side_by_side([_head(b.detection, act) for b in branches])
        self.daughters = _side_by_side([_encoder(e, act) for b in branches for e in b.daughters])
        self.projections = _side_by_side([_affine(p) for b in branches for p in b.projections])
        self.target_of = torch.tensor([i for i, b in enumerate(branches) for _ in b.daughters])
        heads: list[Any] = [*model.regression, *model.classification]
        self.heads = [_side_by_side([_head(h, act)]) for h in heads]

    @torch.inference_mode()
    def __call__(self, inputs: Sequence[Tensor], masks: Sequence[Tensor], log_applied: bool = False) -> Outputs:
        """As :meth:`OriginalSPANet.forward`."""
        mask = torch.cat(list(masks), dim=1)  # (B, T)
        is_global = torch.tensor(
            [i.kind == "global" for i, m in zip(self.topology.inputs, masks, strict=True) for _ in range(m.shape[1])],
            device=mask.device,
        )
        n_objects = int((~is_global).sum())
        index = torch.cumsum(~is_global, 0) - 1  # position among the objects
        batch, names = len(mask), self.topology.target_names
        x = self._embed(inputs, masks, mask, log_applied)  # (1, D, T, B)
        out = Outputs({}, {}, vectors={"EVENT": x.new_empty(batch, x.shape[1])})
        for t in self.topology.targets:
            out.assignment[t.name] = x.new_full((batch, *(n_objects,) * t.degree), -torch.inf)
            out.detection[t.name] = x.new_empty(batch)
            out.vectors[t.name] = x.new_empty(batch, x.shape[1])
        heads: list[list[Tensor]] = [[] for _ in self.heads]
        # objects first, then GLOBAL vectors, then padding
        order = torch.argsort((~mask).long() * 2 + is_global, dim=1, stable=True)
        seen = []
        for events, n, n_own in self._groups(mask, is_global):
            seen.append(events)
            tokens = order[events, :n]  # (b, n)
            places = index[tokens[:, :n_own]]  # (b, n_own)
            z, event = self.encoder(x[:, :, tokens.T, events])  # (1, D, n, b), (1, D, b)
            y, particles = self.branches(z.expand(len(names), -1, -1, -1))  # (P, D, n, b), (P, D, b)
            detection = _apply_head(self.detection, particles)[:, 0]  # (P, b)
            w, daughters = self.daughters(y[self.target_of, :, :n_own])  # one for each daughter of each target
            projected = self.projections(w).permute(0, 3, 2, 1).contiguous()  # (daughters, b, n_own, D)
            out.vectors["EVENT"][events] = event[0].T
            vectors, first = {"EVENT": event}, 0
            for p, target in enumerate(self.topology.targets):
                out.detection[target.name][events] = detection[p]
                out.vectors[target.name][events] = particles[p].T
                mine = slice(first, first + target.degree)
                first += target.degree
                vectors[f"{target.name}/PARTICLE"] = particles[p : p + 1]
                vectors |= {
                    f"{target.name}/{d}": v[None] for d, v in zip(target.daughters, daughters[mine], strict=True)
                }
                if n_own:
                    self._assign(target, projected[mine], events, places, out.assignment[target.name])
            for found, head, key in zip(heads, self.heads, self._head_keys(), strict=True):
                found.append(_apply_head(head, vectors[key.rsplit("/", 1)[0]])[0].T)
        self._collect(out, heads, torch.cat(seen) if seen else None)
        return out

    def _embed(self, inputs: Sequence[Tensor], masks: Sequence[Tensor], mask: Tensor, log_applied: bool) -> Tensor:
        """Embedded tokens ``(1, D, T, B)``; padding is left at zero and never read."""
        columns = []
        for normaliser, blocks, kind, x, m in zip(
            self.normalisers, self.embeddings, self.kinds, inputs, masks, strict=True
        ):
            y = normaliser(x, m, log_applied)[m].T.contiguous()[None]
            for block in blocks:
                y = block(y)
            columns.append(torch.cat([y, kind.expand(-1, -1, y.shape[2])], dim=1))
        z: Tensor = self.embedding(torch.cat(columns, dim=2))  # (1, D, real tokens), input by input
        x = z.new_zeros(1, z.shape[1], mask.shape[1], len(mask))
        starts = torch.tensor([0, *(m.shape[1] for m in masks)]).cumsum(0).tolist()
        where = [m.nonzero() + torch.tensor([0, s], device=m.device) for m, s in zip(masks, starts, strict=False)]
        event, token = torch.cat(where).unbind(1)
        x[:, :, token, event] = z
        return x

    @staticmethod
    def _groups(mask: Tensor, is_global: Tensor) -> Iterator[tuple[Tensor, int, int]]:
        """Events with equally many tokens and objects: their indices, the number of tokens and of objects."""
        own = (mask & ~is_global).sum(1)
        code = mask.sum(1) * (mask.shape[1] + 1) + own
        for value in torch.unique(code).tolist():
            for events in torch.split((code == value).nonzero().squeeze(1), EVENTS):
                yield events, value // (mask.shape[1] + 1), value % (mask.shape[1] + 1)

    @staticmethod
    def _assign(target: Target, projected: Tensor, events: Tensor, places: Tensor, into: Tensor) -> None:
        """Log-probabilities from ``projected (k, b, n_own, D)``, written to the events' and objects' places."""
        k, _, n_own, d = projected.shape
        scores = combine(projected.unbind()) * d ** (-k / 2)
        if len(target.group) > 1:
            scores = torch.stack([scores.permute(0, *(1 + i for i in g)) for g in target.group]).mean(0)
        every = torch.ones((1, n_own), dtype=torch.bool, device=scores.device)
        logp = masked_log_softmax(scores, valid_combinations([every] * k, [0] * k))
        at = [places.view(len(places), *(n_own if a == i else 1 for a in range(k))) for i in range(k)]
        into[(events.view(-1, *[1] * k), *at)] = logp

    def _head_keys(self) -> list[str]:
        return [*(r.key for r in self.topology.regressions), *self.topology.classifications]

    def _collect(self, out: Outputs, heads: Sequence[Sequence[Tensor]], events: Tensor | None) -> None:
        if events is None:
            return
        for i, (key, parts) in enumerate(zip(self._head_keys(), heads, strict=True)):
            y = torch.cat(list(parts))
            y = torch.empty_like(y).index_copy(0, events, y)
            if i >= len(self.topology.regressions):
                out.classification[key] = y
                continue
            y = y.squeeze(1) * self.model.regression_scale[i, 1] + self.model.regression_scale[i, 0]
            out.regression[key] = 2 * torch.sinh(y) if self.topology.regressions[i].kind == "log_gaussian" else y
