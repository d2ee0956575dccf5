"""Figures of declared quantities: which are drawn, what stands in them, and their captions."""

import hist
import numpy as np
import pytest
from kept_axes import Kept

from hhh_coffea.figures import quantities, targets
from hhh_coffea.figures.report import captions
from hhh_coffea.results.directory import read_histograms, read_json
from hhh_coffea.results.histograms import generated
from hhh_coffea.results.summary import counts
from hhh_coffea.run import main


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quantities") / "r"
    assert main(["--fileset", "demo_tops", "--datasets", "tth,ttbb", "--no-plots", "--output", str(folder)]) == 0
    return folder


def test_figures_of_signal_and_background(results, tmp_path):
    histograms, datasets = read_histograms(results)
    write = Kept(tmp_path)
    for name, info in datasets.items():
        quantities.draw(write, histograms, name, "default", info)
    drawn = {str(path.relative_to(tmp_path)) for path in write.written}
    for_all = {"spectrum_leptonic_w_mass", "spectrum_mass_by_chi2"}
    with_truth = {"spectrum_neutrino_eta_residual", "assignment_confusion_chi2"}
    with_truth |= {f"efficiency_{name}" for name in ("number_of_jets", "ttbar_mass", "generated_pt")}
    assert drawn == {f"tth/{name}" for name in for_all | with_truth} | {f"ttbb/{name}" for name in for_all}
    for path in drawn:
        assert (tmp_path / f"{path}.png").stat().st_size > 10_000
        assert captions.caption(path) != path.rpartition("/")[2].replace("_", " ")  # each has one of its own
    titles = [axis.get_legend().get_title().get_text() for axis in write.axes["tth/spectrum_mass_by_chi2"]]
    assert titles == ["$t_H$, χ²", "$W$ of $t_H$, χ²", "$t_L$, χ²", "$H$, χ²"]
    entries = [text.get_text() for text in write.axes["tth/spectrum_mass_by_chi2"][0].get_legend().get_texts()]
    assert set(entries) == {"correct", "wrong", "not reconstructable", "statistical uncertainty"}
    entries = [text.get_text() for text in write.axes["ttbb/spectrum_mass_by_chi2"][0].get_legend().get_texts()]
    assert set(entries) == {"no truth", "statistical uncertainty"}
    labels = [text.get_text() for text in write.axes["tth/assignment_confusion_chi2"][0].get_yticklabels()]
    assert labels == ["$t_H$\nb", "$t_H$\nq1, q2", "$t_L$\nb", "$H$\nb1, b2"]
    shares = [
        float(text.get_text().partition("%")[0]) for text in write.axes["tth/assignment_confusion_chi2"][0].texts[:20]
    ]
    np.testing.assert_allclose(np.reshape(shares, (4, 5)).sum(axis=1), 100, atol=0.3)
    assert [len(axes) for name, axes in write.axes.items() if name == "tth/efficiency_generated_pt"] == [3]


def test_generated_particles_are_the_base_of_their_own_kind(results):
    """Every selected event of ttH has one particle of each kind; the shares with a target are those of the efficiency table."""
    histograms, _ = read_histograms(results)
    shares = read_json(results / "summary.json")["assignments"]["tth"]["default"]["chi2"]["shares"]["all"]
    key = {"dataset": "tth", "definition": "default"}
    for kind in ("ht", "lt", "h"):
        every, found = (counts(histograms["generated_pt"], {**key, "target": name}) for name in (generated(kind), kind))
        assert every.sum() == shares[kind]["denominator"]
        assert found.sum() == shares[kind]["numerator"]


def test_masses_of_few_targets_are_no_density(results, tmp_path):
    """A kind with fewer than 50 entries is named and not drawn; without any other there is no figure."""
    histograms, datasets = read_histograms(results)
    write = Kept(tmp_path)
    key = {"dataset": "tth", "definition": "default"}
    targets.draw(write, histograms, key, datasets["tth"])
    left, right = write.axes["tth/default_target_mass"]
    assert [text.get_text() for text in right.get_legend().get_texts()] == ["$t_H$", "$t_L$", "$H$"]
    assert right.get_xlim()[0] > 0
    assert left.get_xlim()[0] > 60
    few = {**histograms, "generated_pt": histograms["generated_pt"].copy()}
    place = {**key, "target": "h"}
    few["generated_pt"][{name: hist.loc(value) for name, value in place.items()}] = np.eye(21, dtype=int)[3] * 11
    targets.draw(write, few, key, datasets["tth"])
    entries = [text.get_text() for text in write.axes["tth/default_target_mass"][1].get_legend().get_texts()]
    assert set(entries) == {"$t_H$", "$t_L$", "$H$: 11 entries, not drawn"}
    write.axes.clear()
    few["generated_pt"] = histograms["generated_pt"] * 0
    targets.draw(write, few, key, datasets["tth"])
    assert not write.axes


def test_spread_of_a_known_shape():
    """A flat distribution from −1 to 1: central 68.27%, and RMS 1/√3."""
    flat = hist.Hist(hist.axis.Regular(2000, -1, 1, name="value"), storage=hist.storage.Weight())
    flat.fill(np.linspace(-0.9995, 0.9995, 2000))
    assert quantities._spread(flat) == "68%: −0.683 to 0.683, RMS 0.577"
