"""The training loss: symmetric over the event group, with each term of the original behind a switch.

SPANet's loss (A. Shmakov et al., SciPost Phys. 12, 178 (2022), sec. 3.4; M. Fenton et al., Commun. Phys. 7, 139
(2024)): outputs and true targets may be matched by any permutation g of the event group; the best one counts.
Formulas are given where they are computed; tests/spanet/test_loss.py repeats each of them as a slow loop.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from hhh_coffea.spanet.network.interpretations import gains_of, log_sum, views
from hhh_coffea.spanet.network.outputs import Outputs
from hhh_coffea.topology.topology import Topology

TINY = 1e-12


@dataclass(frozen=True)
class LossOptions:
    """Scales switch terms on; a regression, classification or symmetry (``kl``) term with scale 0 is left out.

    ``detection_over_present``: divide the detection loss by the number of present targets, as the original does,
    rather than by the number of events. ``reduction``: the original takes the mean of all terms, so that a further
    head dilutes the others; ``sum`` does not. ``combine``: how permutations are combined.
    """

    assignment: float = 1.0
    detection: float = 1.0
    kl: float = 0.0
    regression: float = 0.0
    classification: float = 0.0
    focal_gamma: float = 0.0
    combine: Literal["min", "softmin", "mean"] = "min"
    detection_over_present: bool = True
    reduction: Literal["mean", "sum"] = "mean"


@dataclass
class Truth:
    """True targets of B events.

    ``objects[p] (B, k)``: position of each daughter in its own input's list (in the list of all sequential objects if
    it declares no input), anything where the target is absent. ``present[p] (B)``. ``weight[p] (B)``, 1 if absent from
    the mapping. ``regression[key] (B)``, NaN to ignore; ``classification[key] (B)``, −1 to ignore.
    """

    objects: Mapping[str, Tensor]
    present: Mapping[str, Tensor]
    weight: Mapping[str, Tensor] = field(default_factory=dict)
    regression: Mapping[str, Tensor] = field(default_factory=dict)
    classification: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass
class Loss:
    """``total`` to differentiate, its ``terms`` by name (scales included), and the permutation chosen, ``(B)``."""

    total: Tensor
    terms: dict[str, Tensor]
    permutation: Tensor


def symmetric_loss(
    outputs: Outputs,
    truth: Truth,
    topology: Topology,
    lengths: Sequence[int],
    options: LossOptions | None = None,
    *,
    event_weight: Tensor | None = None,
    class_weight: Mapping[str, Tensor] | None = None,
    class_event_weight: Tensor | None = None,
    regression_scale: Mapping[str, float] | None = None,
    overlaps: Tensor | None = None,
) -> Loss:
    """Compute the loss of a batch; ``lengths`` are the padded lengths of the sequential inputs.

    For output i confronted with true target j, present M_j and weighted w_j:

        l_ij   = ln P_i(objects of j) + ln |G_i|,   or 0 if j is absent
        CE_ij  = −w_j l_ij (1 − e^l_ij)^γ · assignment
        DET_ij = w_j BCE(detection logit of i, M_j) · detection

    and for every event the permutation g of the event group with the least Σ_i CE_ig(i) + DET_ig(i) is taken
    (``combine="min"``; ``softmin`` and ``mean`` average over them). Then for each output
    L_i = Σ_b c_b loss_b / max(1, Σ_b M_g(i)), with c the ``event_weight (B)`` of class balancing.

    Networks with ``interpretations`` have −ln of the probability of the true interpretation instead
    (:func:`of_interpretations`), divided by P; ``overlaps (B, N, F)`` is for them.

    ValueError if a target is an impossible combination (a repeated or padded object); FloatingPointError on NaN.
    """
    options = options or LossOptions()
    event_group = torch.tensor(topology.event_group, device=next(iter(outputs.detection.values())).device)  # (|G|, P)
    c = torch.ones_like(next(iter(outputs.detection.values()))) if event_weight is None else event_weight
    if outputs.gain:
        each, best = of_interpretations(outputs, truth, topology, lengths, event_group, overlaps)
        terms = {"interpretation": (c * each).mean() / len(topology.targets)}
    else:
        terms, best = _of_targets(outputs, truth, topology, lengths, event_group, options, c)
    if options.regression > 0:
        for r in topology.regressions:
            scale = (regression_scale or {}).get(r.key, 1.0)
            terms[f"regression/{r.key}"] = options.regression * regression_loss(
                outputs.regression[r.key], truth.regression[r.key], r.kind, scale
            )
    if options.classification > 0:
        for key in topology.classifications:
            terms[f"classification/{key}"] = options.classification * classification_loss(
                outputs.classification[key],
                truth.classification[key],
                (class_weight or {}).get(key),
                class_event_weight,
            )
    stacked = torch.stack(list(terms.values()))
    total = stacked.mean() if options.reduction == "mean" else stacked.sum()
    if not torch.isfinite(total):
        _explain(terms)
    return Loss(total, terms, best)


def of_interpretations(
    outputs: Outputs,
    truth: Truth,
    topology: Topology,
    lengths: Sequence[int],
    group: Tensor,
    overlaps: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """−ln of the probability of the true interpretation ``(B)``, and the most probable permutation of the targets ``(B)``.

    The sum over the :func:`~.network.interpretations.views` of the event, each with the true targets that are in it. The
    weight of the truth is the sum over the permutations g of the event ``group (|G|, P)``, those that only exchange absent
    particles counted once, of the product over particles of Σ exp(gain), the sum over the ways, resolved and boosted, in
    which a particle is seen. Z is the sum over all interpretations. Targets of weight 0 take their event out.
    """
    names, places = topology.target_names, torch.arange(len(topology.targets), device=group.device)
    gain = at_truth(outputs.gain, truth, topology, lengths)[:, places, group]  # (B, |G|, P): output i with target g(i)
    present = torch.stack([truth.present[name] for name in names], dim=1) > 0  # (B, P)
    total, log_weights = gain.new_zeros(len(gain)), []
    for targets, sums in views(topology, *gains_of(outputs, topology), overlaps):
        there = present & torch.isin(places, torch.tensor(targets, device=places.device))
        seen = there[:, group]  # (B, |G|, P)
        log_weight = torch.zeros_like(gain[..., 0])
        for alternatives in topology.alternatives:
            ways = torch.where(seen, gain, -torch.inf)[..., list(alternatives)]
            some = seen[..., list(alternatives)].any(-1)
            # where before and after, as in at_truth
            log_weight = log_weight + torch.where(some, torch.where(some.unsqueeze(-1), ways, 0.0).logsumexp(-1), 0.0)
        same = ((group == places) | ~there.unsqueeze(1)).all(-1).sum(1)  # (B) permutations of absent particles alone
        # a true pair may have a jet near a true large-radius jet: such an interpretation is not in Z, and cannot be learnt
        total = total + (log_sum(*sums) - log_weight.logsumexp(1) + same.log()).clamp_min(0.0)
        log_weights.append(log_weight.detach())
    weight = torch.stack([truth.weight.get(name, torch.ones_like(total)) for name in names]).mean(0)
    return weight * total, log_weights[0].argmax(1)


def _of_targets(
    outputs: Outputs,
    truth: Truth,
    topology: Topology,
    lengths: Sequence[int],
    group: Tensor,
    options: LossOptions,
    c: Tensor,
) -> tuple[dict[str, Tensor], Tensor]:
    """Terms of assignment and detection of each target, and the permutation chosen ``(B)``."""
    p = len(topology.targets)
    assignment, detection, present = _confront(outputs, truth, topology, lengths, options)  # (B, P, P) twice, (B, P)
    ce = assignment[:, torch.arange(p, device=group.device), group]  # (B, |G|, P): output i with target g(i)
    det = detection[:, torch.arange(p, device=group.device), group]
    sums = (ce + det).sum(-1)  # (B, |G|)
    best = sums.detach().argmin(1)  # (B)
    if options.combine == "min":  # picked, not weighted by 0 and 1: another permutation's loss may be infinite
        index = best.view(-1, 1, 1).expand(-1, 1, p)
        ce, det = (x.gather(1, index).squeeze(1) for x in (ce, det))  # (B, P)
    else:
        share = torch.softmax(-sums, dim=1) if options.combine == "softmin" else torch.full_like(sums, 1 / len(group))
        ce, det = ((x * share.unsqueeze(-1)).sum(1) for x in (ce, det))  # (B, P)
    matched = present.gather(1, group[best])  # (B, P): presence of the target each output is matched with
    counts = matched.sum(0).clamp_min(1)  # (P)
    over = counts if options.detection_over_present else torch.full_like(counts, max(1, len(ce)))
    terms: dict[str, Tensor] = {}
    for i, name in enumerate(topology.target_names):
        terms[f"assignment/{name}"] = (c * ce[:, i]).sum() / counts[i]
    for i, name in enumerate(topology.target_names):
        terms[f"detection/{name}"] = (c * det[:, i]).sum() / over[i]
    if options.kl > 0 and (pairs := swapped_pairs(topology)):
        terms["kl"] = options.kl * _divergence(outputs, topology, pairs, matched, c)
    return terms, best


def _confront(
    outputs: Outputs, truth: Truth, topology: Topology, lengths: Sequence[int], options: LossOptions
) -> tuple[Tensor, Tensor, Tensor]:
    """CE and DET of every output against every target it may be permuted to, ``(B, P, P)``; presence ``(B, P)``."""
    names = topology.target_names
    present = torch.stack([truth.present[name] for name in names], dim=1).float()
    w = torch.stack([truth.weight.get(name, torch.ones_like(present[:, 0])) for name in names], dim=1)
    log_ap = at_truth(outputs.assignment, truth, topology, lengths)
    ce = -w.unsqueeze(1) * log_ap
    if options.focal_gamma:  # clamped: e^l may round to more than 1
        ce = ce * (1 - log_ap.exp()).clamp_min(TINY) ** options.focal_gamma
    logits = torch.stack([outputs.detection[name] for name in names], dim=1).unsqueeze(2).expand_as(ce)
    bce = F.binary_cross_entropy_with_logits(logits, present.unsqueeze(1).expand_as(ce), reduction="none")
    return options.assignment * ce, options.detection * w.unsqueeze(1) * bce, present


def at_truth(tables: Mapping[str, Tensor], truth: Truth, topology: Topology, lengths: Sequence[int]) -> Tensor:
    """What ``tables`` of log-probabilities, or of gains, say of the true targets, all |G| orders of the daughters together.

    ``(B, P, P)``: output i at the objects of target j, for those that the event group may exchange; 0 for others, and where j is
    absent.
    """
    names, p = topology.target_names, len(topology.targets)
    starts = {i.name: sum(lengths[:n]) for n, i in enumerate(topology.sequential)}
    own_length = {i.name: n for i, n in zip(topology.sequential, lengths, strict=True)}
    zero = next(iter(tables.values())).new_zeros(len(next(iter(tables.values()))))
    found = [[zero] * p for _ in range(p)]
    for members in topology.symmetric_classes:
        for i in members:
            target, table = topology.targets[i], tables[names[i]]
            # an output over all sequential objects counts them from the first input's first object
            shift = torch.tensor(
                [
                    0 if s is None or size == own_length[s] else starts[s]
                    for s, size in zip(target.sources, table.shape[1:], strict=True)
                ],
                device=table.device,
            )
            strides = torch.tensor([math.prod(table.shape[a + 2 :]) for a in range(target.degree)], device=table.device)
            for j in members:
                there = truth.present[names[j]] > 0
                objects = truth.objects[names[j]].to(table.device) + shift
                flat = torch.where(there, (objects * strides).sum(1), 0)
                # where before and after: neither value nor gradient of an absent target's entry may be −inf or NaN
                value = table.flatten(1).gather(1, flat.unsqueeze(1)).squeeze(1) + math.log(len(target.group))
                found[i][j] = torch.where(there, value, 0.0)
    return torch.stack([torch.stack(row, dim=1) for row in found], dim=1)


def _explain(terms: Mapping[str, Tensor]) -> None:
    for name, value in terms.items():
        if torch.isinf(value):
            raise ValueError(f"loss term {name} is infinite: a target holds a repeated or padded object")
        if torch.isnan(value):
            raise FloatingPointError(f"loss term {name} is NaN: the training diverged")


def swapped_pairs(topology: Topology) -> list[tuple[int, int]]:
    """Pairs of targets that some element of the event group swaps."""
    p = len(topology.targets)
    return [
        (i, j) for i in range(p) for j in range(i + 1, p) if any(g[i] == j and g[j] == i for g in topology.event_group)
    ]


def jensen_shannon(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Jensen–Shannon divergence of two distributions ``(B, …)`` given as logarithms, in nats: ``(B)``.

    ½ Σ P ln(P/M) + ½ Σ Q ln(Q/M) with M = (P + Q)/2. As in the original the gradient flows through M alone.
    """
    log_p, log_q = log_p.flatten(1), log_q.flatten(1)
    possible = torch.isfinite(log_p) | torch.isfinite(log_q)
    p, q = log_p.exp(), log_q.exp()
    log_m = torch.log((0.5 * (p + q)).clamp_min(TINY))
    kl = [
        torch.where(possible & (x.detach() > 0), x.detach() * (torch.where(x > 0, lx, 0.0).detach() - log_m), 0.0)
        for x, lx in ((p, log_p), (q, log_q))
    ]
    return 0.5 * (kl[0] + kl[1]).sum(1)


def _divergence(
    outputs: Outputs, topology: Topology, pairs: Sequence[tuple[int, int]], present: Tensor, c: Tensor
) -> Tensor:
    """Push exchangeable targets apart: Σ_b c_b mean over pairs of exp(−JS²), both present, · 2P / Σ M.

    The factor 2P is in the original's code (its weights are repeated for every target and class) and kept, so that
    scales mean the same.
    """
    names = topology.target_names
    losses = []
    for i, j in pairs:
        js = jensen_shannon(outputs.assignment[names[i]], outputs.assignment[names[j]])
        losses.append(torch.exp(-js.square()) * present[:, i] * present[:, j])
    loss = torch.stack(losses).mean(0)  # (B)
    return 2 * len(names) * (c * loss).sum() / present.sum().clamp_min(1)


def regression_loss(prediction: Tensor, target: Tensor, kind: str, scale: float = 1.0) -> Tensor:
    """Mean of ((y−t)/σ)² (gaussian), |y−t|/σ (laplacian), (y−t)² (log_gaussian), over events with t not NaN."""
    known = ~torch.isnan(target)
    residual = torch.where(known, prediction - torch.where(known, target, 0.0), 0.0)
    if kind == "gaussian":
        each = (residual / scale).square()
    elif kind == "laplacian":
        each = residual.abs() / scale
    else:
        each = residual.square()
    return each.sum() / known.sum().clamp_min(1)


def classification_loss(
    logits: Tensor, target: Tensor, weight: Tensor | None = None, event_weight: Tensor | None = None
) -> Tensor:
    """Cross entropy over events whose class is not −1: Σ w c CE / Σ w c; 0 if there is none.

    c is the ``weight (C)`` of the event's class, w its ``event_weight (B)``; 1 where not given.
    """
    known = target >= 0
    if not known.any():
        return logits.sum() * 0.0
    if event_weight is None:
        return F.cross_entropy(logits, target, weight=weight, ignore_index=-1)
    w = torch.where(known, event_weight, 0.0)
    if weight is not None:
        w = w * weight[target.clamp_min(0)]
    each = F.cross_entropy(logits, target, reduction="none", ignore_index=-1)
    return (w * each).sum() / w.sum().clamp_min(TINY)


# --- class balancing --------------------------------------------------------------------------------------------------
def effective_number_weights(counts: Tensor) -> Tensor:
    """Weights of classes with ``counts (C)`` events, averaging 1 over classes: Y. Cui et al., arXiv 1901.05555, eq. 2.

    w_c ∝ (1 − β)/(1 − β^n_c) with n_c = count + 1 and β = 1 − 1/N, N the number of events.
    """
    n = counts.double()
    beta = 1 - 1 / n.sum().clamp_min(2)
    weight = (1 - beta) / (1 - beta ** (n + 1))
    return (len(n) * weight / weight.sum()).float()


def presence_table(topology: Topology, present: Tensor) -> Tensor:
    """Event weight for each of the 2^P patterns of present targets, from the training sample's ``present (N, P)``.

    Patterns that the event group turns into one another share a class, so the weight is the same for any matching.
    Look a batch up with :func:`presence_code`.
    """
    p = len(topology.targets)
    canonical = [min(_permuted(code, g) for g in topology.event_group) for code in range(2**p)]
    classes = sorted(set(canonical))
    member = torch.tensor([classes.index(c) for c in canonical])
    counts = torch.bincount(member[presence_code(present).cpu()], minlength=len(classes))
    return effective_number_weights(counts)[member]


def presence_code(present: Tensor) -> Tensor:
    """Pattern of present targets as a number: Σ_p M_p 2^p, ``(N, P)`` → ``(N)``."""
    return (present.long() << torch.arange(present.shape[1], device=present.device)).sum(1)


def _permuted(code: int, g: Sequence[int]) -> int:
    return sum(1 << g[i] for i in range(len(g)) if code >> i & 1)
