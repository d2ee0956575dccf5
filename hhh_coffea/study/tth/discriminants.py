"""Scores of all discriminants in the same events, those of the fit, and ROC curves with errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hhh_coffea.training.bdt_evaluation import area, roc

FloatArray = npt.NDArray[np.float64]
# discriminants that are no BDT of a method: the network's own class, a new head, and all weights trained again
PRETRAINING, FINE_TUNING, UNFROZEN = "pretraining", "fine_tuning", "fine_tuning_all_weights"
EFFICIENCIES = np.linspace(0.05, 1.0, 39)  # of signal, at which curves are drawn
QUOTED = (0.3, 0.5, 0.7)  # where the rejection is printed
BAND = (16.0, 84.0)  # per cent of the bootstrap samples


@dataclass(frozen=True)
class Discriminants:
    """Events of the fit, signal first: ``scores`` by name ``(N,)`` in [0, 1], ``signal`` and generator ``weight`` ``(N,)``."""

    scores: Mapping[str, FloatArray]
    signal: npt.NDArray[np.bool_]
    weight: FloatArray

    def samples(self, number: int, seed: int) -> npt.NDArray[np.uint8]:
        """``(number, N)``: how often each event is in each bootstrap sample (Poisson of mean 1).

        The same for all discriminants, so that errors of their ratios account for the events they share.
        """
        return np.random.default_rng(seed).poisson(1.0, (number, len(self.signal))).astype(np.uint8)


def separation(found: Discriminants, bootstrap: int, seed: int) -> dict[str, dict[str, Any]]:
    """By discriminant: ``auc``, ``rejection`` (1/misidentification) at :data:`QUOTED`, ``curve`` and its ``band``.

    Errors are by bootstrap. ``difference``: AUC less that of the first discriminant, with the error of the difference.
    """
    samples = found.samples(bootstrap, seed)
    results: dict[str, dict[str, Any]] = {}
    areas: dict[str, FloatArray] = {}
    for name, scores in found.scores.items():
        auc, curve = _measure(scores, found.signal, found.weight)
        drawn = [_measure(scores, found.signal, found.weight * times) for times in samples]
        areas[name] = np.array([one for one, _ in drawn])
        curves = np.array([one for _, one in drawn])
        at = [int(np.argmin(np.abs(EFFICIENCIES - e))) for e in QUOTED]
        low, high = np.percentile(curves, BAND, axis=0)
        results[name] = {
            "auc": [auc, float(areas[name].std(ddof=1))],
            "rejection": {f"{EFFICIENCIES[i]:.2f}": [float(curve[i]), float(curves[:, i].std(ddof=1))] for i in at},
            "curve": curve.tolist(),
            "band": [low.tolist(), high.tolist()],
        }
    first = next(iter(found.scores))
    for name, entry in results.items():
        spread = float((areas[name] - areas[first]).std(ddof=1))
        entry["difference"] = [entry["auc"][0] - results[first]["auc"][0], spread]
    return results


def _measure(scores: FloatArray, signal: npt.NDArray[np.bool_], weight: FloatArray) -> tuple[float, FloatArray]:
    """AUC, and 1/misidentification at :data:`EFFICIENCIES`; at most the number of background events where none is left."""
    efficiency, fake = roc(scores, signal, weight)
    floor = 1.0 / max(1, int((~signal).sum()))
    return area(efficiency, fake), 1 / np.maximum(np.interp(EFFICIENCIES, efficiency, fake), floor)
