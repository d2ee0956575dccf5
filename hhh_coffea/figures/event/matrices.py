"""What SPANet thinks of each of its targets in one event: a map of pairs of jets, or bars of single objects."""

from __future__ import annotations

import textwrap
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from hhh_coffea.figures.event.view import EventView, Matrix
from hhh_coffea.figures.looks.labels import source_of
from hhh_coffea.figures.looks.letters import set_bars
from hhh_coffea.figures.looks.palette import PARTICLES, WRONG
from hhh_coffea.figures.looks.small_style import FONTS, LETTERS_PER_INCH, STYLE

SHOWN = 0.005  # probabilities below are not written


def draw_matrices(event: EventView) -> Figure:
    """AP × DP of each target: a heat map of jet pairs, or bars of large-radius jets; true assignments framed.

    The product, because AP alone is 1 where there is one choice only, also for a target that the network does not find.
    """
    with mpl.rc_context({**STYLE, **FONTS}):
        pairs = [m for m in event.matrices if m.probability.ndim == 2]
        singles = [m for m in event.matrices if m.probability.ndim == 1]
        columns = max(len(pairs), len(singles))
        rows = [row for row in (pairs, singles) if row]
        width, height = max(5.4 * columns + 0.8, 9.0), 6.6 if len(rows) == 1 else 10.0
        figure = Figure(figsize=(width, height), dpi=100)
        FigureCanvasAgg(figure)
        source = source_of({event.dataset: {"format": event.format}})
        figure.text(0.02, 1 - 0.15 / height, source, va="top", fontsize=18, fontweight="bold")
        right = f"{event.label}, event {event.entry}, SPANet"
        figure.text(0.98, 1 - 0.15 / height, right, ha="right", va="top", fontsize=16)
        notes = textwrap.fill(_notes(event), int(LETTERS_PER_INCH * width))
        figure.text(0.02, 1 - 0.6 / height, notes, va="top", fontsize=13)
        top = 1 - (1.2 + 0.22 * notes.count("\n")) / height
        grid = figure.add_gridspec(
            len(rows), columns, height_ratios=(5, 2.2)[: len(rows)], left=0.85 / width, right=1 - 1.3 / width,
            top=top - 0.03, bottom=0.75 / height, wspace=0.22, hspace=0.32,
        )  # fmt: skip
        images = []
        for column, matrix in enumerate(pairs):
            images.append(_heat_map(figure.add_subplot(grid[0, column]), event, matrix))
        for column, matrix in enumerate(singles):
            _bars(figure.add_subplot(grid[len(rows) - 1, column]), event, matrix)
        if images:
            place = grid[0, columns - 1].get_position(figure)
            bar = figure.add_axes((1 - 1.1 / width, place.y0 + 0.05, 0.2 / width, place.height - 0.1))
            figure.colorbar(images[0], cax=bar).set_label("AP × DP", fontsize=14)
        set_bars(figure)
    return figure


def _notes(event: EventView) -> str:
    notes = [
        "AP × DP: assignment probability (AP) times detection probability (DP) of a target.",
        "All pairs of a panel (the halves of a map are the same), or all its bars, add up to DP.",
        "The targets are the outputs of the network, in no order.",
        *(
            ["Targets of one kind may claim the same jets: the sum over their panels counts."]
            if _several(event)
            else []
        ),
        "Jet numbers are positions in the file.",
    ]
    if event.targets:
        notes.append("True assignments are framed or in colour, one colour per particle.")
    if any(kind.degree > 2 for kind in event.kinds.values()):
        notes.append("Targets of three jets are not shown.")
    return " ".join(notes)


def _several(event: EventView) -> bool:
    """Whether some targets are of the same kind."""
    return len({matrix.kind for matrix in event.matrices}) < len(event.matrices)


def _heat_map(axis: Axes, event: EventView, matrix: Matrix) -> Any:
    probability = matrix.probability * matrix.detection
    shown = np.where(np.eye(len(probability), dtype=bool), np.nan, probability)
    image = axis.imshow(shown, cmap="cividis", vmin=0, vmax=1)
    for (row, column), value in np.ndenumerate(shown):
        if value >= SHOWN:
            color = "black" if value > 0.5 else "white"
            axis.text(column, row, f"{value:.2f}", ha="center", va="center", color=color, fontsize=12)
    for target in event.targets:
        if target["kind"] == matrix.kind:
            for x, y in (target["objects"], target["objects"][::-1]):
                color = PARTICLES[target["particle"] % len(PARTICLES)]
                # a white line around, seen on any colour of the map
                for edge, line in (("white", 6), (color, 3)):
                    place = (x - 0.46, y - 0.46)
                    axis.add_patch(mpl.patches.Rectangle(place, 0.92, 0.92, fill=False, edgecolor=edge, linewidth=line))
    names = [str(int(jet["index"])) for jet in event.objects["jets"]]
    axis.set_xticks(range(len(names)), names)
    axis.set_yticks(range(len(names)), names)
    axis.tick_params(which="both", length=0)
    axis.set(xlabel="Jet", ylabel="Jet")
    axis.set_title(_title(matrix))
    return image


def _bars(axis: Axes, event: EventView, matrix: Matrix) -> None:
    colors = [WRONG] * len(matrix.probability)
    for target in event.targets:
        if target["kind"] == matrix.kind:
            colors[target["objects"][0]] = PARTICLES[target["particle"] % len(PARTICLES)]
    values = matrix.probability * matrix.detection
    axis.bar(range(len(colors)), values, color=colors)
    for place, value in enumerate(values):
        if value >= SHOWN:
            axis.text(place, value + 0.02, f"{value:.2f}", ha="center", va="bottom", fontsize=12)
    collection = event.kinds[matrix.kind].collections[0]
    name = {"fatjets": "large-radius jet", "jets": "jet"}.get(collection, collection)
    axis.set_xticks(range(len(colors)), [str(int(o["index"])) for o in event.objects[collection]])
    axis.tick_params(axis="x", which="both", length=0)
    axis.set(ylim=(0, 1.15), xlim=(-0.6, len(colors) - 0.4), xlabel=name.capitalize(), ylabel="AP × DP")
    if not len(colors):
        axis.set_xlim(-0.5, 0.5)
        axis.text(0.5, 0.5, f"no {name}s", ha="center", va="center", transform=axis.transAxes)
    axis.set_title(_title(matrix))


def _title(matrix: Matrix) -> str:
    kind = "" if matrix.kind == matrix.target else f" ({matrix.kind})"
    return f"{matrix.label or matrix.target}{kind}: DP {matrix.detection:.2f}"
