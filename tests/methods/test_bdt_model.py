"""BDT models: loading, matching by feature names, errors that say what is wrong, and pinned scores."""

from __future__ import annotations

import hashlib
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost
import yaml
from conftest import DEMO, REPOSITORY

from hhh_coffea.analyses.higgs import higgs
from hhh_coffea.config import ConfigError, make_config
from hhh_coffea.datasets.fileset import DatasetMetadata
from hhh_coffea.events.delphes import read
from hhh_coffea.methods import bdt, bdt_model, extra_features, method_options
from hhh_coffea.methods.bdt_model import BdtError, load_model

SHIPPED = REPOSITORY / "models" / "hbb_bdt"
# (entry, position in the file) of fat jets of fileset/demo/hhh.root → score of the shipped model
PINNED = {
    (18, 0): 0.903936,
    (22, 0): 0.842481,
    (39, 0): 0.048618,
    (46, 0): 0.837374,
    (48, 0): 0.006226,
    (57, 0): 0.931766,
    (57, 1): 0.089462,
    (59, 0): 0.006988,
}


@pytest.fixture
def train_tiny(tmp_path: Path) -> Callable[..., Path]:
    """A model of two trees with features of these names, as plain xgboost JSON."""

    def train(names: list[str] | None, objective: str = "binary:logistic") -> Path:
        random = np.random.default_rng(1)
        features = random.normal(size=(200, len(names or "ab")))
        matrix = xgboost.DMatrix(features, features[:, 0] > 0, feature_names=names)
        booster = xgboost.train({"objective": objective, "nthread": 1, "max_depth": 2}, matrix, 2)
        path = tmp_path / "tiny.json"
        booster.save_model(path)
        return path

    return train


@pytest.fixture
def copied(tmp_path: Path) -> Callable[..., Path]:
    """A copy of the shipped model with fields of its card changed."""

    def copy(**changes: Any) -> Path:
        folder = tmp_path / "copy"
        shutil.copytree(SHIPPED, folder, ignore=shutil.ignore_patterns("evaluation"))
        card = yaml.safe_load((folder / "model.yaml").read_text())
        (folder / "model.yaml").write_text(yaml.safe_dump(card | changes))
        return folder

    return copy


def test_published_model_gives_the_published_scores(shared_dir: Path) -> None:
    model = load_model(shared_dir / "reference" / "hbb_bdt_published.json")
    assert model.features == (
        *("pt", "eta", "mass", "softdrop_mass", "charged_fraction", "n_charged", "n_neutral", "tau21", "tau32"),
    )
    # test vectors of §3 of the published analysis
    rows = [
        [400, 0.5, 125, 120, 0.6, 30, 20, 0.3, 0.7],
        [250, 0.5, 60, 20, 0.6, 50, 30, 0.7, 0.8],
        [400, 0, 128, 124, 0.65, 26, 16, 0.2, 0.6],
    ]
    scores = model.predict(np.array(rows, dtype=np.float32))
    np.testing.assert_allclose(scores, [0.94665, 0.02628, 0.96228], atol=5e-6)
    assert len(model._booster().get_dump()) == 150


def test_shipped_model_scores_named_fat_jets(open_delphes: Callable[..., Any]) -> None:
    model = load_model("hbb_bdt")
    metadata = DatasetMetadata(format="delphes", n_higgs=3)
    record = read(open_delphes(DEMO / "hhh.root", stop=60), metadata, model.substructure).record
    scores = bdt.score(record.fatjets, model)
    found = {}
    for event, fatjets in enumerate(record.fatjets.index.tolist()):
        for index in fatjets:
            found[event, index] = float(scores[len(found)])
    assert {key: found[key] for key in PINNED} == pytest.approx(PINNED, abs=2e-6)


def test_shipped_model_is_whole() -> None:
    card = bdt_model.read_card(SHIPPED / "model.yaml")
    weights = (SHIPPED / card.weights).read_bytes()
    assert hashlib.sha256(weights).hexdigest() == card.sha256
    assert set(card.working_points) == {"loose", "medium", "tight"}
    trained = {file["uuid"] for file in card.training["files"]}
    assert not trained & {file["uuid"] for file in card.test["files"]}
    # validation events define the working points: 2, 1 and 0.3% misidentification
    everything = list(card.validation["hbb_bdt"].values())[-1]["working_points"]
    for name, share in (("loose", 0.02), ("medium", 0.01), ("tight", 0.003)):
        value = everything[name]["misidentification"]
        assert share - 1e-3 < value["numerator"] / value["denominator"] <= share
    # at least the published AUC on an equally defined test set
    assert card.test["models"]["hbb_bdt"]["HHH + QCD"]["auc"]["value"] > 0.927


def test_unknown_features_are_named(train_tiny: Callable[..., Path]) -> None:
    says = r"tiny.json: features \['colour', 'fj_charge'\] are not features of a large-radius jet: .*softdrop_mass"
    with pytest.raises(BdtError, match=says):
        load_model(train_tiny(["fj_pt", "colour", "fj_charge"]))


def test_a_feature_twice_is_named(train_tiny: Callable[..., Path]) -> None:
    with pytest.raises(BdtError, match=r"twice"):
        load_model(train_tiny(["fj_pt", "pt"]))


def test_a_model_without_names_is_refused(train_tiny: Callable[..., Path]) -> None:
    with pytest.raises(BdtError, match=r"holds no feature names"):
        load_model(train_tiny(None))


def test_another_objective_is_refused(train_tiny: Callable[..., Path]) -> None:
    with pytest.raises(BdtError, match=r"'reg:squarederror'.*binary:logistic"):
        load_model(train_tiny(["pt", "mass"], "reg:squarederror"))


def test_features_the_file_lacks_are_named(train_tiny: Callable[..., Path], make_record: Callable[..., Any]) -> None:
    model = load_model(train_tiny(["pt", "tau21"]))
    record = make_record([[]], [[{"pt": 300.0, "eta": 0.0, "phi": 0.0, "mass": 100.0}]])
    with pytest.raises(KeyError, match=r"BDT model 'tiny' needs 'tau21'"):
        bdt.score(record.fatjets, model)


def test_a_card_that_names_other_features_is_refused(copied: Callable[..., Path]) -> None:
    with pytest.raises(BdtError, match=r"names 2 features \['pt', 'mass'\], the weights take \['pt', 'eta', 'mass'"):
        load_model(copied(features=["pt", "mass"]))


def test_changed_weights_are_refused(copied: Callable[..., Path]) -> None:
    with pytest.raises(BdtError, match=r"the weights were changed"):
        load_model(copied(sha256="0" * 64))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"schema_version": 2}, "field 'schema_version'"),
        ({"architecture": "spanet"}, "field 'architecture'"),
        ({"colour": "red"}, "field 'colour'"),
        ({"weights": "absent.ubj"}, "absent.ubj: cannot be read: No such file"),
        ({"weights": "model.yaml", "sha256": None}, "field 'sha256'"),
    ],
)
def test_broken_cards_are_named(copied: Callable[..., Path], changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(BdtError, match=complaint):
        load_model(copied(**changes))


def test_files_that_are_no_model(tmp_path: Path) -> None:
    with pytest.raises(BdtError, match=r"nothing: no such BDT model.*'hbb_bdt'"):
        load_model("nothing")
    (tmp_path / "text.json").write_text("hello")
    with pytest.raises(BdtError, match=r"text.json: not a model xgboost can load"):
        load_model(tmp_path / "text.json")
    with pytest.raises(BdtError, match=r"model.yaml: cannot be read"):
        load_model(tmp_path)


def test_working_points_by_name_and_value(train_tiny: Callable[..., Path]) -> None:
    model = load_model("hbb_bdt")
    assert model.cut("loose") < model.cut("medium") < model.cut("tight")
    assert model.cut(0.5) == model.cut("0.5") == 0.5
    with pytest.raises(BdtError, match=r"no working point 'lose'; it has loose, medium, tight"):
        model.cut("lose")
    with pytest.raises(BdtError, match=r"none: give a value"):
        load_model(train_tiny(["pt", "mass"])).cut("loose")


def test_only_methods_that_need_a_model_load_one() -> None:
    assert method_options(["chi2"], bdt="not/there").bdt is None
    options = method_options(["chi2", "chi2+bdt"], bdt_wp="tight")
    assert extra_features(["chi2"], options, higgs(3)) == []
    assert "tau32" in extra_features(["chi2+bdt"], options, higgs(3))
    assert "pt" not in extra_features(["chi2+bdt"], options, higgs(3))  # kinematics are always there
    assert options.models()["bdt"]["cut"] == load_model("hbb_bdt").working_points["tight"]


def test_run_options() -> None:
    options = {"fileset": "demo", "methods": "chi2+bdt"}
    assert make_config({**options, "bdt_wp": "0.9"}).bdt_wp == 0.9
    assert make_config({**options, "bdt_wp": "medium"}).bdt_wp == "medium"
    with pytest.raises(ConfigError, match=r"option 'bdt_wp'.*between 0 and 1"):
        make_config({**options, "bdt_wp": "2"})


def test_one_booster_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_model("hbb_bdt")
    made = []
    real = bdt_model.read_booster
    monkeypatch.setattr(bdt_model, "_BOOSTERS", {})
    monkeypatch.setattr(bdt_model, "read_booster", lambda *a: made.append(a) or real(*a))
    row = np.zeros((1, 9), dtype=np.float32)
    scores = [pickle.loads(pickle.dumps(model)).predict(row) for _ in range(3)]  # as chunks on a worker would
    assert len(made) == 1
    assert len({float(s[0]) for s in scores}) == 1


def test_missing_and_infinite_features() -> None:
    model = load_model("hbb_bdt")
    rows = np.tile(np.float32([400, 0.5, 125, 120, 0.6, 30, 20, 0.3, 0.7]), (3, 1))
    rows[1, 7], rows[2, 7] = np.nan, np.inf
    scores = model.predict(rows)
    assert np.isfinite(scores).all()
    assert scores[1] == scores[2]
    assert model.predict(rows[:0]).shape == (0,)
