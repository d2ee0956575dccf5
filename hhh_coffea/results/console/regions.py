"""What a run prints of the selected events in the regions that it or its analyses declare."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from hhh_coffea.results.console.layout import show, table_of


def print_regions(console: Console, cutflow: dict[str, dict[str, Any]], verbose: bool) -> None:
    """Selected events in each region, one column per method; with ``verbose`` one row per method, with weights and shares."""
    if not verbose:
        show(console, _regions_by_method(cutflow))
        return
    has_expected = any("expected_events" in row for entry in cutflow.values() for row in entry["cuts"])
    numbers = ("events", "weighted", "of selected", *(("expected",) if has_expected else ()))
    table = table_of("regions", ("dataset", "region", "method"), numbers)
    for name, entry in cutflow.items():
        before = ("", "")
        last = next((row["events"] for row in reversed(entry["cuts"]) if not row["cut"].startswith("weight: ")), 0)
        for row in sorted(entry.get("regions", []), key=lambda row: row["region"]):
            place = (name, row["region"])
            share = f"{row['events'] / last:.1%}" if last else "–"
            cells = [f"{int(row['events']):,}", f"{row['weighted']:,.6g}", share]
            if has_expected:
                cells.append(f"{row['expected_events']:,.4g}" if "expected_events" in row else "–")
            shown = ["" if old == new else new for old, new in zip(before, place, strict=True)]
            shown = [shown[0], place[1] if shown[0] else shown[1]]
            table.add_row(*shown, row["method"], *cells)
            before = place
    show(console, table)


def _regions_by_method(cutflow: dict[str, dict[str, Any]]) -> Table:
    """Events in each region, expected ones where there is a luminosity."""
    rows = [(name, row) for name, entry in cutflow.items() for row in entry.get("regions", [])]
    methods = list(dict.fromkeys(row["method"] for _, row in rows))
    expected = any("expected_events" in row for _, row in rows)
    table = table_of(
        "expected events in regions" if expected else "events in regions", ("dataset", "region"), tuple(methods)
    )
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for name, row in rows:
        number = f"{row['expected_events']:,.4g}" if "expected_events" in row else f"{int(row['events']):,}"
        cells.setdefault((name, row["region"]), {})[row["method"]] = (
            "–" if expected and "expected_events" not in row else number
        )
    shown = ""
    for name, region in sorted(cells, key=lambda place: (list(cutflow).index(place[0]), place[1])):
        table.add_row("" if name == shown else name, region, *(cells[name, region].get(m, "–") for m in methods))
        shown = name
    return table
