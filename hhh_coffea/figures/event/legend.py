"""What the symbols in the picture of an event are: a legend above it and sentences below."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from hhh_coffea.figures.event.view import EventView
from hhh_coffea.figures.looks.palette import PARTICLES, WRONG_CANDIDATES

UNUSED, UNUSED_EDGE = "#eceff1", "#717581"
HATCH = "////"
MET: dict[str, Any] = {"color": "black", "linestyle": "-.", "linewidth": 2, "zorder": 1}


def draw_legend(figure: Figure, event: EventView) -> int:
    """Says what the symbols are, below the title; returns the number of its lines."""
    handles: list[Any] = [
        _marker("o", "b-tagged jet", color="white", edge="black", size=12, width=2),
        _marker("o", "other jet", color="white", edge=UNUSED_EDGE, size=12),
        _marker("o", "not used", color=UNUSED, edge=UNUSED, size=12),
    ]
    if event.known:
        handles += [
            Patch(color=PARTICLES[1], label="correct candidate"),
            Patch(facecolor=WRONG_CANDIDATES[0], edgecolor="black", hatch=HATCH, label="wrong candidate"),
        ]
    if "fatjets" in event.objects:
        handles.append(Line2D([], [], ls="--", lw=2.2, color=UNUSED_EDGE, label="L: large-radius jet"))
    if event.marks:
        handles.append(_marker("*", f"generated {event.symbol}", color=UNUSED_EDGE, edge="white", size=17))
        handles.append(Line2D([], [], marker="x", ls="", color=UNUSED_EDGE, ms=9, mew=2.5, label="its quarks"))
    if "leptons" in event.objects:
        handles.append(_marker("^", "lepton", color="white", edge="black", size=10))
        if event.marks:
            handles.append(_marker("v", "generated neutrino", color=UNUSED_EDGE, edge="white", size=13))
    if event.met is not None:
        handles.append(Line2D([], [], label="missing transverse momentum", **MET))
    style: dict[str, Any] = {
        "loc": "upper left",
        "bbox_to_anchor": (0.015, 1 - 0.5 / figure.get_figheight()),
        "fontsize": 13,
    }
    for columns in range(len(handles), 0, -1):
        legend = figure.legend(handles=handles, ncols=columns, **style)
        if columns == 1 or legend.get_window_extent().x1 <= figure.bbox.x1:
            break
        legend.remove()
    return -(-len(handles) // columns)


def notes_of(event: EventView) -> str:
    """What colours, names and numbers mean."""
    notes = ["Numbers: positions of jets in the file."]
    if event.known:
        notes.append("Colours: the true particles, the same in every panel.")
        if len(event.names) > 1 and event.names[0] == f"{event.symbol}1":
            notes.append(f"{event.names[0]} to {event.names[-1]}: generated particles in the order of the file.")
        if len({target["particle"] for target in event.targets}) < len(event.names):
            notes.append("No target: not every decay product of the particle matches an object of its own.")
    else:
        notes.append("Colours: the candidates of a method.")
    uncertain = [m for m, some in event.candidates.items() if any(c["probability"] != 1 for c in some)]
    if uncertain:
        score = ", for the BDT its score" if any("bdt" in method for method in uncertain) else ""
        notes.append(f"P: probability that the candidate is correct{score}.")
    return " ".join(notes)


def _marker(marker: str, label: str, color: str, edge: str, size: float, width: float = 1) -> Line2D:
    style: dict[str, Any] = {"color": color, "markeredgecolor": edge, "markersize": size, "markeredgewidth": width}
    return Line2D([], [], marker=marker, linestyle="", label=label, **style)
