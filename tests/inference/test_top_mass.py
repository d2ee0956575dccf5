"""Fits of m_t and JSF: the shapes, exact closure, pulls, and the batch of fits against iminuit (specification §8, item 10)."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import landau, norm

from hhh_coffea.inference.top_mass.mass_fit import asimov, contour, ellipse, fit, fit_many
from hhh_coffea.inference.top_mass.mass_model import (
    CATEGORIES,
    EDGES,
    OBSERVABLES,
    Line,
    MassModel,
    Samples,
    fit_line,
    fit_model,
)
from hhh_coffea.inference.top_mass.mass_shapes import (
    Shape,
    ShapeError,
    basis,
    fit_shape,
    probabilities,
    probabilities_and_slopes,
)

COEFFICIENTS = {
    "correct": {
        "top": [[0.8, 0, 0], [170, 0.8, 150], [19, 0.1, 10], [177, 0.9, 100], [10, 0, 0]],
        "w": [[0.66, 0, 0], [79.6, 0, 75], [11, 0, 4], [84, 0, 60], [6.3, 0, 0]],
    },
    "incorrect": {
        "top": [[0.7, 0, 0], [163, 0.2, 120], [22, 0, 0], [181, 0.2, 80], [16, 0, 0]],
        "w": [[0.5, 0, 0], [75, 0, 50], [12, 0, 0], [88, 0, 40], [10, 0, 0]],
    },
    "unmatched": {
        "top": [[0.6, 0, 0], [158, 0.1, 100], [26, 0, 0], [185, 0.1, 60], [22, 0, 0]],
        "w": [[0.4, 0, 0], [67, 0, 40], [14, 0, 0], [92, 0, 30], [15, 0, 0]],
    },
}
MASSES, JSF = np.repeat(np.arange(166.5, 176), 5), np.tile([0.96, 0.98, 1.0, 1.02, 1.04], 10)


@pytest.fixture(scope="module")
def model():
    shapes = {c: {n: Shape(EDGES[n], np.array(v)) for n, v in own.items()} for c, own in COEFFICIENTS.items()}
    shares = {"correct": Line(np.array([0.5, 0.002, 0.3])), "incorrect": Line(np.array([0.17, -0.001, 0.0]))}
    return MassModel(CATEGORIES, shapes, shares, Line(np.array([0.76, 0.001, 0.5])))


def test_a_bin_holds_the_integral_of_the_truncated_densities():
    f, mean, sigma, location, scale = theta = (0.7, 170.0, 15.0, 176.0, 8.0)
    edges = EDGES["top"]
    p = probabilities(theta, edges)

    def density(m):
        gauss = norm(mean, sigma)
        tail = landau(location, scale)
        inside = [d.cdf(230) - d.cdf(120) for d in (gauss, tail)]
        return f * gauss.pdf(m) / inside[0] + (1 - f) * tail.pdf(m) / inside[1]

    for i in (0, 30, 55, 109):
        assert p[i] == pytest.approx(quad(density, edges[i], edges[i + 1])[0], rel=1e-6)
    assert p.sum() == pytest.approx(1)
    assert landau.pdf(-0.2228) == pytest.approx(0.278, abs=1e-3)  # scipy's standardisation, not that of ROOT


@pytest.mark.parametrize("mirrored", [False, True])
def test_slopes_are_those_of_differences(mirrored):
    theta = np.array([[0.7, 170.0, 15.0, 176.0, 8.0], [0.3, 160.0, 22.0, 181.0, 16.0]])
    p, slopes = probabilities_and_slopes(theta, EDGES["top"], mirrored)
    np.testing.assert_allclose(p, probabilities(theta, EDGES["top"], mirrored))
    for i in range(5):
        step = np.zeros(5)
        step[i] = 1e-4
        ends = [probabilities(theta + sign * step, EDGES["top"], mirrored) for sign in (1, -1)]
        np.testing.assert_allclose(slopes[i], (ends[0] - ends[1]) / 2e-4, atol=1e-8)


def test_a_mirrored_shape_is_the_shape_of_minus_the_mass():
    edges = EDGES["w"]
    mirrored = probabilities((0.6, 81, 9, 75, 6), edges, mirrored=True)
    other = probabilities((0.6, -81, 9, -75, 6), -edges[::-1])
    np.testing.assert_allclose(mirrored, other[::-1], atol=1e-14)


@pytest.mark.parametrize(("top_mass", "jsf"), [(173.0, 1.0), (171.3, 1.013), (175.0, 0.975)])
def test_asimov_data_return_what_they_were_made_with(model, top_mass, jsf):
    found = fit(model, asimov(model, 50_000, top_mass, jsf))
    assert found.top_mass == pytest.approx(top_mass, abs=2e-4)
    assert found.jsf == pytest.approx(jsf, abs=2e-6)
    assert found.events == pytest.approx(50_000, rel=1e-4)


def test_four_times_the_luminosity_halves_the_error(model):
    one, four = (fit(model, asimov(model, events)) for events in (20_000, 80_000))
    assert one.error / four.error == pytest.approx(2, rel=1e-3)
    assert one.jsf_error / four.jsf_error == pytest.approx(2, rel=1e-3)


def test_pulls_of_500_pseudo_experiments(model):
    rng = np.random.default_rng(7)
    truth = np.array([172.0, 1.01])
    expected = asimov(model, 20_000, *truth)
    data = {name: rng.poisson(mean, size=(500, len(mean))).astype(float) for name, mean in expected.items()}
    values, covariances = fit_many(model, data)
    pulls = (values - truth) / np.sqrt(np.diagonal(covariances, axis1=1, axis2=2))
    np.testing.assert_allclose(pulls.mean(axis=0), 0, atol=0.1)
    np.testing.assert_allclose(pulls.std(axis=0, ddof=1), 1, atol=0.1)


def test_many_fits_at_once_are_those_of_minuit(model):
    rng = np.random.default_rng(3)
    data = {n: rng.poisson(mean, size=(3, len(mean))).astype(float) for n, mean in asimov(model, 8000).items()}
    values, covariances = fit_many(model, data)
    for i in range(3):
        single = fit(model, {name: counts[i] for name, counts in data.items()})
        assert values[i, 0] == pytest.approx(single.top_mass, abs=0.02 * single.error)
        assert values[i, 1] == pytest.approx(single.jsf, abs=0.02 * single.jsf_error)
        # expected and observed curvature differ by the fluctuations of the data
        assert covariances[i, 0, 0] ** 0.5 == pytest.approx(single.error, rel=0.1)


def test_the_ellipse_is_the_contour_of_minos(model):
    found = fit(model, asimov(model, 200_000))
    curve, minos = ellipse(found.covariance, 1.0), contour(found)
    assert np.abs(curve[:, 0]).max() == pytest.approx(found.error, rel=1e-3)
    for i, best in enumerate((found.top_mass, found.jsf)):
        assert np.ptp(minos[:, i]) == pytest.approx(np.ptp(curve[:, i]), rel=0.03)
        assert minos[:, i].mean() == pytest.approx(best, abs=0.1 * np.ptp(curve[:, i]))
    # the outer one is three times as large
    np.testing.assert_allclose(ellipse(found.covariance, 9.0), 3 * curve)


def test_the_lines_of_the_parameters_are_recovered(model):
    shape = model.shapes["correct"]["top"]
    counts = 3000 * shape(MASSES, JSF)
    found = fit_shape(counts, shape.edges, MASSES, JSF)
    np.testing.assert_allclose(found(MASSES, JSF), shape(MASSES, JSF), atol=2e-5)
    np.testing.assert_allclose(found.coefficients[:, 0], shape.coefficients[:, 0], rtol=0.02)
    np.testing.assert_allclose(found.coefficients[1], shape.coefficients[1], rtol=0.05)  # the mean of the Gaussian
    assert found.chi2 < 1  # of data without fluctuations


def test_templates_of_samples_return_the_mass(model):
    rng = np.random.default_rng(11)
    share = model.share(MASSES, JSF)
    total = 4000 * model.acceptance(MASSES, JSF)
    counts = {
        c: {n: rng.poisson(total[:, None] * share[:, i, None] * model.shapes[c][n](MASSES, JSF)) for n in OBSERVABLES}
        for i, c in enumerate(CATEGORIES)
    }
    made = fit_model(Samples(MASSES, JSF, counts, np.full(len(MASSES), 4000.0)))
    for own in made.shapes.values():
        for shape in own.values():
            assert shape.chi2 / shape.ndf == pytest.approx(1, abs=0.1)
    found = fit(made, asimov(model, 100_000, 171.0, 1.0))
    assert found.top_mass == pytest.approx(171.0, abs=0.5)
    assert found.jsf == pytest.approx(1.0, abs=0.004)
    np.testing.assert_allclose(made.share(173.0, 1.0), model.share(173.0, 1.0), atol=0.01)


def test_a_line_is_recovered_exactly():
    samples = Samples(MASSES, JSF, {}, np.full(len(MASSES), 1e6))
    truth = np.array([0.4, 0.003, -0.2])
    line = fit_line(1e6 * basis(MASSES, JSF) @ truth, samples.generated, samples)
    np.testing.assert_allclose(line.coefficients, truth, atol=1e-12)
    assert line.ndf == len(MASSES) - 3


def test_too_few_events_are_an_error(model):
    with pytest.raises(ShapeError, match="too few for a shape of 15 coefficients"):
        fit_shape(np.zeros((50, 110)), EDGES["top"], MASSES, JSF)
    with pytest.raises(ShapeError, match="no events to fit"):
        fit(model, {name: np.zeros(len(edges) - 1) for name, edges in EDGES.items()})
