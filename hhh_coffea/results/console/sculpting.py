"""The sculpting table a run prints, from what :mod:`hhh_coffea.results.sculpting_spectra` measured."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from hhh_coffea.base.mass_measures import RANGES
from hhh_coffea.results.console.layout import show, table_of
from hhh_coffea.results.console.tables import definitions_of


def print_sculpting(console: Console, measured: dict[str, Any]) -> None:
    """One table a dataset, definition and range: earth mover's distances, share in the peak; the rest is in summary.json."""
    for dataset, definitions in measured.items():
        for definition, methods in definitions.items():
            for span in RANGES:
                rows = [
                    (f"{method} · {category}", ranks["all"])
                    for method, categories in methods.items()
                    for category, ranks in categories.items()
                    if "all" in ranks  # weights of both signs may add up to nothing
                ]
                names = sorted({name for _, row in rows for name in row[span] if not name.startswith("js_")})
                title = f"masses in {dataset}, {span} GeV, {definitions_of(definition)}"
                table = table_of(title, ("method · category",), ("candidates", *(_heading(name) for name in names)))
                for label, row in rows:
                    cells = (_with_error(row[span].get(name)) for name in names)
                    table.add_row(label, f"{row['candidates']:,.0f}", *cells)
                show(console, table)


def _heading(name: str) -> str:
    """``emd_to_random_gev`` → ``EMD to random [GeV]``."""
    if name == "peak_share":
        return "in 110–140"
    return f"EMD to {name.removeprefix('emd_to_').removesuffix('_gev')} \\[GeV]"


def _with_error(entry: dict[str, float | None] | None) -> str:
    if entry is None or entry["value"] is None:
        return "–"
    error = "" if entry["error"] is None else f" ± {entry['error']:.2g}"
    return f"{entry['value']:.3g}{error}"
