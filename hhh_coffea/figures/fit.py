"""Figures of a fit: expected and observed events before and after it, pulls, the likelihood of the signal strength."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hhh_coffea.figures.stack import SIGNAL, band, logarithmic, per_width, ratio_panel, signal_shape, stack
from hhh_coffea.figures.style import PALETTE, Writer
from hhh_coffea.inference.fit import FitResult
from hhh_coffea.inference.scans import LEVELS
from hhh_coffea.inference.yields import RegionYields

PULLS_IN_A_FIGURE = 30
CONTENT = {"prefit": "before the fit", "postfit": "after the fit"}


def draw_fit(write: Writer, result: FitResult, folder: str = "fit", names: Mapping[str, str] | None = None) -> None:
    """Draw all figures of a fit below ``folder``; Asimov data have no figure after the fit, which changes nothing.

    ``names`` are legend entries of processes that are not to be called as in the templates.
    """
    stages = ("prefit", "postfit") if result.options.unblind else ("prefit",)
    for stage in stages:
        yields: dict[str, RegionYields] = getattr(result, stage)
        for region in yields:
            draw_region(write, f"{folder}/{stage}_{region}", result, region, stage, names or {})
    if result.pulls:
        draw_pulls(write, f"{folder}/pulls", result)
    if result.scan is not None:
        draw_scan(write, f"{folder}/scan_mu", result)


def draw_region(write: Writer, name: str, result: FitResult, region: str, stage: str, names: Mapping[str, str]) -> None:
    """Stack of the backgrounds with the signal on top, the uncertainty of their sum, data, and the ratio to the sum.

    The signal is also drawn by itself, multiplied to the largest bin of the background. Without data the ratio shows what
    the signal adds to the background.
    """
    yields: RegionYields = getattr(result, stage)[region]
    processes = {names.get(process, process): values for process, values in yields.processes.items()}
    signals = {names.get(process, process) for process in result.templates.signals}
    observed = result.options.unblind
    edges, total = yields.edges, np.sum(list(processes.values()), axis=0)
    layout: dict[str, Any] = {"height": 12, "sharex": True, "gridspec_kw": {"height_ratios": [3, 1]}}
    with write.figure(name, "", rows=2, **layout) as axes:
        upper, ratio = axes
        stack(upper, edges, processes, signals)
        band(upper, edges, total, yields.error, "uncertainty")
        signal_shape(upper, edges, processes, signals)
        if observed:
            ratio_panel(upper, ratio, edges, total, yields.error, yields.data)
        else:
            background = np.sum([v for p, v in processes.items() if p not in signals], axis=0)
            ratio.stairs(total / background, edges, baseline=None, color=SIGNAL, linewidth=2)
            band(ratio, edges, np.ones(len(total)), yields.error / total)
            ratio.axhline(1, color="black", linewidth=1)
            reach = 1.3 * max(float((yields.error / total).max()), float(np.abs(total / background - 1).max()), 0.02)
            ratio.set_ylim(1 - reach, 1 + reach)
            ratio.set_ylabel("(s + b) / b", loc="center")
        ratio.set(xlabel=yields.label or "observable", xlim=(edges[0], edges[-1]))
        logarithmic(upper, edges, total)
        upper.set_ylabel(per_width(edges, yields.label))
        title = f"{region}, {CONTENT[stage]}" if observed else f"{region}, expected"
        upper.legend(title=title, loc="upper right", ncols=2, fontsize=20, title_fontsize=20)


def draw_pulls(write: Writer, name: str, result: FitResult) -> None:
    """Each nuisance parameter after the fit, in units of its error before; the largest pulls and constraints first."""
    shown = sorted(result.pulls, key=lambda p: (-abs(p.pull), p.constraint))[:PULLS_IN_A_FIGURE][::-1]
    place = np.arange(len(shown))
    height = max(6.0, 2.5 + 0.4 * len(shown))
    with write.figure(name, "", height=height) as axes:
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
    with write.figure(name, "") as axes:
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
