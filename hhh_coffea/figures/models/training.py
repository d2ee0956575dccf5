"""The figures of a training: loss and metric curves from its ``history.json``, ROC curves from its ``class_scores.json``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.ticker import MaxNLocator, NullLocator

from hhh_coffea.base.kinematics import FloatArray
from hhh_coffea.figures.looks.labels import Labels
from hhh_coffea.figures.looks.palette import SEQUENCE
from hhh_coffea.figures.looks.style import Writer
from hhh_coffea.figures.ratios import FEWEST

LOSSES = (
    ("training_loss", "training, current weights", "o-", "#717581"),
    ("validation_loss", "validation, averaged weights", "s-", "black"),
)
# each curve has its own marker too
CURVES = {
    "purity": ("purity", SEQUENCE[0], "s-"),
    "efficiency": ("efficiency", SEQUENCE[1], "^-"),
    "product": ("purity × efficiency", SEQUENCE[2], "o-"),
    "full": ("whole events", "black", "D-"),  # where every target is a particle of its own
}


def roc_curve(scores: Sequence[Sequence[float]]) -> tuple[FloatArray, FloatArray, float]:
    """Shares of class 0 and of class 1 above each edge of even bins from 1 down to 0, and the area under the curve.

    ``scores``: events of class 0 and of class 1 in each bin of the probability of class 1.
    """
    shares = []
    for number in scores:
        above = np.concatenate([[0.0], np.cumsum(np.asarray(number, dtype=np.float64)[::-1])])
        shares.append(above / max(above[-1], 1.0))
    none, one = shares
    return none, one, float(np.trapezoid(one, none))


def draw_roc(folder: str | Path) -> Path | None:
    """Draw ``class_scores.json`` of a model directory as ``roc.png`` beside it; None where the model has no two classes.

    The axis of class 0 begins where :data:`hhh_coffea.figures.ratios.FEWEST` of its events are left.
    """
    source, path = Path(folder) / "class_scores.json", Path(folder) / "roc.png"
    if not source.is_file():
        return None
    content = json.loads(source.read_text(encoding="utf-8"))["class_0_and_1"]
    with Writer(Path(folder), ("png",), Labels(source="Training of SPANet")).figure("roc", "") as (axis,):
        lowest = 0.1
        for (key, scores), (_, color, _) in zip(content.items(), CURVES.values(), strict=False):
            none, one, area = roc_curve(scores)
            numbers = [float(np.sum(number)) for number in scores]
            lowest = min(lowest, FEWEST / max(numbers[0], 1.0))
            text = f"{key}: area {area:.3f}\nclass 0: {numbers[0]:,.0f}, class 1: {numbers[1]:,.0f} events"
            axis.plot(one, none, color=color, linewidth=3, label=text)
        axis.set(xlim=(0, 1), yscale="log", ylim=(lowest, 1))
        kept = "share above a threshold on P(class 1)"
        axis.set_xlabel(f"True class 1: {kept}", fontsize=22)
        axis.set_ylabel(f"True class 0: {kept}", fontsize=22)
        axis.legend(loc="upper left", fontsize=20)
    return path


def draw_history(folder: str | Path) -> Path:
    """Draw ``history.json`` of a model directory as ``history.png`` beside it."""
    folder = Path(folder)
    history = json.loads((folder / "history.json").read_text(encoding="utf-8"))
    epochs = history["epochs"]
    x = [e["epoch"] for e in epochs]
    write = Writer(folder, ("png",), Labels(source="Training of SPANet"))
    with write.figure("history", "", columns=2, height=9) as (left, right):
        for key, label, line, color in LOSSES:
            left.plot(x, [e[key] for e in epochs], line, color=color, linewidth=2, markersize=8, label=label)
        left.set(ylabel="Loss")
        for name, (label, color, line) in CURVES.items():
            if all(name in e for e in epochs):
                right.plot(x, [e[name] for e in epochs], line, color=color, linewidth=2, markersize=8, label=label)
        right.set(ylabel="Share (validation events)")
        for axis in (left, right):
            axis.axvline(history["best_epoch"], color="grey", linestyle=":", linewidth=2, label="epoch that is kept")
            axis.set(xlabel="Epoch")
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
            axis.xaxis.set_minor_locator(NullLocator())
            low, high = axis.get_ylim()
            axis.set_ylim(low, high + 0.35 * (high - low))  # room for the legend
            axis.legend(fontsize=18, ncols=1 if axis is left else 2, loc="upper left")
    return folder / "history.png"
