"""Significance and limits against closed formulae and numbers of the specification (items 8 and 9)."""

from __future__ import annotations

import numpy as np
import pyhf
import pytest
from pyhf.infer.intervals.upper_limits import toms748_scan

from hhh_coffea.inference.likelihood import Likelihood
from hhh_coffea.inference.limits import expected_limits, expected_significance, observed_limits, observed_significance
from hhh_coffea.inference.minimum import best_fit, minimum
from hhh_coffea.inference.model import ModelOptions, build_workspace

SIGNAL, BACKGROUND = [20.0, 40.0, 60.0], [1000.0, 500.0, 200.0]


def likelihood(templates, model="shapesys", uncertainty=0.1, **options):
    model_options = ModelOptions(background_model=model, background_uncertainty=uncertainty, **options)
    return Likelihood(build_workspace(templates, model_options))


def closed_form(s, b, uncertainty):
    """Cowan, "Discovery sensitivity for a counting experiment with background uncertainty" (2012), equation 20."""
    v = (uncertainty * b) ** 2
    return np.sqrt(
        2 * ((s + b) * np.log((s + b) * (b + v) / (b**2 + (s + b) * v)) - b**2 / v * np.log(1 + v * s / (b * (b + v))))
    )


def test_significance_without_uncertainty(one_region):
    s, b = np.array(SIGNAL), np.array(BACKGROUND)
    expected = np.sqrt((2 * ((s + b) * np.log(1 + s / b) - s)).sum())
    assert expected == pytest.approx(4.465949, abs=1e-6)
    assert expected_significance(likelihood(one_region(SIGNAL, BACKGROUND), uncertainty=0)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("model", "significance"), [("normsys", 3.4852), ("normsys_both", 3.4852), ("shapesys", 2.38797)]
)
def test_significance_of_three_bins(one_region, model, significance):
    assert expected_significance(likelihood(one_region(SIGNAL, BACKGROUND), model)) == pytest.approx(
        significance, abs=1e-5
    )


def test_uncertainty_of_the_signal_does_not_change_the_significance(one_region):
    templates = one_region(SIGNAL, BACKGROUND)
    one, both = (expected_significance(likelihood(templates, model)) for model in ("normsys", "normsys_both"))
    assert one == pytest.approx(both, abs=1e-9)


@pytest.mark.parametrize(("s", "b", "uncertainty"), [(50, 500, 0.1), (3, 10, 0.3), (1000, 5000, 0.02)])
def test_significance_of_one_bin(one_region, s, b, uncertainty):
    found = expected_significance(likelihood(one_region([s], [b]), uncertainty=uncertainty))
    assert found == pytest.approx(closed_form(s, b, uncertainty), rel=1e-8)


def test_numbers_of_one_bin(one_region):
    assert closed_form(50, 500, 0.1) == pytest.approx(0.886385, abs=1e-6)
    assert expected_significance(likelihood(one_region([50], [500]), "normsys")) == pytest.approx(0.912027, abs=1e-6)


@pytest.mark.parametrize(
    ("model", "limits"),
    [
        ("normsys", (0.2902, 0.3919, 0.5488, 0.7731, 1.0519)),
        ("shapesys", (0.4053, 0.5420, 0.7482, 1.0339, 1.3760)),
    ],
)
def test_expected_limits(one_region, model, limits):
    found = expected_limits(likelihood(one_region(SIGNAL, BACKGROUND), model))
    assert found.expected == pytest.approx(limits, rel=1e-3)
    assert found.observed is None


def test_signal_a_million_times_smaller(one_region):
    """Nothing depends on the scale of the signal: limits of thousands are found as exactly."""
    small = likelihood(one_region([1e-6 * s for s in SIGNAL], BACKGROUND))
    assert small.scale > 1e4
    assert expected_limits(small).median * 1e-6 == pytest.approx(0.7482168, rel=1e-5)
    # −2 ln L is known to 1e-13, so this is as far as it goes
    assert expected_significance(small) == pytest.approx(2.563e-6, rel=0.02)


@pytest.mark.parametrize(("model", "growth"), [("shapesys", 2.0), ("normsys", 1.46)])
def test_growth_with_luminosity(one_region, model, growth):
    """140 to 300 fb⁻¹ and 10% to 5%: twice where independent uncertainties of bins dominate, else as √L."""
    s, b = np.array([400.0, 600, 500, 350, 200]), np.array([8000.0, 6000, 3000, 1500, 600])
    before = expected_significance(likelihood(one_region(s, b), model))
    factor = 300 / 140
    after = expected_significance(likelihood(one_region(s * factor, b * factor), model, 0.05))
    assert after / before == pytest.approx(growth, rel=0.05)


@pytest.mark.parametrize("shift", [0.7, 1.0, 1.1])
def test_observed_limits_are_those_of_pyhf(one_region, shift):
    data = np.round(shift * np.array(BACKGROUND) + (10 if shift > 1 else 0))
    templates = one_region(SIGNAL, BACKGROUND, data)
    workspace = build_workspace(templates, ModelOptions(), observed=True)
    found = observed_limits(Likelihood(workspace), Likelihood(workspace).observed)
    model = pyhf.Workspace(workspace).model()
    # a bracket of its own: at μ = 0, where pyhf's begins, its test statistic is 0/0
    observed, expected = toms748_scan(pyhf.Workspace(workspace).data(model), model, 0.05, 10)
    assert found.observed == pytest.approx(float(observed), rel=1e-3)
    assert found.expected == pytest.approx([float(e) for e in expected], rel=1e-3)


def test_observed_significance_is_that_of_pyhf(one_region):
    workspace = build_workspace(one_region(SIGNAL, BACKGROUND, [1010, 540, 270]), ModelOptions(), observed=True)
    own = Likelihood(workspace)
    model = pyhf.Workspace(workspace).model()
    init, bounds, fixed = (getattr(model.config, f"suggested_{x}")() for x in ("init", "bounds", "fixed"))
    q0 = pyhf.infer.test_statistics.q0(0.0, pyhf.Workspace(workspace).data(model), model, init, bounds, fixed)
    assert observed_significance(own, own.observed) == pytest.approx(float(np.sqrt(q0)), rel=1e-4)
    assert observed_significance(own, own.asimov(0) * 0.99) == 0


def test_uncertainty_is_of_the_sum_of_backgrounds(one_region):
    """A background that comes as two processes is no better known than as one."""
    whole = one_region(SIGNAL, BACKGROUND)
    region = whole.regions[0]
    qcd = region.samples["qcd"]["nominal"]
    samples = {
        "qcd": {"nominal": qcd.scaled(0.7)},
        "tt": {"nominal": qcd.scaled(0.3)},
        "hhh": region.samples["hhh"],
    }
    parts = type(whole)((type(region)("sr", region.edges, samples),), ("hhh",))
    assert expected_significance(likelihood(parts)) == pytest.approx(expected_significance(likelihood(whole)), rel=0.01)


@pytest.mark.parametrize("b", [1e4, 1e7, 1e10])
def test_one_event_among_many(one_region, b):
    """No rounding hides a small signal: Z = s/√b to first order, with 10% of the background in one of two bins."""
    found = expected_significance(likelihood(one_region([1.0], [b]), uncertainty=0))
    assert found == pytest.approx(1 / np.sqrt(b), rel=1e-4)
    uncertain = expected_significance(likelihood(one_region([1.0], [b]), uncertainty=0.1))
    assert uncertain == pytest.approx(1 / np.sqrt(b + (0.1 * b) ** 2), rel=1e-3)


def test_errors_where_millions_of_events_are_known_badly(one_region):
    """The Hessian of a degenerate model stays positive, and is the curvature of the profile near its minimum."""
    templates = one_region([10.0, 30.0, 10.0], [2e7, 3e7, 1e7])
    model = likelihood(templates, uncertainty=0.2, luminosity_uncertainty=0.02, normalisation={"qcd": 0.5})
    found = best_fit(model, model.asimov(1.0))
    rises = [minimum(model, model.asimov(1.0), mu=1.0 + step * found.mu_error).twice_nll for step in (-0.1, 0.1)]
    assert np.mean(rises) == pytest.approx(0.01, rel=0.01)
