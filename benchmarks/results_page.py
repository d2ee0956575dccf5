"""The two pages of the comparison, as Markdown, from results directories alone: one table per process, and the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hhh_coffea.analyses.higgs import CATEGORIES
from hhh_coffea.figures.report import captions
from hhh_coffea.methods.method import SPANET
from hhh_coffea.results import bdt_scan
from hhh_coffea.results import directory as results
from hhh_coffea.results.paired import PAIRED, QUANTITIES, Measured, measure

BASELINE = "chi2+bdt"
SPANET_SCAN = "spanet_scan"
INTRODUCTION = """# Results

This page compares all methods on identical test events, with the shipped models. No model was trained or tuned on
these events. Every table is for merged candidates (resolved and boosted ones together), in %. Purity is the share of
candidates that are correct, and efficiency is the share of targets that are found; the product is purity times
efficiency. The first columns use our definitions (`default`), the last two the published definitions (`reference`); see
[definitions](definitions.md). Errors are 68% intervals that account for the correlation of candidates in one event.
For purity and efficiency, the larger of the two sides is given.

[Definitions](definitions.md), [BDT](bdt.md) and [SPANet](spanet.md) explain the methods `chi2`, `chi2+bdt` and
`spanet`. The methods `spanet:…` are four [decodings](spanet.md#decoding) of the same network: `joint`, `expected`, the
published post-processing (`reference`), and the greedy extraction of the original SPANet with detection probability ≥ 0.5.
`--methods spanet` is `spanet:expected`; in the published definitions this chooses pairs and large-radius jets
separately (`expected_by_kind`). Methods that end in `as_published` use the published pairing of HH.

[All tables and figures]({details}): boosted and resolved candidates, ratios, whole events, working points, and
networks without large-radius jets.
"""
WRITTEN = "This page is written by `{command}`. Do not edit it.\n"
DETAILS = """# Results in detail

{written}
[Results]({page}) has one table per process; this page has all tables and figures.
[Definitions](definitions.md) explains every number in our definitions (`default`) and in the published definitions
(`reference`). Purity and efficiency have 68% intervals that account for the correlation of candidates in one event.
Errors of products and ratios are propagated from the counts of each event, so common fluctuations of two methods on
identical events cancel (`hhh_coffea/results/paired.py`). The methods `spanet:…` are four
[decodings](spanet.md#decoding) of the same network: `joint`, `expected`, the published post-processing (`reference`), and the
greedy extraction of the original SPANet with detection probability (DP) ≥ 0.5.
"""

SCAN = """The number of Higgs boson candidates can be changed: by the working point of the BDT, by a constant that joint and
reference decoding add to the logit of every DP, by the smallest probability of being right of expected decoding, and by
the smallest DP of greedy decoding. The table has the best merged
product of purity and efficiency on each curve. It was found on these test events, so it is for orientation only.
"""


def write_page(
    path: Path,
    command: str,
    parts: dict[str, dict[str, Path | str]],
    drawn: dict[str, dict[str, list[str]]],
    sculpting: tuple[str, list[str]] | None = None,
) -> None:
    """Write ``path`` and, beside it, ``<stem>_details.md``; ``parts`` and ``drawn`` by dataset.

    Figures are below ``figures/<stem of path>``. ``sculpting``: text and figures of the part about masses in background;
    the first figure is for ``path``.
    """
    details = path.with_name(f"{path.stem}_details.md")
    written = WRITTEN.format(command=command)
    short = [INTRODUCTION.format(details=details.name)]
    long = [DETAILS.format(written=written, page=path.name)]
    for dataset, places in parts.items():
        full = places["full"]
        assert isinstance(full, Path)
        provenance = results.read_json(full / "provenance.json")
        events = results.read_json(full / "cutflow.json")["datasets"][dataset]
        label = provenance["datasets"][dataset]["label"] or dataset
        for lines in (short, long):
            lines += [f"## {label}\n", _sample(provenance, events)]
            if "model" in places:
                lines.append(f"{places['model']}.\n")
        short += _merged(full, dataset)
        short += _figures(
            path, [n for n in drawn[dataset]["full"] if n.endswith("default_purity_efficiency_merged.png")]
        )
        long += _part(full, dataset, baseline=BASELINE)
        long += _scan(places, dataset)
        long += _figures(path, [*drawn[dataset]["trade_off"], *drawn[dataset]["full"]])
        long.append(f"### {label}, resolved only\n")
        resolved = places["resolved"]
        if isinstance(resolved, Path):
            long.append("This network uses only small-radius jets and has no boosted targets.\n")
            long += _part(resolved, dataset, baseline="chi2", categories=("resolved",))
            long += _figures(path, drawn[dataset]["resolved"])
        else:
            long.append(f"{resolved}.\n")
    if sculpting is not None:
        short += [sculpting[0], *_figures(path, sculpting[1][:1])]
        long += ["## Mass sculpting\n", *_figures(path, sculpting[1][1:])]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*short, written]), encoding="utf-8")
    details.write_text("\n".join(long), encoding="utf-8")


def _merged(folder: Path, dataset: str) -> list[str]:
    """The one table of a process: merged candidates in both sets of definitions."""
    histograms, _ = results.read_histograms(folder)
    summary = results.read_json(folder / "summary.json")["results"][dataset]
    lines = [
        f"| method | purity | efficiency | product | product over `{BASELINE}` | `reference` purity | `reference` efficiency |",
        "|---|---|---|---|---|---|---|",
    ]
    key = {"dataset": dataset, "definition": "default", "category": "merged"}
    for method in sorted({m for methods in summary.values() for m in methods}):
        cells = ["–"] * 6
        if method in summary["default"]:
            merged = summary["default"][method]["categories"]["merged"]
            cells[:2] = short_interval(merged["purity"]), short_interval(merged["efficiency"])
            cells[2] = _percent(measure(histograms[PAIRED], key, "product", method))
            if method != BASELINE and BASELINE in summary["default"]:
                cells[3] = _ratio(measure(histograms[PAIRED], key, "product", method, BASELINE))
        if method in summary["reference"]:
            merged = summary["reference"][method]["categories"]["merged"]
            cells[4:] = short_interval(merged["purity"]), short_interval(merged["efficiency"])
        lines.append(f"| `{method}` | {' | '.join(cells)} |")
    return [*lines, ""]


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
            f"Ratios to `{baseline}`, {chosen[0].replace('_', ' ')}:\n",
            "| method | purity | efficiency | product |",
            "|---|---|---|---|",
        ]
        for method in ratios:
            cells = (_ratio(measure(histograms[PAIRED], key, q, method, baseline)) for q in QUANTITIES)
            lines.append(f"| `{method}` | {' | '.join(cells)} |")
        for one, other in (("spanet:joint", "spanet:reference"), ("spanet:expected", "spanet:joint")):
            if {one, other} <= set(methods):
                cells = [measure(histograms[PAIRED], key, q, one, other) for q in QUANTITIES]
                lines.append(f"| `{one}` over `{other}` | {' | '.join(map(_ratio, cells))} |")
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
            ("spanet expected", spanet, f"{SPANET['spanet:expected'].decodings[definition]}:"),
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
        text = caption(name.removesuffix(".png"))
        lines += [f"![{text}](figures/{page.stem}/{name})\n", f"*{text}*\n"]
    return lines


def caption(name: str) -> str:
    """What a figure of these pages shows: the caption of the report, and of which events and network."""
    if name == "sculpting_tradeoff":
        return "Purity × efficiency of merged candidates in signal against the EMD of masses in background to random pairing."
    if name.startswith("sculpting_"):
        model = name.removeprefix("sculpting_")
        return f"{model}: mass of the candidates in background and of random pairings of the same jets."
    dataset, part, bare = name.split("_", 2)
    if part == "trade":
        definition = captions.DEFINITION_NAMES[bare.rpartition("_")[2]]
        return f"{dataset} ({definition}): merged purity and efficiency along the working points of every method."
    network = ", networks without large-radius jets" if part == "resolved" else ""
    return f"{dataset}{network}. {captions.caption(bare)}"


def interval(fraction: dict[str, Any]) -> str:
    """A fraction of summary.json in %, with its interval."""
    if fraction["value"] is None:
        return "–"
    value = fraction["value"]
    return f"{100 * value:.2f} +{100 * (fraction['high'] - value):.2f} −{100 * (value - fraction['low']):.2f}"


def short_interval(fraction: dict[str, Any]) -> str:
    """The same with the larger side of the interval for both."""
    if fraction["value"] is None:
        return "–"
    value, low, high = (100 * fraction[k] for k in ("value", "low", "high"))
    return f"{value:.2f} ± {max(high - value, value - low):.2f}"


def _percent(measured: Measured) -> str:
    return "–" if measured.value != measured.value else f"{100 * measured.value:.2f} ± {100 * measured.error:.2f}"


def _ratio(measured: Measured) -> str:
    return "–" if measured.value != measured.value else f"× {measured.value:.3f} ± {measured.error:.3f}"
