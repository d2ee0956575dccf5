"""The Z′ study: distances, cuts, bins, roles of events, and one quick run."""

from __future__ import annotations

import json

import numpy as np
import pytest

from hhh_coffea.base.errors import UserError
from hhh_coffea.base.hashing import split_number
from hhh_coffea.base.kinematics import invariant_mass, polar
from hhh_coffea.inference.asimov import significance
from hhh_coffea.methods.neutrino import neutrino_at
from hhh_coffea.study import main
from hhh_coffea.study.zprime import analysis, events
from hhh_coffea.study.zprime.analysis import Rows


def test_a_shift_moves_earth_by_itself():
    masses = np.random.default_rng(0).normal(500, 60, 4000)
    assert analysis.emd(masses + 7, masses) == pytest.approx(7)
    assert analysis.emd(masses, masses) == 0
    assert analysis.emd(masses, masses[::-1]) == 0  # no order
    value, error = analysis.emd_with_error(masses + 7, masses, 20, 1)
    assert value == pytest.approx(7)
    assert error == pytest.approx(0, abs=1e-9)  # both are resampled together


def test_no_event_has_two_roles_and_the_background_of_results_is_never_tuned_on():
    split = split_number("a file", np.arange(20_000))
    for dataset in ("zprime500", "ttbar_flat", events.BACKGROUND):
        masks = events.roles(split, dataset)
        np.testing.assert_array_equal(masks["tuning"].astype(int) + masks["fit"], 1)
    assert not events.roles(split, events.BACKGROUND)["tuning"].any()
    assert events.roles(split, "zprime500")["tuning"].mean() == pytest.approx(0.4, abs=0.01)


def test_bins_with_few_events_are_merged_from_the_right():
    edges = np.array([0.0, 1, 2, 3, 4, np.inf])
    masses = np.repeat([0.5, 1.5, 2.5, 3.5, 9.0], [50, 40, 10, 20, 3])
    found = analysis.merged_edges(masses, edges, 25)
    np.testing.assert_array_equal(found, [0, 1, 2, np.inf])  # 3 + 20 are too few, 3 + 20 + 10 are enough
    counts = np.histogram(masses, found)[0]
    assert counts.sum() == len(masses)
    assert (counts >= 25).all()
    # too few at the left join their neighbour
    np.testing.assert_array_equal(analysis.merged_edges(masses[40:], edges, 25), [0, 2, np.inf])
    with pytest.raises(UserError, match="too few"):
        analysis.merged_edges(masses[:30], edges, 25)


def test_the_spectrum_is_that_of_numpy():
    rng = np.random.default_rng(4)
    rows = Rows(rng.uniform(200, 1500, 1000), rng.random(1000))
    weights = rng.poisson(1.0, 1000).astype(float)
    keep = rows.quality >= 0.3
    expected = np.histogram(rows.mass[keep], analysis.EDGES, weights=weights[keep])[0]
    np.testing.assert_allclose(analysis.spectrum(rows, 0.3, analysis.EDGES, weights), expected)
    assert analysis.EDGES[-1] == np.inf  # the overflow is a bin
    plain = np.histogram(rows.mass, analysis.EDGES)[0]
    np.testing.assert_array_equal(analysis.spectrum(rows, None, analysis.EDGES), plain)


def test_the_cut_maximises_signal_over_root_background():
    rng = np.random.default_rng(8)
    background = Rows(rng.uniform(400, 600, 8000), rng.random(8000))
    # signal is spread above 0.5 evenly, so S/√B is largest where the cut is 0.5
    signal = Rows(np.full(2000, 500.0), 0.5 + 0.5 * rng.random(2000))
    found = analysis.tune({500.0: signal}, background)
    assert found["cut"] == pytest.approx(0.5, abs=0.06)
    assert max(found["s_over_root_b"]["500.0"]) == pytest.approx(np.sqrt(2), rel=0.05)


def test_the_cross_section_gives_the_significance():
    s, b = np.array([3.0, 30.0, 10.0]), np.array([500.0, 400.0, 300.0])
    factor = analysis.cross_section(s, b, 2.8, 0.1)
    assert significance(factor * s, b, 0.1) == pytest.approx(2.8, rel=1e-5)
    with pytest.raises(UserError, match="no signal"):
        analysis.cross_section(np.zeros(3), b, 2.8, 0.1)


def test_a_neutrino_at_an_eta():
    rng = np.random.default_rng(1)
    met, phi, eta = rng.uniform(5, 200, 50), rng.uniform(-3, 3, 50), rng.normal(size=50)
    found = neutrino_at(met, phi, eta)
    np.testing.assert_allclose(found.pz, met * np.sinh(eta))
    np.testing.assert_allclose(polar(found)[1], eta, atol=1e-9)
    np.testing.assert_allclose(invariant_mass(found), 0, atol=1e-3)


def test_a_quick_run(shared_dir, tmp_path, capsys):
    arguments = ["zprime", "--quick", "--methods", "pdnn", "--device", "cpu", "--output", str(tmp_path)]
    assert main(arguments) == 0
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert set(summary["significance"]["masses"]) == {"500", "700", "900"}
    z = summary["significance"]["masses"]["700"]["z"]["pdnn"]
    assert z["300"][0] / z["140"][0] == pytest.approx(2.0, abs=0.1)
    assert summary["sculpting"]["pdnn"]["before"]["emd"][0] > summary["sculpting"]["pdnn"]["after"]["emd"][0]
    assert (tmp_path / "report.html").stat().st_size > 100_000
    capsys.readouterr()
    assert main(arguments) == 0
    said = capsys.readouterr().out
    assert said.count("done before") == 6


@pytest.mark.parametrize(
    ("datasets", "message"),
    [("ttbar,ttbar_flat", "no dataset is signal"), ("zprime500,ttbar_flat", "no dataset 'ttbar'")],
)
def test_a_fileset_without_what_is_needed(datasets, message, shared_dir, tmp_path, capsys):
    assert main(["zprime", "--methods", "pdnn", "--datasets", datasets, "--output", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err
