"""Expected events of all processes on each other, with the statistical uncertainty of their sum, data and their ratio."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping
from typing import Any

import hist
import numpy as np
import numpy.typing as npt
from hist import Hist
from matplotlib.axes import Axes

from hhh_coffea.figures.looks.palette import BACKGROUNDS, SIGNALS
from hhh_coffea.figures.looks.style import BAND, NAMES, STATISTICAL, Writer
from hhh_coffea.figures.spectra import between_all, coarseness, effective, merged, say_what_is_beyond, well_filled
from hhh_coffea.reconstruction.observables import EVERYWHERE
from hhh_coffea.results.event_observables import PREFIX, is_of_couplings
from hhh_coffea.results.observables import values_of

FloatArray = npt.NDArray[np.float64]
RANKS = ("leading", "second", "third", "fourth")
DEFINITION = "default"
MOST_PARTS = 4  # bins that the narrowest one may have been joined of
LEGEND = 0.55  # of the height that the spectra take, on a logarithmic axis, above them
SMALLEST = 1e-4  # of the largest bin: what is below is not worth an axis that shows nothing else


def draw(
    write: Writer,
    histograms: Mapping[str, Hist],
    datasets: Mapping[str, Mapping[str, Any]],
    scales: Mapping[str, float],
) -> None:
    """Masses of the candidates of each method by their order in pT, of all datasets that are selected alike.

    Parameters
    ----------
    scales
        expected events per unit of weight (:func:`hhh_coffea.results.expected_events.scales`)
    """
    masses = histograms["ranked_mass"]
    definitions = values_of(masses, "definition")
    if not definitions:
        return
    definition = DEFINITION if DEFINITION in definitions else definitions[0]
    for analysis, names in selected_alike(datasets).items():
        filled = [name for name in names if name in values_of(masses, "dataset")]
        if len(filled) < 2:
            continue
        for rank in range(min(int(datasets[names[0]]["particles"]), len(RANKS))):
            place = {"definition": hist.loc(definition), "rank": rank, "correct": sum}
            figures = {
                (
                    f"stack_{analysis}_mass_{rank + 1}_{method.replace(':', '_')}",
                    f"{RANKS[rank].capitalize()} candidate, {NAMES.get(method, method)}",
                ): {name: masses[{**place, "method": hist.loc(method), "dataset": hist.loc(name)}] for name in filled}
                for method in values_of(masses, "method")
            }
            _figures(write, figures, datasets, scales)


def draw_observables(
    write: Writer,
    histograms: Mapping[str, Hist],
    datasets: Mapping[str, Mapping[str, Any]],
    scales: Mapping[str, float],
) -> set[str]:
    """Observables that a user declared, in every region and of every method; returns the names of their histograms.

    Without ``scales`` nothing is drawn: datasets cannot be compared.
    """
    drawn = {name for name in histograms if name.startswith(PREFIX)}
    for name in sorted(drawn):
        if is_of_couplings(name) or not scales:
            continue
        values = histograms[name]
        for analysis, names in selected_alike(datasets).items():
            filled = [dataset for dataset in names if dataset in values_of(values, "dataset")]
            if len(filled) < 2:
                continue
            for region in values_of(values, "region"):
                figures = {}
                for method in values_of(values, "method"):
                    title = ", ".join([NAMES.get(method, method), *([] if region == EVERYWHERE else [region])])
                    parts = (analysis, name.removeprefix(PREFIX), region, method.replace(":", "_"))
                    place = {"region": hist.loc(region), "method": hist.loc(method)}
                    figures[f"stack_{'_'.join(parts)}", title] = {
                        dataset: values[{**place, "dataset": hist.loc(dataset)}] for dataset in filled
                    }
                _figures(write, figures, datasets, scales)
    return drawn


def selected_alike(datasets: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """Datasets by their analysis: only within one their events can be added up. Of samples at other couplings there are none."""
    found: dict[str, list[str]] = {}
    for name, info in datasets.items():
        usual = zip(
            info.get("coupling_point", {}).values(), info.get("couplings", {}).get("reference", ()), strict=False
        )
        if all(value == reference for value, reference in usual):
            found.setdefault(str(info["analysis"]), []).append(name)
    return found


def _figures(
    write: Writer,
    figures: Mapping[tuple[str, str], Mapping[str, Hist]],
    datasets: Mapping[str, Mapping[str, Any]],
    scales: Mapping[str, float],
) -> None:
    """Figures of one kind by their name and title, with spectra by dataset: their axis and bins are the same."""
    expected = {
        place: sum(h * scales[dataset] for dataset, h in spectra.items() if dataset in scales)
        for place, spectra in figures.items()
        if any(dataset in scales for dataset in spectra) and sum(h.values().sum() for h in spectra.values()) > 0
    }
    filled = [spectrum for spectrum in expected.values() if spectrum.values().sum() > 0]
    if not filled:
        return
    factor, shown = coarseness(filled), between_all(filled)
    for (name, title), total in expected.items():
        coarse = {dataset: h[:: hist.rebin(factor)] for dataset, h in figures[name, title].items()}
        _figure(write, name, title, coarse, datasets, scales, total, shown)


def _figure(
    write: Writer,
    name: str,
    title: str,
    spectra: Mapping[str, Hist],
    datasets: Mapping[str, Mapping[str, Any]],
    scales: Mapping[str, float],
    total: Hist,
    shown: tuple[float, float],
) -> None:
    """``total`` is the sum of the expected events in the finest bins, ``shown`` the range of the axis."""
    axis_of_bins = next(iter(spectra.values())).axes[0]
    simulated = {d: h for d, h in spectra.items() if d in scales}
    borders = _borders(simulated, datasets, scales)
    edges = axis_of_bins.edges[borders]
    labels = {dataset: str(datasets[dataset]["label"]) for dataset in spectra}
    processes = {labels[d]: merged(h.values() * scales[d], borders) for d, h in simulated.items()}
    variances = np.sum([h.variances() * scales[d] ** 2 for d, h in simulated.items()], axis=0)
    error = np.sqrt(merged(variances, borders))
    data = [merged(h.values(), borders) for d, h in spectra.items() if d not in scales]
    signals = {labels[d] for d in simulated if datasets[d]["is_signal"]}
    sums = np.sum(list(processes.values()), axis=0)
    rows: dict[str, Any] = {}
    if data:
        rows = {"rows": 2, "height": 12, "sharex": True, "gridspec_kw": {"height_ratios": [3, 1]}}
    with write.figure(name, "", **rows) as axes:
        upper, lowest = axes[0], axes[-1]
        stack(upper, edges, processes, signals)
        band(upper, edges, sums, error, STATISTICAL)
        signal_shape(upper, edges, processes, signals)
        if data:
            ratio_panel(upper, lowest, edges, sums, error, np.sum(data, axis=0))
        logarithmic(upper, edges, sums)
        lowest.set(xlabel=axis_of_bins.label, xlim=shown)
        say_what_is_beyond(upper, total)
        upper.set_ylabel(per_width(edges, axis_of_bins.label))
        upper.legend(title=title, loc="upper right", ncols=2, fontsize=20, title_fontsize=20)


def _borders(
    simulated: Mapping[str, Hist], datasets: Mapping[str, Mapping[str, Any]], scales: Mapping[str, float]
) -> npt.NDArray[np.int64]:
    """Borders of bins in which signals and backgrounds, each by themselves, have entries enough."""
    groups = [[d for d in simulated if datasets[d]["is_signal"] == wanted] for wanted in (True, False)]
    sums = [sum(simulated[d] * scales[d] for d in group) for group in groups if group]
    return well_filled(*(effective(one.values(), one.variances()) for one in sums))


def ratio_panel(
    upper: Axes, ratio: Axes, edges: FloatArray, total: FloatArray, error: FloatArray, data: FloatArray
) -> None:
    """Data as points with √n above, and below what they are relative to the sum of the processes."""
    points(upper, edges, data, np.sqrt(data), "data")
    some = total > 0
    below = np.where(some, total, 1.0)
    points(ratio, edges, np.where(some, data / below, np.nan), np.sqrt(data) / below)
    band(ratio, edges, np.ones(len(total)), np.where(some, error / below, 0.0))
    ratio.axhline(1, color="black", linewidth=1)
    distance = ((np.abs(data - total) + np.sqrt(data)) / below)[some & (data > 0)]
    reach = float(np.clip(1.2 * np.max(distance, initial=0.05), 0.05, 1.0))
    ratio.set_ylim(1 - reach, 1 + reach)
    ratio.set_ylabel("data / sum", loc="center")


def stack(axis: Axes, edges: FloatArray, processes: Mapping[str, FloatArray], signals: Collection[str]) -> None:
    """Events per width, smallest at the bottom, signals on top, each with an area of its own.

    The colour of a process depends on its place among ``processes`` alone: it is the same for every method and observable.
    """
    widths, colors = np.diff(edges) / _unit(edges), colors_of(processes, signals)
    order = sorted(processes, key=lambda p: (p in signals, processes[p].sum()))
    below = np.zeros(len(widths))
    for process in order:
        above = below + processes[process] / widths
        axis.stairs(above, edges, baseline=below, fill=True, color=colors[process], label=process)
        below = above


def signal_shape(axis: Axes, edges: FloatArray, processes: Mapping[str, FloatArray], signals: Collection[str]) -> None:
    """All signals by themselves, multiplied to the largest bin of the background; the factor is in the legend."""
    widths = np.diff(edges) / _unit(edges)
    signal, background = (
        np.sum([np.zeros(len(widths)), *(v for p, v in processes.items() if (p in signals) == wanted)], axis=0) / widths
        for wanted in (True, False)
    )
    if not (signal > 0).any() or not (background > 0).any():
        return
    rounded = float(f"{background.max() / signal.max():.1g}")
    if rounded > 1:
        text = f"{rounded:,.0f}" if rounded < 1e5 else f"$10^{{{np.log10(rounded):.0f}}}$"
        factor = rounded if rounded < 1e5 else 10 ** np.round(np.log10(rounded))
        name = next(iter(signals)) if len(signals) == 1 else "signals"
        axis.stairs(signal * factor, edges, color=SIGNALS[0], linewidth=3, label=f"{name} × {text}")


def band(axis: Axes, edges: FloatArray, middle: FloatArray, error: FloatArray, label: str | None = None) -> None:
    """Uncertainty of a sum; events are divided by the width of the bin unless ``middle`` is a ratio."""
    widths = 1.0 if label is None else np.diff(edges) / _unit(edges)
    axis.stairs((middle + error) / widths, edges, baseline=(middle - error) / widths, label=label, **BAND)


def points(axis: Axes, edges: FloatArray, values: FloatArray, errors: FloatArray, label: str | None = None) -> None:
    """Data; events are divided by the width of the bin unless they are a ratio, which has no label."""
    widths = 1.0 if label is None else np.diff(edges) / _unit(edges)
    centres = (edges[:-1] + edges[1:]) / 2
    axis.errorbar(centres, values / widths, errors / widths, fmt="o", color="black", markersize=7, label=label)


def logarithmic(axis: Axes, edges: FloatArray, total: FloatArray) -> None:
    """Room for the legend above, and for small bins below."""
    heights = total * _unit(edges) / np.diff(edges)
    axis.set_yscale("log")
    if (heights > 0).any():
        high = float(heights.max())
        low = 0.3 * float(heights[heights > SMALLEST * high].min())
        axis.set_ylim(low, high * (high / low) ** LEGEND)


def per_width(edges: FloatArray, label: str) -> str:
    """Label of the axis of events: those in a bin before any were joined, or in a unit where bins are no multiples of one."""
    unit = label.rpartition("[")[2].removesuffix("]") if label.endswith("]") else ""
    if _unit(edges) != 1.0:
        return f"Events / {_unit(edges):g} {unit}".rstrip()
    if (np.diff(edges) == 1).all() and not unit:
        return "Events"
    return f"Events / {unit or 'bin width'}"


def _unit(edges: FloatArray) -> float:
    """The width that events are given for: that of the bins which these were joined of, as far as it can be seen, else 1."""
    widths = np.diff(edges)
    for parts in range(1, MOST_PARTS + 1):
        multiples = parts * widths / widths.min()
        if np.allclose(multiples, np.round(multiples)):
            return float(widths.min() / parts)
    return 1.0


def colors_of(processes: Collection[str], signals: Collection[str]) -> dict[str, str]:
    """Colour of each process: signals and backgrounds have sequences of their own."""
    own = {True: itertools.cycle(SIGNALS), False: itertools.cycle(BACKGROUNDS)}
    return {process: next(own[process in signals]) for process in processes}
