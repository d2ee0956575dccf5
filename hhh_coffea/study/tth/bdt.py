"""One BDT per reconstruction method, all with the same hyper-parameters (the paper does not publish its values)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hhh_coffea.study.event_table import Columns
from hhh_coffea.study.tth.variables import EVENT_VARIABLES, METHOD_VARIABLES

KINDS = ("h", "lt", "ht")
SPANET_SCORES = ("ap", "dp", "marginal", "entropy")  # of each particle; marginal = AP · DP
PARAMETERS: dict[str, Any] = {
    "objective": "binary:logistic",
    "tree_method": "hist",
    "eval_metric": "auc",
    "max_depth": 5,
    "eta": 0.1,
    "subsample": 0.8,
    "colsample_bytree": 0.8,
    "min_child_weight": 20,
    "seed": 42,
    "nthread": 1,
}
TREES, STOP_AFTER = 800, 30
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Sample:
    """Rows of both classes: inputs ``(N, F)``, which are signal, and weights whose sums are equal for both classes."""

    inputs: FloatArray
    signal: npt.NDArray[np.bool_]
    weight: npt.NDArray[np.float64]


def input_names(method: str, columns: Columns) -> list[str]:
    """Columns that the BDT of a method reads: 8 variables of the event, 6 of its assignment, and its scores.

    χ², a likelihood or a permutation network has one score, SPANet four for each particle.
    """
    names = [*EVENT_VARIABLES, *(f"{method}.{name}" for name in METHOD_VARIABLES)]
    scores = [f"{method}.{kind}.{score}" for kind in KINDS for score in SPANET_SCORES]
    if f"{method}.h.entropy" in columns:
        return names + scores
    return names + ([f"{method}.score"] if f"{method}.score" in columns else [])


def inputs(columns: Columns, names: list[str]) -> FloatArray:
    """``(N, F)``; NaN where a method has no candidate, which xgboost takes."""
    found = []
    for name in names:
        stem, _, last = name.rpartition(".")
        found.append(columns[f"{stem}.ap"] * columns[f"{stem}.dp"] if last == "marginal" else columns[name])
    return np.stack(found, axis=1).astype(np.float32)


def sample(signal: Columns, background: Columns, names: list[str]) -> Sample:
    """Both classes together; the mean weight of each is such that both sums are half the number of rows."""
    rows = [inputs(columns, names) for columns in (signal, background)]
    total = sum(len(part) for part in rows)
    weights = [columns["weight"] * total / 2 / columns["weight"].sum() for columns in (signal, background)]
    return Sample(np.concatenate(rows), np.repeat([True, False], [len(part) for part in rows]), np.concatenate(weights))


def train(training: Sample, validation: Sample, names: list[str]) -> Any:
    """A booster cut off at the round that is best on the validation sample, by the area under its ROC curve."""
    import xgboost

    matrices = [
        xgboost.DMatrix(s.inputs, s.signal, weight=s.weight, feature_names=names) for s in (training, validation)
    ]
    booster = xgboost.train(
        PARAMETERS,
        matrices[0],
        TREES,
        evals=[(matrices[1], "validation")],
        early_stopping_rounds=STOP_AFTER,
        verbose_eval=False,
    )
    return booster[: booster.best_iteration + 1]


def scores(booster: Any, rows: FloatArray, names: list[str]) -> FloatArray:
    """``(N,)`` in [0, 1], large for signal."""
    import xgboost

    found: FloatArray = booster.predict(xgboost.DMatrix(rows, feature_names=names))
    return found
