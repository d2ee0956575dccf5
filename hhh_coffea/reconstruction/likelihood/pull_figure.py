"""Figure of the pulls of transfer functions."""

from __future__ import annotations

import math
from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from hhh_coffea.reconstruction.likelihood.derive import FloatArray, chi2_of_pulls

EDGES = np.linspace(-4, 4, 33)


def pull_figure(pulls: Mapping[str, FloatArray]) -> Figure:
    """One panel per transfer function: its pulls, the normal distribution, and χ² per degree of freedom."""
    columns = min(4, len(pulls))
    rows = math.ceil(len(pulls) / columns)
    figure, axes = plt.subplots(rows, columns, figsize=(3.2 * columns, 2.5 * rows), squeeze=False, sharex=True)
    centres, width = (EDGES[1:] + EDGES[:-1]) / 2, EDGES[1] - EDGES[0]
    for axis, (name, values) in zip(axes.flat, pulls.items(), strict=False):
        counts, _ = np.histogram(values, EDGES)
        axis.errorbar(centres, counts, np.sqrt(counts), fmt="k.", markersize=3, linewidth=0.8)
        axis.plot(centres, len(values) * width * np.exp(-(centres**2) / 2) / math.sqrt(2 * math.pi))
        axis.set_title(f"{name}: χ²/ndf {chi2_of_pulls(values):.2f}", fontsize=8)
        axis.set_yscale("log")
        axis.set_ylim(bottom=0.5)
    for axis in axes.flat[len(pulls) :]:
        axis.set_visible(False)
    for axis in axes[-1]:
        axis.set_xlabel("pull")
    figure.tight_layout()
    return figure
