"""Figures of fits and scans are drawn from results alone; the same results give the same file."""

from __future__ import annotations

import numpy as np
import pytest

from hhh_coffea.figures.couplings import draw_contours, draw_likelihood, draw_limits
from hhh_coffea.figures.fit import draw_fit
from hhh_coffea.figures.labels import Labels
from hhh_coffea.figures.style import Writer
from hhh_coffea.inference.fit import FitOptions, fit
from hhh_coffea.inference.model import ModelOptions
from hhh_coffea.inference.polynomial import grid
from hhh_coffea.inference.scans import LikelihoodScan, LimitScan

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
