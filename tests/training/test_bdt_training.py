"""Training a BDT: the split by event, tables, working points, ROC numbers, and the whole command on the demo sample."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from conftest import DEMO
from kept_axes import Kept

from hhh_coffea.base.hashing import is_validation
from hhh_coffea.figures.models import bdt as figures_bdt
from hhh_coffea.jobs import train_bdt as bdt_training
from hhh_coffea.methods.bdt_model import load_model
from hhh_coffea.results import directory as results
from hhh_coffea.train import main
from hhh_coffea.training import bdt_evaluation
from hhh_coffea.training.bdt_table import DEFAULT_FEATURES, Rows, concatenate, parts, read_parts

UUID = "2844512a-64e7-452c-9f61-6b29d6d26bc4"


def rows_of(scores: list[float], signal: list[bool], dataset: str = "HHH") -> tuple[Any, Rows]:
    n = len(scores)
    return np.array(scores, dtype=np.float32), Rows(
        np.zeros((n, 1), np.float32),
        np.array(signal),
        np.zeros(n, dtype=bool),
        np.full(n, dataset),
        np.arange(n, dtype=np.uint64),
    )


def test_split_depends_on_the_event_alone() -> None:
    entry = np.arange(20_000)
    whole = is_validation(UUID, entry, 0.2)
    assert abs(whole.mean() - 0.2) < 4 * np.sqrt(0.2 * 0.8 / len(entry))
    np.testing.assert_array_equal(whole[5000:6000], is_validation(UUID, entry[5000:6000], 0.2))
    np.testing.assert_array_equal(is_validation(UUID, np.array([7, 7, 7]), 0.2), whole[7])  # fat jets of one event
    other = is_validation(UUID.replace("2", "3"), entry, 0.2)
    assert abs((whole & other).mean() - 0.04) < 0.01  # another file, another choice
    assert not is_validation(UUID, entry, 0.0).any()
    assert (whole <= is_validation(UUID, entry, 0.3)).all()  # a larger share takes more of the same


def test_roc_by_hand() -> None:
    # signal 0.9 0.6 0.6, background 0.6 0.1: 1 + 1 half + 1 … of 6 pairs: 0.9 beats both, each 0.6 beats 0.1 and ties once
    scores, rows = rows_of([0.9, 0.6, 0.6, 0.6, 0.1], [True, True, True, False, False])
    efficiency, fake = bdt_evaluation.roc(scores, rows.signal)
    assert efficiency.tolist() == pytest.approx([0, 1 / 3, 1, 1])
    assert fake.tolist() == pytest.approx([0, 0, 0.5, 1])
    assert bdt_evaluation.area(efficiency, fake) == pytest.approx((2 + 2 * 1.5) / 6)


def test_errors_shrink_as_they_should() -> None:
    random = np.random.default_rng(3)
    widths = []
    for n in (500, 8000):
        signal = random.random(n) < 0.5
        scores, rows = rows_of((random.normal(size=n) + 1.5 * signal).tolist(), signal.tolist())
        measured = bdt_evaluation.measure(scores, rows, seed=1)
        widths.append(measured["auc"]["error"])
        # Gaussians one and a half widths apart: AUC = Φ(1.5/√2) = 0.8556
        assert abs(measured["auc"]["value"] - 0.8556) < 4 * measured["auc"]["error"]
        assert measured["at_signal_efficiency"]["0.50"]["rejection"]["value"] == pytest.approx(
            1 / measured["at_signal_efficiency"]["0.50"]["misidentification"]["value"], rel=1e-3
        )
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.3)  # √16


def test_working_points_by_hand() -> None:
    # 1000 background scores k/1000: above 0.979 lie 20 (2%), above 0.989 ten (1%), above 0.996 three (0.3%)
    scores = np.append(np.arange(1000) / 1000, [0.98, 0.5]).astype(np.float32)
    signal = np.append(np.zeros(1000, dtype=bool), [True, True])
    cuts = bdt_evaluation.working_points(scores, signal)
    assert cuts == pytest.approx({"loose": 0.979, "medium": 0.989, "tight": 0.996}, abs=2e-6)
    _, rows = rows_of(scores.tolist(), signal.tolist())
    found = bdt_evaluation.at_working_points(scores, rows, cuts)
    assert [found[name]["misidentification"]["numerator"] for name in cuts] == [20, 10, 3]
    assert [found[name]["signal_efficiency"]["value"] for name in cuts] == [0.5, 0, 0]
    assert found["loose"]["misidentification_HHH"] == found["loose"]["misidentification"]


@pytest.fixture
def fileset(write_fileset: Callable[..., Path]) -> Path:
    return write_fileset(
        HHH=([str(DEMO / "hhh.root")], {}),
        QCD=([str(DEMO / "qcd.root")], {"n_higgs": 2, "is_signal": False}),
    )


@pytest.fixture
def test_fileset(tmp_path: Path) -> Path:
    content = {"HH": {"files": [str(DEMO / "hh.root")], "metadata": {"format": "delphes", "n_higgs": 2}}}
    path = tmp_path / "test.json"
    path.write_text(json.dumps(content))
    return path


def train(fileset: Path, output: Path, *more: str) -> int:
    return main(["bdt", "--fileset", str(fileset), "--output", str(output), "--no-search", *more])


def test_the_whole_command(fileset: Path, test_fileset: Path, tmp_path: Path) -> None:
    output = tmp_path / "my_bdt"
    assert train(fileset, output, "--test", str(test_fileset), "--compare", "hbb_bdt", "--keep-table") == 0
    model = load_model(output)
    card = yaml.safe_load((output / "model.yaml").read_text())
    assert model.working_points == card["working_points"]
    assert model.features == DEFAULT_FEATURES

    # training and validation are told apart by event, and what is counted is what the table holds
    rows = concatenate(list(read_parts(output / "table" / "training", DEFAULT_FEATURES)))
    table = pq.read_table(output / "table" / "training").to_pandas()
    for file, part in table.groupby("file", observed=True):
        np.testing.assert_array_equal(part.validation, is_validation(str(file), part.entry.to_numpy(), 0.2))
    assert len(np.unique(rows.event)) == len(table.groupby(["file", "entry"], observed=True))
    trained = card["training"]["fat_jets"]
    assert sum(d["signal"] for d in trained.values()) == (rows.signal & ~rows.validation).sum()
    assert trained["QCD"]["signal"] == 0
    validation = card["validation"]["my_bdt"]["HHH + QCD"]
    assert validation["fat_jets"]["signal"] == (rows.signal & rows.validation).sum()
    # few events, but far better than guessing; the shipped model was trained on many more (these among them)
    tested = {name: groups["HH"]["auc"]["value"] for name, groups in card["test"]["models"].items()}
    assert 0.85 < tested["my_bdt"] < tested["hbb_bdt"]

    text = (output / "README.md").read_text()
    assert f"{tested['my_bdt']:.4f} ±" in text
    assert str(tmp_path) not in text + (output / "model.yaml").read_text()
    drawn = {path.stem for path in (output / "evaluation" / "plots").iterdir()}
    assert drawn == {"bdt_score", "bdt_roc", "bdt_features", "bdt_importance"}
    scores = results.read_histograms(output / "evaluation")[0]["bdt_score"]
    assert (
        scores[{"model": "my_bdt", "part": "training", "dataset": sum, "class": sum}].values().sum()
        == (~rows.validation).sum()
    )


def test_few_entries_are_no_shape(tmp_path: Path) -> None:
    """Eleven jets are named in the legend and not drawn; of more, no bin has fewer than five."""
    histograms = bdt_evaluation.book(["pt"])
    rng = np.random.default_rng(1)
    for name, number in ((bdt_evaluation.TARGET, 11), (bdt_evaluation.OTHER, 200)):
        histograms["bdt_feature_pt"].fill(dataset="HHH", value=rng.uniform(250, 350, number), **{"class": name})
    write = Kept(tmp_path)
    figures_bdt._features(write, {"pt": histograms["bdt_feature_pt"]})
    (axis,) = write.axes["bdt_features"]
    legend = axis.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["H → bb: 11, not drawn", "other large-radius jets"]
    (steps,) = axis.patches
    values, edges, _ = steps.get_data()  # type: ignore[attr-defined]
    assert (values * np.diff(edges) * 200).min() >= 5 - 1e-9


def test_the_same_input_gives_the_same_model(fileset: Path, tmp_path: Path) -> None:
    weights = []
    for name, more in (("one", []), ("two", ["--chunksize", "1234", "--executor", "futures", "--workers", "2"])):
        assert train(fileset, tmp_path / name, "--features", "mass,pt,tau21", *more) == 0
        card = yaml.safe_load((tmp_path / name / "model.yaml").read_text())
        weights.append(card["sha256"])
        assert card["features"] == ["mass", "pt", "tau21"]
    assert weights[0] == weights[1]


@pytest.mark.slow
def test_training_on_a_cluster(fileset: Path, tmp_path: Path) -> None:
    """A table too large for one machine (we pretend) is trained on where it lies, to the same quality."""
    from hhh_coffea.config import make_config

    config = make_config(
        {"fileset": str(fileset), "output": str(tmp_path / "far"), "executor": "dask", "workers": 2, "chunksize": 1500}
    )
    options = bdt_training.TrainingOptions(search=False, large_table=0, keep_table=True)
    bdt_training.train_bdt(config, options)
    assert train(fileset, tmp_path / "near") == 0
    far, near = (yaml.safe_load((tmp_path / name / "model.yaml").read_text()) for name in ("far", "near"))
    assert far["training"]["on_cluster"]
    assert not near["training"]["on_cluster"]
    assert far["training"]["fat_jets"] == near["training"]["fat_jets"]
    auc = [card["validation"][name]["HHH + QCD"]["auc"] for name, card in (("far", far), ("near", near))]
    assert abs(auc[0]["value"] - auc[1]["value"]) < auc[0]["error"]


def test_a_test_file_that_was_trained_on_is_refused(
    fileset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(fileset, tmp_path / "m", "--test", str(fileset)) == 2
    assert "hhh.root: is a test file, but" in capsys.readouterr().err


def test_mistakes_are_named(fileset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(fileset, tmp_path / "m", "--features", "pt,colour") == 2
    assert "option features: no ['colour']" in capsys.readouterr().err
    assert train(fileset, tmp_path / "m", "--features", "pt,xbb") == 2
    assert "Delphes files do not have the features ['xbb'] of large-radius jets" in capsys.readouterr().err
    assert train(fileset, tmp_path / "m", "--features", "pt,mass", "--compare", "hbb_bdt") == 2
    assert "hbb_bdt needs charged_fraction" in capsys.readouterr().err
    for _ in range(2):  # what the first one left behind does not stand in the way
        assert train(fileset, tmp_path / "m", "--datasets", "QCD") == 2
        assert "both are needed" in capsys.readouterr().err
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("…")
    assert train(fileset, tmp_path / "mine") == 2
    assert "contains no earlier model" in capsys.readouterr().err


def test_an_unreadable_file_ends_the_training(
    write_fileset: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.root").write_text("no ROOT file" * 100)
    path = write_fileset(HHH=([str(DEMO / "hhh.root"), str(tmp_path / "broken.root")], {}))
    assert train(path, tmp_path / "m") == 2
    assert "broken.root: " in capsys.readouterr().err
    assert not (tmp_path / "m" / "model.yaml").exists()
    assert parts(tmp_path / "m") == []
