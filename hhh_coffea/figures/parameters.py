"""Figures of merit against a parameter of datasets (:mod:`hhh_coffea.results.parameters`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hhh_coffea.figures.looks.style import Writer, styles_of

AXES = {
    "full": "Share of full events that are correct",
    "share": "Share of selected events that are full",
    "selected": "Share of selected events that are correct",
    "purity": "Purity",
    "efficiency": "Efficiency",
}


def draw(write: Writer, parameters: Mapping[str, Any]) -> None:
    """A figure for each parameter that has two values or more, in the first definition: a panel for each number."""
    for parameter, definitions in parameters.items():
        methods = next(iter(definitions.values()))
        if len({row["value"] for rows in methods.values() for row in rows}) < 2:
            continue
        names = [name for name in AXES if all(name in row for rows in methods.values() for row in rows)]
        styles = styles_of(list(methods))
        with write.figure(f"along_{parameter}", "", panels=len(names)) as axes:
            for axis, name in zip(axes, names, strict=True):
                shown = {"same": next(iter(methods.values()))} if name == "share" else methods  # of events alone
                for method, rows in shown.items():
                    rows = [row for row in rows if row[name] is not None and row[name]["value"] is not None]  # noqa: PLW2901
                    x = [row["value"] for row in rows]
                    y = np.array([[row[name][part] for part in ("value", "low", "high")] for row in rows]).T
                    style = styles.get(method, {"color": "black", "marker": "o"})
                    bars = np.clip(
                        [y[0] - y[1], y[2] - y[0]], 0, None
                    )  # rounding may leave an end a hair inside the value
                    axis.errorbar(x, y[0], bars, linestyle="-", linewidth=1.5, markersize=9, **style)
                axis.set(xlabel=parameter, ylabel=AXES[name])
                axis.margins(x=0.08, y=0.3)
                if name != "share":
                    axis.legend(fontsize=20)
