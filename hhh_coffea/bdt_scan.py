"""Purity and efficiency of ``chi2+bdt`` against the working point, so that no single cut flatters anyone."""

from __future__ import annotations

import hist
import numpy as np
from hist import Hist

from hhh_coffea.metrics import Definition, Evaluation
from hhh_coffea.reconstruction.bdt_model import BdtModel

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


def fill(histogram: Hist, dataset: str, definition: Definition, point: str, result: Evaluation) -> None:
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
