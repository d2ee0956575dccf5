"""Figures of the truth: which generated particles have a target, and the masses of targets (figures 4 and 5)."""

from __future__ import annotations

import itertools
from typing import Any

import hist
import mplhep
import numpy as np
from hist import Hist

from hhh_coffea.figures.ratios import draw_ratios
from hhh_coffea.figures.style import MARKERS, PT_EDGES, Writer, density
from hhh_coffea.results.summary import counts

COLORS = ("#5790fc", "#f89c20", "#e42536", "#964a8b", "#9c9ca1", "#7a21dd")  # Petroff, six colours: one a kind
LINES = ("-", "--", "-.", ":")
MADE_OF = {"resolved": "two small-radius jets", "boosted": "one large-radius jet"}


def draw(write: Writer, histograms: dict[str, Hist], key: dict[str, str], info: dict[str, Any]) -> None:
    """Both figures of a dataset in one definition (``key``)."""
    _target_pt(write, histograms["generated_pt"], key, info)
    _target_mass(write, histograms, key, info)


def _target_pt(write: Writer, histogram: Hist, key: dict[str, str], info: dict[str, Any]) -> None:
    """Generated pT: all, with a target of each kind; and the ratios (figure 5)."""
    every = counts(histogram, {**key, "target": "all"})
    if not every.sum():
        return
    with write.figure(
        f"{key['dataset']}/{key['definition']}_generated_pt",
        str(info["label"]),
        rows=2,
        sharex=True,
        height_ratios=(3, 1),
    ) as (axis, below):
        everything = f"all {info['symbol']}" + ("s" if info["symbol"] == "particle" else "")
        mplhep.histplot(every, PT_EDGES, ax=axis, yerr=np.sqrt(every), color="black", label=everything, linewidth=2)
        shares, styles = {}, {}
        for kind, color, marker in zip(info["kinds"], itertools.cycle(COLORS), itertools.cycle(MARKERS), strict=False):
            values = counts(histogram, {**key, "target": kind})
            name = MADE_OF.get(kind) or _label(info, kind, kind)
            mplhep.histplot(values, PT_EDGES, ax=axis, yerr=np.sqrt(values), color=color, label=name, linewidth=2)
            shares[kind], styles[kind] = (every, values), {"color": color, "marker": marker, "markersize": 6}
        draw_ratios(below, PT_EDGES, shares, styles)
        axis.set(yscale="log", ylabel="Particles / 50 GeV", xlabel="")
        axis.legend(title=f"matched to ({key['definition']})", fontsize=20, title_fontsize=20)
        below.set_ylabel(f"Share of\n{everything}", fontsize=22)
        below.set(ylim=(0, 1.1), xlim=(0, 1050), xlabel=f"Gen. {info['symbol']} $p_T$ [GeV]")


def _target_mass(write: Writer, histograms: dict[str, Hist], key: dict[str, str], info: dict[str, Any]) -> None:
    """Generated mass of the targets and the mass their true objects give (figure 4)."""
    kinds = [k for k in info["kinds"] if counts(histograms["target_mass"], {**key, "target": k}).sum()]
    if not kinds:
        return
    with write.figure(f"{key['dataset']}/{key['definition']}_target_mass", str(info["label"]), columns=2) as axes:
        left, right = axes
        generated = np.zeros(histograms["generated_mass"].axes["mass"].size)
        for kind, color, line in zip(kinds, itertools.cycle(COLORS), itertools.cycle(LINES), strict=False):
            place = {name: hist.loc(value) for name, value in {**key, "target": kind}.items()}
            for axis, name in ((left, "generated_mass"), (right, "target_mass")):
                if histograms[name][place].values().sum():
                    density(
                        axis,
                        histograms[name][place],
                        color=color,
                        linestyle=line,
                        label=_label(info, kind, kind.capitalize()),
                    )
            generated += histograms["generated_mass"][place].values()
        low, high = histograms["target_mass"].axes["mass"].edges[[0, -1]]
        left.set(xlabel=f"Generated {info['particle']} mass [GeV]", ylabel="Density [1/GeV]")
        right.set(xlabel="Mass of the true objects [GeV]", ylabel="Density [1/GeV]", xlim=(low, high))
        filled = np.flatnonzero(generated)
        if len(filled):
            edges = histograms["generated_mass"].axes["mass"].edges
            left.set_xlim(max(60, edges[filled[0]] - 6), min(200, edges[filled[-1] + 1] + 6))
        for axis in axes:
            axis.legend(title=f"Targets ({key['definition']})", fontsize=20, title_fontsize=20)


def _label(info: dict[str, Any], kind: str, otherwise: str) -> str:
    """What the analysis calls a kind in figures."""
    return str(info.get("labels", {}).get(kind, otherwise))
