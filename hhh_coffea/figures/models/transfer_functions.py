"""Figure of the pulls of transfer functions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
import mplhep  # noqa: F401  # it brings the fonts
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from hhh_coffea.base.kinematics import FloatArray
from hhh_coffea.figures.looks.palette import SEQUENCE
from hhh_coffea.figures.looks.small_style import FONTS, STYLE
from hhh_coffea.training.transfer_fit import chi2_of_pulls

EDGES = np.linspace(-4, 4, 33)
COLUMNS = 4
CURVE, POINTS = SEQUENCE[2], "black"


def draw_pulls(pulls: Mapping[str, FloatArray], path: Path, source: str = "Delphes simulation") -> Path:
    """One panel per transfer function: its pulls, the normal distribution, and χ² per degree of freedom (20 bins).

    ``source`` stands above: what the events are.
    """
    with mpl.rc_context({**STYLE, **FONTS}):
        columns = min(COLUMNS, len(pulls))
        rows = math.ceil(len(pulls) / columns)
        figure = Figure(figsize=(2.9 * columns, 2.6 * rows + 0.5), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(rows, columns, squeeze=False, sharex=True)
        centres, width = (EDGES[1:] + EDGES[:-1]) / 2, EDGES[1] - EDGES[0]
        fine = np.linspace(EDGES[0], EDGES[-1], 200)
        for axis, (name, values) in zip(axes.flat, pulls.items(), strict=False):
            counts, _ = np.histogram(values, EDGES)
            normal = len(values) * width * np.exp(-(fine**2) / 2) / math.sqrt(2 * math.pi)
            axis.plot(fine, normal, color=CURVE, label="normal distribution")
            axis.errorbar(
                centres, counts, np.sqrt(counts), fmt=".", color=POINTS, markersize=4, linewidth=0.8, label="pairs"
            )
            axis.set_title(f"{name}\nχ²/ndf {chi2_of_pulls(values):.1f}", fontsize=11)
            axis.set_yscale("log")
            axis.set_ylim(bottom=0.5)
            axis.tick_params(which="both", labelsize=10)
        for axis in axes.flat[len(pulls) :]:
            axis.set_visible(False)
        axes.flat[0].legend(fontsize=10, loc="lower center", frameon=False)
        figure.suptitle(source, x=0.01, ha="left", fontsize=18, fontweight="bold")
        figure.supxlabel("Pull", x=0.99, ha="right", fontsize=13)
        figure.supylabel("Pairs / 0.25", y=0.95, va="top", fontsize=13)
        figure.savefig(path, dpi=110)
    return path
