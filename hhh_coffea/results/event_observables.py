"""Histograms of declared observables by region, and of the same at any couplings.

``observable_NAME``: region × dataset × method × value. ``observable_NAME_couplings_ANALYSIS_sums`` and ``…_products`` have one
more axis: the weight of an event is a polynomial in the couplings, and sums of its coefficients and of their products give value
and error at any couplings after one pass (:mod:`hhh_coffea.inference.couplings.moments`). ``mass_plane``: region × dataset ×
method × mass × mass, of analyses that declare it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import awkward as ak
import hist
import numpy as np
import numpy.typing as npt
from hist import Hist

from hhh_coffea.base.arrays import pad
from hhh_coffea.inference.couplings import moments
from hhh_coffea.reconstruction.analysis import Analysis
from hhh_coffea.reconstruction.observables import EVERYWHERE, EventObservable, values_of

PREFIX, COUPLINGS = "observable_", "_couplings_"
EVENTS, PLANE = "region_events", "mass_plane"
LEADING_MASS = "leading_mass"  # what is observed where nothing is declared
Observables = Mapping[str, EventObservable]
LONGEST_LABEL = 40  # letters that fit below a figure


def observables_of(declared: Observables, analysis: Analysis) -> dict[str, EventObservable]:
    """Those declared, else the mass of the candidate with the largest pT."""
    if declared:
        return dict(declared)
    bins, low, high = analysis.mass_range
    value = "candidates.mass[0]"
    label = "Mass of the leading candidate [GeV]"
    return {LEADING_MASS: EventObservable(value=value, bins=bins, low=low, high=high, label=label)}


def coupling_names(observable: str, analysis: str) -> tuple[str, str]:
    """Names of the histograms of sums and of products; datasets with other polynomials have others."""
    stem = f"{PREFIX}{observable}{COUPLINGS}{analysis}"
    return f"{stem}_sums", f"{stem}_products"


def is_of_couplings(name: str) -> bool:
    """Whether a histogram has an axis of coefficients."""
    return name.startswith(PREFIX) and COUPLINGS in name


def _label(name: str, one: EventObservable) -> str:
    """What stands below the axis: an expression without a label if it is short, otherwise the observable's name."""
    return one.label or (one.value if len(one.value) <= LONGEST_LABEL else name)


def book(analysis: Analysis, observables: Observables, with_couplings: bool = False) -> dict[str, Hist]:
    """Empty histograms; those of couplings where the analysis has any, if asked for."""
    places = ("region", "dataset", "method")
    found = {EVENTS: Hist(*_names(*places), storage=hist.storage.Weight())}
    if (plane := analysis.mass_plane) is not None:
        masses = [
            hist.axis.Regular(
                plane.bins, plane.low, plane.high, name=name, label=f"Mass of the {which} candidate [GeV]"
            )
            for name, which in (("m1", "leading"), ("m2", "subleading"))
        ]
        found[PLANE] = Hist(*_names(*places), *masses, storage=hist.storage.Weight())
    for name, one in observables_of(observables, analysis).items():
        value = hist.axis.Regular(one.bins, one.low, one.high, name="value", label=_label(name, one))
        axes = [*_names(*places), value]
        found[PREFIX + name] = Hist(*axes, storage=hist.storage.Weight())
        if with_couplings and analysis.couplings is not None:
            pair = moments.book(analysis.couplings.polynomial, *_names(*places), value)
            found |= dict(zip(coupling_names(name, analysis.name), pair, strict=True))
    return found


def fill(
    histograms: Mapping[str, Hist],
    place: Mapping[str, str],
    analysis: Analysis,
    regions: Mapping[str, npt.NDArray[np.bool_]],
    observables: Observables,
    objects: Mapping[str, ak.Array],
    weight: npt.NDArray[np.float64],
    coefficients: npt.NDArray[np.float64] | None = None,
) -> dict[str, dict[str, float]]:
    """Add the events of a chunk; returns how many there are in each region, and the sum of their weights.

    Parameters
    ----------
    place
        dataset and method
    regions
        events ``(N,)`` of each region (:func:`hhh_coffea.reconstruction.observables.in_regions`)
    objects
        what expressions speak of (:func:`hhh_coffea.reconstruction.observables.objects_of`)
    coefficients
        of each event ``(N, monomials)``; None where there are no couplings

    Raises
    ------
    ExpressionError
        naming the observable that these events cannot be asked for.
    """
    chosen = {name: np.flatnonzero(mask) for name, mask in regions.items()}
    for region, events in chosen.items():
        _count(histograms[EVENTS], {"region": region, **place}, weight[events])
    if analysis.mass_plane is not None:
        masses = pad(objects["candidates"].mass, 2, np.nan)
        for region, events in {EVERYWHERE: np.arange(len(weight)), **chosen}.items():
            both = events[np.isfinite(masses[events]).all(axis=1)]
            m1, m2 = masses[both].T
            histograms[PLANE].fill(region=region, **place, m1=m1, m2=m2, weight=weight[both])
    for name, observable in observables_of(observables, analysis).items():
        values = values_of(observable, objects)
        for region, events in chosen.items():
            inside = events[np.isfinite(values[events])]
            at: dict[str, Any] = {"region": region, **place}
            histograms[PREFIX + name].fill(**at, value=values[inside], weight=weight[inside])
            if coefficients is not None:
                sums, products = (histograms[n] for n in coupling_names(name, analysis.name))
                moments.fill((sums, products), coefficients[inside], weight[inside], {"value": values[inside]}, at)
    return {r: {"events": len(events), "weighted": float(weight[events].sum())} for r, events in chosen.items()}


def _count(histogram: Hist, key: Mapping[str, str], weight: npt.NDArray[np.float64]) -> None:
    """Add weights to one bin; as ``fill`` with the names repeated, which takes ten times as long."""
    if not len(weight):
        return
    histogram.fill(**{name: [value] for name, value in key.items()}, weight=[0.0])  # the bin is there now
    place = tuple(axis.index(key[axis.name]) for axis in histogram.axes)
    view = histogram.view(flow=True)
    view["value"][place] += weight.sum()
    view["variance"][place] += (weight**2).sum()


def empty_regions(histograms: Mapping[str, Hist], regions: Mapping[str, Collection[str]]) -> list[str]:
    """Warnings that name the regions that no event of a dataset passes, with any method; ``regions`` by dataset."""
    if EVENTS not in histograms:
        return []
    events = histograms[EVENTS]
    filled = {axis: [str(value) for value in events.axes[axis]] for axis in ("region", "dataset")}
    found = []
    for region in dict.fromkeys(name for names in regions.values() for name in names):
        if region not in filled["region"]:
            found.append(f"region {region!r}: no event of any dataset passes")
            continue
        counted = events[{"region": hist.loc(region)}].project("dataset")
        asked = [name for name in filled["dataset"] if region in regions.get(name, ())]
        if lost := [name for name in asked if not counted[hist.loc(name)].variance]:
            found.append(f"region {region!r}: no event of {', '.join(lost)} passes")
    return found


def _names(*axes: str) -> list[Any]:
    return [hist.axis.StrCategory([], growth=True, name=name) for name in axes]
