"""The plane of the masses of two candidates, with the regions that an analysis defines in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import hist
import numpy as np
from hist import Hist
from matplotlib.patches import Circle

from hhh_coffea.figures.looks.style import NAMES, Writer
from hhh_coffea.figures.spectra import counted
from hhh_coffea.reconstruction.observables import EVERYWHERE
from hhh_coffea.results.event_observables import PLANE
from hhh_coffea.results.summary import counts

ABOVE = 2.5  # GeV, from the lowest point of a circle to the name of its region


def draw(write: Writer, histograms: Mapping[str, Hist], dataset: str, info: Mapping[str, Any]) -> None:
    """Events of a dataset by the two masses, a figure for each method."""
    if PLANE not in histograms:
        return
    histogram = histograms[PLANE]
    for method in histogram.axes["method"]:
        key = {"region": EVERYWHERE, "dataset": dataset, "method": method}
        if not np.any(counts(histogram, key)):
            continue
        plane = histogram[{name: hist.loc(value) for name, value in key.items()}]
        values = plane.values()
        with write.figure(f"{dataset}/mass_plane_{method.replace(':', '_')}", str(info["label"])) as (axis,):
            m1, m2 = (histogram.axes[name] for name in ("m1", "m2"))
            shown = np.where(values.T > 0, values.T, np.nan)  # bins without events stay white
            image = axis.pcolormesh(m1.edges, m2.edges, shown, cmap="Blues", rasterized=True)
            box: dict[str, Any] = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 2}
            for x, y, radius, *name in info.get("mass_plane", ()):  # earlier results have no names
                axis.add_patch(Circle((x, y), radius, fill=False, edgecolor="black", linewidth=2.5))
                words = "".join(name).replace("_", "\n")
                if words:
                    axis.text(x, y - radius + ABOVE, words, ha="center", va="bottom", fontsize=18, bbox=box)
            axis.set(xlabel=m1.label, ylabel=m2.label, xlim=m1.edges[[0, -1]], ylim=m2.edges[[0, -1]])
            axis.text(0.03, 0.95, NAMES.get(method, method), transform=axis.transAxes, fontsize=22, bbox=box)
            axis.figure.colorbar(image, ax=axis, shrink=0.85).set_label(
                f"{counted('Events', plane)} / ({m1.widths[0]:g} GeV)²", fontsize=20
            )
