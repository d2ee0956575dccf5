"""Figures of a fit: expected and observed events before and after it, pulls, the likelihood of the signal strength."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from hhh_coffea.figures.style import PALETTE, Writer
from hhh_coffea.inference.fit import FitResult
from hhh_coffea.inference.scans import LEVELS
from hhh_coffea.inference.templates import FloatArray
from hhh_coffea.inference.yields import RegionYields

BAND: dict[str, Any] = {"fill": True, "color": "black", "alpha": 0.25, "linewidth": 0}
SIGNAL = "#bd1f01"
PULLS_IN_A_FIGURE = 30
CONTENT = {"prefit": "before the fit", "postfit": "after the fit"}


def draw_fit(write: Writer, result: FitResult, folder: str = "fit") -> None:
    """Draw all figures of a fit below ``folder``; Asimov data have no figure after the fit, which changes nothing."""
    stages = ("prefit", "postfit") if result.options.unblind else ("prefit",)
    for stage in stages:
        yields: dict[str, RegionYields] = getattr(result, stage)
        for region in yields:
            draw_region(write, f"{folder}/{stage}_{region}", result, region, stage)
    if result.pulls:
        draw_pulls(write, f"{folder}/pulls", result)
    if result.scan is not None:
        draw_scan(write, f"{folder}/scan_mu", result)


def luminosity_label(luminosity: float | None) -> str:
    """What stands on the right above the axes."""
    if luminosity is None:
        return ""
    return f"{luminosity:g} fb$^{{-1}}$" if luminosity < 1000 else f"{luminosity / 1000:g} ab$^{{-1}}$"


def draw_region(write: Writer, name: str, result: FitResult, region: str, stage: str) -> None:
    """Stack of the backgrounds with the signal on top, the uncertainty of their sum, data, and the ratio to the sum.

    The signal is also drawn by itself, scaled to the largest bin of the background, in the proportion of its legend.
    """
    yields: RegionYields = getattr(result, stage)[region]
    signals = set(result.templates.signals)
    observed = result.options.unblind
    edges, widths = yields.edges, np.diff(yields.edges)
    total = np.sum(list(yields.processes.values()), axis=0)
    layout: dict[str, Any] = {"height": 12, "sharex": True, "gridspec_kw": {"height_ratios": [3, 1]}}
    with write.figure(name, luminosity_label(result.templates.luminosity), rows=2, **layout) as axes:
        upper, ratio = axes
        _stack(upper, yields, signals)
        _band(upper, edges, total / widths, yields.error / widths, "uncertainty")
        _signal_shape(upper, yields, signals)
        if observed:
            _points(upper, edges, yields.data / widths, np.sqrt(yields.data) / widths, label="data")
            _points(ratio, edges, yields.data / total, np.sqrt(yields.data) / total)
        background = np.sum([v for p, v in yields.processes.items() if p not in signals], axis=0)
        if not observed:
            ratio.stairs(total / background, edges, baseline=None, color=SIGNAL, linewidth=2)
        _band(ratio, edges, np.ones(len(total)), yields.error / total)
        ratio.axhline(1, color="black", linewidth=1)
        reach = 1.3 * max(
            float((yields.error / total).max()), _largest_ratio(yields, total, background, observed), 0.02
        )
        ratio.set(xlabel=yields.label or "observable", xlim=(edges[0], edges[-1]), ylim=(1 - reach, 1 + reach))
        ratio.set_ylabel("data / sum" if observed else "(s + b) / b", loc="center")
        high = float((total / widths).max())
        upper.set_yscale("log")
        positive = (total / widths)[total > 0]
        upper.set(ylabel=_per_width(yields), ylim=(0.02 * float(positive.min()), 100 * high))
        title = f"{region}, {CONTENT[stage]}" if observed else f"{region}, expected"
        upper.legend(title=title, loc="upper right", ncols=2)


def draw_pulls(write: Writer, name: str, result: FitResult) -> None:
    """Each nuisance parameter after the fit, in units of its error before; the largest pulls and constraints first."""
    shown = sorted(result.pulls, key=lambda p: (-abs(p.pull), p.constraint))[:PULLS_IN_A_FIGURE][::-1]
    place = np.arange(len(shown))
    height = max(6.0, 2.5 + 0.4 * len(shown))
    with write.figure(name, luminosity_label(result.templates.luminosity), height=height) as axes:
        (axis,) = axes
        axis.figure.subplots_adjust(left=0.45)
        axis.axvspan(-2, 2, color="#f5e27a", linewidth=0)
        axis.axvspan(-1, 1, color="#8fd18a", linewidth=0)
        axis.errorbar([p.pull for p in shown], place, xerr=[p.constraint for p in shown], fmt="o", color="black")
        axis.set_yticks(place, [p.name for p in shown], fontsize=14)
        axis.tick_params(axis="y", which="minor", left=False, right=False)
        left_out = len(result.pulls) - len(shown)
        notes = [] if result.options.unblind else ["Asimov data"]
        notes += [f"{left_out} smaller ones not shown"] if left_out else []
        axis.text(0.98, 0.01, ", ".join(notes), transform=axis.transAxes, ha="right", va="bottom", fontsize=16)
        axis.set(xlabel="(fitted − nominal) / error before the fit", xlim=(-3, 3), ylim=(-1.6, len(shown)))


def draw_scan(write: Writer, name: str, result: FitResult) -> None:
    """−2Δ ln L over the signal strength, with its 68% and 95% levels."""
    assert result.scan is not None
    fit = result.best_fit
    with write.figure(name, luminosity_label(result.templates.luminosity)) as axes:
        (axis,) = axes
        axis.plot(result.scan.mu, result.scan.twice_delta_nll, color=PALETTE[0], linewidth=3)
        for level, value in LEVELS[1].items():
            axis.axhline(value, color="grey", linestyle="--", linewidth=1)
            axis.annotate(level, (result.scan.mu[-1], value), ha="right", va="bottom", fontsize=18)
        errors = f"\\pm {fit.mu_error:.3g}"
        if fit.mu_errors is not None:
            errors = f"^{{+{fit.mu_errors[1]:.3g}}}_{{{fit.mu_errors[0]:.3g}}}"
        kind = "data" if result.options.unblind else "Asimov data"
        text = f"$\\mu = {fit.mu:.3g} {errors}$ ({kind})"
        axis.text(0.5, 0.95, text, transform=axis.transAxes, ha="center", va="top", fontsize=26)
        axis.set(xlabel="Signal strength $\\mu$", ylabel="$-2\\,\\Delta\\ln L$", ylim=(0, None))
        axis.set_xlim(result.scan.mu[0], result.scan.mu[-1])


def _per_width(yields: RegionYields) -> str:
    """Events divided by the width of the bin, in the unit that the label of the axis ends with."""
    if (np.diff(yields.edges) == 1).all():
        return "Events"
    unit = yields.label.rpartition("[")[2].removesuffix("]") if yields.label.endswith("]") else "bin width"
    return f"Events / {unit}"


def _stack(axis: Axes, yields: RegionYields, signals: set[str]) -> None:
    """Smallest at the bottom, signals on top, each with an area of its own."""
    order = sorted(yields.processes, key=lambda p: (p in signals, yields.processes[p].sum()))
    below, widths = np.zeros(len(yields.edges) - 1), np.diff(yields.edges)
    colors = iter(color for color in PALETTE if color != SIGNAL)
    for number, process in enumerate(order):
        above = below + yields.processes[process] / widths
        color = SIGNAL if process in signals and number == len(order) - 1 else next(colors)
        axis.stairs(above, yields.edges, baseline=below, fill=True, color=color, label=process)
        below = above


def _signal_shape(axis: Axes, yields: RegionYields, signals: set[str]) -> None:
    widths = np.diff(yields.edges)
    signal = np.sum([v for p, v in yields.processes.items() if p in signals], axis=0) / widths
    background = np.sum([v for p, v in yields.processes.items() if p not in signals], axis=0) / widths
    if not np.any(signal > 0):
        return
    factor = background.max() / signal.max()
    rounded = float(f"{factor:.1g}")
    if rounded > 1:
        axis.stairs(signal * rounded, yields.edges, color=SIGNAL, linewidth=3, label=f"signal × {rounded:,.0f}")


def _band(axis: Axes, edges: FloatArray, middle: FloatArray, error: FloatArray, label: str | None = None) -> None:
    axis.stairs(middle + error, edges, baseline=middle - error, label=label, **BAND)


def _points(axis: Axes, edges: FloatArray, values: FloatArray, errors: FloatArray, label: str | None = None) -> None:
    axis.errorbar((edges[:-1] + edges[1:]) / 2, values, errors, fmt="o", color="black", markersize=7, label=label)


def _largest_ratio(yields: RegionYields, total: FloatArray, background: FloatArray, observed: bool) -> float:
    """How far from 1 the ratio goes."""
    if not observed:
        return float(np.abs(total / background - 1).max())
    return float((np.abs(yields.data - total) + np.sqrt(yields.data)).max(initial=0, where=total > 0) / total.max())
