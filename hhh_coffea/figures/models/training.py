"""The figure of a training: loss and metric curves from its ``history.json``."""

from __future__ import annotations

import json
from pathlib import Path

from hhh_coffea.figures.small_style import STYLE

# Petroff's colour-blind-safe colours (arXiv:2107.02270), as in all figures; each curve its own marker too
CURVES = {
    "purity": ("purity", "#bd1f01", "s-"),
    "efficiency": ("efficiency", "#3f90da", "^-"),
    "product": ("purity × efficiency", "#832db6", "o-"),
    "full": ("whole events", "#717581", "D-"),  # where every target is a particle of its own
}


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
        left.plot(
            x, [e["validation_loss"] for e in epochs], "s-", color="#ffa90e", label="validation, averaged weights"
        )
        left.set(xlabel="epoch", ylabel="loss")
        for name, (label, color, line) in CURVES.items():
            if all(name in e for e in epochs):
                right.plot(x, [e[name] for e in epochs], line, color=color, label=label)
        right.axvline(history["best_epoch"], color="grey", linestyle=":", label="kept")
        right.set(xlabel="epoch", ylabel="validation, merged, joint decoding")
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
