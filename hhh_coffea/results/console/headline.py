"""What a run prints first: one line for each dataset and method. Everything else is printed with ``--verbose``."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console

from hhh_coffea.results.console.layout import show, table_of
from hhh_coffea.results.headline import HeadlineTable


def print_headline(console: Console, tables: Iterable[HeadlineTable]) -> None:
    """Tables of at most 80 columns, with the note that explains them."""
    for table in tables:
        shown = table_of(table.title, table.names, table.numbers)
        for row in table.rows:
            shown.add_row(*row)
        show(console, shown)
        if table.note:
            more = f" {table.more}: report.html, or --verbose" if table.more else ""
            console.print(f"[dim]{table.note}{more}[/]\n", highlight=False)
