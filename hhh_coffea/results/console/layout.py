"""Tables that fit the terminal."""

from __future__ import annotations

from copy import copy
from dataclasses import replace

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Column, Table
from rich.text import Text

from hhh_coffea.base.terminal import wrapped


def table_of(title: str, names: tuple[str, ...], numbers: tuple[str, ...]) -> Table:
    """An empty table with columns of text and of numbers."""
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False)
    for column in names:
        table.add_column(column)
    for column in numbers:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def show(console: Console, table: Table) -> None:
    """Print a table of :func:`table_of`; one that is too wide, closer together or in parts that repeat its columns of text."""
    names, numbers = ([c for c in table.columns if (c.justify == "right") == kind] for kind in (False, True))
    options = console.options.update(width=10_000)

    def part(columns: list[Column]) -> Table:
        one = copy(table)
        one.title = None  # rich would break it at the width of the table
        one.columns = [replace(column, _index=k) for k, column in enumerate(columns)]
        return one

    def width(columns: list[Column]) -> int:
        return Measurement.get(console, options, part(columns)).maximum

    def print_part(columns: list[Column]) -> None:
        console.print(Text(wrapped(str(table.title or ""), console.width), "bold"), soft_wrap=True, highlight=False)
        console.print(part(columns))

    table.collapse_padding = width([*names, *numbers]) > console.width
    room = console.width - min(width(names), console.width // 2)  # long names are wrapped
    shown: list[Column] = []
    for column in numbers:
        if shown and width([*names, *shown, column]) - width(names) > room:
            print_part([*names, *shown])
            shown = []
        shown.append(column)
    print_part([*names, *shown])
