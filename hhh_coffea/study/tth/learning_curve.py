"""How the separation of the BDTs grows with the number of training events: whether more of them would change the order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hhh_coffea.study.event_table import EventTable, cut
from hhh_coffea.study.split import FRACTIONS, parts
from hhh_coffea.study.tth import bdt
from hhh_coffea.training.bdt_evaluation import area, roc

SHARES = (0.25, 0.5, 0.75, 1.0)  # of the training events, by their hashes: each holds the smaller ones


def learning_curve(
    table: EventTable, methods: tuple[str, ...], bootstrap: int, seed: int
) -> dict[str, list[Mapping[str, Any]]]:
    """By method: number of training events, and AUC with its bootstrap error in the events of the fit."""
    whole = {is_signal: table.together(is_signal) for is_signal in (True, False)}
    masks = {is_signal: parts(columns["split"]) for is_signal, columns in whole.items()}
    fit = {is_signal: cut(columns, masks[is_signal]["fit"]) for is_signal, columns in whole.items()}
    signal = np.repeat([True, False], [len(fit[kind]["weight"]) for kind in (True, False)])
    weight = np.concatenate([fit[kind]["weight"] for kind in (True, False)])
    times = np.random.default_rng(seed).poisson(1.0, (bootstrap, len(signal)))
    found: dict[str, list[Mapping[str, Any]]] = {}
    for method in methods:
        names = bdt.input_names(method, whole[True])
        rows = np.concatenate([bdt.inputs(fit[kind], names) for kind in (True, False)])
        held = {kind: cut(columns, masks[kind]["validation"]) for kind, columns in whole.items()}
        validation = bdt.sample(held[True], held[False], names)
        found[method] = []
        for share in SHARES:
            low = {kind: columns["split"] < share * FRACTIONS["train"] for kind, columns in whole.items()}
            training = bdt.sample(cut(whole[True], low[True]), cut(whole[False], low[False]), names)
            scores = bdt.scores(bdt.train(training, validation, names), rows, names)
            drawn = [area(*roc(scores, signal, weight * t)) for t in times]
            auc = area(*roc(scores, signal, weight))
            found[method].append({"events": len(training.signal), "auc": [auc, float(np.std(drawn, ddof=1))]})
    return found
