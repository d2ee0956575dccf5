"""The network, and how it scores all permutations of an event without writing out their inputs.

The first layer is linear, so what it gives for a permutation is a sum: one term of each target's jets, one of the event.
Each jet is multiplied once for each slot, each choice of a target's jets is a sum of these, and each permutation a sum of
choices. Only these sums are gathered.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from hhh_coffea.base.strict import Strict
from hhh_coffea.methods.pdnn.inputs import Events, Layout
from hhh_coffea.topology.assignments import assignments

CPU_BLOCK, GPU_BLOCK = 1 << 12, 1 << 18  # permutations scored together, or those of one event if it has more


class NetworkOptions(Strict):
    """Size and inputs: ``layers`` hidden layers of ``hidden`` units; ``masses`` adds those of jets of each target."""

    hidden: int = Field(256, ge=1, le=4096)
    layers: int = Field(4, ge=1, le=32)
    masses: bool = False


class Table(NamedTuple):
    """Assignments of n jets as tensors: see :class:`hhh_coffea.topology.assignments.Assignments`."""

    choices: tuple[Tensor, ...]  # of each target: (C, k)
    rows: Tensor  # (P, T)
    objects: Tensor  # (P, K)


@cache
def table(layout: Layout, n_jets: int, device: torch.device) -> Table:
    """Made once for a topology, number of jets and device."""
    found = assignments(layout.targets, n_jets, layout.event_group)
    with torch.inference_mode(False):  # they are kept, and what is made in inference mode cannot be trained with
        choices = tuple(torch.tensor(c, dtype=torch.int64, device=device) for c in found.choices)
        rows = torch.tensor(found.rows, device=device)
        return Table(choices, rows, torch.tensor(found.objects, dtype=torch.int64, device=device))


class PermutationNetwork(nn.Module):
    """Fully connected network with ReLU: the columns of a :class:`.Layout` in, one logit out."""

    mean: Tensor
    std: Tensor

    def __init__(self, layout: Layout, options: NetworkOptions, dropout: float = 0.0) -> None:
        super().__init__()
        self.layout, self.options, self.dropout = layout, options, dropout
        self.register_buffer("mean", torch.zeros(layout.n_inputs))
        self.register_buffer("std", torch.ones(layout.n_inputs))
        sizes = [layout.n_inputs, *[options.hidden] * options.layers]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.last = nn.Linear(options.hidden, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        """``(…, columns)`` inputs in full → ``(…)`` logits: what is trained."""
        return self.after_first(self.layers[0]((inputs - self.mean) / self.std))

    def after_first(self, x: Tensor) -> Tensor:
        """``(…, hidden)`` output of the first linear layer, which may be overwritten → ``(…)`` logits."""
        for layer in self.layers[1:]:
            x = torch.relu_(x)
            if self.training and self.dropout:
                x = nn.functional.dropout(x, self.dropout)
            x = layer(x)
        logits: Tensor = self.last(torch.relu_(x)).squeeze(-1)
        return logits

    def first_layer(self, events: Events, found: Table) -> Tensor:
        """Output of the first linear layer for all permutations of B events with equally many jets, ``(B, P, hidden)``."""
        layout, first = self.layout, self.layers[0]
        assert isinstance(first, nn.Linear)
        weight = first.weight / self.std  # the standardisation is part of it
        bias = first.bias - weight @ self.mean
        columns = layout.columns_of_event
        total = torch.addmm(bias, events.event, weight[:, columns].T).unsqueeze(1)  # (B, 1, H)
        for t, (choices, slots) in enumerate(zip(found.choices, layout.slots, strict=True)):
            part: Tensor | None = None
            for daughter, slot in enumerate(slots):
                projected = events.jets @ weight[:, layout.columns_of_slot(slot)].T  # (B, n, H)
                term = projected.index_select(1, choices[:, daughter])  # (B, C, H)
                part = term if part is None else part.add_(term)
            assert part is not None  # every target has daughters
            if layout.mass_sets[t]:
                masses = layout.target_masses(t, events.momenta[:, choices], events.lepton[:, None])
                part.add_(masses @ weight[:, layout.columns_of_masses(t)].T)
            if t == 0:
                part.add_(total)
                total = part.index_select(1, found.rows[:, 0])
            else:
                total.add_(part.index_select(1, found.rows[:, t]))
        return total

    def scores(self, events: Events, n_jets: int) -> Tensor:
        """Logits of all permutations of events (tensors) that all have ``n_jets`` jets, ``(N, P)``, in blocks."""
        device = events.jets.device
        found = table(self.layout, n_jets, device)
        offered = replace(events, jets=events.jets[:, :n_jets], momenta=events.momenta[:, :n_jets])
        block = CPU_BLOCK if device.type == "cpu" else GPU_BLOCK
        step = max(1, block // max(len(found.rows), 1))
        parts = []
        for start in range(0, len(events), step):
            x = self.first_layer(offered.rows(slice(start, start + step)), found)
            parts.append(self.after_first(x))
        return torch.cat(parts) if parts else offered.event.new_zeros((0, len(found.rows)))
