"""From templates to a result: significance, limits, best fit, pulls, likelihood scan, yields before and after the fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from pydantic import Field

from hhh_coffea.base.strict import Strict
from hhh_coffea.inference.binning import TransformationD, rebinned
from hhh_coffea.inference.checks import usable, with_background
from hhh_coffea.inference.likelihood import Likelihood
from hhh_coffea.inference.limits import (
    Limits,
    expected_limits,
    expected_significance,
    observed_limits,
    observed_significance,
)
from hhh_coffea.inference.minimum import BestFit, best_fit, minimum
from hhh_coffea.inference.model import ModelError, ModelOptions, Workspace, build_workspace
from hhh_coffea.inference.templates import FloatArray, Templates
from hhh_coffea.inference.yields import RegionYields, postfit_yields, prefit_yields

SCAN_REACH = 3.0  # errors of μ on both sides
Progress = Callable[[str], None]  # is told what is done next


class FitOptions(Strict):
    """What is fitted and how."""

    model: ModelOptions = ModelOptions()
    binning: TransformationD | None = Field(None, description="automatic binning; the bins of the templates if None")
    unblind: bool = Field(False, description="use the observed events; Asimov data at μ = 1 otherwise")
    level: float = Field(0.95, gt=0.5, lt=1, description="confidence level of limits")
    scan_points: int = Field(31, ge=0, description="of −2Δ ln L over μ; 0 for none")
    compare: tuple[Literal["shapesys", "normsys", "normsys_both"], ...] = Field(
        ("normsys",), description="other models of the background, for the expected significance and limit"
    )


@dataclass(frozen=True)
class Pull:
    """One nuisance parameter after the fit, in units of its error before."""

    name: str
    pull: float  # (fitted − nominal) / error before
    constraint: float  # error after / error before


@dataclass(frozen=True)
class Scan:
    """−2Δ ln L, the nuisance parameters fitted at each point."""

    mu: FloatArray  # (points,)
    twice_delta_nll: FloatArray  # (points,)


@dataclass(frozen=True)
class FitResult:
    """Everything that figures, tables and files of a fit are made of."""

    templates: Templates  # what was fitted, after checks and binning
    workspace: Workspace
    options: FitOptions
    warnings: tuple[str, ...]
    significance: float  # expected, Asimov at μ = 1
    observed_significance: float | None
    limits: Limits
    best_fit: BestFit
    pulls: tuple[Pull, ...]
    scan: Scan | None
    prefit: dict[str, RegionYields]
    postfit: dict[str, RegionYields]
    alternatives: dict[str, tuple[float, Limits]] = field(
        default_factory=dict
    )  # model → expected (significance, limits)

    def summary(self) -> dict[str, Any]:
        """What a JSON file keeps, in plain numbers; the schema is versioned."""
        fit, limits = self.best_fit, self.limits
        return {
            "schema": 1,
            "options": self.options.model_dump(mode="json"),
            "signals": list(self.templates.signals),
            "luminosity": self.templates.luminosity,
            "unblinded": self.options.unblind,
            "significance": {"expected": self.significance, "observed": self.observed_significance},
            "limit": {
                "level": limits.level,
                "expected": dict(zip(("-2", "-1", "0", "1", "2"), limits.expected, strict=True)),
                "observed": limits.observed,
            },
            "best_fit": {"mu": fit.mu, "error": fit.mu_error, "minos": fit.mu_errors},
            "pulls": [{"name": p.name, "pull": p.pull, "constraint": p.constraint} for p in self.pulls],
            "scan": None
            if self.scan is None
            else {"mu": self.scan.mu.tolist(), "twice_delta_nll": self.scan.twice_delta_nll.tolist()},
            "alternatives": {
                name: {
                    "significance": z,
                    "median_limit": limits.median,
                    "expected": dict(zip(("-2", "-1", "0", "1", "2"), limits.expected, strict=True)),
                }
                for name, (z, limits) in self.alternatives.items()
            },
            "yields": {"prefit": _plain(self.prefit), "postfit": _plain(self.postfit)},
            "warnings": list(self.warnings),
        }


def fit(templates: Templates, options: FitOptions | None = None, progress: Progress = lambda _: None) -> FitResult:
    """Build the model of the templates and fit it.

    Asimov data are the default: the data of the templates are neither fitted nor compared unless
    ``options.unblind`` is set.

    Raises
    ------
    TemplateError
        if the templates cannot be used, see :func:`hhh_coffea.inference.checks.usable`.
    ModelError
        if ``unblind`` is set but a region has no data, or if a fit does not converge.
    """
    options = options or FitOptions()
    templates, left_out = with_background(templates)
    if options.binning is not None:
        templates = rebinned(templates, options.binning)
    templates, warnings = usable(templates)
    warnings = (*left_out, *warnings)
    without = [region.name for region in templates.regions if region.data is None]
    if options.unblind and without:
        raise ModelError(f"unblind: region {without[0]!r} has no observed events")
    workspace = build_workspace(templates, options.model, observed=options.unblind)
    likelihood = Likelihood(workspace)
    data = likelihood.observed
    progress("significance")
    significance = expected_significance(likelihood)
    observed = observed_significance(likelihood, data) if options.unblind else None
    progress("limits")
    blind = expected_limits(likelihood, options.level)
    limits = observed_limits(likelihood, data, options.level) if options.unblind else blind
    progress("best fit")
    best = best_fit(likelihood, data)
    alternatives: dict[str, tuple[float, Limits]] = {}
    for name in options.compare:
        if name != options.model.background_model:
            progress(f"model {name}")
            other = options.model.model_copy(update={"background_model": name})
            compared = Likelihood(build_workspace(templates, other, observed=False))
            alternatives[name] = expected_significance(compared), expected_limits(compared, options.level)
    progress("scan")
    return FitResult(
        templates=templates,
        workspace=workspace,
        options=options,
        warnings=warnings,
        significance=significance,
        observed_significance=observed,
        limits=limits,
        best_fit=best,
        pulls=_pulls(likelihood, best),
        scan=scan_mu(likelihood, best, data, options.scan_points) if options.scan_points else None,
        prefit=prefit_yields(likelihood, templates, data),
        postfit=postfit_yields(likelihood, templates, best, data),
        alternatives=alternatives,
    )


def scan_mu(likelihood: Likelihood, best: BestFit, data: FloatArray, points: int) -> Scan:
    """−2Δ ln L at equal steps of μ, three errors to both sides of the best fit, not below 0."""
    low = max(0.0, best.mu - SCAN_REACH * best.mu_error)
    mu = np.linspace(low, best.mu + SCAN_REACH * best.mu_error, points)
    values = np.array([minimum(likelihood, data, float(value)).twice_nll for value in mu])
    return Scan(mu, np.maximum(values - best.twice_nll, 0.0))


def _pulls(likelihood: Likelihood, best: BestFit) -> tuple[Pull, ...]:
    before, nominal = likelihood.prior_errors, likelihood.nominal(1.0)
    after = np.sqrt(np.diag(best.covariance))
    return tuple(
        Pull(
            name,
            float((best.parameters[i] - nominal[i]) / before[i]),
            float(after[i] / before[i]),
        )
        for i, name in enumerate(likelihood.names)
        if before[i] > 0
    )


def _plain(yields: dict[str, RegionYields]) -> dict[str, Any]:
    return {
        name: {
            "edges": region.edges.tolist(),
            "processes": {process: values.tolist() for process, values in region.processes.items()},
            "error": region.error.tolist(),
            "total_error": region.total_error,
            "data": region.data.tolist(),
        }
        for name, region in yields.items()
    }
