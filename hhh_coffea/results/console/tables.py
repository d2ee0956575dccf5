"""What a run prints: the plan, the summary table, the cutflow, and everything that was skipped, by name."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Console

from hhh_coffea.analyses import Analyses, Analysis
from hhh_coffea.base.terminal import plural, say
from hhh_coffea.datasets.fileset import Dataset
from hhh_coffea.datasets.normalisation import expected_events
from hhh_coffea.engine.chunks import Chunk, Failure, Partial, Plan, SourceFile
from hhh_coffea.results.console.layout import show, table_of

SHOWN_FAILURES = 20
COLLECTIONS = ("event", "jets", "fatjets", "particles")  # metadata fields that name one
DEFINITION_TITLES = {"default": "our definitions", "reference": "published definitions (arXiv:2412.03819)"}
EITHER_WAY = (
    "In our definitions, a particle that has a boosted and a resolved target counts as found if a candidate equals either of "
    "them. Therefore methods without large-radius jets also find boosted particles. "
)
MERGED = "merged: boosted and resolved candidates together. "
MEANING = (
    "purity: share of candidates that are correct; efficiency: share of targets that are found. {}"
    "Errors are 68.27% intervals that account for the correlation of candidates in one event. docs/definitions.md explains "
    "every row"
)
SPELT_OUT = {"t_H": "hadronic top", "t_L": "leptonic top"}  # labels of targets that a reader may not know
CATEGORY_LABELS = {
    "merged_without_overlap_removal": "  overlaps kept",
    "resolved_after_overlap_removal": "  overlaps removed",
}


def definitions_of(name: str) -> str:
    """``our definitions (default)``: in words, and as options and files call them."""
    return f"{DEFINITION_TITLES[name].partition(' (')[0]} ({name})"


def where_of(failure: Failure) -> str:
    """Dataset, file and entry range of a failure."""
    entries = "" if failure.start is None else f" entries {failure.start}–{failure.stop}"
    return f"{failure.dataset}: {failure.file}{entries}"


def print_plan(
    console: Console, plan: Plan, datasets: dict[str, Dataset], analyses: Analyses, sources: list[SourceFile]
) -> None:
    """What ``--dry-run`` says."""
    table = table_of("would be read", ("dataset", "format", "analysis"), ("files", "chunks", "events"))
    for name, dataset in datasets.items():
        chunks = [c for c in plan.chunks if c.dataset == name]
        table.add_row(
            name,
            dataset.metadata.format,
            analyses[dataset.metadata.analysis].name,
            str(sum(f.source.dataset == name for f in plan.files)),
            str(len(chunks)),
            f"{sum(c.stop - c.start for c in chunks):,}",
        )
    show(console, table)
    for analysis in {d.metadata.analysis: analyses[d.metadata.analysis] for d in datasets.values()}.values():
        say(f"{analysis.name}: targets {targets_in_words(analysis)}", console)
    for name in datasets:
        branches = next((s.branches for s in sources if s.dataset == name), ())
        if branches:
            say(f"{name}: branches {', '.join(b.split('/')[-1] for b in branches)}", console)
    print_warnings(console, plan.warnings)
    for info in plan.files:
        roles = {str(v): k for k, v in datasets[info.source.dataset].metadata if k in COLLECTIONS}
        for name in info.missing:
            role = f" (metadata field {roles[name]!r})" if name in roles else ""
            _warn(console, f"{info.source.path}: no collection {name!r}{role}; its events will be lost")
    _print_failures(console, list(plan.failures))


def targets_in_words(analysis: Analysis) -> str:
    """Targets with the daughters that each is made of, and what may be exchanged."""
    found = []
    for target in analysis.topology.targets:
        spelt = SPELT_OUT.get(analysis.labels.get(target.name, "").replace("$", ""))
        name = f"{target.name} ({spelt})" if spelt else target.name
        exchanged = [", ".join(target.daughters[i] for i in orbit) for orbit in target.orbits if len(orbit) > 1]
        found.append(f"{name} → {' '.join(target.daughters)}" + "".join(f" ({e} exchangeable)" for e in exchanged))
    return "; ".join(found)


def print_warnings(console: Console, warnings: Iterable[str]) -> None:
    """Things worth knowing that lose no event."""
    for warning in warnings:
        _warn(console, warning)


def print_stop(console: Console, failure: Failure) -> None:
    """Why a run with ``--on-error stop`` ended early."""
    say(f"{where_of(failure)}: {failure.reason}", console, "stopped (--on-error stop):", "red")


def print_failures(console: Console, plan: Plan, total: Partial) -> None:
    """Every file and chunk that was skipped, with its reason."""
    _print_failures(console, [*plan.failures, *total.failures])


def _print_failures(console: Console, failures: list[Failure]) -> None:
    if not failures:
        return
    by_reason: dict[tuple[str, str, str], list[Failure]] = {}
    for failure in failures:
        by_reason.setdefault((failure.dataset, failure.file, failure.reason), []).append(failure)
    files = sum(failure.start is None for failure in failures)
    kinds = ((files, "file"), (len(failures) - files, "chunk"))
    say(" and ".join(plural(number, kind) for number, kind in kinds if number), console, "skipped:", "red")
    for (dataset, file, reason), group in list(by_reason.items())[:SHOWN_FAILURES]:
        ranges = ", ".join(f"{f.start}–{f.stop}" for f in group if f.start is not None)
        lost = sum(f.events or 0 for f in group)
        detail = f" (entries {ranges}: {plural(lost, 'event')})" if ranges else ""
        say(f"  {dataset}: {file}{detail}: {reason}", console)
    if len(by_reason) > SHOWN_FAILURES:
        say(f"  … and {len(by_reason) - SHOWN_FAILURES} more, all named in provenance.json", console)


def unread(plan: Plan, total: Partial, finished: Iterable[Chunk]) -> list[str]:
    """Warnings of datasets of which everything was skipped."""
    lost = {f.dataset for f in (*plan.failures, *total.failures)} - {c.dataset for c in finished}
    return [
        f"dataset {name!r}: no event was read, because all its files or chunks were skipped" for name in sorted(lost)
    ]


def print_summary(console: Console, summary: dict[str, Any], datasets: dict[str, Dataset]) -> None:
    """dataset × method × category: counts, purity and efficiency with their intervals, one table a definition."""
    definitions = sorted({definition for entry in summary.values() for definition in entry})
    for definition in definitions:
        table = table_of(
            f"purity and efficiency in %, {definitions_of(definition)}",
            ("dataset · method",),
            ("targets", "candidates", "correct", "purity", "efficiency"),
        )
        for name in datasets:
            for method, entry in summary.get(name, {}).get(definition, {}).items():
                table.add_row(f"{name} · {method}", style="bold")
                for category, row in entry["categories"].items():
                    table.add_row(
                        "  " + CATEGORY_LABELS.get(category, category),
                        *(count(row[column]) for column in ("targets", "candidates", "correct")),
                        *(short_percent(row[column]) for column in ("purity", "efficiency")),
                    )
        show(console, table)
    if any(datasets[name].metadata.is_signal for name in summary if name in datasets):
        merged = any("boosted" in row["categories"] for e in summary.values() for m in e.values() for row in m.values())
        console.print(f"[dim]{MEANING.format(MERGED + EITHER_WAY if merged else '')}[/]\n", highlight=False)


def is_cutflow(cutflow: Any, dropped: Any, datasets: dict[str, Dataset]) -> bool:
    """Whether these have the form of our processors': ``{dataset: {cut: {events, weighted}}}``, ``{dataset: {what: n}}``."""
    tables = (cutflow, dropped)
    if not all(isinstance(t, dict) and set(t) <= set(datasets) for t in tables):
        return False
    if not all(isinstance(entry, dict) for table in tables for entry in table.values()):
        return False
    rows = [row for cuts in cutflow.values() for row in cuts.values()]
    numbers = [n for counts in dropped.values() for n in counts.values()]
    numbers += [row.get(key) for row in rows if isinstance(row, dict) for key in ("events", "weighted")]
    return all(isinstance(row, dict) for row in rows) and all(isinstance(n, int | float) for n in numbers)


def cutflow_table(
    cutflow: dict[str, Any],
    dropped: dict[str, Any],
    datasets: dict[str, Dataset],
    luminosity: float | None = None,
    regions: dict[str, Any] | None = None,
) -> dict[str, dict[str, Any]]:
    """Contents of ``cutflow.json``: per dataset the cuts in order, objects set aside, and the cross section left (pb).

    With a luminosity (fb⁻¹) each row says how many events are expected. ``regions`` (dataset → method → region → row) follow the
    cuts, one row for each region and method.
    """
    table: dict[str, dict[str, Any]] = {}
    for name, cuts in cutflow.items():
        metadata = datasets[name].metadata
        rows = [{"cut": cut, **row} for cut, row in cuts.items()]
        counted = (regions or {}).get(name, {})
        more = [{"region": r, "method": m, **row} for m, found in counted.items() for r, row in found.items()]
        if (normalisation := metadata.normalisation) is not None and rows:
            generated = metadata.sum_of_weights or rows[0]["weighted"]
            for row in (*rows, *more):
                known = generated > 0
                row["cross_section_pb"] = normalisation.rate * row["weighted"] / generated if known else None
                if luminosity is not None and known:
                    row["expected_events"] = expected_events(normalisation, luminosity) * row["weighted"] / generated
        table[name] = {"cuts": rows, **({"regions": more} if more else {}), "dropped_objects": dropped.get(name, {})}
    return {name: table[name] for name in datasets if name in table}


def weight_warnings(
    cutflow: dict[str, dict[str, Any]], datasets: dict[str, Dataset], luminosity: float | None = None
) -> list[str]:
    """Datasets whose ``sum_of_weights``, of all events generated, is less than what was processed, or which cannot be scaled."""
    warnings = []
    for name, dataset in datasets.items() if luminosity is not None and cutflow else ():
        rows = cutflow.get(name, {}).get("cuts") or [{"weighted": 0.0}]
        total = dataset.metadata.sum_of_weights or rows[0]["weighted"]
        if not dataset.metadata.is_data and not total > 0:
            warnings.append(
                f"dataset {name!r}: the generator weights of all events add up to {total:g}: expected events cannot be computed, "
                "and no stacked figures are drawn"
            )
    for name, entry in cutflow.items():
        generated, rows = datasets[name].metadata.sum_of_weights, entry["cuts"]
        if generated is not None and rows and rows[0]["weighted"] > generated * (1 + 1e-9):
            warnings.append(
                f"dataset {name!r}: sum_of_weights = {generated:g} is less than the {rows[0]['weighted']:g} processed; "
                "it must be that of all generated events; cross sections are too large now"
            )
    return warnings


def print_cutflow(console: Console, cutflow: dict[str, dict[str, Any]]) -> None:
    """Events, sum of weights and share after each cut."""
    if not cutflow:
        return
    has_expected = any("expected_events" in row for entry in cutflow.values() for row in entry["cuts"])
    more = ("expected",) if has_expected else ()
    table = table_of("cutflow", ("dataset", "cut"), ("events", "weighted", "of all", r"σ \[pb]", *more))
    for name, entry in cutflow.items():
        first = entry["cuts"][0]["events"] if entry["cuts"] else 0
        for position, row in enumerate(entry["cuts"]):
            share = f"{row['events'] / first:.1%}" if first else "–"
            sigma = f"{row['cross_section_pb']:.4g}" if row.get("cross_section_pb") is not None else "–"
            shown = name if position == 0 else ""
            cells = [shown, row["cut"], f"{int(row['events']):,}", f"{row['weighted']:.6g}", share, sigma]
            if has_expected:
                cells.append(f"{row['expected_events']:,.4g}" if "expected_events" in row else "–")
            table.add_row(*cells)
        for what, number in entry["dropped_objects"].items():
            if number:
                table.add_row("", f"dropped: {what}", f"{number:,}", "", "", "", style="yellow")
    show(console, table)


def print_end(console: Console, plan: Plan, total: Partial, wall: float, output: Path, written: list[str]) -> None:
    """Speed, ledger and where everything is."""
    say(
        f"processed {total.events:,} of {plural(plan.events, 'planned event')}, {total.chunks:,} of "
        f"{plural(len(plan.chunks), 'chunk')} ({wall:.1f} s, {total.events / wall:,.0f} events/s)",
        console,
    )
    if plan.failures:
        unread = f"{plural(len(plan.failures), 'file')} could not be opened"
        _warn(console, f"{unread}: the number of planned events does not include theirs")
    if not plan.events:
        _warn(console, "there was nothing to process: no event was planned")
    say(f"written to {output.resolve()}: {', '.join(written)}", console)
    if "report.html" in written:
        say(f"report: {output.resolve() / 'report.html'}", console)


def count(value: int | None) -> str:
    """Thousands set apart; a dash for None."""
    return "–" if value is None else f"{value:,}"


def percent(entry: dict[str, Any] | None) -> str:
    """A fraction of ``summary.json`` in %, with its interval; a dash where there is none."""
    if entry is None or entry["value"] is None:
        return "–"
    value, low, high = (100 * entry[key] for key in ("value", "low", "high"))
    return f"{value:.2f} +{high - value:.2f} −{value - low:.2f}"


def short_percent(entry: dict[str, Any] | None) -> str:
    """A fraction of ``summary.json`` in %, with the larger of its errors; a dash where there is none."""
    if entry is None or entry["value"] is None:
        return "–"
    value, low, high = (100 * entry[key] for key in ("value", "low", "high"))
    return f"{value:.1f} ± {max(high - value, value - low):.1f}"


def _warn(console: Console, text: str) -> None:
    say(text, console, "warning:", "yellow")
