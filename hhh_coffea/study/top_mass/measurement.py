"""The measurement of one method: templates, expected error, calibration with pseudo-experiments, closure, data.

What each step returns is JSON: one stage of the study.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hhh_coffea.base.kinematics import FloatArray
from hhh_coffea.inference.top_mass.mass_fit import Histograms, MassFit, asimov, contour, fit, fit_many
from hhh_coffea.inference.top_mass.mass_model import CATEGORIES, OBSERVABLES, MassModel, fit_model
from hhh_coffea.inference.top_mass.mass_shapes import CENTRAL_MASS
from hhh_coffea.study.top_mass.events import Selected
from hhh_coffea.study.top_mass.templates import (
    MassSteps,
    expected_error,
    histograms,
    jackknife_error,
    leave_one_out,
    resampled,
    rows_at,
    samples,
)

FEWEST = 100  # events of a mass step that pseudo-experiments are drawn from


class Templates:
    """Templates of one method from events of the templates role, and the same without each block in turn."""

    def __init__(
        self, selected: Selected, steps: MassSteps, share: float, mirrored_w: Sequence[str], blocks: int
    ) -> None:
        self.samples = samples(selected, steps, share)
        self.model = fit_model(self.samples, mirrored_w)
        self.without = leave_one_out(selected, steps, share, mirrored_w, self.model, blocks)

    def described(self) -> dict[str, Any]:
        """Coefficients, χ²/ndf, and shares at 173 GeV and a JSF of 1 with their errors."""
        model = self.model
        share = model.share(CENTRAL_MASS, 1.0)
        error = jackknife_error([m.share(CENTRAL_MASS, 1.0) for m in self.without])
        shapes = {
            category: {
                name: {
                    "coefficients": shape.coefficients.tolist(),
                    "mirrored": shape.mirrored,
                    "chi2": shape.chi2,
                    "ndf": shape.ndf,
                }
                for name, shape in found.items()
            }
            for category, found in model.shapes.items()
        }
        lines = {**model.shares, "acceptance": model.acceptance}
        return {
            "shapes": shapes,
            "lines": {
                n: {"coefficients": v.coefficients.tolist(), "chi2": v.chi2, "ndf": v.ndf} for n, v in lines.items()
            },
            "shares": {c: [float(s), float(e)] for c, s, e in zip(model.categories, share, error, strict=True)},
            "acceptance": float(model.acceptance(CENTRAL_MASS, 1.0)),
        }


def expected(templates: Templates, events: float) -> dict[str, Any]:
    """Errors of m_t and JSF of Asimov data: ``events`` pass the selection, before the mass window and the quality cut."""
    model = templates.model
    covariance = expected_error(model, events)
    others = np.array([np.sqrt(np.diag(expected_error(m, events))) for m in templates.without])
    sigma = np.sqrt(np.diag(covariance))
    single = fit(model, asimov(model, events * float(model.acceptance(CENTRAL_MASS, 1.0))))
    minos = contour(single)
    return {
        "events": events,
        "selected": events * float(model.acceptance(CENTRAL_MASS, 1.0)),
        "fit": [single.top_mass, single.jsf],
        "covariance": covariance.tolist(),
        "top_mass_error": [float(sigma[0]), float(jackknife_error(others)[0])],
        "jsf_error": [float(sigma[1]), float(jackknife_error(others)[1])],
        "correlation": float(covariance[0, 1] / sigma[0] / sigma[1]),
        "without_blocks": others[:, 0].tolist(),
        "minos": minos.tolist(),
        "minos_errors": [float(np.ptp(minos[:, i]) / 2) for i in (0, 1)],
    }


def pools(selected: Selected, steps: MassSteps) -> list[Selected]:
    """Events of the pseudo role at a JSF of 1, by step of the generated mass; steps with few events are left out."""
    at_one = selected[rows_at(selected, 1.0)]
    index = steps.index(at_one.mass)
    found = [at_one[index == step] for step in range(steps.number)]
    return [pool for pool in found if len(pool.mass) >= FEWEST]


def calibration(
    model: MassModel, drawn_from: Sequence[Selected], events: float, experiments: int, seed: int
) -> dict[str, Any]:
    """Pseudo-experiments of the size of the data at each template mass: ⟨m_fit⟩ = 173 + a + b (m − 173), and pulls.

    They are drawn with replacement from :func:`pools`. These are small, so the mean of all pseudo-experiments of a
    mass has the error of one fit to the pool: the line is fitted with that. Pulls are relative to the mean.
    """
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    for pool in drawn_from:
        values, covariances = fit_many(model, resampled(pool, events, experiments, rng))
        spread = values.std(axis=0, ddof=1)
        pulls = (values - values.mean(axis=0)) / np.sqrt(np.stack([covariances[:, i, i] for i in (0, 1)], axis=1))
        rows.append(
            {
                "generated": float(pool.mass.mean()),
                "fitted": values.mean(axis=0).tolist(),
                "spread": spread.tolist(),
                "error": float(spread[0] * np.sqrt(events / len(pool.mass))),
                "pull_width": pulls.std(axis=0, ddof=1).tolist(),
                "pool": len(pool.mass),
            }
        )
    line = _line(
        *(np.array(v) for v in zip(*((r["generated"], r["fitted"][0], r["error"]) for r in rows), strict=True))
    )
    widths = np.array([row["pull_width"] for row in rows])
    return {
        **line,
        "pull_width": widths.mean(axis=0).tolist(),
        "pull_width_error": (widths.std(axis=0, ddof=1) / np.sqrt(len(widths))).tolist(),
        "experiments": experiments,
        "events": events,
        "masses": rows,
    }


def _line(generated: FloatArray, fitted: FloatArray, error: FloatArray) -> dict[str, Any]:
    """Weighted least squares of m_fit − 173 = a + b (m − 173)."""
    design = np.stack([np.ones_like(generated), generated - CENTRAL_MASS], axis=1) / error[:, None]
    covariance = np.linalg.inv(design.T @ design)
    value = (fitted - CENTRAL_MASS) / error
    a, b = covariance @ design.T @ value
    chi2 = float(((value - design @ [a, b]) ** 2).sum())
    return {"a": float(a), "b": float(b), "covariance": covariance.tolist(), "chi2": chi2, "ndf": len(generated) - 2}


def measured(
    templates: Templates, line: dict[str, Any], drawn_from: Sequence[Selected], selected: Selected
) -> dict[str, Any]:
    """Fit the events of ``selected`` as data: m_t and JSF, corrected, with statistical, template and calibration errors.

    The error of templates is that of the corrected mass: without each block of template events, pools and data are fitted
    again and the line is made from the pools. What shifts both cancels.
    """
    data = histograms(selected)
    result = fit(templates.model, data)
    slope = line["b"]
    shift = (result.top_mass - CENTRAL_MASS - line["a"]) / slope
    derivative = np.array([-1 / slope, -shift / slope])  # of the corrected mass with a and b
    of_line = float(np.sqrt(derivative @ np.array(line["covariance"]) @ derivative))
    others = np.array([_corrected(model, line, drawn_from, data) for model in templates.without])
    statistical = result.error * line["pull_width"][0] / slope
    of_templates, of_jsf = jackknife_error(others)
    return {
        "events": int(data["top"].sum()),
        "fitted": [result.top_mass, result.error],
        "jsf": [result.jsf, result.jsf_error * line["pull_width"][1], float(of_jsf)],
        "top_mass": CENTRAL_MASS + shift,
        "statistical": statistical,
        "templates": float(of_templates),
        "calibration": of_line,
        "total": float(np.sqrt(statistical**2 + of_templates**2 + of_line**2)),
        "chi2": goodness(templates.model, result, data),
    }


def _corrected(
    model: MassModel, line: dict[str, Any], drawn_from: Sequence[Selected], data: Histograms
) -> tuple[float, float]:
    """Corrected mass and JSF with another model: all pools and the data are fitted at once."""
    found = [histograms(pool) for pool in drawn_from]
    together = {name: np.stack([*(h[name] for h in found), data[name]]) for name in OBSERVABLES}
    values = fit_many(model, together)[0]
    rows = line["masses"]
    own = _line(np.array([row["generated"] for row in rows]), values[:-1, 0], np.array([row["error"] for row in rows]))
    return float((values[-1, 0] - CENTRAL_MASS - own["a"]) / own["b"]), float(values[-1, 1])


def goodness(model: MassModel, result: MassFit, data: Histograms) -> dict[str, list[float]]:
    """Pearson's χ² and number of bins, less one, of each observable at the best fit."""
    found = {}
    for name in OBSERVABLES:
        mean = data[name].sum() * model(result.top_mass, result.jsf)[name]
        found[name] = [float(((data[name] - mean) ** 2 / np.maximum(mean, 1e-9)).sum()), float(len(mean) - 1)]
    return found


def shares_of(selected: Selected) -> dict[str, list[float]]:
    """Share of each category in some events, with its binomial error."""
    total = max(len(selected.category), 1)
    found = {}
    for number, name in enumerate(CATEGORIES):
        share = float((selected.category == number).sum() / total)
        found[name] = [share, float(np.sqrt(share * (1 - share) / total))]
    return found
