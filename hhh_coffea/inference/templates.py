"""Templates: expected events by region, process, variation and bin of the observable, with their variances."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import hist
import numpy as np
import numpy.typing as npt
from hist import Hist

from hhh_coffea.base.errors import UserError

FloatArray = npt.NDArray[np.float64]
NOMINAL = "nominal"
UP, DOWN = "_up", "_down"  # a source of uncertainty ``jer`` has the variations ``jer_up`` and ``jer_down``


class TemplateError(UserError):
    """Templates that no model can be made of; the message names region, process and variation."""


@dataclass(frozen=True)
class Template:
    """Expected events in each bin ``(bins,)`` and the sums of squared weights ``(bins,)``."""

    values: FloatArray
    variances: FloatArray

    @property
    def total(self) -> float:
        """Expected events in all bins."""
        return float(self.values.sum())

    def scaled(self, factor: float) -> Template:
        """The same shape with ``factor`` times the events."""
        return Template(self.values * factor, self.variances * factor**2)

    def merged(self, starts: npt.NDArray[np.int64]) -> Template:
        """Bins added up from each of ``starts`` to the next."""
        return Template(np.add.reduceat(self.values, starts), np.add.reduceat(self.variances, starts))


@dataclass(frozen=True)
class Region:
    """One observable in one region of phase space."""

    name: str
    edges: FloatArray  # (bins + 1,)
    samples: Mapping[str, Mapping[str, Template]]  # process → variation → template; every process has ``nominal``
    data: FloatArray | None = None  # (bins,) observed events
    label: str = ""  # of the observable, with its unit

    def nominal(self, process: str) -> Template:
        """The nominal template of a process."""
        return self.samples[process][NOMINAL]

    def total(self, processes: Collection[str]) -> FloatArray:
        """Nominal expected events of several processes in each bin; 0 where this region has none of them."""
        parts = [self.nominal(process).values for process in processes if process in self.samples]
        return np.sum(parts, axis=0) if parts else np.zeros(len(self.edges) - 1)

    def rebinned(self, boundaries: npt.NDArray[np.int64]) -> Region:
        """Keep the edges at these positions of ``edges``; the first must be 0 and the last the number of bins."""
        starts = boundaries[:-1]
        samples = {
            process: {name: template.merged(starts) for name, template in variations.items()}
            for process, variations in self.samples.items()
        }
        data = None if self.data is None else np.add.reduceat(self.data, starts)
        return replace(self, edges=self.edges[boundaries], samples=samples, data=data)


@dataclass(frozen=True)
class Templates:
    """All regions of one model; every process that is not a signal is background."""

    regions: tuple[Region, ...]
    signals: tuple[str, ...]
    luminosity: float | None = None  # fb⁻¹, for labels

    @property
    def processes(self) -> tuple[str, ...]:
        """Every process of any region: backgrounds first, in the order in which they appear."""
        found = dict.fromkeys(process for region in self.regions for process in region.samples)
        return tuple(sorted(found, key=lambda process: process in self.signals))

    @property
    def backgrounds(self) -> tuple[str, ...]:
        """Every process that is not a signal."""
        return tuple(process for process in self.processes if process not in self.signals)

    @property
    def sources(self) -> tuple[str, ...]:
        """Sources of uncertainty that any process has variations of."""
        names = {
            name.removesuffix(UP).removesuffix(DOWN)
            for region in self.regions
            for variations in region.samples.values()
            for name in variations
            if name != NOMINAL
        }
        return tuple(sorted(names))

    def scaled(self, factors: Mapping[str, float]) -> Templates:
        """Multiply processes by factors, see :func:`hhh_coffea.datasets.normalisation.event_scales`; data stay."""
        regions = tuple(
            replace(
                region,
                samples={
                    process: {name: t.scaled(factors.get(process, 1.0)) for name, t in variations.items()}
                    for process, variations in region.samples.items()
                },
            )
            for region in self.regions
        )
        return replace(self, regions=regions)


def from_histogram(
    histogram: Hist,
    signals: Collection[str],
    *,
    region_axis: str = "region",
    process_axis: str = "dataset",
    variation_axis: str = "variation",
    data: Collection[str] = (),
    luminosity: float | None = None,
) -> Templates:
    """Templates of a histogram with the axes region × process × variation × observable.

    Axes of regions and of variations may be missing: there is then one region called ``all``, or no variation.
    Under- and overflow count in the first and in the last bin, so that no event is lost.

    Parameters
    ----------
    histogram
        weighted storage; one numeric axis besides the three of names
    signals
        processes whose rate is the parameter of interest
    data
        processes that are observed events

    Raises
    ------
    TemplateError
        naming an axis that is missing or that must be chosen first, or a signal that no bin belongs to.
    """
    names = [axis.name for axis in histogram.axes]
    if process_axis not in names:
        raise TemplateError(f"the histogram has no axis {process_axis!r} of processes; it has {names}")
    known = {region_axis, process_axis, variation_axis}
    numeric = [axis for axis in histogram.axes if axis.name not in known]
    if len(numeric) != 1 or isinstance(numeric[0], hist.axis.StrCategory | hist.axis.IntCategory):
        left = [axis.name for axis in numeric]
        raise TemplateError(f"one numeric axis is the observable, but the histogram has {left}: choose values first")
    processes = [str(name) for name in histogram.axes[process_axis]]
    if unknown := [name for name in (*signals, *data) if name not in processes]:
        raise TemplateError(f"process {unknown[0]!r} is not in the histogram; it has {processes}")
    regions = [str(name) for name in histogram.axes[region_axis]] if region_axis in names else ["all"]
    variations = [str(name) for name in histogram.axes[variation_axis]] if variation_axis in names else [NOMINAL]
    if NOMINAL not in variations:
        raise TemplateError(f"axis {variation_axis!r} has no {NOMINAL!r}; it has {variations}")

    def read(region: str, process: str, variation: str) -> Template:
        chosen: dict[str, Any] = {process_axis: hist.loc(process)}
        chosen |= {region_axis: hist.loc(region)} if region_axis in names else {}
        chosen |= {variation_axis: hist.loc(variation)} if variation_axis in names else {}
        return _with_flow(histogram[chosen])

    found = []
    for region in regions:
        nominal = {process: read(region, process, NOMINAL) for process in processes}
        samples = {process: {NOMINAL: nominal[process]} for process in processes if process not in data}
        for process, found_variations in samples.items():
            for variation in variations:
                # a process that a variation does not concern never filled it
                if variation != NOMINAL and (template := read(region, process, variation)).variances.any():
                    found_variations[variation] = template
        observed = np.sum([nominal[name].values for name in data], axis=0) if data else None
        found.append(Region(region, np.asarray(numeric[0].edges), samples, observed, numeric[0].label))
    return Templates(tuple(found), tuple(signals), luminosity)


def _with_flow(histogram: Hist) -> Template:
    """Bins with under- and overflow added to the outer ones."""
    values, variances = histogram.values(flow=True), histogram.variances(flow=True)
    traits = histogram.axes[0].traits
    low, high = int(traits.underflow), int(traits.overflow)
    parts = []
    for flow in (values, variances):
        inside = np.array(flow[low : len(flow) - high], dtype=np.float64)
        inside[0] += flow[0] if low else 0
        inside[-1] += flow[-1] if high else 0
        parts.append(inside)
    return Template(*parts)
