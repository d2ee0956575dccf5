"""SPANet fine-tuned: a new class head on the event vector of a trained network, whose own weights stay as they are.

As the network below the head does not change, its event vectors are computed once, and the head is trained on them. The events
are those that the network itself was trained on, and the same ones are kept for validation.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hhh_coffea.spanet.network.layers import FeedForward
from hhh_coffea.study.event_table import Columns, EventTable
from hhh_coffea.study.tth.columns import VECTOR
from hhh_coffea.training.bdt_evaluation import area, roc

WEIGHTS, CARD = "head.safetensors", "head.json"
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class HeadOptions:
    """How the head is trained; ``min_btags`` of its training and validation events is the selection of the study."""

    hidden: int = 64
    epochs: int = 30
    batch_size: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 0.03
    validation_fraction: float = 0.05  # that of the network
    min_btags: int = 4
    seed: int = 1


def train_head(folder: Path, table: EventTable, options: HeadOptions, say: Callable[[str], None]) -> None:
    """Train on the table's columns ``vector``, ``n_btags``, ``split`` and ``weight``; write the best head into ``folder``.

    The epoch kept has the greatest area under the ROC curve of the validation events.
    """
    from safetensors.torch import save_file

    torch.manual_seed(options.seed)
    torch.set_num_threads(1)
    x, y, w, use = _rows(table, options)
    train, validation = use
    scale = x[train].mean(0), x[train].std(0).clamp_min(1e-6)
    head = FeedForward(x.shape[1], options.hidden, 2)
    optimiser = torch.optim.AdamW(head.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay)
    steps = max(1, int(train.sum()) // options.batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, options.epochs * steps)
    inputs, history, best = (x - scale[0]) / scale[1], [], (-1.0, copy.deepcopy(head.state_dict()))
    rows = torch.nonzero(train).squeeze(1)
    for epoch in range(1, options.epochs + 1):
        order, total = rows[torch.randperm(len(rows))], 0.0
        for step in range(steps):
            batch = order[step * options.batch_size : (step + 1) * options.batch_size]
            losses = torch.nn.functional.cross_entropy(head(inputs[batch]), y[batch], reduction="none")
            loss = (losses * w[batch]).sum() / w[batch].sum()
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            total += float(loss.detach())
        found = _probability(head, inputs[validation])
        auc = area(*roc(found, y[validation].numpy() == 1, w[validation].double().numpy()))
        history.append({"epoch": epoch, "loss": total / steps, "auc": auc})
        if auc > best[0]:
            best = auc, copy.deepcopy(head.state_dict())
    say(f"head: {int(train.sum()):,} training events, AUC of {int(validation.sum()):,} validation events {best[0]:.3f}")
    save_file({**best[1], "mean": scale[0], "scale": scale[1]}, folder / WEIGHTS)
    card = {"options": asdict(options), "training_events": int(train.sum()), "history": history}
    (folder / CARD).write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")


def scores(folder: Path, columns: Columns) -> FloatArray:
    """``(N,)``: probability of signal by the head in ``folder``."""
    from safetensors.torch import load_file

    weights = load_file(folder / WEIGHTS)
    mean, scale = weights.pop("mean"), weights.pop("scale")
    head = FeedForward(len(mean), len(weights["first.bias"]), 2)
    head.load_state_dict(weights)
    return _probability(head, (torch.from_numpy(columns[VECTOR]) - mean) / scale)


def _probability(head: FeedForward, inputs: Tensor) -> FloatArray:
    with torch.inference_mode():
        found: FloatArray = head(inputs).double().softmax(-1)[:, 1].numpy()
    return found


def _rows(table: EventTable, options: HeadOptions) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, Tensor]]:
    """Vectors, classes, weights whose sums are equal for both classes, and which rows are for training and validation."""
    parts = [table.together(is_signal) for is_signal in (True, False)]
    columns: dict[str, Any] = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    y = np.repeat([1, 0], [len(part["weight"]) for part in parts])
    held, tagged = columns["split"] < options.validation_fraction, columns["n_btags"] >= options.min_btags
    train, validation = ~held & tagged, held & tagged
    weight = columns["weight"].astype(np.float64)
    for kind in (0, 1):
        weight[y == kind] *= train.sum() / 2 / weight[train & (y == kind)].sum()
    masks = torch.from_numpy(train), torch.from_numpy(validation)
    return torch.from_numpy(columns[VECTOR]), torch.from_numpy(y), torch.from_numpy(weight).float(), masks
