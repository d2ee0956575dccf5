"""Toy events for any topology, and the folder with reference checkpoints."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from hhh_coffea.topology.topology import Topology

torch.set_num_threads(1)

LENGTHS = {"Jets": 10, "BoostedJets": 3, "Source": 8, "Momenta": 8, "Leptons": 2, "Met": 1}


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    path = Path(os.environ.get("HHH_SHARED", Path(__file__).parents[3] / "shared"))
    if not path.is_dir():
        pytest.skip(f"no shared folder with reference checkpoints at {path} (set HHH_SHARED)")
    return path


def make_events(
    topology: Topology, batch: int, seed: int = 0, minimum: int = 0
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Random but kinematically possible events, at least ``minimum`` objects in each sequential input."""
    g = torch.Generator().manual_seed(seed)
    inputs, masks = [], []
    for event_input in topology.inputs:
        m = LENGTHS[event_input.name]
        phi = 6.28 * torch.rand(batch, m, generator=g)
        made = {"phi": phi, "sinphi": phi.sin(), "cosphi": phi.cos()}
        columns = []
        for name in event_input.feature_names:
            bare = name.removeprefix("fj_").replace("_", "")
            uniform = torch.rand(batch, m, generator=g)
            if bare in ("pt", "mass", "sdmass", "met"):
                columns.append(5 - 60 * uniform.clamp_min(1e-4).log())
            elif bare == "eta":
                columns.append(5 * uniform - 2.5)
            else:
                columns.append(made.get(bare, uniform))
        count = (
            torch.randint(min(minimum, m), m + 1, (batch, 1), generator=g) if event_input.kind == "sequential" else m
        )
        mask = (torch.arange(m) < count).expand(batch, m).clone()
        inputs.append(torch.stack(columns, dim=-1) * mask.unsqueeze(-1))
        masks.append(mask)
    return inputs, masks


@pytest.fixture(scope="session")
def events() -> Callable[..., tuple[list[torch.Tensor], list[torch.Tensor]]]:
    return make_events


@pytest.fixture(scope="session")
def lengths() -> Callable[[Topology], list[int]]:
    return lambda topology: [LENGTHS[i.name] for i in topology.sequential]
