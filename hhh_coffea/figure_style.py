"""How figures look: colours, names and markers of the methods, CMS style, saving; and the two shapes drawn everywhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import mplhep
import numpy as np
from hist import Hist
from hist.intervals import clopper_pearson_interval
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from hhh_coffea.summary import COVERAGE

# Petroff's colour-blind-safe sequence (arXiv:2107.02270), one colour a method wherever it appears
COLORS = {
    "chi2": "#ffa90e",
    "chi2_as_published": "#a96b59",
    "chi2+bdt": "#bd1f01",
    "chi2+bdt_as_published": "#832db6",
    "spanet": "#3f90da",
    "spanet:joint": "#3f90da",
    "spanet:reference": "#832db6",
    "spanet:greedy": "#94a4a2",
}
SPARE_COLORS = ("#92dadd", "#717581", "#94a4a2", "#e76300", "#b9ac70")
PALETTE = tuple(dict.fromkeys((*COLORS.values(), *SPARE_COLORS)))  # for what has no colour of its own
MARKERS = ("o", "s", "^", "D", "v", "P")
NAMES = {
    "chi2": "χ²",
    "chi2_as_published": "χ² (published pairing)",
    "chi2+bdt": "χ² + BDT",
    "chi2+bdt_as_published": "χ² (published pairing) + BDT",
    "spanet": "SPA-Net",
    "spanet:joint": "SPA-Net, joint",
    "spanet:reference": "SPA-Net, as published",
    "spanet:greedy": "SPA-Net, greedy",
}
CATEGORY_NAMES = {
    "merged": "Boosted + Resolved",
    "merged_without_overlap_removal": "Boosted + Resolved, no overlap removal",
    "boosted": "Boosted",
    "resolved": "Resolved",
    "resolved_after_overlap_removal": "Resolved, after overlap removal",
}
RUN = " @ "  # between a method and the run it is from, where several are compared
PT_EDGES = np.arange(0, 1051, 50)  # the last bin is the overflow, drawn as 1000–1050
FORMATS = ("png", "pdf")


class Writer:
    """Saves figures below ``plots/`` and remembers them."""

    def __init__(self, folder: Path, formats: tuple[str, ...], source: str = "Delphes simulation") -> None:
        self.folder, self.formats, self.source = folder, formats, source
        self.written: list[Path] = []

    @contextmanager
    def figure(self, name: str, label: str, columns: int = 1, **layout: Any) -> Iterator[Any]:
        """A figure in CMS style with axes to fill; saved on leaving, under ``name``."""
        with mpl.rc_context(), np.errstate(invalid="ignore", divide="ignore"):
            mplhep.style.use("CMS")
            rows = layout.pop("rows", 1)
            height = layout.pop("height", 10)
            figure = Figure(figsize=(11 * columns, height))
            FigureCanvasAgg(figure)
            # fixed margins: matplotlib's layout engines take longer than all the drawing
            figure.subplots_adjust(
                left=0.14 / columns,
                right=1 - 0.035 / columns,
                bottom=1 / height,
                top=1 - 0.7 / height,
                wspace=0.18,
                hspace=layout.pop("hspace", 0.06),
            )
            axes = figure.subplots(rows, columns, squeeze=False, **layout)
            yield axes.ravel()
            for axis in axes[0]:
                axis.set_title(self.source, loc="left", fontweight="bold", fontsize=26)
                axis.set_title(label, loc="right", fontsize=26)
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            for suffix in self.formats:
                # no creation date: the same results give the same file
                metadata = {"CreationDate": None} if suffix == "pdf" else None
                figure.savefig(path.with_name(f"{path.name}.{suffix}"), dpi=80, metadata=metadata)
            self.written.append(path)


def source_of(datasets: dict[str, dict[str, Any]]) -> str:
    """What figures say above their axes: which events they show. Never that CMS had a say in them."""
    formats = {str(info.get("format", "delphes")) for info in datasets.values()}
    if "nanoaod" not in formats:
        return "Delphes simulation"
    return "NanoAOD" if formats == {"nanoaod"} else "Delphes and NanoAOD"


def style_of(method: str, position: int) -> dict[str, Any]:
    """Colour, marker and legend entry of a method, or of a method of one of several runs (``method @ run``)."""
    name, _, run = method.partition(RUN)
    palette = PALETTE if run else SPARE_COLORS
    color = COLORS.get(method, palette[position % len(palette)])
    label = NAMES.get(name, name) + (f" ({run})" if run else "")
    return {"color": color, "marker": MARKERS[position % len(MARKERS)], "label": label}


def error_points(axis: Axes, passed: Any, total: Any, **style: Any) -> None:
    """Ratio of counts per pT bin with Clopper–Pearson bars; empty bins are left out."""
    use = total > 0
    value = passed[use] / total[use]
    low, high = clopper_pearson_interval(passed[use], total[use], coverage=COVERAGE)
    centers = (PT_EDGES[:-1] + PT_EDGES[1:])[use] / 2
    # rounding may leave an end a hair inside the value
    errors = np.clip([value - low, high - value], 0, None)
    axis.errorbar(centers, value, yerr=errors, xerr=25, linestyle="none", capsize=4, **style)


def density(axis: Axes, histogram: Hist, **style: Any) -> None:
    """Shape with statistical errors, normalised to the entries in range."""
    total = histogram.values().sum()
    if total <= 0:
        return
    scale = 1 / total / histogram.axes[0].widths
    errors = np.sqrt(histogram.variances()) * scale
    mplhep.histplot(
        histogram.values() * scale, histogram.axes[0].edges, yerr=errors, ax=axis, linewidth=2, flow="none", **style
    )
