"""Figures of fits and scans are drawn from results alone; the same results give the same file."""

from __future__ import annotations

import numpy as np
import pytest
from kept_axes import Kept

from hhh_coffea.figures.looks.labels import Labels
from hhh_coffea.figures.looks.style import Writer, color_of
from hhh_coffea.figures.measurement.couplings import (
    draw_contours,
    draw_effective_events,
    draw_likelihood,
    draw_limits,
    finer,
)
from hhh_coffea.figures.measurement.fit import PULLS_IN_A_FIGURE, _digits, draw_fit, draw_pulls
from hhh_coffea.inference.couplings.polynomial import grid
from hhh_coffea.inference.couplings.scans import LikelihoodScan, LimitScan
from hhh_coffea.inference.fit import FitOptions, fit
from hhh_coffea.inference.model import ModelOptions

EVERYTHING = ModelOptions(luminosity_uncertainty=0.017, normalisation={"tt": 0.2}, mc_statistics=True)


@pytest.mark.parametrize("unblind", [False, True])
def test_figures_of_a_fit(two_regions, tmp_path, unblind):
    result = fit(two_regions, FitOptions(unblind=unblind, model=EVERYTHING))
    write = Writer(tmp_path, ("png",))
    draw_fit(write, result)
    stages = ("prefit", "postfit") if unblind else ("prefit",)
    expected = {f"{stage}_{region}" for stage in stages for region in ("4b", "3b")} | {"pulls", "scan_mu"}
    assert {path.name for path in write.written} == expected
    first = {path.name: path.with_suffix(".png").read_bytes() for path in write.written}
    assert all(len(content) > 10_000 for content in first.values())
    draw_fit(write, result)
    assert {path.name: path.with_suffix(".png").read_bytes() for path in write.written} == first


def test_pulls_stand_in_the_order_of_the_model(two_regions, tmp_path):
    """Asimov data pull nothing: rounding of the minimiser does not decide what stands first."""
    result = fit(two_regions, FitOptions(model=EVERYTHING))
    write = Kept(tmp_path)
    draw_pulls(write, "pulls", result, {})
    (axis,) = write.axes["pulls"]
    shown = [text.get_text() for text in axis.get_yticklabels()][::-1]
    assert len(shown) == PULLS_IN_A_FIGURE < len(result.pulls)
    bins = [int(text.rpartition(" ")[2]) for text in shown if text.startswith("simulation, 4b")]
    assert bins == sorted(bins)
    assert len(bins) > 1


@pytest.mark.parametrize(
    ("value", "text"),
    [(2.43e-5, "2.43\\times 10^{-5}"), (77979, "77{,}979"), (1.2e7, "1.20\\times 10^{7}"), (0.5, "0.500")],
)
def test_numbers_in_figures(value, text):
    assert _digits(value) == text


def test_effective_events_of_the_same_events_are_one_line(tmp_path):
    kappa = np.linspace(-5, 7, 25)
    first, other = (
        LimitScan(("kappa3",), kappa[:, None], np.ones((25, 5)), {"hh": events}, {"hh": events}, 0.95)
        for events in (np.full(25, 100.0), np.full(25, 50.0))
    )
    write = Kept(tmp_path)
    draw_effective_events(write, "same", {"chi2": first, "spanet": first})
    draw_effective_events(write, "different", {"chi2": first, "spanet": other})
    draw_effective_events(write, "alone", {"chi2": first})
    legends = {n: [t.get_text() for t in axes[0].get_legend().get_texts()] for n, axes in write.axes.items()}
    assert legends == {"same": ["all methods"], "different": ["χ²", "SPANet"], "alone": ["χ²"]}
    colors = {name: axes[0].get_lines()[0].get_color() for name, axes in write.axes.items()}
    assert colors == {"same": "black", "different": color_of("chi2"), "alone": color_of("chi2")}


def test_no_offset_on_an_axis(tmp_path):
    """Couplings around 100 are written out, not as an offset beside the axis."""
    kappa = np.linspace(99.99, 100.01, 21)
    line = LikelihoodScan(("kappa4",), kappa[:, None], 1e4 * (kappa - 100) ** 2, np.array([100.0]))
    write = Kept(tmp_path)
    draw_likelihood(write, "likelihood", {"spanet": line})
    assert write.axes["likelihood"][0].xaxis.get_major_formatter().get_offset() == ""


def test_figures_of_scans(tmp_path):
    kappa = np.linspace(-5, 7, 25)
    limits = np.outer(20 / (3 - 2 * kappa + kappa**2), [0.5, 0.7, 1, 1.4, 2])
    some = {"hh": np.ones(25)}
    scan = LimitScan(("kappa3",), kappa[:, None], limits, some, some, 0.95)
    line = LikelihoodScan(("kappa3",), kappa[:, None], (kappa - 1) ** 2 / 2, np.array([1.0]))
    plane = grid(kappa, 10 * kappa)
    values = ((plane - 1) ** 2 / [2, 200]).sum(axis=1)
    contours = LikelihoodScan(("kappa3", "kappa4"), plane, values, np.array([1.0, 1.0]))
    wider = LikelihoodScan(("kappa3", "kappa4"), plane, values / 2, np.array([1.0, 1.0]))
    write = Writer(tmp_path, ("png",))
    draw_limits(write, "one", {"spanet": scan})
    draw_limits(write, "two", {"spanet": scan, "chi2": scan}, "300 fb$^{-1}$")
    draw_likelihood(write, "likelihood", {"spanet": line})
    draw_contours(write, "contours", {"spanet": contours, "chi2": wider})
    assert {path.name for path in write.written} == {"one", "two", "likelihood", "contours"}


def test_luminosity():
    assert Labels().conditions == ""
    assert Labels(luminosity=140).conditions == "140 fb$^{-1}$"
    assert Labels(luminosity=3000, sqrt_s=14).conditions == "3000 fb$^{-1}$ (14 TeV)"
    assert Labels(sqrt_s=13.6).conditions == "13.6 TeV"


def test_contours_are_drawn_on_a_finer_grid():
    """Exact for a cubic function, the points of the scan are among the finer ones, and holes are left alone."""
    first, second = np.linspace(-4, 6, 8), np.linspace(-3, 3, 6)

    def height(x, y):
        return 0.3 * x**2 + 0.1 * x**3 + y**2 - x * y

    x, y, values = finer(first, second, height(first[:, None], second[None, :]))
    assert values.shape == (57, 41)
    np.testing.assert_allclose(x[::8], first)
    np.testing.assert_allclose(values, height(x[:, None], y[None, :]), atol=1e-9)
    holes = height(first[:, None], second[None, :])
    holes[0, 0] = np.inf
    assert finer(first, second, holes)[2] is holes
