"""Figures of a training: loss and metric curves from its ``history.json``, mass weights from its ``model.yaml``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

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


def draw_mass_weights(folder: str | Path, tables: dict[str, Any]) -> Path:
    """Weight of true targets against mass, and their spectrum before and after, as ``mass_weights.png``.

    ``tables``: what :meth:`hhh_coffea.spanet.mass_weights.MassWeights.provenance` put into ``model.yaml``.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    masses = np.array(tables["masses_gev"])
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for names, table in tables["targets"].items():
        density, weight = np.array(table["density_per_gev"]), np.array(table["weight"])
        (line,) = left.plot(masses, weight, label=names)
        right.plot(masses, density, "--", color=line.get_color(), label=names)
        right.plot(masses, density * weight, color=line.get_color(), label=f"{names}, weighted")
    left.set(ylabel="weight of a true target")
    right.set(ylabel="density [1/GeV]")
    for axes in (left, right):
        axes.set(xlim=(0, 300), ylim=(0, None), xlabel="mass of the true assignment [GeV]")
        axes.legend()
    path = Path(folder) / "mass_weights.png"
    figure.savefig(path, dpi=100)
    plt.close(figure)
    return path
