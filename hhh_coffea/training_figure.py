"""Loss and metric curves of a training, from its ``history.json``."""

from __future__ import annotations

import json
from pathlib import Path

CURVES = ("purity", "efficiency", "product")


def draw_history(folder: str | Path) -> Path:
    """Draw ``history.json`` of a model directory as ``history.png`` beside it."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    folder = Path(folder)
    history = json.loads((folder / "history.json").read_text(encoding="utf-8"))
    epochs = history["epochs"]
    x = [e["epoch"] for e in epochs]
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    left.plot(x, [e["training_loss"] for e in epochs], "o-", label="training, weights of the moment")
    left.plot(x, [e["validation_loss"] for e in epochs], "o-", label="validation, averaged weights")
    left.set(xlabel="epoch", ylabel="loss")
    for name in CURVES:
        right.plot(x, [e[name] for e in epochs], "o-", label={"product": "purity × efficiency"}.get(name, name))
    right.axvline(history["best_epoch"], color="grey", linestyle=":", label="kept")
    right.set(xlabel="epoch", ylabel="validation, merged, joint decoding")
    for axes in (left, right):
        axes.legend()
    path = folder / "history.png"
    figure.savefig(path, dpi=100)
    plt.close(figure)
    return path
