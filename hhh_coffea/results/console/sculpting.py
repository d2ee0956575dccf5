"""The sculpting table a run prints, from what :mod:`hhh_coffea.results.sculpting_spectra` measured."""

from __future__ import annotations

import math
from typing import Any

from rich.console import Console
from rich.table import Table

from hhh_coffea.base.mass_measures import RANGES
from hhh_coffea.results.console.layout import show, table_of
from hhh_coffea.results.console.tables import definitions_of

PEAK = "110–140 GeV"
MEANING = (
    "EMD: earth mover's distance of the mass spectrum to that of random pairing of the same jets, in the range of masses that is "
    f"given. If it is large, the method shapes the background. {PEAK}: share of the candidates of 30–225 GeV in the peak, in %. "
    "docs/sculpting.md explains the measures"
)


def print_sculpting(console: Console, measured: dict[str, Any], verbose: bool) -> None:
    """One row for each method, in the first definitions, against random pairing; with ``verbose`` everything that is measured."""
    for dataset, definitions in measured.items():
        for definition, methods in definitions.items() if verbose else list(definitions.items())[:1]:
            title = f"masses in {dataset}, {definitions_of(definition)}"
            if not verbose:
                show(console, _against_random(title, methods))
                continue
            for span in RANGES:
                show(console, _every_measure(f"{title}, {span.replace('-', '–')} GeV", methods, span))
    if measured:
        more = "" if verbose else ". Other spectra, kinds and definitions: --verbose, or summary.json"
        console.print(f"[dim]{MEANING}{more}[/]\n", highlight=False)


def _against_random(title: str, methods: dict[str, Any]) -> Table:
    """All kinds of candidates together, the first category."""
    spans = [f"EMD {span.replace('-', '–')} \\[GeV]" for span in RANGES]
    table = table_of(title, ("method",), ("candidates", *spans, PEAK))
    for method, categories in methods.items():
        ranks: dict[str, Any] = next(iter(categories.values()), {})
        if (row := ranks.get("all")) is not None:  # weights of both signs may add up to nothing
            emds = [_with_error(row[span].get("emd_to_random_gev")) for span in RANGES]
            share = _with_error(row[next(iter(RANGES))].get("peak_share"), 100)
            table.add_row(method, f"{row['candidates']:,.0f}", *emds, share)
    return table


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
        cells = (_with_error(row[span].get(name), 100 if name == "peak_share" else 1) for name in names)
        table.add_row(label, f"{row['candidates']:,.0f}", *cells)
    return table


def _heading(name: str) -> str:
    """``emd_to_random_gev`` → ``EMD to random [GeV]``."""
    if name == "peak_share":
        return PEAK
    return f"EMD to {name.removeprefix('emd_to_').removesuffix('_gev')} \\[GeV]"


def _with_error(entry: dict[str, float | None] | None, scale: float = 1) -> str:
    """``14.70 ± 0.25``: two digits of the error, and as many decimals of the value."""
    if entry is None or entry["value"] is None:
        return "–"
    value, error = scale * entry["value"], scale * (entry["error"] or 0)
    if not 0 < error < math.inf:
        return f"{value:.3g}"
    decimals = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:.{decimals}f} ± {error:.{decimals}f}"
