"""Figures of the truth: which generated particles have a target, and the masses of targets (figures 4 and 5)."""

from __future__ import annotations

import itertools
from typing import Any

import hist
import mplhep
import numpy as np
import numpy.typing as npt
from hist import Hist
from matplotlib.axes import Axes

from hhh_coffea.figures.looks.palette import SEQUENCE
from hhh_coffea.figures.looks.style import (
    DEFINITION_NAMES,
    FEWEST_IN_SHAPE,
    MARKERS,
    PT_EDGES,
    PT_WIDTH,
    Writer,
    density,
    show_overflow,
)
from hhh_coffea.figures.ratios import draw_ratios
from hhh_coffea.figures.spectra import between, coarseness, merged, well_filled
from hhh_coffea.results.histograms import generated
from hhh_coffea.results.summary import counts

COLORS = (SEQUENCE[0], SEQUENCE[2], SEQUENCE[1], SEQUENCE[3], "#8a70a8", "black")  # one per kind
LINES = ("-", "--", "-.", ":")
SPACE = 0.03
MADE_OF = {"resolved": "two small-radius jets", "boosted": "one large-radius jet"}


def draw(write: Writer, histograms: dict[str, Hist], key: dict[str, str], info: dict[str, Any]) -> None:
    """Both figures of a dataset in one definition (``key``)."""
    _target_pt(write, histograms["generated_pt"], key, info)
    _target_mass(write, histograms, key, info)


def _target_pt(write: Writer, histogram: Hist, key: dict[str, str], info: dict[str, Any]) -> None:
    """Generated pT of all particles and of those with a target of each kind, and the shares (figure 5).

    Where a kind is a particle of its own, its share is of the generated particles of that kind.
    """
    every = counts(histogram, {**key, "target": "all"})
    if not every.sum():
        return
    own = {kind: counts(histogram, {**key, "target": generated(kind)}) for kind in info["kinds"]}
    apart = all(values.sum() for values in own.values())
    everything = "generated particles" if apart else f"all {info['symbol']}"
    with write.figure(
        f"{key['dataset']}/{key['definition']}_generated_pt",
        str(info["label"]),
        rows=2,
        sharex=True,
        height_ratios=(3, 1),
    ) as (axis, below):
        if not apart:
            _spectrum(axis, every, color="black", label=everything)
        shares, styles = {}, {}
        for kind, color, marker in zip(info["kinds"], itertools.cycle(COLORS), itertools.cycle(MARKERS), strict=False):
            values = counts(histogram, {**key, "target": kind})
            name = _label(info, kind)
            name += f": {MADE_OF[kind]}" if kind in MADE_OF else ""
            shown = name if kind in MADE_OF and not apart else f"{name}, with target"
            if apart:
                line: dict[str, Any] = {"color": color, "linestyle": "--", "linewidth": 1.5}
                _spectrum(axis, own[kind], errors=False, label=f"{name}, generated", **line)
            _spectrum(axis, values, color=color, label=shown)
            shares[kind] = own[kind] if apart else every, values
            styles[kind] = {"color": color, "marker": marker, "markersize": 6}
        draw_ratios(below, PT_EDGES, shares, styles)
        axis.set(yscale="log", ylabel="Particles / 50 GeV", xlabel="")
        axis.legend(
            title=("Generated particles" if apart else "Targets") + f" ({DEFINITION_NAMES[key['definition']]})",
            fontsize=20,
            title_fontsize=20,
            ncols=2 if apart and len(own) > 2 else 1,
        )
        below.set_ylabel(f"Share of\n{'generated' if apart else everything}", fontsize=22)
        below.set(ylim=(0, 1.1), xlabel=f"Gen. {info['symbol']} $p_T$ [GeV]")
        show_overflow(below)


def _spectrum(axis: Axes, values: npt.NDArray[Any], errors: bool = True, **style: Any) -> None:
    """Particles per bin of :data:`PT_EDGES`; bins with few are joined."""
    borders = well_filled(values)
    edges = PT_EDGES[borders]
    scale = PT_WIDTH / np.diff(edges)
    number = merged(values, borders)
    error = np.sqrt(number) * scale if errors else None
    mplhep.histplot(number * scale, edges, ax=axis, yerr=error, **{"linewidth": 2, **style})


def _target_mass(write: Writer, histograms: dict[str, Hist], key: dict[str, str], info: dict[str, Any]) -> None:
    """Mass that the true objects of the targets give, and on the left the generated one if it varies (figure 4)."""
    entries = {k: counts(histograms["generated_pt"], {**key, "target": k}).sum() for k in info["kinds"]}
    kinds = [kind for kind, number in entries.items() if number >= FEWEST_IN_SHAPE]
    spectra = {
        name: {k: histograms[name][{n: hist.loc(v) for n, v in {**key, "target": k}.items()}] for k in kinds}
        for name in ("generated_mass", "target_mass")
    }
    spectra = {name: {k: h for k, h in found.items() if h.values().sum() > 0} for name, found in spectra.items()}
    if not spectra["target_mass"]:
        return
    varies = any(np.count_nonzero(h.values()) > 2 for h in spectra["generated_mass"].values())
    names = ("generated_mass", "target_mass") if varies else ("target_mass",)
    labels = {
        "generated_mass": f"Generated {info['particle']} mass [GeV]",
        "target_mass": "Mass of the true objects [GeV]",
    }
    with write.figure(
        f"{key['dataset']}/{key['definition']}_target_mass", str(info["label"]), columns=len(names)
    ) as axes:
        for axis, name in zip(axes, names, strict=True):
            factor = coarseness(spectra[name].values())
            for kind, color, line in zip(info["kinds"], itertools.cycle(COLORS), itertools.cycle(LINES), strict=False):
                if kind in spectra[name]:
                    label = _label(info, kind)
                    shape = spectra[name][kind][:: hist.rebin(factor)]
                    density(axis, shape, color=color, linestyle=line, label=label)
            low, high = between(sum(spectra[name].values()))
            beside = SPACE * (high - low)  # narrow peaks stand off the sides
            axis.set(xlabel=labels[name], ylabel="Density [1/GeV]", xlim=(low - beside, high + beside))
            axis.set_ylim(0, 1.25 * axis.get_ylim()[1])
            for kind in (k for k, number in entries.items() if 0 < number < FEWEST_IN_SHAPE):
                text = f"{_label(info, kind)}: {entries[kind]:.0f} entries, not drawn"
                axis.plot([], [], " ", label=text)
            title = f"Targets ({DEFINITION_NAMES[key['definition']]})"
            axis.legend(title=title, fontsize=20, title_fontsize=20, loc="upper right")


def _label(info: dict[str, Any], kind: str) -> str:
    """What the analysis calls a kind in figures; words are capitalised, and symbols of particles stay what they are."""
    return str(info.get("labels", {}).get(kind, kind.capitalize() if kind in MADE_OF else kind))
