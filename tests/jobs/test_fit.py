"""``hhh fit`` on the demo sample: numbers by hand, files that read back to the same result, and mistakes by name."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from conftest import DEMO

from hhh_coffea.fit import main
from hhh_coffea.inference.datacard_reader import read_datacard
from hhh_coffea.inference.likelihood import Likelihood
from hhh_coffea.inference.limits import expected_limits, expected_significance
from hhh_coffea.inference.model import read_workspace
from hhh_coffea.results import directory as results
from hhh_coffea.run import main as run

HHH, QCD = {"cross_section": 1e-4, "branching": 0.1975}, {"cross_section": 148.0, "filter_efficiency": 0.266}


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    output = tmp_path_factory.mktemp("demo") / "results"
    options = ["--fileset", "demo", "--luminosity", "3000", "--metrics", "default", "--no-plots"]
    assert run([*options, "--output", str(output)]) == 0
    return output


@pytest.fixture
def copied(demo, tmp_path):
    """Results that a test may change."""
    return shutil.copytree(demo, tmp_path / "results")


@pytest.fixture(scope="module")
def with_data(tmp_path_factory):
    """Signal, background, and data: a copy of the background's file, scaled such that it is as many events."""
    folder = tmp_path_factory.mktemp("data")
    for name in ("hhh", "qcd"):
        shutil.copy(DEMO / f"{name}.root", folder)
    shutil.copy(DEMO / "qcd.root", folder / "data.root")
    metadata = {"format": "delphes", "n_higgs": 3}
    content = {
        "HHH": {"files": ["hhh.root"], "metadata": {**metadata, **HHH, "cross_section": 2.0}},
        "QCD": {"files": ["qcd.root"], "metadata": {**metadata, "is_signal": False, "cross_section": 5.0}},
        "Data": {"files": ["data.root"], "metadata": {**metadata, "is_data": True}},
    }
    (folder / "fileset.json").write_text(json.dumps(content))
    options = ["--fileset", str(folder / "fileset.json"), "--luminosity", "1", "--metrics", "default"]
    assert run([*options, "--output", str(folder / "results")]) == 0
    return folder / "results"


def fitted(folder, *options):
    assert main([str(folder), "--no-plots", *options]) == 0
    return json.loads((folder / "fit" / "fit.json").read_text())


def test_the_demo(copied, capsys):
    """Yields by hand: L·σ·BR·ε, and the share of events with six jets; HH is selected otherwise."""
    assert main([str(copied)]) == 0
    printed = capsys.readouterr().out
    assert "10% in total" in printed
    assert "observable ranked_mass (Candidate mass [GeV]), definition=default, rank=0" in printed
    assert f"written to {copied.resolve() / 'fit'} in" in " ".join(printed.split())
    assert "discovery significance" not in printed  # --verbose has it
    assert "'HH' is left out: its analysis is 'hh'" in printed
    entry = json.loads((copied / "fit" / "fit.json").read_text())["methods"]["chi2"]
    yields = {name: sum(values) for name, values in entry["yields"]["prefit"]["all"]["processes"].items()}
    assert yields["HHH"] == pytest.approx(3e6 * 1e-4 * 0.1975 * 4225 / 5000)
    assert yields["QCD"] == pytest.approx(3e6 * 148 * 0.266 * 2176 / 5000)
    assert len(entry["yields"]["prefit"]["all"]["edges"]) == 6  # five bins
    assert 0 < entry["significance"]["expected"] < 0.01
    low, median, high = (entry["limit"]["expected"][n] for n in ("-1", "0", "1"))
    assert 1000 < low < median < high
    assert entry["limit"]["observed"] is None
    assert "discovery significance" in (copied / "fit" / "table.txt").read_text()
    names = {str(p.relative_to(copied / "fit" / "plots")) for p in (copied / "fit" / "plots").rglob("*.png")}
    assert names == {"chi2/prefit_all.png", "chi2/pulls.png", "chi2/scan_mu.png"}
    report = (copied / "report.html").read_text()
    assert '<section id="fit">' in report
    assert "chi2/prefit_all." in report
    assert "All numbers are expected ones: no data are fitted." in " ".join(report.split())


def test_files_give_the_same_result(copied):
    """The workspace through its own reader, and the datacard through ours, as read back from disk."""
    entry = fitted(copied, "--mc-statistics", "--background-model", "normsys")["methods"]["chi2"]
    folder = copied / "fit" / "chi2"
    for workspace in (read_workspace(folder / "workspace.json"), read_datacard(folder / "datacard.txt")):
        likelihood = Likelihood(workspace)
        assert expected_significance(likelihood) == pytest.approx(entry["significance"]["expected"], rel=1e-3)
        assert expected_limits(likelihood).median == pytest.approx(entry["limit"]["expected"]["0"], rel=1e-3)


def test_luminosity_scales_the_events(copied):
    few, many = (
        fitted(copied, "--luminosity", str(n))["methods"]["chi2"]["yields"]["prefit"]["all"]["processes"]["QCD"]
        for n in (300, 3000)
    )
    assert np.array(many) == pytest.approx(10 * np.array(few))


def test_several_entries_of_an_event_are_warned_of(copied):
    assert not any("one entry per candidate" in text for text in fitted(copied)["warnings"])
    found = fitted(copied, "--observable", "candidate_mass", "--select", "category=merged")["warnings"]
    assert any("candidate_mass has one entry per candidate" in text for text in found)


def test_options_reach_the_model(copied, tmp_path):
    """From the command line and from a file: the command line wins."""
    (tmp_path / "fit.yaml").write_text("background-uncertainty: 0.3\nz_signal: 1.0\nselect: {rank: 1}\n")
    options = ["--config", str(tmp_path / "fit.yaml"), "--background-uncertainty", "0.2", "--normalisation", "QCD=0.5"]
    found = fitted(copied, *options, "--luminosity-uncertainty", "0.02", "--binning", "automatic")
    assert found["options"]["background_uncertainty"] == 0.2
    assert found["options"]["select"] == {"rank": 1}
    workspace = read_workspace(copied / "fit" / "chi2" / "workspace.json")
    modifiers = {m["name"] for s in workspace["channels"][0]["samples"] for m in s["modifiers"]}
    assert {"luminosity", "normalisation_QCD", "mu", "uncorrelated_all_QCD"} == modifiers
    assert len(workspace["observations"][0]["data"]) <= 4
    stored = fitted(copied, "--binning", "stored", "--select", "rank=0", "--signal", "HHH", "--datasets", "HHH,QCD")
    assert len(stored["methods"]["chi2"]["yields"]["prefit"]["all"]["edges"]) > 20
    assert stored["warnings"], "empty bins at the ends are left out"


def test_blind_unless_asked(with_data, tmp_path):
    """Data are neither fitted nor written nor drawn without --unblind."""
    blind = fitted(with_data)["methods"]["chi2"]
    assert (blind["unblinded"], blind["limit"]["observed"], blind["significance"]["observed"]) == (False, None, None)
    workspace = read_workspace(with_data / "fit" / "chi2" / "workspace.json")
    assert not np.allclose(np.array(workspace["observations"][0]["data"]) % 1, 0), "expected events, not counts"
    seen = fitted(with_data, "--unblind")["methods"]["chi2"]
    assert seen["limit"]["observed"] > 0
    data = seen["yields"]["prefit"]["all"]["data"]
    assert sum(data) == pytest.approx(2176)
    assert seen["yields"]["prefit"]["all"]["processes"]["QCD"] == pytest.approx(data)
    assert abs(seen["best_fit"]["mu"]) < 1e-3, "data are the background"


def test_data_stand_on_the_stack(with_data):
    drawn = {path.stem for path in (with_data / "plots").glob("*.png")}
    assert len([name for name in drawn if name.startswith("stack_")]) == 3
    cuts = json.loads((with_data / "cutflow.json").read_text())["datasets"]
    assert cuts["QCD"]["cuts"][-1]["expected_events"] == pytest.approx(2176)
    assert "expected_events" not in cuts["Data"]["cuts"][-1]
    content = json.loads((with_data / "histograms.json").read_text())["datasets"]
    assert content["Data"]["is_data"] is True
    assert "is_data" not in content["QCD"], "files of runs without data are as before"


def test_luminosity_changes_no_histogram(demo, tmp_path):
    output = tmp_path / "plain"
    assert run(["--fileset", "demo", "--metrics", "default", "--no-plots", "--output", str(output)]) == 0
    assert (output / "histograms.json").read_bytes() == (demo / "histograms.json").read_bytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--signal", "ZZZ"], "option 'signal': no dataset 'ZZZ'; there are HHH, HH, QCD"),
        (["--datasets", "HHH"], "no signal has a background with the same selection"),
        (["--signal", "HH"], "there is no background"),
        (["--signal", "HH,HHH"], "are of different analyses"),
        (["--methods", "spanet"], "no 'spanet' in ranked_mass; there are chi2"),
        (["--observable", "mass"], "no histogram 'mass'; there are boosted_mass"),
        (["--observable", "confusion"], "choose a value of all but one"),
        (["--select", "rank=9"], "rank=9 is outside the axis"),
        (["--select", "rank=a"], "rank=a must be a number"),
        (["--select", "colour=1"], "no axis 'colour'"),
        (["--select", "definition=reference"], "has no 'reference' on its axis 'definition': choose one of default"),
        (["--select", "rank"], "is not NAME=VALUE"),
        (["--unblind"], "no dataset is data"),
        (["--luminosity", "-1"], "option 'luminosity'"),
        (["--normalisation", "TT=0.1"], "no process 'TT'"),
        (["--normalisation", "QCD=2"], "option 'normalisation'"),
        (["--z-signal", "0.2", "--z-background", "0.3"], "must be at least 1"),
        (["--binning", "stored", "--z-signal", "2"], "belong to binning 'automatic'"),
        (["--scan", "kappa5"], "'kappa5' needs a range"),
        (["--scan", "kappa3=5:1"], "is not below"),
        (["--scan", "kappa3=1"], "is not NAME=LOW:HIGH"),
        (["--scan", "kappa3"], "hhh run --couplings"),
        (["--label-text", "Preliminary"], "give label too"),
        (["--background-uncertainty", "1.5"], "option 'background_uncertainty'"),
    ],
)
def test_mistakes_are_named(copied, capsys, options, message):
    assert main([str(copied), "--no-plots", *options]) == 2
    assert message in capsys.readouterr().err
    assert not (copied / "fit").exists(), "nothing is written by a fit that fails"


def test_results_that_cannot_be_fitted(copied, tmp_path, capsys):
    assert main([str(tmp_path / "nowhere")]) == 2
    assert "no results here" in capsys.readouterr().err
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    assert main([str(copied), "--output", str(tmp_path / "mine")]) == 2
    assert "contains no earlier fit" in capsys.readouterr().err
    assert (tmp_path / "mine" / "thesis.tex").exists()
    provenance = json.loads((copied / "provenance.json").read_text())
    for change, message in (
        (lambda p: p["config"].update(luminosity=None), "give --luminosity"),
        (lambda p: p["datasets"]["QCD"].update(cross_section=None), "process 'QCD' has no cross section"),
        (lambda p: p["sum_of_weights"].update(QCD=-3.0), "'QCD': the generator weights of all events add up to -3"),
        (lambda p: p.pop("sum_of_weights"), "the sum of its generator weights is not recorded"),
    ):
        changed = json.loads(json.dumps(provenance))
        change(changed)
        (copied / "provenance.json").write_text(json.dumps(changed))
        assert main([str(copied), "--no-plots"]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("factor", "message"),
    [
        (-1.0, "process 'QCD', variation 'nominal': the total of all bins is -"),
        (0.0, "no background event is in any region (all)"),
    ],
)
def test_templates_that_are_negative_or_empty(copied, capsys, factor, message):
    histograms, datasets = results.read_histograms(copied)
    masses = histograms["ranked_mass"]
    index = list(masses.axes["dataset"]).index("QCD")
    masses.view(flow=True)["value"][index] *= factor
    content = {"schema_version": results.SCHEMA_VERSION, "datasets": datasets, "histograms": histograms}
    results.write_json(copied / "histograms.json", content)
    options = ["--binning", "stored"] if factor < 0 else []
    assert main([str(copied), "--no-plots", *options]) == 2
    assert message in capsys.readouterr().err


def test_a_background_that_no_event_passes(tmp_path, write_fileset, capsys):
    """One of two backgrounds is empty: it is left out by name. All are empty: an error."""
    for name in ("a", "b"):
        shutil.copy(DEMO / "qcd.root", tmp_path / f"{name}.root")
    background = {"is_signal": False, "cross_section": 5.0}
    path = write_fileset(
        HHH=([str(DEMO / "hhh.root")], HHH),
        QCD=([str(tmp_path / "a.root")], background),
        Hard=([str(tmp_path / "b.root")], {**background, "selection": {"jet_pt_min": 3000.0}}),
    )
    options = ["--fileset", str(path), "--luminosity", "10", "--metrics", "default", "--no-plots"]
    assert run([*options, "--output", str(tmp_path / "r")]) == 0
    capsys.readouterr()
    found = fitted(tmp_path / "r")
    assert "no event of 'Hard'" in " ".join(found["warnings"])
    assert main([str(tmp_path / "r"), "--datasets", "HHH,Hard", "--no-plots"]) == 2
    assert "there is no background: no event of Hard passes" in capsys.readouterr().err


def test_a_luminosity_needs_cross_sections(tmp_path, write_fileset, capsys):
    path = write_fileset(A=([str(DEMO / "hhh.root")], {}), B=([str(DEMO / "qcd.root")], {"is_data": True}))
    assert run(["--fileset", str(path), "--luminosity", "10", "--output", str(tmp_path / "r")]) == 2
    assert "set 'cross_section' (pb) in the metadata of A" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


@pytest.fixture(scope="module")
def with_regions(tmp_path_factory):
    """HHH and QCD in regions of b tags, with two observables, at any couplings."""
    output = tmp_path_factory.mktemp("regions") / "results"
    regions = ["four=sum(jets.btag) == 4", "five=sum(jets.btag) >= 5", "none=sum(jets.btag) > 99"]
    observables = ["ht=sum(jets.pt)@40,0,2000,HT [GeV]", "lead=candidates.mass[0]@40,30,230"]
    options = [
        "--fileset",
        "demo",
        "--datasets",
        "HHH,QCD",
        "--luminosity",
        "3000",
        "--metrics",
        "default",
        "--no-plots",
    ]
    options += [word for region in regions for word in ("--region", region)]
    options += [word for one in observables for word in ("--observable", one)]
    assert run([*options, "--couplings", "--output", str(output)]) == 0
    return output


def test_regions_and_observables(with_regions, tmp_path, capsys):
    """Regions share out the events; an observable in one region is what the main histogram has; empty regions are named."""
    histograms, _ = results.read_histograms(with_regions)
    lead, ranked = histograms["observable_lead"], histograms["ranked_mass"]
    for dataset in ("HHH", "QCD"):
        counted = lead[{"dataset": dataset, "method": "chi2"}].project("value").values(flow=True)
        expected = ranked[{"dataset": dataset, "method": "chi2", "definition": "default", "rank": 0, "correct": sum}]
        both = lead[{"dataset": dataset, "method": "chi2", "region": sum}]
        assert (counted == both.values(flow=True)).all()
        assert 0 < counted.sum() <= expected.values(flow=True).sum()
    assert main([str(with_regions), "--no-plots"]) == 0
    printed = capsys.readouterr().out
    assert "region 'none': no event of any dataset passes" in printed
    entry = json.loads((with_regions / "fit" / "fit.json").read_text())["methods"]["chi2"]
    assert set(entry["yields"]["prefit"]) == {"four", "five"}
    workspace = read_workspace(with_regions / "fit" / "chi2" / "workspace.json")
    assert [channel["name"] for channel in workspace["channels"]] == ["five", "four"]
    ht = json.loads((with_regions / "provenance.json").read_text())["config"]["observables"]
    assert list(ht) == ["ht", "lead"]


def test_couplings_at_the_standard_model(with_regions):
    """Coefficients add up to 1 in every event: the templates at κ = 1 are those of the plain histogram."""
    histograms, datasets = results.read_histograms(with_regions)
    assert datasets["HHH"]["couplings"]["parameters"] == ["kappa3", "kappa4"]
    plain = histograms["observable_lead"][{"dataset": "HHH", "method": "chi2"}]
    sums = histograms["observable_lead_couplings_hhh_sums"][{"dataset": "HHH", "method": "chi2"}]
    np.testing.assert_allclose(sums.values(flow=True).sum(axis=-1), plain.values(flow=True), rtol=1e-9, atol=1e-9)
    products = histograms["observable_lead_couplings_hhh_products"][{"dataset": "HHH", "method": "chi2"}]
    from hhh_coffea.inference.couplings.polynomial import pair_monomials

    errors = products.values(flow=True) @ pair_monomials(np.ones(9))
    np.testing.assert_allclose(errors, plain.variances(flow=True), rtol=1e-9, atol=1e-9)


def test_scan_of_both_couplings(with_regions, tmp_path):
    """The rate at other couplings is the sum of event weights; contours, limits and warnings of few events are written."""
    folder = shutil.copytree(with_regions, tmp_path / "results")
    options = ["--observable", "lead", "--background-model", "normsys", "--background-uncertainty", "0.01"]
    assert main([str(folder), *options, "--scan", "kappa3=-9:11:5,kappa4=-199:201:5"]) == 0
    content = json.loads((folder / "fit" / "fit.json").read_text())
    scans = content["methods"]["chi2"]["couplings"]
    assert scans["kappa3"]["values"] == [-9, -4, 1, 6, 11]
    at_one = scans["kappa3"]["limits"][2]
    assert at_one == pytest.approx(list(content["methods"]["chi2"]["limit"]["expected"].values()), rel=1e-3)
    assert scans["kappa3"]["yields"]["HHH"][2] < scans["kappa3"]["yields"]["HHH"][0] / 50
    assert scans["kappa4"]["twice_delta_nll"][2] == pytest.approx(0, abs=1e-9)
    assert np.array(scans["plane"]["twice_delta_nll"]).shape == (5, 5)
    assert any("fewer than 10%" in warning for warning in content["warnings"])
    names = {path.stem for path in (folder / "fit" / "plots").glob("*.png")}
    assert names == {
        "contours",
        *(f"{w}_{k}" for w in ("limits", "likelihood", "effective_events") for k in ("kappa3", "kappa4")),
    }
    assert "kappa3" in (folder / "fit" / "table.txt").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--scan", "kappa5=0:1"], "does not depend on 'kappa5', but on kappa3, kappa4"),
        (["--scan", "kappa3", "--observable", "ranked_mass", "--select", "rank=1"], "no histogram of 'ranked_mass'"),
        (["--scan", "kappa3=0:1:3,kappa4,kappa5=0:1"], "one or two couplings"),
    ],
)
def test_scans_that_cannot_be_made(with_regions, capsys, options, message):
    assert main([str(with_regions), "--no-plots", *options]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--region", "a=sum(jet.btag)"], "there is no 'jet'"),
        (["--region", "a"], "is not NAME=EXPRESSION"),
        (["--region", "a: sum(jets.btag) >= 5"], "is not NAME=EXPRESSION"),
        (["--region", "a b=any(jets.btag)"], "option 'regions'"),
        (["--region", "a=any(jets.btag)", "--region", "a=any(jets.btag)"], "given twice"),
        (["--observable", "ht=sum(jets.pt)"], "is not EXPRESSION@BINS"),
        (["--observable", "ht=sum(jets.pt)@10,5,1"], "is not below"),
        (["--observable", "ht=open(jets.pt)@10,0,1"], "no function 'open'"),
    ],
)
def test_declarations_are_checked_before_anything_is_read(tmp_path, capsys, options, message):
    assert run(["--fileset", "demo", *options, "--output", str(tmp_path / "r")]) == 2
    assert message in capsys.readouterr().err
