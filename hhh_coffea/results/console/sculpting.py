"""The sculpting table a run prints, from what :mod:`hhh_coffea.results.sculpting_spectra` measured."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from hhh_coffea.base.mass_measures import RANGES
from hhh_coffea.results.console.headline import print_headline
from hhh_coffea.results.console.layout import show, table_of
from hhh_coffea.results.console.tables import definitions_of
from hhh_coffea.results.special_tables import MASSES, PEAK, sculpting_table, with_error


def print_sculpting(console: Console, measured: dict[str, Any], verbose: bool) -> None:
    """One row for each method, in the first definitions, against random pairing; with ``verbose`` everything that is measured."""
    for dataset, definitions in measured.items():
        for definition, methods in definitions.items() if verbose else list(definitions.items())[:1]:
            title = f"masses in {dataset}, {definitions_of(definition)}"
            if not verbose:
                print_headline(console, [sculpting_table(dataset, definition, methods)])
                continue
            for span in RANGES:
                show(console, _every_measure(f"{title}, {span.replace('-', '–')} GeV", methods, span))
    if measured:
        more = "" if verbose else " Other spectra, kinds and definitions: --verbose, or summary.json"
        console.print(f"[dim]{MASSES}{more}[/]\n", highlight=False)


def _every_measure(title: str, methods: dict[str, Any], span: str) -> Table:
    rows = [
        (f"{method} · {category}", ranks["all"])
        for method, categories in methods.items()
        for category, ranks in categories.items()
        if "all" in ranks
    ]
    names = sorted({name for _, row in rows for name in row[span] if not name.startswith("js_")})
    table = table_of(title, ("method · category",), ("candidates", *(_heading(name) for name in names)))
    for label, row in rows:
        cells = (with_error(row[span].get(name), 100 if name == "peak_share" else 1) for name in names)
        table.add_row(label, f"{row['candidates']:,.0f}", *cells)
    return table


def _heading(name: str) -> str:
    """``emd_to_random_gev`` → ``EMD to random [GeV]``."""
    if name == "peak_share":
        return PEAK
    return f"EMD to {name.removeprefix('emd_to_').removesuffix('_gev')} \\[GeV]"
