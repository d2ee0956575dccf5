"""Invariant masses of what can be assigned, and tables over mass, for the price on masses.

Everything is in GeV, and in double precision until the mass is known: m² is a small difference of large numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor, cat

from hhh_coffea.spanet.network.features import kinematics
from hhh_coffea.topology.topology import Target, Topology

NODE_WIDTH, NODES = 5.0, 81  # GeV: tables are given from 0 to 400; beyond, the last node holds
NODE_MASSES = np.arange(NODES, dtype=np.float64) * NODE_WIDTH


def interpolate(mass: Tensor, table: Tensor) -> Tensor:
    """Linear between the nodes of ``table (NODES)``, constant beyond the last: same shape as ``mass``."""
    place = (mass / NODE_WIDTH).clamp(0, NODES - 1)
    low = place.floor().clamp_max(NODES - 2)
    share, index = place - low, low.long()
    return table[index] * (1 - share) + table[index + 1] * share


def four_momenta(inputs: Sequence[Tensor], topology: Topology, source: str | None) -> list[Tensor]:
    """E, px, py, pz (GeV) of an input's objects, of all that can be assigned if ``source`` is None: each ``(B, M)``.

    ``inputs[i] (B, M_i, F_i)`` as the network takes them. ValueError names an input whose objects have no mass.
    """
    parts = []
    for event_input, x in zip(topology.inputs, inputs, strict=True):
        if event_input.name == source or (source is None and event_input.kind == "sequential"):
            p = kinematics(event_input, x.double())
            if p is None:
                raise ValueError(
                    f"masses of targets need pt, eta, phi (or its sine and cosine) and mass in input {event_input.name}"
                )
            z = 0.5 * p["pt"] * (p["eta"].exp() - (-p["eta"]).exp())  # sinh, which onnxruntime has no double form of
            e = (p["pt"].square() + z.square() + p["mass"].square()).sqrt()
            parts.append([e, p["pt"] * p["cosphi"], p["pt"] * p["sinphi"], z])
    return [cat(component, dim=1) for component in zip(*parts, strict=True)]


def squared_masses(inputs: Sequence[Tensor], topology: Topology, target: Target, shape: Sequence[int]) -> Tensor:
    """m² (GeV²) of every assignment of ``target``, in double precision: ``(B, *shape)``.

    ``shape`` is that of its log-probabilities, ``(N1, …, Nk)``: over the daughters' own inputs or all objects.
    """
    total: list[Tensor] = []
    for axis, source in enumerate(target.sources):
        momenta = four_momenta(inputs, topology, source)
        if momenta[0].shape[1] != shape[axis]:  # an output over all sequential objects
            momenta = four_momenta(inputs, topology, None)
        place = [1] * target.degree
        place[axis] = shape[axis]
        parts = [p.reshape(-1, *place) for p in momenta]
        total = [a + b for a, b in zip(total, parts, strict=True)] if total else parts
    e, x, y, z = total
    return e * e - x * x - y * y - z * z
