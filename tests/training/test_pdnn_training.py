"""Training of the permutation network: which permutations are drawn, losses by hand, exact repetition and resume, the command."""

from __future__ import annotations

import json
import math
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tops_samples import load

from hhh_coffea.analyses import load_analysis
from hhh_coffea.base.hashing import split_number
from hhh_coffea.config import make_config
from hhh_coffea.jobs.train_pdnn import train_pdnn
from hhh_coffea.methods.pdnn import load_model
from hhh_coffea.methods.pdnn.inputs import Layout
from hhh_coffea.topology.assignments import assignments
from hhh_coffea.topology.topology import Topology
from hhh_coffea.train import main
from hhh_coffea.training.pdnn_data import correct_rows, ordered, training_columns
from hhh_coffea.training.pdnn_loss import draw, loss_of
from hhh_coffea.training.pdnn_options import PdnnTraining, read_settings

SMALL: dict[str, Any] = {"hidden": 16, "layers": 2, "batch_size": 384, "epochs": 3, "validation_fraction": 0.2}
DEMO = ["--fileset", "demo_tops", "--datasets", "ttbar"]


def config(output: Path, **changes: Any) -> Any:
    given = {"fileset": "demo_tops", "datasets": "ttbar", "methods": "pdnn", "device": "cpu", "on_error": "stop"}
    return make_config({**given, "output": str(output), **changes})


def weights(folder: Path) -> bytes:
    return (folder / "pdnn.safetensors").read_bytes()


def test_wrong_permutations_are_drawn_evenly_without_replacement() -> None:
    """Of 12 permutations, 4 wrong ones 30,000 times: each of the 11 equally often, the correct one never, none twice."""
    n = 30_000
    rows, there = draw(torch.full((n,), 12), torch.full((n,), 5), 4, np.random.default_rng(1))
    assert there.all()
    assert (rows[:, 0] == 5).all()
    wrong = rows[:, 1:].numpy()
    assert all(len(set(row)) == 4 for row in wrong[:500].tolist())
    counts = np.bincount(wrong.ravel(), minlength=12)
    assert counts[5] == 0
    expected = n * 4 / 11
    assert np.abs(np.delete(counts, 5) - expected).max() < 5 * math.sqrt(expected)
    pairs = np.zeros((12, 12))
    for a, b in permutations(range(4), 2):
        np.add.at(pairs, (wrong[:, a], wrong[:, b]), 1)
    expected = n * 4 * 3 / (11 * 10)  # of each ordered pair
    seen = pairs[~np.eye(12, dtype=bool) & (np.arange(12) != 5) & (np.arange(12) != 5)[:, None]]
    assert np.abs(seen - expected).max() < 6 * math.sqrt(expected)


def test_where_there_are_few_all_are_drawn() -> None:
    rows, there = draw(torch.tensor([12, 3, 1]), torch.tensor([0, 2, 0]), 11, np.random.default_rng(2))
    assert sorted(rows[0].tolist()) == list(range(12))
    assert there.sum(1).tolist() == [12, 3, 1]
    assert sorted(rows[1][there[1]].tolist()) == [0, 1, 2]
    assert rows[:, 0].tolist() == [0, 2, 0]


def test_losses_by_hand() -> None:
    """Two events with 2 and 1 wrong permutations: the correct one weighs as much as all wrong ones of its event."""
    logits = torch.tensor([[1.0, -1.0, 0.5], [0.2, 0.4, 99.0]])
    there = torch.tensor([[True, True, True], [True, True, False]])

    def background(x: float) -> float:
        return math.log(1 + math.exp(x))

    expected = 2 * background(-1.0) + background(-1.0) + background(0.5) + background(-0.2) + background(0.4)
    assert loss_of(logits, there, "binary").item() == pytest.approx(expected / 6)
    first = math.log(math.exp(1) + math.exp(-1) + math.exp(0.5)) - 1
    second = math.log(math.exp(0.2) + math.exp(0.4)) - 0.2
    assert loss_of(logits, there, "softmax").item() == pytest.approx((first + second) / 2)
    assert loss_of(logits, there, "both").item() == pytest.approx(expected / 6 + (first + second) / 2)


@pytest.mark.parametrize("name", ["ttbar_semileptonic", "tth_semileptonic", "ttbar"])
def test_the_correct_row_whatever_the_order_of_exchangeable_jets(name: str) -> None:
    """Every equivalent way to write an assignment is found in the table; all-hadronic tt̄ may exchange its top quarks too."""
    topology = Topology.bundled(name) if name == "ttbar" else load_analysis(name).topology
    layout = Layout.of(topology, False)
    n = layout.n_slots + 1
    table = assignments(layout.targets, n, layout.event_group).objects.astype(np.int64)
    assert correct_rows(table, layout, n).tolist() == list(range(len(table)))
    for t, slots in enumerate(layout.slots):
        for g in layout.targets[t].group:
            other = table.copy()
            other[:, list(slots)] = table[:, [slots[i] for i in g]]
            assert correct_rows(other, layout, n).tolist() == list(range(len(table)))
    for g in layout.event_group:
        other = np.concatenate([table[:, list(layout.slots[i])] for i in g], axis=1)
        assert correct_rows(other, layout, n).tolist() == list(range(len(table)))
    with pytest.raises(ValueError, match="is no assignment"):
        correct_rows(np.zeros_like(table), layout, n)


def test_columns_equal_those_of_a_loop(shared_dir: Path) -> None:
    """Full events alone, and those whose jets are all offered; the truth counts jets by falling pT."""
    sample = load(shared_dir, "tth_test")
    record, targets, analysis = sample.record, sample.targets, sample.analysis
    found = training_columns(record, targets, analysis, 7, "a uuid")
    names = ("ht", "lt", "h")
    expected: list[tuple[int, list[float]]] = []
    for e, event in enumerate(record[["jets", "id"]].to_list()):
        jets = event["jets"]
        slots = [j for name in names for j in targets.objects[name][e, 0].tolist()]
        offered = sorted(range(len(jets)), key=lambda j: (jets[j]["btag"] <= 0, -jets[j]["pt"], jets[j]["eta"]))[:7]
        if all(j in offered for j in slots):
            expected.append((event["id"], [jets[j]["pt"] for j in slots]))
    assert len(expected) > 1000
    assert found["entry"].tolist() == [entry for entry, _ in expected]
    pt = np.expm1(np.take_along_axis(found["jets"][..., 0], found["truth"].astype(np.int64), 1))
    np.testing.assert_allclose(pt, [own for _, own in expected], rtol=1e-5)
    assert (np.diff(np.where(np.arange(7) < found["counts"][:, None], found["jets"][..., 0], 0), axis=1) <= 0).all()
    assert found["split"].tolist() == split_number("a uuid", found["entry"]).tolist()
    shuffled = np.random.default_rng(0).permutation(len(expected))
    again = ordered({name: values[shuffled] for name, values in found.items()})
    assert all((again[name] == values).all() for name, values in ordered(found).items())
    none = training_columns(record[:0], _rows(targets, 0), analysis, 7, "a uuid")
    assert {name: values.shape[1:] for name, values in none.items()} == {n: v.shape[1:] for n, v in found.items()}


def _rows(targets: Any, n: int) -> Any:
    from dataclasses import replace

    return replace(targets, objects={name: positions[:n] for name, positions in targets.objects.items()})


def test_training_is_repeated_and_resumed_exactly(tmp_path: Path) -> None:
    """The same weights from the same seed, from two executors, and whether or not it was killed in between."""
    settings = PdnnTraining(**SMALL, dropout=0.1)
    train_pdnn(config(tmp_path / "a"), settings)
    train_pdnn(config(tmp_path / "b", executor="futures", workers=2, chunksize=300), settings)
    train_pdnn(config(tmp_path / "c"), settings, stop_after=1)
    train_pdnn(config(tmp_path / "c"), settings, resume=True, stop_after=2)
    progress = train_pdnn(config(tmp_path / "c"), settings, resume=True)
    assert progress.epoch == 3
    assert weights(tmp_path / "a") == weights(tmp_path / "b") == weights(tmp_path / "c")
    train_pdnn(config(tmp_path / "d"), settings.model_copy(update={"seed": 2}))
    assert weights(tmp_path / "a") != weights(tmp_path / "d")
    history = json.loads((tmp_path / "c" / "history.json").read_text())
    assert [entry["epoch"] for entry in history["epochs"]] == [1, 2, 3]
    card = json.loads((tmp_path / "c" / "pdnn.json").read_text())
    assert card["training"]["validation"] == history["epochs"][history["best_epoch"] - 1]
    assert card["training"]["formats"] == ["delphes"]


def test_it_learns(tmp_path: Path) -> None:
    """527 full events of the demo: at random one event in 60 is right, after some epochs every third."""
    progress = train_pdnn(config(tmp_path / "m"), PdnnTraining(hidden=64, layers=2, batch_size=240, epochs=12))
    assert progress.best_product > 0.3
    assert progress.history[-1]["training_loss"] < progress.history[0]["training_loss"]
    model = load_model(tmp_path / "m", "cpu")
    assert model.trained_on == ("delphes",)
    assert model.card.network.masses


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = ["pdnn", *DEMO, "--output", str(tmp_path / "m"), "--device", "cpu"]
    few = [part for item in ("hidden=8", "epochs=2", "learning_rate=1e-3") for part in ("--set", item)]
    assert main([*base, "--resume"]) == 2
    assert "nothing to resume" in capsys.readouterr().err
    assert main([*base, *few]) == 0
    assert "of the validation events correct" in capsys.readouterr().out
    assert {p.name for p in (tmp_path / "m").iterdir()} == {
        "pdnn.json",
        "pdnn.safetensors",
        "README.md",
        "history.json",
        "training_state",
    }
    assert main([*base, *few]) == 2
    assert "already contains a model; use --resume" in capsys.readouterr().err
    assert main([*base, *few, "--set", "epochs=3", "--resume"]) == 2
    assert "was made with epochs = 2, not 3" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--set", "hiden=3"], "key 'hiden': there is no such key (did you mean 'hidden'?)"),
        (["--set", "hidden"], "'hidden': must be key=value"),
        (["--set", "hidden=-1"], "key 'hidden': must be at least 1 (got -1)"),
        (["--set", "hidden=many"], "key 'hidden': must be a whole number (got \"many\")"),
        (["--set", "loss=hinge"], "key 'loss': must be 'binary', 'softmax' or 'both'"),
        (["--datasets", "ttbb"], "dataset 'ttbb': background has no correct assignment"),
        (["--datasets", "ttbar,tth"], "a network is trained for one analysis"),
        (["--fileset", "demo", "--datasets", "HHH"], "targets that are not made of jets alone"),
        (["--set", "validation_fraction=0.0001"], "full events: 527 for training and 0 for validation"),
        (["--max-chunks", "1", "--device", "tpu0"], "no device 'tpu0'"),
    ],
)
def test_mistakes_are_named(options: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = options if "--fileset" in options else [*DEMO, *options]
    assert main(["pdnn", *given, "--output", str(tmp_path / "m")]) == 2
    assert says in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "m").exists()


def test_settings() -> None:
    found = read_settings(["learning_rate=1e-4", "masses=false", "loss=softmax"])
    assert (found.learning_rate, found.masses, found.loss) == (1e-4, False, "softmax")


def test_a_zero_event_chunk(tmp_path: Path, write_fileset: Any, shared_dir: Path) -> None:
    """Chunks of three events, of which many have no full one."""
    file = shared_dir / "data" / "tops" / "tt_test.root"
    path = write_fileset(tt=([file], {"analysis": "ttbar_semileptonic"}))
    content = json.loads(path.read_text())
    del content["tt"]["metadata"]["n_higgs"]
    path.write_text(json.dumps(content))
    settings = PdnnTraining(**{**SMALL, "epochs": 1, "validation_fraction": 0.5})
    changes = {"fileset": str(path), "datasets": None, "chunksize": 3, "max_chunks": 20}
    assert train_pdnn(config(tmp_path / "m", **changes), settings).epoch == 1
