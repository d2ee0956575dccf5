"""Methods and processor options of a user's own, as docs/bring_your_own.md shows them."""

import json
import shutil

import numpy as np
import pyarrow.dataset as ds
import pytest
from conftest import REPOSITORY

from hhh_coffea.lazy import open_events, reconstruct
from hhh_coffea.results.directory import read_histograms
from hhh_coffea.run import main

EXAMPLES = REPOSITORY / "docs" / "examples"
RUN = ["--fileset", "demo", "--datasets", "HH", "--metrics", "default", "--no-plots"]


def run_with(method, output, *arguments):
    return main([*RUN, "--methods", f"chi2,{method}", "--output", str(output), *arguments])


@pytest.fixture(scope="module")
def in_this_process(tmp_path_factory):
    output = tmp_path_factory.mktemp("own") / "results"
    assert run_with(EXAMPLES / "nearest_pairs.py", output, "--candidates") == 0
    return output


def test_a_method_of_ones_own_is_measured_beside_the_others(in_this_process):
    summary = json.loads((in_this_process / "summary.json").read_text())["results"]["HH"]["default"]
    assert set(summary) == {"chi2", "NearestPairs"}
    own, chi2 = (summary[name]["categories"]["merged"] for name in ("NearestPairs", "chi2"))
    assert own["targets"] == chi2["targets"]  # identical events
    assert own["candidates"] == chi2["candidates"]  # both make two pairs of the first four jets
    assert 0 < own["correct"] < chi2["correct"]
    models = json.loads((in_this_process / "provenance.json").read_text())["models"]
    assert models["method NearestPairs"]["file"].endswith("nearest_pairs.py")


def test_its_pairs_are_nearest_in_delta_r(in_this_process):
    """Against plain loops: among the first four jets the first pair is the nearest of six, the second what is left."""
    jets = open_events("demo", "HH", mode="virtual").Jet
    table = ds.dataset(in_this_process / "candidates").to_table(filter=ds.field("method") == "NearestPairs").to_pandas()
    for entry, rows in list(table.groupby("entry"))[:200]:
        four = sorted({int(j) for name in ("jet1", "jet2") for j in rows[name]})
        assert len(four) == 4
        eta, phi = (np.asarray(jets[name][entry], dtype=float)[four] for name in ("Eta", "Phi"))
        dphi = (phi[:, None] - phi + np.pi) % (2 * np.pi) - np.pi
        distance = np.hypot(eta[:, None] - eta, dphi) + np.diag(np.full(4, np.inf))
        nearest = {four[i] for i in np.unravel_index(distance.argmin(), (4, 4))}
        assert nearest in [{int(a), int(b)} for a, b in zip(rows.jet1, rows.jet2, strict=True)]


@pytest.mark.parametrize("executor", ["futures", "dask"])
def test_it_runs_on_all_executors_and_its_file_is_needed_on_the_driver_only(executor, in_this_process, tmp_path):
    own = shutil.copy(EXAMPLES / "nearest_pairs.py", tmp_path / "mine.py")
    output = tmp_path / "results"
    assert run_with(f"{own}:NearestPairs", output, "--executor", executor, "--workers", "2", "--chunksize", "1500") == 0
    assert (output / "histograms.json").read_bytes() == (in_this_process / "histograms.json").read_bytes()


def test_interactively():
    events = open_events("demo", "HH")
    candidates = reconstruct(events, str(EXAMPLES / "nearest_pairs.py")).compute()
    assert {"mass", "correct"} <= set(candidates.fields)


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ("class A:\n    def reconstruct(self, record, analysis)\n", 2, "mine.py:2: cannot be imported: SyntaxError"),
        ("import numpy\nimport not_there\n", 2, "mine.py:2: cannot be imported: ModuleNotFoundError"),
        ("x = 1\n", 2, "has no method class; give one a method reconstruct"),
        ("class A:\n    def reconstruct(self, record, analysis): ...\nclass B(A): ...\n", 2, "name one: PATH.py:Class"),
        (
            "class A:\n    def reconstruct(self, record, analysis):\n        return record.jetz\n",
            1,
            "mine.py:3 in reconstruct",
        ),
        (
            "class A:\n    def reconstruct(self, record, analysis):\n        return record.jets\n",
            1,
            "method A of mine.py",
        ),
        ("class A:\n    def __init__(self, x): ...\n    def reconstruct(self, r, n): ...\n", 2, "A() cannot be made"),
    ],
)
def test_mistakes_are_named_with_file_and_line(text, code, says, tmp_path, capsys):
    (tmp_path / "mine.py").write_text(text)
    assert run_with(tmp_path / "mine.py", tmp_path / "results") == code
    captured = capsys.readouterr()
    assert says in " ".join((captured.out + captured.err).split())


def test_two_methods_of_one_name_and_missing_files_are_refused(tmp_path, capsys):
    own = EXAMPLES / "nearest_pairs.py"
    assert run_with(f"{own},{own}:NearestPairs", tmp_path / "results") == 2
    assert "two methods are called 'NearestPairs'" in capsys.readouterr().err
    assert run_with(tmp_path / "none.py:A", tmp_path / "results") == 2
    assert "no such file" in capsys.readouterr().err
    assert run_with("chi3", tmp_path / "results") == 2
    assert "did you mean" in capsys.readouterr().err


def test_an_edited_method_takes_nothing_from_an_earlier_run():
    from hhh_coffea.engine.fingerprint import state_of
    from hhh_coffea.methods import method_options
    from hhh_coffea.methods.user_method import UserMethod

    made = method_options([str(EXAMPLES / "nearest_pairs.py")]).own["NearestPairs"]
    edited = UserMethod(made.name, made.file, "0" * 64, made.instance)
    assert state_of(made) != state_of(edited)


def test_options_of_ones_own_processor(tmp_path, capsys):
    def run(*arguments):
        processor = ["--processor", str(EXAMPLES / "leading_jets.py"), "--output", str(tmp_path / "results")]
        return main(["--fileset", "demo", "--datasets", "HH", "--no-plots", *processor, *arguments])

    def filled():
        return read_histograms(tmp_path / "results")[0]["leading_pt"].sum(flow=True)

    assert run("--set", "n_jets=1") == 0
    one = filled()
    assert run("--set", "n_jets=3", "--set", "pt_min=20.0") == 0
    assert filled() == 3 * one  # every selected event has at least four jets
    config = tmp_path / "run.yaml"
    config.write_text("options: {n_jets: 1}\n")
    assert run("--config", str(config)) == 0
    assert filled() == one
    for arguments, says in (
        (["--set", "jets=3"], "option 'jets' has no effect (did you mean 'n_jets'?): LeadingJets"),
        (["--set", "n_jets"], "'n_jets' is not NAME=VALUE"),
        (["--set", "n_jets=1", "--set", "n_jets=2"], "'n_jets' is given twice"),
        (["--set", "chunksize=2"], "'chunksize' is an option of the run itself: --chunksize"),
    ):
        assert run(*arguments) == 2
        assert says in capsys.readouterr().err
