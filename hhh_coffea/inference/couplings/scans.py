"""Scans over couplings: yields, limits on σ/σ(κ), and the likelihood, with a template of the signal at each point.

Templates of single monomials may be negative, so each point has a model of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from hhh_coffea.inference.binning import TransformationD, region_boundaries
from hhh_coffea.inference.checks import usable, with_background
from hhh_coffea.inference.couplings.moments import Moments
from hhh_coffea.inference.couplings.polynomial import CouplingError, Polynomial
from hhh_coffea.inference.likelihood import Likelihood
from hhh_coffea.inference.limits import Five, expected_limits
from hhh_coffea.inference.minimum import minimum
from hhh_coffea.inference.model import ModelOptions, build_workspace
from hhh_coffea.inference.templates import NOMINAL, FloatArray, Region, Template, Templates

# −2Δ ln L of 68% and 95% for one and for two parameters (Particle Data Group, statistics, table 40.2)
LEVELS = {1: {"68%": 1.0, "95%": 3.84}, 2: {"68%": 2.30, "95%": 5.99}}
Progress = Callable[[int, int], None]  # points done, points in all


@dataclass(frozen=True)
class CouplingTemplates:
    """Templates whose signals depend on couplings.

    ``moments`` holds, for each region, process and variation, what the templates of that process are made of. A process
    may depend on some of ``parameters`` only, as HH on κ3.
    """

    templates: Templates  # backgrounds, and processes at any point: those of ``moments`` are replaced
    moments: Mapping[tuple[str, str, str], Moments]  # (region, process, variation)
    parameters: tuple[str, ...]

    def __post_init__(self) -> None:
        places = {(region.name, process) for region in self.templates.regions for process in region.samples}
        for name, process, _ in self.moments:
            if (name, process) not in places or process not in self.templates.signals:
                raise CouplingError(f"moments of {process!r} in {name!r}, which is no signal in a region")
        for region in self.templates.regions:
            for process, variations in region.samples.items():
                own = {name for r, p, name in self.moments if (r, p) == (region.name, process)}
                if own and own != set(variations):
                    raise CouplingError(
                        f"region {region.name!r}, process {process!r}: moments of {sorted(own)}, "
                        f"templates of {sorted(variations)}"
                    )
        missing = {name for m in self.moments.values() for name in m.polynomial.parameters} - set(self.parameters)
        if missing:
            raise CouplingError(f"parameter {sorted(missing)[0]!r} is not among {list(self.parameters)}")

    def at(self, point: npt.ArrayLike) -> Templates:
        """Templates at one point; bins of a signal that statistics make negative count as 0."""
        regions = tuple(replace(region, samples=self._samples(region, point)) for region in self.templates.regions)
        return replace(self.templates, regions=regions)

    def yields(self, points: FloatArray) -> dict[str, FloatArray]:
        """Expected events ``(points,)`` of each signal in all regions together."""
        totals: dict[str, FloatArray] = {}
        for (_, process, variation), moments in self.moments.items():
            if variation == NOMINAL:
                part = moments.totals(self._own(moments.polynomial, points))
                totals[process] = totals.get(process, np.zeros(len(points))) + part
        return totals

    def effective_events(self, points: FloatArray) -> dict[str, FloatArray]:
        """(Σw)²/Σw² ``(points,)`` of each signal in its best region: where it is small, the template is not known."""
        found: dict[str, FloatArray] = {}
        for (_, process, variation), moments in self.moments.items():
            if variation == NOMINAL:
                part = moments.effective_events(self._own(moments.polynomial, points))
                found[process] = np.maximum(found.get(process, np.zeros(len(points))), part)
        return found

    @property
    def reference(self) -> FloatArray:
        """The point at which the signals were generated."""
        values: dict[str, float] = {}
        for moments in self.moments.values():
            values.update(zip(moments.polynomial.parameters, moments.polynomial.reference, strict=True))
        return np.array([values[name] for name in self.parameters])

    def _own(self, polynomial: Polynomial, points: npt.ArrayLike) -> FloatArray:
        columns = [self.parameters.index(name) for name in polynomial.parameters]
        own: FloatArray = np.asarray(points, dtype=np.float64)[..., columns]
        return own

    def _samples(self, region: Region, point: npt.ArrayLike) -> dict[str, Mapping[str, Template]]:
        samples = dict(region.samples)
        for process, variations in region.samples.items():
            if (region.name, process, NOMINAL) in self.moments:
                found = {}
                for name in variations:
                    moments = self.moments[region.name, process, name]
                    template = moments.at(self._own(moments.polynomial, point))
                    found[name] = Template(np.maximum(template.values, 0.0), template.variances)
                samples[process] = found
        return samples


def prepare(
    couplings: CouplingTemplates, binning: TransformationD | None = None
) -> tuple[CouplingTemplates, tuple[str, ...]]:
    """Bins and checks of :mod:`hhh_coffea.inference.binning` and ``checks``, for templates and moments alike.

    Bins are those of the reference point.
    """
    templates, left_out = with_background(couplings.at(couplings.reference))
    names = {region.name for region in templates.regions}
    moments = {key: values for key, values in couplings.moments.items() if key[0] in names}
    if binning is not None:
        cuts = {region.name: region_boundaries(region, templates, binning) for region in templates.regions}
        regions = tuple(region.rebinned(cuts[region.name]) for region in templates.regions)
        templates = replace(templates, regions=regions)
        moments = {key: values.rebinned(cuts[key[0]]) for key, values in moments.items()}
    before = {region.name: region.edges for region in templates.regions}
    templates, warnings = usable(templates)
    kept = {}
    for region in templates.regions:
        low = int(np.searchsorted(before[region.name], region.edges[0]))
        for key, values in moments.items():
            if key[0] == region.name and key[1] in region.samples:
                kept[key] = values.cut(low, low + len(region.edges) - 1)
    return CouplingTemplates(templates, kept, couplings.parameters), (*left_out, *warnings)


@dataclass(frozen=True)
class LimitScan:
    """Upper limits on σ/σ(κ) at each point; κ is excluded where the limit is below 1."""

    parameters: tuple[str, ...]
    points: FloatArray  # (points, parameters)
    limits: FloatArray  # (points, 5): −2σ … +2σ
    yields: dict[str, FloatArray]  # signal → (points,) expected events
    effective_events: dict[str, FloatArray]  # signal → (points,) what they are known by, see CouplingTemplates
    level: float

    def allowed(self) -> list[tuple[float, float]]:
        """Intervals of one parameter in which the median limit is above 1; an end of the scan is an end here too."""
        return crossings(self.points[:, 0], self.limits[:, 2] - 1.0)


@dataclass(frozen=True)
class LikelihoodScan:
    """−2Δ ln L at each point, for Asimov data at ``truth`` and a signal of strength 1 everywhere."""

    parameters: tuple[str, ...]
    points: FloatArray  # (points, parameters)
    twice_delta_nll: FloatArray  # (points,)
    truth: FloatArray

    def intervals(self) -> dict[str, list[tuple[float, float]]]:
        """Intervals of one parameter by confidence level."""
        return {name: crossings(self.points[:, 0], value - self.twice_delta_nll) for name, value in LEVELS[1].items()}

    def on_grid(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Values of the first and of the second parameter, and −2Δ ln L ``(first, second)``."""
        first, second = (np.unique(column) for column in self.points.T)
        if len(first) * len(second) != len(self.points):
            raise CouplingError("the points are no grid in two parameters")
        order = np.lexsort((self.points[:, 1], self.points[:, 0]))
        return first, second, self.twice_delta_nll[order].reshape(len(first), len(second))


def scan_limits(
    couplings: CouplingTemplates,
    points: FloatArray,
    options: ModelOptions,
    level: float = 0.95,
    progress: Progress = lambda _done, _all: None,
) -> LimitScan:
    """Median limit without signal, and its bands, at each point ``(points, parameters)``."""
    limits: list[Five] = []
    for number, point in enumerate(points, start=1):
        workspace = build_workspace(couplings.at(point), options, validate=number == 1)
        limits.append(expected_limits(Likelihood(workspace), level).expected)
        progress(number, len(points))
    known = couplings.effective_events(points)
    return LimitScan(couplings.parameters, points, np.array(limits), couplings.yields(points), known, level)


def scan_likelihood(
    couplings: CouplingTemplates,
    points: FloatArray,
    options: ModelOptions,
    truth: npt.ArrayLike | None = None,
    *,
    unblind: bool = False,
    progress: Progress = lambda _done, _all: None,
) -> LikelihoodScan:
    """−2Δ ln L at each point ``(points, parameters)``, nuisance parameters fitted.

    Parameters
    ----------
    truth
        of the Asimov data; the point at which the signals were generated if None
    unblind
        fit the observed events of the templates instead; −2 ln L is then relative to its smallest value in the scan
    """
    truth = couplings.reference if truth is None else np.asarray(truth, dtype=np.float64)
    data = Likelihood(build_workspace(couplings.at(truth), options, observed=unblind)).observed
    values = []
    for number, point in enumerate(points, start=1):
        likelihood = Likelihood(build_workspace(couplings.at(point), options, validate=False))
        values.append(minimum(likelihood, data, mu=1.0).twice_nll)
        progress(number, len(points))
    found = np.array(values)
    # Asimov data are fitted exactly at the truth: −2 ln L is 0 there
    return LikelihoodScan(couplings.parameters, points, found - (found.min() if unblind else 0.0), truth)


def crossings(x: FloatArray, height: FloatArray) -> list[tuple[float, float]]:
    """Intervals of rising ``x`` in which ``height`` is positive, edges by linear interpolation."""
    order = np.argsort(x)
    x, height = x[order], height[order]
    intervals: list[tuple[float, float]] = []
    start = float(x[0]) if height[0] > 0 else None
    for i in range(1, len(x)):
        if (height[i] > 0) == (height[i - 1] > 0):
            continue
        edge = float(x[i - 1] + (x[i] - x[i - 1]) * height[i - 1] / (height[i - 1] - height[i]))
        if start is None:
            start = edge
        else:
            intervals.append((start, edge))
            start = None
    if start is not None:
        intervals.append((start, float(x[-1])))
    return intervals
