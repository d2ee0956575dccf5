"""Figures of the study: ROC curves, significance and limits beside the published ones, scores in the bins of the fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import FuncFormatter

from hhh_coffea.figures.looks.style import DARK_BLUE, METHOD_STYLES, NAMES, PALETTE, Writer
from hhh_coffea.study.tth.discriminants import EFFICIENCIES, FINE_TUNING, PRETRAINING, UNFROZEN, Discriminants
from hhh_coffea.study.tth.measurement import OWN, PUBLISHED
from hhh_coffea.study.tth.published import RUNS, published

# the classes of the network in blues and grey: no colour is that of another method
COLORS = {PRETRAINING: "#92dadd", FINE_TUNING: DARK_BLUE, UNFROZEN: "#717581"}
MODEL_NAMES = {"shapesys": "each bin uncertain on its own", "normsys": "all bins uncertain together"}

YIELD_NAMES = {OWN: "our yields", PUBLISHED: "published yields"}
# (model, yields) → place beside the discriminant's line, marker
SERIES: dict[tuple[str, str], tuple[float, dict[str, Any]]] = {
    ("shapesys", PUBLISHED): (0.24, {"fmt": "o"}),
    ("normsys", OWN): (0.12, {"fmt": "s", "markerfacecolor": "white"}),
    ("shapesys", OWN): (-0.12, {"fmt": "s"}),
    ("normsys", PUBLISHED): (-0.24, {"fmt": "o", "markerfacecolor": "white"}),
}


def name_of(discriminant: str) -> str:
    """How tables and legends call a discriminant."""
    own = {PRETRAINING: "SPANet, pretraining", FINE_TUNING: "SPANet, fine-tuning"}
    own |= {UNFROZEN: "SPANet, all weights"}
    return own.get(discriminant, f"{NAMES.get(discriminant, discriminant)} + BDT")


def color_of(discriminant: str) -> str:
    """The colour of the method, of the classes of the network their own."""
    return COLORS.get(discriminant) or METHOD_STYLES.get(discriminant, (PALETTE[8], "o"))[0]


def draw_roc(write: Writer, separations: Mapping[str, Mapping[str, Any]]) -> Path:
    """1/misidentification against signal efficiency; bands hold 68% of the bootstrap samples."""
    with write.figure("roc", "") as (axis,):
        for name, entry in separations.items():
            auc, error = entry["auc"]
            color = color_of(name)
            axis.plot(
                EFFICIENCIES,
                entry["curve"],
                color=color,
                linewidth=3,
                label=f"{name_of(name)}: {auc:.3f} ± {error:.3f}",
            )
            axis.fill_between(EFFICIENCIES, *entry["band"], color=color, alpha=0.18, linewidth=0)
        axis.plot(
            EFFICIENCIES, 1 / EFFICIENCIES, color="black", linestyle=":", linewidth=1.5, label="no separation: 0.5"
        )
        axis.set(
            xlabel="Efficiency for ttH", ylabel="1 / efficiency for ttbb", yscale="log", xlim=(0.05, 1), ylim=(1, 100)
        )
        axis.yaxis.set_major_formatter(FuncFormatter(_plain))
        axis.legend(title="area under the curve", fontsize=20, title_fontsize=20)
    return write.written[-1].with_suffix(".png")


def draw_table_2(write: Writer, table: Mapping[str, Mapping[str, Any]], quantity: str, label: str) -> Path:
    """``significance`` or ``mu_limit`` by discriminant: both models at both yields, and the published number."""
    place = np.arange(len(table))[::-1]
    with write.figure(quantity, "", columns=2, height=10, sharey=True) as axes:
        for axis, run in zip(axes, RUNS, strict=True):
            for y, (name, entry) in zip(place, table.items(), strict=True):
                if (known := published(name, run)) is not None:
                    axis.plot(known[quantity], y, marker="*", color="black", markersize=20)
                for (model, origin), (shift, style) in SERIES.items():
                    value, error = entry[origin][run][model][quantity]
                    axis.errorbar(value, y + shift, xerr=error, color=color_of(name), markersize=10, **style)
            axis.set(xlabel=f"{label}, {run} ({RUNS[run][0]:g} fb$^{{-1}}$)", ylim=(-0.6, len(table) - 0.4))
            axis.set_xscale("log")
            axis.xaxis.set_major_formatter(FuncFormatter(_plain))
            axis.xaxis.set_minor_formatter(FuncFormatter(_some))
            axis.tick_params(axis="y", which="both", left=False, right=False)
        axes[0].set_yticks(place, [name_of(name) for name in table])
        figure = axes[0].figure
        handles = [axes[0].plot([], [], "*", color="black", markersize=20)[0]]
        handles += [axes[0].errorbar([], [], color="black", markersize=10, **style) for _, style in SERIES.values()]
        said = [f"{YIELD_NAMES[origin]}, {MODEL_NAMES[model]}" for model, origin in SERIES]
        figure.legend(handles, ["published", *said], loc="upper center", ncols=2, fontsize=20)
        figure.subplots_adjust(left=0.19, wspace=0.06, top=0.79)
    return write.written[-1].with_suffix(".png")


def draw_learning_curve(write: Writer, curves: Mapping[str, Sequence[Mapping[str, Any]]]) -> Path:
    """AUC of each BDT against the number of its training events."""
    with write.figure("learning_curve", "") as (axis,):
        for shift, (name, points) in zip(np.linspace(0.97, 1.03, len(curves)), curves.items(), strict=True):
            auc, error = np.transpose([point["auc"] for point in points])
            events = shift * np.array([point["events"] for point in points])
            axis.errorbar(events, auc, yerr=error, fmt="o-", color=color_of(name), label=name_of(name), linewidth=2)
        axis.set(xlabel="Training events", ylabel="Area under the ROC curve", xscale="log")
        axis.xaxis.set_major_formatter(FuncFormatter(_plain))
        axis.xaxis.set_minor_formatter(FuncFormatter(_some))
        axis.legend(loc="upper left")
        axis.margins(y=0.25)
    return write.written[-1].with_suffix(".png")


def _plain(value: float, _: int) -> str:
    return f"{value:,.10g}"


def _some(value: float, _: int) -> str:
    """Labels of 2, 3 and 5 between powers of ten."""
    return _plain(value, 0) if f"{value:e}"[0] in "235" else ""


def draw_scores(write: Writer, found: Discriminants, name: str, edges: list[float]) -> Path:
    """Signal and background in the bins of the fit, both normalised to 1, bins of equal width."""
    with write.figure(f"score_{name}", "") as (axis,):
        number = np.arange(len(edges))
        for use, label, color in ((found.signal, "ttH", color_of(name)), (~found.signal, "ttbb", "black")):
            weight = found.weight[use]
            values, _ = np.histogram(found.scores[name][use], edges, weights=weight)
            squares, _ = np.histogram(found.scores[name][use], edges, weights=weight**2)
            total = weight.sum()
            axis.stairs(values / total, number, color=color, linewidth=3, label=label)
            axis.errorbar(number[:-1] + 0.5, values / total, yerr=np.sqrt(squares) / total, fmt="none", color=color)
        axis.set_xticks(number, [f"{edge:.3g}" for edge in edges])
        axis.minorticks_off()
        axis.set(xlabel=f"Edges of the bins: {name_of(name)}", ylabel="Share of events")
        axis.set(xlim=(0, number[-1]), ylim=(0, 1.25 * axis.get_ylim()[1]))
        axis.legend(loc="upper center", ncols=2)
    return write.written[-1].with_suffix(".png")
