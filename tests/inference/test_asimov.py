"""Significance with an independent uncertainty in every bin: closed form, numbers of the specification, and pyhf."""

from __future__ import annotations

import numpy as np
import pytest

from hhh_coffea.inference.asimov import significance
from hhh_coffea.inference.likelihood import Likelihood
from hhh_coffea.inference.limits import expected_significance
from hhh_coffea.inference.model import ModelOptions, build_workspace

SIGNAL, BACKGROUND = np.array([20.0, 40.0, 60.0]), np.array([1000.0, 500.0, 200.0])


def test_numbers_of_the_specification():
    assert significance(SIGNAL, BACKGROUND, 0.1) == pytest.approx(2.38797, abs=1e-5)
    assert significance(SIGNAL, BACKGROUND, 0.0) == pytest.approx(4.465949, abs=1e-6)
    assert significance([50.0], [500.0], 0.1) == pytest.approx(0.886385, abs=1e-6)


@pytest.mark.parametrize("uncertainty", [0.05, 0.1, 0.3])
def test_it_is_that_of_the_statistical_model(one_region, uncertainty):
    options = ModelOptions(background_model="shapesys", background_uncertainty=uncertainty)
    model = Likelihood(build_workspace(one_region(list(SIGNAL), list(BACKGROUND)), options))
    assert significance(SIGNAL, BACKGROUND, uncertainty) == pytest.approx(expected_significance(model), rel=1e-6)


def test_many_at_once_and_a_faint_signal():
    signals = SIGNAL * np.array([[1e-6], [1.0]])
    found = significance(signals, BACKGROUND, 0.1)
    assert found[1] == significance(SIGNAL, BACKGROUND, 0.1)
    variance = BACKGROUND + (0.1 * BACKGROUND) ** 2
    assert found[0] == pytest.approx(1e-6 * np.sqrt((SIGNAL**2 / variance).sum()), rel=1e-3)


def test_growth_of_the_specification():
    """140 → 300 fb⁻¹ with 10% → 5% doubles a significance that the uncertainty dominates."""
    luminosity = 300 / 140
    grown = significance(1000 * luminosity * SIGNAL, 1000 * luminosity * BACKGROUND, 0.05)
    assert grown / significance(1000 * SIGNAL, 1000 * BACKGROUND, 0.1) == pytest.approx(2.0, abs=0.05)


def test_signal_without_background_is_an_error():
    with pytest.raises(ValueError, match="without background"):
        significance([1.0, 1.0], [1.0, 0.0], 0.1)
    assert significance([1.0, 0.0], [1.0, 0.0], 0.1) == significance([1.0], [1.0], 0.1)
