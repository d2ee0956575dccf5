"""A spectrum and what it is made of: parts on each other, in bins that have enough entries, and the statistical uncertainty."""

from __future__ import annotations

from collections.abc import Sequence

import mplhep
import numpy as np
from hist import Hist
from matplotlib.axes import Axes

from hhh_coffea.figures.looks.style import BAND, STATISTICAL
from hhh_coffea.figures.spectra import FloatArray, effective, merged, well_filled

Part = tuple[Hist, str, str]  # spectrum, entry in the legend, colour


def draw_parts(axis: Axes, parts: Sequence[Part]) -> FloatArray:
    """Draw the parts on each other, the first at the bottom; returns the heights of their sum.

    The spectra have the same regular axis. Bins with few entries of the sum are joined; heights are entries per original bin.
    """
    total: Hist = sum(spectrum for spectrum, _, _ in parts)
    borders = well_filled(effective(total.values(), total.variances()))
    edges = total.axes[0].edges[borders]
    scale = total.axes[0].widths[0] / np.diff(edges)
    mplhep.histplot(
        [merged(spectrum.values(), borders) * scale for spectrum, _, _ in parts],
        edges,
        ax=axis,
        stack=True,
        histtype="fill",
        label=[label for _, label, _ in parts],
        color=[color for _, _, color in parts],
    )
    heights: FloatArray = merged(total.values(), borders) * scale
    error = np.sqrt(merged(total.variances(), borders)) * scale
    axis.stairs(heights + error, edges, baseline=heights - error, label=STATISTICAL, **BAND)
    return heights
