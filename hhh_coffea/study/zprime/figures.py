"""Figures of the study: spectra of m(tt̄), significance, cuts, sculpting, and the neutrino."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hhh_coffea.base.kinematics import FloatArray
from hhh_coffea.figures.looks.palette import SEQUENCE
from hhh_coffea.figures.looks.style import DARK_BLUE, METHOD_STYLES, NAMES, Writer
from hhh_coffea.study.event_table import Columns
from hhh_coffea.study.zprime.analysis import SCENARIOS
from hhh_coffea.study.zprime.events import REGRESSED
from hhh_coffea.study.zprime.published import TABLE_3

COLORS = {REGRESSED: DARK_BLUE}


def name_of(method: str) -> str:
    """How tables and legends call a method."""
    return "SPANet, regressed $\\eta_\\nu$" if method == REGRESSED else NAMES.get(method, method)


def color_of(method: str) -> str:
    """Its colour in every figure."""
    return COLORS.get(method) or METHOD_STYLES[method][0]


def draw_spectra(write: Writer, spectra: Mapping[str, Mapping[str, Any]], uncertainty: float) -> Path:
    """Background and signals of each method per 20 GeV, at the cross sections of the table; the overflow is not drawn."""
    columns = min(2, len(spectra))
    rows = -(-len(spectra) // columns)
    with write.figure("spectra", "", columns=columns, rows=rows, height=9 * rows, sharey=True, hspace=0.2) as axes:
        for axis, (method, entry) in zip(axes, spectra.items(), strict=False):
            edges = np.array(entry["edges"][:-1], dtype=float)
            per_bin = 20.0 / np.diff(edges)
            background = np.array(entry["background"])[: len(per_bin)] * per_bin
            axis.stairs(background, edges, color="black", linewidth=2, label="$t\\bar{t}$")
            axis.stairs(
                background * (1 + uncertainty),
                edges,
                baseline=background * (1 - uncertainty),
                fill=True,
                color="black",
                alpha=0.2,
                label=f"± {uncertainty:.0%}",
            )
            for color, (mass, signal) in zip(SEQUENCE, entry["signals"].items(), strict=False):
                values = np.array(signal)[: len(per_bin)] * per_bin
                values = np.where(values > 0, values, np.nan)  # no line down to nothing on a logarithmic axis
                axis.stairs(values, edges, baseline=None, color=color, linewidth=2.5, label=f"$Z'$, {mass} GeV")
            axis.set(xlabel="$m_{t\\bar{t}}$ [GeV]", yscale="log", xlim=(edges[0], edges[-1]))
            axis.legend(title=name_of(method), fontsize=18, title_fontsize=20)
        top = max(np.max(entry["background"]) for entry in spectra.values())
        for axis in axes[::columns]:
            axis.set(ylabel="Events / 20 GeV", ylim=(top * 1e-5, top * 30))
    return write.written[-1].with_suffix(".png")


def draw_significance(write: Writer, masses: Mapping[str, Mapping[str, Any]]) -> Path:
    """Significance by mass and method, ours and published."""
    with write.figure("significance", "", columns=len(SCENARIOS), height=9) as axes:
        for i, (axis, (scenario, (lumi, uncertainty))) in enumerate(zip(axes, SCENARIOS.items(), strict=True)):
            methods = list(next(iter(masses.values()))["z"])
            for number, method in enumerate(methods):
                place = np.arange(len(masses)) + 0.16 * (number - (len(methods) - 1) / 2)
                values = np.array([entry["z"][method][scenario] for entry in masses.values()])
                axis.errorbar(
                    *(place, values[:, 0]),
                    yerr=values[:, 1],
                    fmt="o",
                    markersize=10,
                    color=color_of(method),
                    label=name_of(method),
                )
                known = [TABLE_3.get(float(mass), {}).get(method, (np.nan, np.nan))[i] for mass in masses]
                axis.plot(place, known, "*", color=color_of(method), markersize=20, markerfacecolor="none")
            axis.plot([], [], "*", color="black", markersize=20, markerfacecolor="none", label="published")
            axis.set_xticks(np.arange(len(masses)), [f"{mass} GeV" for mass in masses])
            axis.minorticks_off()
            axis.set(
                xlabel=f"$Z'$ mass; {lumi:g} fb$^{{-1}}$, {uncertainty:.0%} in each bin",
                ylabel="Local significance",
                ylim=(0, None),
                xlim=(-0.6, len(masses) - 0.4),
            )
        axes[0].legend(loc="upper left", fontsize=17)
        low, high = axes[0].get_ylim()
        axes[0].set_ylim(low, high * 1.25)
    return write.written[-1].with_suffix(".png")


def draw_cuts(write: Writer, cuts: Mapping[str, Mapping[str, Any]]) -> Path:
    """S/√B within 75 GeV of each mass against the share of background that a cut leaves, relative to no cut."""
    shown = {method: entry for method, entry in cuts.items() if method != REGRESSED}
    with write.figure("cuts", "", panels=len(shown), sharey=True) as axes:
        for axis, (method, entry) in zip(axes, shown.items(), strict=True):
            number = len(entry["cuts"])
            left = 1 - np.arange(number) / number
            for color, (mass, gain) in zip(SEQUENCE, entry["s_over_root_b"].items(), strict=False):
                values = np.where(np.array(gain) > 0, gain, np.nan)
                axis.plot(left, values, color=color, linewidth=2.5, label=f"{float(mass):g} GeV: $S / B^{{1/2}}$")
                purity = np.array(entry["s_over_b"][mass])
                axis.plot(left[: len(purity)], purity, color=color, linewidth=2, linestyle=":")
            if entry["cut"] is not None:
                axis.axvline(
                    left[min(int(np.searchsorted(entry["cuts"], entry["cut"])), number - 1)], color="black", ymax=0.65
                )
            axis.plot([], [], color="black", linestyle=":", label="$S / B$")
            axis.set(xlabel="Share of $t\\bar{t}$ that passes the cut", xlim=(1, 0), ylim=(0, 3.6))
            axis.legend(title=name_of(method), fontsize=18, title_fontsize=20)
        for axis in axes[::2]:
            axis.set_ylabel("Relative to no cut")
    return write.written[-1].with_suffix(".png")


def draw_sculpting(
    write: Writer,
    masses: Mapping[str, FloatArray],
    true: FloatArray,
    passing: Mapping[str, Any],
    found: Mapping[str, Any],
) -> Path:
    """Reconstructed and true m(tt̄) of the same tt̄ events, before and after each method's cut."""
    edges = np.arange(300.0, 1000.1, 25.0)
    with write.figure("sculpting", "", columns=2, rows=2, height=13, sharex=True, height_ratios=[3, 1.4]) as axes:
        for column, stage in enumerate(("before", "after")):
            upper, lower = axes[column], axes[2 + column]
            for method, values in masses.items():
                keep = (values > 0) & (np.ones(len(true), dtype=bool) if stage == "before" else passing[method])
                own, error = _shape(values[keep], edges)
                truth, _truth_error = _shape(true[keep], edges)
                emd, spread = found[method][stage]["emd"]
                color = color_of(method)
                label = f"{name_of(method)}: {emd:.1f} ± {spread:.1f} GeV"
                upper.stairs(own, edges, color=color, linewidth=2.5, label=label)
                if stage == "before" and method == next(iter(masses)):
                    upper.stairs(truth, edges, color="black", linewidth=2, linestyle=":", label="generated")
                elif stage == "after":
                    upper.stairs(truth, edges, color=color, linewidth=1.5, linestyle=":")
                middle = (edges[:-1] + edges[1:]) / 2
                lower.errorbar(middle, own / truth, yerr=error / truth, fmt="o", markersize=5, color=color)
            if stage == "after":
                upper.plot([], [], color="black", linestyle=":", label="generated, of the events that pass")
            upper.set(ylabel="Share of events", ylim=(0, None))
            upper.legend(title=f"{stage} cuts; earth mover's distance", fontsize=17, title_fontsize=18)
            lower.axhline(1, color="black", linewidth=1)
            lower.set(xlabel="$m_{t\\bar{t}}$ [GeV]", ylabel="Rec. / generated", ylim=(0.4, 1.6), xlim=(300, 1000))
    return write.written[-1].with_suffix(".png")


def _shape(values: FloatArray, edges: FloatArray) -> tuple[FloatArray, FloatArray]:
    counts = np.histogram(values, edges)[0].astype(float)
    total = max(len(values), 1)
    return counts / total, np.sqrt(counts) / total


def draw_neutrino(write: Writer, rows: Columns, found: Mapping[str, Any]) -> Path:
    """η of the neutrino: regressed against generated, residuals, and m(ℓν)."""
    true = rows["true_eta"]
    known = np.isfinite(true)
    kinds = {"constraint": ("W-mass constraint", "#94a4a2")}
    if "regression" in found:
        kinds["regressed"] = ("SPANet regression", DARK_BLUE)
    with write.figure("neutrino", "", panels=3) as axes:
        last = list(kinds)[-1]
        axes[0].hist2d(true[known], rows[f"{last}.eta"][known], bins=60, range=[[-4, 4], [-4, 4]], cmap="Blues")
        axes[0].plot([-4, 4], [-4, 4], color="black", linewidth=1)
        axes[0].set(xlabel="$\\eta_\\nu$, generated", ylabel=f"$\\eta_\\nu$, {kinds[last][0]}")
        for kind, (label, color) in kinds.items():
            width = found["regression" if kind == "regressed" else kind]
            said = f"{label}: RMS {width['rms']:.2f}, 68% {width['half_width']:.2f}"
            residual = (rows[f"{kind}.eta"] - true)[known]
            axes[1].hist(residual, 60, range=(-5, 5), histtype="step", linewidth=3, color=color, label=said)
            axes[2].hist(rows[f"{kind}.w"], 70, range=(0, 280), histtype="step", linewidth=3, color=color, label=label)
        axes[1].set(xlabel="$\\eta_\\nu$, reconstructed $-$ generated", ylabel="Events")
        axes[2].set(xlabel="$m_{\\ell\\nu}$ [GeV]", ylabel="Events", yscale="log", ylim=(1, None))
        for axis in axes[1:]:
            axis.legend(fontsize=17, loc="upper right")
            low, high = axis.get_ylim()
            axis.set_ylim(low, high * (1.3 if axis is axes[1] else 4))
    return write.written[-1].with_suffix(".png")
