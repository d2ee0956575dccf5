"""Figures of a results directory, drawn from ``histograms.json`` alone, in CMS style (mplhep).

They are those of arXiv:2412.03819 and its repository (§7 of the published analysis) that the histograms can fill.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import hist
import mplhep
import numpy as np
from hist import Hist
from matplotlib.axes import Axes

from hhh_coffea.datasets.normalisation import NormalisationError
from hhh_coffea.figures import mass_plane as figures_mass_plane
from hhh_coffea.figures import masses as figures_masses
from hhh_coffea.figures import multiplicity as figures_multiplicity
from hhh_coffea.figures import parameters as figures_parameters
from hhh_coffea.figures import published
from hhh_coffea.figures import quantities as figures_quantities
from hhh_coffea.figures import sculpting as figures_sculpting
from hhh_coffea.figures import systematics as figures_systematics
from hhh_coffea.figures import targets as figures_targets
from hhh_coffea.figures.confusion import draw_shares
from hhh_coffea.figures.looks.labels import labels_of
from hhh_coffea.figures.looks.style import (
    DEFINITION_NAMES,
    FORMATS,
    NAMES,
    PALETTE,
    PT_CENTERS,
    PT_EDGES,
    Writer,
    color_of,
    lighter,
    show_overflow,
    styles_of,
    title_of,
)
from hhh_coffea.figures.masses import methods_of
from hhh_coffea.figures.measurement import stack as figures_stack
from hhh_coffea.figures.models import bdt as figures_bdt
from hhh_coffea.figures.ratios import draw_ratios
from hhh_coffea.results import directory as results
from hhh_coffea.results import expected_events
from hhh_coffea.results.event_observables import PLANE
from hhh_coffea.results.histograms import MAIN_HISTOGRAMS, NAMES_OF_ALL, usual
from hhh_coffea.results.summary import by_pt, confusion_matrix, counts

PUBLISHED = " (published)"
LONGEST_OF_TWO = 36  # letters of an entry of a legend with two columns


def draw_all(
    folder: Path,
    overlay_published: bool = False,
    formats: tuple[str, ...] = FORMATS,
    labels: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Draw every figure of a results directory into its ``plots/``; returns their paths without suffix.

    ``labels`` are options of the run that stand above the figures, instead of those it had. A run with a luminosity has
    stacked figures of expected events.

    Raises
    ------
    ResultsError
        if the directory holds no readable ``histograms.json``.
    """
    varied, datasets = results.read_histograms(folder, every=True)
    histograms = usual(varied)
    provenance = results.read_provenance(folder)
    config = {**provenance.get("config", {}), **(labels or {})}
    foreign = results.foreign_by_kind(provenance)
    write = Writer(folder / "plots", formats, labels_of(config, datasets, foreign))
    scales = {}
    if config.get("luminosity") and provenance.get(expected_events.SUMS):
        with suppress(NormalisationError):  # the run has warned of it, and a fit refuses it
            scales = expected_events.scales(provenance, config["luminosity"])
    observed = figures_stack.draw_observables(write, histograms, datasets, scales)
    if not set(MAIN_HISTOGRAMS) <= set(histograms):
        drawn = figures_bdt.draw(write, histograms, datasets) | observed
        for name in histograms.keys() - drawn:
            _any_histogram(write, name, histograms[name])
        return write.written
    for name, info in datasets.items():
        for definition in _definitions(histograms, info):
            key = {"dataset": name, "definition": definition}
            for category in info["categories"][definition]:
                _purity_efficiency(write, histograms, {**key, "category": category}, info, overlay_published)
            _confusion(write, histograms["confusion"], key, info)
            figures_targets.draw(write, histograms, key, info)
        if _definitions(histograms, info):
            figures_masses.draw_candidates(write, histograms, {"dataset": name}, info)
        for first in _definitions(histograms, info)[:1]:
            figures_quantities.draw(write, histograms, name, first, info)
            figures_systematics.draw(write, varied["candidate_mass"], name, first, info)
        figures_mass_plane.draw(write, histograms, name, info)
        figures_multiplicity.draw(write, histograms["multiplicity"], name, str(info["label"]))
    figures_masses.draw_sculpting(write, histograms, datasets)
    figures_sculpting.draw(write, histograms, datasets, results.chosen_models(provenance))
    if (folder / "summary.json").is_file():  # a run draws once all its JSON files are written
        figures_parameters.draw(write, results.read_json(folder / "summary.json").get("parameters", {}))
    if scales:
        figures_stack.draw(write, histograms, datasets, scales)
    ours = {*NAMES_OF_ALL, PLANE, *(f"{kind}_mass" for info in datasets.values() for kind in info["kinds"])}
    for name in sorted(
        histograms.keys() - ours - observed - figures_quantities.names_in(histograms)
    ):  # added by a copy of the processor
        _any_histogram(write, name, histograms[name])
    return write.written


def draw_comparison(
    folder: Path,
    histograms: dict[str, Hist],
    datasets: dict[str, dict[str, Any]],
    overlay_published: bool = False,
    formats: tuple[str, ...] = FORMATS,
    labels: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Draw what :func:`hhh_coffea.figures.compare.read_runs` returns into ``folder``: purity, efficiency and mass shapes."""
    write = Writer(folder, formats, labels_of(labels or {}, datasets))
    for name, info in datasets.items():
        for definition in _definitions(histograms, info):
            for category in info["categories"][definition]:
                key = {"dataset": name, "definition": definition, "category": category}
                _purity_efficiency(write, histograms, key, info, overlay_published)
    figures_masses.draw_sculpting(write, histograms, datasets)
    return write.written


def _purity_efficiency(
    write: Writer, histograms: dict[str, Hist], key: dict[str, str], info: dict[str, Any], overlay: bool
) -> None:
    """Purity against reconstructed and efficiency against generated pT, all methods (figures 1 and 2)."""
    names = methods_of(histograms)
    if not info["is_signal"] or not any(counts(histograms["candidates"], {**key, "method": m}).sum() for m in names):
        return
    name = f"{key['dataset']}/{key['definition']}_purity_efficiency_{key['category']}"
    styles = styles_of(names)
    with write.figure(name, str(info["label"]), columns=2) as axes:
        for axis, what in zip(axes, ("purity", "efficiency"), strict=True):
            found = {method: by_pt(histograms, {**key, "method": method}, what) for method in names}
            draw_ratios(axis, PT_EDGES, found, styles)
            if overlay and key["definition"] == "reference":
                _overlay(axis, info["analysis"], key["category"], what)
            entries = sorted(
                zip(*axis.get_legend_handles_labels(), strict=True), key=lambda entry: entry[1].endswith(PUBLISHED)
            )
            columns = 2 if max(len(label) for _, label in entries) <= LONGEST_OF_TWO else 1
            rows = -(-len(entries) // columns)
            axis.set(ylim=(-0.02, 1.15 + 0.06 * rows), ylabel=f"Reconstruction {what}")
            show_overflow(axis)
            axis.set_yticks(np.arange(0, 1.1, 0.2))
            axis.set_xlabel(f"{'Reco.' if what == 'purity' else 'Gen.'} {_symbol(info, key['category'])} $p_T$ [GeV]")
            axis.legend(
                *zip(*entries, strict=True),
                title=f"{title_of(info, key['category'])} ({DEFINITION_NAMES[key['definition']]})",
                loc="upper left",
                ncols=columns,
                fontsize=18,
                title_fontsize=20,
                alignment="left",
            )


def _symbol(info: Mapping[str, Any], category: str) -> str:
    """The particle whose momentum a category shows: that of its kind where the analysis has several particles."""
    return str(info.get("labels", {}).get(category, info["symbol"]))


def _overlay(axis: Axes, analysis: str, category: str, what: str) -> None:
    for method, points in published.curves(analysis, category, what):
        style: dict[str, Any] = {"color": lighter(color_of(method)), "zorder": 0}
        axis.fill_between(PT_CENTERS, points[:, 2], points[:, 1], alpha=0.35, linewidth=0, **style)
        axis.plot(PT_CENTERS, points[:, 0], linestyle="--", linewidth=2.5, label=NAMES[method] + PUBLISHED, **style)


def _confusion(write: Writer, histogram: Hist, key: dict[str, str], info: dict[str, Any]) -> None:
    """Events by the classes (N boosted, N resolved) of targets and candidates, rows normalised (figure 8)."""
    for method in histogram.axes["method"]:
        classes, matrix = confusion_matrix(histogram, {**key, "method": method}, info["kinds"], info["particles"])
        if (
            np.count_nonzero(matrix.sum(axis=0)) < 2
        ):  # a method that makes candidates of one kind alone confuses nothing
            continue
        kinds = [axis.name.removeprefix("target_") for axis in histogram.axes if axis.name.startswith("target_")]
        names = ["".join(f"{n}{_initials(kinds)[k]}" for k, n in zip(kinds, c, strict=True)) for c in classes]
        with write.figure(
            f"{key['dataset']}/{key['definition']}_confusion_{_file_name(method)}", str(info["label"])
        ) as (axis,):
            base = f"complete events, {DEFINITION_NAMES[key['definition']]}"
            draw_shares(axis, matrix, names, names, "events", base)
            letters = ", ".join(f"{letter}: {kind}" for kind, letter in _initials(kinds).items())
            axis.set(xlabel=f"Candidates of {NAMES.get(method, method)}", ylabel=f"Targets ({letters})")


def _definitions(histograms: dict[str, Hist], info: dict[str, Any]) -> list[str]:
    """Definitions of a dataset that were evaluated, ours first."""
    return [d for d in histograms["candidates"].axes["definition"] if d in info["categories"]]


def _initials(kinds: list[str]) -> dict[str, str]:
    """The shortest beginnings that tell the kinds apart: b and r of boosted and resolved."""
    for length in range(1, max(map(len, kinds)) + 1):
        if len({kind[:length] for kind in kinds}) == len(kinds):
            return {kind: kind[:length] for kind in kinds}
    return {kind: kind for kind in kinds}


def _file_name(method: str) -> str:
    return method.replace(":", "_")


def _any_histogram(write: Writer, name: str, histogram: Hist) -> None:
    """A user's histogram with one numeric axis: a line for each combination of its categories (at most ten)."""
    categories = [a.name for a in histogram.axes if isinstance(a, hist.axis.StrCategory | hist.axis.IntCategory)]
    if len(histogram.axes) - len(categories) != 1:
        return
    combinations: list[dict[str, Any]] = [{}]
    for axis_name in categories:
        combinations = [{**c, axis_name: v} for c in combinations for v in histogram.axes[axis_name]]
    with write.figure(name, "") as (axis,):
        for position, chosen in enumerate(combinations[:10]):
            one = histogram[{k: hist.loc(v) for k, v in chosen.items()}] if chosen else histogram
            text = ", ".join(str(v) for v in chosen.values()) or name
            mplhep.histplot(one, ax=axis, color=PALETTE[position % len(PALETTE)], label=text, flow="none")
        numeric = next(a for a in histogram.axes if a.name not in categories)
        axis.set(xlabel=numeric.label or numeric.name, ylabel="Entries")
        axis.legend(fontsize=20)
