"""How wide the bins of a spectrum are drawn, and which part of its axis: what its entries allow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
from hist import Hist
from matplotlib.axes import Axes

from hhh_coffea.figures.ratios import FEWEST, joined

CONTENT = (0.002, 0.998)  # quantiles of the entries between which the axis lies
SIXTY_EIGHT = (0.16, 0.84)
IN_A_BIN = 15  # entries that a bin of the central 68% has on average, if bins can be joined to that
FEWEST_BINS = 20  # of the whole axis
BEYOND = 0.005  # of the entries: so many outside the axis are written into the legend
FloatArray = npt.NDArray[np.float64]


def between(histogram: Hist, quantiles: tuple[float, float] = CONTENT) -> tuple[float, float]:
    """Two quantiles of the entries within the axis of a spectrum, at edges of its bins; the whole axis if there are none."""
    values, edges = histogram.values(), histogram.axes[0].edges
    if not values.sum() > 0:
        return float(edges[0]), float(edges[-1])
    share = np.cumsum(values) / values.sum()
    first, last = np.searchsorted(share, quantiles)
    return float(edges[min(first, len(share) - 1)]), float(edges[min(last, len(share) - 1) + 1])


def between_all(spectra: Sequence[Hist]) -> tuple[float, float]:
    """The smallest range that has :func:`between` of each spectrum."""
    ranges = [between(spectrum) for spectrum in spectra]
    return min(low for low, _ in ranges), max(high for _, high in ranges)


def coarseness(spectra: Iterable[Hist]) -> int:
    """How many neighbouring bins are drawn as one: the central ones then have :data:`IN_A_BIN` entries in each spectrum.

    The spectra have the same regular axis. Entries are effective ones, (Σw)²/Σw², so that weights do not count as entries.
    """
    factors = [1]
    for spectrum in spectra:
        size = spectrum.axes[0].size
        total, squares = spectrum.values().sum(), spectrum.variances().sum()
        if not (total > 0 and squares > 0):
            continue
        low, high = between(spectrum, SIXTY_EIGHT)
        bins = (high - low) / spectrum.axes[0].widths[0]
        wanted = IN_A_BIN * bins / (0.68 * total**2 / squares)
        possible = [n for n in range(1, max(size // FEWEST_BINS, 1) + 1) if size % n == 0]
        factors.append(next((n for n in possible if n >= wanted), possible[-1]))
    return max(factors)


def effective(values: FloatArray, variances: FloatArray) -> FloatArray:
    """Entries without weights that would be as well known, (Σw)²/Σw², in each bin."""
    return np.divide(values**2, variances, out=np.zeros(len(values)), where=variances > 0)


def well_filled(*entries: FloatArray) -> npt.NDArray[np.int64]:
    """Borders, as positions of edges, of bins that are joined until each has enough of each of the ``entries``.

    Enough is :data:`hhh_coffea.figures.ratios.FEWEST`; entries that have less altogether have no say. Bins at both ends in
    which all are empty are left out first: no bin reaches where there is nothing.
    """
    filled = np.flatnonzero(np.sum(entries, axis=0) > 0)
    if not len(filled):
        return np.array([0, len(entries[0])], dtype=np.int64)
    first, stop = filled[0], filled[-1] + 1
    inside = [some[first:stop] for some in entries]
    enough = [some for some in inside if some.sum() >= FEWEST] or inside
    return np.array([*(first + joined(enough, share=0)), stop], dtype=np.int64)


def merged(values: FloatArray, borders: npt.NDArray[np.int64]) -> FloatArray:
    """Sums of the bins between ``borders`` (:func:`well_filled`)."""
    sums: FloatArray = np.add.reduceat(values[: borders[-1]], borders[:-1])
    return sums


def say_what_is_beyond(axis: Axes, spectrum: Hist) -> None:
    """An entry in the legend if a share of the entries worth saying is outside the axis."""
    values, edges = spectrum.values(flow=True), spectrum.axes[0].edges
    low, high = axis.get_xlim()
    below, above = np.searchsorted(edges, low), np.searchsorted(edges, high)
    for share, where in (
        (values[: below + 1].sum(), f"below {low:g} GeV"),
        (values[above + 1 :].sum(), f"above {high:g} GeV"),
    ):
        if share > BEYOND * values.sum() > 0:
            axis.plot([], [], " ", label=f"{100 * share / values.sum():.2g}% are {where}")


def counted(what: str, histogram: Hist) -> str:
    """``what`` as the axis of a spectrum says it: weighted if entries have other weights than 1."""
    same = np.allclose(histogram.values(flow=True), histogram.variances(flow=True))
    return what if same else f"Weighted {what.lower()}"
