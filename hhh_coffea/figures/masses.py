"""Figures of the masses of candidates: of each method, right and wrong ones; and of all methods in background."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import hist
from hist import Hist
from matplotlib.axes import Axes

from hhh_coffea.figures.looks import palette
from hhh_coffea.figures.looks.style import (
    DEFINITION_NAMES,
    FEWEST_IN_SHAPE,
    NAMES,
    RUN,
    Writer,
    color_of,
    density,
    line_widths,
    styles_of,
    title_of,
)
from hhh_coffea.figures.parts import draw_parts
from hhh_coffea.figures.spectra import between_all, coarseness, counted, say_what_is_beyond
from hhh_coffea.results.histograms import CORRECT, UNKNOWN, WRONG
from hhh_coffea.results.summary import counts

LONG_DASHES = (0, (9, 3))  # in units of the width of the line
MASS = "Candidate mass [GeV]"
SPREAD = 6  # points; of line widths where runs are compared: dashes then tell the runs apart and not the methods


def draw_candidates(write: Writer, histograms: dict[str, Hist], key: dict[str, str], info: dict[str, Any]) -> None:
    """A figure for each method, right and wrong candidates on each other where there is truth; ``key`` has a dataset.

    The axis is the same for all methods.
    """
    first = next(d for d in histograms["candidates"].axes["definition"] if d in info["categories"])
    for category in with_one_mass(info, info["categories"][first])[0]:
        place = {**key, "definition": first, "category": category}
        histogram = histograms["candidate_mass"]
        chosen = {
            method: histogram[{name: hist.loc(value) for name, value in {**place, "method": method}.items()}]
            for method in histogram.axes["method"]
            if counts(histograms["candidates"], {**place, "method": method}).sum()
        }
        spectra = [found[{"correct": sum}] for found in chosen.values()]
        if not any(spectrum.values().sum() > 0 for spectrum in spectra):
            continue
        factor, shown = coarseness(spectra), between_all(spectra)
        kind = "" if category not in info["kinds"] else f"_{category}"
        for method, found in chosen.items():
            name = f"{key['dataset']}/candidate_mass{kind}_{method.replace(':', '_')}"
            title = NAMES.get(method, method) + (f", {title_of(info, category)}" if kind else "")
            with write.figure(name, str(info["label"])) as (axis,):
                _stacked(axis, found[{"mass": slice(None, None, hist.rebin(factor))}], color_of(method))
                axis.set(xlim=shown, xlabel=MASS)
                say_what_is_beyond(axis, found[{"correct": sum}])
                axis.legend(title=title, fontsize=20, title_fontsize=22)


def _stacked(axis: Axes, found: Hist, color: str) -> None:
    """Wrong, right and unjudged candidates of one method ``(mass, correct)``, in bins that have enough of them."""
    kinds = ((WRONG, "wrong", palette.WRONG), (CORRECT, "correct", color), (UNKNOWN, "candidates", color))
    parts = [(found[{"correct": hist.loc(value)}], label, own) for value, label, own in kinds]
    parts = [part for part in parts if part[0].values().sum()]
    draw_parts(axis, parts)
    total = found[{"correct": sum}]
    axis.set_ylabel(f"{counted('Candidates', total)} / {total.axes[0].widths[0]:g} GeV")


def draw_sculpting(write: Writer, histograms: dict[str, Hist], datasets: dict[str, Any]) -> None:
    """Mass shape of all candidates in background, all methods over each other (figure 3)."""
    for name, info in datasets.items():
        if info["is_signal"]:
            continue
        for definition in [d for d in histograms["candidates"].axes["definition"] if d in info["categories"]][:1]:
            key = {"dataset": name, "definition": definition}
            for what in itertools.chain(*with_one_mass(info, info["categories"][definition])):
                finer = f"{what}_mass" in histograms
                histogram = histograms[f"{what}_mass" if finer else "candidate_mass"]
                _shapes(write, histograms, histogram, key if finer else {**key, "category": what}, what, info)


def _shapes(
    write: Writer, histograms: dict[str, Hist], histogram: Hist, key: dict[str, str], what: str, info: dict[str, Any]
) -> None:
    spectra = []
    for method in histogram.axes["method"]:
        place = {**key, "method": method}
        if counts(histogram, place).sum() > 0:  # negative weights may have the upper hand
            spectra.append((method, histogram[{k: hist.loc(v) for k, v in place.items()}].project("mass")))
    # the runs of a method beside each other, so that no wide line is drawn over a narrow one
    first = list(dict.fromkeys(method.partition(RUN)[0] for method, _ in spectra))
    spectra.sort(key=lambda spectrum: first.index(spectrum[0].partition(RUN)[0]))
    entries = {m: counts(histograms["candidates"], {**key, "category": what, "method": m}).sum() for m, _ in spectra}
    if max(entries.values(), default=0) < FEWEST_IN_SHAPE:
        return
    shapes = [spectrum for method, spectrum in spectra if entries[method] >= FEWEST_IN_SHAPE]
    factor = coarseness(shapes)
    with write.figure(f"{key['dataset']}/mass_sculpting_{what}", str(info["label"])) as (axis,):
        styles = styles_of(methods_of(histograms))
        own = [method.partition(RUN)[0] for method, _ in spectra]
        spread = SPREAD if any(RUN in method for method, _ in spectra) else 0
        widths = dict(zip(dict.fromkeys(own), line_widths(len(set(own)), spread), strict=True))
        for position, ((method, spectrum), name) in enumerate(zip(spectra, own, strict=True)):
            style, width = styles[method], widths[name]
            if entries[method] < FEWEST_IN_SHAPE:
                axis.plot([], [], " ", label=f"{style['label']}: {entries[method]:,.0f} entries, not drawn")
            else:
                # of two methods that coincide, both are seen: by dashes, and by longer ones where dashes stand for runs
                line = style.get("linestyle", "--" if position % 2 else "-")
                if line == "-" and list(widths).index(name) % 2:
                    line = LONG_DASHES
                shown = {part: style[part] for part in ("color", "label")}
                density(axis, spectrum[:: hist.rebin(factor)], width, linestyle=line, **shown)
        axis.set(xlim=between_all(shapes), xlabel=MASS, ylabel="Density [1/GeV]")
        title = f"{'All candidates' if what == 'all' else title_of(info, what)} ({DEFINITION_NAMES[key['definition']]})"
        axis.legend(title=title, fontsize=20, title_fontsize=20)


def methods_of(histograms: Mapping[str, Hist]) -> list[str]:
    """Those of all figures: a method looks the same in each, whichever others it shows."""
    found = dict.fromkeys(m for kind in ("candidates", "targets") for m in histograms[kind].axes["method"])
    names = list(dict.fromkeys(method.partition(RUN)[0] for method in found))
    return sorted(found, key=lambda method: names.index(method.partition(RUN)[0]))  # runs stay in their order


def with_one_mass(info: Mapping[str, Any], categories: Sequence[str]) -> tuple[list[str], list[str]]:
    """Categories whose candidates stand for particles of one mass, and the kinds beside them.

    Kinds may be ways to see the same particle, and then the first category has all of them; or they are particles.
    """
    if sum(info["kinds"].values()) != info["particles"]:
        return [categories[0]], list(info["kinds"])
    return [c for c in categories if c in info["kinds"]] or list(categories), []
