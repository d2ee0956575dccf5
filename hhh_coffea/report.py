"""What a run prints: the plan, the summary table, the cutflow, and everything that was set aside, by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from hhh_coffea.engine import Failure, Partial, Plan, SourceFile
from hhh_coffea.fileset import Dataset

SHOWN_FAILURES = 20


def where_of(failure: Failure) -> str:
    """Dataset, file and entry range of a failure."""
    entries = "" if failure.start is None else f" entries {failure.start}–{failure.stop}"
    return f"{failure.dataset}: {failure.file}{entries}"


def print_plan(console: Console, plan: Plan, datasets: dict[str, Dataset], sources: list[SourceFile]) -> None:
    """What ``--dry-run`` says."""
    table = Table(title="would be read")
    for column in ("dataset", "format", "n_higgs", "files", "chunks", "events"):
        table.add_column(column, justify="left" if column in ("dataset", "format") else "right")
    for name, dataset in datasets.items():
        chunks = [c for c in plan.chunks if c.dataset == name]
        table.add_row(
            name,
            dataset.metadata.format,
            str(dataset.metadata.n_higgs),
            str(sum(f.source.dataset == name for f in plan.files)),
            str(len(chunks)),
            f"{sum(c.stop - c.start for c in chunks):,}",
        )
    console.print(table)
    for name in datasets:
        branches = next((s.branches for s in sources if s.dataset == name), ())
        if branches:
            console.print(f"{name}: branches {', '.join(b.split('/')[-1] for b in branches)}", soft_wrap=True)
    print_warnings(console, plan)
    _print_failures(console, list(plan.failures))


def print_warnings(console: Console, plan: Plan) -> None:
    """Things worth knowing that lose no event."""
    for warning in plan.warnings:
        console.print(f"[yellow]warning:[/] {warning}", soft_wrap=True)


def print_failures(console: Console, plan: Plan, total: Partial) -> None:
    """Every file and chunk that was set aside, with its reason."""
    _print_failures(console, [*plan.failures, *total.failures])


def _print_failures(console: Console, failures: list[Failure]) -> None:
    if not failures:
        return
    by_reason: dict[tuple[str, str, str], list[Failure]] = {}
    for failure in failures:
        by_reason.setdefault((failure.dataset, failure.file, failure.reason), []).append(failure)
    console.print(f"[red]set aside:[/] {len(failures)} of the files and chunks")
    for (dataset, file, reason), group in list(by_reason.items())[:SHOWN_FAILURES]:
        ranges = ", ".join(f"{f.start}–{f.stop}" for f in group if f.start is not None)
        lost = sum(f.events or 0 for f in group)
        detail = f" (entries {ranges}: {lost:,} events)" if ranges else ""
        console.print(f"  {dataset}: {file}{detail}: {reason}", soft_wrap=True, markup=False, highlight=False)
    if len(by_reason) > SHOWN_FAILURES:
        console.print(f"  … and {len(by_reason) - SHOWN_FAILURES} more, all named in provenance.json")


def print_summary(console: Console, summary: dict[str, Any], datasets: dict[str, Dataset]) -> None:
    """dataset × method × category: counts, purity and efficiency with their intervals, one table a definition."""
    definitions = sorted({definition for entry in summary.values() for definition in entry})
    for definition in definitions:
        title = {"default": "our definitions", "reference": "published definitions (arXiv:2412.03819)"}[definition]
        table = Table(title=f"{definition}: {title}")
        for column in ("dataset", "method", "category"):
            table.add_column(column, no_wrap=column != "category")
        for column in ("targets", "candidates", "correct", "purity", "efficiency"):
            table.add_column(column, justify="right", no_wrap=True)
        for name in datasets:
            for method, entry in summary.get(name, {}).get(definition, {}).items():
                for category, row in entry["categories"].items():
                    table.add_row(
                        name,
                        method,
                        category.replace("_", " "),
                        _count(row["targets"]),
                        _count(row["candidates"]),
                        _count(row["correct"]),
                        _fraction(row["purity"]),
                        _fraction(row["efficiency"]),
                    )
            table.add_section()
        console.print(table)


def cutflow_table(
    cutflow: dict[str, Any], dropped: dict[str, Any], datasets: dict[str, Dataset]
) -> dict[str, dict[str, Any]]:
    """Contents of ``cutflow.json``: per dataset the cuts in order, objects set aside, and the cross section left (pb)."""
    table: dict[str, dict[str, Any]] = {}
    for name, cuts in cutflow.items():
        metadata = datasets[name].metadata
        rows = [{"cut": cut, **row} for cut, row in cuts.items()]
        if metadata.cross_section_pb is not None and rows:
            generated = metadata.sum_of_weights or rows[0]["weighted"]
            for row in rows:
                row["cross_section_pb"] = metadata.cross_section_pb * row["weighted"] / generated if generated else None
        table[name] = {"cuts": rows, "dropped_objects": dropped.get(name, {})}
    return {name: table[name] for name in datasets if name in table}


def print_cutflow(console: Console, cutflow: dict[str, dict[str, Any]]) -> None:
    """Events, sum of weights and share after each cut."""
    if not cutflow:
        return
    table = Table(title="cutflow")
    table.add_column("dataset")
    table.add_column("cut")
    for column in ("events", "weighted", "of all", "σ [pb]"):
        table.add_column(column, justify="right")
    for name, entry in cutflow.items():
        first = entry["cuts"][0]["events"] if entry["cuts"] else 0
        for row in entry["cuts"]:
            share = f"{row['events'] / first:.1%}" if first else "–"
            sigma = f"{row['cross_section_pb']:.4g}" if row.get("cross_section_pb") is not None else "–"
            table.add_row(name, row["cut"], f"{int(row['events']):,}", f"{row['weighted']:.6g}", share, sigma)
        for what, number in entry["dropped_objects"].items():
            if number:
                table.add_row(name, f"[yellow]{what}", f"[yellow]{number:,}", "", "", "")
        table.add_section()
    console.print(table)
    for name, entry in cutflow.items():
        gone = next((r["cut"] for r in entry["cuts"] if r["events"] == 0 and entry["cuts"][0]["events"]), None)
        if gone is not None and "Higgs" in gone:
            console.print(f"[yellow]warning:[/] no event of {name} has {gone}: if it is background, say is_signal: false")


def print_end(console: Console, plan: Plan, total: Partial, wall: float, output: Path, written: list[str]) -> None:
    """Speed, ledger and where everything is."""
    console.print(
        f"{total.events:,} of {plan.events:,} planned events processed in {wall:.1f} s "
        f"({total.events / wall:,.0f} events/s); chunks: {len(plan.chunks)} planned = {total.chunks} processed "
        f"+ {len(total.failures)} failed; files that could not be opened: {len(plan.failures)}"
    )
    console.print(f"written to {output.resolve()}: {', '.join(written)}", soft_wrap=True)


def _count(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def _fraction(entry: dict[str, Any] | None) -> str:
    if entry is None or entry["value"] is None:
        return "–"
    return f"{entry['value']:.4f} +{entry['high'] - entry['value']:.4f} −{entry['value'] - entry['low']:.4f}"
