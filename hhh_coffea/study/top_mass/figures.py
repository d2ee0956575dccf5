"""Figures of the study: expected ellipses, templates, cuts, calibration, and the measured masses."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hhh_coffea.figures.looks.palette import SEQUENCE
from hhh_coffea.figures.looks.style import METHOD_STYLES, NAMES, Writer
from hhh_coffea.inference.top_mass.mass_fit import Histograms, ellipse
from hhh_coffea.inference.top_mass.mass_model import EDGES, MassModel
from hhh_coffea.inference.top_mass.mass_shapes import CENTRAL_MASS
from hhh_coffea.study.reconstructed import PERFECT

CATEGORY_COLORS = {"incorrect": "#94a4a2", "unmatched": "#dcdcdc"}  # correct ones have the colour of their method
LEVELS = {1.0: 3.0, 9.0: 1.5}  # of −2 ln L above its minimum, and the width of the line
AXES = {"top": "Mass of $t_H$ [GeV]", "w": "Mass of the $W$ of $t_H$ [GeV]"}


def name_of(method: str) -> str:
    """How tables and legends call a method."""
    return "true assignment" if method == PERFECT else NAMES.get(method, method)


def color_of(method: str) -> str:
    """Its colour in every figure."""
    return "black" if method == PERFECT else METHOD_STYLES[method][0]


def draw_ellipses(write: Writer, found: Mapping[str, Mapping[str, Any]], title: str) -> Path:
    """Contours Δ(−2 ln L) = 1 and 9 of every method, with points of MINOS on the inner one."""
    with write.figure("ellipses", "") as (axis,):
        for method, entry in found.items():
            covariance = np.array(entry["expected"]["covariance"])
            error, spread = entry["expected"]["top_mass_error"]
            for level, width in LEVELS.items():
                curve = ellipse(covariance, level)
                label = f"{name_of(method)}: {error:.4f} ± {spread:.4f} GeV" if level == 1 else None
                axis.plot(
                    CENTRAL_MASS + curve[:, 0], 1 + curve[:, 1], color=color_of(method), linewidth=width, label=label
                )
            minos = np.array(entry["expected"]["minos"])
            axis.plot(minos[:, 0], minos[:, 1], "o", color=color_of(method), markersize=4)
        for level, width in LEVELS.items():
            axis.plot([], [], color="0.4", linewidth=width, label=f"$\\Delta(-2\\ln L) = {level:g}$")
        axis.plot([], [], "o", color="0.4", markersize=4, label=f"MINOS, $\\Delta(-2\\ln L) = {min(LEVELS):g}$")
        axis.set(xlabel="$m_t$ [GeV]", ylabel="JSF")
        axis.ticklabel_format(useOffset=False)
        low, high = axis.get_ylim()
        axis.set_ylim(low, high + 0.8 * (high - low))
        axis.legend(title=title, fontsize=18, title_fontsize=18, loc="upper left")
    return write.written[-1].with_suffix(".png")


def draw_fit(write: Writer, method: str, model: MassModel, at: tuple[float, float], data: Histograms) -> Path:
    """Data and the sum of the templates, by category, of both observables."""
    share = model.share(*at)
    own = color_of(method) if method != PERFECT else SEQUENCE[1]  # black is for data
    with write.figure(f"data_{method}", "", columns=2, rows=2, height=12, sharex="col", height_ratios=[3, 1]) as axes:
        for column, (observable, edges) in enumerate(EDGES.items()):
            upper, lower = axes[column], axes[2 + column]
            counts = data[observable]
            total, below = counts.sum(), np.zeros(len(counts))
            for i, category in enumerate(model.categories):
                part = total * share[i] * model.shapes[category][observable](*at)
                color = CATEGORY_COLORS.get(category, own)
                upper.stairs(below + part, edges, baseline=below, fill=True, color=color, label=category)
                below = below + part
            middle = (edges[:-1] + edges[1:]) / 2
            upper.errorbar(middle, counts, yerr=np.sqrt(counts), fmt="o", color="black", markersize=4, label="data")
            pull = (counts - below) / np.sqrt(np.maximum(below, 1e-9))
            lower.plot(middle, pull, "o", color="black", markersize=4)
            lower.axhline(0, color="black", linewidth=1)
            upper.set(ylabel="Events / GeV", ylim=(0, 1.35 * max(counts.max(), below.max())))
            lower.set(xlabel=AXES[observable], ylabel="Pull", ylim=(-4.5, 4.5), xlim=(edges[0], edges[-1]))
            upper.legend(fontsize=18, title=name_of(method), title_fontsize=18)
    return write.written[-1].with_suffix(".png")


def draw_dependence(write: Writer, method: str, model: MassModel) -> Path:
    """How the templates of all events change with m_t and with the JSF."""
    points = {
        "$m_t$ = 170 GeV": (170.0, 1.0, SEQUENCE[0], "-"),
        "$m_t$ = 173 GeV": (173.0, 1.0, "black", "-"),
        "$m_t$ = 176 GeV": (176.0, 1.0, SEQUENCE[2], "-"),
        "JSF = 0.96": (173.0, 0.96, SEQUENCE[0], "--"),
        "JSF = 1.04": (173.0, 1.04, SEQUENCE[2], "--"),
    }
    with write.figure(f"templates_{method}", "", columns=2, height=9) as axes:
        for axis, (observable, edges) in zip(axes, EDGES.items(), strict=True):
            for label, (mass, jsf, color, line) in points.items():
                axis.stairs(model(mass, jsf)[observable], edges, color=color, linestyle=line, linewidth=2, label=label)
            axis.set(xlabel=AXES[observable], ylabel="Probability / GeV", ylim=(0, None), xlim=(edges[0], edges[-1]))
            axis.legend(fontsize=18, title=name_of(method), title_fontsize=18)
    return write.written[-1].with_suffix(".png")


def draw_cuts(write: Writer, found: Mapping[str, Mapping[str, Any]]) -> Path:
    """Expected error of m_t against the share of events that a quality cut leaves, relative to no cut."""
    with write.figure("cuts", "") as (axis,):
        for method, entry in found.items():
            tuning = entry["tuning"]
            if "errors" not in tuning:
                continue
            left, errors = 1 - np.array(tuning["quantiles"]), np.array(tuning["errors"])
            axis.plot(left, errors / errors[0], color=color_of(method), linewidth=2.5, label=name_of(method))
            best = 0 if tuning["cut"] is None else int(np.argmin(np.abs(np.array(tuning["cuts"]) - tuning["cut"])))
            axis.plot(left[best], errors[best] / errors[0], "o", color=color_of(method), markersize=13)
        axis.axhline(1, color="black", linewidth=1)
        axis.set(
            xlabel="Share of events that pass the cut",
            ylabel="Expected error of $m_t$, relative to no cut",
            xlim=(1, 0),
        )
        axis.legend()
    return write.written[-1].with_suffix(".png")


def draw_calibration(write: Writer, found: Mapping[str, Mapping[str, Any]]) -> Path:
    """Mean fitted less generated mass of pseudo-experiments, and the line, of every method."""
    with write.figure("calibration", "", rows=len(found), height=2.6 * len(found) + 2, sharex=True) as axes:
        for axis, (method, entry) in zip(axes, found.items(), strict=True):
            line = entry["calibration"]
            x, y, error = (
                np.array(v)
                for v in zip(*((r["generated"], r["fitted"][0], r["error"]) for r in line["masses"]), strict=True)
            )
            axis.errorbar(x, y - x, yerr=error, fmt="o", color=color_of(method), label=name_of(method))
            grid = np.array([x.min(), x.max()])
            axis.plot(grid, line["a"] + (line["b"] - 1) * (grid - CENTRAL_MASS), color=color_of(method), linewidth=2)
            axis.axhline(0, color="black", linewidth=1)
            size = 1.6 * max(0.3, float(np.abs(y - x).max() + error.max()))
            axis.set(ylim=(-size, size))
            axis.legend(loc="upper right", fontsize=18)
        axes[0].figure.text(0.015, 0.5, "Mean fitted $-$ generated $m_t$ [GeV]", rotation=90, va="center", fontsize=26)
        axes[-1].set_xlabel("Generated $m_t$ [GeV]")
    return write.written[-1].with_suffix(".png")


def draw_masses(
    write: Writer, results: Mapping[str, Mapping[str, Mapping[str, Any]]], generated: Mapping[str, float]
) -> Path:
    """Measured masses of the closure sample and of the data: total error, and without that of calibration and templates."""
    with write.figure("masses", "", columns=len(results), height=8, sharey=True) as axes:
        for axis, (sample, found) in zip(axes, results.items(), strict=True):
            place = np.arange(len(found))[::-1]
            for y, (method, entry) in zip(place, found.items(), strict=True):
                axis.errorbar(entry["top_mass"], y, xerr=entry["total"], fmt="o", color=color_of(method), markersize=11)
                axis.errorbar(entry["top_mass"], y, xerr=entry["statistical"], color=color_of(method), capsize=8)
            axis.axvline(generated[sample], color="black", linestyle=":", label=f"generated: {generated[sample]:g} GeV")
            axis.set(xlabel=f"Measured $m_t$ [GeV], {sample}", ylim=(-0.7, len(found) + 0.4))
            axis.tick_params(axis="y", which="both", left=False, right=False)
            axis.legend(fontsize=18, loc="upper left")
        axes[0].set_yticks(place, [name_of(method) for method in next(iter(results.values()))])
        axes[0].figure.subplots_adjust(left=0.16)
    return write.written[-1].with_suffix(".png")
