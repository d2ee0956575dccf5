"""How figures look: colours, names and markers of the methods, CMS style, saving; and the two shapes drawn everywhere."""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import mplhep
import numpy as np
from hist import Hist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from hhh_coffea.base.errors import UserError
from hhh_coffea.figures.looks.labels import Labels
from hhh_coffea.figures.looks.letters import set_bars
from hhh_coffea.figures.spectra import effective, merged, well_filled

# one colour and marker a method wherever it appears: Petroff's colour-blind-safe sequence (arXiv:2107.02270), χ² in warm
# and SPANet in cool ones; "spanet" is "spanet:expected" where particles may be left out and "spanet:all" where every particle
# is assigned, so these share a colour, and no others do
METHOD_STYLES = {
    "chi2": ("#ffa90e", "o"),
    "chi2_as_published": ("#4b0f0f", "D"),
    "chi2+bdt": ("#bd1f01", "s"),
    "chi2+bdt_as_published": ("#e76300", "P"),
    "spanet": ("#3f90da", "^"),
    "spanet:joint": ("#92dadd", "v"),
    "spanet:reference": ("#1e1eff", "X"),
    "spanet:greedy": ("#717581", "*"),
    "spanet:expected": ("#3f90da", "d"),
    "spanet:all": ("#3f90da", "D"),
    "dhh": ("#b9ac70", "p"),
    "likelihood": ("#a96b59", "s"),
    "pdnn": ("#832db6", "D"),
}
# for methods of users: first colours that no method above has, so that a figure of one of them alone is not taken for theirs
PALETTE = ("#c44cb0", "#00695c", "#92dadd", "#717581", "#b9ac70", "#a96b59", "#e76300", "#832db6", "#bd1f01", "#ffa90e")
# a second result of the network: dark SPANet blue
DARK_BLUE = "#0b3c6e"
MARKERS = (*dict.fromkeys(marker for _, marker in METHOD_STYLES.values()), "<", ">", "h", "8", "H")
EXPECTED = "spanet:expected"  # the decoding that "spanet" has: it is called by its own name only beside that
NAMES = {
    "chi2": "χ²",
    "chi2_as_published": "χ² (published pairing)",
    "chi2+bdt": "χ² + BDT",
    "chi2+bdt_as_published": "χ² (published pairing) + BDT",
    "spanet": "SPANet",
    "spanet:joint": "SPANet, joint",
    "spanet:reference": "SPANet, published decoding",
    "spanet:greedy": "SPANet, greedy",
    EXPECTED: "SPANet",
    "spanet:all": "SPANet, all assigned",
    "dhh": "$D_{HH}$",
    "likelihood": "likelihood fit",
    "pdnn": "permutation network",
}
CATEGORY_NAMES = {
    "all": "All targets",
    "merged": "Merged",
    "merged_without_overlap_removal": "Merged, no overlap removal",
    "boosted": "Boosted",
    "resolved": "Resolved",
    "resolved_after_overlap_removal": "Resolved, after overlap removal",
}
EXPECTED_BESIDE = "SPANet, expected"
DEFINITION_NAMES = {"default": "our definitions", "reference": "published definitions"}


def category_name(category: str) -> str:
    """How figures call a category; a kind of an analysis by its own name."""
    return CATEGORY_NAMES.get(category, category)


def title_of(info: Mapping[str, Any], category: str) -> str:
    """What figures call a category of a dataset: as its analysis does, if it has a label for it."""
    return str(info.get("labels", {}).get(category, category_name(category)))


WITHOUT_METHODS = re.compile(
    r"(default|reference)_(generated_pt|target_mass)|multiplicity|spectrum_(?!.*_by_).*"
)  # figures of events
RUN = " @ "  # between a method and the run it is from, where several are compared
SAME = " = "  # between runs in which a method gives the same
# runs beside each other: how much of their markers is filled, and their lines. The colour is that of the method
RUN_FILLS = ("full", "none", "left", "right", "top", "bottom")
RUN_LINES = ("-", "--", "-.", ":")
PT_WIDTH = 50
PT_EDGES = np.arange(0, 1051, PT_WIDTH)  # the last bin is the overflow, drawn as 1000–1050
PT_CENTERS = (PT_EDGES[:-1] + PT_EDGES[1:]) / 2
LAST_BIN = f"> {PT_EDGES[-2]}"  # what stands below it
FORMATS = ("png", "pdf")
FEWEST_IN_SHAPE = 50  # entries; fewer make no shape
# statistical uncertainty around a histogram, as options of stairs(): hatched, so that it is not taken for a part of a stack
BAND: dict[str, Any] = {"fill": True, "facecolor": "none", "edgecolor": "0.2", "hatch": "/////", "linewidth": 0}
ERROR_WIDTH = 1.2  # points
STATISTICAL = "statistical uncertainty"


class Writer:
    """Saves figures below ``plots/`` and remembers them."""

    def __init__(self, folder: Path, formats: tuple[str, ...], labels: Labels | None = None) -> None:
        self.folder, self.formats, self.labels = folder, formats, labels or Labels()
        self.written: list[Path] = []

    @contextmanager
    def figure(self, name: str, label: str, columns: int = 1, panels: int = 0, **layout: Any) -> Iterator[Any]:
        """A figure in CMS style with axes to fill; saved on leaving, under ``name``.

        ``panels`` stands for as many columns and rows as that many panels take: at most two of them are side by side,
        because more make the letters too small on a page.
        """
        shown = kinds_shown(name, {kind for kind, _ in self.labels.foreign})
        labels = replace(self.labels, foreign=tuple(one for one in self.labels.foreign if one[0] in shown))
        if panels:
            columns = min(panels, 2)
            layout["rows"] = -(-panels // columns)
            layout = {"height": 9.5 * layout["rows"] + 0.5, "hspace": 0.18, **layout}
        with mpl.rc_context(), np.errstate(invalid="ignore", divide="ignore"):
            mplhep.style.use("CMS")
            mpl.rcParams["axes.formatter.useoffset"] = False  # ticks say the whole number
            rows = layout.pop("rows", 1)
            height = layout.pop("height", 10)
            figure = Figure(figsize=(11 * columns, height))
            FigureCanvasAgg(figure)
            # fixed margins: matplotlib's layout engines take longer than all the drawing
            figure.subplots_adjust(
                left=0.14 / columns,
                right=1 - 0.035 / columns,
                bottom=1 / height,
                top=1 - 0.7 / height,
                wspace=0.18,
                hspace=layout.pop("hspace", 0.06),
            )
            axes = figure.subplots(rows, columns, squeeze=False, **layout)
            used = panels or axes.size
            for unused in axes.ravel()[used:]:
                unused.remove()
            yield axes.ravel()[:used]
            for axis in axes[0]:
                labels.write(axis, label)
            set_bars(figure)
            figure.align_ylabels()
            path = self.folder / name
            # names come from files, which come from anywhere
            if not path.resolve().is_relative_to(self.folder.resolve()):
                raise UserError(f"{name!r}: no figure is written outside {self.folder}")
            path.parent.mkdir(parents=True, exist_ok=True)
            for suffix in self.formats:
                # no creation date: the same results give the same file
                metadata = {"CreationDate": None} if suffix == "pdf" else None
                figure.savefig(path.with_name(f"{path.name}.{suffix}"), dpi=80, metadata=metadata)
            self.written.append(path)


def kinds_shown(name: str, kinds: Collection[str]) -> set[str]:
    """Of these kinds of models (``spanet``, ``bdt``), those of which the figure ``name`` may show what came.

    Figures of one method end in its name, and those of the events alone are of no method.
    """
    bare = name.rpartition("/")[2]
    if WITHOUT_METHODS.fullmatch(bare):
        return set()
    own = [method for method in NAMES if bare.endswith(f"_{method.replace(':', '_')}")]
    return {kind for kind in kinds if not own or kind in max(own, key=len)}


def styles_of(methods: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Colour, marker and legend entry of each method in one figure, no two alike.

    Methods that are not known here take what is left. A method of several runs (``method @ run``) has its own colour and
    marker in all of them; filling and ``linestyle`` tell the runs apart.
    """
    names = list(dict.fromkeys(method.partition(RUN)[0] for method in methods))
    taken = {style for name in names for style in METHOD_STYLES.get(name, ())}
    colors, markers = (itertools.cycle([s for s in some if s not in taken]) for some in (PALETTE, MARKERS))
    looks = {name: METHOD_STYLES.get(name) or (next(colors), next(markers)) for name in names}
    runs = list(dict.fromkeys(_first_run(method) for method in methods if RUN in method))
    styles = {}
    for method in methods:
        name, _, run = method.partition(RUN)
        label = EXPECTED_BESIDE if name == EXPECTED and "spanet" in names else NAMES.get(name, name)
        styles[method] = dict(zip(("color", "marker"), looks[name], strict=True)) | {"label": label}
        if run:
            place = runs.index(_first_run(method))
            words = f"same in {', '.join(run.split(SAME))}" if SAME in run else run
            styles[method] |= {
                "label": f"{styles[method]['label']} ({words})",
                "fillstyle": RUN_FILLS[place % len(RUN_FILLS)],
                "linestyle": RUN_LINES[place % len(RUN_LINES)],
            }
    return styles


def _first_run(method: str) -> str:
    """The run of ``method @ run``; the first of those in which it gives the same."""
    return method.partition(RUN)[2].partition(SAME)[0]


def color_of(method: str) -> str:
    """Colour of a method that has a figure to itself."""
    color: str = styles_of([method])[method]["color"]
    return color


def lighter(color: str) -> tuple[float, ...]:
    """The same hue half way to white: what others measured, behind what we did."""
    return tuple(0.5 + 0.5 * part for part in mpl.colors.to_rgb(color))


def line_widths(number: int, spread: float = 0) -> Any:
    """Of so many lines, the first behind and widest: those that coincide all stay seen.

    Few lines differ more if they have a ``spread`` (points) to share.
    """
    return 2 + max(1.2, spread / number) * np.arange(number)[::-1]


def show_overflow(axis: Axes) -> None:
    """An axis of pT over :data:`PT_EDGES` whose last bin is named as what it is: everything above its lower edge."""
    axis.set_xlim(PT_EDGES[0], PT_EDGES[-1])
    axis.axvline(PT_EDGES[-2], color="0.6", linestyle=":", linewidth=1, zorder=0)
    ticks = np.arange(0, PT_EDGES[-2] - 100, 200)
    axis.set_xticks([*ticks, PT_CENTERS[-1]], [*map(str, ticks), LAST_BIN])


def density(axis: Axes, histogram: Hist, linewidth: float = 2, **style: Any) -> None:
    """Shape with statistical errors, normalised to the entries in range; bins with few entries are joined."""
    values, variances = histogram.values(), histogram.variances()
    if values.sum() <= 0:
        return
    borders = well_filled(effective(values, variances))
    edges = histogram.axes[0].edges[borders]
    scale = 1 / values.sum() / np.diff(edges)
    errors = np.sqrt(merged(variances, borders)) * scale
    drawn = mplhep.histplot(
        merged(values, borders) * scale,
        edges,
        yerr=errors,
        ax=axis,
        linewidth=linewidth,
        flow="none",
        **style,
    )
    for steps in drawn:  # bars are thin where the line is wide: those of several lines stand in each other's place
        line, _, of_legend = steps.legend_artist.lines
        line.set_linewidth(linewidth)
        for bars in (*steps.errorbar.lines[2], *of_legend):
            bars.set_linewidth(ERROR_WIDTH)
