"""How good a network is on events it was not trained on: loss, purity and efficiency of what it declares, whole assignments.

Purity and efficiency are those after ``expected`` decoding. Where every target is a particle of its own there are also the
efficiencies of Table 1 of M. Fenton et al., Commun. Phys. 7, 139 (2024): every particle gets an assignment (``all``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from hhh_coffea.spanet.checkpoint import SPANet
from hhh_coffea.spanet.decoding.candidates import Decoded, spans
from hhh_coffea.spanet.decoding.complete import complete
from hhh_coffea.spanet.decoding.decode import expected
from hhh_coffea.spanet.network.interpretations import overlaps_of
from hhh_coffea.spanet.network.outputs import Outputs
from hhh_coffea.spanet.training.batches import Batch, forward_in_groups, reordered
from hhh_coffea.spanet.training.loss import LossOptions, Truth, symmetric_loss
from hhh_coffea.spanet.training.parallel import ALONE, Workers
from hhh_coffea.topology.topology import Topology, is_of_pairs_and_singles

Counts = tuple[int, int, int, int]
SCORE_BINS = 1000  # of a class probability: the area under its ROC curve is that of the histogram


@dataclass(frozen=True)
class Validation:
    """Mean loss, and the merged purity and efficiency of hhh_coffea/reconstruction/metrics.py, definition ``default``.

    ``more``: ``all`` and ``full``, the share of events in which every target that there is was found, among events with
    any and with every target; ``found/TARGET``; ``rms/KEY``, root mean square error of a regression; ``accuracy/KEY``, share of
    events whose most probable class is theirs; ``auc/KEY``, area under the ROC curve of class 1 against class 0.
    ``scores``: by classification of two classes, events of each class by the probability of class 1, in even bins from 0 to 1.
    """

    loss: float
    purity: float
    efficiency: float
    more: Mapping[str, float] = field(default_factory=dict)
    scores: Mapping[str, list[list[float]]] = field(default_factory=dict)

    @property
    def product(self) -> float:
        """Declaring fewer particles trades one factor for the other."""
        return self.purity * self.efficiency

    def numbers(self) -> dict[str, float]:
        """All of them by name; what a recipe's ``criterion`` may be."""
        known = {"validation_loss": self.loss, "purity": self.purity, "efficiency": self.efficiency}
        return known | {"product": self.product, **self.more}


def count_correct(decoded: Decoded, truth: Truth, topology: Topology, lengths: list[int]) -> Counts:
    """(candidates, correct ones, particles with a target, those retrieved) of the selected targets.

    A candidate is correct if its objects are those of a true target that the event group may exchange it for, a
    resolved particle for any other; a particle is retrieved if a candidate equals any of its targets, one
    the resolved or the boosted one. ``lengths`` as in :func:`.decode.joint`.
    """
    correct, wanted, found = compare(decoded, truth, topology, lengths)
    return int(decoded.selected.sum()), int(correct.sum()), int(wanted.sum()), int(found.sum())


def compare(decoded: Decoded, truth: Truth, topology: Topology, lengths: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Which targets are correct ``(B, P)``, which particles have a true target, which of them are retrieved ``(B, n)``."""
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
    return correct, wanted, found


class _Sums:
    """What adds up over batches and processes, by name."""

    def __init__(self, topology: Topology, classes: Mapping[str, int]):
        self.topology = topology
        # efficiencies of whole assignments: where no particle is seen in two ways
        self.whole = len(topology.alternatives) == len(topology.targets)
        self.names = [topology.targets[members[0]].name for members in topology.alternatives]
        self.scores = {
            key: torch.zeros(2, SCORE_BINS, dtype=torch.float64)
            for key in topology.classifications
            if classes[key] == 2
        }
        self.counts: dict[str, tuple[float, float]] = {}  # passed or summed, of how many

    def add(self, name: str, part: Tensor, of: Tensor) -> None:
        """Add the sum of ``part``, and how many there are."""
        a, b = self.counts.get(name, (0.0, 0.0))
        self.counts[name] = (a + float(part.sum()), b + float(of.sum()))

    def batch(self, outputs: Outputs, truth: Truth, lengths: list[int]) -> None:
        """Add one batch."""
        if self.whole:
            _, wanted, found = compare(complete(outputs, self.topology, lengths), truth, self.topology, lengths)
            some, full, right = wanted.any(1), wanted.all(1), (found == wanted).all(1)
            self.add("all", some & right, some)
            self.add("full", full & right, full)
            for i, name in enumerate(self.names):
                self.add(f"found/{name}", found[:, i], wanted[:, i])
        for r in self.topology.regressions:
            known = torch.isfinite(truth.regression[r.key])
            residual = torch.where(known, outputs.regression[r.key] - truth.regression[r.key], 0.0)
            self.add(f"rms/{r.key}", residual.double().square(), known)
        for key in self.topology.classifications:
            known = truth.classification[key] >= 0
            self.add(
                f"accuracy/{key}", known & (outputs.classification[key].argmax(-1) == truth.classification[key]), known
            )
        for key, histogram in self.scores.items():
            probability = outputs.classification[key].softmax(-1)[:, 1]
            place = (probability * SCORE_BINS).long().clamp(0, SCORE_BINS - 1).cpu()
            for number in (0, 1):
                own = truth.classification[key].cpu() == number
                histogram[number] += torch.bincount(place[own], minlength=SCORE_BINS)

    def numbers(self, workers: Workers) -> tuple[dict[str, float], dict[str, list[list[float]]]]:
        """The results and the scores, over all processes."""
        found, scores = {}, {}
        for name, pair in self.counts.items():
            part, of = workers.total(pair)
            found[name] = (part / max(of, 1)) ** (0.5 if name.startswith("rms/") else 1.0)
        for key, histogram in self.scores.items():
            none, one = torch.tensor(workers.total(histogram.flatten().tolist())).view(2, -1)
            below = none.cumsum(0) - none / 2  # of class 0, half of those in the same bin
            scores[key] = [none.tolist(), one.tolist()]
            found[f"auc/{key}"] = float((one * below).sum() / (one.sum() * none.sum()).clamp_min(1))
        return found, scores


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
    more = _Sums(topology, model.classes)
    for batch in batches:
        outputs, order = forward_in_groups(model, batch, groups)
        arranged = reordered(batch, order)
        lengths = [x.shape[1] for x, i in zip(arranged.inputs, topology.inputs, strict=True) if i.kind == "sequential"]
        near = overlaps_of(topology, arranged.inputs, arranged.masks) if is_of_pairs_and_singles(topology) else None
        loss = symmetric_loss(
            outputs, arranged.truth, topology, lengths, options, regression_scale=regression_scale, overlaps=near
        )
        total, events = total + float(loss.total) * len(order), events + len(order)
        decoded = expected(outputs, topology, lengths, near)
        counts += torch.tensor(count_correct(decoded, arranged.truth, topology, lengths))
        more.batch(outputs, arranged.truth, lengths)
    loss_sum, n, candidates, correct, targets, retrieved = workers.total([total, events, *counts.tolist()])
    purity, efficiency = correct / max(candidates, 1), retrieved / max(targets, 1)
    return Validation(loss_sum / max(n, 1), purity, efficiency, *more.numbers(workers))
