"""Expected events by region, process and bin, before and after a fit, with the uncertainty of their sum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hhh_coffea.inference.likelihood import FitWithErrors, Likelihood
from hhh_coffea.inference.templates import FloatArray, Templates

STEP = 0.1  # of the error of a parameter, for derivatives


@dataclass(frozen=True)
class RegionYields:
    """Events of one region in each bin ``(bins,)``."""

    edges: FloatArray  # (bins + 1,)
    label: str
    processes: Mapping[str, FloatArray]
    error: FloatArray  # of the sum of all processes
    total_error: float  # of the sum of all bins
    data: FloatArray  # what was fitted: observed or Asimov


def prefit_yields(likelihood: Likelihood, templates: Templates, data: FloatArray) -> dict[str, RegionYields]:
    """At μ = 1 and nominal nuisance parameters, which vary by their constraints, uncorrelated; μ does not vary."""
    errors = constraints(likelihood)
    return _yields(likelihood, templates, likelihood.nominal(1.0), np.diag(errors**2), data)


def postfit_yields(
    likelihood: Likelihood, templates: Templates, fit: FitWithErrors, data: FloatArray
) -> dict[str, RegionYields]:
    """At the best fit, with the covariance of all parameters."""
    return _yields(likelihood, templates, fit.parameters, fit.covariance, data)


def constraints(likelihood: Likelihood) -> FloatArray:
    """Error of each nuisance parameter before the fit; 0 for parameters that are free or fixed."""
    config = likelihood.model.config
    widths = np.zeros(len(likelihood.names))
    for name in config.par_order:
        parameters = config.param_set(name)
        if parameters.constrained:
            fixed = np.array(parameters.suggested_fixed, dtype=bool)
            widths[config.par_slice(name)] = np.where(fixed, 0.0, parameters.width())
    return widths


def _yields(
    likelihood: Likelihood, templates: Templates, parameters: FloatArray, covariance: FloatArray, data: FloatArray
) -> dict[str, RegionYields]:
    config = likelihood.model.config
    by_sample = np.asarray(likelihood.model.main_model.expected_data(parameters, return_by_sample=True))
    slopes = _slopes(likelihood, parameters, np.sqrt(np.diag(covariance)))
    result = {}
    for region in templates.regions:
        place = config.channel_slices[region.name]
        slope = slopes[:, place]
        variance = np.einsum("pb,pq,qb->b", slope, covariance, slope)
        total = slope.sum(axis=1)
        result[region.name] = RegionYields(
            edges=region.edges,
            label=region.label,
            processes={
                process: by_sample[config.samples.index(process), place]
                for process in templates.processes
                if process in region.samples
            },
            error=np.sqrt(np.maximum(variance, 0)),
            total_error=float(np.sqrt(max(0.0, total @ covariance @ total))),
            data=data[: config.nmaindata][place],
        )
    return result


def _slopes(likelihood: Likelihood, parameters: FloatArray, errors: FloatArray) -> FloatArray:
    """Change of the expected events with each parameter ``(parameters, bins)``, from both sides."""
    slopes = np.zeros((len(parameters), likelihood.model.config.nmaindata))
    for index, error in enumerate(errors):
        if error == 0:
            continue
        sides = []
        for sign in (-1, 1):
            moved = parameters.copy()
            moved[index] += sign * STEP * error
            sides.append(np.asarray(likelihood.model.expected_data(moved, include_auxdata=False)))
        slopes[index] = (sides[1] - sides[0]) / (2 * STEP * error)
    return slopes
