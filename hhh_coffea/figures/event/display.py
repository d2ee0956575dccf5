"""Pictures of one event: η–φ and transverse views of truth and of each method.

Colours stand for particles, the same in every panel: a correct candidate has the colour of the particle it is, a wrong one a
colour that is left, and is hatched; the same wrong one of several methods has the same. Filled circles: small-radius jets;
dashed ones: large-radius jets; triangles: leptons; dash-dotted lines: missing transverse momentum. Numbers are positions in
the file.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.patheffects import withStroke

from hhh_coffea.figures.event.legend import HATCH, MET, UNUSED, UNUSED_EDGE, draw_legend, notes_of
from hhh_coffea.figures.event.places import Disc, beside
from hhh_coffea.figures.event.view import EventView
from hhh_coffea.figures.looks.labels import source_of
from hhh_coffea.figures.looks.letters import set_bars
from hhh_coffea.figures.looks.palette import PARTICLES, WRONG_CANDIDATES
from hhh_coffea.figures.looks.small_style import FONTS, LETTERS_PER_INCH, STYLE
from hhh_coffea.figures.looks.style import NAMES

JET_RADIUS, FATJET_RADIUS = 0.4, 0.8
LETTER, LINE = 0.13, 0.16  # half the width of a letter and half the height of a line of names, on the η–φ axes
ROW = 0.23  # inches of a line of words
WORDS_ACROSS = 4.2  # inches of a panel
ANGLES = {0.0: "φ=0", np.pi / 2: "π/2", np.pi: "π", 1.5 * np.pi: "−π/2"}  # on the circle
STEPS = (20, 40, 100, 200, 400, 1000)  # between circles of equal pT (GeV)
LIGHT = 0.42  # luminance of text that can be read on white


@dataclass(frozen=True)
class Look:
    """How an object is drawn: as unused unless a candidate has it."""

    color: str = UNUSED
    hatch: str | None = None

    @property
    def edge(self) -> str:
        """Colour of a line or text in this look."""
        return UNUSED_EDGE if self.color == UNUSED else readable(self.color)


def draw_event(event: EventView) -> Figure:
    """Truth (where there is any) and every method side by side: η–φ above, transverse view below, candidates in words."""
    panels = (["truth"] if event.known else []) + list(event.candidates)
    assigned = {name: _truth(event) if name == "truth" else _candidates(event, name) for name in panels}
    words = {name: _words(event, assigned[name], name == "truth") for name in panels}
    width = max(WORDS_ACROSS * len(panels), 8.4)
    notes = textwrap.fill(notes_of(event), int(LETTERS_PER_INCH * width))
    with mpl.rc_context({**STYLE, **FONTS}):
        lines = max(text.count("\n") + 1 for some in words.values() for text in ["\n".join(t for t, _ in some)])
        below = ROW * (lines + notes.count("\n") + 1) + 0.45
        figure = Figure(figsize=(width, 8.6 + below), dpi=100)
        FigureCanvasAgg(figure)
        height = figure.get_figheight()
        source = source_of({event.dataset: {"format": event.format}})
        figure.text(0.02, 1 - 0.15 / height, source, va="top", fontsize=18, fontweight="bold")
        figure.text(0.98, 1 - 0.15 / height, f"{event.label}, event {event.entry}", ha="right", va="top", fontsize=16)
        rows = draw_legend(figure, event)
        grid = figure.add_gridspec(
            2, len(panels), height_ratios=(4.6, 4.2), left=0.05 if len(panels) > 2 else 0.09, right=0.985,
            top=1 - (0.95 + 0.25 * rows) / height, bottom=(below + 0.45) / height, wspace=0.2, hspace=0.32,
        )  # fmt: skip
        for column, name in enumerate(panels):
            above = figure.add_subplot(grid[0, column])
            _eta_phi(above, event, assigned[name], show_generated=name == "truth")
            above.set_title("Truth" if name == "truth" else NAMES.get(name, name), fontweight="bold")
            place = figure.add_subplot(grid[1, column], projection="polar")
            _transverse(place, event, assigned[name])
            left, row = above.get_position().x0 - 0.01, 0
            for text, color in words[name]:
                figure.text(left, (below - 0.1 - ROW * row) / height, text, color=color, va="top", fontsize=13)
                row += text.count("\n") + 1
        figure.text(0.02, 0.15 / height, notes, va="bottom", fontsize=13, color="0.25")
        set_bars(figure)
    return figure


def readable(color: str) -> str:
    """The colour, darker if text and lines in it could not be seen on white."""
    red, green, blue = mpl.colors.to_rgb(color)
    darker = min(1.0, LIGHT / max(0.2126 * red + 0.7152 * green + 0.0722 * blue, 1e-9))
    return str(mpl.colors.to_hex((red * darker, green * darker, blue * darker)))


def _truth(event: EventView) -> list[dict[str, Any]]:
    """The targets in the form of candidates: a particle may have several, resolved and boosted."""
    found = [
        {**target, "look": Look(PARTICLES[target["particle"] % len(PARTICLES)]), "overlaps": False}
        for target in event.targets
    ]
    return sorted(found, key=lambda target: target["particle"])


def colors_of_wrong(candidates: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[tuple[str, ...], str]:
    """Colour of every wrong candidate, by :func:`_objects`: the same in the panels of all methods.

    Two of one panel have different colours as long as there are enough; two of different panels if any are left.
    """
    found: dict[tuple[str, ...], str] = {}
    for some in candidates.values():
        wrong = [_objects(candidate) for candidate in some if candidate["particle"] is None]
        for position, objects in enumerate(wrong):
            if objects in found:
                continue
            here = {found[other] for other in wrong if other in found}
            taken = set(found.values()) if set(found.values()) < set(WRONG_CANDIDATES) else here
            free = [color for color in WRONG_CANDIDATES if color not in taken]
            found[objects] = free[0] if free else WRONG_CANDIDATES[position % len(WRONG_CANDIDATES)]
    return found


def _objects(candidate: Mapping[str, Any]) -> tuple[str, ...]:
    """What a candidate is made of, whatever the order of its daughters."""
    return (candidate["kind"], *sorted(map(str, candidate["objects"])))


def _candidates(event: EventView, method: str) -> list[dict[str, Any]]:
    found, others, wrong = [], 0, colors_of_wrong(event.candidates)
    for candidate in event.candidates[method]:
        particle = candidate["particle"]
        if particle is not None:
            look = Look(PARTICLES[particle % len(PARTICLES)])
        elif event.known:
            look = Look(wrong[_objects(candidate)], HATCH)
        else:  # without truth none is wrong
            look = Look(PARTICLES[others % len(PARTICLES)])
        others += particle is None
        found.append({**candidate, "look": look})
    return found


def _daughters(event: EventView, candidate: dict[str, Any]) -> list[tuple[str, int]]:
    """(collection, position) of each daughter."""
    return list(zip(event.kinds[candidate["kind"]].collections, candidate["objects"], strict=False))


def _looks(event: EventView, assigned: list[dict[str, Any]]) -> dict[str, list[Look]]:
    """Look of every object by collection; dropped candidates change none."""
    looks = {name: [Look()] * len(objects) for name, objects in event.objects.items()}
    for candidate in assigned:
        if not candidate["overlaps"]:
            for collection, position in _daughters(event, candidate):
                looks[collection][position] = candidate["look"]
    return looks


def _eta_phi(axis: Axes, event: EventView, assigned: list[dict[str, Any]], show_generated: bool) -> None:
    looks, discs, named = _looks(event, assigned), [], []
    for name, radius, letter in (("fatjets", FATJET_RADIUS, "L"), ("jets", JET_RADIUS, "")):
        fat = name == "fatjets"
        for jet, look in zip(event.objects.get(name, []), looks.get(name, []), strict=True):
            edge = look.edge if fat else "black" if jet["btag"] else UNUSED_EDGE
            for phi in (jet["phi"], jet["phi"] - 2 * np.pi, jet["phi"] + 2 * np.pi):  # circles go round the cylinder
                axis.add_patch(
                    Circle(
                        (jet["eta"], phi), radius, facecolor="none" if fat else look.color, edgecolor=edge,
                        hatch=None if fat else look.hatch, linestyle="--" if fat else "-",
                        linewidth=2.2 if fat or jet["btag"] else 1, zorder=1 if fat else 2,
                    )
                )  # fmt: skip
                discs.append(Disc(jet["eta"], phi, radius, filled=not fat))
            text = f"{letter}{int(jet['index'])}"
            named.append((Disc(jet["eta"], jet["phi"], radius, not fat), text, edge if fat else "black"))
    points = [(o["eta"], o["phi"]) for o in event.objects.get("leptons", [])]
    for (eta, phi), look in zip(points, looks.get("leptons", []), strict=True):
        axis.plot(eta, phi, "^", color=look.color, markersize=11, markeredgecolor="black", zorder=3)
    if event.met is not None:
        axis.axhline(event.met[1], **MET)
    for number, marker, eta, phi in event.marks if show_generated else ():
        color = PARTICLES[number % len(PARTICLES)]
        points.append((eta, phi))
        if marker == "x":  # white around, seen on its own colour
            axis.plot(eta, phi, marker, color="white", markersize=11, markeredgewidth=5, zorder=3)
            axis.plot(eta, phi, marker, color=color, markersize=9, markeredgewidth=2.5, zorder=3)
        else:
            axis.plot(eta, phi, marker, color=color, markersize=17, markeredgecolor="white", zorder=3)
    largest = max([2.0, *(abs(o["eta"]) for some in event.objects.values() for o in some)]) + 0.9
    height = np.pi + JET_RADIUS
    sizes = [(disc, LETTER * len(text), LINE) for disc, text, _ in named]
    for box, (_, text, color) in zip(beside(sizes, discs, points, (largest, height)), named, strict=True):
        shown = axis.text(box.x, box.y, text, ha="center", va="center_baseline", fontsize=12, color=color, zorder=5)
        shown.set(fontweight="bold", path_effects=[withStroke(linewidth=3, foreground="white")])
    axis.set(xlim=(-largest, largest), ylim=(-height, height), xlabel="η")
    for end in (-np.pi, np.pi):
        axis.axhline(end, color=UNUSED_EDGE, linestyle=":", zorder=0)
    axis.set_ylabel("φ [rad]", labelpad=0)
    axis.set_aspect("equal", adjustable="box")


def _transverse(axis: Any, event: EventView, assigned: list[dict[str, Any]]) -> None:
    """pT of every jet along its azimuth; large-radius jets as dashed outlines behind, as wide as they are."""
    looks = _looks(event, assigned)
    for jet, look in zip(event.objects.get("fatjets", []), looks.get("fatjets", []), strict=True):
        style = {"color": "none", "edgecolor": look.edge, "linestyle": "--", "linewidth": 1.8}
        axis.bar(jet["phi"], jet["pt"], width=2 * FATJET_RADIUS, **style)
    for lepton, look in zip(event.objects.get("leptons", []), looks.get("leptons", []), strict=True):
        axis.bar(lepton["phi"], lepton["pt"], width=0.05, color=look.color, edgecolor="black", linewidth=1)
    for jet, look in zip(event.objects["jets"], looks["jets"], strict=True):
        edge, line = ("black", 1.8) if jet["btag"] else (UNUSED_EDGE, 0.8)
        style = {"color": look.color, "edgecolor": edge, "hatch": look.hatch, "linewidth": line}
        axis.bar(jet["phi"], jet["pt"], width=0.16, **style)
    if event.met is not None:
        axis.plot([event.met[1]] * 2, [0, event.met[0]], **{**MET, "linewidth": 3})
    # the radius grows with the root of pT: soft jets stay visible beside hard ones
    axis.set_yscale("function", functions=(lambda r: np.sqrt(np.maximum(r, 0)), np.square))
    largest = max([*(o["pt"] for some in event.objects.values() for o in some), event.met[0] if event.met else 0.0])
    axis.set_ylim(0, 1.1 * largest)
    step = next(step for step in STEPS if 4 * step >= largest or step == STEPS[-1])
    axis.set_yticks([step * factor for factor in (0.25, 1, 2, 3, 4) if step * factor < 0.9 * largest])
    axis.tick_params(labelsize=12, pad=6)
    axis.set_xticks(list(ANGLES), list(ANGLES.values()))
    azimuths = [o["phi"] for some in event.objects.values() for o in some] + ([event.met[1]] if event.met else [])
    axis.set_rlabel_position(np.degrees(_free_angle(azimuths)))
    for label in axis.get_yticklabels():
        label.set_path_effects([withStroke(linewidth=3, foreground="white")])
    axis.text(1.14, -0.1, "radius: $p_T$ [GeV]", fontsize=12, ha="right", va="bottom", transform=axis.transAxes)
    axis.grid(alpha=0.4)


def _free_angle(azimuths: list[float]) -> float:
    """Middle of the largest gap between the jets and the numbers on the circle."""
    ordered = np.sort(np.mod([*azimuths, *ANGLES], 2 * np.pi))
    gaps = np.diff(np.append(ordered, ordered[0] + 2 * np.pi))
    widest = int(np.argmax(gaps))
    return float(ordered[widest] + gaps[widest] / 2)


def _words(event: EventView, assigned: list[dict[str, Any]], truth: bool) -> list[tuple[str, str]]:
    """What stands below a panel, with its colour: a text per particle in the truth, a text per candidate of a method."""
    if truth:
        return [_of_particle(event, assigned, number) for number in range(len(event.names))]
    return [_of_candidate(event, candidate) for candidate in assigned] or [("no candidates", "black")]


def _of_particle(event: EventView, targets: list[dict[str, Any]], number: int) -> tuple[str, str]:
    momentum = f" ($p_T$ {event.particles[number]['pt']:.0f} GeV)" if event.particles else ""
    own = [_made_of(event, target) for target in targets if target["particle"] == number]
    return f"{event.names[number]}{momentum}: {' or '.join(own) or 'no target'}", readable(
        PARTICLES[number % len(PARTICLES)]
    )


def _of_candidate(event: EventView, candidate: dict[str, Any]) -> tuple[str, str]:
    """What it is made of, its mass, its probabilities, and whether it is right."""
    number = candidate["particle"]
    text = f"{_made_of(event, candidate)}: m = {candidate['mass']:.0f} GeV"
    if event.known:
        text += f", is {event.names[number]}" if number is not None else ", wrong"
    if candidate["probability"] != 1:
        text += f"\n    P = {candidate['probability']:.2f}"
    return text + ("\n    overlaps: dropped" if candidate["overlaps"] else ""), candidate["look"].edge


def _made_of(event: EventView, candidate: dict[str, Any]) -> str:
    short = {"jets": "", "fatjets": "L", "leptons": "lepton "}
    return " + ".join(
        f"{short[name]}{int(event.objects[name][place]['index'])}" for name, place in _daughters(event, candidate)
    )
