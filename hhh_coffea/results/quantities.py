"""Histograms of the quantities that an analysis declares (:mod:`hhh_coffea.reconstruction.quantities`).

``quantity_NAME`` of a spectrum: dataset × method × definition × of × outcome × value, weighted. Of an efficiency: dataset ×
method × definition × of × value × right, counts of the targets that can be found. ``outcome`` is one of :data:`OUTCOMES`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import awkward as ak
import hist
import numpy as np
import numpy.typing as npt
from hist import Hist

from hhh_coffea.base.errors import UserError
from hhh_coffea.reconstruction.analysis import Analysis
from hhh_coffea.reconstruction.metrics import Evaluation
from hhh_coffea.reconstruction.quantities import EVENT, FULL, SELECTED, Quantity, Reconstruction
from hhh_coffea.reconstruction.targets import Targets
from hhh_coffea.results import histograms

PREFIX = "quantity_"
RIGHT, WRONG, NOT_RECONSTRUCTABLE, NO_TRUTH, NOT_SPLIT = "right", "wrong", "not reconstructable", "no truth", "all"
OUTCOMES = (RIGHT, WRONG, NOT_RECONSTRUCTABLE, NO_TRUTH, NOT_SPLIT)
ANY_METHOD = "any"  # of quantities that do not depend on the method
BoolArray = npt.NDArray[np.bool_]


def book(analysis: Analysis) -> dict[str, Hist]:
    """Empty histograms of the quantities of an analysis, if it declares any."""
    return {PREFIX + quantity.name: _book(quantity) for quantity in analysis.quantities}


def check_together(analyses: Iterable[Analysis]) -> None:
    """Check that the results of these analyses can be added up in one run.

    Raises
    ------
    UserError
        naming two that book a histogram of the same name with different axes.
    """
    first: dict[str, tuple[Analysis, Hist]] = {}
    for analysis in analyses:
        for name, histogram in (histograms.book(analysis) | book(analysis)).items():
            other, booked = first.setdefault(name, (analysis, histogram))
            if booked.axes != histogram.axes:
                raise UserError(
                    f"analyses {other.name!r} and {analysis.name!r} cannot share a run: their histograms {name!r} differ; run "
                    "them one by one with --datasets"
                )


def _book(quantity: Quantity) -> Hist:
    names = ["dataset", "method", "definition", "of"]
    value = hist.axis.Variable(quantity.edges, name="value", label=quantity.label)
    if quantity.form == "efficiency":
        right = hist.axis.Boolean(name="right", label="assigned right")
        return Hist(*map(_growing, names), value, right, storage=hist.storage.Int64())
    return Hist(*map(_growing, [*names, "outcome"]), value, storage=hist.storage.Weight())


def _growing(name: str) -> hist.axis.StrCategory:
    return hist.axis.StrCategory([], growth=True, name=name)


def fill_events(
    histograms: Mapping[str, Hist],
    dataset: str,
    definition: str,
    analysis: Analysis,
    record: ak.Array,
    targets: Targets,
) -> None:
    """Fill the spectra that depend on no method, of the selected events of a chunk."""
    weight = ak.to_numpy(record.weight)
    key = {"dataset": dataset, "method": ANY_METHOD, "definition": definition}
    for quantity in (q for q in analysis.quantities if not q.by_method):
        for item, values in quantity.values(Reconstruction(record, targets)).items():
            use = np.isfinite(values)
            place = {**key, "of": item, "outcome": NOT_SPLIT}
            histograms[PREFIX + quantity.name].fill(**place, value=values[use], weight=weight[use])


def fill_method(
    histograms: Mapping[str, Hist],
    key: Mapping[str, str],
    analysis: Analysis,
    record: ak.Array,
    targets: Targets,
    candidates: ak.Array,
    result: Evaluation,
) -> None:
    """Fill the quantities of one method's candidates; ``key`` gives dataset, method and definition."""
    wanted = [quantity for quantity in analysis.quantities if quantity.by_method]
    if not wanted:
        return
    content = Reconstruction(record, targets, candidates)
    right, possible = _right(analysis, result)
    weight = ak.to_numpy(record.weight)
    for quantity in wanted:
        if quantity.form == "efficiency" and not targets.known:
            continue
        for item, values in quantity.values(content).items():
            finite, histogram = np.isfinite(values), histograms[PREFIX + quantity.name]
            if quantity.form == "efficiency":
                use = finite & possible[item]
                histogram.fill(**key, of=item, value=values[use], right=right[item][use])
                continue
            target = quantity.outcome_of.get(item, item)
            for outcome, events in _outcomes(targets.known, right.get(target), possible.get(target), finite).items():
                use = finite & events
                histogram.fill(**key, of=item, outcome=outcome, value=values[use], weight=weight[use])


def _right(analysis: Analysis, result: Evaluation) -> tuple[dict[str, BoolArray], dict[str, BoolArray]]:
    """By target, and for all together: events where it was assigned right, and where it can be."""
    whole = next(iter(result.categories.values()))
    names = analysis.particle_names()
    possible = {name: whole.targets[:, p] for p, name in enumerate(names)}
    right = {name: whole.retrieved[:, p] & whole.targets[:, p] for p, name in enumerate(names)}
    possible[EVENT] = np.logical_or.reduce(whole.targets, axis=1)
    right[EVENT] = np.logical_and.reduce(whole.retrieved == whole.targets, axis=1)
    possible[FULL] = np.logical_and.reduce(whole.targets, axis=1)
    possible[SELECTED] = np.ones_like(possible[FULL])
    right[FULL] = right[SELECTED] = right[EVENT] & possible[FULL]
    return right, possible


def _outcomes(
    known: bool, right: BoolArray | None, possible: BoolArray | None, finite: BoolArray
) -> dict[str, BoolArray]:
    """Events with a value by what became of the target; not split where there is no such target."""
    every = np.ones_like(finite)
    if right is None or possible is None:
        return {NOT_SPLIT: every}
    if not known:
        return {NO_TRUTH: every}
    return {RIGHT: right, WRONG: possible & ~right, NOT_RECONSTRUCTABLE: ~possible}
