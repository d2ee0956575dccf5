"""Ratios of counts in bins: purity and efficiency, all methods in one panel, in bins that have enough entries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from hist.intervals import clopper_pearson_interval
from matplotlib.axes import Axes

from hhh_coffea.results.summary import COVERAGE

FEWEST = 5  # entries of each method in a bin; bins with fewer are joined with their neighbours
HEARD = 0.25  # of the bins that a count must be able to fill to have a say in which are joined
STEP = 0.012  # between points that stand side by side, relative to the axis: about the size of their markers
TOGETHER = 0.8  # of the narrowest bin that all points of a bin may take
Ratio = tuple[npt.NDArray[Any], npt.NDArray[Any]]  # denominator and numerator in each bin


def draw_ratios(
    axis: Axes,
    edges: npt.NDArray[np.floating | np.integer],
    ratios: Mapping[str, Ratio],
    styles: Mapping[str, Mapping[str, Any]],
) -> None:
    """A point for each bin and name, with a Clopper–Pearson bar and a thin line as wide as the bin.

    Points of several names stand side by side around the middle of their bin (:func:`side_by_side`). Bins are joined until
    each name has :data:`FEWEST` entries (:func:`joined`), after empty bins at both ends are left out. A point with fewer, of
    a name that has few everywhere, is not drawn.
    """
    ratios = {name: ratio for name, ratio in ratios.items() if ratio[0].sum()}
    if not ratios:
        return
    filled = np.flatnonzero(np.sum([total for total, _ in ratios.values()], axis=0))
    inside = slice(filled[0], filled[-1] + 1)  # no bin reaches where no entry can be
    places = side_by_side(len(ratios), edges)
    edges = edges[filled[0] : filled[-1] + 2]
    ratios = {name: (total[inside], passed[inside]) for name, (total, passed) in ratios.items()}
    starts = joined([total for total, _ in ratios.values()])
    low_edge, high_edge = edges[starts], edges[[*starts[1:], -1]]
    for (name, columns), place in zip(ratios.items(), places, strict=True):
        total, passed = (np.add.reduceat(column, starts) for column in columns)
        use = total >= FEWEST
        value = passed[use] / total[use]
        low, high = clopper_pearson_interval(passed[use], total[use], coverage=COVERAGE)
        bars = np.clip([value - low, high - value], 0, None)  # rounding may leave an end a hair inside the value
        middle = ((low_edge + high_edge) / 2 + place)[use]
        style = {"markersize": 8, **styles[name], "linestyle": "none"}
        line = styles[name].get("linestyle", "-")
        axis.hlines(value, low_edge[use], high_edge[use], color=style["color"], linewidth=1, alpha=0.5, linestyle=line)
        drawn = axis.errorbar(middle, value, bars, **style)
        for error in drawn.lines[2]:
            error.set_linestyle(line)


def joined(totals: Sequence[npt.NDArray[Any]], fewest: int = FEWEST, share: float = HEARD) -> npt.NDArray[np.int64]:
    """First of the neighbouring bins that are joined to one, so that each of the counts reaches ``fewest`` in it.

    Counts that have few entries everywhere (less than ``fewest`` in this ``share`` of the bins) have no say. Bins are closed
    from the right, where spectra end; what is left on the left goes to its neighbour.
    """
    heard = [total for total in totals if total.sum() >= fewest * len(total) * share] or list(totals)
    n, starts, stop = len(heard[0]), [], len(heard[0])
    for start in range(n - 1, -1, -1):
        if all(total[start:stop].sum() >= fewest for total in heard):
            starts.append(start)
            stop = start
    return np.array([0, *starts[-2::-1]], dtype=np.int64)


def side_by_side(number: int, edges: npt.NDArray[np.floating | np.integer]) -> npt.NDArray[np.float64]:
    """Distance of each of so many points from the middle of its bin, the same in every bin of the axis ``edges``."""
    step = min(STEP * (edges[-1] - edges[0]), TOGETHER * np.diff(edges).min() / number)
    places: npt.NDArray[np.float64] = step * (np.arange(number) - (number - 1) / 2)
    return places
