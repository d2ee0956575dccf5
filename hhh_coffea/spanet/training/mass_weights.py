"""Weights of the true targets that make their reconstructed masses count alike: a network trained with them gains
nothing from preferring the Higgs boson's mass.

The published analysis weighs by 1/density in bins from 75 to 175 GeV, with weight 1 outside, where 1/density is 2 to 25:
a box with cliffs, which its background spectrum shows. Here the density is a smooth estimate, the weights average 1 over
the targets, and level off where there are few:

    w(m) ∝ 1 / (density(m) + floor · max density)

Targets that the event group exchanges share one table, as the loss may match them in any order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hhh_coffea.spanet.decoding.masses import NODE_MASSES, NODE_WIDTH, NODES, four_momenta, interpolate
from hhh_coffea.spanet.training.batches import Batch, make_batch
from hhh_coffea.spanet.training.dataset import TrainingData
from hhh_coffea.topology.topology import Target, Topology

FloatArray = npt.NDArray[np.float64]
BANDWIDTH = 5.0  # GeV, of the Gaussian kernel: well below the width of a reconstructed Higgs boson, 15 GeV
FINE = 10  # bins of the histogram the kernel is applied to, per node


@dataclass(frozen=True)
class MassWeights:
    """Density (1/GeV) and weight at ``masses`` (GeV) for each target; between them the weight is linear."""

    masses: FloatArray
    density: Mapping[str, FloatArray]
    weight: Mapping[str, FloatArray]

    def __call__(self, batch: Batch, topology: Topology) -> dict[str, Tensor]:
        """Weight of every target ``(B)``, 1 where it is absent: ``Truth.weight``."""
        weights = {}
        for target in topology.targets:
            mass = true_mass(batch, target, topology)
            table = torch.as_tensor(self.weight[target.name], dtype=torch.float32, device=mass.device)
            weights[target.name] = torch.where(batch.truth.present[target.name], interpolate(mass, table), 1.0)
        return weights

    def provenance(self) -> dict[str, Any]:
        """Plain numbers for ``model.yaml``; targets with the same table are listed together."""
        tables: dict[str, dict[str, Any]] = {}
        for name, weight in self.weight.items():
            entry = {
                "weight": [float(f"{w:.5g}") for w in weight],
                "density_per_gev": [float(f"{d:.4g}") for d in self.density[name]],
            }
            same = next((k for k, v in tables.items() if v == entry), None)
            if same is None:
                tables[name] = entry
            else:
                tables[f"{same},{name}"] = tables.pop(same)
        return {"masses_gev": [float(m) for m in self.masses], "targets": tables}


def fit(data: TrainingData, rows: npt.NDArray[np.int32], floor: float) -> MassWeights:
    """Density and weights from the true targets of the events ``rows``.

    ``floor`` is the share of the largest density below which the weights level off: none exceeds (1 + floor)/floor
    times the least. ValueError names a target whose objects have no mass.
    """
    topology = data.topology
    masses: dict[str, list[FloatArray]] = {t.name: [] for t in topology.targets}
    for start in range(0, len(rows), 16384):
        batch = make_batch(data.rows(rows[start : start + 16384]), topology, torch.device("cpu"))
        for target in topology.targets:
            there = batch.truth.present[target.name]
            masses[target.name].append(true_mass(batch, target, topology)[there].double().numpy())
    density: dict[str, FloatArray] = {}
    weight: dict[str, FloatArray] = {}
    for members in topology.symmetric_classes:
        names = [topology.targets[i].name for i in members]
        found = np.concatenate([part for name in names for part in masses[name]])
        d = smooth_density(found)
        w = weights_of(found, d, floor)
        density |= dict.fromkeys(names, d)
        weight |= dict.fromkeys(names, w)
    return MassWeights(NODE_MASSES, density, weight)


def smooth_density(masses: FloatArray) -> FloatArray:
    """Gaussian kernel density of ``masses`` at the nodes, 1/GeV; what the kernel puts below 0 is mirrored back."""
    width = NODE_WIDTH / FINE
    centres = np.arange(0, NODE_WIDTH * (NODES - 1) + 10 * BANDWIDTH, width)  # beyond the last node, for its kernel
    counts = np.bincount(np.rint(masses / width).clip(0, len(centres)).astype(np.int64), minlength=len(centres) + 1)
    nodes = np.arange(NODES)[:, None] * NODE_WIDTH
    kernel = np.exp(-0.5 * ((nodes - centres) / BANDWIDTH) ** 2) + np.exp(-0.5 * ((nodes + centres) / BANDWIDTH) ** 2)
    density: FloatArray = kernel @ counts[:-1] / (max(len(masses), 1) * BANDWIDTH * np.sqrt(2 * np.pi))
    return density


def weights_of(masses: FloatArray, density: FloatArray, floor: float) -> FloatArray:
    """1 / (density + floor · max density) at the nodes, scaled to average 1 over ``masses``; 1 if there are none."""
    if not len(masses) or not density.max() > 0:
        return np.ones_like(density)
    weight: FloatArray = 1 / (density + floor * density.max())
    mean = float(interpolate(torch.from_numpy(masses), torch.from_numpy(weight)).mean())
    return weight / mean


def true_mass(batch: Batch, target: Target, topology: Topology) -> Tensor:
    """Reconstructed mass (GeV) of the true assignment of ``target``, ``(B)``: any number where it is absent."""
    total: list[Tensor] | None = None
    for objects, source in zip(batch.truth.objects[target.name].unbind(1), target.sources, strict=True):
        momenta = four_momenta(batch.inputs, topology, source)  # (B, M) each
        chosen = [p.gather(1, objects.clamp_min(0).unsqueeze(1)).squeeze(1) for p in momenta]
        total = chosen if total is None else [a + b for a, b in zip(total, chosen, strict=True)]
    assert total is not None  # a target has a daughter
    e, x, y, z = total
    return (e * e - x * x - y * y - z * z).clamp_min(0).sqrt().float()
