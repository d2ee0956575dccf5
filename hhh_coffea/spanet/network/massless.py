"""Networks that are not shown masses.

The weights that would read a mass are set to zero and their gradient is taken away, so that they stay zero: the network
keeps its shape, and whatever runs it (also faster forms of it) needs to know nothing of this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from hhh_coffea.spanet.network.features import PAIR_FEATURES

if TYPE_CHECKING:
    from hhh_coffea.spanet.network.network import DefaultSPANet

PAIR_MASS = PAIR_FEATURES.index("ln_m2")


def hide_masses(model: DefaultSPANet) -> None:
    """Cut the network off the masses that its options say it is not shown, for good."""
    zero_hidden(model)
    for layer, columns in hidden(model):
        layer.weight.register_hook(_Without(columns))  # type: ignore[no-untyped-call]


def zero_hidden(model: DefaultSPANet) -> None:
    """Set the weights of hidden masses to zero, as after loading those of a network that was shown them."""
    for layer, columns in hidden(model):
        with torch.no_grad():
            layer.weight[:, columns] = 0.0


def hidden(model: DefaultSPANet) -> list[tuple[nn.Linear, list[int]]]:
    """Layers and those of their inputs that are hidden masses: mass and fj_sdmass of objects, ln m² of pairs."""
    found = []
    if not model.options.mass_inputs:
        for embedding, event_input in zip(model.embeddings, model.topology.inputs, strict=True):
            columns = [n for n, name in enumerate(event_input.feature_names) if name.lower().endswith("mass")]
            found.append((embedding.first, columns))
    if model.pairwise and not model.options.pairwise_mass:
        found.append((model.pair_embedding[0], [PAIR_MASS]))
    return found  # type: ignore[return-value]  # modules in a ModuleList have no type


class _Without:
    """The gradient of a weight ``(out, in)`` with zeros in the columns of hidden inputs."""

    def __init__(self, columns: list[int]):
        self.columns = columns

    def __call__(self, gradient: Tensor) -> Tensor:
        index = torch.tensor(self.columns, dtype=torch.long, device=gradient.device)
        return gradient.index_fill(1, index, 0.0)
