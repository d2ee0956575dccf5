"""What a model needs of templates: what cannot be used is an error, what can be left out is a warning, both by name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hhh_coffea.base.errors import listed
from hhh_coffea.inference.templates import DOWN, NOMINAL, UP, FloatArray, Region, Template, TemplateError, Templates


def usable(templates: Templates) -> tuple[Templates, tuple[str, ...]]:
    """The templates without what is empty, and warnings that name everything that was left out or changed.

    - A process without events in a region, and a region that no event passes, are left out.
    - Empty bins at the ends of the range are left out.
    - A negative bin of a process counts as 0.
    - A source of uncertainty with one direction is mirrored at the nominal template.

    Raises
    ------
    TemplateError
        for values that are not numbers, negative totals, bins without background, a signal or a background that has no
        events in any region, and variations that are empty where the nominal template is not.
    """
    warnings: list[str] = []
    if unknown := set(templates.signals) - set(templates.processes):
        raise TemplateError(f"signal {sorted(unknown)[0]!r} is in no region; there are {listed(templates.processes)}")
    if not templates.signals:
        raise TemplateError(f"no process is a signal; there are {listed(templates.processes)}")
    if not templates.backgrounds:
        raise TemplateError(f"no process is a background; there are {listed(templates.processes)}")
    regions = [_region(region, warnings) for region in templates.regions]
    kept = tuple(_trimmed(region, templates, warnings) for region in regions if region.samples)
    if not kept:
        raise TemplateError(f"no event passes any region ({_names(templates)})")
    result = replace(templates, regions=kept)
    for signal in templates.signals:
        if signal not in result.processes:
            raise TemplateError(f"signal {signal!r} has no events in any region ({_names(templates)})")
    return result, tuple(warnings)


def with_background(templates: Templates) -> tuple[Templates, tuple[str, ...]]:
    """The regions that have background events, and warnings that name the others: no model can be made of them.

    Raises
    ------
    TemplateError
        if no region has any.
    """
    kept, warnings = [], []
    for region in templates.regions:
        if region.total(templates.backgrounds).any():
            kept.append(region)
        else:
            passes = "only signal" if region.total(templates.signals).any() else "no event"
            warnings.append(f"region {region.name!r}: {passes} passes; the region is left out")
    if not kept:
        raise TemplateError(f"no background event is in any region ({_names(templates)})")
    return replace(templates, regions=tuple(kept)), tuple(warnings)


def _names(templates: Templates) -> str:
    return ", ".join(region.name for region in templates.regions)


def _region(region: Region, warnings: list[str]) -> Region:
    samples = {}
    for process, variations in region.samples.items():
        where = f"region {region.name!r}, process {process!r}"
        if NOMINAL not in variations:
            raise TemplateError(f"{where}: there is no {NOMINAL!r} template; it has {listed(variations)}")
        for name, template in variations.items():
            _finite(f"{where}, variation {name!r}", template)
        nominal = variations[NOMINAL]
        if not nominal.values.any() and not nominal.variances.any():
            warnings.append(f"{where}: no events; the process is left out of this region")
            continue
        clean = {
            name: _not_negative(f"{where}, variation {name!r}", template, warnings)
            for name, template in variations.items()
        }
        samples[process] = _both_directions(where, clean, warnings)
    if not samples:
        warnings.append(f"region {region.name!r}: no event passes; the region is left out")
    if region.data is not None and not (np.isfinite(region.data).all() and (region.data >= 0).all()):
        raise TemplateError(f"region {region.name!r}: the observed events are negative or not numbers")
    return replace(region, samples=samples)


def _finite(where: str, template: Template) -> None:
    if not (np.isfinite(template.values).all() and np.isfinite(template.variances).all()):
        raise TemplateError(f"{where}: not every bin is a finite number")


def _not_negative(where: str, template: Template, warnings: list[str]) -> Template:
    if template.total <= 0:
        raise TemplateError(f"{where}: the total of all bins is {template.total:g}, which must be above 0")
    negative = template.values < 0
    if not negative.any():
        return template
    lost = -template.values[negative].sum() / template.total
    bins = np.flatnonzero(negative).tolist()
    warnings.append(f"{where}: bins {bins} are negative ({lost:.2g} of the total) and count as 0")
    return Template(np.where(negative, 0.0, template.values), template.variances)


def _both_directions(where: str, variations: dict[str, Template], warnings: list[str]) -> dict[str, Template]:
    result, nominal = dict(variations), variations[NOMINAL]
    for name, template in variations.items():
        for direction, other in ((UP, DOWN), (DOWN, UP)):
            if not name.endswith(direction):
                continue
            opposite = name.removesuffix(direction) + other
            if opposite not in variations:
                mirrored = np.maximum(2 * nominal.values - template.values, 0)
                result[opposite] = Template(mirrored, template.variances)
                warnings.append(f"{where}: {name!r} has no {opposite!r}; it is mirrored at the nominal template")
        if name != NOMINAL and not name.endswith((UP, DOWN)):
            raise TemplateError(f"{where}: variation {name!r} must end in {UP!r} or {DOWN!r}")
    return result


def _trimmed(region: Region, templates: Templates, warnings: list[str]) -> Region:
    """Without empty bins at the ends; every bin that is left must have background."""
    everything = region.total(templates.processes)
    filled = np.flatnonzero(everything)
    low, high = int(filled[0]), int(filled[-1]) + 1
    if low > 0 or high < len(everything):
        inside = region.edges[low], region.edges[high]
        observed = 0.0 if region.data is None else region.data.sum() - region.data[low:high].sum()
        if observed > 0:
            raise TemplateError(f"region {region.name!r}: {observed:g} observed events where no event is expected")
        warnings.append(
            f"region {region.name!r}: no events outside {inside[0]:g} to {inside[1]:g}; those bins are left out"
        )
        region = _cut(region, low, high)
    background = region.total(templates.backgrounds)
    if (empty := np.flatnonzero(background <= 0)).size:
        ranges = [f"{region.edges[i]:g} to {region.edges[i + 1]:g}" for i in empty[:3]]
        raise TemplateError(
            f"region {region.name!r}: no background in {len(empty)} bins (first: {', '.join(ranges)}); "
            "use wider bins or automatic binning"
        )
    return region


def _cut(region: Region, low: int, high: int) -> Region:
    def part(values: FloatArray) -> FloatArray:
        return values[low:high]

    samples = {
        process: {name: Template(part(t.values), part(t.variances)) for name, t in variations.items()}
        for process, variations in region.samples.items()
    }
    data = None if region.data is None else part(region.data)
    return replace(region, edges=region.edges[low : high + 1], samples=samples, data=data)
