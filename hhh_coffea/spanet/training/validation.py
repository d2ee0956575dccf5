"""How good a network is on events it was not trained on: loss, and purity and efficiency after decoding.

``joint`` where the targets are pairs and single objects; else ``greedy``, of the targets with a DP of at least one half.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from hhh_coffea.spanet.checkpoint import SPANet
from hhh_coffea.spanet.decoding.decode import Decoded, greedy, joint, overlap_matrix, pairs_and_singles, spans
from hhh_coffea.spanet.network.outputs import Outputs
from hhh_coffea.spanet.training.batches import Batch, forward_in_groups, reordered
from hhh_coffea.spanet.training.loss import LossOptions, Truth, symmetric_loss
from hhh_coffea.spanet.training.parallel import ALONE, Workers
from hhh_coffea.topology.topology import Topology

Counts = tuple[int, int, int, int]


@dataclass(frozen=True)
class Validation:
    """Mean loss, and the merged purity and efficiency of hhh_coffea/reconstruction/metrics.py, definition ``default``."""

    loss: float
    purity: float
    efficiency: float

    @property
    def product(self) -> float:
        """What the best checkpoint is chosen by: declaring fewer particles trades one factor for the other."""
        return self.purity * self.efficiency


def count_correct(decoded: Decoded, truth: Truth, topology: Topology, lengths: list[int]) -> Counts:
    """(candidates, correct ones, particles with a target, those retrieved) of the selected targets.

    A candidate is correct if its objects are those of a true target that the event group may exchange it for, a
    resolved particle for any other; a particle is retrieved if a candidate equals any of its targets, one
    the resolved or the boosted one. ``lengths`` as in :func:`.decode.joint`.
    """
    first = spans(topology, lengths)
    particle_of = {i: n for n, alternative in enumerate(topology.alternatives) for i in alternative}
    selected, objects = decoded.selected, decoded.objects
    correct = torch.zeros_like(selected)
    found = torch.zeros(len(selected), len(topology.alternatives), dtype=torch.bool, device=selected.device)
    wanted = torch.zeros_like(found)
    for members in topology.symmetric_classes:
        for j in members:
            target = topology.targets[j]
            start = torch.tensor([first[source][0] for source in target.sources], device=selected.device)
            true = truth.objects[target.name] + start  # (B, k)
            present = truth.present[target.name]
            wanted[:, particle_of[j]] |= present
            for i in members:
                here = objects[:, i, : target.degree]
                same = torch.stack([(here == true[:, list(g)]).all(1) for g in target.group]).any(0)
                same &= present & selected[:, i]
                correct[:, i] |= same
                found[:, particle_of[j]] |= same
    return int(selected.sum()), int(correct.sum()), int(wanted.sum()), int(found.sum())


def _decode(outputs: Outputs, topology: Topology, lengths: list[int], batch: Batch) -> Decoded:
    try:
        resolved, boosted = pairs_and_singles(topology)
    except ValueError:  # other targets
        found = greedy(outputs, topology, lengths, own_input=True)
        return found._replace(selected=found.selected & (found.detection_probability >= 0.5))
    near: Tensor | None = None
    if resolved and boosted:
        near = overlap_matrix(topology, batch.inputs, batch.masks)
    return joint(outputs, topology, lengths, near)


@torch.no_grad()
def validate(
    model: SPANet,
    batches: Iterable[Batch],
    options: LossOptions,
    groups: int,
    regression_scale: Mapping[str, float] | None = None,
    workers: Workers = ALONE,
) -> Validation:
    """Evaluate ``model`` (put into evaluation mode) on all batches, those of the other ``workers`` added."""
    model.eval()
    topology = model.topology
    total, events, counts = 0.0, 0, torch.zeros(4, dtype=torch.int64)
    for batch in batches:
        outputs, order = forward_in_groups(model, batch, groups)
        arranged = reordered(batch, order)
        lengths = [x.shape[1] for x, i in zip(arranged.inputs, topology.inputs, strict=True) if i.kind == "sequential"]
        loss = symmetric_loss(outputs, arranged.truth, topology, lengths, options, regression_scale=regression_scale)
        total, events = total + float(loss.total) * len(order), events + len(order)
        decoded = _decode(outputs, topology, lengths, arranged)
        counts += torch.tensor(count_correct(decoded, arranged.truth, topology, lengths))
    loss_sum, n, candidates, correct, targets, retrieved = workers.total([total, events, *counts.tolist()])
    return Validation(loss_sum / max(n, 1), correct / max(candidates, 1), retrieved / max(targets, 1))
