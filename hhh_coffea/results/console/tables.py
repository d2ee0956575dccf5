"""What a run prints: the plan, the summary table, the cutflow, and everything that was skipped, by name."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from hhh_coffea.analyses import Analyses, Analysis
from hhh_coffea.base.terminal import say
from hhh_coffea.datasets.fileset import Dataset
from hhh_coffea.datasets.normalisation import expected_events
from hhh_coffea.engine.chunks import Plan, SourceFile
from hhh_coffea.results.console.ending import print_failures
from hhh_coffea.results.console.layout import show, table_of
from hhh_coffea.topology.kinds import READABLE

COLLECTIONS = ("event", "jets", "fatjets", "particles")  # metadata fields that name one
DEFINITION_TITLES = {"default": "our definitions", "reference": "published definitions (arXiv:2412.03819)"}
EITHER_WAY = (
    "In our definitions, a particle that has a boosted and a resolved target counts as found if a candidate equals either of "
    "them. Therefore methods without large-radius jets also find boosted particles. "
)
MERGED = "merged: boosted and resolved candidates together. "
MEANING = (
    "purity: share of candidates that are correct; efficiency: share of targets that are found. {}"
    "Errors are 68% intervals that account for the correlation of candidates in one event. docs/definitions.md explains "
    "every row"
)
AS_PUBLISHED = (
    "…_as_published: the method with the pairing of the published code for HH, in which the two pairs often share a jet. "
    "Every run adds it to the published definitions, for comparison with the paper"
)
SIGMA_LEFT = (
    "σ left: cross section × branching fraction × filter efficiency × k-factor × share of the weights that is left"
)
EXPECTED = "expected: events in data of the given luminosity (docs/fit.md)"
SPELT_OUT = {"t_H": "hadronic top", "t_L": "leptonic top"}  # labels of targets that a reader may not know
CATEGORY_LABELS = {
    "merged_without_overlap_removal": " no overlap removal",
    "resolved_after_overlap_removal": " after overlap removal",
}


def definitions_of(name: str) -> str:
    """``our definitions (default)``: in words, and as options and files call them."""
    return f"{DEFINITION_TITLES[name].partition(' (')[0]} ({name})"


def print_plan(
    console: Console,
    plan: Plan,
    datasets: dict[str, Dataset],
    analyses: Analyses,
    sources: list[SourceFile],
    there: Mapping[str, Collection[str]],
) -> None:
    """What ``--dry-run`` says; ``there``: dataset → which branches it has, where that is known."""
    table = table_of("would be read", ("dataset", "format", "analysis"), ("files", "chunks", "events"))
    for name, dataset in datasets.items():
        chunks = [c for c in plan.chunks if c.dataset == name]
        table.add_row(
            name,
            dataset.metadata.format,
            analyses[dataset.metadata.analysis].name,
            f"{sum(f.source.dataset == name for f in plan.files):,}",
            f"{len(chunks):,}",
            f"{sum(c.stop - c.start for c in chunks):,}",
        )
    show(console, table)
    for analysis in {d.metadata.analysis: analyses[d.metadata.analysis] for d in datasets.values()}.values():
        say(f"{analysis.name}: targets {targets_in_words(analysis)}", console)
    read: dict[tuple[str, ...], list[str]] = {}
    for name in datasets:
        branches = next((s.branches for s in sources if s.dataset == name), ())
        read.setdefault(tuple(b for b in branches if b in there.get(name, branches)), []).append(name)
    for branches, names in read.items():
        if branches:
            say(f"{', '.join(names)}: branches {', '.join(b.split('/')[-1] for b in branches)}", console)
    print_warnings(console, plan.warnings)
    for info in plan.files:
        roles = {str(v): k for k, v in datasets[info.source.dataset].metadata if k in COLLECTIONS}
        for name in info.missing:
            role = f" (metadata field {roles[name]!r})" if name in roles else ""
            _warn(console, f"{info.source.path}: no collection {name!r}{role}; its events will be lost")
    print_failures(console, plan)


def targets_in_words(analysis: Analysis) -> str:
    """Targets with the daughters that each is made of, where those are looked for, and which are interchangeable."""
    found = []
    for kind in analysis.kinds.values():
        targets = [analysis.topology.targets[k] for k in kind.members]
        spelt = [SPELT_OUT.get(analysis.labels.get(t.name, "").replace("$", "")) for t in targets]
        names = [f"{t.name} ({words})" if words else t.name for t, words in zip(targets, spelt, strict=True)]
        orbits = [" and ".join(kind.daughters[i] for i in orbit) for orbit in targets[0].orbits if len(orbit) > 1]
        collections = (READABLE.get(c, c) for c in dict.fromkeys(kind.collections))
        where = "; ".join((", ".join(collections), *(f"{o} in any order" for o in orbits)))
        found.append(f"{', '.join(names)} → {' '.join(kind.daughters)} ({where})")
    return "; ".join(found)


def print_warnings(console: Console, warnings: Iterable[str]) -> None:
    """Things worth knowing that lose no event."""
    for warning in warnings:
        _warn(console, warning)


def print_summary(console: Console, summary: dict[str, Any], datasets: dict[str, Dataset]) -> None:
    """dataset × method × category: counts, purity and efficiency with errors; without truth, candidates. One table each."""
    definitions = sorted({definition for entry in summary.values() for definition in entry})
    shown = [(d, name, summary[name][d]) for d in definitions for name in datasets if d in summary.get(name, {})]
    for definition, name, methods in shown:
        has_truth = datasets[name].metadata.is_signal
        title = f"{name}: {'purity and efficiency in %' if has_truth else 'candidates'}, {definitions_of(definition)}"
        show(console, (_with_truth if has_truth else _without_truth)(title, methods))
    if with_truth := [entry for _, name, entry in shown if datasets[name].metadata.is_signal]:
        either_way = any("boosted" in row["categories"] for methods in with_truth for row in methods.values())
        console.print(f"[dim]{MEANING.format(MERGED + EITHER_WAY if either_way else '')}[/]\n", highlight=False)
    if any(as_published(methods) for _, _, methods in shown):
        console.print(f"[dim]{AS_PUBLISHED}[/]\n", highlight=False)


def as_published(methods: Iterable[str]) -> bool:
    """Whether one of these methods needs :data:`AS_PUBLISHED`."""
    return any(method.endswith("_as_published") for method in methods)


def _with_truth(title: str, methods: dict[str, Any]) -> Table:
    table = table_of(title, ("method",), ("targets", "candidates", "correct", "purity", "efficiency"))
    for method, entry in methods.items():
        table.add_row(method, style="bold")
        for category, row in entry["categories"].items():
            table.add_row(
                " " + CATEGORY_LABELS.get(category, category),
                *(count(row[column]) for column in ("targets", "candidates", "correct")),
                *(short_percent(row[column]) for column in ("purity", "efficiency")),
            )
    return table


def _without_truth(title: str, methods: dict[str, Any]) -> Table:
    table = table_of(title, ("category",), tuple(methods))
    for category in categories_of(methods):
        rows = (entry["categories"].get(category) for entry in methods.values())
        table.add_row(
            CATEGORY_LABELS.get(category, category), *("" if row is None else count(row["candidates"]) for row in rows)
        )
    return table


def categories_of(methods: dict[str, Any]) -> list[str]:
    """The categories of all these methods, in their order; a method without large-radius jets lacks one."""
    longest_first = sorted(methods.values(), key=lambda entry: -len(entry["categories"]))
    return list(dict.fromkeys(category for entry in longest_first for category in entry["categories"]))


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
    has_rates = any("cross_section_pb" in row for entry in cutflow.values() for row in entry["cuts"])
    more = ("expected",) if has_expected else (r"σ left \[pb]",) if has_rates else ()
    table = table_of("cutflow", ("dataset", "cut"), ("events", "weighted", "of all", *more))
    for name, entry in cutflow.items():
        first = entry["cuts"][0]["events"] if entry["cuts"] else 0
        for position, row in enumerate(entry["cuts"]):
            share = f"{row['events'] / first:.1%}" if first else "–"
            shown = name if position == 0 else ""
            cells = [shown, row["cut"], f"{int(row['events']):,}", f"{row['weighted']:,.6g}", share]
            if more:
                cells.append(quantity(row.get("expected_events" if has_expected else "cross_section_pb")))
            table.add_row(*cells)
        for what, number in entry["dropped_objects"].items():
            if number:
                table.add_row("", f"dropped: {what}", f"{number:,}", style="yellow")
    show(console, table)
    if has_rates:
        console.print(f"[dim]{EXPECTED if has_expected else SIGMA_LEFT}[/]\n", highlight=False)


def quantity(value: float | None) -> str:
    """Four significant digits, thousands set apart; powers of ten beyond a million; a dash for None."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e6 else f"{value:,.4g}"


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
