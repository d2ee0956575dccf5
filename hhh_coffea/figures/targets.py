"""Figures of the truth: which generated Higgs bosons have a target, and the masses of targets (figures 4 and 5)."""

from __future__ import annotations

import hist
import mplhep
import numpy as np
from hist import Hist

from hhh_coffea.figures.style import PT_EDGES, Writer, density, error_points
from hhh_coffea.results.summary import counts

RESOLVED, BOOSTED = "#5790fc", "#f89c20"


def draw(write: Writer, histograms: dict[str, Hist], key: dict[str, str], label: str) -> None:
    """Both figures of a dataset in one definition (``key``)."""
    _target_pt(write, histograms["higgs_pt"], key, label)
    _target_mass(write, histograms, key, label)


def _target_pt(write: Writer, histogram: Hist, key: dict[str, str], label: str) -> None:
    """Generated Higgs pT: all, with a resolved target, with a boosted one; and the ratios (figure 5)."""
    every = counts(histogram, {**key, "target": "all"})
    if not every.sum():
        return
    with write.figure(
        f"{key['dataset']}/{key['definition']}_higgs_pt", label, rows=2, sharex=True, height_ratios=(3, 1)
    ) as (axis, below):
        for target, color, name, marker, place in (
            ("all", "black", "all H → bb", "", 0),
            ("resolved", RESOLVED, "two small-radius jets", "o", -0.12),
            ("boosted", BOOSTED, "one fat jet", "s", 0.12),
        ):
            values = counts(histogram, {**key, "target": target})
            mplhep.histplot(values, PT_EDGES, ax=axis, yerr=np.sqrt(values), color=color, label=name, linewidth=2)
            if target != "all":
                error_points(below, values, every, place, color=color, marker=marker, markersize=6)
        axis.set(yscale="log", ylabel="Higgs bosons / 50 GeV", xlabel="")
        axis.legend(title=f"matched to ({key['definition']})", fontsize=20, title_fontsize=20)
        below.set(ylim=(0, 1.1), xlim=(0, 1050), ylabel="Share", xlabel="Gen. H $p_T$ [GeV]")


def _target_mass(write: Writer, histograms: dict[str, Hist], key: dict[str, str], label: str) -> None:
    """Generated mass of the targets and the mass their true jets give (figure 4)."""
    if not counts(histograms["target_mass"], {**key, "target": "resolved"}).sum():
        return
    with write.figure(f"{key['dataset']}/{key['definition']}_target_mass", label, columns=2) as (left, right):
        for target, color, line in (("resolved", RESOLVED, "-"), ("boosted", BOOSTED, "--")):
            if not counts(histograms["target_mass"], {**key, "target": target}).sum():
                continue
            place = {name: hist.loc(value) for name, value in {**key, "target": target}.items()}
            for axis, name in ((left, "higgs_mass"), (right, "target_mass")):
                density(axis, histograms[name][place], color=color, linestyle=line, label=target.capitalize())
        left.set(xlabel="Generated Higgs mass [GeV]", ylabel="Density [1/GeV]")
        right.set(xlabel="Mass of the true jets [GeV]", ylabel="Density [1/GeV]", xlim=(30, 230))
        filled = np.flatnonzero(histograms["higgs_mass"][{**place, "target": hist.loc("resolved")}].values())
        edges = histograms["higgs_mass"].axes["mass"].edges
        left.set_xlim(max(60, edges[filled[0]] - 6), min(200, edges[filled[-1] + 1] + 6))
        for axis in (left, right):
            axis.legend(title=f"Targets ({key['definition']})", fontsize=20, title_fontsize=20)
