"""How often jets are assigned right, for targets of any topology: the efficiencies of the SPANet papers' tables.

M. Fenton et al., Commun. Phys. 7, 139 (2024), Table 1. A target is *reconstructable* in an event if all its daughters
have a matched object, and *right* if it was given these objects, up to its symmetry. Every target of every event always
has an assignment: there is no detection threshold.

``all``       events with any reconstructable target. Event: all reconstructable targets are right, whatever is done
              with the others. Target: right over reconstructable.
``full``      the same among the events in which every target is reconstructable.
``selected``  over all events. Event: every target is reconstructable and right. Target: reconstructable and right.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import awkward as ak
import hist
import numpy as np
import numpy.typing as npt
from hist import Hist

from hhh_coffea.base.arrays import IntArray, counts_of
from hhh_coffea.reconstruction.analysis import Analysis
from hhh_coffea.reconstruction.metrics import Evaluation
from hhh_coffea.reconstruction.targets import Targets
from hhh_coffea.results.assignment_confusion import CONFUSION, book_confusion, fill_confusion
from hhh_coffea.results.summary import counts as summed
from hhh_coffea.results.summary import ratio

ASSIGNMENTS = "assignments"  # name of the histogram
KINDS = ("all", "full", "selected")
EVENT = "event"
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class AssignmentCounts:
    """Counts that add up over chunks of events. ``names`` are the targets; multiplicities fall into ``len(bins)`` bins.

    ``passed`` and ``total`` are ``(bins, kinds, 1 + targets)``: of the event, then of each target.
    """

    names: tuple[str, ...]
    bins: tuple[int, ...]
    passed: IntArray
    total: IntArray

    def __add__(self, other: AssignmentCounts) -> AssignmentCounts:
        """Counts of both.

        Raises
        ------
        ValueError
            if the targets or bins differ.
        """
        if (self.names, self.bins) != (other.names, other.bins):
            raise ValueError(f"counts of {self.names} in {self.bins} and of {other.names} in {other.bins} do not add")
        parts = ((getattr(self, name), getattr(other, name)) for name in ("passed", "total"))
        return AssignmentCounts(self.names, self.bins, *(a + b for a, b in parts))


def count(
    names: tuple[str, ...],
    reconstructable: BoolArray,
    right: BoolArray,
    multiplicity: IntArray,
    bins: tuple[int, ...],
) -> AssignmentCounts:
    """Count right assignments of N events.

    Parameters
    ----------
    names, reconstructable, right
        the T targets, and in which events they ``(N, T)`` are reconstructable, and right as well
    multiplicity, bins
        ``(N,)`` number of jets, and the first of each bin: ``(4, 5, 6)`` is 4, 5 and ≥ 6. Events with fewer jets than the
        first are not counted.
    """
    some: BoolArray = np.logical_or.reduce(reconstructable, axis=1)
    full: BoolArray = np.logical_and.reduce(reconstructable, axis=1)
    all_right: BoolArray = np.logical_and.reduce(right == reconstructable, axis=1)
    every: BoolArray = np.ones(full.shape, dtype=np.bool_)

    def columns(event: BoolArray, by_target: BoolArray) -> BoolArray:
        return np.column_stack([event, by_target])

    total = (
        columns(some, reconstructable),
        columns(full, reconstructable & full[:, None]),
        columns(every, np.ones_like(reconstructable)),
    )
    passed = (
        columns(some & all_right, right),
        columns(full & all_right, right & full[:, None]),
        columns(full & all_right, right),
    )
    bin_of = np.searchsorted(bins, multiplicity, side="right") - 1
    counted = bin_of >= 0

    def by_bin(masks: tuple[BoolArray, ...]) -> IntArray:
        table = np.concatenate(masks, axis=1)[counted]
        sums = [np.bincount(bin_of[counted], weights=column, minlength=len(bins)) for column in table.T]
        return np.stack(sums, axis=1).astype(np.int64).reshape(len(bins), len(KINDS), 1 + len(names))

    return AssignmentCounts(names, tuple(bins), by_bin(passed), by_bin(total))


def book(n_bins: int) -> Hist:
    """Empty counts of several datasets and methods, in the form of a histogram."""
    names = ("dataset", "method", "definition", "events", "target")
    jets = hist.axis.Integer(0, n_bins, flow=False, name="jets", label="Bin of the number of jets")
    right = hist.axis.Boolean(name="right", label="assigned right")
    axes = [hist.axis.StrCategory([], growth=True, name=name) for name in names]
    return Hist(*axes, jets, right, storage=hist.storage.Int64())


def fill(histogram: Hist, key: Mapping[str, str], counts: AssignmentCounts) -> None:
    """Add counts; ``key`` gives dataset, method and definition."""
    number = np.arange(len(counts.bins))
    for k, kind in enumerate(KINDS):
        for column, name in enumerate((EVENT, *counts.names)):
            for right, found in ((True, counts.passed), (False, counts.total - counts.passed)):
                weight = found[:, k, column]
                histogram.fill(**key, events=kind, target=name, jets=number, right=right, weight=weight)


def fill_method(
    histograms: dict[str, Hist],
    dataset: str,
    method: str,
    definition: str,
    analysis: Analysis,
    record: ak.Array,
    targets: Targets,
    candidates: ak.Array,
    result: Evaluation,
) -> None:
    """Count what one method got right, if the analysis declares ``jet_bins``; the first call books the histograms."""
    if not analysis.jet_bins:
        return
    key = {"dataset": dataset, "method": method, "definition": definition}
    fill(histograms.setdefault(ASSIGNMENTS, book(len(analysis.jet_bins))), key, of_method(analysis, record, result))
    fill_confusion(histograms.setdefault(CONFUSION, book_confusion()), key, analysis.kinds, targets, candidates)


def of_method(analysis: Analysis, record: ak.Array, result: Evaluation) -> AssignmentCounts:
    """The counts of one method, by the ``jet_bins`` of an analysis."""
    whole = next(iter(result.categories.values()))
    names = tuple(analysis.particle_names())
    return count(names, whole.targets, whole.retrieved, counts_of(record.jets.pt), analysis.jet_bins)


def from_histogram(
    histogram: Hist, key: Mapping[str, str], names: tuple[str, ...], bins: tuple[int, ...]
) -> AssignmentCounts | None:
    """The counts at a dataset, method and definition; None where nothing was filled."""
    table = [[summed(histogram, {**key, "events": kind, "target": name}) for name in (EVENT, *names)] for kind in KINDS]
    found = np.moveaxis(np.array(table, dtype=np.int64), 2, 0)  # (bins, kinds, targets, right)
    return AssignmentCounts(names, bins, found[..., 1], found.sum(axis=-1)) if found.any() else None


def tables(histogram: Hist, datasets: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """dataset → definition → method → :func:`efficiencies`, of ``datasets`` as ``histograms.json`` describes them."""
    result: dict[str, Any] = {}
    for dataset in histogram.axes["dataset"]:
        targets, bins = tuple(datasets[dataset]["targets"]), tuple(datasets[dataset]["jet_bins"])
        for definition in histogram.axes["definition"]:
            for method in histogram.axes["method"]:
                key = {"dataset": dataset, "definition": definition, "method": method}
                if (counts := from_histogram(histogram, key, targets, bins)) is not None:
                    result.setdefault(dataset, {}).setdefault(definition, {})[method] = {
                        **efficiencies(counts),
                        "shares": shares(counts),
                    }
    return result


def published_rows(table_1: Mapping[str, Any], analyses: Mapping[str, Analysis]) -> dict[str, Any]:
    """dataset → ``{source, methods}`` of what was published of its analysis, by method, kind, bin and target (a fraction).

    ``analyses`` are those of the datasets, by name. Datasets without any are left out.
    """
    found: dict[str, Any] = {}
    for dataset in table_1:
        analysis = analyses[dataset]
        if (published := analysis.published_assignments) is None:
            continue
        names = (EVENT, *analysis.particle_names())
        methods = {
            method: {
                kind: {label: {n: v / 100 for n, v in zip(names, row, strict=True)} for label, row in rows.items()}
                for kind, rows in kinds.items()
            }
            for method, kinds in published.rows.items()
        }
        found[dataset] = {"source": published.source, "methods": methods}
    return found


def labels(bins: tuple[int, ...]) -> list[str]:
    """Names of the bins, and ``all``: ``(4, 5, 6)`` → 4, 5, ≥ 6, all."""
    closed = [str(low) if high == low + 1 else f"{low}–{high - 1}" for low, high in pairwise(bins)]
    return [*closed, f"≥ {bins[-1]}", "all"]


def efficiencies(counts: AssignmentCounts) -> dict[str, dict[str, dict[str, Any]]]:
    """Kind → bin (and ``all``) → ``event`` and each target → fraction with its Clopper–Pearson interval.

    See :func:`hhh_coffea.results.summary.ratio`: ``value`` is None where nothing is counted.
    """
    passed, total = (np.concatenate([a, a.sum(axis=0, keepdims=True)]) for a in (counts.passed, counts.total))
    return {
        kind: {
            label: {
                name: ratio(int(passed[b, k, column]), int(total[b, k, column]))
                for column, name in enumerate((EVENT, *counts.names))
            }
            for b, label in enumerate(labels(counts.bins))
        }
        for k, kind in enumerate(KINDS)
    }


def shares(counts: AssignmentCounts) -> dict[str, dict[str, dict[str, Any]]]:
    """Bin (and ``all``) → ``any``, ``full`` and each target → share of all events where it is reconstructable."""
    total = np.concatenate([counts.total, counts.total.sum(axis=0, keepdims=True)])
    place = {"any": (0, 0), "full": (1, 0)} | {name: (0, 1 + t) for t, name in enumerate(counts.names)}
    every = (KINDS.index("selected"), 0)
    return {
        label: {name: ratio(int(row[at]), int(row[every])) for name, at in place.items()}
        for label, row in zip(labels(counts.bins), total, strict=True)
    }
