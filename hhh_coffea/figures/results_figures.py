"""Figures of a results directory, drawn from ``histograms.json`` alone, in CMS style (mplhep).

They are those of arXiv:2412.03819 and its repository (§7 of the published analysis) that the histograms can fill.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import hist
import matplotlib as mpl
import mplhep
import numpy as np
from hist import Hist
from matplotlib.axes import Axes

from hhh_coffea.datasets.normalisation import NormalisationError
from hhh_coffea.figures import mass_plane as figures_mass_plane
from hhh_coffea.figures import parameters as figures_parameters
from hhh_coffea.figures import published
from hhh_coffea.figures import quantities as figures_quantities
from hhh_coffea.figures import sculpting as figures_sculpting
from hhh_coffea.figures import stack as figures_stack
from hhh_coffea.figures import systematics as figures_systematics
from hhh_coffea.figures import targets as figures_targets
from hhh_coffea.figures.labels import labels_of
from hhh_coffea.figures.models import bdt as figures_bdt
from hhh_coffea.figures.ratios import draw_ratios
from hhh_coffea.figures.spectra import between, coarseness, coarser, counted
from hhh_coffea.figures.style import (
    BAND,
    DEFINITION_NAMES,
    FEWEST_IN_SHAPE,
    FORMATS,
    NAMES,
    PALETTE,
    PT_CENTERS,
    PT_EDGES,
    Writer,
    category_name,
    color_of,
    density,
    lighter,
    line_widths,
    show_overflow,
    styles_of,
)
from hhh_coffea.results import directory as results
from hhh_coffea.results import expected_events
from hhh_coffea.results.event_observables import PLANE
from hhh_coffea.results.histograms import CORRECT, MAIN_HISTOGRAMS, NAMES_OF_ALL, UNKNOWN, WRONG, usual
from hhh_coffea.results.summary import by_pt, confusion_matrix, counts

PUBLISHED = " (published)"


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
    write = Writer(folder / "plots", formats, labels_of(config, datasets, results.foreign_models(provenance)))
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
        label = str(info["label"])
        for definition in _definitions(histograms, info):
            key = {"dataset": name, "definition": definition}
            for category in info["categories"][definition]:
                _purity_efficiency(write, histograms, {**key, "category": category}, info, overlay_published)
            _confusion(write, histograms["confusion"], key, info)
            figures_targets.draw(write, histograms, key, info)
        for first in _definitions(histograms, info)[:1]:
            for category in _with_one_mass(info, info["categories"][first])[0]:
                _candidate_mass(write, histograms, {"dataset": name, "definition": first, "category": category}, info)
        for first in _definitions(histograms, info)[:1]:
            figures_quantities.draw(write, histograms, name, first, info)
            figures_systematics.draw(write, varied["candidate_mass"], name, first, info)
        figures_mass_plane.draw(write, histograms, name, info)
        _multiplicity(write, histograms["multiplicity"], name, label)
    _mass_sculpting(write, histograms, datasets)
    figures_sculpting.draw(write, histograms, datasets)
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
    _mass_sculpting(write, histograms, datasets)
    return write.written


def _purity_efficiency(
    write: Writer, histograms: dict[str, Hist], key: dict[str, str], info: dict[str, Any], overlay: bool
) -> None:
    """Purity against reconstructed and efficiency against generated pT, all methods (figures 1 and 2)."""
    names = _methods(histograms)
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
            rows = (len(entries) + 1) // 2
            axis.set(ylim=(-0.02, 1.15 + 0.06 * rows), ylabel=f"Reconstruction {what}")
            show_overflow(axis)
            axis.set_yticks(np.arange(0, 1.1, 0.2))
            axis.set_xlabel(f"{'Reco.' if what == 'purity' else 'Gen.'} {_symbol(info, key['category'])} $p_T$ [GeV]")
            axis.legend(
                *zip(*entries, strict=True),
                title=f"{_title(info, key['category'])} ({DEFINITION_NAMES[key['definition']]})",
                loc="upper left",
                ncols=2,
                fontsize=18,
                title_fontsize=20,
                alignment="left",
            )


def _title(info: Mapping[str, Any], category: str) -> str:
    """What figures call a category: as the analysis does, if it has a label for it."""
    return str(info.get("labels", {}).get(category, category_name(category)))


def _with_one_mass(info: Mapping[str, Any], categories: Sequence[str]) -> tuple[list[str], list[str]]:
    """Categories whose candidates stand for particles of one mass, and the kinds beside them.

    Kinds may be ways to see the same particle, and then the first category has all of them; or they are particles.
    """
    if sum(info["kinds"].values()) != info["particles"]:
        return [categories[0]], list(info["kinds"])
    return [c for c in categories if c in info["kinds"]] or list(categories), []


def _symbol(info: Mapping[str, Any], category: str) -> str:
    """The particle whose momentum a category shows: that of its kind where the analysis has several particles."""
    return str(info.get("labels", {}).get(category, info["symbol"]))


def _methods(histograms: dict[str, Hist]) -> list[str]:
    """Those of all figures: a method looks the same in each, whichever others it shows."""
    return sorted({m for kind in ("candidates", "targets") for m in histograms[kind].axes["method"]})


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
            rows = matrix.sum(axis=1, keepdims=True)
            share = np.divide(matrix, rows, out=np.zeros_like(matrix, dtype=float), where=rows > 0)
            image = axis.imshow(share, cmap="cividis", vmin=0, vmax=1)
            for row, column in np.ndindex(*share.shape):
                axis.text(
                    column,
                    row,
                    f"{share[row, column]:.3f}\n({int(matrix[row, column])})" if matrix[row, column] else "0",
                    ha="center",
                    va="center",
                    fontsize=18,
                    color="black" if share[row, column] > 0.5 else "white",
                )
            axis.set_xticks(range(len(names)), names)
            axis.set_yticks(range(len(names)), names)
            axis.tick_params(which="both", top=False, right=False, length=0)
            axis.minorticks_off()
            letters = ", ".join(f"{letter}: {kind}" for kind, letter in _initials(kinds).items())
            axis.set(xlabel=f"Candidates of {NAMES.get(method, method)}", ylabel=f"Targets ({letters})")
            text = f"Share of the row's events ({DEFINITION_NAMES[key['definition']]}, {int(matrix.sum()):,} complete events)"
            axis.figure.colorbar(image, ax=axis, shrink=0.85).set_label(text, fontsize=18)


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


def _candidate_mass(write: Writer, histograms: dict[str, Hist], key: dict[str, str], info: dict[str, Any]) -> None:
    """Mass of each method's surviving candidates, correct and wrong ones stacked where there is truth."""
    histogram = histograms["candidate_mass"]
    for method in histogram.axes["method"]:
        place = {**key, "method": method}
        if not counts(histograms["candidates"], place).sum():
            continue
        chosen = histogram[{name: hist.loc(value) for name, value in place.items()}]
        kind = "" if key["category"] not in info["kinds"] else f"_{key['category']}"
        with write.figure(f"{key['dataset']}/candidate_mass{kind}_{_file_name(method)}", str(info["label"])) as (axis,):
            parts = [
                (chosen[:, hist.loc(value)], name, color)
                for value, name, color in (
                    (WRONG, "wrong", "#94a4a2"),
                    (CORRECT, "correct", color_of(method)),
                    (UNKNOWN, "candidates", color_of(method)),
                )
            ]
            parts = [part for part in parts if part[0].values().sum()]
            drawn = coarser([spectrum for spectrum, _, _ in parts])
            mplhep.histplot(
                drawn,
                ax=axis,
                stack=True,
                histtype="fill",
                label=[p[1] for p in parts],
                color=[p[2] for p in parts],
                flow="none",
            )
            together = sum(drawn)
            edges, total, error = together.axes[0].edges, together.values(), np.sqrt(together.variances())
            axis.stairs(total + error, edges, baseline=total - error, label="stat. unc.", **BAND)
            axis.set(
                xlim=between(together),
                xlabel="Candidate mass [GeV]",
                ylabel=f"{counted('Candidates', together)} / {edges[1] - edges[0]:g} GeV",
            )
            title = NAMES.get(method, method) + (
                f", {info.get('labels', {}).get(key['category'], key['category'])}" if kind else ""
            )
            axis.legend(title=title, fontsize=20, title_fontsize=20)


def _mass_sculpting(write: Writer, histograms: dict[str, Hist], datasets: dict[str, Any]) -> None:
    """Mass shape of all candidates in background, all methods over each other (figure 3)."""
    for name, info in datasets.items():
        for definition in [] if info["is_signal"] else _definitions(histograms, info)[:1]:
            key = {"dataset": name, "definition": definition}
            for what in itertools.chain(*_with_one_mass(info, info["categories"][definition])):
                finer = f"{what}_mass" in histograms
                histogram = histograms[f"{what}_mass" if finer else "candidate_mass"]
                _mass_shapes(write, histograms, histogram, key if finer else {**key, "category": what}, what, info)


def _mass_shapes(
    write: Writer, histograms: dict[str, Hist], histogram: Hist, key: dict[str, str], what: str, info: dict[str, Any]
) -> None:
    spectra = []
    for method in histogram.axes["method"]:
        place = {**key, "method": method}
        if counts(histogram, place).sum() > 0:  # negative weights may have the upper hand
            spectra.append((method, histogram[{k: hist.loc(v) for k, v in place.items()}].project("mass")))
    entries = {m: counts(histograms["candidates"], {**key, "category": what, "method": m}).sum() for m, _ in spectra}
    if max(entries.values(), default=0) < FEWEST_IN_SHAPE:
        return
    shapes = [spectrum for method, spectrum in spectra if entries[method] >= FEWEST_IN_SHAPE]
    factor = coarseness(shapes)
    with write.figure(f"{key['dataset']}/mass_sculpting_{what}", str(info["label"])) as (axis,):
        styles = styles_of(_methods(histograms))
        for position, ((method, spectrum), width) in enumerate(zip(spectra, line_widths(len(spectra)), strict=True)):
            if entries[method] < FEWEST_IN_SHAPE:
                axis.plot([], [], " ", label=f"{styles[method]['label']}: {entries[method]:.0f} entries, not drawn")
            else:
                line = "--" if position % 2 else "-"  # of two that coincide, both are seen
                shown = {part: styles[method][part] for part in ("color", "label")}
                density(axis, spectrum[:: hist.rebin(factor)], width, linestyle=line, **shown)
        axis.set(xlim=between(sum(shapes)), xlabel="Mass [GeV]", ylabel="Density [1/GeV]")
        axis.legend(title=_title(info, what), fontsize=20, title_fontsize=20)


def _multiplicity(write: Writer, histogram: Hist, dataset: str, label: str) -> None:
    """Objects per event, before the jet cut (figure 6)."""
    names = {"jets": "small-radius jets", "fatjets": "large-radius jets", "leptons": "leptons"}
    found = {name: counts(histogram, {"dataset": dataset, "collection": name}) for name in names}
    found = {name: values for name, values in found.items() if np.count_nonzero(values) > 1}  # nothing to see otherwise
    if not found:
        return
    with write.figure(f"{dataset}/multiplicity", label, panels=len(found)) as axes:
        for axis, (collection, values) in zip(axes, found.items(), strict=True):
            last = int(np.flatnonzero(values)[-1])
            edges = np.arange(last + 2) - 0.5
            mplhep.histplot(values[: last + 1] / values.sum(), edges, ax=axis, color="black", linewidth=2)
            axis.set(xlim=(edges[0], edges[-1]), xlabel=f"Number of {names[collection]}", ylabel="Share of events")
            axis.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))


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
