"""Figures of systematic variations: the mass spectrum up and down, and what that is relative to the nominal one."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import hist
import mplhep
import numpy as np
from hist import Hist

from hhh_coffea.datasets.nanoaod_options import DIRECTIONS, NOMINAL
from hhh_coffea.figures.looks.palette import SEQUENCE
from hhh_coffea.figures.looks.style import BAND, NAMES, STATISTICAL, Writer, title_of
from hhh_coffea.figures.spectra import counted
from hhh_coffea.reconstruction.observables import EVERYWHERE
from hhh_coffea.results.histograms import REGION, VARIATION

UP, DOWN = SEQUENCE[0], SEQUENCE[2]


def draw(write: Writer, masses: Hist, dataset: str, definition: str, info: Mapping[str, Any]) -> None:
    """Draw one figure for each method, kind of candidate and source of uncertainty; ``masses`` are ``candidate_mass``."""
    if VARIATION not in [axis.name for axis in masses.axes] or dataset not in masses.axes["dataset"]:
        return
    chosen = {"dataset": dataset, "definition": definition}
    if REGION in [axis.name for axis in masses.axes]:
        chosen[REGION] = EVERYWHERE
    categories = [name for name in info["categories"][definition] if name in info["kinds"]]
    for method, category in itertools.product(masses.axes["method"], categories):
        if category not in masses.axes["category"]:
            continue
        place = {name: hist.loc(value) for name, value in {**chosen, "method": method, "category": category}.items()}
        spectra = masses[{**place, "correct": sum}]
        if spectra[{VARIATION: hist.loc(NOMINAL)}].values().sum() <= 0:
            continue
        for source in _sources(spectra):
            name = f"{dataset}/systematics_{method}_{category}_with_{source}"
            title = f"{NAMES.get(method, method)}, {title_of(info, category)}"
            _variation(write, name, spectra, source, title, str(info["label"]))


def _sources(spectra: Hist) -> list[str]:
    names = [str(name).rpartition("_")[0] for name in spectra.axes["variation"]]
    return sorted({name for name in names if name})


def _variation(write: Writer, name: str, spectra: Hist, source: str, title: str, label: str) -> None:
    nominal = spectra[{"variation": hist.loc(NOMINAL)}]
    edges = nominal.axes[0].edges
    with write.figure(name, label, rows=2, height=11, sharex=True, gridspec_kw={"height_ratios": [3, 1]}) as axes:
        spectrum, ratio = axes
        error = np.sqrt(nominal.variances())
        mplhep.histplot(nominal.values(), edges, yerr=error, ax=spectrum, color="black", label="nominal", flow="none")
        some = nominal.values() > 0
        below = np.where(some, nominal.values(), 1.0)
        relative = np.where(some, error / below, 0)
        ratio.stairs(1 + relative, edges, baseline=1 - relative, label=STATISTICAL, **BAND)
        reach = 0.05  # of the ratio, over bins that are known to 10%
        for way, color in zip(DIRECTIONS, (UP, DOWN), strict=True):
            if f"{source}_{way}" in spectra.axes["variation"]:
                varied = spectra[{"variation": hist.loc(f"{source}_{way}")}].values()
                mplhep.histplot(varied, edges, ax=spectrum, color=color, label=f"{source} {way}", flow="none")
                known = some & (relative < 0.1)
                reach = max(reach, 1.3 * float(np.abs(varied / below - 1)[known].max(initial=0)))
                ratio.stairs(np.where(some, varied / below, np.nan), edges, baseline=None, color=color, linewidth=2)
        spectrum.set(
            ylabel=f"{counted('Candidates', nominal)} / {edges[1] - edges[0]:g} GeV",
            ylim=(0, 1.35 * spectrum.get_ylim()[1]),
        )
        spectrum.legend(title=title, loc="upper right", ncols=3)
        ratio.axhline(1, color="black", linewidth=1)
        ratio.legend(fontsize=16, loc="upper right")
        ratio.set(xlabel=nominal.axes[0].label, ylabel="varied / nominal", xlim=(edges[0], edges[-1]))
        ratio.set_ylim(1 - reach, 1 + reach)
