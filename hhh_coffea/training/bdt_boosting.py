"""Boosting itself: xgboost on a table in memory, or on a cluster for tables that are not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hhh_coffea.base.kinematics import FloatArray
from hhh_coffea.training.bdt_table import Rows, count_classes, parts, read_part

ROUNDS = 3000  # at most; early stopping ends it
STOP_AFTER = 50  # rounds without a better validation loss


@dataclass(frozen=True)
class Trained:
    """A booster cut off at its best round."""

    booster: Any
    parameters: dict[str, Any]
    trees: int
    loss: float  # validation, classes balanced


def fit_here(rows: Rows, features: Sequence[str], parameters: dict[str, Any]) -> Trained:
    """Train on ``rows`` that are not marked as validation and stop when those that are get no better."""
    import xgboost

    matrices: list[Any] = []
    ratio = _ratio(rows.signal[~rows.validation])
    for use in (~rows.validation, rows.validation):
        signal = rows.signal[use]
        reference = {"ref": matrices[0]} if matrices else {}
        matrices.append(
            xgboost.QuantileDMatrix(rows.features[use], signal, weight=_balanced(signal, ratio), **reference)
        )
    booster = xgboost.train(
        {**parameters, "tree_method": "hist", "eval_metric": "logloss"},
        matrices[0],
        ROUNDS,
        evals=[(matrices[1], "validation")],
        early_stopping_rounds=STOP_AFTER,
        verbose_eval=False,
    )
    return _trained(booster, features, parameters)


def fit_on_cluster(client: Any, folder: Path, features: Sequence[str], parameters: dict[str, Any]) -> Trained:
    """Train as :func:`fit_here` with ``xgboost.dask``: every worker reads its share of the parquet table itself.

    Workers must see the table's folder.
    """
    import dask
    import dask.array as da
    import xgboost.dask

    files = parts(folder)
    signal_counts = client.gather(client.map(count_classes, files, pure=False))
    totals = np.sum(signal_counts, axis=0)  # (part, class)
    ratio = totals[0, 0] / totals[0, 1]
    matrices: list[Any] = []
    for validation in (False, True):
        blocks: list[list[Any]] = [[], [], []]
        for file, count in zip(files, signal_counts, strict=True):
            n = int(count[int(validation)].sum())
            if n:
                loaded = dask.delayed(_load, nout=3)(file, tuple(features), validation, ratio)
                for block, value, shape in zip(blocks, loaded, ((n, len(features)), (n,), (n,)), strict=True):
                    block.append(da.from_delayed(value, shape=shape, dtype=np.float32))
        data, label, weight = (da.concatenate(block) for block in blocks)
        reference = {"ref": matrices[0]} if matrices else {}
        matrices.append(xgboost.dask.DaskQuantileDMatrix(client, data, label, weight=weight, **reference))
    result = xgboost.dask.train(
        client,
        {**parameters, "tree_method": "hist", "eval_metric": "logloss"},
        matrices[0],
        num_boost_round=ROUNDS,
        evals=[(matrices[1], "validation")],
        early_stopping_rounds=STOP_AFTER,
        verbose_eval=False,
    )
    return _trained(result["booster"], features, parameters)


def _trained(booster: Any, features: Sequence[str], parameters: dict[str, Any]) -> Trained:
    trees, loss = int(booster.best_iteration) + 1, float(booster.best_score)
    best = booster[:trees]
    best.feature_names = list(features)
    best.set_attr(best_iteration=str(trees - 1), best_score=None)
    best.set_param({"nthread": 1})
    return Trained(best, {k: v for k, v in parameters.items() if k != "nthread"}, trees, loss)


def _ratio(signal: npt.NDArray[np.bool_]) -> float:
    return float((~signal).sum() / signal.sum())


def _balanced(signal: npt.NDArray[np.bool_], ratio: float) -> FloatArray:
    """Weights that give both classes the same total in training: the published scale_pos_weight, seen by the loss too."""
    return np.where(signal, ratio, 1.0)


def _load(path: Path, features: Sequence[str], validation: bool, ratio: float) -> tuple[Any, Any, Any]:
    rows = read_part(path, features)
    use = rows.validation == validation
    weight = _balanced(rows.signal[use], ratio)
    return rows.features[use], rows.signal[use].astype(np.float32), weight.astype(np.float32)
