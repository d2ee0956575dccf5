"""The network of SPANet as published, to the last weight: architecture ``original``.

A. Shmakov et al., SciPost Phys. 12, 178 (2022); M. Fenton et al., Commun. Phys. 7, 139 (2024); for HHH arXiv
2412.03819. Checkpoints of the original code give the same outputs here (see :mod:`hhh_coffea.spanet.checkpoint`).

    objects → embedding → encoder ─┬→ branch of target 1 → detection logit, assignment probabilities
                                   ├→ branch of target 2 → …
                                   └→ event vector → regression and classification heads

Shapes: B events, T tokens (objects and GLOBAL vectors, padding included), S ≤ T of them sequential, D ``hidden_dim``.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from hhh_coffea.spanet.network.features import Normaliser, sequential_masks
from hhh_coffea.spanet.network.outputs import Outputs, masked_log_softmax, valid_combinations
from hhh_coffea.spanet.original.blocks import Block, Head, OriginalOptions, StackedEncoder, masked
from hhh_coffea.topology.topology import Input, Target, Topology


class InputEmbedding(nn.Module):
    """One input's objects (B, M, F) → (B, M, D + position), the last part learned, the same for all of them."""

    def __init__(self, options: OriginalOptions, event_input: Input):
        super().__init__()
        dim = options.hidden_dim
        self.normaliser = Normaliser(event_input)
        widths = [len(event_input.features), options.initial_embedding_dim]
        while len(widths) - 2 < options.num_embedding_layers and 2 * widths[-1] < dim:
            widths.append(2 * widths[-1])  # doubling up to D
        widths.append(dim)
        skip = options.initial_embedding_skip_connections
        self.blocks = nn.ModuleList(Block(options, i, o, skip) for i, o in itertools.pairwise(widths))
        self.kind = nn.Parameter(torch.randn(options.position_embedding_dim))

    def forward(self, x: Tensor, mask: Tensor, log_applied: bool) -> Tensor:
        """``x (B, M, F)``, ``mask (B, M)`` → ``(B, M, D + position)``."""
        x = self.normaliser(x, mask, log_applied)
        for block in self.blocks:
            x = block(x, mask)
        return torch.cat([x, self.kind.expand(*x.shape[:-1], -1)], dim=-1)


class Branch(nn.Module):
    """One target: whether it is there, and which objects are its daughters."""

    def __init__(self, options: OriginalOptions, target: Target):
        super().__init__()
        dim = options.hidden_dim
        self.group, self.scale = target.group, dim ** (-target.degree / 2)
        self.encoder = StackedEncoder(options, options.num_branch_embedding_layers, options.num_branch_encoder_layers)
        self.detection = Head(options, options.num_detector_layers, 1)
        self.daughters = nn.ModuleList(
            StackedEncoder(options, options.num_jet_embedding_layers, options.num_jet_encoder_layers)
            for _ in target.daughters
        )
        self.projections = nn.ModuleList(nn.Linear(dim, dim) for _ in target.daughters)

    def forward(
        self, x: Tensor, mask: Tensor, objects: Tensor, object_mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
        """Turn the encoded event into assignment log-probabilities, detection logit, target vector, daughter vectors.

        ``x (B, T, D)``, ``mask (B, T)``, ``objects (S)`` positions of the sequential tokens, ``object_mask (B, S)``
        → ``(B, S, …, S)``, ``(B)``, ``(B, D)``, one ``(B, D)`` for each daughter.
        """
        x, vector = self.encoder(x, mask)  # (B, T, D), (B, D)
        x = x.index_select(1, objects)  # (B, S, D): nothing is assigned to a GLOBAL vector
        projected, vectors = [], []
        for encoder, projection in zip(self.daughters, self.projections, strict=True):
            y, daughter = encoder(x, object_mask)
            projected.append(masked(projection(y), object_mask))  # (B, S, D)
            vectors.append(daughter)
        k = len(projected)
        scores = combine(projected) * self.scale
        axes = [(0, *(1 + i for i in g)) for g in self.group]  # average over the daughters' permutations
        scores = torch.stack([scores.permute(a) for a in axes]).mean(0) if len(axes) > 1 else scores
        valid = valid_combinations([object_mask] * k, [0] * k)
        return masked_log_softmax(scores, valid), self.detection(vector).squeeze(-1), vector, vectors


def combine(factors: Sequence[Tensor]) -> Tensor:
    """Sum over the last axis of the product of k tensors ``(B, Ni, D)`` at every combination: ``(B, N1, …, Nk)``."""
    if len(factors) == 1:
        return factors[0].sum(-1)
    left = factors[0]
    for factor in factors[1:-1]:  # (B, N1·…, 1, D) * (B, 1, Ni, D)
        left = (left.unsqueeze(2) * factor.unsqueeze(1)).flatten(1, 2)
    out = left @ factors[-1].transpose(1, 2)
    return out.reshape(out.shape[0], *(factor.shape[1] for factor in factors))


class OriginalSPANet(nn.Module):
    """SPANet as published; see :class:`~hhh_coffea.spanet.original.blocks.OriginalOptions` for what can be chosen.

    ``classes`` gives the number of classes of every classification of the topology.
    """

    architecture = "original"
    regression_scale: Tensor

    def __init__(self, topology: Topology, options: OriginalOptions, classes: Mapping[str, int] | None = None):
        super().__init__()
        self.topology, self.options, self.classes = topology, options, dict(classes or {})
        dim = options.hidden_dim
        self.inputs = nn.ModuleList(InputEmbedding(options, i) for i in topology.inputs)
        self.embedding = Block(options, dim + options.position_embedding_dim, dim, options.skip_connections)
        self.encoder = StackedEncoder(options, 0, options.num_encoder_layers)
        self.branches = nn.ModuleList(Branch(options, target) for target in topology.targets)
        self.regression = nn.ModuleList(Head(options, options.num_regression_layers, 1) for _ in topology.regressions)
        self.classification = nn.ModuleList(
            Head(options, options.num_classification_layers, self.classes[key]) for key in topology.classifications
        )
        # mean and std of each regression's target: predictions are made in units of them
        self.register_buffer("regression_scale", torch.tensor([[0.0, 1.0]] * len(topology.regressions)).view(-1, 2))

    def forward(self, inputs: Sequence[Tensor], masks: Sequence[Tensor], log_applied: bool = False) -> Outputs:
        """Predict from ``inputs[i] (B, M_i, F_i)`` and ``masks[i] (B, M_i)``, in the topology's order of inputs.

        GLOBAL inputs have M = 1. ``log_applied``: the features marked ``log`` hold ln(1 + x) already.
        """
        tokens = [m(x, mask, log_applied) for m, x, mask in zip(self.inputs, inputs, masks, strict=True)]
        mask = torch.cat(list(masks), dim=1)  # (B, T)
        x = self.embedding(torch.cat(tokens, dim=1), mask)  # (B, T, D)
        x, event = self.encoder(x, mask)  # (B, T, D), (B, D)
        sizes = [(i.kind == "sequential", m.shape[1]) for i, m in zip(self.topology.inputs, masks, strict=True)]
        is_object = [kind for kind, size in sizes for _ in range(size)]
        objects = torch.tensor([t for t, kind in enumerate(is_object) if kind], device=x.device)
        object_mask = sequential_masks(self.topology, masks)  # (B, S)
        out = Outputs({}, {}, vectors={"EVENT": event})
        vectors = {"EVENT": event}
        for target, branch in zip(self.topology.targets, self.branches, strict=True):
            name = target.name
            out.assignment[name], out.detection[name], vector, daughters = branch(x, mask, objects, object_mask)
            out.vectors[name] = vectors[f"{name}/PARTICLE"] = vector
            vectors |= {f"{name}/{d}": v for d, v in zip(target.daughters, daughters, strict=True)}
        self._heads(out, vectors)
        return out

    def _heads(self, out: Outputs, vectors: Mapping[str, Tensor]) -> None:
        for regression, head, scale in zip(
            self.topology.regressions, self.regression, self.regression_scale.unbind(), strict=True
        ):
            y = head(vectors[regression.key.rsplit("/", 1)[0]]).squeeze(-1) * scale[1] + scale[0]
            out.regression[regression.key] = 2 * torch.sinh(y) if regression.kind == "log_gaussian" else y
        for key, head in zip(self.topology.classifications, self.classification, strict=True):
            out.classification[key] = head(vectors[key.rsplit("/", 1)[0]])
