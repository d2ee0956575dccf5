"""How good a network is on events it was not trained on: loss, and purity and efficiency after ``joint`` decoding."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from .batches import Batch, forward_in_groups, reordered
from .checkpoint import SPANet
from .decode import Decoded, joint, overlap_matrix, pairs_and_singles, spans
from .loss import LossOptions, Truth, symmetric_loss
from .topology import Topology

Counts = tuple[int, int, int, int]


@dataclass(frozen=True)
class Validation:
    """Mean loss, and the merged purity and efficiency of hhh_coffea/metrics.py, definition ``default``."""

    loss: float
    purity: float
    efficiency: float

    @property
    def product(self) -> float:
        """What the best checkpoint is chosen by: declaring fewer Higgs bosons trades one factor for the other."""
        return self.purity * self.efficiency


def count_correct(decoded: Decoded, truth: Truth, topology: Topology, lengths: list[int]) -> Counts:
    """(candidates, correct ones, Higgs bosons with a target, those retrieved) of the selected targets.

    A resolved candidate is correct if its two jets are those of some Higgs, a boosted one if its object is that of
    some; a Higgs is retrieved if a candidate equals either of its targets. ``lengths`` as in :func:`.decode.joint`.
    """
    first = spans(topology, lengths)
    higgs = topology.alternatives
    selected, objects = decoded.selected, decoded.objects
    correct = torch.zeros_like(selected)
    found = torch.zeros(len(selected), len(higgs), dtype=torch.bool, device=selected.device)
    wanted = torch.zeros_like(found)
    for members in pairs_and_singles(topology):
        for j, j_target in enumerate(members):
            target = topology.targets[j_target]
            true = truth.objects[target.name].sort(1).values + first[target.sources[0]][0]  # (B, k)
            present = truth.present[target.name]
            wanted[:, j] |= present
            for i in members:
                same = (objects[:, i, : target.degree].sort(1).values == true).all(1) & present & selected[:, i]
                correct[:, i] |= same
                found[:, j] |= same
    return int(selected.sum()), int(correct.sum()), int(wanted.sum()), int(found.sum())


@torch.no_grad()
def validate(model: SPANet, batches: Iterable[Batch], options: LossOptions, groups: int) -> Validation:
    """Evaluate ``model`` (put into evaluation mode) on all batches."""
    model.eval()
    topology = model.topology
    total, events, counts = 0.0, 0, torch.zeros(4, dtype=torch.int64)
    resolved, boosted = pairs_and_singles(topology)
    for batch in batches:
        outputs, order = forward_in_groups(model, batch, groups)
        arranged = reordered(batch, order)
        lengths = [x.shape[1] for x, i in zip(arranged.inputs, topology.inputs, strict=True) if i.kind == "sequential"]
        loss = symmetric_loss(outputs, arranged.truth, topology, lengths, options)
        total, events = total + float(loss.total) * len(order), events + len(order)
        near: Tensor | None = None
        if resolved and boosted:
            near = overlap_matrix(topology, arranged.inputs, arranged.masks)
        decoded = joint(outputs, topology, lengths, near)
        counts += torch.tensor(count_correct(decoded, arranged.truth, topology, lengths))
    candidates, correct, targets, retrieved = (int(c) for c in counts)
    return Validation(total / max(events, 1), correct / max(candidates, 1), retrieved / max(targets, 1))
