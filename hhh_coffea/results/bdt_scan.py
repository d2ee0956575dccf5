"""Purity and efficiency of ``chi2+bdt`` against the working point, so that no single cut flatters anyone."""

from __future__ import annotations

from typing import Any

import hist
import numpy as np
from hist import Hist

from hhh_coffea.methods.bdt_model import BdtModel
from hhh_coffea.reconstruction.metrics import Evaluation
from hhh_coffea.results.summary import ratio

SCAN = "bdt_scan"
COUNTS = ("candidates", "correct", "targets", "retrieved")
WORKING_POINT_NAMES = ("loose", "medium", "tight")
# dense where the working points of good models lie; above 1 there is no score, so that point is χ² alone
GRID = (*np.arange(0.0, 0.8, 0.1), *np.arange(0.8, 0.9, 0.02), *np.arange(0.9, 0.9999, 0.01), 1.0)


def cuts(model: BdtModel) -> dict[str, float]:
    """Working points to evaluate: name (the score itself on the grid) → score."""
    return {f"{value:.5f}": float(f"{value:.5f}") for value in GRID} | {
        name: model.working_points[name] for name in WORKING_POINT_NAMES if name in model.working_points
    }


def book() -> Hist:
    """Empty counts by dataset, definition, category and working point."""
    names = ("dataset", "definition", "category", "working_point")
    axes = [hist.axis.StrCategory([], growth=True, name=name) for name in names]
    return Hist(*axes, hist.axis.StrCategory(COUNTS, name="count"), storage=hist.storage.Int64())


def fill(histogram: Hist, dataset: str, definition: str, point: str, result: Evaluation) -> None:
    """Add what one working point gave on a chunk."""
    for name, use in result.categories.items():
        found = (
            use.candidates.sum(),
            (use.candidates & result.correct).sum(),
            use.targets.sum(),
            use.retrieved.sum(),
        )
        key = {"dataset": dataset, "definition": definition, "category": name, "working_point": point}
        histogram.fill(**key, count=list(COUNTS), weight=[int(n) for n in found])


def table(histogram: Hist) -> dict[str, Any]:
    """dataset → definition → category → working point → purity and efficiency with their intervals."""
    result: dict[str, Any] = {}
    for dataset in histogram.axes["dataset"]:
        for definition in histogram.axes["definition"]:
            for category in histogram.axes["category"]:
                for point in histogram.axes["working_point"]:
                    key = {"dataset": dataset, "definition": definition, "category": category, "working_point": point}
                    n = counts(histogram, key)
                    if not any(n.values()):
                        continue  # a category of other definitions
                    place = result.setdefault(dataset, {}).setdefault(definition, {}).setdefault(category, {})
                    place[point] = {
                        "purity": ratio(n["correct"], n["candidates"]),
                        "efficiency": ratio(n["retrieved"], n["targets"]),
                    }
    return result


def counts(histogram: Hist, key: dict[str, str]) -> dict[str, int]:
    """The numbers of :data:`COUNTS` at a dataset, definition, category and working point."""
    place = {name: hist.loc(value) for name, value in key.items()}
    return {name: int(histogram[{**place, "count": hist.loc(name)}]) for name in COUNTS}
