"""The original network, rearranged to run fast on a CPU; the numbers stay the same to rounding.

What makes the difference, none of which changes the function computed:

* no padding: events with equally many objects are processed together, so there is nothing to mask;
* few events at a time, in memory allocated once: all that a network touches stays in the second-level cache;
* constants folded, products packed and features first (:mod:`.folded`);
* what is between the products in few passes, by whatever means the caller has (:mod:`.pointwise`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from hhh_coffea.spanet.network.outputs import Outputs, masked_log_softmax, valid_combinations
from hhh_coffea.spanet.original.folded import FoldedHead, Folder, Memory, affine
from hhh_coffea.spanet.original.original import OriginalSPANet, combine
from hhh_coffea.spanet.original.pointwise import ACTIVATIONS, Pointwise
from hhh_coffea.topology.topology import Target

COLUMNS = 1280  # tokens times events at a time: about a megabyte of activations for D = 32


class FastOriginal:
    """Evaluate an :class:`~.original.OriginalSPANet` with the same inputs and outputs, faster on a CPU.

    The weights are copied: make it anew after training. For GRU blocks in gated transformers with layer
    normalisation or none, as all published configurations have; ValueError names what else the model uses. ``steps``:
    faster means for what is between the matrix products, where there are any.
    """

    def __init__(self, model: OriginalSPANet, steps: Pointwise | None = None):
        o = model.options
        for name, value, known in (
            ("linear_block_type", o.linear_block_type, ("GRU",)),
            ("transformer_type", o.transformer_type, ("Gated",)),
            ("normalization", o.normalization, ("LayerNorm", "None")),
            ("linear_activation", o.linear_activation, tuple(ACTIVATIONS)),
        ):
            if value not in known:
                raise ValueError(f"fast inference needs {name} {' or '.join(known)}, not {value}")
        self.dim, self.steps = o.hidden_dim, steps or Pointwise()
        fold = Folder(self.steps, o.linear_activation)
        self.model, self.topology = model, model.topology
        branches: list[Any] = list(model.branches)
        inputs: list[Any] = list(model.inputs)
        self.normalisers = [m.normaliser for m in inputs]
        self.kinds = [m.kind.detach().clone().unsqueeze(1) for m in inputs]
        self.embeddings = [[fold.block(b) for b in m.blocks] for m in inputs]
        self.embedding = fold.block(model.embedding)
        self.encoder = fold.encoder(model.encoder)
        self.branches = [fold.encoder(b.encoder) for b in branches]
        self.detection = [fold.head(b.detection) for b in branches]
        self.daughters = [[fold.encoder(e) for e in b.daughters] for b in branches]
        self.projections = [[affine(p) for p in b.projections] for b in branches]
        heads: list[Any] = [*model.regression, *model.classification]
        self.heads = [fold.head(h) for h in heads]
        self.head_keys = [*(r.key for r in self.topology.regressions), *self.topology.classifications]
        blocks = [self.embedding, *(b for some in self.embeddings for b in some)]
        blocks += [b for e in [self.encoder, *self.branches] for b in (*e.blocks, *(x.feed_forward for x in e.layers))]
        self.scratch = max(3 * self.dim, *(b.first.shape[0] for b in blocks))

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
        batch, d = len(mask), self.dim
        x, column = self._embed(inputs, masks, log_applied)  # (D, real tokens), (B, T)
        flats = [x.new_empty(Memory.size((d, self.scratch), COLUMNS + (1 + mask.shape[1]))) for _ in range(2)]
        vectors = {"EVENT": x.new_empty(d, batch)}
        out = Outputs({}, {})
        for t in self.topology.targets:
            out.assignment[t.name] = x.new_full((batch, *(n_objects,) * t.degree), -torch.inf)
            vectors |= {f"{t.name}/{part}": x.new_empty(d, batch) for part in ("PARTICLE", *t.daughters)}
        # objects first, then GLOBAL vectors, then padding
        order = torch.argsort((~mask).long() * 2 + is_global, dim=1, stable=True)
        for events, n, n_own in self._groups(mask, is_global):
            b, tokens = len(events), order[events, :n]  # (b, n)
            places = index[tokens[:, :n_own]]  # (b, n_own)
            all_ = [self._memory(flat, (i + n) * b) for i, flat in enumerate(flats)]
            own = all_ if n == n_own else [self._memory(flat, (i + n_own) * b) for i, flat in enumerate(flats)]
            z = x.index_select(1, column[events].gather(1, tokens).T.flatten()).view(d, n, b)
            z = self.encoder(z, *all_).clone()
            vectors["EVENT"][:, events] = z[:, 0]
            for p, target in enumerate(self.topology.targets):
                y = self.branches[p](z[:, 1:], *all_)  # (D, 1 + n, b)
                vectors[f"{target.name}/PARTICLE"][:, events] = y[:, 0]
                y = y[:, 1 : 1 + n_own].clone()
                projected = []
                for name, encode, project in zip(target.daughters, self.daughters[p], self.projections[p], strict=True):
                    w = encode(y, *own)  # (D, 1 + n_own, b)
                    vectors[f"{target.name}/{name}"][:, events] = w[:, 0]
                    rows = torch.addmm(project.bias, w.view(d, -1)[:, b:].T, project.weight.T)  # (n_own·b, D)
                    projected.append(rows.view(n_own, b, d).transpose(0, 1))
                if n_own:
                    self._assign(target, projected, events, places, out.assignment[target.name])
        self._heads(out, vectors, flats[0])
        return out

    def _memory(self, flat: Tensor, columns: int) -> Memory:
        return Memory(flat, (self.dim, self.scratch), columns, self.steps)

    def _embed(self, inputs: Sequence[Tensor], masks: Sequence[Tensor], log_applied: bool) -> tuple[Tensor, Tensor]:
        """Embedded real tokens ``(D, N)``, and in which column of it each slot is: ``(B, T)``, 0 for padding."""
        parts = []
        for normaliser, blocks, kind, x, m in zip(
            self.normalisers, self.embeddings, self.kinds, inputs, masks, strict=True
        ):
            y = normaliser(x, m, log_applied)[m].T  # (F, real objects of this input)
            for block in blocks:
                y = self._enter(block, y)
            parts.append(torch.cat([y, kind.expand(-1, y.shape[1])]))
        column, start = [], 0
        for m in masks:
            column.append(torch.where(m, start + m.flatten().cumsum(0).view_as(m) - 1, 0))
            start += int(m.sum())
        return self._enter(self.embedding, torch.cat(parts, dim=1)), torch.cat(column, dim=1)

    def _enter(self, block: Any, x: Tensor) -> Tensor:
        """``(I, N)`` → ``(O, N)`` through a block that may change the number of features."""
        (hidden, _), (dim, _) = block.first.shape, block.second.shape
        rows = dim, max(hidden, 3 * dim)
        flat = x.new_empty(Memory.size(rows, min(x.shape[1], COLUMNS)))
        out = x.new_empty(rows[0], x.shape[1])
        for some, into in zip(torch.split(x, COLUMNS, 1), torch.split(out, COLUMNS, 1), strict=True):
            memory = Memory(flat, rows, some.shape[1], self.steps)
            block(memory, some.contiguous())
            into.copy_(memory.x.tensor)
        return out

    @staticmethod
    def _groups(mask: Tensor, is_global: Tensor) -> Iterator[tuple[Tensor, int, int]]:
        """Events with equally many tokens and objects: their indices, the number of tokens and of objects."""
        own = (mask & ~is_global).sum(1)
        code = mask.sum(1) * (mask.shape[1] + 1) + own
        for value in torch.unique(code).tolist():
            n, n_own = divmod(value, mask.shape[1] + 1)
            some = (code == value).nonzero().squeeze(1)
            parts = -(-len(some) * (1 + n) // COLUMNS)
            for events in torch.tensor_split(some, parts):
                yield events, n, n_own

    @staticmethod
    def _assign(target: Target, projected: Sequence[Tensor], events: Tensor, places: Tensor, into: Tensor) -> None:
        """Log-probabilities from k times ``(b, n_own, D)``, written to the events' and objects' places."""
        k, (_, n_own, d) = len(projected), projected[0].shape
        scores = combine(projected) * d ** (-k / 2)
        if len(target.group) > 1:
            scores = torch.stack([scores.permute(0, *(1 + i for i in g)) for g in target.group]).mean(0)
        every = torch.ones((1, n_own), dtype=torch.bool, device=scores.device)
        logp = masked_log_softmax(scores, valid_combinations([every] * k, [0] * k))
        at = [places.view(len(places), *(n_own if a == i else 1 for a in range(k))) for i in range(k)]
        into[(events.view(-1, *[1] * k), *at)] = logp

    def _heads(self, out: Outputs, vectors: dict[str, Tensor], flat: Tensor) -> None:
        out.vectors["EVENT"] = vectors["EVENT"].T
        for target, head in zip(self.topology.targets, self.detection, strict=True):
            particle = vectors[f"{target.name}/PARTICLE"]
            out.vectors[target.name] = particle.T
            out.detection[target.name] = self._head(head, particle, flat)[:, 0]
        scales = self.model.regression_scale
        for i, (key, head) in enumerate(zip(self.head_keys, self.heads, strict=True)):
            y = self._head(head, vectors[key.rsplit("/", 1)[0]], flat)
            if i >= len(self.topology.regressions):
                out.classification[key] = y
                continue
            y = y.squeeze(1) * scales[i, 1] + scales[i, 0]
            out.regression[key] = 2 * torch.sinh(y) if self.topology.regressions[i].kind == "log_gaussian" else y

    def _head(self, head: FoldedHead, x: Tensor, flat: Tensor) -> Tensor:
        """``(D, B)`` → ``(B, out)``."""
        if not x.shape[1]:
            return x.new_empty(0, len(head.last.bias))
        return torch.cat([head(some, self._memory(flat, some.shape[1])).T for some in torch.split(x, COLUMNS, 1)])
