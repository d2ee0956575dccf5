"""The page of the comparison, as Markdown, from results directories alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hhh_coffea.analyses.higgs import CATEGORIES
from hhh_coffea.results import bdt_scan
from hhh_coffea.results import directory as results
from hhh_coffea.results.paired import PAIRED, QUANTITIES, Measured, measure

BASELINE = "chi2+bdt"
SPANET_SCAN = "spanet_scan"
INTRODUCTION = """# Results

Written by

    {command}

which takes the test files, that no model saw in training, and the models that ship. Do not edit. What is counted is defined
in [definitions.md](definitions.md); `reference` are the published definitions. Purity and efficiency carry 68.27%
intervals that account for candidates of one event being right or wrong together; errors of products and ratios are
propagated from the counts of each event, so that what two
methods share on identical events cancels (`hhh_coffea/results/paired.py`). The methods `spanet:…` are one network, run once,
decoded in three ways ([spanet.md](spanet.md)): `joint`, the published post-processing (`reference`), and the original's
greedy extraction with DP ≥ 0.5.
"""

SCAN = """How many Higgs bosons to declare is a choice: of the BDT's working point, of what joint and reference decoding add to
the logit of every DP, of the least DP of greedy decoding. The best merged product on each curve, looked for on these very events
and so for orientation alone:
"""


def write_page(
    path: Path,
    command: str,
    parts: dict[str, dict[str, Path | str]],
    drawn: dict[str, dict[str, list[str]]],
    sculpting: tuple[str, list[str]] | None = None,
) -> None:
    """Write ``path``; ``parts`` and ``drawn`` by dataset, figures below ``figures/<stem of the page>``.

    ``sculpting``: text and figures of the part about masses in background.
    """
    lines = [INTRODUCTION.format(command=command)]
    for dataset, places in parts.items():
        full = places["full"]
        assert isinstance(full, Path)
        provenance = results.read_json(full / "provenance.json")
        events = results.read_json(full / "cutflow.json")["datasets"][dataset]
        label = provenance["datasets"][dataset]["label"] or dataset
        lines += [f"## {label}\n", _sample(provenance, events)]
        if "model" in places:
            lines.append(f"{places['model']}.\n")
        lines += _part(full, dataset, baseline=BASELINE)
        lines += _scan(places, dataset)
        lines += _figures(path, [*drawn[dataset]["trade_off"], *drawn[dataset]["full"]])
        lines.append(f"### {label}, resolved only\n")
        resolved = places["resolved"]
        if isinstance(resolved, Path):
            lines.append("A network that sees small-radius jets alone, and knows no boosted Higgs boson.\n")
            lines += _part(resolved, dataset, baseline="chi2", categories=("resolved",))
            lines += _figures(path, drawn[dataset]["resolved"])
        else:
            lines.append(f"{resolved}.\n")
    if sculpting is not None:
        lines += [sculpting[0], *_figures(path, sculpting[1])]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines), encoding="utf-8")


def _sample(provenance: dict[str, Any], cutflow: Any) -> str:
    files = ", ".join(Path(f["file"]).name for f in provenance["files"])
    models = ", ".join(f"`{m['name']}` (sha256 {m['sha256'][:12]}…)" for m in provenance["models"].values())
    n_events = provenance["ledger"]["events"]["processed"]
    kept = cutflow["cuts"][-1]["events"]
    return f"{files}: {n_events:,} events, {kept:,} selected. Models: {models or 'none'}.\n"


def _part(folder: Path, dataset: str, baseline: str, categories: tuple[str, ...] | None = None) -> list[str]:
    histograms, _ = results.read_histograms(folder)
    summary = results.read_json(folder / "summary.json")["results"][dataset]
    lines = []
    for definition in ("default", "reference"):
        methods = summary[definition]
        lines += [
            f"`{definition}` definitions, in %:\n",
            "| category | method | purity | efficiency | product |",
            "|---|---|---|---|---|",
        ]
        chosen = [c for c in CATEGORIES[definition] if categories is None or c in categories]
        for category in chosen:
            key = {"dataset": dataset, "definition": definition, "category": category}
            for method, entry in methods.items():
                found = entry["categories"][category]
                product = measure(histograms[PAIRED], key, "product", method)
                lines.append(
                    f"| {category.replace('_', ' ')} | `{method}` | {interval(found['purity'])} "
                    f"| {interval(found['efficiency'])} | {_percent(product)} |"
                )
        ratios = [m for m in methods if m != baseline]
        key = {"dataset": dataset, "definition": definition, "category": chosen[0]}
        lines += [
            "",
            f"Over `{baseline}`, {chosen[0].replace('_', ' ')}:\n",
            "| method | purity | efficiency | product |",
            "|---|---|---|---|",
        ]
        for method in ratios:
            cells = (_ratio(measure(histograms[PAIRED], key, q, method, baseline)) for q in QUANTITIES)
            lines.append(f"| `{method}` | {' | '.join(cells)} |")
        if {"spanet:joint", "spanet:reference"} <= set(methods):
            cells = [measure(histograms[PAIRED], key, q, "spanet:joint", "spanet:reference") for q in QUANTITIES]
            lines.append(f"| `spanet:joint` over `spanet:reference` | {' | '.join(map(_ratio, cells))} |")
        lines += ["", *_event_level(methods)]
    return lines


def _event_level(methods: dict[str, Any]) -> list[str]:
    lines = ["Whole events, in %:\n", "| method | all candidates correct | all targets found |", "|---|---|---|"]
    for method, entry in methods.items():
        events = entry["events"]
        lines.append(f"| `{method}` | {interval(events['purity'])} | {interval(events['efficiency'])} |")
    return [*lines, ""]


def _scan(places: dict[str, Path | str], dataset: str) -> list[str]:
    """Best product along each scan, beside the fixed working points."""
    full, scan = places["full"], places["scan"]
    assert isinstance(full, Path)
    assert isinstance(scan, Path)
    spanet = results.read_histograms(full)[0][SPANET_SCAN]
    bdt = results.read_histograms(scan)[0][bdt_scan.SCAN]
    lines = [
        SCAN,
        "| definitions | curve | at | purity % | efficiency % | product % |",
        "|---|---|---|---|---|---|",
    ]
    for definition in ("default", "reference"):
        for label, histogram, prefix in (
            ("chi2+bdt", bdt, ""),
            ("spanet joint", spanet, "joint:"),
            ("spanet reference", spanet, "reference:"),
            ("spanet greedy", spanet, "greedy:"),
        ):
            key = {"dataset": dataset, "definition": definition, "category": "merged"}
            points = []
            for point in histogram.axes["working_point"]:
                if point.startswith(prefix) and dataset in histogram.axes["dataset"]:
                    n = bdt_scan.counts(histogram, {**key, "working_point": point})
                    purity, efficiency = n["correct"] / max(n["candidates"], 1), n["retrieved"] / max(n["targets"], 1)
                    points.append((purity * efficiency, purity, efficiency, point.removeprefix(prefix)))
            if points:
                product, purity, efficiency, at = max(points)
                numbers = " | ".join(f"{100 * x:.2f}" for x in (purity, efficiency, product))
                lines.append(f"| `{definition}` | {label} | {at} | {numbers} |")
    return [*lines, ""]


def _figures(page: Path, names: list[str]) -> list[str]:
    lines = []
    for name in names:
        text = name.removesuffix(".png").replace("_", " ")
        lines += [f"![{text}](figures/{page.stem}/{name})\n"]
    return lines


def interval(fraction: dict[str, Any]) -> str:
    """A fraction of summary.json in %, with its interval."""
    if fraction["value"] is None:
        return "–"
    value = fraction["value"]
    return f"{100 * value:.2f} +{100 * (fraction['high'] - value):.2f} −{100 * (value - fraction['low']):.2f}"


def _percent(measured: Measured) -> str:
    return "–" if measured.value != measured.value else f"{100 * measured.value:.2f} ± {100 * measured.error:.2f}"


def _ratio(measured: Measured) -> str:
    return "–" if measured.value != measured.value else f"× {measured.value:.3f} ± {measured.error:.3f}"
