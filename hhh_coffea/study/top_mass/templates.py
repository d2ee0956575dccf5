"""From selected events to templates: counts by category, JSF and generated mass, and the model that is fitted to them.

Generated masses are taken in steps of 1 GeV, each at the mean of its events. All parameters are linear in the mass, so
the spread within a step changes no template.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hhh_coffea.base.arrays import IntArray
from hhh_coffea.base.errors import UserError
from hhh_coffea.base.kinematics import FloatArray
from hhh_coffea.inference.top_mass.mass_fit import Histograms, asimov, fit_many
from hhh_coffea.inference.top_mass.mass_model import CATEGORIES, EDGES, MassModel, Samples, fit_model
from hhh_coffea.study.split import BoolArray
from hhh_coffea.study.top_mass.events import Selected, blocks

BINS = {name: len(edges) - 1 for name, edges in EDGES.items()}
STEP = 1.0  # GeV


@dataclass(frozen=True)
class MassSteps:
    """Steps of the generated mass. ``reference (steps,)``: events that pass the selection at a JSF of 1."""

    low: float
    number: int
    mean: FloatArray
    reference: FloatArray

    @classmethod
    def of(cls, masses: FloatArray) -> MassSteps:
        """Those of the generated masses (GeV) of all selected events."""
        if not len(masses):
            raise UserError("no template event passes the selection")
        low = float(np.floor(masses.min()))
        number = max(1, int(np.ceil((masses.max() - low) / STEP - 1e-6)))
        steps = cls(low, number, np.zeros(number), np.zeros(number))
        index = steps.index(masses)
        reference = np.bincount(index, minlength=number).astype(float)
        total = np.bincount(index, weights=masses, minlength=number)
        return cls(low, number, total / np.maximum(reference, 1), reference)

    def index(self, masses: FloatArray) -> IntArray:
        """Which step each mass is in."""
        # steps of 0.1 GeV are stored in single precision
        return np.clip(np.floor((masses - self.low) / STEP + 1e-4).astype(np.int64), 0, self.number - 1)


def samples(selected: Selected, steps: MassSteps, share: float = 1.0) -> Samples:
    """Counts of each category at each JSF and mass step; ``share`` of the reference events are in this role."""
    n_jsf = len(selected.jsf_values)
    n_samples = n_jsf * steps.number
    place = selected.jsf * steps.number + steps.index(selected.mass)
    counts: dict[str, dict[str, FloatArray]] = {}
    for number, category in enumerate(CATEGORIES):
        own = selected.category == number
        if not own.any():
            continue
        counts[category] = {
            name: np.bincount(place[own] * BINS[name] + bins[own], minlength=n_samples * BINS[name])
            .reshape(n_samples, BINS[name])
            .astype(float)
            for name, bins in (("top", selected.top_bin), ("w", selected.w_bin))
        }
    mass = np.tile(steps.mean, n_jsf)
    jsf = np.repeat(np.array(selected.jsf_values), steps.number)
    keep = np.tile(steps.reference > 0, n_jsf)
    return Samples(
        mass[keep],
        jsf[keep],
        {c: {n: v[keep] for n, v in found.items()} for c, found in counts.items()},
        np.tile(steps.reference * share, n_jsf)[keep],
    )


def mirrored(selected: Selected, steps: MassSteps) -> tuple[str, ...]:
    """Categories in which the W-boson mass is described better with the Landau's tail at low masses."""
    given = samples(selected, steps)
    plain, other = fit_model(given), fit_model(given, mirrored_w=CATEGORIES)
    return tuple(c for c in given.categories if other.shapes[c]["w"].chi2 < plain.shapes[c]["w"].chi2)


def leave_one_out(
    selected: Selected, steps: MassSteps, share: float, mirrored_w: Sequence[str], start: MassModel, number: int
) -> list[MassModel]:
    """The model without each of ``number`` blocks of events: their spread is the statistical error of the templates."""
    block = blocks(selected.split, number)
    left = share * (number - 1) / number
    return [fit_model(samples(selected[block != b], steps, left), mirrored_w, start) for b in range(number)]


def jackknife_error(values: Sequence[float] | Sequence[FloatArray] | FloatArray) -> FloatArray:
    """Standard deviation of a result from its values without each block in turn, along the first axis."""
    found = np.asarray(values)
    n = len(found)
    error: FloatArray = np.sqrt((n - 1) / n * ((found - found.mean(axis=0)) ** 2).sum(axis=0))
    return error


def histograms(selected: Selected) -> Histograms:
    """Those of all rows: what is fitted as data."""
    found = {"top": selected.top_bin, "w": selected.w_bin}
    return {name: np.bincount(bins, minlength=BINS[name]).astype(float) for name, bins in found.items()}


def resampled(selected: Selected, events: float, experiments: int, rng: np.random.Generator) -> Histograms:
    """Histograms ``(experiments, bins)`` of pseudo-experiments: events drawn with replacement, a Poisson number of them.

    Both masses of an event stay together, so their correlation is in it.
    """
    number = rng.poisson(events, size=experiments)
    owner = np.repeat(np.arange(experiments), number)
    chosen = rng.integers(0, len(selected.mass), size=int(number.sum()))
    found = {"top": selected.top_bin, "w": selected.w_bin}
    return {
        name: np.bincount(owner * BINS[name] + bins[chosen], minlength=experiments * BINS[name])
        .reshape(experiments, BINS[name])
        .astype(float)
        for name, bins in found.items()
    }


def expected_error(model: MassModel, events: float) -> FloatArray:
    """``(2, 2)`` covariance of m_t and JSF at 173 GeV and 1, of Asimov data of so many events before quality cuts."""
    selected = events * float(model.acceptance(173.0, 1.0))
    data = {name: counts[None] for name, counts in asimov(model, selected).items()}
    covariance: FloatArray = fit_many(model, data)[1][0]
    return covariance


def rows_at(selected: Selected, jsf: float) -> BoolArray:
    """Rows at one JSF."""
    found: BoolArray = selected.jsf == selected.jsf_values.index(jsf)
    return found
