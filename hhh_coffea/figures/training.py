"""Figures of a training: loss and metric curves from its ``history.json``, mass weights from its ``model.yaml``."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np

# Petroff's colour-blind-safe colours (arXiv:2107.02270), as in all figures; each curve its own marker too
CURVES = {
    "purity": ("purity", "#bd1f01", "s-"),
    "efficiency": ("efficiency", "#3f90da", "^-"),
    "product": ("purity × efficiency", "#832db6", "o-"),
}
TARGET_COLORS = ("#5790fc", "#f89c20", "#e42536", "#964a8b")


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
    left.plot(x, [e["training_loss"] for e in epochs], "o-", color="#717581", label="training, weights of the moment")
    left.plot(x, [e["validation_loss"] for e in epochs], "s-", color="#ffa90e", label="validation, averaged weights")
    left.set(xlabel="epoch", ylabel="loss")
    for name, (label, color, line) in CURVES.items():
        right.plot(x, [e[name] for e in epochs], line, color=color, label=label)
    right.axvline(history["best_epoch"], color="grey", linestyle=":", label="kept")
    right.set(xlabel="epoch", ylabel="validation, merged, joint decoding")
    for axes in (left, right):
        axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
    left.legend()
    right.margins(y=0.05)
    right.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=4, columnspacing=1, handlelength=1.2, fontsize=9, frameon=False
    )
    path = folder / "history.png"
    figure.savefig(path, dpi=100)
    plt.close(figure)
    return path


def draw_mass_weights(folder: str | Path, tables: dict[str, Any]) -> Path:
    """Weight of true targets against mass, and their spectrum before and after, as ``mass_weights.png``.

    ``tables``: what :meth:`hhh_coffea.spanet.training.mass_weights.MassWeights.provenance` put into ``model.yaml``.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    masses = np.array(tables["masses_gev"])
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for color, (names, table) in zip(itertools.cycle(TARGET_COLORS), tables["targets"].items(), strict=False):
        density, weight = np.array(table["density_per_gev"]), np.array(table["weight"])
        left.plot(masses, weight, color=color, label=names)
        right.plot(masses, density, "--", color=color, label=names)
        right.plot(masses, density * weight, color=color, label=f"{names}, weighted")
    left.set(ylabel="weight of a true target")
    right.set(ylabel="density [1/GeV]")
    for axes in (left, right):
        axes.set(xlim=(0, 300), ylim=(0, None), xlabel="mass of the true assignment [GeV]")
        axes.legend()
    path = Path(folder) / "mass_weights.png"
    figure.savefig(path, dpi=100)
    plt.close(figure)
    return path
