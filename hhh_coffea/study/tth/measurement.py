"""From discriminants to Table 2: automatic binning, statistical model, significance, limit, and their errors by bootstrap."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hhh_coffea.inference.binning import TransformationD, transformation_d
from hhh_coffea.inference.likelihood import Likelihood
from hhh_coffea.inference.limits import expected_limits, expected_significance
from hhh_coffea.inference.model import ModelOptions, build_workspace
from hhh_coffea.inference.templates import NOMINAL, Region, Template, Templates
from hhh_coffea.study.tth.discriminants import Discriminants
from hhh_coffea.study.tth.published import CROSS_SECTION, RUNS, YIELDS

FINE_BINS = 1000
MODELS = ("shapesys", "normsys")
OWN, PUBLISHED = "own", "published"  # yields
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Expected:
    """Expected events of all selected events at 140 fb⁻¹, by where the numbers come from: :data:`OWN`, :data:`PUBLISHED`."""

    signal: Mapping[str, float]
    background: Mapping[str, float]

    @classmethod
    def of(cls, signal: float, background: float) -> Expected:
        """Ours, and beside them those of the paper."""
        return cls({OWN: signal, PUBLISHED: YIELDS["signal"]}, {OWN: background, PUBLISHED: YIELDS["background"]})


def fine_histograms(
    found: Discriminants, name: str, times: npt.NDArray[Any] | None = None
) -> tuple[FloatArray, FloatArray]:
    """Signal and background ``(1000,)`` in bins of the score over [0, 1]; both add up to 1 without ``times``.

    ``times``: how often each event is in a bootstrap sample; totals then vary as they would.
    """
    weight = found.weight if times is None else found.weight * times
    parts = []
    for use in (found.signal, ~found.signal):
        values, _ = np.histogram(found.scores[name][use], FINE_BINS, (0.0, 1.0), weights=weight[use])
        parts.append(values / found.weight[use].sum())
    return parts[0], parts[1]


def result(signal: FloatArray, background: FloatArray, model: str, uncertainty: float) -> tuple[float, float]:
    """Expected significance at μ = 1 and median limit on μ without signal, of expected events ``(bins,)``."""
    nominal = {name: {NOMINAL: Template(v, v)} for name, v in (("tth", signal), ("ttbb", background))}
    region = Region("fit", np.arange(len(signal) + 1.0), nominal)
    options = ModelOptions.model_validate({"background_model": model, "background_uncertainty": uncertainty})
    likelihood = Likelihood(build_workspace(Templates((region,), ("tth",)), options, validate=False))
    return expected_significance(likelihood), expected_limits(likelihood).median


def table_2(
    found: Discriminants,
    expected: Expected,
    shares: TransformationD,
    bootstrap: int,
    seed: int,
    advance: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Significance and limits by discriminant → yields → run → model, each ``[value, bootstrap error]``.

    ``ratio``: significance over that of the first discriminant, with the error of the ratio. Bins are those of the nominal
    events, in all bootstrap samples. ``advance`` is called after each discriminant and bootstrap sample.
    """
    samples = [None, *found.samples(bootstrap, seed)]
    edges: dict[str, IntArray] = {}
    values: dict[str, FloatArray] = {}  # (samples, yields, runs, models, 2)
    for name in found.scores:
        edges[name] = transformation_d(*fine_histograms(found, name), shares)
        values[name] = np.array(
            [_of_sample(fine_histograms(found, name, times), edges[name], expected, advance) for times in samples]
        )
    first = next(iter(found.scores))
    table: dict[str, Any] = {}
    for name, numbers in values.items():
        of_sample, spread = numbers[0], numbers[1:].std(axis=0, ddof=1)
        relative = numbers[..., 0] / values[first][..., 0]
        table[name] = {
            "edges": (edges[name] / FINE_BINS).tolist(),
            "events": _events(found, name, edges[name]),
            **{
                origin: {
                    run: {
                        model: {
                            "significance": [of_sample[i, j, k, 0], spread[i, j, k, 0]],
                            "mu_limit": [of_sample[i, j, k, 1], spread[i, j, k, 1]],
                            "cross_section_limit": [
                                CROSS_SECTION * x for x in (of_sample[i, j, k, 1], spread[i, j, k, 1])
                            ],
                            "ratio": [relative[0, i, j, k], float(relative[1:, i, j, k].std(ddof=1))],
                        }
                        for k, model in enumerate(MODELS)
                    }
                    for j, run in enumerate(RUNS)
                }
                for i, origin in enumerate(expected.signal)
            },
        }
    return table


def growth(found: Discriminants, expected: Expected, shares: TransformationD) -> dict[str, dict[str, float]]:
    """Significance of Run 3 over that of Run 2, published yields: by discriminant and ``MODEL, uncertainty in Run 3``."""
    (low, before), (high, after) = RUNS.values()
    rows: dict[str, dict[str, float]] = {}
    for name in found.scores:
        fine = fine_histograms(found, name)
        bins = transformation_d(*fine, shares)
        rows[name] = {}
        for model in MODELS:
            first = result(*_scaled(fine, bins, expected, PUBLISHED, low), model, before)[0]
            for uncertainty in (after, 0.05):
                last = result(*_scaled(fine, bins, expected, PUBLISHED, high), model, uncertainty)[0]
                rows[name][f"{model}, {100 * uncertainty:.0f}%"] = last / first
    return rows


def scan_of_shares(found: Discriminants, name: str, expected: Expected, total: float) -> list[dict[str, float]]:
    """Significance (Run 2, our yields) for every split of ``total`` into z_s + z_b in steps of a half."""
    luminosity, uncertainty = RUNS["Run 2"]
    fine = fine_histograms(found, name)
    rows = []
    for z_signal in np.arange(0.0, total + 0.25, 0.5):
        shares = TransformationD(z_signal=float(z_signal), z_background=float(total - z_signal))
        bins = transformation_d(*fine, shares)
        s, b = _scaled(fine, bins, expected, OWN, luminosity)
        row = {"z_signal": float(z_signal), "z_background": float(total - z_signal), "bins": len(bins) - 1}
        rows.append(row | {model: result(s, b, model, uncertainty)[0] for model in MODELS})
    return rows


def _of_sample(
    fine: tuple[FloatArray, FloatArray], bins: IntArray, expected: Expected, advance: Callable[[], None]
) -> FloatArray:
    """``(yields, runs, models, 2)`` of one bootstrap sample."""
    numbers = [
        [
            [result(*_scaled(fine, bins, expected, origin, luminosity), model, uncertainty) for model in MODELS]
            for luminosity, uncertainty in RUNS.values()
        ]
        for origin in expected.signal
    ]
    advance()
    return np.array(numbers)


def _scaled(
    fine: tuple[FloatArray, FloatArray], bins: IntArray, expected: Expected, origin: str, luminosity: float
) -> tuple[FloatArray, FloatArray]:
    """Expected events in the bins. Where a bootstrap sample leaves a bin without background, half of its smallest other bin."""
    scale = luminosity / RUNS["Run 2"][0]
    signal, background = (np.add.reduceat(histogram, bins[:-1]) for histogram in fine)
    least = 0.5 * background[background > 0].min()
    return (
        signal * expected.signal[origin] * scale,
        np.where(background > 0, background, least) * expected.background[origin] * scale,
    )


def _events(found: Discriminants, name: str, bins: IntArray) -> dict[str, list[int]]:
    """Simulated events of the fit in each bin."""
    counts = {}
    for kind, use in (("signal", found.signal), ("background", ~found.signal)):
        histogram, _ = np.histogram(found.scores[name][use], FINE_BINS, (0.0, 1.0))
        counts[kind] = np.add.reduceat(histogram, bins[:-1]).tolist()
    return counts
