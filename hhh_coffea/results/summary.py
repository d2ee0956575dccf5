"""Purity and efficiency with their intervals, from the merged histograms alone."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import hist
import numpy as np
from hist import Hist
from hist.intervals import clopper_pearson_interval

from hhh_coffea.results.histograms import CORRECT, UNKNOWN, in_order

COVERAGE = 0.6827  # one standard deviation of a Gaussian


def ratio(numerator: int, denominator: int, sums: Mapping[str, int] | None = None) -> dict[str, Any]:
    """A fraction of counts with its 68.27% Clopper–Pearson interval; None where the denominator is 0.

    With ``sums`` (:func:`hhh_coffea.results.paired.event_sums`) the interval accounts for candidates of one event that are
    right or wrong together: both counts are divided by the design effect, the variance Σ_events (k − pn)²/(Σn)² of the
    fraction p over the binomial one p(1 − p)/Σn (E. Korn and B. Graubard, Survey Methodology 24, 193 (1998)).
    """
    if denominator == 0:
        return {"numerator": 0, "denominator": 0, "value": None, "low": None, "high": None}
    value = numerator / denominator
    effect = 1.0
    if sums is not None and 0 < numerator < denominator:
        spread = sums["kk"] - 2 * value * sums["nk"] + value**2 * sums["nn"]
        # a lone event, or counts that happen to be the same in all, say nothing of a spread
        effect = spread / (denominator * value * (1 - value)) if spread > 0 else 1.0
    effective = np.array([numerator]) / effect, np.array([denominator]) / effect
    low, high = clopper_pearson_interval(*effective, coverage=COVERAGE)[:, 0]
    entry = {
        "numerator": int(numerator),
        "denominator": int(denominator),
        "value": value,
        "low": float(low),
        "high": float(high),
    }
    return entry if sums is None else {**entry, "design_effect": effect}


Categories = Mapping[str, Mapping[str, Sequence[str]]]  # dataset → definition → names


def summarise(
    histograms: dict[str, Hist],
    categories: Categories,
    event_sums: Mapping[str, Any] | None = None,
    methods: Sequence[str] = (),
) -> dict[str, Any]:
    """dataset → definition → method → ``{categories, events}``, methods in the order of ``methods``.

    ``categories`` of each dataset's analysis, by definition, in their order. ``event_sums`` by dataset,
    definition and method, for the intervals: see :func:`ratio`.
    """
    # a method that found nothing fills no candidates, but its targets and events are on record
    filled = [histograms[name] for name in ("candidates", "targets", "event_efficiency")]

    def values(axis: str) -> set[str]:
        return {value for histogram in filled for value in histogram.axes[axis]}

    summary: dict[str, Any] = {}
    for dataset in sorted(values("dataset")):
        for definition in categories[dataset]:
            for method in in_order(values("method"), methods):
                key = {"dataset": dataset, "definition": definition, "method": method}
                sums = (event_sums or {}).get(dataset, {}).get(definition, {}).get(method, {})
                if (entry := _method(histograms, key, categories[dataset][definition], sums)) is not None:
                    summary.setdefault(dataset, {}).setdefault(definition, {})[method] = entry
    return summary


def _method(
    histograms: dict[str, Hist], key: dict[str, str], names: Sequence[str], sums: Mapping[str, Any]
) -> dict[str, Any] | None:
    categories = {}
    has_truth = bool(counts(histograms["event_efficiency"], key).sum()) or bool(
        counts(histograms["targets"], key).sum()
    )
    for name in names:
        n_candidates, n_correct = by_pt(histograms, {**key, "category": name}, "purity")
        if n_candidates.sum() == 0 and not has_truth:
            continue
        n_targets, n_retrieved = by_pt(histograms, {**key, "category": name}, "efficiency")
        of_events = sums.get(name, {})
        categories[name] = {
            "candidates": int(n_candidates.sum()),
            "correct": int(n_correct.sum()) if has_truth else None,
            "targets": int(n_targets.sum()) if has_truth else None,
            "retrieved": int(n_retrieved.sum()) if has_truth else None,
            "purity": ratio(int(n_correct.sum()), int(n_candidates.sum()), of_events.get("purity"))
            if has_truth
            else None,
            "efficiency": ratio(int(n_retrieved.sum()), int(n_targets.sum()), of_events.get("efficiency"))
            if has_truth
            else None,
        }
    if not categories:
        return None
    entry: dict[str, Any] = {"categories": categories}
    if has_truth:
        entry["events"] = _event_level(histograms, key)
    return entry


def by_pt(histograms: dict[str, Hist], key: dict[str, str], what: str) -> tuple[Any, Any]:
    """(denominator, numerator) per pT bin, the last one the overflow, of purity or efficiency.

    ``key`` gives dataset, definition, method and category; purity counts candidates of known correctness.
    """
    if what == "purity":
        values = counts(histograms["candidates"], key)  # (pt, correct)
        wrong_or_right = values[:, -UNKNOWN:] if _is_known(values) else values
        return wrong_or_right.sum(axis=1), values[:, CORRECT - UNKNOWN]
    values = counts(histograms["targets"], key)  # (pt, retrieved)
    return values.sum(axis=1), values[:, 1]


def _is_known(values: Any) -> bool:
    return bool(values[:, 0].sum() == 0)


def _event_level(histograms: dict[str, Hist], key: dict[str, str]) -> dict[str, Any]:
    """Event purity and efficiency, in all and by number.

    ``reference`` counts events without candidates as pure (§5); ``default`` leaves them out.
    """
    pure = counts(histograms["event_purity"], key)  # (candidates, pure)
    found = counts(histograms["event_efficiency"], key)  # (targets, efficient)
    first = 0 if key["definition"] == "reference" else 1
    n_events = int(pure.sum())
    return {
        "events": n_events,
        "purity": ratio(int(pure[first:, 1].sum()), int(pure[first:].sum())),
        "purity_by_candidates": {
            str(n): {**ratio(int(row[1]), int(row.sum())), "share": int(row.sum()) / n_events}
            for n, row in enumerate(pure)
            if row.sum()
        },
        "efficiency": ratio(int(found[1:, 1].sum()), int(found[1:].sum())),
        "efficiency_by_targets": {
            str(n): {**ratio(int(row[1]), int(row.sum())), "share": int(row.sum()) / n_events}
            for n, row in enumerate(found)
            if row.sum()
        },
    }


def counts(histogram: Hist, key: dict[str, str]) -> Any:
    """Bin contents (overflow included) at the given categories; zeros where a category was never filled."""
    index: dict[str, Any] = {}
    for name, value in key.items():
        axis = histogram.axes[name]
        if value not in axis:
            shape = [a.extent for a in histogram.axes if not isinstance(a, hist.axis.StrCategory)]
            return np.zeros(shape)
        index[name] = hist.loc(value)
    return histogram[index].values(flow=True)


def confusion_matrix(
    histogram: Hist, key: dict[str, str], kinds: Mapping[str, int], n_particles: int
) -> tuple[list[tuple[int, ...]], Any]:
    """(classes, matrix): events by the kinds of their targets (rows) and of their candidates (columns).

    ``kinds`` gives the greatest number of each. A class is the number of each kind, in the order of the histogram's axes.
    As published (§5) only events whose targets
    are complete (together ``n_particles``) and whose candidates make one of these classes too.
    """
    values = counts(histogram, key)
    names = [axis.name.removeprefix("target_") for axis in histogram.axes if axis.name.startswith("target_")]
    numbers = itertools.product(*(range(kinds.get(name, 0) + 1) for name in names))
    classes = [c for c in numbers if sum(c) == n_particles]
    matrix = np.array([[values[(*row, *column)] for column in classes] for row in classes])
    return classes, matrix
