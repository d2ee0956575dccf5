"""Pictures of one event: η–φ and transverse views of truth and of each method, and SPANet's assignment matrices.

Colours stand for particles, the same in every panel: a correct candidate has the colour of the particle it is, a
wrong one a colour that is left. Filled circles: small-radius jets; dashed ones: large-radius jets; triangles: leptons;
dash-dotted
lines: missing transverse momentum. Numbers are positions in the file.
"""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle
from matplotlib.patheffects import withStroke

from hhh_coffea.figures.event.view import EventView, Matrix
from hhh_coffea.figures.labels import source_of
from hhh_coffea.figures.small_style import STYLE as SMALL
from hhh_coffea.figures.style import NAMES

# Petroff (arXiv:2107.02270), one a particle; wrong candidates take from the end
COLORS = ("#3f90da", "#ffa90e", "#832db6", "#92dadd")
WRONG_COLORS = ("#bd1f01", "#a96b59", "#b9ac70", "#94a4a2")
UNUSED = "#d9dde1"
STYLE: Any = {**SMALL, "font.family": ["TeX Gyre Heros", "DejaVu Sans"]}  # that of mplhep; the second has what it lacks
MET: dict[str, Any] = {"color": "black", "linestyle": "-.", "linewidth": 2, "zorder": 1}
JET_RADIUS, FATJET_RADIUS = 0.4, 0.8
ROW = 0.13  # height of a line of words, of their part of the figure
STEPS = (20, 40, 100, 200, 400, 1000)  # between circles of equal pT (GeV)


def draw_event(event: EventView) -> Figure:
    """Truth (where there is any) and every method side by side: η–φ above, transverse view below, candidates in words."""
    panels = (["truth"] if event.known else []) + list(event.candidates)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(max(4.2 * len(panels), 8.4), 10.6), dpi=100)
        FigureCanvasAgg(figure)
        grid = figure.add_gridspec(
            3, len(panels), height_ratios=(4.6, 4.2, 2.6), left=0.05 if len(panels) > 2 else 0.09, right=0.985,
            top=0.915 - 0.022 * _legend(figure, event), bottom=0.01, wspace=0.2, hspace=0.3,
        )  # fmt: skip
        source = source_of({event.dataset: {"format": event.format}})
        figure.suptitle(source, x=0.02, ha="left", fontsize=18, fontweight="bold")
        figure.text(0.98, 0.978, f"{event.label}, event {event.entry}", ha="right", va="top", fontsize=16)
        for column, name in enumerate(panels):
            assigned = _truth(event) if name == "truth" else _candidates(event, name)
            above = figure.add_subplot(grid[0, column])
            _eta_phi(above, event, assigned, show_generated=name == "truth")
            above.set_title("Truth" if name == "truth" else NAMES.get(name, name), fontweight="bold")
            below = figure.add_subplot(grid[1, column], projection="polar")
            _transverse(below, event, assigned)
            words = figure.add_subplot(grid[2, column])
            words.axis("off")
            lines = [
                (line, color) for text, color in _words(event, assigned, name == "truth") for line in text.split("\n")
            ]
            for row, (text, color) in enumerate(lines):
                words.text(-0.05, 1 - ROW * row, text, color=color, va="top", fontsize=13, transform=words.transAxes)
    return figure


def draw_matrices(event: EventView) -> Figure:
    """Assignment probabilities of each target: a heat map of jet pairs, or bars of large-radius jets; true assignments framed."""
    with mpl.rc_context(STYLE):
        pairs = [m for m in event.matrices if m.probability.ndim == 2]
        singles = [m for m in event.matrices if m.probability.ndim == 1]
        columns = max(len(pairs), len(singles))
        more = any(kind.degree > 2 for kind in event.kinds.values())
        rows = [row for row in (pairs, singles) if row]
        figure = Figure(figsize=(max(5.4 * columns + 0.8, 9.0), 6.1 if len(rows) == 1 else 9.2), dpi=100)
        FigureCanvasAgg(figure)
        figure.suptitle(
            f"{event.label}, event {event.entry}: assignment probabilities of SPANet", x=0.02, ha="left", fontsize=17,
            fontweight="bold",
        )  # fmt: skip
        figure.text(
            0.02, 0.905 if len(rows) > 1 else 0.87, "Jet numbers are positions in the file. True assignments are in colour, "
            "one colour per particle." + ("\nTargets of three jets are not shown." if more else ""), fontsize=12,
        )  # fmt: skip
        grid = figure.add_gridspec(
            len(rows), columns, height_ratios=(5, 2.2)[: len(rows)], left=0.06 if columns > 1 else 0.1, right=0.93,
            top=0.84 if len(rows) > 1 else 0.8, bottom=0.08,
            wspace=0.22, hspace=0.3,
        )  # fmt: skip
        images = []
        for column, matrix in enumerate(pairs):
            images.append(_heat_map(figure.add_subplot(grid[0, column]), event, matrix))
        for column, matrix in enumerate(singles):
            _bars(figure.add_subplot(grid[len(rows) - 1, column]), event, matrix)
        if images:
            place = figure.add_axes((0.945, 0.45 if len(rows) > 1 else 0.12, 0.012, 0.38 if len(rows) > 1 else 0.7))
            figure.colorbar(images[0], cax=place, label="P(j1, j2)")
    return figure


def _truth(event: EventView) -> list[dict[str, Any]]:
    """The targets in the form of candidates: a particle may have several, resolved and boosted."""
    return [
        {**target, "color": COLORS[target["particle"] % len(COLORS)], "overlaps": False} for target in event.targets
    ]


def _candidates(event: EventView, method: str) -> list[dict[str, Any]]:
    found, wrong = [], 0
    for candidate in event.candidates[method]:
        particle = candidate["particle"]
        color = COLORS[particle % len(COLORS)] if particle is not None else WRONG_COLORS[wrong % 4]
        wrong += particle is None
        found.append({**candidate, "color": color})
    return found


def _daughters(event: EventView, candidate: dict[str, Any]) -> list[tuple[str, int]]:
    """(collection, position) of each daughter."""
    return list(zip(event.kinds[candidate["kind"]].collections, candidate["objects"], strict=False))


def _colors(event: EventView, assigned: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Colour of every object by collection; dropped candidates colour nothing."""
    colors = {name: [UNUSED] * len(objects) for name, objects in event.objects.items()}
    for candidate in assigned:
        if not candidate["overlaps"]:
            for collection, position in _daughters(event, candidate):
                colors[collection][position] = candidate["color"]
    return colors


def _eta_phi(axis: Axes, event: EventView, assigned: list[dict[str, Any]], show_generated: bool) -> None:
    colors_of = _colors(event, assigned)
    for name, radius in (("fatjets", FATJET_RADIUS), ("jets", JET_RADIUS)):
        objects, colors, fat = event.objects.get(name, []), colors_of.get(name, []), name == "fatjets"
        for position, (jet, color) in enumerate(zip(objects, colors, strict=True)):
            edge = ("black" if jet["btag"] else "#717581") if not fat else ("#717581" if color == UNUSED else color)
            for phi in (jet["phi"], jet["phi"] - 2 * np.pi, jet["phi"] + 2 * np.pi):  # circles go round the cylinder
                axis.add_patch(
                    Circle(
                        (jet["eta"], phi), radius, facecolor="none" if fat else color, edgecolor=edge,
                        linestyle="--" if fat else "-", linewidth=2.2 if fat or jet["btag"] else 1, zorder=1 if fat else 2,
                        alpha=1 if fat else 0.85,
                    )
                )  # fmt: skip
            if not fat:
                text = str(int(jet["index"]))
                below = jet["phi"] - 0.12  # the middle is left to the quarks
                shown = axis.text(
                    jet["eta"], below, text, ha="center", va="top", fontsize=11, zorder=4, fontweight="bold"
                )
            else:
                height = jet["phi"] + FATJET_RADIUS * (0.86 if position % 2 else -0.86)
                text = f"large-R {int(jet['index'])}"
                shown = axis.text(jet["eta"], height, text, ha="center", va="center", fontsize=10, color=edge, zorder=5)
            shown.set_path_effects([withStroke(linewidth=3, foreground="white")])  # read across lines and markers
    for lepton, color in zip(event.objects.get("leptons", []), colors_of.get("leptons", []), strict=True):
        axis.plot(lepton["eta"], lepton["phi"], "^", color=color, markersize=11, markeredgecolor="black", zorder=3)
    if event.met is not None:
        axis.axhline(event.met[1], **MET)
    if show_generated:
        for number, marker, eta, phi in event.marks:
            color = COLORS[number % len(COLORS)]
            if marker == "x":
                axis.plot(eta, phi, marker, color=color, markersize=9, markeredgewidth=2.5, zorder=3)
                axis.plot(eta, phi, marker, color="black", markersize=9, markeredgewidth=0.8, zorder=3)
            else:
                axis.plot(eta, phi, marker, color=color, markersize=15, markeredgecolor="black", zorder=3)
    largest = max([2.0, *(abs(o["eta"]) for some in event.objects.values() for o in some)]) + 0.9
    axis.set(xlim=(-largest, largest), ylim=(-np.pi - JET_RADIUS, np.pi + JET_RADIUS), xlabel="η")
    for end in (-np.pi, np.pi):
        axis.axhline(end, color="#94a4a2", linestyle=":", zorder=0)
    axis.set_ylabel("φ [rad]", labelpad=0)
    axis.set_aspect("equal", adjustable="box")


def _transverse(axis: Any, event: EventView, assigned: list[dict[str, Any]]) -> None:
    """pT of every jet along its azimuth; large-radius jets as dashed outlines behind."""
    colors = _colors(event, assigned)
    for jet, color in zip(event.objects.get("fatjets", []), colors.get("fatjets", []), strict=True):
        edge = "#717581" if color == UNUSED else color
        axis.bar(
            jet["phi"], jet["pt"], width=2 * FATJET_RADIUS * 0.5, color="none", edgecolor=edge, linestyle="--", linewidth=1.8
        )  # fmt: skip
    for lepton, color in zip(event.objects.get("leptons", []), colors.get("leptons", []), strict=True):
        axis.bar(lepton["phi"], lepton["pt"], width=0.05, color=color, edgecolor="black", linewidth=1)
    for jet, color in zip(event.objects["jets"], colors["jets"], strict=True):
        axis.bar(
            jet["phi"], jet["pt"], width=0.16, color=color, edgecolor="black" if jet["btag"] else "#717581",
            linewidth=1.8 if jet["btag"] else 0.8,
        )  # fmt: skip
    if event.met is not None:
        axis.plot([event.met[1]] * 2, [0, event.met[0]], **{**MET, "linewidth": 3})
    # the radius grows with the root of pT: soft jets stay visible beside hard ones
    axis.set_yscale("function", functions=(lambda r: np.sqrt(np.maximum(r, 0)), np.square))
    largest = max([*(o["pt"] for some in event.objects.values() for o in some), event.met[0] if event.met else 0.0])
    axis.set_ylim(0, 1.1 * largest)
    step = next(step for step in STEPS if 4 * step >= largest or step == STEPS[-1])
    axis.set_yticks([step * factor for factor in (0.25, 1, 2, 3, 4) if step * factor < 0.9 * largest])
    axis.tick_params(labelsize=11, pad=6)
    axis.set_xticks(np.arange(0, 2 * np.pi, np.pi / 2), ["φ=0", "π/2", "π", "−π/2"])
    axis.set_rlabel_position(np.degrees(_free_angle([o["phi"] for some in event.objects.values() for o in some])))
    axis.text(1.18, -0.09, "radius: pT [GeV]", fontsize=11, ha="right", va="bottom", transform=axis.transAxes)
    axis.grid(alpha=0.4)


def _free_angle(azimuths: list[float]) -> float:
    """Middle of the largest gap between the jets."""
    ordered = np.sort(np.asarray(azimuths))
    gaps = np.diff(np.append(ordered, ordered[0] + 2 * np.pi))
    widest = int(np.argmax(gaps))
    return float(ordered[widest] + gaps[widest] / 2)


def _words(event: EventView, assigned: list[dict[str, Any]], truth: bool) -> list[tuple[str, str]]:
    """A line for each candidate: what it is made of, its mass, its probabilities, and whether it is right."""
    lines = []
    short = {"jets": "", "fatjets": "large-R ", "leptons": "lepton "}
    for candidate in assigned:
        made_of = " + ".join(
            f"{short[name]}{int(event.objects[name][place]['index'])}" for name, place in _daughters(event, candidate)
        )
        number = candidate["particle"]
        if truth:
            momentum = f" (pT {event.particles[number]['pt']:.0f} GeV)" if event.particles else ""
            lines.append((f"{event.names[number]}{momentum}: {made_of}", candidate["color"]))
            continue
        text = f"{made_of}: m = {candidate['mass']:.0f} GeV"
        if not candidate["assignment_probability"] == candidate["detection_probability"] == 1:
            probabilities = (
                f"\n    AP {candidate['assignment_probability']:.2f}, DP {candidate['detection_probability']:.2f}"
            )
        else:
            probabilities = ""
        if event.known:
            text += f", is {event.names[number]}" if number is not None else ", wrong"
        text += probabilities + ("\n    overlaps: dropped" if candidate["overlaps"] else "")
        lines.append((text, candidate["color"]))
    return [(text, _dark(color)) for text, color in lines] or [("no target" if truth else "no candidates", "black")]


def _dark(color: str) -> str:
    """Text in light colours cannot be read."""
    red, green, blue = mpl.colors.to_rgb(color)
    return mpl.colors.to_hex((0.62 * red, 0.62 * green, 0.62 * blue))


def _legend(figure: Figure, event: EventView) -> int:
    """Says what the symbols are, below the title; returns the number of its lines."""
    handles = [
        Line2D(
            [],
            [],
            marker="o",
            ls="",
            color="white",
            markeredgecolor="black",
            markeredgewidth=2,
            ms=12,
            label="b-tagged jet",
        ),
        Line2D([], [], marker="o", ls="", color="white", markeredgecolor="#717581", ms=12, label="other jet"),
        Line2D([], [], marker="o", ls="", color=UNUSED, ms=12, label="not used"),
        Line2D([], [], ls="--", color="#717581", label="large-radius jet"),
        Line2D(
            [], [], marker="*", ls="", color="white", markeredgecolor="black", ms=13, label=f"generated {event.symbol}"
        ),
        Line2D([], [], marker="x", ls="", color="black", ms=9, label="its quarks"),
    ]
    if "leptons" in event.objects:
        for marker, label in (("^", "lepton"), ("v", "generated neutrino")):
            handles.append(
                Line2D([], [], marker=marker, ls="", color="white", markeredgecolor="black", ms=10, label=label)
            )
    if event.met is not None:
        handles.append(Line2D([], [], label="missing transverse momentum", **MET))
    without = set() if "fatjets" in event.objects else {"large-radius jet"}
    if not event.marks:
        without |= {f"generated {event.symbol}", "its quarks", "generated neutrino"}
    handles = [handle for handle in handles if handle.get_label() not in without]
    fits = int(figure.get_figwidth() / 2.2)  # entries of a line
    figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(0.015, 0.962),
        ncols=min(len(handles), fits),
        frameon=False,
        fontsize=12,
    )
    return -(-len(handles) // fits)


def _heat_map(axis: Axes, event: EventView, matrix: Matrix) -> Any:
    shown = np.where(np.eye(len(matrix.probability), dtype=bool), np.nan, matrix.probability)
    image = axis.imshow(shown, cmap="cividis", vmin=0, vmax=1)
    for (row, column), value in np.ndenumerate(shown):
        if value >= 0.005:
            color = "black" if value > 0.5 else "white"
            axis.text(column, row, f"{value:.2f}", ha="center", va="center", color=color, fontsize=10)
    for target in event.targets:
        if target["kind"] == matrix.kind:
            for x, y in (target["objects"], target["objects"][::-1]):
                color = COLORS[target["particle"] % len(COLORS)]
                frame = mpl.patches.Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False, edgecolor=color, linewidth=3)
                axis.add_patch(frame)
    names = [str(int(jet["index"])) for jet in event.objects["jets"]]
    axis.set_xticks(range(len(names)), names)
    axis.set_yticks(range(len(names)), names)
    axis.set(xlabel="jet", ylabel="jet")
    axis.set_title(f"{matrix.target}: detection {matrix.detection:.2f}")
    return image


def _bars(axis: Axes, event: EventView, matrix: Matrix) -> None:
    colors = ["#94a4a2"] * len(matrix.probability)
    for target in event.targets:
        if target["kind"] == matrix.kind:
            colors[target["objects"][0]] = COLORS[target["particle"] % len(COLORS)]
    axis.bar(range(len(colors)), matrix.probability, color=colors)
    collection = event.kinds[matrix.kind].collections[0]
    name = {"fatjets": "large-radius jet", "jets": "jet"}.get(collection, collection)
    axis.set_xticks(range(len(colors)), [str(int(o["index"])) for o in event.objects[collection]])
    axis.set(ylim=(0, 1.05), xlabel=name, ylabel=f"P({name})")
    if not len(colors):
        axis.text(0.5, 0.5, f"no {name}s", ha="center", va="center", transform=axis.transAxes)
    axis.set_title(f"{matrix.target}: detection {matrix.detection:.2f}")
