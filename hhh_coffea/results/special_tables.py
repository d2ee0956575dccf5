"""Headline tables of what the processors ``sculpting`` and ``bdt_scan`` measure, for the terminal and report.html."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

from hhh_coffea.base import mass_measures
from hhh_coffea.base.mass_measures import RANGES
from hhh_coffea.results.bdt_scan import GRID, SCAN, WORKING_POINT_NAMES
from hhh_coffea.results.console.tables import definitions_of, short_percent
from hhh_coffea.results.headline import HeadlineTable
from hhh_coffea.results.sculpting_spectra import SPECTRA

PEAK = "–".join(f"{mass:g}" for mass in mass_measures.PEAK) + " GeV"
MASSES = (
    "EMD: earth mover's distance of the mass spectrum to that of random pairing of the same jets, in the range of masses that is "
    f"given. If it is large, the method shapes the background. {PEAK}: share of the candidates of 30–225 GeV in the peak, in %. "
    "docs/sculpting.md explains the measures."
)
POINTS = (
    "A large-radius jet is a Higgs boson if the BDT gives it a higher score than the working point, a number or a name of the "
    "model. No score is above 1: there, all candidates are pairs of jets of χ². Purity: share of candidates that are "
    "correct; efficiency: share of targets that are found; merged: boosted and resolved candidates together. Errors are "
    "68% intervals of independent candidates."
)
ALONE = f"{GRID[-1]:.5f}"


# histogram of a processor → what it is measured from it, in ``other`` of summary.json
MEASURED = {SPECTRA: "sculpting", SCAN: "working_points"}


def special_tables(other: Mapping[str, Any], histograms: Collection[str], verbose: bool = False) -> list[HeadlineTable]:
    """Tables of ``other`` of ``summary.json``; ``verbose``: all working points.

    ``histograms``: names of those that were filled. Without those of these processors, ``other`` is that of a user's own.
    """
    measured = {name: other.get(entry) or {} for name, entry in MEASURED.items() if name in histograms}
    tables = [
        sculpting_table(dataset, definition, definitions[definition])
        for dataset, definitions in measured.get(SPECTRA, {}).items()
        for definition in list(definitions)[:1]
    ]
    if tables:
        tables[-1] = tables[-1]._replace(
            note=f"{MASSES} Other spectra, kinds and definitions are in summary.json (other.sculpting)."
        )
    return [*tables, _scan_table(measured[SCAN], verbose)] if measured.get(SCAN) else tables


def sculpting_table(dataset: str, definition: str, methods: Mapping[str, Any]) -> HeadlineTable:
    """One row for each method against random pairing: all kinds of candidates together, the first category."""
    columns = ("candidates", *(f"EMD {span.replace('-', '–')} [GeV]" for span in RANGES), PEAK)
    rows = []
    for method, categories in methods.items():
        ranks: dict[str, Any] = next(iter(categories.values()), {})
        if (row := ranks.get("all")) is not None:  # weights of both signs may add up to nothing
            emds = [with_error(row[span].get("emd_to_random_gev")) for span in RANGES]
            share = with_error(row[next(iter(RANGES))].get("peak_share"), 100)
            rows.append([method, f"{row['candidates']:,.0f}", *emds, share])
    return HeadlineTable(f"masses in {dataset}, {definitions_of(definition)}", ("method",), columns, rows)


def _scan_table(scan: Mapping[str, Any], verbose: bool) -> HeadlineTable:
    """One row for each dataset and working point, in the first definitions and the first category, which has all candidates."""
    rows = []
    used = next(iter(next(iter(scan.values()))))
    for dataset, definitions in scan.items():
        points = next(iter(definitions[used].values()))
        shown = [p for p in points if verbose or p in (*WORKING_POINT_NAMES, ALONE)] or list(points)
        for position, point in enumerate(shown):
            purity, efficiency = points[point]["purity"], points[point]["efficiency"]
            name = f"{float(point):g}" if point not in WORKING_POINT_NAMES else point
            counts = (f"{purity['denominator']:,}", f"{purity['numerator']:,}")
            cells = [*counts, short_percent(purity), short_percent(efficiency)]
            rows.append([dataset if position == 0 else "", name, *cells])
    title = f"working points of the BDT: merged purity and efficiency in %, {definitions_of(used)}"
    more = "" if verbose else " All working points: --verbose, summary.json (other.working_points) and the figure."
    columns = ("candidates", "correct", "purity", "efficiency")
    return HeadlineTable(title, ("dataset", "working point"), columns, rows, POINTS + more)


def with_error(entry: Mapping[str, float | None] | None, scale: float = 1) -> str:
    """``14.70 ± 0.25``: two digits of the error, and as many decimals of the value."""
    if entry is None or entry["value"] is None:
        return "–"
    value, error = scale * entry["value"], scale * (entry["error"] or 0)
    if not 0 < error < math.inf:
        return f"{value:.3g}"
    decimals = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:.{decimals}f} ± {error:.{decimals}f}"
