"""Templates of one method out of a results directory: which datasets, scaled to which luminosity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import hist
import numpy as np
from hist import Hist

from hhh_coffea.base.errors import UserError
from hhh_coffea.inference.couplings.polynomial import CouplingError, Polynomial, condition_warning, sample_coefficients
from hhh_coffea.inference.couplings.samples import ByPlace, SampleSet, combine
from hhh_coffea.inference.templates import Templates, from_histogram
from hhh_coffea.jobs.fit.config import FitConfig
from hhh_coffea.reconstruction.observables import EVERYWHERE
from hhh_coffea.results import directory as results
from hhh_coffea.results import expected_events
from hhh_coffea.results.event_observables import LEADING_MASS, PREFIX, empty_regions, is_of_couplings
from hhh_coffea.results.observables import (
    METHOD,
    PROCESS,
    REGION,
    VARIATION,
    ObservableError,
    in_words,
    observable,
    values_of,
)

Info = Mapping[str, Mapping[str, Any]]
DEFAULT = "ranked_mass"  # of the candidate with the largest pT: one entry for each event
WITHOUT_METHODS = "all"  # the name of the one fit of a histogram that has no axis of methods


class FitError(UserError):
    """The results cannot be fitted as asked; the message names the dataset or the option."""


@dataclass(frozen=True)
class Inputs:
    """What is read from a results directory, and what of it is fitted."""

    histograms: dict[str, Hist]
    datasets: Info  # of histograms.json
    chosen: tuple[str, ...]  # datasets: signals, backgrounds, data
    signals: tuple[str, ...]
    scales: Mapping[str, float]  # expected events per unit of weight
    luminosity: float  # fb⁻¹
    observable: str  # name of the histogram that is fitted
    warnings: tuple[str, ...]
    combined: SampleSet | None = None  # the signals, where they were generated at other couplings each

    @property
    def processes(self) -> tuple[str, ...]:
        """Signals as templates call them: samples at several couplings are one process."""
        return self.signals if self.combined is None else (self.combined.process,)

    @property
    def data(self) -> tuple[str, ...]:
        """Chosen datasets that are observed events."""
        return tuple(name for name in self.chosen if self.datasets[name].get("is_data"))


def read_inputs(config: FitConfig) -> Inputs:
    """Read the results and decide what is signal and what is background.

    Raises
    ------
    UserError
        naming what is missing: results, datasets, cross sections, sums of weights, a luminosity, signal, background, data.
    """
    folder = Path(config.results)
    histograms, datasets = results.read_histograms(folder, every=True)
    provenance = results.read_provenance(folder)
    if not provenance:
        raise results.ResultsError(f"{folder}: no results here (provenance.json is missing)")
    luminosity = config.luminosity or provenance["config"].get("luminosity")
    if luminosity is None:
        raise FitError("the run had no luminosity: give --luminosity (fb⁻¹)")
    signals, chosen, warnings = choose(datasets, config.signal, config.datasets)
    scales = expected_events.scales(provenance, luminosity, chosen)
    if config.unblind and not any(datasets[name].get("is_data") for name in chosen):
        raise FitError("option 'unblind': no dataset is data: set 'is_data' in the metadata of one")
    warnings += [
        f"dataset {name!r}: chunks failed that its sum_of_weights counts; too few events are expected"
        for name in sorted({failure["dataset"] for failure in provenance["failures"]})
        if name in chosen and provenance["datasets"][name].get("sum_of_weights")
    ]
    declared = provenance["config"].get("regions") or {}
    regions = {n: [*info.get("regions", ()), *declared] for n, info in datasets.items()}
    warnings += empty_regions(histograms, regions)
    in_regions = any(regions[name] for name in chosen) and not config.select
    usual = PREFIX + LEADING_MASS if in_regions and PREFIX + LEADING_MASS in histograms else DEFAULT
    name = _histogram(config.observable, histograms, provenance["config"].get("observables") or {}, usual)
    if name == "candidates" or (
        name.endswith("_mass") and name != DEFAULT and not name.startswith((PREFIX, "quantity_"))
    ):
        warnings.append(
            f"{name} has one entry per candidate: the fit counts an event several times, and its errors are wrong"
        )
    if REGION not in config.select:
        histograms[name] = _of_regions(histograms[name], [r for dataset in chosen for r in regions[dataset]])
    combined = _sample_set(datasets, signals)
    if combined is not None and (note := condition_warning(combined.polynomial, combined.points)):
        warnings.append(note)
    return Inputs(histograms, datasets, chosen, signals, scales, luminosity, name, tuple(warnings), combined)


def _of_regions(histogram: Hist, declared: Sequence[str]) -> Hist:
    """The declared regions of a histogram, else that of all events: in both at once an event would count twice."""
    there = values_of(histogram, REGION)
    wanted = [region for region in there if region in (declared or [EVERYWHERE])]
    if not wanted or wanted == there:
        return histogram
    position = [axis.name for axis in histogram.axes].index(REGION)
    axes = [*histogram.axes]
    axes[position] = hist.axis.StrCategory(wanted, growth=True, name=REGION)
    result = Hist(*axes, storage=histogram.storage_type())
    kept = [there.index(region) for region in wanted]
    result.view(flow=True)[...] = histogram.view(flow=True).take(kept, axis=position)
    return result


def _sample_set(datasets: Info, signals: Sequence[str]) -> SampleSet | None:
    """The signals as samples of one process, where their metadata say at which couplings they were generated."""
    points = {name: datasets[name]["coupling_point"] for name in signals if "coupling_point" in datasets[name]}
    if not points:
        return None
    if others := [name for name in signals if name not in points]:
        raise FitError(
            f"signals {', '.join(points)} have couplings in their metadata, and {', '.join(others)} do not: choose with "
            "--signal"
        )
    first = datasets[signals[0]]
    polynomial = polynomial_of(first)
    values = np.array([[points[name][parameter] for parameter in polynomial.parameters] for name in signals])
    try:
        sample_coefficients(polynomial, values)
    except CouplingError as error:
        raise FitError(f"signals {', '.join(signals)}: {error}") from None
    return SampleSet(f"{first['analysis']}_combined", tuple(signals), polynomial, values)


def polynomial_of(info: Mapping[str, Any]) -> Polynomial:
    """The polynomial of a dataset's couplings, from ``histograms.json``."""
    return Polynomial(**{name: _tuples(value) for name, value in info["couplings"].items()})


def _tuples(value: Any) -> Any:
    """JSON's lists as the tuples they were."""
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def _histogram(asked: str | None, histograms: Mapping[str, Hist], declared: Mapping[str, Any], usual: str) -> str:
    """Name of the histogram of an observable: the one asked for, else the first that the run declared, else the ``usual``."""
    if asked is None:
        return next((PREFIX + name for name in declared if PREFIX + name in histograms), usual)
    for name in (asked, PREFIX + asked):
        if name in histograms:
            return name
    there = sorted(name.removeprefix(PREFIX) for name in histograms if not is_of_couplings(name))
    raise FitError(f"option 'observable': no histogram {asked!r}; there are {', '.join(there)}")


def choose(
    datasets: Info, signal: Sequence[str] | None, only: Sequence[str] | None
) -> tuple[tuple[str, ...], tuple[str, ...], list[str]]:
    """Signals, all datasets of the fit, and warnings that name what is left out.

    Datasets of different analyses have different events selected and cannot be added up. Without
    ``signal`` those are signals that have ``is_signal`` and a background that is selected alike.
    """
    for option, names in (("signal", signal), ("datasets", only)):
        if unknown := [name for name in names or () if name not in datasets]:
            raise FitError(f"option {option!r}: no dataset {unknown[0]!r}; there are {', '.join(datasets)}")
    left = {name: info for name, info in datasets.items() if only is None or name in only}
    simulated = {name: info for name, info in left.items() if not info.get("is_data")}
    if signal is None:
        backgrounds = {info["analysis"] for info in simulated.values() if not info["is_signal"]}
        signal = [n for n, info in simulated.items() if info["is_signal"] and info["analysis"] in backgrounds]
        if not signal:
            raise FitError(
                f"among {', '.join(left)} no signal has a background with the same selection: set 'is_signal' and 'analysis' "
                "in the metadata, or choose with --signal"
            )
    elif out := [name for name in signal if name not in simulated]:
        raise FitError(f"option 'signal': {out[0]!r} is data, or not among --datasets")
    analyses = {left[name]["analysis"] for name in signal}
    if len(analyses) > 1:
        raise FitError(f"the signals {', '.join(signal)} are of different analyses: choose with --signal")
    chosen = tuple(name for name, info in left.items() if info["analysis"] in analyses)
    other = [
        f"dataset {name!r} is left out: its analysis is {info['analysis']!r}, that of the signal is {min(analyses)!r}"
        for name, info in left.items()
        if name not in chosen
    ]
    return tuple(signal), chosen, other


def methods_of(config: FitConfig, inputs: Inputs) -> tuple[str, ...]:
    """Methods to fit: those asked for, else all that were run on a signal.

    Raises
    ------
    FitError
        if there is no such histogram or method.
    """
    name = inputs.observable
    histogram = inputs.histograms[name]
    found = values_of(histogram, METHOD)
    if unknown := [method for method in config.methods or () if method not in found]:
        raise FitError(f"option 'methods': no {unknown[0]!r} in {name}; there are {', '.join(found) or 'none'}")
    if config.methods is not None or not found:
        return config.methods or (WITHOUT_METHODS,)
    # some methods are run on datasets with another number of Higgs bosons alone
    signals = [signal for signal in inputs.signals if signal in values_of(histogram, PROCESS)]
    filled = [
        method
        for method in found
        if any(
            histogram[{METHOD: hist.loc(method), PROCESS: hist.loc(signal)}].values(flow=True).any()
            for signal in signals
        )
    ]
    return tuple(filled or found)


def templates_of(config: FitConfig, inputs: Inputs, method: str) -> tuple[Templates, ByPlace, tuple[str, ...]]:
    """Expected events of one method by region, process, variation and bin; moments of samples that are combined; warnings."""
    name = inputs.observable
    histogram, chosen = inputs.histograms[name], _chosen(config, inputs, method)
    one = observable(histogram, chosen, f"histogram {name!r}")
    if PROCESS not in [axis.name for axis in one.axes]:
        raise ObservableError(f"histogram {name!r} has no axis {PROCESS!r}: its processes are not known")
    filled = values_of(one, PROCESS)
    empty = [name for name in inputs.chosen if name not in filled]
    if lost := [name for name in empty if name in inputs.signals]:
        raise FitError(f"method {method!r}: no event of the signal {lost[0]!r} is in histogram {name!r}")
    if not set(filled) & (set(inputs.chosen) - set(inputs.signals) - set(inputs.data)):
        unfilled = f": no event of {', '.join(empty)} passes" if empty else ""
        raise FitError(
            f"there is no background{unfilled}; the background is every simulated dataset that is not signal"
        )
    warnings = [f"no event of {dataset!r} is in histogram {name!r}: it is left out" for dataset in empty]
    data = [name for name in inputs.data if name in filled]
    whole = from_histogram(
        one,
        inputs.signals,
        region_axis=REGION,
        process_axis=PROCESS,
        variation_axis=VARIATION,
        data=data,
        luminosity=inputs.luminosity,
    )
    wanted = [name for name in inputs.chosen if name in filled and name not in data]
    regions = tuple(
        replace(region, samples={name: region.samples[name] for name in wanted}) for region in whole.regions
    )
    templates = replace(whole, regions=regions).scaled(inputs.scales)
    moments: ByPlace = {}
    if inputs.combined is not None:
        templates, moments = combine(templates, inputs.combined)
    return templates, moments, tuple(warnings)


def observable_in_words(config: FitConfig, inputs: Inputs, method: str) -> str:
    """The observable that is fitted, with what is chosen on the other axes of its histogram."""
    return in_words(inputs.histograms[inputs.observable], _chosen(config, inputs, method), inputs.observable)


def _chosen(config: FitConfig, inputs: Inputs, method: str) -> dict[str, str | int]:
    has_methods = METHOD in [axis.name for axis in inputs.histograms[inputs.observable].axes]
    return {**config.select, **({METHOD: method} if has_methods else {})}


def simulation_note(templates: Templates, uncertainty: float) -> str | None:
    """A warning where simulated backgrounds are known no better than the model says they are."""
    worst = 0.0
    for region in templates.regions:
        samples = [region.nominal(name) for name in templates.backgrounds if name in region.samples]
        total = np.sum([template.values for template in samples], axis=0)
        variance = np.sum([template.variances for template in samples], axis=0)
        worst = max(worst, float(np.max(np.sqrt(variance[total > 0]) / total[total > 0], initial=0.0)))
    if worst <= 0.5 * uncertainty:
        return None
    return (
        f"the simulated background has a statistical uncertainty of up to {100 * worst:.0f}% in a bin, which the model does "
        "not include: add it with --mc-statistics"
    )
