"""Several samples of one signal, generated at different couplings, as one process that is known at any couplings.

The sum of all samples, each scaled to its own cross section and weighted by ℓ_i(κ), is the prediction at κ; for three samples
of HH ℓ_i are Lagrange's polynomials. ℓ_i may be negative: statistical errors grow away from the points.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from hhh_coffea.inference.couplings.moments import Moments
from hhh_coffea.inference.couplings.polynomial import Polynomial, pairs, sample_coefficients
from hhh_coffea.inference.templates import NOMINAL, FloatArray, Region, Template, Templates

ByPlace = dict[tuple[str, str, str], Moments]  # (region, process, variation)


@dataclass(frozen=True)
class SampleSet:
    """Samples of one process, and the points ``(samples, parameters)`` at which they were generated."""

    process: str
    samples: tuple[str, ...]
    polynomial: Polynomial
    points: FloatArray

    def moments(self, templates: Mapping[str, Template]) -> Moments:
        """Of one template of each sample, scaled to its own cross section."""
        coefficients = sample_coefficients(self.polynomial, self.points)  # (samples, monomials)
        first, second = pairs(len(self.polynomial))
        values = np.stack([templates[name].values for name in self.samples], axis=1)  # (bins, samples)
        variances = np.stack([templates[name].variances for name in self.samples], axis=1)
        products = coefficients[:, first] * coefficients[:, second]
        return Moments(self.polynomial, values @ coefficients, variances @ products)


def combine(templates: Templates, together: SampleSet) -> tuple[Templates, ByPlace]:
    """Put one process at the reference point in place of its samples; and what its templates are made of.

    A variation that a sample does not have leaves that sample as it is.

    Raises
    ------
    CouplingError
        if there are not as many samples as coefficients, or if their points do not determine them.
    """
    moments: ByPlace = {}
    regions = []
    for region in templates.regions:
        own, empty = _samples(region, together), Template(*np.zeros((2, len(region.edges) - 1)))
        variations = dict.fromkeys(name for found in own.values() for name in found)
        combined = {}
        for name in variations:
            parts = {s: own[s].get(name, own[s].get(NOMINAL, empty)) for s in together.samples}
            moments[region.name, together.process, name] = found = together.moments(parts)
            combined[name] = found.at(together.polynomial.reference)
        others = {process: found for process, found in region.samples.items() if process not in together.samples}
        regions.append(replace(region, samples={**others, **({together.process: combined} if combined else {})}))
    signals = tuple(dict.fromkeys(together.process if s in together.samples else s for s in templates.signals))
    return replace(templates, regions=tuple(regions), signals=signals), moments


def _samples(region: Region, together: SampleSet) -> dict[str, Mapping[str, Template]]:
    return {sample: region.samples.get(sample, {}) for sample in together.samples}
