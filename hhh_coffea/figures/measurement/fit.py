"""Figures of a fit: expected and observed events before and after it, pulls, the likelihood of the signal strength."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.ticker import FuncFormatter, MaxNLocator

from hhh_coffea.figures.looks.palette import INNER, OUTER, SIGNALS
from hhh_coffea.figures.looks.style import NAMES, Writer, color_of, styles_of
from hhh_coffea.figures.measurement.stack import band, logarithmic, per_width, ratio_panel, signal_shape, stack
from hhh_coffea.inference.couplings.scans import LEVELS
from hhh_coffea.inference.fit import FitResult
from hhh_coffea.inference.table import number
from hhh_coffea.inference.yields import RegionYields

PULLS_IN_A_FIGURE = 30
CONTENT = {"prefit": "before the fit", "postfit": "after the fit"}


def draw_fit(
    write: Writer,
    result: FitResult,
    folder: str = "fit",
    names: Mapping[str, str] | None = None,
    method: str = "",
) -> None:
    """Draw all figures of a fit below ``folder``; Asimov data have no figure after the fit, which changes nothing.

    ``names`` are legend entries of processes that are not to be called as in the templates. The name of the ``method`` stands
    in the legend, and the likelihood has its colour.
    """
    title, color = NAMES.get(method, method), color_of(method) if method else "black"
    stages = ("prefit", "postfit") if result.options.unblind else ("prefit",)
    for stage in stages:
        yields: dict[str, RegionYields] = getattr(result, stage)
        for region in yields:
            parts = [title, region if len(yields) > 1 else "", CONTENT[stage] if result.options.unblind else "expected"]
            draw_region(
                write, f"{folder}/{stage}_{region}", result, region, stage, names or {}, ", ".join(filter(None, parts))
            )
    if result.pulls:
        draw_pulls(write, f"{folder}/pulls", result, names or {}, title)
    if result.scan is not None:
        draw_scan(write, f"{folder}/scan_mu", result, title, color)


def draw_region(
    write: Writer, name: str, result: FitResult, region: str, stage: str, names: Mapping[str, str], title: str
) -> None:
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
            ratio.stairs(total / background, edges, baseline=None, color=SIGNALS[0], linewidth=2)
            band(ratio, edges, np.ones(len(total)), yields.error / total)
            ratio.axhline(1, color="black", linewidth=1)
            reach = 1.3 * max(float((yields.error / total).max()), float(np.abs(total / background - 1).max()), 0.02)
            ratio.set_ylim(1 - reach, 1 + reach)
            ratio.set_ylabel("(s + b) / b", loc="center")
        ratio.set(xlabel=yields.label or "observable", xlim=(edges[0], edges[-1]))
        logarithmic(upper, edges, total)
        upper.set_ylabel(per_width(edges, yields.label))
        upper.legend(title=title, loc="upper right", ncols=2, fontsize=20, title_fontsize=20)


def draw_methods(write: Writer, name: str, results: Mapping[str, FitResult]) -> None:
    """Limit on μ of each method: the median with 68% and 95% of experiments; the significance is written beside it."""
    styles = styles_of(list(results))
    place = np.arange(len(results))[::-1]
    with write.figure(name, "", height=max(5.0, 3.0 + 1.3 * len(results))) as axes:
        (axis,) = axes
        axis.figure.subplots_adjust(left=0.24)
        for y, result in zip(place, results.values(), strict=True):
            low2, low1, median, high1, high2 = result.limits.expected
            outer, inner = (
                {"color": OUTER, "label": "95% of experiments"},
                {"color": INNER, "label": "68% of experiments"},
            )
            last = {"label": None} if y != place[0] else {}
            axis.barh(y, high2 - low2, left=low2, height=0.5, **{**outer, **last})
            axis.barh(y, high1 - low1, left=low1, height=0.5, **{**inner, **last})
            axis.plot([median, median], [y - 0.25, y + 0.25], color="black", linewidth=3, linestyle="--")
            if result.limits.observed is not None:
                axis.plot(result.limits.observed, y, marker="o", color="black", markersize=11, linestyle="none")
            text = f"median limit ${_digits(median)}$, significance ${_digits(result.significance)}\\,\\sigma$"
            axis.text(low2, y + 0.29, text, ha="left", va="bottom", fontsize=17)
        axis.set_yticks(place, [str(styles[method]["label"]) for method in results])
        axis.tick_params(axis="y", which="both", left=False, right=False)
        axis.minorticks_on()
        axis.tick_params(axis="y", which="minor", left=False, right=False)
        level = 100 * next(iter(results.values())).limits.level
        high = max(result.limits.expected[-1] for result in results.values())
        axis.set(xlim=(0, 1.08 * high), ylim=(-0.6, len(results) + 0.2))
        axis.set_xlabel(f"{level:g}% CL$_s$ upper limit on the signal strength $\\mu$")
        axis.xaxis.set_major_locator(MaxNLocator(5))
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
        axis.legend(loc="upper right", ncols=2, fontsize=18)


def draw_pulls(write: Writer, name: str, result: FitResult, names: Mapping[str, str], method: str = "") -> None:
    """Each nuisance parameter after the fit, in units of its error before, in the order of the model.

    Of very many, those with the largest pulls and constraints.
    """
    largest = sorted(result.pulls, key=lambda p: (-round(abs(p.pull), 3), p.constraint))[:PULLS_IN_A_FIGURE]
    shown = [pull for pull in result.pulls if pull in largest][::-1]  # from below
    place = np.arange(len(shown))
    height = max(6.0, 2.5 + 0.4 * len(shown))
    with write.figure(name, "", height=height) as axes:
        (axis,) = axes
        texts = [_in_words(p.name, result, names) for p in shown]
        axis.figure.subplots_adjust(left=float(np.clip(0.1 + 0.014 * max(map(len, texts)), 0.2, 0.5)))
        axis.axvspan(-2, 2, color=OUTER, linewidth=0)
        axis.axvspan(-1, 1, color=INNER, linewidth=0)
        axis.errorbar([p.pull for p in shown], place, xerr=[p.constraint for p in shown], fmt="o", color="black")
        axis.set_yticks(place, texts, fontsize=18 if len(shown) < 15 else 14)
        axis.tick_params(axis="y", which="minor", left=False, right=False)
        left_out = len(result.pulls) - len(shown)
        notes = [method] if method else []
        notes += [] if result.options.unblind else ["Asimov data"]
        notes += [f"{left_out} smaller ones not shown"] if left_out else []
        box = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none"}
        axis.text(0.98, 0.96, ", ".join(notes), transform=axis.transAxes, ha="right", va="top", fontsize=18, bbox=box)
        axis.set(xlabel="(fitted − nominal) / uncertainty before the fit", xlim=(-3, 3))
        axis.set_ylim(-0.7, len(shown) - 0.3 + 0.7 * len(shown) / (height - 2.5))  # with room for the text


def _in_words(parameter: str, result: FitResult, names: Mapping[str, str]) -> str:
    """Parameters of single bins by process, region and number of the bin, from 1; others as they are called in the model."""
    stem, bracket, number_of_bin = parameter.rstrip("]").partition("[")
    if not bracket:
        return parameter.replace("_", " ")
    regions = [region.name for region in result.templates.regions]
    for region in regions:
        where = f"{region}, " if len(regions) > 1 else ""
        if stem == f"mc_statistics_{region}":
            return f"simulation, {where}bin {int(number_of_bin) + 1}"
        for process in result.templates.processes:
            if stem == f"uncorrelated_{region}_{process}":
                return f"{names.get(process, process)}, {where}bin {int(number_of_bin) + 1}"
    return parameter


def draw_scan(write: Writer, name: str, result: FitResult, method: str = "", color: str = "black") -> None:
    """−2Δ ln L over the signal strength, with its 68% and 95% levels."""
    assert result.scan is not None
    fit = result.best_fit
    with write.figure(name, "") as axes:
        (axis,) = axes
        axis.plot(result.scan.mu, result.scan.twice_delta_nll, color=color, linewidth=3)
        for level, value in LEVELS[1].items():
            axis.axhline(value, color="grey", linestyle="--", linewidth=1)
            axis.annotate(
                level,
                (result.scan.mu[-1], value),
                xytext=(-6, 2),
                textcoords="offset points",
                ha="right",
                va="bottom",
                fontsize=18,
            )
        low, high = fit.mu_errors or (-fit.mu_error, fit.mu_error)
        errors = f"^{{+{_digits(high)}}}_{{−{_digits(-low)}}}"
        kind = "data" if result.options.unblind else "Asimov data"
        text = f"{method}: " * bool(method) + f"$\\mu = {_digits(fit.mu)}{errors}$ ({kind})"
        axis.text(0.04, 0.95, text, transform=axis.transAxes, ha="left", va="top", fontsize=24)
        if result.scan.mu[0] == 0:
            note = "drawn for $\\mu \\geq 0$, where the signal adds events"
            axis.text(0.04, 0.85, note, transform=axis.transAxes, ha="left", va="top", fontsize=20)
        axis.set(xlabel="Signal strength $\\mu$", ylabel="$-2\\,\\Delta\\ln L$", ylim=(0, None))
        axis.set_xlim(result.scan.mu[0], result.scan.mu[-1])
        axis.xaxis.set_major_locator(MaxNLocator(5))
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))


def _digits(value: float) -> str:
    """A number for mathematical text, where a comma would be followed by a gap."""
    mantissa, _, exponent = number(value).partition("e")
    power = f"\\times 10^{{{int(exponent)}}}" if exponent else ""
    return mantissa.replace(",", "{,}") + power
