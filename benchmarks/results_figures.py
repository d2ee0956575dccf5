"""Figures of the comparison: per pT bin beside the published curves, trade-off of purity and efficiency, confusion."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from hhh_coffea.figures import results_figures as figures
from hhh_coffea.figures.looks.style import DEFINITION_NAMES, NAMES, Writer, color_of, styles_of
from hhh_coffea.methods.method import SPANET
from hhh_coffea.results import bdt_scan
from hhh_coffea.results import directory as results

SPANET_SCAN = "spanet_scan"
DECODINGS = ("spanet:joint", "spanet:expected", "spanet:reference", "spanet:greedy")
# of the figures of a results directory, in the order of the page
KEPT = (
    *(f"default_purity_efficiency_{c}" for c in ("merged", "boosted", "resolved")),
    *(f"reference_purity_efficiency_{c}" for c in ("merged", "boosted", "resolved", "resolved_after_overlap_removal")),
    *(f"default_confusion_{m}" for m in ("chi2", "chi2+bdt", "spanet_expected", "spanet_greedy")),
    *(f"reference_confusion_{m}" for m in ("chi2+bdt", "spanet_expected")),
)


def draw(folder: Path, dataset: str, parts: dict[str, Path | str]) -> dict[str, list[str]]:
    """Draw a dataset's figures below ``folder`` as PNG; names by part, in the order of the page."""
    drawn: dict[str, list[str]] = {"full": [], "resolved": [], "trade_off": []}
    for part in ("full", "resolved"):
        place = parts.get(part)
        if not isinstance(place, Path):
            continue
        paths = {path.name: path for path in figures.draw_all(place, overlay_published=True, formats=("png",))}
        for name in KEPT if part == "full" else [k for k in KEPT if k.endswith("_resolved")]:
            if name in paths:
                target = folder / f"{dataset}_{part}_{name}.png"
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(paths[name].with_name(f"{name}.png"), target)
                drawn[part].append(target.name)
    drawn["trade_off"] = _trade_off(folder, dataset, parts)
    return drawn


def _trade_off(folder: Path, dataset: str, parts: dict[str, Path | str]) -> list[str]:
    """Merged purity against efficiency as more Higgs bosons are declared, with lines of equal product."""
    full, scan = parts["full"], parts["scan"]
    assert isinstance(full, Path)
    assert isinstance(scan, Path)
    histograms, datasets = results.read_histograms(full)
    bdt, _ = results.read_histograms(scan)
    summary = results.read_json(full / "summary.json")["results"][dataset]
    write, names = Writer(folder, ("png",)), []
    for definition in summary:
        key = {"dataset": dataset, "definition": definition, "category": "merged"}
        name = f"{dataset}_trade_off_{definition}"
        with write.figure(name, str(datasets[dataset]["label"])) as (axis,):
            lines = {"chi2+bdt": _points(bdt[bdt_scan.SCAN], key, lambda n: n[0].isdigit())}
            if dataset in histograms[SPANET_SCAN].axes["dataset"]:
                for method in DECODINGS:
                    kind = SPANET[method].decodings[definition]
                    points = _points(histograms[SPANET_SCAN], key, lambda n, kind=kind: n.startswith(f"{kind}:"))
                    lines[method] = points
            for method, points in lines.items():
                axis.plot(points[:, 0], points[:, 1], ".-", color=color_of(method), label=f"{NAMES[method]}, scanned")
            styles = styles_of(sorted(summary[definition]))
            for method, style in styles.items():
                merged = summary[definition][method]["categories"]["merged"]
                place = [merged[w]["value"] for w in ("efficiency", "purity")]
                axis.plot(*place, linestyle="none", markersize=14, **style)
            low, high = axis.get_ylim()
            axis.set_ylim(low, high + (high - low) * 0.04 * (len(lines) + len(styles) + 2))  # for the legend
            _equal_product(axis, high)
            axis.plot([], [], color="0.7", linewidth=1, label="equal purity × efficiency")
            axis.set(xlabel="Efficiency, merged", ylabel="Purity, merged")
            axis.legend(
                fontsize=16,
                title=DEFINITION_NAMES[definition],
                title_fontsize=18,
                ncols=2,
                loc="upper left",
                alignment="left",
            )
            axis.set_yticks([tick for tick in axis.get_yticks() if low <= tick <= 1])
        names.append(f"{name}.png")
    return names


def _points(histogram: Any, key: dict[str, str], use: Any) -> Any:
    """(efficiency, purity) along a scan, ``(points, 2)``, in the order of its parameter."""
    names = sorted(filter(use, histogram.axes["working_point"]), key=lambda n: float(n.rpartition(":")[2]))
    counts = [bdt_scan.counts(histogram, {**key, "working_point": name}) for name in names]
    return np.array([(n["retrieved"] / n["targets"], n["correct"] / max(n["candidates"], 1)) for n in counts])


def _equal_product(axis: Any, below: float) -> None:
    """Lines of equal purity × efficiency; their numbers stand ``below`` the legend."""
    low, high = axis.get_xlim()
    bottom, top = axis.get_ylim()
    x = np.linspace(max(low, 1e-3), high, 200)
    for product in np.arange(0.05, 1, 0.05):
        y = product / x
        axis.plot(x, y, color="0.85", linewidth=1, zorder=0)
        if bottom < y[-1] < min(top - 0.05 * (top - bottom), below):  # named where the line ends on the right
            place = low + 0.965 * (high - low)  # clear of the ticks
            box = {"facecolor": "white", "edgecolor": "none", "pad": 1}
            axis.text(
                place,
                product / place,
                f"{product:.2f}",
                color="0.5",
                fontsize=14,
                ha="right",
                va="center",
                bbox=box,
                zorder=0.5,
            )
    axis.set(xlim=(low, high), ylim=(bottom, top))
