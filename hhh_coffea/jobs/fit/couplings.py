"""Scans over the self-couplings in a fit: limits on σ/σ(κ), the likelihood, and how well the templates are known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from hhh_coffea.inference.couplings.moments import Moments, moments_of
from hhh_coffea.inference.couplings.polynomial import grid
from hhh_coffea.inference.couplings.samples import ByPlace
from hhh_coffea.inference.couplings.scans import (
    CouplingTemplates,
    LikelihoodScan,
    LimitScan,
    prepare,
    scan_likelihood,
    scan_limits,
)
from hhh_coffea.inference.table import number
from hhh_coffea.inference.templates import NOMINAL, FloatArray, Templates
from hhh_coffea.jobs.fit.config import FitConfig
from hhh_coffea.jobs.fit.templates import DEFAULT, FitError, Inputs, polynomial_of
from hhh_coffea.reconstruction.observables import EVERYWHERE
from hhh_coffea.results.event_observables import LEADING_MASS, PREFIX, coupling_names
from hhh_coffea.results.histograms import usual
from hhh_coffea.results.observables import REGION, values_of

POINTS_IN_PLANE = 21  # of each coupling in a scan of two, unless the user says how many
FEW = 0.1  # effective events relative to those at the reference below which a warning says so
Step = Callable[[], None]


@dataclass(frozen=True)
class CouplingScans:
    """Scans of one method."""

    limits: dict[str, LimitScan]  # by coupling, the others at their values in the standard model
    likelihoods: dict[str, LikelihoodScan]
    plane: LikelihoodScan | None  # of two couplings
    warnings: tuple[str, ...]

    def summary(self) -> dict[str, Any]:
        """What ``fit.json`` keeps, in plain numbers."""
        found: dict[str, Any] = {}
        for name, limit in self.limits.items():
            likelihood = self.likelihoods[name]
            found[name] = {
                "values": limit.points[:, 0].tolist(),
                "limits": limit.limits.tolist(),
                "allowed": limit.allowed(),
                "yields": {process: values.tolist() for process, values in limit.yields.items()},
                "effective_events": {process: values.tolist() for process, values in limit.effective_events.items()},
                "twice_delta_nll": likelihood.twice_delta_nll.tolist(),
                "intervals": likelihood.intervals(),
            }
        if self.plane is not None:
            first, second, values = self.plane.on_grid()
            found["plane"] = {
                "parameters": list(self.plane.parameters),
                "first": first.tolist(),
                "second": second.tolist(),
                "twice_delta_nll": values.tolist(),
            }
        return found


def points_of(config: FitConfig) -> int:
    """Fits that the scans of one method take: what a progress bar counts."""
    lines = sum(2 * wanted.points for wanted in config.scan.values())
    return lines + (len(_plane(config)) if len(config.scan) == 2 else 0)


def scan(
    config: FitConfig, inputs: Inputs, method: str, templates: Templates, combined: ByPlace, step: Step
) -> CouplingScans:
    """Scan every coupling by itself, and two of them in the plane.

    Parameters
    ----------
    templates, combined
        of :func:`hhh_coffea.jobs.fit.templates.templates_of`
    step
        is called after each point

    Raises
    ------
    UserError
        if the results hold no histograms of this signal and observable at other couplings, or if the rate of the signal does
        not depend on a coupling.
    """
    couplings, notes = prepare(_coupling_templates(config, inputs, method, templates, combined), config.shares)
    for name in config.scan:
        if name not in couplings.parameters:
            raise FitError(
                f"option 'scan': {', '.join(inputs.processes)} does not depend on {name!r}, but on "
                f"{', '.join(couplings.parameters)}"
            )

    def on_point(_done: int, _all: int) -> None:
        step()

    limits, likelihoods, warnings = {}, {}, list(notes)
    reference = couplings.reference
    for name, wanted in config.scan.items():
        column = couplings.parameters.index(name)
        values = np.linspace(wanted.low, wanted.high, wanted.points)
        points = np.tile(reference, (len(values), 1))
        points[:, column] = values
        limit = scan_limits(couplings, points, config.model, config.level, progress=on_point)
        likelihood = scan_likelihood(couplings, points, config.model, unblind=config.unblind, progress=on_point)
        own, line = (name,), values[:, None]
        limits[name] = replace(limit, parameters=own, points=line)
        likelihoods[name] = replace(likelihood, parameters=own, points=line, truth=reference[[column]])
        warnings += _few_events(couplings, name, values, limit)
    plane = None
    if len(config.scan) == 2:
        if couplings.parameters != tuple(sorted(config.scan)):
            raise FitError(f"option 'scan': the signal depends on {', '.join(couplings.parameters)}")
        plane = scan_likelihood(couplings, _plane(config), config.model, unblind=config.unblind, progress=on_point)
    return CouplingScans(limits, likelihoods, plane, tuple(dict.fromkeys(warnings)))


def _plane(config: FitConfig) -> FloatArray:
    axes = []
    for _, wanted in sorted(config.scan.items()):
        points = wanted.points if "points" in wanted.model_fields_set else POINTS_IN_PLANE
        axes.append(np.linspace(wanted.low, wanted.high, points))
    return grid(*axes)


def _coupling_templates(
    config: FitConfig, inputs: Inputs, method: str, templates: Templates, combined: ByPlace
) -> CouplingTemplates:
    moments: dict[tuple[str, str, str], Moments] = dict(combined)
    for signal in inputs.signals if not combined else ():
        info = inputs.datasets[signal]
        observable = inputs.observable.removeprefix(PREFIX)
        if inputs.observable == DEFAULT and str(config.select.get("rank", 0)) == "0":
            observable = LEADING_MASS
        names = coupling_names(observable, str(info["analysis"]))
        if "couplings" not in info or names[0] not in inputs.histograms:
            raise FitError(
                f"option 'scan': the results have no histogram of {observable!r} for {signal!r} at other couplings: "
                "hhh run --couplings fills those of the observables that it declares, else of the leading mass"
            )
        polynomial = polynomial_of(info)
        sums, products = usual({name: inputs.histograms[name] for name in names}).values()
        for region in templates.regions:
            place = {
                "region": EVERYWHERE if REGION not in _axes(inputs) else region.name,
                "dataset": signal,
                "method": method,
            }
            if missing := [name for axis, name in place.items() if name not in values_of(sums, axis)]:
                raise FitError(f"option 'scan': no {missing[0]!r} in histogram {names[0]!r}")
            found = moments_of(polynomial, (sums, products), place)
            if found.sums.shape[0] != len(region.edges) - 1:
                raise FitError(f"option 'scan': histogram {names[0]!r} has other bins than {inputs.observable!r}")
            moments[region.name, signal, NOMINAL] = found.scaled(inputs.scales[signal])
    parameters = dict.fromkeys(name for m in moments.values() for name in m.polynomial.parameters)
    return CouplingTemplates(templates, moments, tuple(sorted(parameters)))


def _axes(inputs: Inputs) -> list[str]:
    return [axis.name for axis in inputs.histograms[inputs.observable].axes]


def _few_events(couplings: CouplingTemplates, name: str, values: FloatArray, limit: LimitScan) -> list[str]:
    """Where reweighted events are so unequal that few of them make the template."""
    at_reference = couplings.effective_events(couplings.reference[None, :])
    found = []
    for process, known in limit.effective_events.items():
        whole = float(at_reference[process][0])
        if (bad := known < FEW * whole).any():
            worst = int(np.argmin(known))
            found.append(
                f"{process}: reweighted to {name} = {_ranges(values, bad)}, fewer than {FEW:.0%} of the {number(whole)} "
                f"effective events are left (at {values[worst]:g}: {number(float(known[worst]))}); "
                "samples generated at other couplings would be better"
            )
    return found


def _ranges(values: FloatArray, chosen: npt.NDArray[np.bool_]) -> str:
    """Neighbouring values as ranges: ``-5 to -2, 1.5 to 10``."""
    starts = np.flatnonzero(chosen & ~np.concatenate([[False], chosen[:-1]]))
    ends = np.flatnonzero(chosen & ~np.concatenate([chosen[1:], [False]]))
    texts = [
        f"{values[a]:g}" if a == b else f"{values[a]:g} to {values[b]:g}" for a, b in zip(starts, ends, strict=True)
    ]
    return ", ".join(texts)
