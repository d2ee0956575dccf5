"""The figures of a training: loss and metric curves from its ``history.json``, ROC curves from its ``class_scores.json``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hhh_coffea.base.kinematics import FloatArray
from hhh_coffea.figures.palette import SEQUENCE
from hhh_coffea.figures.small_style import STYLE

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
    """Draw ``class_scores.json`` of a model directory as ``roc.png`` beside it; None where the model has no two classes."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    source, path = Path(folder) / "class_scores.json", Path(folder) / "roc.png"
    if not source.is_file():
        return None
    content = json.loads(source.read_text(encoding="utf-8"))["class_0_and_1"]
    with mpl.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(5, 5), layout="constrained")
        for (key, scores), (_, color, _) in zip(content.items(), CURVES.values(), strict=False):
            none, one, area = roc_curve(scores)
            axis.plot(one, none, color=color, label=f"{key}, area {area:.4f}")
        axis.set(
            xlabel="share of class 1 kept", ylabel="share of class 0 kept", xlim=(0, 1), ylim=(1e-4, 1), yscale="log"
        )
        axis.legend(loc="upper left", fontsize=9, frameon=False)
        figure.savefig(path, dpi=100)
        plt.close(figure)
    return path


def draw_history(folder: str | Path) -> Path:
    """Draw ``history.json`` of a model directory as ``history.png`` beside it."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    folder = Path(folder)
    history = json.loads((folder / "history.json").read_text(encoding="utf-8"))
    epochs = history["epochs"]
    x = [e["epoch"] for e in epochs]
    path = folder / "history.png"
    with mpl.rc_context(STYLE):
        figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
        left.plot(x, [e["training_loss"] for e in epochs], "o-", color="#717581", label="training, current weights")
        left.plot(x, [e["validation_loss"] for e in epochs], "s-", color="black", label="validation, averaged weights")
        left.set(xlabel="epoch", ylabel="loss")
        for name, (label, color, line) in CURVES.items():
            if all(name in e for e in epochs):
                right.plot(x, [e[name] for e in epochs], line, color=color, label=label)
        right.axvline(history["best_epoch"], color="grey", linestyle=":", label="kept")
        right.set(xlabel="epoch", ylabel="validation, merged, expected decoding")
        for axes in (left, right):
            axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
        left.legend()
        right.margins(y=0.05)
        right.legend(
            loc="lower left",
            bbox_to_anchor=(0, 1),
            ncols=3,
            columnspacing=1,
            handlelength=1.2,
            fontsize=9,
            frameon=False,
        )
        figure.savefig(path, dpi=100)
        plt.close(figure)
    return path
