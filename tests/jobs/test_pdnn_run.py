"""The permutation network in the main job: the shipped models, executors, candidates, interactive work, empty chunks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import awkward as ak
import hist
import numpy as np
import pandas as pd
import pytest

from hhh_coffea.lazy import open_events, reconstruct
from hhh_coffea.results.directory import read_histograms
from hhh_coffea.run import main

METHODS = "chi2,likelihood,pdnn"


def run(output: Path, *options: str) -> int:
    return main(["--output", str(output), "--fileset", "demo_tops", "--no-plots", *options])


def read(folder: Path, name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    return content


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pdnn") / "r"
    assert run(folder, "--methods", METHODS, "--candidates", "--chunksize", "350", "--device", "cpu") == 0
    return folder


def test_all_methods_on_identical_events(demo: Path) -> None:
    """Equal denominators; the network is ahead of χ²; its models stand in the provenance."""
    tables = read(demo, "summary")["assignments"]
    for name, least in (("ttbar", 0.55), ("tth", 0.2)):
        rows = {method: tables[name]["default"][method]["full"]["all"]["event"] for method in METHODS.split(",")}
        assert len({row["denominator"] for row in rows.values()}) == 1
        assert rows["pdnn"]["value"] > rows["chi2"]["value"]
        assert rows["pdnn"]["value"] > least
    models = read(demo, "provenance")["models"]
    assert {name: entry["name"] for name, entry in models.items()} == {
        "pdnn pdnn_ttbar": "pdnn_ttbar",
        "pdnn pdnn_tth": "pdnn_tth",
    }


@pytest.mark.parametrize("options", [("--executor", "futures", "--workers", "2")])
def test_executors_agree_to_the_last_byte(demo: Path, tmp_path: Path, options: tuple[str, ...]) -> None:
    other = tmp_path / "r"
    assert run(other, "--methods", METHODS, "--candidates", "--chunksize", "350", "--device", "cpu", *options) == 0
    for name in ("histograms.json", "summary.json", "cutflow.json"):
        assert (demo / name).read_bytes() == (other / name).read_bytes()
    keys = ["dataset", "method", "entry", "kind"]
    one, two = (pd.read_parquet(f / "candidates").sort_values(keys).reset_index(drop=True) for f in (demo, other))
    pd.testing.assert_frame_equal(one, two)


def test_candidates_have_scores(demo: Path) -> None:
    """−χ², ln L of the likelihood, a number between 0 and 1 of the network; the same for all targets of an event."""
    rows = pd.read_parquet(demo / "candidates")
    assert (rows[rows.method == "chi2"].score <= 0).all()
    assert (rows[rows.method == "likelihood"].score < 0).all()
    own = rows[rows.method == "pdnn"]
    assert own.score.between(0, 1).all()
    assert own.assignment_probability.between(0, 1).all()
    for _, group in own[own.dataset == "tth"].groupby("entry").score:
        assert len(group) == 3
        assert group.nunique() == 1
    # a greater probability is right more often
    found = own[own.dataset == "ttbar"].astype({"correct": bool})
    half = found.assignment_probability > found.assignment_probability.median()
    assert found[half].correct.mean() > found[~half].correct.mean() + 0.1
    best = found[found.score > found.score.quantile(0.8)]
    assert best.correct.mean() > found.correct.mean() + 0.05


def test_interactive_numbers_are_those_of_the_main_job(demo: Path) -> None:
    rows = pd.read_parquet(demo / "candidates")
    rows = rows[(rows.dataset == "ttbar") & (rows.method == "pdnn")].sort_values("entry", kind="stable")
    found = reconstruct(open_events("demo_tops", "ttbar", mode="virtual"), "pdnn")
    np.testing.assert_array_equal(ak.to_numpy(ak.flatten(found.correct)), rows.correct.astype(bool))
    np.testing.assert_allclose(ak.to_numpy(ak.flatten(found.score)), rows.score, atol=1e-5)


def test_a_region_of_good_scores(tmp_path: Path) -> None:
    region = "good=max(candidates.score) > 0.5"
    given = ("--datasets", "ttbar", "--methods", "chi2,pdnn", "--region", region)
    assert run(tmp_path / "r", *given, "--observable", "score=max(candidates.score)@20,0,1") == 0
    events = read_histograms(tmp_path / "r")[0]["region_events"]
    assert list(events.axes["method"]) == ["pdnn"]  # χ² has no score
    good = events[{"region": hist.loc("good"), "dataset": hist.loc("ttbar"), "method": hist.loc("pdnn")}]
    assert 0 < good.value < 1000


def test_chunks_without_events(tmp_path: Path) -> None:
    """Chunks of two events, of which most are left with none by the selection."""
    selection = '{"min_jets": 10}'
    content = json.loads((Path(__file__).parents[2] / "fileset" / "demo_tops.json").read_text())
    content = {"ttbar": content["ttbar"]}
    content["ttbar"]["files"] = {str(Path(__file__).parents[2] / "fileset" / "demo" / "ttbar.root"): "Delphes"}
    content["ttbar"]["metadata"]["selection"] = json.loads(selection)
    (tmp_path / "f.json").write_text(json.dumps(content))
    given = [
        "--fileset",
        str(tmp_path / "f.json"),
        "--methods",
        "pdnn",
        "--no-plots",
        "--chunksize",
        "2",
        "--max-chunks",
        "30",
    ]
    assert main([*given, "--output", str(tmp_path / "r")]) == 0
    assert read(tmp_path / "r", "cutflow")["datasets"]["ttbar"]["cuts"][0]["events"] == 60


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--methods", "pdnn", "--set", "pdnn.model=nowhere"], "nowhere: no such permutation network"),
        (["--methods", "pdnn", "--set", "pdnn.modell=a"], "settings of method 'pdnn', 'modell'"),
        (
            ["--methods", "pdnn", "--set", "pdnn.model=pdnn_tth", "--datasets", "ttbar"],
            "no model for analysis 'ttbar_semi",
        ),
        (["--methods", "pdnn", "--model", "pdnn_tth"], "option 'model' has no effect on the methods pdnn"),
        (["--methods", "chi2", "--device", "cpu"], "option 'device' has no effect on the methods chi2"),
    ],
)
def test_mistakes_are_named(options: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "r", *options) == 2
    assert says in " ".join(capsys.readouterr().err.split())
