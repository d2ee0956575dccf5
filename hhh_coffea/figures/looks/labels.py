"""What stands above the axes of every figure: the experiment or the source of the events, luminosity and energy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes

SIZE = 26
NOTE_COLOR = "#bd1f01"
NOTE_SIZE, SMALLEST_NOTE = 19, 12  # of the note on models: as large as there is room
EXPERIMENT_SIZE = 1.3  # relative to the text after it; what stands on the right is as much smaller
ABOVE, GAP = 8, 7  # points between the axes and the base line, and between the experiment and the text
POINTS_PER_INCH = 72


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
    # trained on other events: (kind, name), such as ("bdt", "hbb_bdt"); figures of methods that use them name them
    foreign: tuple[tuple[str, str], ...] = ()

    @property
    def conditions(self) -> str:
        """Luminosity and centre-of-mass energy, as far as they are known."""
        luminosity = "" if self.luminosity is None else f"{self.luminosity:g} fb$^{{-1}}$"
        energy = "" if self.sqrt_s is None else f"{self.sqrt_s:g} TeV"
        return f"{luminosity} ({energy})" if luminosity and energy else luminosity or energy

    @property
    def warning(self) -> str:
        """The note on the models that were trained on other events."""
        names = ", ".join(dict.fromkeys(name for _, name in self.foreign))
        return f"model trained on other events: {names}" if names else ""

    def write(self, axis: Axes, label: str = "") -> None:
        """Write above ``axis``; ``label`` is what this figure shows, before luminosity and energy."""
        right = ", ".join(filter(None, (label, self.conditions)))
        if self.warning:
            place: dict[str, Any] = {"transform": axis.transAxes, "ha": "left", "va": "top", "rotation": 90}
            note = axis.text(1.005, 1, self.warning, color=NOTE_COLOR, fontsize=NOTE_SIZE, **place)
            size = note.get_window_extent(_renderer(axis))
            if size.y0 < 0:  # as long as from the top of the axes to the end of the figure
                note.set_fontsize(max(SMALLEST_NOTE, NOTE_SIZE * size.y1 / size.height))
        if not self.experiment:
            left = axis.set_title(self.source, loc="left", fontweight="bold", fontsize=SIZE)
            title = axis.set_title(right, loc="right", fontsize=SIZE)
            if self.conditions:
                _fit(axis, [left, title])
            return
        # sizes are mplhep's; its own functions draw the whole figure to place a text, which doubles the time of all figures
        texts = _write(axis, 1.0, self.experiment, self.text, right)
        if (scale := _scale(axis, texts)) < 1:
            for text in texts:
                text.remove()
            _write(axis, scale, self.experiment, self.text, right)


def labels_of(
    config: Mapping[str, Any],
    datasets: Mapping[str, Mapping[str, Any]],
    foreign: Sequence[tuple[str, str]] = (),
) -> Labels:
    """Labels of a run with the options ``config`` (of provenance.json) on these datasets (of histograms.json).

    As in mplhep the text is "Simulation" unless a dataset is data or the user says otherwise. ``foreign``: kind and name
    of models that were trained on other events, which figures of methods that use them name.
    """
    has_data = any(info.get("is_data") for info in datasets.values())
    experiment, text = config.get("label") or "", config.get("label_text")
    if text is None:
        text = "" if has_data or not experiment else "Simulation"
    source = source_of(datasets)
    return Labels(source, experiment, text, config.get("luminosity"), config.get("sqrt_s"), tuple(foreign))


def source_of(datasets: Mapping[str, Mapping[str, Any]]) -> str:
    """What figures say above their axes: which events they show. Never that CMS had a say in them."""
    formats = {str(info.get("format", "delphes")) for info in datasets.values()}
    if "nanoaod" not in formats:
        return "Delphes simulation"
    return "NanoAOD" if formats == {"nanoaod"} else "Delphes and NanoAOD"


def _write(axis: Axes, scale: float, experiment: str, words: str, right: str) -> list[Any]:
    """The experiment, words after it and what stands on the right, on one line above the axes."""
    place: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "baseline"}
    bold = axis.annotate(
        experiment, (0, 1), (0, ABOVE), fontweight="bold", fontsize=scale * EXPERIMENT_SIZE * SIZE, ha="left", **place
    )
    offset = _width(bold) * POINTS_PER_INCH / axis.figure.dpi + GAP
    italic = axis.annotate(
        words, (0, 1), (offset, ABOVE), fontstyle="italic", fontsize=scale * SIZE, ha="left", **place
    )
    last = axis.annotate(right, (1, 1), (0, ABOVE), fontsize=scale * SIZE / EXPERIMENT_SIZE, ha="right", **place)
    return [bold, italic, last]


def _scale(axis: Axes, texts: list[Any]) -> float:
    """What the size of texts beside each other is multiplied by so that they fit; above 1 where there is room."""
    axis.apply_aspect()
    room = 0.95 * axis.get_window_extent(_renderer(axis)).width
    return float(room / sum(_width(text) for text in texts))


def _fit(axis: Axes, texts: list[Any]) -> None:
    """Smaller letters where texts do not fit beside each other."""
    if (scale := _scale(axis, texts)) < 1:
        for text in texts:
            text.set_fontsize(SIZE * scale)


def _width(text: Any) -> float:
    """In pixels."""
    return float(text.get_window_extent(_renderer(text)).width)


def _renderer(artist: Any) -> Any:
    return artist.figure.canvas.get_renderer()
