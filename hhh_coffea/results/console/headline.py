"""What a run prints first: one line for each dataset and method. Everything else is printed with ``--verbose``."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from rich.console import Console

from hhh_coffea.results.assignment_efficiency import EVENT
from hhh_coffea.results.console.assignments import Tables
from hhh_coffea.results.console.tables import count, short_percent, table_of

PURITY = (
    "purity: correct candidates of all candidates; efficiency: found targets of all targets. Errors are 68% intervals. "
    "Each kind of candidate, other definitions and the cutflow: report.html, or --verbose"
)
ASSIGNMENTS = (
    "All: of the events in which any target can be found, those with every such target right. Full: of the events in which "
    "every target can be found, those with all of them right; next to it each target, in the same events. By number of "
    "jets: report.html, or --verbose"
)


def print_headline(
    console: Console, summary: Mapping[str, Any], table_1: Tables, datasets: Collection[str], of_signal: bool
) -> None:
    """The table that most readers want, at most 80 columns wide.

    Datasets with a table of assignments (:func:`hhh_coffea.results.assignment_efficiency.tables`) have their events and
    targets, the others the purity and efficiency of whole events in the first set of definitions. Where there is no truth,
    candidates are counted.
    """
    for name in (name for name in datasets if name in table_1):
        methods = next(iter(table_1[name].values()))
        items = list(next(iter(next(iter(methods.values()))["full"].values())))
        table = table_of(f"{name}: right assignments in %", ("method",), ("All", "Full", *items[1:]))
        for method, entry in methods.items():
            every, full = (list(entry[kind].values())[-1] for kind in ("all", "full"))
            table.add_row(method, *(short_percent(cell) for cell in (every[EVENT], *(full[item] for item in items))))
        console.print(table)
    if any(name in table_1 for name in datasets):
        console.print(f"[dim]{ASSIGNMENTS}[/]\n", highlight=False)

    others = [name for name in datasets if name not in table_1 and summary.get(name)]
    rows = {name: _first_categories(summary[name]) for name in others}
    truth = any(row["targets"] is not None for found in rows.values() for row in found.values())
    title = "purity and efficiency in %" if truth else "candidates (there is no truth)"
    shown = ("targets", "candidates", "purity", "efficiency") if truth else ("candidates",)
    table = table_of(title, ("dataset", "method"), shown)
    for name, found in rows.items():
        for position, (method, row) in enumerate(found.items()):
            cells = (short_percent(row[c]) if c in ("purity", "efficiency") else count(row[c]) for c in shown)
            table.add_row(name if position == 0 else "", method, *cells)
    if others:
        console.print(table)
        if of_signal and truth:
            console.print(f"[dim]{PURITY}[/]\n", highlight=False)


def _first_categories(definitions: Mapping[str, Any]) -> dict[str, Any]:
    """Whole events in the first set of definitions, by method."""
    first = next(iter(definitions.values()))
    return {method: next(iter(entry["categories"].values())) for method, entry in first.items()}
