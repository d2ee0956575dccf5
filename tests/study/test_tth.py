"""The study of ttH on the demo events: every stage, the numbers it writes, and that it is not repeated."""

from __future__ import annotations

import json

import numpy as np
import pytest
from conftest import REPOSITORY
from scipy.stats import norm

from hhh_coffea.figures.report.page import Page, Section, Table, write_page
from hhh_coffea.inference.binning import TransformationD
from hhh_coffea.study.command import main
from hhh_coffea.study.event_table import EventTable, Totals
from hhh_coffea.study.tth import bdt, fine_tuning, measurement, page, published
from hhh_coffea.study.tth.discriminants import Discriminants, separation
from hhh_coffea.study.tth.fine_tuning import HeadOptions
from hhh_coffea.study.tth.variables import EVENT_VARIABLES, METHOD_VARIABLES


@pytest.fixture(scope="module")
def gaussian():
    """Two discriminants of events whose separation is known: means that differ by 1 and by 0.5 standard deviations."""
    random = np.random.default_rng(3)
    signal = np.repeat([True, False], [4000, 5000])
    near, far = (norm.cdf(random.normal(size=9000) + distance * signal) for distance in (0.5, 1.0))
    return Discriminants({"near": near, "far": far}, signal, np.ones(9000))


def test_separation_of_gaussians(gaussian):
    """AUC = Φ(d/√2), and its error that of Hanley and McNeil (1982) within a fifth."""
    found = separation(gaussian, 60, 1)
    for name, distance in (("near", 0.5), ("far", 1.0)):
        auc = norm.cdf(distance / np.sqrt(2))
        value, error = found[name]["auc"]
        q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
        expected = np.sqrt((auc * (1 - auc) + 3999 * (q1 - auc**2) + 4999 * (q2 - auc**2)) / (4000 * 5000))
        assert value == pytest.approx(auc, abs=4 * expected)
        assert error == pytest.approx(expected, rel=0.25)
        assert found[name]["curve"][-1] == pytest.approx(1)
    assert found["near"]["difference"] == [0, 0]
    assert found["far"]["difference"][0] > 5 * found["far"]["difference"][1]


def test_table_2_of_gaussians(gaussian):
    shares = TransformationD(z_signal=2.5, z_background=2.5)
    expected = measurement.Expected.of(500.0, 20_000.0)
    table = measurement.table_2(gaussian, expected, shares, 5, 1)
    near, far = (table[name]["published"]["Run 2"] for name in ("near", "far"))
    assert near["shapesys"]["ratio"] == [1.0, 0.0]
    for model in measurement.MODELS:
        assert far[model]["significance"][0] > near[model]["significance"][0]
        assert far[model]["mu_limit"][0] < near[model]["mu_limit"][0]
        mu, error = far[model]["mu_limit"]
        assert far[model]["cross_section_limit"] == pytest.approx([0.507 * mu, 0.507 * error])
    assert far["normsys"]["significance"][0] > far["shapesys"]["significance"][0]
    assert sum(table["far"]["events"]["signal"]) == 4000
    # half the signal, half the significance where that of the background dominates
    s, b = measurement.fine_histograms(gaussian, "far")
    assert (s.sum(), b.sum()) == (pytest.approx(1), pytest.approx(1))
    rows = measurement.scan_of_shares(gaussian, "far", expected, 5.0)
    assert len(rows) == 11
    assert rows[5]["shapesys"] == pytest.approx(table["far"]["own"]["Run 2"]["shapesys"]["significance"][0])


def test_a_classifier_that_learnt_nothing_is_said(gaussian):
    shown = separation(gaussian, 20, 1)
    bins = {name: {"edges": [0.0, 0.5, 1.0]} for name in shown}
    assert page.warnings(shown, bins) == []
    shown["near"]["auc"] = [0.5, 0.0]  # no tree, as after too few events
    bins["near"] = {"edges": [0.0, 1.0]}
    (warning,) = page.warnings(shown, bins)
    assert "its AUC is 0.500 ± 0.000, and 0.5 is no separation; all events are in one bin" in warning


def test_tables_leave_out_empty_columns(tmp_path):
    table = Table("it", ["method", "published", "ours"], [["a", "–", "1"], ["b", "–", "–"]])
    assert table.without_empty_columns().header == ["method", "ours"]
    write_page(tmp_path / "it.html", Page("it", "", "", [Section("one", tables=[table] * 3)], ["nothing learnt"]))
    text = (tmp_path / "it.html").read_text()
    assert "Further tables (1)" in text
    assert text.count("<details>") == text.count("</details>") == 1
    assert "published" not in text
    assert "box good" not in text


def test_growth_from_run_2_to_run_3(gaussian):
    """10% → 7% at 2.14 times the events: 10/7 or √2.14 at most; 10% → 5%: twice where bins are uncertain on their own."""
    found = measurement.growth(gaussian, measurement.Expected.of(500.0, 20_000.0), TransformationD())["far"]
    assert found["shapesys, 7%"] == pytest.approx(10 / 7, rel=0.03)
    assert found["shapesys, 5%"] == pytest.approx(2.0, rel=0.07)
    assert found["normsys, 7%"] == pytest.approx(np.sqrt(300 / 140), rel=0.03)


def test_published_limits_obey_their_cross_section():
    """σ limit = μ limit × 0.507 pb in every row, to rounding."""
    for runs in published.TABLE_2.values():
        for _, cross_section, mu in runs.values():
            assert cross_section == pytest.approx(0.507 * mu, abs=8e-4)


def columns(n, shift, seed, method="spanet"):
    random = np.random.default_rng(seed)
    names = [*EVENT_VARIABLES, *(f"{method}.{name}" for name in METHOD_VARIABLES)]
    names += [f"{method}.{kind}.{score}" for kind in bdt.KINDS for score in ("ap", "dp", "entropy")]
    found = {name: random.normal(size=n) for name in names}
    found["ht_hadronic"] = found["ht_hadronic"] + shift
    return found | {"weight": np.ones(n), "spanet.h.ap": np.where(random.random(n) < 0.1, np.nan, 0.5)}


def test_inputs_of_the_bdts():
    one = columns(50, 0.0, 1)
    assert [len(bdt.input_names(method, {**one, "pdnn.score": 1})) for method in ("chi2", "pdnn", "spanet")] == [
        14,
        15,
        26,
    ]
    names = bdt.input_names("spanet", one)
    rows = bdt.inputs(one, names)
    assert rows.shape == (50, 26)
    place = names.index("spanet.lt.marginal")
    np.testing.assert_allclose(rows[:, place], (one["spanet.lt.ap"] * one["spanet.lt.dp"]), rtol=1e-6)


def test_a_bdt_learns_and_weighs_classes_alike():
    names = bdt.input_names("spanet", columns(1, 0, 1))
    training, validation = (bdt.sample(columns(n, 1.0, n), columns(3 * n, 0.0, n + 1), names) for n in (800, 200))
    assert training.weight[training.signal].sum() == pytest.approx(training.weight[~training.signal].sum())
    booster = bdt.train(training, validation, names)
    again = bdt.train(training, validation, names)
    rows = bdt.inputs(columns(500, 1.0, 9), names)
    assert bytes(booster.save_raw("ubj")) == bytes(again.save_raw("ubj"))
    assert booster.num_boosted_rounds() <= bdt.TREES
    assert (
        bdt.scores(booster, rows, names).mean()
        > bdt.scores(booster, bdt.inputs(columns(500, 0.0, 8), names), names).mean()
    )


def test_a_head_learns_from_vectors(tmp_path):
    random = np.random.default_rng(5)

    def events(n, shift, is_signal):
        vector = random.normal(size=(n, 8)).astype(np.float32)
        vector[:, 0] += shift
        own = {
            "vector": vector,
            "n_btags": np.full(n, 4),
            "weight": np.ones(n),
            "split": random.random(n).astype(np.float32),
        }
        return own, Totals(n, float(n), (), is_signal)

    (s, of_s), (b, of_b) = events(3000, 1.0, True), events(1000, 0.0, False)
    table = EventTable({"s": s, "b": b}, {"s": of_s, "b": of_b})
    options = HeadOptions(epochs=15, hidden=16, learning_rate=1e-2, validation_fraction=0.2)
    fine_tuning.train_head(tmp_path, table, options, lambda _: None)
    best = max(entry["auc"] for entry in json.loads((tmp_path / fine_tuning.CARD).read_text())["history"])
    assert best == pytest.approx(norm.cdf(1 / np.sqrt(2)), abs=0.04)
    first = fine_tuning.scores(tmp_path, s)
    fine_tuning.train_head(tmp_path, table, options, lambda _: None)
    np.testing.assert_array_equal(first, fine_tuning.scores(tmp_path, s))
    # classes weigh alike though there are three times as many of one
    assert abs(np.concatenate([first, fine_tuning.scores(tmp_path, b)[:1000].repeat(3)]).mean() - 0.5) < 0.05


@pytest.fixture(scope="module")
def filesets(tmp_path_factory):
    """The demo events of ttH and ttbb."""
    folder = tmp_path_factory.mktemp("filesets")
    demo = json.loads((REPOSITORY / "fileset" / "demo_tops.json").read_text())
    found = {name: demo[name] for name in ("tth", "ttbb")}
    for entry in found.values():
        entry["files"] = {str(REPOSITORY / "fileset" / file): tree for file, tree in entry["files"].items()}
    (folder / "events.json").write_text(json.dumps(found))
    return folder


def test_a_study_without_the_network(filesets, tmp_path, capsys):
    command = [
        "tth",
        "--fileset",
        str(filesets / "events.json"),
        "--methods",
        "chi2",
        "--output",
        str(tmp_path / "out"),
    ]
    assert main([*command, "--bootstrap", "3"]) == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert list(summary["table_2"]) == ["chi2"]
    own = [f"chi2.{name}" for name in (*METHOD_VARIABLES, "score")]
    assert summary["bdt"]["chi2"]["inputs"] == [*EVENT_VARIABLES, *own]
    counts = summary["events"]["tth"]
    assert counts["train"] + counts["validation"] + counts["fit"] == counts["selected"] > 50
    assert "data:image/png" in (tmp_path / "out" / "report.html").read_text()
    names = {path.name for path in (tmp_path / "out" / "plots").glob("*.png")}
    assert names == {"roc.png", "learning_curve.png", "significance.png", "mu_limit.png", "score_chi2.png"}
    first = (tmp_path / "out" / "summary.json").read_bytes()
    capsys.readouterr()
    assert main([*command, "--bootstrap", "3"]) == 0
    assert capsys.readouterr().out.count("done before") == 5
    assert (tmp_path / "out" / "summary.json").read_bytes() == first
    assert main([*command, "--bootstrap", "4"]) == 0
    assert "stage events: done before" in capsys.readouterr().out


@pytest.mark.slow
def test_a_study_with_all_methods(filesets, tmp_path, shared_dir):
    """The networks' own training files serve for fine-tuning; all weights are trained again too."""
    command = ["tth", "--quick", "--fileset", str(filesets / "events.json"), "--output", str(tmp_path / "out")]
    training = {
        name: {
            "files": [str(shared_dir / "data" / "tops" / f"{name}_train_00.root")],
            "metadata": {"format": "delphes", "analysis": "tth_semileptonic", "is_signal": name == "tth"},
        }
        for name in ("tth", "ttbb")
    }
    (tmp_path / "training.json").write_text(json.dumps(training))
    command += ["--training-fileset", str(tmp_path / "training.json"), "--bootstrap", "2", "--unfreeze", "1"]
    assert main([*command, "--methods", "pdnn,spanet"]) == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert list(summary["separation"]) == ["pdnn", "spanet", "pretraining", "fine_tuning", "fine_tuning_all_weights"]
    assert len(summary["bdt"]["spanet"]["inputs"]) == 26
    for name in ("pretraining", "fine_tuning", "fine_tuning_all_weights"):
        assert summary["separation"][name]["auc"][0] > 0.6
    assert summary["separation"]["pretraining"]["auc"] != summary["separation"]["fine_tuning"]["auc"]


def test_files_that_are_classified_and_trained_on_are_refused(filesets, tmp_path, capsys):
    events = str(filesets / "events.json")
    command = ["tth", "--fileset", events, "--methods", "spanet", "--training-fileset", events]
    assert main([*command, "--output", str(tmp_path / "out"), "--bootstrap", "2"]) == 2
    assert "tth.root is also in the training fileset" in capsys.readouterr().err


def test_events_of_one_class_are_refused(filesets, tmp_path, capsys):
    only = json.loads((filesets / "events.json").read_text())
    (tmp_path / "one.json").write_text(json.dumps({"tth": only["tth"]}))
    command = ["tth", "--fileset", str(tmp_path / "one.json"), "--methods", "chi2", "--output", str(tmp_path / "out")]
    assert main(command) == 2
    assert "no selected events of background" in capsys.readouterr().err


def test_mistakes_in_options_are_named(capsys, tmp_path):
    with pytest.raises(SystemExit):
        main(["tth", "--bootstrap", "1"])
    assert "1 is not 2 or more" in capsys.readouterr().err
    assert main(["tth", "--methods", "nothing", "--output", str(tmp_path)]) == 2
    assert "no method 'nothing'" in capsys.readouterr().err
