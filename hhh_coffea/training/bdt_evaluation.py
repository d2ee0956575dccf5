"""How well scores separate targets from other large-radius jets: ROC, working points, and the histograms behind figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import hist
import numpy as np
import numpy.typing as npt
from hist import Hist

from hhh_coffea.base.kinematics import FloatArray
from hhh_coffea.results.summary import ratio
from hhh_coffea.training.bdt_table import Rows

BoolArray = npt.NDArray[np.bool_]
WORKING_POINTS = {"loose": 0.02, "medium": 0.01, "tight": 0.003}  # misidentification, as published (§3)
EFFICIENCIES = (0.5, 0.7, 0.9)  # where the rejection is quoted
REPLICAS = 200  # of the bootstrap
TARGET, OTHER = "higgs", "other"  # the ``class`` axis
# (label, bins, low, high) of the figures
RANGES: dict[str, tuple[str, int, float, float]] = {
    "pt": ("Large-radius jet $p_T$ [GeV]", 60, 200, 800),
    "eta": ("Large-radius jet η", 50, -4, 4),
    "mass": ("Large-radius jet mass [GeV]", 60, 0, 240),
    "softdrop_mass": ("Soft-drop mass [GeV]", 60, 0, 240),
    "charged_fraction": ("Charged energy fraction", 50, 0, 1),
    "n_charged": ("Charged constituents", 70, 0, 70),
    "n_neutral": ("Neutral constituents", 70, 0, 70),
    "tau21": ("$\\tau_2/\\tau_1$", 50, 0, 1),
    "tau32": ("$\\tau_3/\\tau_2$", 50, 0, 1),
    "xbb": ("H → bb tagger", 50, 0, 1),
}


def roc(
    scores: npt.NDArray[np.floating], signal: BoolArray, weight: FloatArray | None = None
) -> tuple[FloatArray, FloatArray]:
    """(signal efficiency, misidentification) for every cut between two scores, from (0, 0) to (1, 1)."""
    order = np.argsort(-scores, kind="stable")
    weights = np.ones(len(scores)) if weight is None else weight[order]
    last_of_tie = np.append(np.diff(scores[order]) != 0, True)
    passed, fake = (np.cumsum(np.where(signal[order] == kind, weights, 0.0))[last_of_tie] for kind in (True, False))
    return np.append(0, passed / passed[-1]), np.append(0, fake / fake[-1])


def area(efficiency: FloatArray, misidentification: FloatArray) -> float:
    """Area under the ROC curve: how often a target scores higher than another large-radius jet; ties count half."""
    return float(np.trapezoid(efficiency, misidentification))


def measure(scores: npt.NDArray[np.floating], rows: Rows, seed: int) -> dict[str, Any]:
    """AUC, and misidentification and rejection (its inverse) at fixed signal efficiencies, with errors.

    Errors are the spread over bootstrap replicas that draw whole events, since large-radius jets of one event are related.
    """
    _, event = np.unique(rows.event, return_inverse=True)
    random = np.random.default_rng(seed)

    def numbers(weight: FloatArray | None) -> list[float]:
        efficiency, fake = roc(scores, rows.signal, weight)
        at = np.interp(EFFICIENCIES, efficiency, fake)
        return [area(efficiency, fake), *at, *(1 / at)]

    with np.errstate(divide="ignore", invalid="ignore"):  # a few jets only: no fake at all in some replica
        values = np.array(numbers(None))
        replicas = [numbers(random.poisson(1.0, event.max() + 1)[event].astype(np.float64)) for _ in range(REPLICAS)]
        errors = np.std(replicas, axis=0)

    def entry(position: int) -> dict[str, float | None]:
        value, error = float(values[position]), float(errors[position])
        return {"value": _rounded(value), "error": _rounded(error)}

    n = len(EFFICIENCIES)
    return {
        "fat_jets": {"signal": int(rows.signal.sum()), "background": int((~rows.signal).sum())},
        "auc": entry(0),
        "at_signal_efficiency": {
            f"{efficiency:.2f}": {"misidentification": entry(1 + k), "rejection": entry(1 + n + k)}
            for k, efficiency in enumerate(EFFICIENCIES)
        },
    }


def working_points(scores: npt.NDArray[np.floating], signal: BoolArray) -> dict[str, float]:
    """Least score cut at which the misidentification does not exceed that of each working point."""
    fakes = np.sort(scores[~signal])[::-1]
    return {
        # rounded up to six digits: a cut that people can copy
        name: float(np.ceil(float(fakes[int(share * len(fakes))]) * 1e6) / 1e6)
        for name, share in WORKING_POINTS.items()
    }


def at_working_points(
    scores: npt.NDArray[np.floating], rows: Rows, cuts: Mapping[str, float]
) -> dict[str, dict[str, Any]]:
    """Misidentification (of each dataset too) and signal efficiency above each cut, with Clopper–Pearson intervals."""
    uses = {"signal_efficiency": rows.signal, "misidentification": ~rows.signal}
    uses |= {f"misidentification_{name}": ~rows.signal & (rows.dataset == name) for name in np.unique(rows.dataset)}
    return {
        name: {what: _rounded_ratio(int((scores[use] > cut).sum()), int(use.sum())) for what, use in uses.items()}
        for name, cut in cuts.items()
    }


def book(features: Sequence[str]) -> dict[str, Hist]:
    """Empty histograms of scores and features, all with growing ``dataset`` and ``class`` axes."""

    def axes(*names: str) -> list[Any]:
        return [hist.axis.StrCategory([], growth=True, name=name) for name in names]

    score = hist.axis.Regular(500, 0, 1, name="score", label="BDT score")
    booked = {"bdt_score": Hist(*axes("model", "part", "dataset", "class"), score, storage=hist.storage.Int64())}
    for name in features:
        label, bins, low, high = RANGES[name]
        axis = hist.axis.Regular(bins, low, high, name="value", label=label)
        booked[f"bdt_feature_{name}"] = Hist(*axes("dataset", "class"), axis, storage=hist.storage.Int64())
    booked["bdt_importance"] = Hist(*axes("feature"), storage=hist.storage.Double())
    return booked


def fill_scores(
    histograms: dict[str, Hist], model: str, part: str, rows: Rows, scores: npt.NDArray[np.floating]
) -> None:
    """Scores of one model on one part (training, validation or test) of the data."""
    for dataset in np.unique(rows.dataset):
        for name, use in ((TARGET, rows.signal), (OTHER, ~rows.signal)):
            chosen = scores[use & (rows.dataset == dataset)]
            if len(chosen):
                key = {"model": model, "part": part, "dataset": str(dataset), "class": name}
                histograms["bdt_score"].fill(**key, score=chosen)


def fill_features(histograms: dict[str, Hist], features: Sequence[str], rows: Rows) -> None:
    """Distribution of every feature by class."""
    for dataset in np.unique(rows.dataset):
        for name, use in ((TARGET, rows.signal), (OTHER, ~rows.signal)):
            chosen = rows.features[use & (rows.dataset == dataset)]
            if len(chosen):
                for column, feature in enumerate(features):
                    histograms[f"bdt_feature_{feature}"].fill(
                        **{"dataset": str(dataset), "class": name}, value=chosen[:, column]
                    )


def fill_importance(histograms: dict[str, Hist], booster: Any) -> None:
    """Share of each feature in the total gain of all splits."""
    gain = booster.get_score(importance_type="total_gain")
    for name in booster.feature_names:
        histograms["bdt_importance"].fill(feature=name, weight=gain.get(name, 0.0) / sum(gain.values()))


def _rounded(value: float) -> float | None:
    return float(f"{value:.4g}") if np.isfinite(value) else None


def _rounded_ratio(numerator: int, denominator: int) -> dict[str, Any]:
    full = ratio(numerator, denominator)
    return {name: _rounded(value) if isinstance(value, float) else value for name, value in full.items()}
