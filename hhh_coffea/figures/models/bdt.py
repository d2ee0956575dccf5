"""Figures of the large-radius-jet BDT: its training (``models/NAME/evaluation``) and the scan of its working point."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import hist
import mplhep
import numpy as np
from hist import Hist
from hist.intervals import clopper_pearson_interval
from matplotlib.axes import Axes

from hhh_coffea.figures.looks.palette import SEQUENCE
from hhh_coffea.figures.looks.style import CATEGORY_NAMES, DEFINITION_NAMES, FEWEST_IN_SHAPE, Writer, color_of, density
from hhh_coffea.figures.ratios import FEWEST
from hhh_coffea.figures.spectra import merged, well_filled
from hhh_coffea.results.bdt_scan import COUNTS, SCAN, WORKING_POINT_NAMES, counts
from hhh_coffea.results.summary import COVERAGE
from hhh_coffea.training.bdt_evaluation import OTHER, TARGET

BDT_COLOR = color_of("chi2+bdt")
CLASS_STYLES = {TARGET: ("H → bb", SEQUENCE[0], "o"), OTHER: ("other large-radius jets", SEQUENCE[2], "s")}
LINES = ("-", "--", ":", "-.")  # of models
LONG_BAR = 0.6  # of the axis: its name stands in it, because there is no room beside it
PART_MARKERS = {"loose": "o", "medium": "s", "tight": "^"}
# read back (±0.003) from the ROC of the published BDT on its authors' HHH and QCD large-radius jets (§3)
PUBLISHED_ROC = np.array(
    [
        (0.10, 0.0024),
        (0.20, 0.0065),
        (0.30, 0.0130),
        (0.40, 0.0221),
        (0.50, 0.0352),
        (0.60, 0.0506),
        (0.70, 0.0715),
        (0.80, 0.1081),
        (0.85, 0.1359),
        (0.87, 0.1513),
        (0.90, 0.1852),
        (0.95, 0.2887),
    ]
)


def draw(write: Writer, histograms: dict[str, Hist], datasets: dict[str, Any]) -> set[str]:
    """Draw what the histograms of training or scan hold; returns the names of those used."""
    used: set[str] = set()
    if "bdt_score" in histograms:
        used |= {"bdt_score", "bdt_importance"}
        _scores(write, histograms["bdt_score"])
        _roc(write, histograms["bdt_score"], datasets)
        features = [str(name) for name in histograms["bdt_importance"].axes[0]]
        found = {name: histograms[f"bdt_feature_{name}"] for name in features}
        _importance(write, histograms["bdt_importance"], found)
        _features(write, found)
        used |= {f"bdt_feature_{name}" for name in features}
    if SCAN in histograms:
        used.add(SCAN)
        for dataset, info in datasets.items():
            if info["is_signal"] and dataset in histograms[SCAN].axes["dataset"]:
                for definition in histograms[SCAN].axes["definition"]:
                    key = {"dataset": dataset, "definition": definition}
                    _scan(write, histograms[SCAN], key, str(info["label"]))
                    _trade_off(write, histograms[SCAN], key, str(info["label"]))
    return used


def _scores(write: Writer, histogram: Hist) -> None:
    """Scores by class: filled what the model was not trained on, points what it was: they agree if nothing was learned
    by heart."""
    model = _own(histogram)
    parts = list(histogram.axes["part"])
    unseen = "test" if "test" in parts else "validation"
    trained = [d for d in histogram.axes["dataset"] if _scores_of(histogram, model, "training", [d], None).sum()]
    with write.figure("bdt_score", "") as (axis,):
        for name, (label, color, marker) in CLASS_STYLES.items():
            for part, style in ((unseen, "fill"), ("training", "points")):
                values = _scores_of(histogram, model, part, trained, name).reshape(50, -1).sum(axis=1)
                if _too_few(axis, f"{label}, {part}", values.sum()):
                    continue
                borders = well_filled(values)
                edges, number = np.linspace(0, 1, 51)[borders], merged(values, borders)
                height, error = (v / values.sum() / np.diff(edges) for v in (number, np.sqrt(number)))
                if style == "fill":
                    mplhep.histplot(height, edges, ax=axis, histtype="fill", alpha=0.4, color=color)
                    mplhep.histplot(height, edges, ax=axis, yerr=False, color=color, label=f"{label}, {part}")
                else:
                    middle = (edges[:-1] + edges[1:]) / 2
                    axis.errorbar(
                        middle, height, error, color=color, fmt=marker, markersize=6, label=f"{label}, {part}"
                    )
        axis.set(xlim=(0, 1), yscale="log", ylim=(0.02, axis.get_ylim()[1] * 8), xlabel="BDT score", ylabel="Density")
        axis.legend(fontsize=17, ncols=2, loc="upper center", columnspacing=1)


def _too_few(axis: Axes, label: str, entries: float) -> bool:
    """Whether these entries make no shape; the legend says then how many there are."""
    if 0 < entries < FEWEST_IN_SHAPE:
        axis.plot([], [], " ", label=f"{label}: {entries:,.0f}, not drawn")
    return entries < FEWEST_IN_SHAPE


def _roc(write: Writer, histogram: Hist, datasets: dict[str, Any]) -> None:
    """Misidentification against signal efficiency, for each signal with all backgrounds, where five or more are misidentified."""
    parts = list(histogram.axes["part"])
    part = "test" if "test" in parts else "validation"
    own = _own(histogram)
    backgrounds = [name for name, info in datasets.items() if not info["is_signal"]]
    with write.figure("bdt_roc", f"{part.capitalize()} events" if part != "test" else "Test files") as (axis,):
        signals = [name for name in datasets if name not in backgrounds]
        models = sorted(histogram.axes["model"], key=lambda name: name != own)
        for model, line in zip(models, itertools.cycle(LINES), strict=False):
            for signal, color in zip(signals, itertools.cycle(SEQUENCE), strict=False):
                found = _scores_of(histogram, model, part, [signal, *backgrounds], TARGET)[::-1].cumsum()
                fakes = _scores_of(histogram, model, part, [signal, *backgrounds], OTHER)[::-1].cumsum()
                if not found[-1] or not fakes[-1]:
                    continue
                known = fakes >= FEWEST
                axis.plot(
                    found[known] / found[-1],
                    fakes[known] / fakes[-1],
                    color=color,
                    linestyle=line,
                    linewidth=2.5,
                    label=f"{model}: {' + '.join([signal, *backgrounds])}",
                )
        axis.plot(
            *PUBLISHED_ROC.T, "ko", markerfacecolor="none", markersize=9, label="arXiv:2412.03819, its own events"
        )
        axis.set(xlim=(0, 1), ylim=(1e-3, 1), yscale="log")
        axis.set(xlabel="Signal efficiency", ylabel="Misidentification")
        axis.grid(which="both", alpha=0.3)
        axis.legend(fontsize=20, loc="lower right")


def _importance(write: Writer, histogram: Hist, features: Mapping[str, Hist]) -> None:
    """Share of each feature in the total gain; features are called as on the axes of their own figures."""
    names = np.array(list(histogram.axes[0]))
    order = np.argsort(histogram.values())
    with write.figure("bdt_importance", "") as (axis,):
        axis.barh(range(len(names)), histogram.values()[order], color=BDT_COLOR)
        for row, name in enumerate(names[order]):
            label = str(features[name].axes["value"].label).partition(" [")[0]
            share = histogram.values()[order][row]
            inside = share > LONG_BAR
            style = {"color": "white", "ha": "right"} if inside else {"color": "black", "ha": "left"}
            axis.text(share + (-0.01 if inside else 0.01), row, label, va="center", fontsize=20, **style)
        axis.set(xlabel="Share of the total gain", ylabel="Feature", xlim=(0, 1), yticks=[])


def _features(write: Writer, histograms: dict[str, Hist]) -> None:
    """Shape of every feature by class, all datasets together; bins with few entries are joined."""
    with write.figure("bdt_features", "", panels=len(histograms)) as axes:
        for axis, histogram in zip(axes, histograms.values(), strict=True):
            for name, (label, color, _) in CLASS_STYLES.items():
                if name not in histogram.axes["class"]:
                    continue
                chosen = histogram[{"dataset": sum, "class": hist.loc(name)}]
                if not _too_few(axis, label, chosen.values().sum()):
                    density(axis, chosen, color=color, label=label)
            value = histogram.axes["value"]
            unit = " [1/GeV]" if value.label.endswith("[GeV]") else ""
            axis.set(xlabel=value.label, ylabel=f"Density{unit}", xlim=value.edges[[0, -1]])
            axis.set_ylim(0, axis.get_ylim()[1] * 1.25)
        axes[0].legend(fontsize=20)


def _scan(write: Writer, histogram: Hist, key: dict[str, str], label: str) -> None:
    """Purity and efficiency against the working point."""
    points = [name for name in histogram.axes["working_point"] if name not in WORKING_POINT_NAMES]
    with write.figure(f"{key['dataset']}/{key['definition']}_bdt_scan", label, columns=2) as axes:
        for axis, category in zip(axes, ("merged", "boosted"), strict=True):
            for (passed, total), what, line in (
                (("correct", "candidates"), "purity", "s-"),
                (("retrieved", "targets"), "efficiency", "^--"),
            ):
                found = [counts(histogram, {**key, "category": category, "working_point": name}) for name in points]
                numerator, denominator = (np.array([n[name] for n in found]) for name in (passed, total))
                _band(axis, np.array(points, dtype=float), numerator, denominator, line, what.capitalize())
            axis.set(xlim=(0, 1), ylim=(0, 1.05), xlabel="Working point (BDT score above)", ylabel="Purity, efficiency")
            axis.legend(
                title=f"{CATEGORY_NAMES[category]} ({DEFINITION_NAMES[key['definition']]})",
                fontsize=20,
                title_fontsize=20,
            )


def _trade_off(write: Writer, histogram: Hist, key: dict[str, str], label: str) -> None:
    """Purity against efficiency along the working points, those with a name marked."""
    points = [name for name in histogram.axes["working_point"] if name not in WORKING_POINT_NAMES]
    with write.figure(f"{key['dataset']}/{key['definition']}_bdt_trade_off", label, columns=2) as axes:
        for axis, category in zip(axes, ("merged", "boosted"), strict=True):

            def at(names: list[str], category: str = category) -> Any:
                found = [counts(histogram, {**key, "category": category, "working_point": name}) for name in names]
                named = {name: np.array([n[name] for n in found]) for name in COUNTS}
                return named["retrieved"] / named["targets"], named["correct"] / named["candidates"]

            axis.plot(*at(points), color=BDT_COLOR, marker=".", label="χ² + BDT, scan of the working point")
            for name, marker in PART_MARKERS.items():
                if name in histogram.axes["working_point"]:
                    axis.plot(*at([name]), marker, color="black", markersize=12, linestyle="none", label=name)
            if category == "merged":  # above a score of 1 there is no large-radius jet: χ² alone
                axis.plot(
                    *at(["1.00000"]), "*", color=color_of("chi2"), markersize=22, linestyle="none", label="χ² alone"
                )
            axis.set(xlabel="Reconstruction efficiency", ylabel="Reconstruction purity")
            axis.margins(0.15)
            axis.legend(
                title=f"{CATEGORY_NAMES[category]} ({DEFINITION_NAMES[key['definition']]})",
                fontsize=20,
                title_fontsize=20,
            )


def _band(axis: Axes, x: Any, passed: Any, total: Any, line: str, label: str) -> None:
    use = total > 0
    low, high = clopper_pearson_interval(passed[use], total[use], coverage=COVERAGE)
    axis.fill_between(x[use], low, high, color=BDT_COLOR, alpha=0.25, linewidth=0)
    axis.plot(x[use], passed[use] / total[use], line, color=BDT_COLOR, markersize=8, label=label)


def _scores_of(histogram: Hist, model: str, part: str, datasets: list[str], kind: str | None) -> Any:
    """Score counts of a class (both when None), summed over datasets; zeros where nothing was filled."""
    total = np.zeros(len(histogram.axes["score"]))
    for dataset in datasets:
        for name in (TARGET, OTHER) if kind is None else (kind,):
            place = {"model": model, "part": part, "dataset": dataset, "class": name}
            if all(value in histogram.axes[axis] for axis, value in place.items()):
                total += histogram[{axis: hist.loc(value) for axis, value in place.items()}].values()
    return total


def _own(histogram: Hist) -> str:
    """The model that was trained here: the one with training events."""
    names = [str(name) for name in histogram.axes["model"]]
    datasets = list(histogram.axes["dataset"])
    return next((n for n in names if _scores_of(histogram, n, "training", datasets, None).sum()), names[0])
