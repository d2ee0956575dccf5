"""A price on the mass of a candidate, paid in expected decoding: a trained network that carves less of a peak.

Expected decoding takes the interpretation with the largest Σ (p − least), p the probability that a candidate is right. With a
price it takes the one with the largest Σ (p' − least), logit p' = logit p − price(m): where background candidates pile up they
are dear, and the next best pair, or none, is taken instead. :mod:`hhh_coffea.spanet.training.mass_price_fit` finds the prices;
the network's weights stay what they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hhh_coffea.spanet.decoding.masses import NODE_MASSES, NODES, interpolate, squared_masses
from hhh_coffea.spanet.network.outputs import Outputs
from hhh_coffea.topology.topology import Topology


@dataclass(frozen=True)
class MassPrice:
    """Price of every target at ``NODE_MASSES`` (GeV), linear between them: in units of ln odds."""

    table: Mapping[str, tuple[float, ...]]

    @classmethod
    def parse(cls, description: Mapping[str, Any], topology: Topology) -> MassPrice:
        """Read what :meth:`description` gave. ValueError where a target lacks a table, or a table is none."""
        table = {n: tuple(t) for names, t in description["targets"].items() for n in names.split(",")}
        if sorted(table) != sorted(topology.target_names):
            raise ValueError(
                f"mass_price has tables for {', '.join(table)}, not for {', '.join(topology.target_names)}"
            )
        for name, numbers in table.items():
            if len(numbers) != NODES or not all(isinstance(x, float | int) and abs(x) < 1e3 for x in numbers):
                raise ValueError(f"mass_price of {name}: expected {NODES} finite numbers")
        return cls(table)

    def description(self) -> dict[str, Any]:
        """Plain numbers for ``model.yaml``; targets with the same table are listed together."""
        return {"masses_gev": [float(m) for m in NODE_MASSES], "targets": together(self.table)}

    def of_assignments(self, outputs: Outputs, inputs: Sequence[Tensor], topology: Topology) -> dict[str, Tensor]:
        """Price of every assignment of every target, in the shape of its log-probabilities ``(B, N1, …, Nk)``."""
        known: dict[Any, Tensor] = {}  # targets that are alike share masses and table
        for target in topology.targets:
            logp = outputs.assignment[target.name]
            key = (target.sources, logp.shape[1:], self.table[target.name])
            if key not in known:
                mass = squared_masses(inputs, topology, target, logp.shape[1:]).clamp_min(0).sqrt().float()
                known[key] = interpolate(mass, torch.tensor(self.table[target.name], device=mass.device))
            known[target.name] = known[key]
        return {name: known[name] for name in topology.target_names}


def together(table: Mapping[str, tuple[float, ...]]) -> dict[str, list[float]]:
    """``{"h1,h2,h3": numbers}`` of tables by target, six digits."""
    groups: dict[tuple[float, ...], list[str]] = {}
    for name, numbers in table.items():
        groups.setdefault(tuple(numbers), []).append(name)
    return {",".join(names): [float(f"{x:.6g}") for x in numbers] for numbers, names in groups.items()}
