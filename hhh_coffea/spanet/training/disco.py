"""Decorrelation of the detection score from the mass: distance correlation as a term of the loss.

G. Kasieczka and D. Shih, *DisCo Fever*, arXiv 2001.05310, eq. 2.2 and 2.5 (the measure is that of G. Székely, M. Rizzo
and N. Bakirov, Ann. Stat. 35, 2769 (2007)): 0 only for independent variables, 1 for a linear relation. As in the paper
it is asked of background alone: here every output that the loss matched with an absent target, events without any
target included.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hhh_coffea.spanet.decoding.masses import squared_masses
from hhh_coffea.spanet.network.outputs import Outputs
from hhh_coffea.spanet.training.batches import Batch
from hhh_coffea.topology.topology import Target, Topology

MOST = 1024  # background outputs of a batch that are looked at: time and memory grow as the square


def distance_correlation(x: Tensor, y: Tensor) -> Tensor:
    """Squared distance correlation of ``x (N)`` and ``y (N)``: dCov²(x, y) / √(dCov²(x, x) dCov²(y, y)).

    dCov²(x, y) is the mean product of the two matrices of distances after their means by row and by column are taken
    off and the mean of all put back. 0 where x or y is constant.
    """
    a, b = _centred(x), _centred(y)
    normalisation = (a.square().mean() * b.square().mean()).clamp_min(1e-20).sqrt()
    return (a * b).mean() / normalisation


def _centred(x: Tensor) -> Tensor:
    """|x_i − x_j| − mean over i − mean over j + mean over both, ``(N, N)``."""
    d = (x.unsqueeze(0) - x.unsqueeze(1)).abs()
    return d - d.mean(0, keepdim=True) - d.mean(1, keepdim=True) + d.mean()


def disco_term(outputs: Outputs, batch: Batch, topology: Topology, permutation: Tensor) -> Tensor:
    """Distance correlation of detection probability and expected mass over background outputs, averaged over classes.

    ``permutation (B)`` is that of :class:`~.loss.Loss`: it says which target each output was matched with. The
    expected mass of an output is Σ P(objects) ln m(objects), without gradient: the assignment is not what is changed.
    """
    group = torch.tensor(topology.event_group, device=permutation.device)[permutation]  # (B, P)
    present = torch.stack([batch.truth.present[n] for n in topology.target_names], dim=1).gather(1, group)
    terms = []
    for members in topology.symmetric_classes:
        targets = [topology.targets[i] for i in members]
        score = torch.stack([outputs.detection[t.name] for t in targets], dim=1).sigmoid()
        ln_m = torch.stack([expected_ln_mass(outputs.assignment[t.name], t, batch, topology) for t in targets], dim=1)
        use = ~present[:, list(members)] & torch.isfinite(ln_m)  # not finite: nothing to assign
        x, y = score[use][:MOST], ln_m[use][:MOST]
        if len(x) > 1:
            terms.append(distance_correlation(x, y))
    return torch.stack(terms).mean() if terms else outputs.detection[topology.target_names[0]].sum() * 0.0


@torch.no_grad()
def expected_ln_mass(logp: Tensor, target: Target, batch: Batch, topology: Topology) -> Tensor:
    """Σ P ln m (m in GeV) over the assignments of ``logp (B, N1, …, Nk)``: ``(B)``, NaN where there is none."""
    m2 = squared_masses(batch.inputs, topology, target, logp.shape[1:])
    ln_m = 0.5 * m2.clamp_min(1.0).log().float()
    p = logp.float().exp()
    weighted = torch.where(p > 0, p * ln_m, 0.0).flatten(1).sum(1)
    return torch.where(p.flatten(1).sum(1) > 0.5, weighted, torch.nan)
