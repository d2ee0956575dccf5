"""Figures of scans over couplings: limits, likelihoods and contours, of one or of several methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.lines import Line2D
from scipy.interpolate import RectBivariateSpline

from hhh_coffea.base.kinematics import FloatArray
from hhh_coffea.figures.looks.palette import INNER, OUTER
from hhh_coffea.figures.looks.style import Writer, line_widths, styles_of
from hhh_coffea.inference.couplings.scans import LEVELS, LikelihoodScan, LimitScan

FINER = 8  # times as many points along each coupling where contours are drawn
LEGEND = 0.3  # of the range of the second coupling, above it
SYMBOLS = {"kappa3": "$\\kappa_3$", "kappa4": "$\\kappa_4$"}
LINES: tuple[Literal["-", "--", ":", "-."], ...] = ("-", "--", ":", "-.")  # of several signals
DASHES: dict[str, Literal["-", "--"]] = {"68%": "-", "95%": "--"}


def draw_limits(write: Writer, name: str, scans: Mapping[str, LimitScan], label: str = "") -> None:
    """Median upper limit on σ/σ(κ) of each method; of a single one with its bands. Where it is below 1, κ is excluded."""
    styles = styles_of(list(scans))
    with write.figure(name, label) as axes:
        (axis,) = axes
        for method, scan in scans.items():
            x = scan.points[:, 0]
            low2, low1, median, high1, high2 = scan.limits.T
            if len(scans) == 1:
                axis.fill_between(x, low2, high2, color=OUTER, linewidth=0, label="95% of experiments")
                axis.fill_between(x, low1, high1, color=INNER, linewidth=0, label="68% of experiments")
            axis.plot(x, median, color=styles[method]["color"], linewidth=3, label=styles[method]["label"])
        axis.axhline(1, color="black", linewidth=1)
        first = next(iter(scans.values()))
        axis.set_yscale("log")
        axis.set(xlabel=_symbol(first.parameters[0]), ylabel=f"{100 * first.level:g}% CL$_s$ upper limit on σ / σ(κ)")
        axis.set_xlim(first.points[0, 0], first.points[-1, 0])
        axis.legend(loc="upper right")


def draw_effective_events(write: Writer, name: str, scans: Mapping[str, LimitScan], label: str = "") -> None:
    """Effective simulated events of each signal at each coupling: how well reweighting knows its template.

    They are those of the events that are fitted, mostly the same ones for all methods: one line stands for all then.
    """
    styles = styles_of(list(scans))
    if _alike(list(scans.values())):
        scans = {"": next(iter(scans.values()))}
        styles = {"": {"color": "black", "label": "all methods"} if len(styles) > 1 else next(iter(styles.values()))}
    with write.figure(name, label) as axes:
        (axis,) = axes
        for (method, scan), width in zip(scans.items(), line_widths(len(scans)), strict=True):
            for known, dash in zip(scan.effective_events.values(), LINES, strict=False):
                axis.plot(scan.points[:, 0], known, dash, color=styles[method]["color"], linewidth=width + 1)
        first = next(iter(scans.values()))
        entries = [Line2D([], [], color=style["color"], linewidth=3, label=style["label"]) for style in styles.values()]
        if len(first.effective_events) > 1:
            signals = zip(first.effective_events, LINES, strict=False)
            entries += [Line2D([], [], color="grey", linestyle=dash, label=signal) for signal, dash in signals]
        axis.set_yscale("log")
        low, high = axis.get_ylim()
        axis.set(xlabel=_symbol(first.parameters[0]), ylabel="Effective simulated events", ylim=(low, 5 * high))
        axis.set_xlim(first.points[0, 0], first.points[-1, 0])
        axis.legend(handles=entries, loc="upper right")


def draw_likelihood(write: Writer, name: str, scans: Mapping[str, LikelihoodScan], label: str = "") -> None:
    """−2Δ ln L over one coupling, with its 68% and 95% levels."""
    styles = styles_of(list(scans))
    with write.figure(name, label) as axes:
        (axis,) = axes
        for method, scan in scans.items():
            axis.plot(
                scan.points[:, 0],
                scan.twice_delta_nll,
                color=styles[method]["color"],
                linewidth=3,
                label=styles[method]["label"],
            )
        first = next(iter(scans.values()))
        for level, value in LEVELS[1].items():
            axis.axhline(value, color="grey", linestyle="--", linewidth=1)
            place: dict[str, Any] = {"xytext": (-8, 2), "textcoords": "offset points", "ha": "right", "va": "bottom"}
            axis.annotate(level, (first.points[-1, 0], value), fontsize=18, **place)
        highest = max(float(scan.twice_delta_nll.max()) for scan in scans.values())
        axis.set(xlabel=_symbol(first.parameters[0]), ylabel="$-2\\,\\Delta\\ln L$", ylim=(0, min(highest * 1.05, 10)))
        axis.set_xlim(first.points[0, 0], first.points[-1, 0])
        axis.legend(loc="best")


def draw_contours(write: Writer, name: str, scans: Mapping[str, LikelihoodScan], label: str = "") -> None:
    """68% and 95% contours in two couplings, and the truth of the Asimov data."""
    styles = styles_of(list(scans))
    with write.figure(name, label) as axes:
        (axis,) = axes
        for method, scan in scans.items():
            first, second, values = finer(*scan.on_grid())
            for level, height in LEVELS[2].items():
                if values.min() < height < values.max():
                    axis.contour(
                        first,
                        second,
                        values.T,
                        levels=[height],
                        colors=[styles[method]["color"]],
                        linestyles=[DASHES[level]],
                        linewidths=3,
                    )
        scan = next(iter(scans.values()))
        axis.plot(*scan.truth, marker="*", color="black", markersize=18, linestyle="none")
        entries = [Line2D([], [], color=style["color"], linewidth=3, label=style["label"]) for style in styles.values()]
        entries += [Line2D([], [], color="grey", linestyle=dash, label=level) for level, dash in DASHES.items()]
        truth = ", ".join(f"{_symbol(n)} = {v:g}" for n, v in zip(scan.parameters, scan.truth, strict=True))
        entries.append(Line2D([], [], color="black", marker="*", markersize=15, linestyle="none", label=truth))
        axis.legend(handles=entries, loc="upper right", ncols=2, fontsize=22)
        axis.set(xlabel=_symbol(scan.parameters[0]), ylabel=_symbol(scan.parameters[1]))
        bounds = np.stack([scan.points.min(axis=0), scan.points.max(axis=0)], axis=1)
        axis.set(xlim=bounds[0], ylim=(bounds[1, 0], bounds[1, 1] + LEGEND * (bounds[1, 1] - bounds[1, 0])))


def finer(first: FloatArray, second: FloatArray, values: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """A smooth function on a grid, on one :data:`FINER` times as fine: contours through few points have corners.

    The interpolation is cubic, and exact at the points; values that are not finite leave the grid as it is.
    """
    if not np.isfinite(values).all():
        return first, second, values
    spline = RectBivariateSpline(first, second, values, kx=min(3, len(first) - 1), ky=min(3, len(second) - 1))
    x, y = (np.linspace(some[0], some[-1], FINER * (len(some) - 1) + 1) for some in (first, second))
    return x, y, spline(x, y)


def _alike(scans: Sequence[LimitScan]) -> bool:
    """Whether the effective events of all scans agree to 1%, less than a line is wide."""
    first = scans[0].effective_events
    return all(
        scan.effective_events.keys() == first.keys()
        and all(np.allclose(scan.effective_events[name], known, rtol=0.01) for name, known in first.items())
        for scan in scans[1:]
    )


def _symbol(parameter: str) -> str:
    return SYMBOLS.get(parameter, parameter)
