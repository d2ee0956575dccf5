"""What takes the steps of a training: AdamW, or Muon for the matrices of the network with AdamW for everything else.

AdamW: arXiv 1711.05101. Muon replaces the averaged gradient of a matrix by the nearest matrix with orthogonal rows or
columns, so that every direction of the matrix learns at the same rate; torch has it (``torch.optim.Muon``). Its steps are
scaled to those of AdamW as in arXiv 2502.16982, so both take the same learning rate and weight decay.
"""

from __future__ import annotations

import torch
from torch import nn

OPTIMISERS = ("adamw", "muon")
LEAST = 16  # rows and columns of a matrix that Muon moves: a smaller one has few directions to balance


def optimisers(model: nn.Module, name: str, learning_rate: float, weight_decay: float) -> list[torch.optim.Optimizer]:
    """The optimisers of all parameters of ``model`` that are trained; biases, norms and single numbers are not decayed."""
    matrices = []
    if name == "muon":
        linear = [module.weight for module in model.modules() if isinstance(module, nn.Linear)]
        matrices = [w for w in linear if w.requires_grad and min(w.shape) >= LEAST]
    by_muon = set(matrices)
    others = [p for p in model.parameters() if p.requires_grad and p not in by_muon]
    found: list[torch.optim.Optimizer] = []
    if others:
        groups = [
            {"params": [p for p in others if p.ndim > 1], "weight_decay": weight_decay},
            {"params": [p for p in others if p.ndim <= 1], "weight_decay": 0.0},
        ]
        found.append(torch.optim.AdamW(groups, lr=learning_rate, fused=True))
    if matrices:
        found.append(
            torch.optim.Muon(matrices, lr=learning_rate, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
        )
    return found
