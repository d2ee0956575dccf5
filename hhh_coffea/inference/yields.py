"""Expected events by region, process and bin, before and after a fit, with the uncertainty of their sum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hhh_coffea.inference.likelihood import Likelihood
from hhh_coffea.inference.minimum import BestFit
from hhh_coffea.inference.templates import FloatArray, Templates


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
    return _yields(likelihood, templates, likelihood.nominal(1.0), np.diag(likelihood.prior_errors**2), data)


def postfit_yields(
    likelihood: Likelihood, templates: Templates, best: BestFit, data: FloatArray
) -> dict[str, RegionYields]:
    """At the best fit, with the covariance of all parameters."""
    return _yields(likelihood, templates, best.parameters, best.covariance, data)


def _yields(
    likelihood: Likelihood, templates: Templates, parameters: FloatArray, covariance: FloatArray, data: FloatArray
) -> dict[str, RegionYields]:
    config = likelihood.model.config
    by_sample = np.asarray(likelihood.model.main_model.expected_data(parameters, return_by_sample=True))
    slopes = likelihood.slopes(parameters)[:, : config.nmaindata]
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
