"""What stands above the axes of every figure: the experiment or the source of the events, luminosity and energy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import mplhep
from matplotlib.axes import Axes

SIZE = 26


@dataclass(frozen=True)
class Labels:
    """The conventions are mplhep's: the experiment in bold, a text in italics, ``3000 fb⁻¹ (14 TeV)`` on the right.

    Without an experiment ``source`` stands on the left: what the events are, and never that an experiment had a say.
    """

    source: str = "Delphes simulation"
    experiment: str = ""
    text: str = ""
    luminosity: float | None = None  # fb⁻¹
    sqrt_s: float | None = None  # TeV

    @property
    def conditions(self) -> str:
        """Luminosity and centre-of-mass energy, as far as they are known."""
        luminosity = "" if self.luminosity is None else f"{self.luminosity:g} fb$^{{-1}}$"
        energy = "" if self.sqrt_s is None else f"{self.sqrt_s:g} TeV"
        return f"{luminosity} ({energy})" if luminosity and energy else luminosity or energy

    def write(self, axis: Axes, label: str = "") -> None:
        """Write above ``axis``; ``label`` is what this figure shows, before luminosity and energy."""
        right = ", ".join(filter(None, (label, self.conditions)))
        if self.experiment:
            mplhep.label.exp_text(self.experiment, self.text, lumi=right, loc=0, ax=axis)
            return
        left = axis.set_title(self.source, loc="left", fontweight="bold", fontsize=SIZE)
        title = axis.set_title(right, loc="right", fontsize=SIZE)
        if self.conditions:
            _fit(axis, [left, title])


def labels_of(config: Mapping[str, Any], datasets: Mapping[str, Mapping[str, Any]]) -> Labels:
    """Labels of a run with the options ``config`` (of provenance.json) on these datasets (of histograms.json).

    As in mplhep the text is "Simulation" unless a dataset is data or the user says otherwise.
    """
    has_data = any(info.get("is_data") for info in datasets.values())
    experiment, text = config.get("label") or "", config.get("label_text")
    if text is None:
        text = "" if has_data or not experiment else "Simulation"
    source = source_of(datasets)
    return Labels(source, experiment, text, config.get("luminosity"), config.get("sqrt_s"))


def source_of(datasets: Mapping[str, Mapping[str, Any]]) -> str:
    """What figures say above their axes: which events they show. Never that CMS had a say in them."""
    formats = {str(info.get("format", "delphes")) for info in datasets.values()}
    if "nanoaod" not in formats:
        return "Delphes simulation"
    return "NanoAOD" if formats == {"nanoaod"} else "Delphes and NanoAOD"


def _fit(axis: Axes, texts: list[Any]) -> None:
    """Smaller letters where two texts do not fit beside each other."""
    renderer = axis.figure.canvas.get_renderer()  # type: ignore[attr-defined]
    needed = sum(text.get_window_extent(renderer).width for text in texts)
    room = 0.97 * axis.get_window_extent(renderer).width
    if needed > room:
        for text in texts:
            text.set_fontsize(SIZE * room / needed)
