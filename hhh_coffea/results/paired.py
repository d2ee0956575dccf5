"""Errors on the comparison of methods that saw identical events.

Candidates of one event are not independent, and two methods mostly get the same events right. So the sums over events
of the products of all per-event counts are kept, a histogram of integers, and errors follow from first-order
propagation: for a quantity f of the sums X, Var f = Σ_events (Σ_i x_i ∂f/∂X_i)², the infinitesimal jackknife
(B. Efron, The Jackknife, the Bootstrap and Other Resampling Plans, SIAM 1982, ch. 6).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import hist
import numpy as np
import numpy.typing as npt
from hist import Hist

from hhh_coffea.base.arrays import true_in_row
from hhh_coffea.reconstruction.metrics import Evaluation

PAIRED = "paired"
COUNTS = ("candidates", "correct", "targets", "retrieved")
EVENTS = "events"
# exponents of COUNTS in each quantity
QUANTITIES = {"purity": (-1, 1, 0, 0), "efficiency": (0, 0, -1, 1), "product": (-1, 1, -1, 1)}
PerEvent = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Measured:
    """A number with its standard error."""

    value: float
    error: float


def book() -> Hist:
    """Empty sums of products by dataset, definition, category and two counts."""
    names = ("dataset", "definition", "category", "first", "second")
    return Hist(*(hist.axis.StrCategory([], growth=True, name=n) for n in names), storage=hist.storage.Int64())


def per_event(result: Evaluation, category: str) -> PerEvent:
    """:data:`COUNTS` of every event in a category: ``(4, N)``."""
    use, event = result.categories[category], result.event
    n = len(use.targets)
    return np.stack(
        [
            np.bincount(event, use.candidates, n).astype(np.int64),
            np.bincount(event, use.candidates & result.correct, n).astype(np.int64),
            true_in_row(use.targets),
            true_in_row(use.retrieved),
        ]
    )


def event_sums(result: Evaluation) -> dict[str, dict[str, dict[str, int]]]:
    """By category, what the intervals of purity and efficiency need beyond the counts: they add up over chunks.

    For each of the two ratios Σ k/Σ n of per-event counts k of n: ``nn`` = Σ n², ``nk`` = Σ nk and ``kk`` = Σ k².
    """
    sums: dict[str, dict[str, dict[str, int]]] = {}
    for category in result.categories:
        n_candidates, n_correct, n_targets, n_retrieved = per_event(result, category)
        sums[category] = {
            ratio: {"nn": int(n @ n), "nk": int(n @ k), "kk": int(k @ k)}
            for ratio, n, k in (("purity", n_candidates, n_correct), ("efficiency", n_targets, n_retrieved))
        }
    return sums


def fill(histogram: Hist, dataset: str, definition: str, category: str, counts: Mapping[str, PerEvent]) -> None:
    """Add the events of a chunk; ``counts`` by method."""
    names = [EVENTS] + [f"{method} {count}" for method in counts for count in COUNTS]
    n_events = next(iter(counts.values())).shape[1]
    columns = np.concatenate([np.ones((1, n_events), dtype=np.int64), *counts.values()])
    products = columns @ columns.T
    first = [a for a in names for _ in names]
    key = {"dataset": dataset, "definition": definition, "category": category}
    histogram.fill(**key, first=first, second=names * len(names), weight=products.ravel())


def measure(histogram: Hist, key: Mapping[str, str], quantity: str, method: str, over: str | None = None) -> Measured:
    """A quantity of a method, or the ratio to that of method ``over``; NaN where a count is zero.

    ``key`` gives dataset, definition and category.
    """
    signs = QUANTITIES[quantity]
    powers = [
        (f"{m} {c}", s * x) for m, s in ((method, 1), (over, -1)) if m for c, x in zip(COUNTS, signs, strict=True)
    ]
    place = {name: hist.loc(value) for name, value in key.items()}
    sums = histogram[place]
    total = [float(sums[hist.loc(EVENTS), hist.loc(name)]) for name, _ in powers]
    if not all(x > 0 for x, (_, power) in zip(total, powers, strict=True) if power):
        return Measured(math.nan, math.nan)
    used = [(name, power, x) for (name, power), x in zip(powers, total, strict=True) if power]
    value = math.prod(x**power for _, power, x in used)
    # ∂ ln f / ∂X_i = power_i / X_i
    variance = sum(p * q / (x * y) * float(sums[hist.loc(a), hist.loc(b)]) for a, p, x in used for b, q, y in used)
    return Measured(value, value * math.sqrt(max(variance, 0.0)))
