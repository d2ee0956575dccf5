"""Figures of the quantities that an analysis declares, and of whose objects were taken for whose."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import hist
import numpy as np
from hist import Hist
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from hhh_coffea.figures.confusion import draw_shares
from hhh_coffea.figures.looks import palette
from hhh_coffea.figures.looks.palette import BACKGROUNDS
from hhh_coffea.figures.looks.style import NAMES, Writer, color_of, styles_of
from hhh_coffea.figures.parts import draw_parts
from hhh_coffea.figures.ratios import draw_ratios
from hhh_coffea.figures.spectra import FloatArray, between, between_all, coarseness, counted
from hhh_coffea.results.assignment_confusion import CONFUSION, NOWHERE
from hhh_coffea.results.quantities import (
    ANY_METHOD,
    NO_TRUTH,
    NOT_RECONSTRUCTABLE,
    NOT_SPLIT,
    PREFIX,
    RIGHT,
    WRONG,
)
from hhh_coffea.results.summary import COVERAGE, counts

NAMES_OF_OUTCOMES = {RIGHT: "correct"}
# others have the colour of their method
COLORS = {WRONG: palette.WRONG, NOT_RECONSTRUCTABLE: palette.NOT_RECONSTRUCTABLE}
PEAK = 10  # times the next bin: what is beside such a peak is seen on a logarithmic axis alone
CENTRAL = (0.5 * (1 - COVERAGE), 0.5 * (1 + COVERAGE))


def names_in(histograms: Mapping[str, Hist]) -> set[str]:
    """The histograms that are drawn here."""
    return {name for name in histograms if name.startswith(PREFIX) or name == CONFUSION}


def draw(write: Writer, histograms: Mapping[str, Hist], dataset: str, definition: str, info: Mapping[str, Any]) -> None:
    """All figures of a dataset in one definition."""
    key = {"dataset": dataset, "definition": definition}
    for name in sorted(names_in(histograms)):
        histogram, bare = histograms[name], name.removeprefix(PREFIX)
        if name == CONFUSION:
            _confusion(write, histogram, key, info)
        elif "outcome" not in [axis.name for axis in histogram.axes]:
            _efficiency(write, histogram, key, info, bare)
        else:
            for method in histogram.axes["method"]:
                _spectra(write, histogram, {**key, "method": method}, info, bare)


def _spectra(write: Writer, histogram: Hist, key: dict[str, str], info: Mapping[str, Any], name: str) -> None:
    """A panel for each item that is split by outcome; items that are not split lie over each other in one."""
    parts = {item: dict(_outcomes(histogram, {**key, "of": item})) for item in _ordered(histogram, info)}
    parts = {item: found for item, found in parts.items() if found}
    if not parts:
        return
    method = key["method"]
    every = {item: _of_all_methods(histogram, {**key, "of": item}) for item in parts}
    unsplit = all(set(found) == {NOT_SPLIT} for found in parts.values())
    suffix = "" if method == ANY_METHOD else f"_by_{method.replace(':', '_')}"
    place = f"{key['dataset']}/spectrum_{name}{suffix}"
    with write.figure(place, str(info["label"]), panels=1 if unsplit else len(parts)) as axes:
        if unsplit:
            total = sum(found[NOT_SPLIT] for found in parts.values())
            shown = {_label(info, item): found[NOT_SPLIT] for item, found in parts.items()}
            drawn, heights = _stacked(axes[0], shown, BACKGROUNDS, [total])
            _dress(axes[0], drawn, _spread(total), between(total))
            if total.values().max() > PEAK * np.sort(total.values())[-2]:
                _logarithmic(axes[0], heights)
        else:
            for axis, (item, found) in zip(axes, parts.items(), strict=True):
                drawn, _ = _stacked(
                    axis, found, [COLORS.get(outcome, color_of(method)) for outcome in found], every[item]
                )
                title = f"{_label(info, item)}, {NAMES.get(method, method)}"
                _dress(axis, drawn, title, between_all(every[item]))


def _outcomes(histogram: Hist, key: dict[str, str]) -> Iterator[tuple[str, Hist]]:
    """What was filled of an item, in the order in which it is stacked."""
    for outcome in (NOT_RECONSTRUCTABLE, WRONG, RIGHT, NO_TRUTH, NOT_SPLIT):
        if counts(histogram, {**key, "outcome": outcome}).sum():
            yield outcome, histogram[{name: hist.loc(value) for name, value in {**key, "outcome": outcome}.items()}]


def _of_all_methods(histogram: Hist, key: dict[str, str]) -> list[Hist]:
    """The spectrum of an item with every method, all outcomes together: they have the same axis and bins in their figures."""
    chosen = {name: hist.loc(value) for name, value in key.items() if name != "method"}
    spectra = [histogram[{**chosen, "method": hist.loc(method), "outcome": sum}] for method in histogram.axes["method"]]
    return [spectrum for spectrum in spectra if spectrum.values().sum() > 0]


def _stacked(axis: Axes, parts: Mapping[str, Hist], colors: Iterable[str], like: Sequence[Hist]) -> tuple[Hist, Any]:
    """Draw the parts on each other, in bins that have enough entries in each spectrum of ``like``; their sum, and its heights."""
    factor = coarseness(like)
    drawn = [
        (spectrum[:: hist.rebin(factor)], NAMES_OF_OUTCOMES.get(outcome, outcome), color)
        for (outcome, spectrum), color in zip(parts.items(), itertools.cycle(colors), strict=False)
    ]
    heights = draw_parts(axis, drawn)
    return sum(spectrum for spectrum, _, _ in drawn), heights


def _dress(axis: Axes, total: Hist, title: str, shown: tuple[float, float]) -> None:
    width = np.diff(total.axes[0].edges)[0]
    unit = " GeV" if "GeV" in total.axes[0].label else ""
    axis.set(xlabel=total.axes[0].label, ylabel=f"{counted('Events', total)} / {width:.3g}{unit}", xlim=shown)
    axis.set_ylim(0, 1.45 * axis.get_ylim()[1] / 1.05)
    axis.legend(title=title, fontsize=20, title_fontsize=22, loc="upper right")


def _logarithmic(axis: Axes, values: FloatArray) -> None:
    """A logarithmic axis of events, with room for the legend."""
    low, high = 0.5 * values[values > 0].min(), values.max()
    axis.set(yscale="log", ylim=(low, high * (high / low) ** 0.4))


def _spread(total: Hist) -> str:
    """Central interval of what is within the axis, and its root mean square."""
    values, edges, middle = total.values(), total.axes[0].edges, total.axes[0].centers
    share = np.concatenate([[0.0], np.cumsum(values)]) / values.sum()
    low, high = np.interp(CENTRAL, share, edges)
    mean = np.average(middle, weights=values)
    rms = np.sqrt(np.average((middle - mean) ** 2, weights=values))
    return f"68%: {low:.3g} to {high:.3g}, RMS {rms:.3g}".replace("-", "−")


def _efficiency(write: Writer, histogram: Hist, key: dict[str, str], info: Mapping[str, Any], name: str) -> None:
    """A panel for each target and all methods in it, with Clopper–Pearson bars."""
    items = [
        item
        for item in _ordered(histogram, info)
        if counts(histogram.project(*_axes(histogram, "method")), {**key, "of": item}).sum()
    ]
    if not items:
        return
    methods = list(histogram.axes["method"])
    styles, edges = styles_of(methods), histogram.axes["value"].edges
    with write.figure(f"{key['dataset']}/efficiency_{name}", str(info["label"]), panels=len(items)) as axes:
        for axis, item in zip(axes, items, strict=True):
            tables = {m: counts(histogram, {**key, "of": item, "method": m})[1:-1] for m in methods}  # within the axis
            draw_ratios(axis, edges, {m: (table.sum(axis=1), table[:, 1]) for m, table in tables.items()}, styles)
            filled = np.flatnonzero(sum(table.sum(axis=1) for table in tables.values()))
            shown = edges[filled[0]], edges[filled[-1] + 1]
            axis.set(xlim=shown, ylim=(0, 1.3), xlabel=histogram.axes["value"].label)
            axis.set_ylabel("Efficiency")
            if (np.diff(edges) == 1).all():  # of whole numbers
                axis.xaxis.set_minor_locator(NullLocator())
            axis.legend(title=_label(info, item), fontsize=20, title_fontsize=22, loc="upper right", ncols=2)


def _confusion(write: Writer, histogram: Hist, key: dict[str, str], info: Mapping[str, Any]) -> None:
    """Objects by the place they were given (rows) and their true one (columns), rows normalised."""
    for method in histogram.axes["method"]:
        place = {**key, "method": method}
        names = _places(histogram, info)
        columns = [*names, NOWHERE]
        table = counts(histogram, place)
        if not table.sum() or len(names) == 1:  # one place leaves nothing to confuse
            continue
        given, true = (list(histogram.axes[name]) for name in ("given", "true"))
        matrix = np.array([[table[given.index(g), true.index(t)] for t in columns] for g in names])
        file = f"{key['dataset']}/assignment_confusion_{method.replace(':', '_')}"
        with write.figure(file, str(info["label"])) as (axis,):
            rows, true_places = ([_place_label(info, name) for name in some] for some in (names, columns))
            draw_shares(axis, matrix, rows, true_places, "objects", "assigned objects")
            axis.set_xlabel("True position")
            axis.set_ylabel(f"Position assigned by {NAMES.get(method, method)}", labelpad=14)


def _places(histogram: Hist, info: Mapping[str, Any]) -> list[str]:
    """Places of the targets of a dataset, in their order."""
    order = {name: number for number, name in enumerate(info["kinds"])}
    own = [name for name in histogram.axes["given"] if name.partition(":")[0] in order]
    return sorted(own, key=lambda name: (order[name.partition(":")[0]], name))


def _place_label(info: Mapping[str, Any], name: str) -> str:
    kind, colon, daughters = name.partition(": ")
    return f"{_label(info, kind)}\n{daughters.replace(' ', ', ')}" if colon else "no target"


def _label(info: Mapping[str, Any], item: str) -> str:
    return str(info.get("labels", {}).get(item, item))


def _ordered(histogram: Hist, info: Mapping[str, Any]) -> list[str]:
    """Items in the order of the labels that the analysis declares, then the others."""
    order = {name: number for number, name in enumerate(info.get("labels", {}))}
    return sorted(histogram.axes["of"], key=lambda name: (order.get(name, len(order)), name))


def _axes(histogram: Hist, left_out: str) -> list[str]:
    return [axis.name for axis in histogram.axes if axis.name != left_out]
