"""What a run prints of assignments: Table 1 of arXiv:2309.01886 in our columns, and the same over all selected events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from hhh_coffea.results.assignment_efficiency import EVENT, KINDS
from hhh_coffea.results.console.layout import show, table_of
from hhh_coffea.results.console.tables import count, definitions_of, short_percent
from hhh_coffea.results.headline import numbered_targets, plain

TITLES = {
    "all": "correct assignments in %, All",
    "full": "correct assignments in %, Full",
}
MEANING = (
    "All: events in which any target can be found; Full: events in which every target can be found. Ev.: all of these targets "
    "are correct. In % of the selected events: a target that cannot be found counts as not found. Errors are binomial "
    "(docs/tops.md)"
)
Tables = Mapping[str, Mapping[str, Mapping[str, Any]]]  # dataset → definition → method


def print_assignments(
    console: Console, table_1: Tables, datasets: Mapping[str, Any], published: Mapping[str, Any] | None = None
) -> None:
    """The tables of each dataset, in per cent with errors; with ``published`` rows of others behind ours."""
    for dataset, definitions in table_1.items():
        targets = {name: plain(datasets[dataset], name) for name in datasets[dataset]["targets"]}
        for definition, methods in definitions.items():
            _table_1(
                console, f"{dataset}, {definitions_of(definition)}", targets, methods, (published or {}).get(dataset)
            )
            _selected(console, f"{dataset}, {definitions_of(definition)}", targets, methods)
    if table_1:
        numbered = "".join(dict.fromkeys(numbered_targets(datasets[name]) for name in table_1))
        console.print(f"[dim]{MEANING}.{numbered}[/]\n", highlight=False)
    for source in sorted({rows["source"] for rows in (published or {}).values()}):
        console.print(f"[dim]published: {source}, from other events[/]\n", highlight=False)


def _table_1(
    console: Console,
    of: str,
    targets: Mapping[str, str],
    methods: Mapping[str, Any],
    published: Mapping[str, Any] | None,
) -> None:
    items = (EVENT, *targets)
    for kind, title in TITLES.items():
        table = table_of(f"{of}: {title}", ("method", "jets"), ("Ev.", *targets.values()))
        for method, entry in methods.items():
            for position, label in enumerate(entry[kind]):
                cells = [short_percent(entry[kind][label][name]) for name in items]
                table.add_row(method if position == 0 else "", label, *cells)
        if published:
            table.add_row("published:", style="dim")
        for method, entry in (published["methods"] if published else {}).items():
            for position, label in enumerate(entry[kind]):
                cells = [f"{100 * entry[kind][label][name]:.0f}" for name in items]
                table.add_row(f" {method}" if position == 0 else "", label, *cells, style="dim")
        show(console, table)


def _selected(console: Console, of: str, targets: Mapping[str, str], methods: Mapping[str, Any]) -> None:
    """Shares of events in which targets can be found, and efficiencies over all events."""
    table = table_of(
        f"{of}: targets that can be found, in % of the selected events",
        ("jets",),
        ("events", "any", "every", *targets.values()),
    )
    for label, entry in next(iter(methods.values()))["shares"].items():
        cells = [short_percent(entry[name]) for name in ("any", "full", *targets)]
        table.add_row(label, count(entry["any"]["denominator"]), *cells)
    show(console, table)
    table = table_of(
        f"{of}: targets that are found, in % of the selected events", ("method", "jets"), ("every", *targets.values())
    )
    for method, found in methods.items():
        for position, (label, entry) in enumerate(found[KINDS[-1]].items()):
            cells = [short_percent(entry[name]) for name in (EVENT, *targets)]
            table.add_row(method if position == 0 else "", label, *cells)
    show(console, table)
