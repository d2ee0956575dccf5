"""Model directories of the permutation network: what is wrong with one is said by name."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hhh_coffea.analyses import load_analysis
from hhh_coffea.base.errors import UserError
from hhh_coffea.methods import ForeignEventsError, check_usable, method_options
from hhh_coffea.methods.pdnn import PdnnError, load_model, load_models
from hhh_coffea.methods.pdnn.inputs import Layout
from hhh_coffea.methods.pdnn.model import save_model
from hhh_coffea.methods.pdnn.network import NetworkOptions, PermutationNetwork
from hhh_coffea.topology.topology import Topology

TTBAR, TTH = (load_analysis(f"{name}_semileptonic") for name in ("ttbar", "tth"))


def write(folder: Path, topology: Topology = TTBAR.topology, **training: Any) -> Path:
    options = NetworkOptions(hidden=8, layers=2)
    torch.manual_seed(0)
    save_model(folder, PermutationNetwork(Layout.of(topology, False), options), topology.text, 8, training, "# x\n")
    return folder


def test_a_model_by_value(tmp_path: Path) -> None:
    model = load_model(write(tmp_path / "mine"), "cpu")
    assert model.name == "mine"
    again = pickle.loads(pickle.dumps(model))
    assert again == model
    x = torch.ones(3, 30)
    assert torch.equal(again.network()(x), model.network()(x))
    assert (tmp_path / "mine" / "pdnn.json").stat().st_mode & 0o044  # others may read it


def edit(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        content = json.loads((folder / "pdnn.json").read_text())
        for key, value in changes.items():
            if isinstance(value, dict):
                content[key].update(value)
            else:
                content[key] = value
        (folder / "pdnn.json").write_text(json.dumps(content))

    return change


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda f: (f / "pdnn.json").unlink(), r"not a model of the method pdnn: .*pdnn.json: No such file"),
        (
            lambda f: (f / "pdnn.safetensors").unlink(),
            r"not a model of the method pdnn: .*pdnn.safetensors: No such file",
        ),
        (lambda f: (f / "pdnn.json").write_text("{"), "m: pdnn.json: file: Invalid JSON"),
        (edit(schema_version=2), "m: pdnn.json: schema_version: must be 1"),
        (edit(colour="red"), "m: pdnn.json: colour: Extra inputs are not permitted"),
        (edit(network={"hidden": 0}), "m: pdnn.json: network.hidden: must be at least"),
        (edit(network={"hidden": 9}), "m: pdnn.safetensors does not fit pdnn.json: size mismatch"),
        (edit(network={"masses": True}), "m: pdnn.safetensors does not fit pdnn.json: size mismatch"),
        (edit(event="EVENT: 3"), r"m: pdnn.json \(event\)"),
        (lambda f: (f / "pdnn.safetensors").write_bytes(b"nothing"), "not the weights that it describes"),
        (edit(event=Topology.bundled("hhh").text), "daughters must be jets, not fatjets"),
    ],
)
def test_damaged_models_are_refused(damage: Callable[[Path], Any], says: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "m")
    damage(folder)
    with pytest.raises(UserError, match=says):
        load_model(folder, "cpu")


def test_models_that_are_not_there() -> None:
    with pytest.raises(PdnnError, match="no_such_model: no such permutation network"):
        load_model("no_such_model")
    with pytest.raises(PdnnError, match="hbb_bdt: not a model of the method pdnn"):
        load_model("hbb_bdt")


def test_of_the_bundled_models_those_of_the_analyses_are_loaded() -> None:
    """All of them where none fits: the message names them; a model that the user names stays."""
    for analyses, models in (([TTBAR], ["pdnn_ttbar"]), ([], ["pdnn_ttbar", "pdnn_tth"])):
        assert [m.name for m in method_options(["pdnn"], device="cpu", analyses=analyses).pdnn] == models
    assert [m.name for m in method_options(["spanet"], device="cpu", analyses=[TTH]).spanet] == ["spanet_tth"]
    named = method_options(["spanet"], model="spanet_hh", device="cpu", analyses=[TTH])
    assert [m.name for m in named.spanet] == ["spanet_hh"]


def test_one_model_for_each_analysis(tmp_path: Path) -> None:
    """Two for the same targets are refused, and so is an analysis without one, or events of another format."""
    ttbar = write(tmp_path / "a", formats=["delphes"])
    with pytest.raises(PdnnError, match="models 'a' and 'b' both look for 1 × 3 jets, 1 × 1 jet"):
        load_models([ttbar, write(tmp_path / "b")], "cpu")
    assert len(load_models([ttbar, write(tmp_path / "c", TTH.topology)], "cpu")) == 2
    options = method_options(["pdnn"], settings={"pdnn": {"model": str(ttbar)}}, device="cpu")
    assert options.models() == {
        "pdnn a": {"name": "a", "sha256": load_model(ttbar).sha256, "device": "cpu", "trained_on": ["delphes"]},
    }
    check_usable(["pdnn"], TTBAR, options, "delphes")
    with pytest.raises(UserError, match=r"method 'pdnn': no model for analysis 'tth_semileptonic' .*given: a "):
        check_usable(["pdnn"], TTH, options, "delphes")
    with pytest.raises(ForeignEventsError, match="permutation network model 'a' was trained on delphes"):
        check_usable(["pdnn"], TTBAR, options, "nanoaod")


@pytest.mark.parametrize("given", [{"model": 3}, {"modell": "a"}])
def test_wrong_settings_are_named(given: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="settings of method 'pdnn', 'model"):
        method_options(["pdnn"], settings={"pdnn": given})
