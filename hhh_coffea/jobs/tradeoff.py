"""Correctness against sculpting for a list of models, on the same events: the table and the points of its figure."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from hhh_coffea.base.errors import UserError
from hhh_coffea.cli import EXIT_OK
from hhh_coffea.config import make_config
from hhh_coffea.datasets.fileset import load_fileset
from hhh_coffea.jobs.main import run_job
from hhh_coffea.results import directory as results

BASELINE = "chi2+bdt"
SCHEMA_VERSION = 1
RUNS = "runs"  # one results directory a model, below the output


class TradeoffError(UserError):
    """The comparison cannot be made; the message says why."""


def compare(fileset: str, models: Sequence[str], output: Path, device: str = "auto") -> dict[str, Any]:
    """Run processor ``sculpting`` for χ² + BDT and for every model, and write ``tradeoff.json`` and ``tradeoff.md``.

    The first model is the one all are compared with. Merged candidates, our definitions.

    Raises
    ------
    TradeoffError
        if the fileset lacks signal or background, if two models have one name, or if a run did not go through.
    """
    datasets = load_fileset(fileset)
    signal, background = (
        [name for name, d in datasets.items() if d.metadata.is_signal is wanted] for wanted in (True, False)
    )
    if len(signal) != 1 or len(background) != 1:
        raise TradeoffError(f"{fileset}: needs one signal and one background dataset (has {signal} and {background})")
    names = [Path(model).name for model in models]
    if len(set(names)) != len(names):
        raise TradeoffError(f"models need different names (got {', '.join(names)})")
    points = []
    for name, model in [(BASELINE, None), *zip(names, models, strict=True)]:
        folder = output / RUNS / name
        given: dict[str, Any] = {"fileset": fileset, "processor": "sculpting", "definitions": "default", "plots": False}
        given |= {"methods": BASELINE} if model is None else {"methods": "spanet", "model": model, "device": device}
        printed = io.StringIO()  # each run has its own report; here one table for all
        with redirect_stdout(printed):
            code = run_job(make_config({**given, "output": str(folder), "on_error": "stop"}))
        if code != EXIT_OK:
            sys.stdout.write(printed.getvalue())
            raise TradeoffError(f"{folder}: the run was not completed")
        points.append(_point(name, folder, signal[0], background[0]))
    _relate(points)
    content = {
        "schema_version": SCHEMA_VERSION,
        "fileset": fileset,
        "signal": signal[0],
        "background": background[0],
        "points": points,
    }
    results.write_json(output / "tradeoff.json", content)
    (output / "tradeoff.md").write_text(markdown(content), encoding="utf-8")
    return content


def read(folder: Path) -> dict[str, Any]:
    """``tradeoff.json`` of an earlier comparison."""
    content: dict[str, Any] = results.read_json(folder / "tradeoff.json")
    return content


def _point(name: str, folder: Path, signal: str, background: str) -> dict[str, Any]:
    summary = results.read_json(folder / "summary.json")
    (method, entry), *_ = summary["results"].get(signal, {}).get("default", {}).items() or [("it", {"categories": {}})]
    merged = entry["categories"].get("merged")
    if merged is None or None in (merged["purity"]["value"], merged["efficiency"]["value"]):
        raise TradeoffError(
            f"{folder}: {signal} has no candidate or no target, so purity and efficiency cannot be computed"
        )
    measured = summary["other"].get("sculpting", {}).get(background, {}).get("default", {}).get(method, {})
    sculpting = measured.get("merged", {}).get("all")
    # a sum of weights of 0 has no entry; one that is negative has no shape, and so no distance
    if sculpting is None or sculpting["30-225"]["emd_to_random_gev"]["value"] is None:
        raise TradeoffError(
            f"{folder}: the candidates that {method} found in {background} have no sum of weights above 0 from 30 to "
            "225 GeV, so their masses cannot be compared"
        )
    purity, efficiency = (merged[k]["value"] for k in ("purity", "efficiency"))
    provenance = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
    return {
        "name": name,
        "models": provenance["models"],
        "purity": merged["purity"],
        "efficiency": merged["efficiency"],
        "product": purity * efficiency,
        "background_candidates": sculpting["candidates"],
        "sculpting": {span: sculpting[span] for span in ("30-225", "75-175")},
    }


def _relate(points: list[dict[str, Any]]) -> None:
    """Add each point's product over that of the first model, and its distance over the baseline's and the first's."""
    baseline, first = points[0], points[1] if len(points) > 1 else points[0]
    for point in points:
        point["product_over_first"] = _over(point["product"], first["product"])
        for name, other in (("baseline", baseline), ("first", first)):
            point[f"emd_over_{name}"] = _over(emd(point)["value"], emd(other)["value"])


def _over(value: float, other: float) -> float | None:
    return value / other if other else None


def emd(point: dict[str, Any]) -> dict[str, Any]:
    """Earth mover's distance to random pairing over 30–225 GeV, with its error."""
    entry: dict[str, Any] = point["sculpting"]["30-225"]["emd_to_random_gev"]
    return entry


def markdown(content: dict[str, Any]) -> str:
    """The comparison as a table."""
    names = [p["name"] for p in content["points"]]
    baseline, first = names[0], names[min(1, len(names) - 1)]
    head = (
        f"Merged candidates in our definitions. Purity and efficiency are those of {content['signal']}, masses those of "
        f"{content['background']} ({content['fileset']}). EMD (earth mover's distance) and JS (Jensen–Shannon divergence) are "
        "distances to random pairing of the same jets, with errors from a bootstrap over events. The last column is the share "
        f"of candidates in 110–140 GeV. The baseline is `{baseline}`, the first model is `{first}`."
    )
    columns = (
        "| model | purity | efficiency | product | product / first | EMD 30–225 [GeV] | EMD / baseline | EMD / first "
        "| JS 30–225 [bits] | EMD 75–175 [GeV] | share in 110–140 |"
    )
    lines = [head, "", columns, "|" + "---|" * 11]
    for p in content["points"]:
        wide, narrow = p["sculpting"]["30-225"], p["sculpting"]["75-175"]
        lines.append(
            f"| `{p['name']}` | {p['purity']['value']:.4f} | {p['efficiency']['value']:.4f} | {p['product']:.4f} "
            f"| {_number(p['product_over_first'], 3)} | {_pm(emd(p), 2)} | {_number(p['emd_over_baseline'], 2)} "
            f"| {_number(p['emd_over_first'], 2)} | {_pm(wide['js_to_random_bits'], 4)} "
            f"| {_pm(narrow['emd_to_random_gev'], 2)} | {_pm(wide['peak_share'], 3)} |"
        )
    return "\n".join(lines) + "\n"


def lines(content: dict[str, Any]) -> list[str]:
    """The comparison in 80 columns."""
    title = f"{'model':<26} {'purity':>7} {'effic.':>7} {'product':>8}{'EMD 30–225':>14}{'EMD 75–175':>14}"
    found = [title, "─" * len(title)]
    for p in content["points"]:
        narrow = p["sculpting"]["75-175"]["emd_to_random_gev"]
        numbers = f"{p['purity']['value']:>7.4f} {p['efficiency']['value']:>7.4f} {p['product']:>8.4f}"
        found.append(f"{p['name']:<26} {numbers}{_pm(emd(p), 2):>14}{_pm(narrow, 2):>14}")
    return [
        *found,
        "",
        f"Merged candidates, our definitions: purity and efficiency in {content['signal']}.",
        f"EMD: earth mover's distance (GeV) of the masses of candidates in {content['background']} to",
        "random pairing of the same jets, over two windows of the mass (GeV).",
    ]


def _pm(entry: dict[str, float | None], digits: int) -> str:
    error = "" if entry["error"] is None else f" ± {entry['error']:.{digits}f}"
    return _number(entry["value"], digits) + error


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
