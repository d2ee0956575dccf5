"""The whole fit: Asimov and observed, against Minuit and pyhf; workspace files; the table."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import iminuit
import numpy as np
import pyhf
import pytest
from rich.console import Console

from hhh_coffea.inference.binning import TransformationD
from hhh_coffea.inference.fit import FitOptions, fit
from hhh_coffea.inference.likelihood import Likelihood
from hhh_coffea.inference.minimum import best_fit, minimum
from hhh_coffea.inference.model import ModelError, ModelOptions, build_workspace, read_workspace, write_workspace
from hhh_coffea.inference.table import WIDTH, fit_table, methods_table

EVERYTHING = ModelOptions(luminosity_uncertainty=0.017, normalisation={"tt": 0.2}, mc_statistics=True)


def test_asimov_fit_returns_what_was_put_in(two_regions):
    result = fit(two_regions, FitOptions(model=EVERYTHING))
    assert result.best_fit.mu == pytest.approx(1, abs=1e-6)
    assert all(abs(pull.pull) < 1e-6 and 0 < pull.constraint <= 1 + 1e-6 for pull in result.pulls)
    assert result.observed_significance is None
    assert result.limits.observed is None
    for name, after in result.postfit.items():
        before = result.prefit[name]
        for process, values in after.processes.items():
            assert values == pytest.approx(before.processes[process], rel=1e-6)
        assert (after.error < before.error).all()
        assert after.data == pytest.approx(sum(after.processes.values()), rel=1e-6)


def test_blind_fit_does_not_look_at_the_data(two_regions):
    blind = fit(two_regions)
    shifted = [type(r)(r.name, r.edges, r.samples, r.data * 3, r.label) for r in two_regions.regions]
    other = fit(type(two_regions)(tuple(shifted), two_regions.signals, two_regions.luminosity))
    assert blind.summary() == other.summary()


def test_minimum_is_that_of_minuit(two_regions):
    """Values and errors of Minuit on the likelihood of pyhf itself, without our derivatives."""
    workspace = build_workspace(two_regions, EVERYTHING, observed=True)
    own = Likelihood(workspace)
    found = best_fit(own, own.observed)
    model = own.model

    def twice_nll(parameters):
        return float(-2 * model.logpdf(parameters, own.observed)[0])

    minuit = iminuit.Minuit(twice_nll, own.nominal(1), name=own.names)
    minuit.errordef, minuit.strategy, minuit.tol = 1, 2, 1e-4
    minuit.fixed = own.fixed
    minuit.migrad()
    minuit.hesse()
    errors = np.sqrt(np.diag(found.covariance))
    assert found.parameters == pytest.approx(np.array(minuit.values), abs=0.01 * errors.max())
    free = ~own.fixed
    assert errors[free] == pytest.approx(np.array(minuit.errors)[free], rel=0.01)
    assert twice_nll(found.parameters) <= minuit.fval + 1e-6
    minuit.minos(own.names[own.poi])
    minos = minuit.merrors[own.names[own.poi]]
    assert found.mu_errors == pytest.approx((minos.lower, minos.upper), rel=5e-3)


def test_differences_of_our_likelihood_are_those_of_pyhf(two_regions):
    own = Likelihood(build_workspace(two_regions, EVERYTHING, observed=True))
    rng = np.random.default_rng(5)
    points = [own.nominal(1) + 0.02 * rng.normal(size=len(own.names)) * (own.prior_errors > 0) for _ in range(20)]
    ours = np.array([own.twice_nll(own.expected(point), own.observed) for point in points])
    theirs = np.array([-2 * own.model.logpdf(point, own.observed)[0] for point in points])
    assert ours - ours[0] == pytest.approx(theirs - theirs[0], abs=1e-8)


def test_gradient_is_the_slope(two_regions):
    own = Likelihood(build_workspace(two_regions, EVERYTHING, observed=True))
    point, gradient = own.nominal(1.3), own.gradient(own.nominal(1.3), own.observed)
    for index in np.flatnonzero(~own.fixed):
        step = np.zeros(len(point))
        step[index] = 1e-5
        up, down = (own.twice_nll(own.expected(point + s * step), own.observed) for s in (1, -1))
        assert gradient[index] == pytest.approx((up - down) / 2e-5, rel=1e-4, abs=1e-4)


def test_observed_fit(two_regions):
    result = fit(two_regions, FitOptions(model=EVERYTHING, unblind=True))
    assert result.observed_significance > 0
    assert result.limits.observed > 0
    assert result.best_fit.mu_errors[0] < 0 < result.best_fit.mu_errors[1]
    scan = result.scan
    assert scan.twice_delta_nll.min() < 0.1
    # the scan is the parabola of the errors near the best fit, and 1 at the asymmetric errors
    at_error = np.interp(result.best_fit.mu + result.best_fit.mu_errors[1], scan.mu, scan.twice_delta_nll)
    assert at_error == pytest.approx(1, abs=0.1)
    for name, after in result.postfit.items():
        expected = sum(after.processes.values())
        before = sum(result.prefit[name].processes.values())
        assert np.abs(expected - after.data).sum() < np.abs(before - after.data).sum()


def test_negative_excess_gives_a_negative_strength(one_region):
    templates = one_region([20, 40, 60], [1000, 500, 200], [1000, 490, 160])
    result = fit(templates, FitOptions(unblind=True))
    assert result.best_fit.mu < 0
    assert result.observed_significance == 0
    assert result.limits.observed < result.limits.median
    assert result.scan.mu.min() >= 0


def test_unblinding_needs_data(one_region):
    with pytest.raises(ModelError, match="region 'sr' has no observed events"):
        fit(one_region([1, 2], [10, 10]), FitOptions(unblind=True))


def test_alternatives_and_binning(one_region):
    x = np.arange(200)
    templates = one_region(list(np.exp(-((x - 150) ** 2) / 200)), list(100 * np.exp(-x / 60)))
    steps = []
    options = FitOptions(binning=TransformationD(z_signal=3, z_background=3), compare=("normsys", "shapesys"))
    result = fit(templates, options, progress=steps.append)
    assert len(result.templates.regions[0].edges) - 1 <= 6
    assert set(result.alternatives) == {"normsys"}
    significance, limits = result.alternatives["normsys"]
    assert significance > result.significance
    assert limits.median < result.limits.median
    assert steps == ["significance", "limits", "best fit", "model normsys", "scan"]


def test_unknown_process_of_an_option(two_regions):
    with pytest.raises(ModelError, match="no process 'ttt'"):
        fit(two_regions, FitOptions(model=ModelOptions(normalisation={"ttt": 0.1})))


def test_summary_is_plain_json(two_regions):
    summary = fit(two_regions, FitOptions(unblind=True, model=EVERYTHING)).summary()
    assert json.loads(json.dumps(summary, allow_nan=False)) == json.loads(json.dumps(summary))


def test_workspace_file_gives_the_same_fit(two_regions, tmp_path):
    workspace = build_workspace(two_regions, EVERYTHING)
    path = tmp_path / "workspace.json"
    write_workspace(path, workspace)
    again = read_workspace(path)
    assert again == workspace
    own, other = Likelihood(workspace), Likelihood(again)
    assert minimum(own, own.observed, 0).twice_nll == minimum(other, other.observed, 0).twice_nll
    pyhf.Workspace(again)  # validates measurements and observations against each other


@pytest.mark.parametrize("content", ["{", "[]", '{"channels": []}'])
def test_file_that_is_no_workspace_is_named(tmp_path, content):
    path = tmp_path / "broken.json"
    path.write_text(content)
    with pytest.raises(ModelError, match=r"broken\.json: "):
        read_workspace(path)


def test_workspace_without_signal_is_refused(two_regions):
    workspace = build_workspace(two_regions, ModelOptions())
    for channel in workspace["channels"]:
        for sample in channel["samples"]:
            sample["modifiers"] = [m for m in sample["modifiers"] if m["type"] != "normfactor"]
    with pytest.raises(ModelError, match="no sample of the workspace is scaled"):
        Likelihood(workspace)


@pytest.mark.parametrize("unblind", [False, True])
def test_table_fits_80_columns(two_regions, unblind):
    result = fit(two_regions, FitOptions(unblind=unblind, model=EVERYTHING))
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    with console.file:
        console.print(methods_table({"chi2": result, "chi2+bdt": result}), fit_table(result))
        text = console.export_text()
    assert max(len(line.rstrip()) for line in text.splitlines()) <= WIDTH
    for word in ("significance", "per bin", "in total", "discovery significance", "95% CLs", "qcd", "hhh", "sum"):
        assert word in text
    assert ("Largest pulls" in text) == unblind


def test_other_rows_are_explained_where_there_are_some(two_regions):
    result = fit(two_regions, FitOptions(model=EVERYTHING))
    for alternatives in ({"normsys": (1.0, result.limits)}, {}):
        caption = methods_table({"chi2": replace(result, alternatives=alternatives)}).caption
        assert ("the other row" in str(caption)) == bool(alternatives)


def test_room_needs_no_network_and_no_processor():
    """Statistics run where neither torch nor coffea is installed."""
    code = (
        "import sys, pkgutil, importlib, hhh_coffea.inference as room\n"
        "for module in pkgutil.iter_modules(room.__path__):\n"
        "    importlib.import_module(f'hhh_coffea.inference.{module.name}')\n"
        "import hhh_coffea.analyses.self_couplings\n"
        "print([m for m in ('torch', 'coffea', 'dask', 'matplotlib') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
