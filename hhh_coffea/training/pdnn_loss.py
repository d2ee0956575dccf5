"""Which permutations of an event the permutation network is trained on, and the loss of what it makes of them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def draw(n_rows: Tensor, correct: Tensor, wrong: int, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Rows of the correct permutation of each event and up to ``wrong`` others, and which of these there are.

    Both ``(N, 1 + wrong)``, the correct one first. Wrong ones are drawn without replacement by R. Floyd's algorithm
    (J. Bentley, Commun. ACM 30, 754 (1987)), for all events at once.
    """
    others = n_rows.cpu().numpy() - 1
    right = correct.cpu().numpy()
    chosen = np.full((len(others), wrong), -1, dtype=np.int64)
    uniform = generator.random((len(others), wrong))
    for i in range(wrong):
        last = others - wrong + i
        drawn = (uniform[:, i] * (last + 1)).astype(np.int64)
        again = (chosen[:, :i] == drawn[:, None]).any(axis=1)
        chosen[:, i] = np.where(last < 0, -1, np.where(again, last, drawn))
    there = chosen >= 0
    rows = np.where(there, chosen + (chosen >= right[:, None]), 0)
    rows = np.concatenate([right[:, None], rows], axis=1)
    there = np.concatenate([np.ones((len(there), 1), dtype=bool), there], axis=1)
    return torch.as_tensor(rows, device=n_rows.device), torch.as_tensor(there, device=n_rows.device)


def loss_of(logits: Tensor, there: Tensor, kind: str) -> Tensor:
    """Mean over events of ``(B, 1 + wrong)`` logits, of which the first is that of the correct permutation.

    ``binary``: cross-entropy with the correct one as signal; it weighs as much as all wrong ones of its event together.
    ``softmax``: −ln of the correct one's share among those of its event. ``both``: the sum.
    """
    if kind == "both":
        return loss_of(logits, there, "binary") + loss_of(logits, there, "softmax")
    if kind == "softmax":
        among = logits.masked_fill(~there, -torch.inf)
        return (among.logsumexp(1) - among[:, 0]).mean()
    wrong = there[:, 1:].sum(1)
    background = (torch.nn.functional.softplus(logits[:, 1:]) * there[:, 1:]).sum(1)
    signal = torch.nn.functional.softplus(-logits[:, 0]) * wrong
    return (signal + background).sum() / (2 * wrong.sum())
