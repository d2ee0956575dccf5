"""Choice of each method's quality cut: the one with the smallest expected error of m_t, on events of the tuning role alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hhh_coffea.inference.top_mass.mass_model import MassModel, fit_model
from hhh_coffea.inference.top_mass.mass_shapes import ShapeError
from hhh_coffea.study.top_mass.events import Selected
from hhh_coffea.study.top_mass.templates import MassSteps, expected_error, rows_at, samples

QUANTILES = 40
FEWEST = 600  # events at a JSF of 1: with fewer, templates are too uncertain to compare
NOMINAL_EVENTS = 100_000.0  # of which the error is expected; ratios do not depend on it


def tune(
    selected: Selected, steps: MassSteps, share: float, mirrored_w: Sequence[str], quantiles: int = QUANTILES
) -> dict[str, Any]:
    """Expected error of m_t for cuts at quantiles of the quality, and the cut at its minimum.

    Returns ``{"cut", "quantiles", "cuts", "errors"}``; errors (GeV) are those of :data:`NOMINAL_EVENTS` selected events. The
    minimum is that of a mean over three neighbours, for errors fluctuate with the templates.
    """
    at_one = rows_at(selected, 1.0)
    grid = np.arange(quantiles) / quantiles
    cuts = np.quantile(selected.quality[at_one], grid)
    errors, start = [], None
    for cut in cuts:
        keep = selected.quality >= cut
        if (keep & at_one).sum() < FEWEST:
            break
        try:
            model = fit_model(samples(selected[keep], steps, share), mirrored_w, start)
        except ShapeError:
            break
        errors.append(_error(model))
        start = model
    if not errors:
        raise ShapeError(f"{int(at_one.sum())} tuning events in the mass window are too few; use more events")
    smooth = np.convolve(np.pad(errors, 1, mode="edge"), np.ones(3) / 3, mode="valid")
    best = int(np.argmin(smooth))
    return {
        "cut": float(cuts[best]) if best else None,  # None: every event
        "quantiles": grid[: len(errors)].tolist(),
        "cuts": cuts[: len(errors)].tolist(),
        "errors": [float(e) for e in errors],
    }


def _error(model: MassModel) -> float:
    return float(np.sqrt(expected_error(model, NOMINAL_EVENTS)[0, 0]))


def passing(selected: Selected, cut: float | None) -> Selected:
    """The rows that pass a quality cut."""
    return selected if cut is None else selected[selected.quality >= cut]
