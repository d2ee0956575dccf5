"""Training: it learns, it can be killed, and its validation counts as the metrics do."""

import dataclasses
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from scipy.stats import kstest

from hhh_coffea.methods import spanet
from hhh_coffea.spanet.checkpoint import load, normalisers_of, save
from hhh_coffea.spanet.network.features import features_of_pairs, kinematics
from hhh_coffea.spanet.network.features import fit_normalisers as fit_in_memory
from hhh_coffea.spanet.training import trainer as training
from hhh_coffea.spanet.training.batches import (
    Batch,
    augment,
    fit_normalisers,
    forward_in_groups,
    make_batch,
    reordered,
    under_reflection,
    under_scaling,
)
from hhh_coffea.spanet.training.config import BUNDLED, ConfigError, TrainingConfig
from hhh_coffea.spanet.training.dataset import TrainingData
from hhh_coffea.spanet.training.loss import LossOptions, Truth
from hhh_coffea.spanet.training.state import TrainingError
from hhh_coffea.spanet.training.validation import validate
from hhh_coffea.topology.topology import Topology
from hhh_coffea.train import main

torch.set_num_threads(1)
TINY = TrainingConfig(
    network={"hidden_dim": 16, "num_encoder_layers": 1, "pair_dim": 8, "dropout": 0.1},
    loss={"detection_over_present": False},
    epochs=3,
    batch_size=256,
    learning_rate=5e-3,
    ema_decay=0.9,
    validation_fraction=0.2,
)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "hhh"
    arguments = ["data", "--fileset", "demo", "--datasets", "HHH", "--chunksize", "2000", "--output", str(folder)]
    assert main(arguments) == 0
    return TrainingData.open(folder)


def without_times(progress):
    return [{k: v for k, v in entry.items() if "seconds" not in k} for entry in progress.history]


def test_killed_and_resumed_is_the_same(data, tmp_path):
    config = dataclasses.replace(TINY, max_events=600)  # three batches an epoch
    whole = training.train(config, data, tmp_path / "whole", device="cpu")
    training.train(config, data, tmp_path / "parts", device="cpu", stop_after=1)
    said = []
    resumed = training.train(config, data, tmp_path / "parts", device="cpu", resume=True, say=said.append)
    assert said[0] == "resuming after epoch 1"
    assert without_times(resumed) == without_times(whole)
    weights = [(tmp_path / name / "weights.safetensors").read_bytes() for name in ("whole", "parts")]
    assert weights[0] == weights[1]
    history = json.loads((tmp_path / "parts" / "history.json").read_text())
    assert [e["epoch"] for e in history["epochs"]] == [1, 2, 3]
    early = tmp_path / "early"  # killed in its first epoch

    def dies(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training.train(config, data, early, device="cpu", record=dies)
    assert [path.name for path in early.iterdir()] == ["training_state"]
    training.train(config, data, early, device="cpu", resume=True)
    assert (early / "weights.safetensors").read_bytes() == weights[0]
    changed = dataclasses.replace(config, learning_rate=0.1)
    with pytest.raises(TrainingError, match=r"learning_rate = 0\.005, not 0\.1"):
        training.train(changed, data, tmp_path / "parts", device="cpu", resume=True)
    with pytest.raises(TrainingError, match="--resume"):
        training.train(config, data, tmp_path / "parts", device="cpu")
    with pytest.raises(TrainingError, match="nothing to resume"):
        training.train(config, data, tmp_path / "new", device="cpu", resume=True)


def some_of(targets, events):
    """Targets of some events."""
    objects = {kind: positions[events] for kind, positions in targets.objects.items()}
    return dataclasses.replace(targets, objects=objects, pt=targets.pt[events], mass=targets.mass[events])


def chi2_product(open_delphes, chosen):
    """Merged purity × efficiency of χ² on ``chosen`` of the selected events."""
    from conftest import DEMO

    from hhh_coffea.analyses import higgs_truth as truth
    from hhh_coffea.analyses.higgs import higgs
    from hhh_coffea.datasets.fileset import DatasetMetadata
    from hhh_coffea.events.delphes import read
    from hhh_coffea.events.record import selected, truncated
    from hhh_coffea.methods import chi2
    from hhh_coffea.reconstruction.selection import event_selection

    metadata = DatasetMetadata(format="delphes", n_higgs=3)
    record = read(open_delphes(DEMO / "hhh.root"), metadata).record
    record = selected(record, event_selection(record, metadata, higgs(3)).all())
    targets = truth.match(record, 3, 10, 3)
    targets = some_of(targets, chosen)
    candidates = chi2.reconstruct(truncated(record, 10, 3)[chosen], higgs(3).kinds["resolved"])
    result = higgs(3).evaluate(candidates, targets, "default")
    merged = result.categories["merged"]
    purity = result.correct[merged.candidates].mean()
    return purity * merged.retrieved.sum() / merged.targets.sum()


def test_learns_on_the_demo(data, tmp_path, open_delphes):
    """Five epochs of 3,400 events: the loss falls, and the network beats χ² on events it has not seen."""
    config = dataclasses.replace(TINY, epochs=5, batch_size=128, network={**TINY.network, "hidden_dim": 32})
    progress = training.train(config, data, tmp_path / "model", device="cpu")
    losses = [entry["training_loss"] for entry in progress.history]
    assert losses[-1] < losses[1] < losses[0]
    assert progress.history[-1]["validation_loss"] < progress.history[0]["validation_loss"]
    baseline = chi2_product(open_delphes, training.prepare(config, data, "cpu").validation)
    assert 0.12 < baseline < 0.2
    assert progress.best_product > 1.2 * baseline
    assert load(tmp_path / "model").topology.target_names == ("h1", "h2", "h3", "bh1", "bh2", "bh3")


def test_validation_counts_as_the_metrics_do(data, tmp_path, open_delphes):
    """Purity and efficiency of validation are those of hhh_coffea/reconstruction/metrics.py on the same events."""
    from conftest import DEMO

    from hhh_coffea.analyses import higgs_truth as truth
    from hhh_coffea.analyses.higgs import higgs
    from hhh_coffea.datasets.fileset import DatasetMetadata
    from hhh_coffea.events.delphes import read
    from hhh_coffea.events.record import selected, truncated
    from hhh_coffea.reconstruction.selection import event_selection

    trainer = training.prepare(dataclasses.replace(TINY, max_events=1024), data, "cpu")
    for epoch in (1, 2, 3, 4):
        training.run_epoch(trainer, epoch, lambda _: None)
    rows = data.rows(np.arange(1000))
    batches = [make_batch(rows[:600], data.topology, CPU), make_batch(rows[600:], data.topology, CPU)]
    found = validate(trainer.average, batches, LossOptions(), 2)

    model = spanet.load_model(save(trainer.average, tmp_path / "model"), "cpu")
    metadata = DatasetMetadata(format="delphes", n_higgs=3)
    record = read(open_delphes(DEMO / "hhh.root", stop=2000), metadata, model.extra_features).record
    record = selected(record, event_selection(record, metadata, higgs(3)).all())
    targets = truth.match(record, 3, 10, 3)
    n = 1000
    assert len(record) > n
    targets = some_of(targets, slice(n))
    record = truncated(record, 10, 3)[:n]
    candidates = spanet.reconstruct(record, model, ["expected"], higgs(3))["expected"]
    merged = higgs(3).evaluate(candidates, targets, "default")
    correct, category = merged.correct, merged.categories["merged"]
    assert category.candidates.sum() > 100
    assert found.purity == correct[category.candidates].sum() / category.candidates.sum()
    assert found.efficiency == category.retrieved.sum() / category.targets.sum()


@pytest.mark.parametrize("architecture", ["default", "original"])
def test_groups_change_nothing(data, architecture):
    network = TINY.network if architecture == "default" else {"hidden_dim": 8, "num_encoder_layers": 1}
    config = dataclasses.replace(TINY, architecture=architecture, network=network)
    model = training.prepare(config, data, "cpu").model.eval()
    batch = make_batch(data.rows(np.arange(50)), data.topology, CPU)
    whole = model(batch.inputs, batch.masks)
    parts, order = forward_in_groups(model, batch, 3)
    assert sorted(order.tolist()) == list(range(50))
    for name in data.topology.target_names:
        torch.testing.assert_close(parts.assignment[name], whole.assignment[name][order], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(parts.detection[name], whole.detection[name][order], atol=1e-4, rtol=1e-4)
    assert torch.equal(reordered(batch, order).weight, batch.weight[order])


def test_augmentation_is_a_symmetry(data):
    batch = make_batch(data.rows(np.arange(100)), data.topology, CPU)
    turned = augment(batch, data.topology, True, True, torch.Generator().manual_seed(1))
    for event_input, old, new, mask in zip(data.topology.inputs, batch.inputs, turned.inputs, batch.masks, strict=True):
        assert not torch.allclose(old, new)
        p, q = kinematics(event_input, old), kinematics(event_input, new)
        pairs = [features_of_pairs(*({k: v[:, at] for k, v in x.items()} for at in ([0], [1]))) for x in (p, q)]
        both = mask[:, 0] & mask[:, 1]
        torch.testing.assert_close(pairs[0][both], pairs[1][both], atol=2e-3, rtol=1e-3)
        torch.testing.assert_close(q["sinphi"] ** 2 + q["cosphi"] ** 2, mask.float())
    same = augment(batch, data.topology, False, False, torch.Generator().manual_seed(1))
    assert all(torch.equal(a, b) for a, b in zip(same.inputs, batch.inputs, strict=True))


def test_regressions_turn_with_their_event():
    """η of a neutrino changes its sign with that of the jets, ln m(tt̄) does not; what has no such name is refused."""
    assert [under_reflection(f"EVENT/{name}") for name in ("neutrino_eta", "log_mtt", "x")] == [-1.0, 1.0, None]
    topology = Topology.bundled("tth_semileptonic")
    n, generator = 200, torch.Generator().manual_seed(2)
    inputs = [torch.rand(n, 3, len(i.features), generator=generator) for i in topology.inputs]
    masks = [torch.ones(n, 3, dtype=torch.bool) for _ in topology.inputs]
    regression = {r.key: torch.rand(n, generator=generator) for r in topology.regressions}
    batch = Batch(inputs, masks, Truth({}, {}, {}, regression), torch.ones(n))
    turned = augment(batch, topology, True, True, generator, reflect_phi=True)
    eta = topology.inputs[0].feature_names.index("eta")
    flipped = turned.inputs[0][:, 0, eta] == -inputs[0][:, 0, eta]
    assert 50 < int(flipped.sum()) < 150
    before, after = (b.truth.regression for b in (batch, turned))
    torch.testing.assert_close(
        after["EVENT/neutrino_eta"], torch.where(flipped, -1.0, 1.0) * before["EVENT/neutrino_eta"]
    )
    assert torch.equal(after["EVENT/log_mtt"], before["EVENT/log_mtt"])


def test_a_mirrored_event_has_its_angles_reversed():
    topology = Topology.bundled("hh_resolved")
    place = [topology.inputs[0].feature_names.index(name) for name in ("sinphi", "cosphi")]
    x = torch.rand(300, 2, len(topology.inputs[0].features), generator=torch.Generator().manual_seed(3))
    batch = Batch([x], [torch.ones(300, 2, dtype=torch.bool)], Truth({}, {}), torch.ones(300))
    found = augment(batch, topology, False, False, torch.Generator().manual_seed(1), reflect_phi=True).inputs[0]
    ratio = found[..., place[0]] / x[..., place[0]]
    assert 100 < int((ratio[:, 0] < 0).sum()) < 200
    torch.testing.assert_close(ratio[:, 0], ratio[:, 1])  # whole events
    torch.testing.assert_close(found[..., place[1]], x[..., place[1]])


def test_energies_of_an_event_are_scaled_together(data):
    """One factor for each event, uniform in the range: masses of pairs grow with it, angles and validation stay."""
    batch = make_batch(data.rows(np.arange(min(len(data), 400))), data.topology, CPU)
    scaled = augment(batch, data.topology, False, False, torch.Generator().manual_seed(4), scale_range=(0.3, 1.7))
    factors = []
    for event_input, old, new, mask in zip(data.topology.inputs, batch.inputs, scaled.inputs, batch.masks, strict=True):
        for i, name in enumerate(event_input.feature_names):
            bare = name.removeprefix("fj_")
            if bare not in ("pt", "mass", "sdmass"):
                assert torch.equal(old[..., i], new[..., i])
            elif bare == "pt":
                ratio = torch.where(mask, new[..., i] / old[..., i], torch.nan)
                factors.append(ratio)
    ratio = torch.cat(factors, dim=1)
    own = ratio.nanmean(dim=1)
    torch.testing.assert_close(
        ratio, torch.where(ratio.isnan(), ratio, own[:, None]), equal_nan=True, rtol=1e-5, atol=1e-5
    )
    assert kstest(((own - 0.3) / 1.4).numpy(), "uniform").pvalue > 1e-3
    value = torch.tensor([2.0, 3.0])
    factor = torch.tensor([0.5, 2.0])
    torch.testing.assert_close(under_scaling("EVENT/log_mtt", value, factor), value + factor.log())
    torch.testing.assert_close(under_scaling("EVENT/neutrino_pz", value, factor), value * factor)
    assert torch.equal(under_scaling("EVENT/neutrino_eta", value, factor), value)
    for wrong in ([1.7, 0.3], [0.5], "wide"):
        with pytest.raises(ConfigError, match="scale_range"):
            TrainingConfig.from_mapping({"scale_range": wrong})


def test_streamed_normalisation(data):
    trainer = training.prepare(TINY, data, "cpu")
    use = np.arange(len(data)) % 3 > 0
    fit_normalisers(normalisers_of(trainer.model), data, use)
    streamed = [(n.mean.clone(), n.std.clone()) for n in normalisers_of(trainer.model)]
    batch = make_batch(data.rows(np.flatnonzero(use)), data.topology, CPU)
    fit_in_memory(normalisers_of(trainer.model), data.topology, batch.inputs, batch.masks)
    for (mean, std), n in zip(streamed, normalisers_of(trainer.model), strict=True):
        torch.testing.assert_close(mean, n.mean, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(std, n.std, rtol=1e-5, atol=1e-5)


def test_choice_of_events(data):
    """Validation is apart from training; fewer events are a part of more; complete events miss no Higgs boson."""
    trainer = training.prepare(TINY, data, "cpu")
    assert not set(trainer.train) & set(trainer.validation)
    assert len(trainer.train) + len(trainer.validation) == len(data)
    few = training.prepare(dataclasses.replace(TINY, max_events=500), data, "cpu")
    more = training.prepare(dataclasses.replace(TINY, max_events=1000), data, "cpu")
    assert len(few.train) == 500
    assert set(few.train) < set(more.train) < set(trainer.train)
    complete = data.rows(training.prepare(dataclasses.replace(TINY, partial_events=False), data, "cpu").train)
    assert 256 < len(complete) < len(trainer.train)
    for i in (1, 2, 3):
        assert ((complete[f"targets/h{i}"][:, 0] >= 0) | (complete[f"targets/bh{i}"][:, 0] >= 0)).all()
    balanced = training.prepare(dataclasses.replace(TINY, balance_presence=0.5), data, "cpu")
    batch = make_batch(data.rows(balanced.train), data.topology, CPU)
    weight = balanced.balance[training._codes(batch, balanced)]
    assert float(weight.mean()) == pytest.approx(1, rel=1e-4)
    assert weight.max() > 2 * weight.min() > 0


def test_learning_rate():
    config = TrainingConfig(epochs=10, learning_rate=1.0, warmup_epochs=1, final_learning_rate=0.1)
    rates = [training.learning_rate(config, step, 100) for step in range(1000)]
    assert rates[0] == pytest.approx(1 / 101)
    assert max(rates) == rates[100] == 1.0
    assert rates[550] == pytest.approx(0.55)
    assert rates[-1] == pytest.approx(0.1, abs=1e-4)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"learningrate": 1}, "key 'learningrate': there is no such key (did you mean 'learning_rate'?)"),
        ({"epochs": "many"}, "key 'epochs': must be a whole number (got 'many')"),
        ({"epochs": 2.5}, "key 'epochs': must be a whole number (got 2.5)"),
        ({"rotate_phi": 1}, "key 'rotate_phi': must be true or false (got 1)"),
        ({"balance_presence": 2}, "key 'balance_presence': must be from 0 to 1"),
        ({"network": 3}, "key 'network': must be a mapping (got 3)"),
        ({"loss": {"gamma": 1}}, "key 'loss.gamma': there is no such key"),
        ({"loss": {"combine": "max"}}, "key 'loss.combine': must be one of min, softmin, mean"),
    ],
)
def test_configuration_errors_name_the_key(content, message):
    with pytest.raises(ConfigError) as error:
        TrainingConfig.from_mapping(content, "my.yaml")
    assert str(error.value).startswith("my.yaml: ")
    assert message in str(error.value)


def test_bundled_recipes():
    """YAML takes 1e-3 for text: read as a number all the same."""
    assert TrainingConfig.from_mapping({"learning_rate": "1e-3"}).learning_rate == 1e-3
    for path in BUNDLED.glob("*.yaml"):
        assert TrainingConfig.read(path.stem) == TrainingConfig.read(path)


def test_command(data, tmp_path, capsys):
    config = tmp_path / "tiny.yaml"
    content = {"epochs": 1, "batch_size": 512, "network": dict(TINY.network)}
    config.write_text(yaml.safe_dump(content))
    arguments = ["spanet", "--data", str(data.path), "--config", str(config), "--output", str(tmp_path / "m")]
    assert main([*arguments, "--device", "cpu"]) == 0
    for name in ("model.yaml", "weights.safetensors", "README.md", "history.json", "history.png"):
        assert (tmp_path / "m" / name).stat().st_size > 0
    assert "epoch 1/1" in capsys.readouterr().out
    assert main([*arguments, "--device", "cpu"]) == 2
    assert "--resume" in capsys.readouterr().err
    content["network"]["hiden_dim"] = 3
    config.write_text(yaml.safe_dump(content))
    assert main([*arguments[:-1], str(tmp_path / "n")]) == 2
    assert "hiden_dim" in capsys.readouterr().err


def test_two_processes_share_a_batch(data, tmp_path):
    """torchrun with two processes takes the steps of one: with a loss that is a mean over events, to rounding."""
    content = {
        "network": {"hidden_dim": 16, "num_encoder_layers": 1, "pair_dim": 8},
        "loss": {"assignment": 0.0, "detection_over_present": False},
        "epochs": 1,
        "batch_size": 128,
        "max_events": 512,
        "rotate_phi": False,
        "reflect_eta": False,
        "validation_fraction": 0.2,
    }
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(content))
    command = [
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "hhh_coffea.train",
        "spanet",
    ]
    options = ["--data", str(data.path), "--config", str(config), "--output", str(tmp_path / "two"), "--device", "cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [sys.executable, *command, *options], env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("epoch 1/1") == 1  # one process speaks
    one = training.train(TrainingConfig.read(config), data, tmp_path / "one", device="cpu").history[0]
    two = json.loads((tmp_path / "two" / "history.json").read_text())["epochs"][0]
    for key in ("training_loss", "validation_loss", "purity", "efficiency"):
        assert two[key] == pytest.approx(one[key], rel=1e-3, abs=1e-4)
    assert yaml.safe_load((tmp_path / "two" / "model.yaml").read_text())["training"]["processes"] == 2
    with pytest.raises(TrainingError, match="processes = 2"):
        training.train(TrainingConfig.read(config), data, tmp_path / "two", device="cpu", resume=True)


def test_tensorboard_is_optional(data, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    arguments = [
        "spanet",
        "--data",
        str(data.path),
        "--config",
        "hhh",
        "--output",
        str(tmp_path / "m"),
        "--tensorboard",
    ]
    assert main(arguments) == 2
    assert "pip install 'hhh-coffea[tensorboard]'" in capsys.readouterr().err
    assert not (tmp_path / "m").exists()


def test_muon_moves_the_matrices_and_resumes_exactly(data, tmp_path):
    config = dataclasses.replace(TINY, optimiser="muon", max_events=600, epochs=2)
    whole = training.train(config, data, tmp_path / "whole", device="cpu")
    training.train(config, data, tmp_path / "parts", device="cpu", stop_after=1)
    resumed = training.train(config, data, tmp_path / "parts", device="cpu", resume=True)
    assert without_times(resumed) == without_times(whole)
    weights = [(tmp_path / name / "weights.safetensors").read_bytes() for name in ("whole", "parts")]
    assert weights[0] == weights[1]
    trainer = training.prepare(config, data, CPU)
    adamw, muon = trainer.optimisers
    by_muon = {p for group in muon.param_groups for p in group["params"]}
    by_adamw = {p for group in adamw.param_groups for p in group["params"]}
    assert by_muon | by_adamw == set(trainer.model.parameters())
    assert not by_muon & by_adamw
    assert all(p.ndim == 2 and min(p.shape) >= 16 for p in by_muon)
    # the first step of Muon is a matrix whose singular values are about equal, of the size of a step of AdamW
    before = {p: p.detach().clone() for p in by_muon}
    for group in muon.param_groups:
        group["weight_decay"], group["lr"] = 0.0, 1e-2
    for p in by_muon:
        p.grad = torch.randn_like(p)
    muon.step()
    for p, old in before.items():
        values = torch.linalg.svdvals((p - old).detach())
        assert float(values.quantile(0.9) / values.quantile(0.2)) < 2
        assert 1e-3 < float((p - old).detach().square().mean().sqrt()) < 3e-3
