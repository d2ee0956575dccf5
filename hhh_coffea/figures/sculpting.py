"""Figures of mass sculpting: spectra of all methods over their random pairings, and the trade-off."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from hist import Hist
from matplotlib.axes import Axes

from hhh_coffea.base.mass_measures import EDGES, PEAK, within
from hhh_coffea.figures.looks.palette import SEQUENCE
from hhh_coffea.figures.looks.style import (
    CATEGORY_NAMES,
    DEFINITION_NAMES,
    FORMATS,
    MARKERS,
    NAMES,
    Writer,
    line_widths,
    styles_of,
)
from hhh_coffea.figures.spectra import effective, merged, well_filled
from hhh_coffea.results.sculpting_spectra import CANDIDATES, RANDOM, SPECTRA, keys, spectrum

FloatArray = npt.NDArray[np.float64]
Positions = npt.NDArray[np.int64]
SHADE = "0.9"  # of the masses around that of the Higgs boson
RANK_NAMES = {0: "", 1: "leading in pT", 2: "second in pT", 3: "third in pT"}
FEWEST = 50  # candidates below which a spectrum is no shape
LINES = ("-", "--")  # of the methods, in turn
RANDOM_LINE = ":"


def draw(
    write: Writer, histograms: dict[str, Hist], datasets: dict[str, Any], models: Mapping[str, str] | None = None
) -> None:
    """Spectra of every background dataset, if the histograms of :mod:`.sculpting_spectra` are there.

    ``models``: names of those that a user chose, by kind (``spanet``), which the legend tells.
    """
    if SPECTRA not in histograms:
        return
    by_dataset: dict[tuple[str, str], list[dict[str, str]]] = {}
    for key in keys(histograms):
        by_dataset.setdefault((key["dataset"], key["definition"]), []).append(key)
    for (dataset, definition), found in by_dataset.items():
        for category in ("merged", "resolved", "boosted"):
            for rank, words in RANK_NAMES.items():
                if rank and category != "merged":
                    continue
                name = f"{dataset}/{definition}_sculpting_{category}" + (f"_{rank}" if rank else "")
                title = ", ".join(filter(None, (CATEGORY_NAMES[category], words, DEFINITION_NAMES[definition])))
                _spectra(
                    write, histograms, name, str(datasets[dataset]["label"]), title, found, category, rank, models or {}
                )


def _spectra(
    write: Writer,
    histograms: dict[str, Hist],
    name: str,
    label: str,
    title: str,
    found: list[dict[str, str]],
    category: str,
    rank: int,
    models: Mapping[str, str],
) -> None:
    """Shapes of candidates and of random pairings (dotted) above, and their ratio, in the same bins, below.

    Bars are bootstrap errors. Every second method is dashed: of two that coincide, both are seen.
    """
    pairs: list[tuple[str, FloatArray, FloatArray]] = []
    for key in found:
        candidates = spectrum(histograms, key, category, rank, CANDIDATES)
        if candidates[0].sum() >= FEWEST:
            random = spectrum(histograms, key, category, rank, RANDOM)
            low, high = EDGES[0], EDGES[-1]
            pairs.append((key["method"], within(candidates, low, high), within(random, low, high)))
    if not pairs:
        return
    with write.figure(name, label, rows=2, sharex=True, height_ratios=(3, 1)) as (axis, below):
        highest = 2.0
        styles = styles_of([method for method, _, _ in pairs])
        lines = zip(pairs, line_widths(len(pairs)), itertools.cycle(LINES), strict=False)
        for (method, shape, random), width, line in lines:
            color, label = styles[method]["color"], styles[method]["label"]
            label += f" ({model})" if (model := models.get(method.partition(":")[0])) else ""
            borders, beside = common_bins(shape, random)
            edges, widths = EDGES[borders], np.diff(EDGES[borders])
            ours, chance = (np.add.reduceat(some[:, : borders[-1]], borders[:-1], axis=1) for some in (shape, random))
            _steps(axis, edges, ours / widths, color=color, linestyle=line, label=label, linewidth=width)
            density = merged(random[0], beside) / np.diff(EDGES[beside])
            axis.stairs(density, EDGES[beside], color=color, linestyle=RANDOM_LINE, linewidth=2)
            ratio = np.divide(ours, chance, out=np.full_like(ours, np.nan), where=chance > 0)
            _steps(below, edges, ratio, color=color, linestyle=line, linewidth=width)
            highest = max(highest, 1.15 * float(np.nanmax(ratio[0])))
        axis.plot([], [], color="black", linestyle=RANDOM_LINE, linewidth=2, label="random pairing of the same jets")
        low, high = PEAK
        below.axvspan(low, high, color=SHADE, linewidth=0, zorder=0, label=f"{low:g}–{high:g} GeV")
        below.legend(fontsize=16, loc="upper right", borderaxespad=0.1)
        axis.set(xlim=(EDGES[0], EDGES[-1]), ylabel="Density [1/GeV]", ylim=(0, 1.5 * axis.get_ylim()[1]))
        axis.legend(title=title, fontsize=18, title_fontsize=18, loc="upper right")
        below.axhline(1, color="black", linewidth=1)
        below.set(xlabel="Candidate mass [GeV]", ylim=(0, min(highest, 6.0)))
        below.set_ylabel("Ratio to\nrandom pairing", fontsize=17, linespacing=1)


def common_bins(candidates: FloatArray, random: FloatArray) -> tuple[Positions, Positions]:
    """Borders of bins, as positions of edges, in which both spectra ``(replicas, bins)`` have enough entries.

    The first are those of the candidates and of the ratio. The second are the same and, where random pairings reach further
    than candidates, bins of their own on both sides.
    """
    ours, chance = (effective(some[0], some[1:].var(axis=0)) for some in (candidates, random))
    filled = np.flatnonzero(ours)
    first, stop = int(filled[0]), int(filled[-1]) + 1
    borders = first + well_filled(ours[first:stop], chance[first:stop])
    beside = [borders]
    if chance[:first].any():
        beside.append(well_filled(chance[:first]))
    if chance[stop:].any():
        beside.append(stop + well_filled(chance[stop:]))
    return borders, np.unique(np.concatenate(beside))


def _steps(axis: Axes, edges: FloatArray, replicas: FloatArray, **style: Any) -> None:
    """The sample ``replicas[0]`` as steps, with the replicas' standard deviation as bars."""
    axis.stairs(replicas[0], edges, **style)
    centres = (edges[1:] + edges[:-1]) / 2
    axis.errorbar(
        centres, replicas[0], yerr=replicas[1:].std(axis=0), linestyle="none", linewidth=1, color=style["color"]
    )


def draw_tradeoff(folder: Path, content: dict[str, Any]) -> str:
    """Purity × efficiency against the EMD to random pairing, every model a point; returns the figure's name."""
    write = Writer(folder, FORMATS)
    points = content["points"]
    emds = [point["sculpting"]["30-225"]["emd_to_random_gev"] for point in points]
    styles = _styles_of_models([point["name"] for point in points])
    with write.figure("tradeoff", f"{content['signal']}, {content['background']}") as (axis,):
        for point, emd in zip(points, emds, strict=True):
            style = styles[point["name"]]
            axis.errorbar(
                emd["value"],
                point["product"],
                xerr=emd["error"],
                yerr=_product_error(point),
                marker=style["marker"],
                color=style["color"],
                markersize=12,
                capsize=4,
                linestyle="none",
                label=NAMES.get(point["name"], point["name"]),
            )
        axis.set_xlabel("EMD of masses in background to random pairing [GeV]")
        axis.set_ylabel("Purity × efficiency, merged")
        low, high = axis.get_ylim()
        span = high - low
        # room for the legend beside the points, which lie around a rising curve
        below = 0.05 + 0.04 * max(len(points) - 3, 0)
        axis.set(xlim=(0, 1.15 * axis.get_xlim()[1]), ylim=(low - below * span, high + 0.12 * span))
        axis.legend(loc="lower right", fontsize=18)
    return "tradeoff.png"


def _styles_of_models(names: Sequence[str]) -> dict[str, dict[str, str]]:
    """The baseline looks like the method that it is and the first model like SPANet; others have markers of their own."""
    known = styles_of(["chi2+bdt", "spanet"])
    styles = dict(zip(names, known.values(), strict=False))
    taken = {style["marker"] for style in styles.values()}
    others = zip(
        names[2:], itertools.cycle(SEQUENCE), itertools.cycle(m for m in MARKERS if m not in taken), strict=False
    )
    return styles | {name: {"color": color, "marker": marker} for name, color, marker in others}


def _product_error(point: dict[str, Any]) -> float | None:
    """Of purity × efficiency; both count the same correct candidates, so their relative errors are added linearly.

    None where the comparison has no errors of purity and efficiency.
    """
    if "low" not in point["purity"]:
        return None
    relative = sum(
        (p["high"] - p["low"]) / 2 / p["value"] for p in (point["purity"], point["efficiency"]) if p["value"]
    )
    return float(point["product"] * relative)
