"""What most readers want of a run first, as tables of texts: the terminal and report.html show the same ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from hhh_coffea.results.assignment_efficiency import EVENT
from hhh_coffea.results.console.tables import SPELT_OUT, count, definitions_of, short_percent

PURITY = (
    "purity: share of candidates that are correct; efficiency: share of targets that are found. Errors are 68% intervals that "
    "account for the correlation of candidates in one event."
)
ASSIGNMENTS = (
    "All: events in which any target can be found; correct if all these targets are correct. Full: events in which every "
    "target can be found; correct if all targets are correct. The other columns have each target in the Full events."
)
ORDER = "the generated particles in the order of the file"
NOTHING = {"–": {"targets": 0, "candidates": 0, "purity": None, "efficiency": None}}
Info = Mapping[str, Any]  # of a dataset: labels, is_signal …


class HeadlineTable(NamedTuple):
    """A table of texts; ``names`` stand left, ``numbers`` right. ``note`` explains the columns, ``more`` where the rest is."""

    title: str
    names: tuple[str, ...]
    numbers: tuple[str, ...]
    rows: list[list[str]]
    note: str = ""
    more: str = ""


def headline_tables(
    results: Mapping[str, Any], assignments: Mapping[str, Any], datasets: Mapping[str, Info]
) -> list[HeadlineTable]:
    """One row for each dataset and method.

    Parameters
    ----------
    results, assignments
        of ``summary.json``. Datasets with assignments have their events and targets, the others purity and efficiency of
        whole events in the first set of definitions. Where there is no truth, candidates are counted.
    datasets
        what ``histograms.json`` says of each
    """
    with_rows = [name for name in datasets if name in assignments]
    tables = [_assignments(name, assignments[name], datasets[name]) for name in with_rows]
    if tables:
        spelt = "".join(f" {label}: {words}." for label, words in SPELT_OUT.items() if label in tables[-1].numbers)
        numbered = "".join(dict.fromkeys(numbered_targets(datasets[name]) for name in with_rows))
        tables[-1] = tables[-1]._replace(note=f"{ASSIGNMENTS}{spelt}{numbered}", more="By number of jets")
    others = {name: _whole(results[name]) for name in datasets if name not in assignments and results.get(name)}
    truth = {
        name: methods for name, methods in others.items() if any(row["targets"] is not None for row in methods.values())
    }
    rest = {name: methods for name, methods in others.items() if name not in truth}
    if results or assignments:  # a dataset of which nothing was read, or no event selected, stays in the tables
        for name in [name for name in datasets if name not in {*assignments, *others}]:
            (truth if datasets[name].get("is_signal") else rest)[name] = NOTHING
    truth, rest = ({name: some[name] for name in datasets if name in some} for some in (truth, rest))
    used = next((definitions_of(name) for entry in results.values() for name in entry), "")
    tables += [_purities(truth, used)] if truth else []
    return [*tables, _candidates(rest)] if rest else tables


def plain(info: Info, name: str) -> str:
    """The name of a target as text: ``t_H`` where figures have ``$t_H$``."""
    return str(info.get("labels", {}).get(name, name)).replace("$", "")


def numbered_targets(info: Info) -> str:
    """What ``H1`` and ``H2`` are, for an analysis whose targets are numbered; empty for others."""
    targets = list(info.get("targets", ()))
    if targets[:1] != [f"{info.get('symbol')}1"]:
        return ""
    between = " to " if len(targets) > 2 else " and "
    return f" {between.join((targets[0], targets[-1]))}: {ORDER}."


def _assignments(dataset: str, definitions: Mapping[str, Any], info: Info) -> HeadlineTable:
    methods = next(iter(definitions.values()))
    items = list(next(iter(next(iter(methods.values()))["full"].values())))
    rows = []
    for method, entry in methods.items():
        every, full = (list(entry[kind].values())[-1] for kind in ("all", "full"))
        rows.append([method, *(short_percent(cell) for cell in (every[EVENT], *(full[item] for item in items)))])
    columns = ("All", "Full", *(plain(info, item) for item in items[1:]))
    return HeadlineTable(f"{dataset}: correct assignments in %", ("method",), columns, rows)


def _purities(found: Mapping[str, Mapping[str, Any]], definitions: str) -> HeadlineTable:
    shown = ("targets", "candidates", "purity", "efficiency")
    more = "Each kind of candidate, other definitions and the cutflow"
    return HeadlineTable(
        f"purity and efficiency in %, {definitions}", ("dataset", "method"), shown, _rows(found, shown), PURITY, more
    )


def _candidates(found: Mapping[str, Mapping[str, Any]]) -> HeadlineTable:
    shown = ("candidates",)
    return HeadlineTable("candidates in datasets without truth", ("dataset", "method"), shown, _rows(found, shown))


def _rows(found: Mapping[str, Mapping[str, Any]], shown: tuple[str, ...]) -> list[list[str]]:
    rows = []
    for name, methods in found.items():
        for position, (method, row) in enumerate(methods.items()):
            cells = (short_percent(row[c]) if c in ("purity", "efficiency") else count(row[c]) for c in shown)
            rows.append([name if position == 0 else "", method, *cells])
    return rows


def _whole(definitions: Mapping[str, Any]) -> dict[str, Any]:
    """Whole events in the first set of definitions, by method."""
    first = next(iter(definitions.values()))
    return {method: next(iter(entry["categories"].values())) for method, entry in first.items()}
