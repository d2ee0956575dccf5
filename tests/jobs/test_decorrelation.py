"""Switches of the training against sculpting of masses: each against its definition, and end to end on the demo."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
import yaml

from hhh_coffea.spanet.checkpoint import CheckpointError, build, load, save
from hhh_coffea.spanet.network.massless import PAIR_MASS
from hhh_coffea.spanet.training import mass_weights
from hhh_coffea.spanet.training import trainer as training
from hhh_coffea.spanet.training.batches import forward_in_groups, make_batch, reordered
from hhh_coffea.spanet.training.config import ConfigError, TrainingConfig
from hhh_coffea.spanet.training.dataset import TrainingData
from hhh_coffea.spanet.training.disco import disco_term, distance_correlation, expected_ln_mass
from hhh_coffea.spanet.training.loss import symmetric_loss
from hhh_coffea.train import main

torch.set_num_threads(1)
CPU = torch.device("cpu")
TINY = TrainingConfig(
    network={"hidden_dim": 16, "num_encoder_layers": 1, "pair_dim": 8},
    loss={"detection_over_present": False},
    epochs=1,
    batch_size=256,
    learning_rate=5e-3,
    ema_decay=0.5,
    validation_fraction=0.05,
    max_events=768,
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "hhh"
    assert (
        main(
            [
                "data",
                "--fileset",
                "demo",
                "--datasets",
                "HHH",
                "--chunksize",
                "2000",
                "--output",
                str(folder),
                "--max-chunks",
                "1",
            ]
        )
        == 0
    )
    return TrainingData.open(folder)


def four_vector(pt, eta, sin, cos, mass):
    z = pt * math.sinh(eta)
    return np.array([math.sqrt(pt**2 + z**2 + mass**2), pt * cos, pt * sin, z])


def mass_of(p):
    return math.sqrt(max(0, p[0] ** 2 - p[1] ** 2 - p[2] ** 2 - p[3] ** 2))


def test_true_mass(data):
    """The masses weighed by are those of the two jets, or the fat jet, of the truth: event by event in Python."""
    rows = data.rows(np.arange(60))
    batch = make_batch(rows, data.topology, CPU)
    checked = {"h2": 0, "bh1": 0}
    for target in (t for t in data.topology.targets if t.name in checked):
        mass = mass_weights.true_mass(batch, target, data.topology)
        for i, row in enumerate(rows):
            objects = row[f"targets/{target.name}"]
            if objects[0] < 0:
                continue
            checked[target.name] += 1
            if target.name == "h2":  # pt eta sinphi cosphi btag mass
                jets = [row["inputs/Jets"][j].astype(float)[[0, 1, 2, 3, 5]] for j in objects]
                assert float(mass[i]) == pytest.approx(mass_of(sum(four_vector(*j) for j in jets)), rel=1e-5)
            else:
                assert float(mass[i]) == pytest.approx(float(row["inputs/BoostedJets"][objects[0], 4]), rel=1e-3)
    assert checked["h2"] > 20
    assert checked["bh1"] > 1


def test_weights_by_hand():
    """Two masses of 100 and one of 200 GeV: the density is that of three Gaussians, the weights average one."""
    masses = np.array([100.0, 100.0, 200.0])
    density = mass_weights.smooth_density(masses)
    peak = 1 / (3 * 5 * math.sqrt(2 * math.pi))
    assert density[20] == pytest.approx(2 * peak, rel=1e-6)  # node 20 is 100 GeV
    assert density[40] == pytest.approx(peak, rel=1e-2)
    assert density[22] == pytest.approx(2 * peak * math.exp(-2), rel=1e-6)  # two widths away
    weight = mass_weights.weights_of(masses, density, 0.5)  # floor · max = peak
    assert weight[40] / weight[20] == pytest.approx(3 / 2, rel=1e-2)  # (2 + 1) / (1 + 1)
    assert weight[0] / weight[20] == pytest.approx(3, rel=1e-2)  # nothing there: levelled off at (1 + floor) / floor
    assert 2 * weight[20] + weight[40] == pytest.approx(3)


def test_weights_flatten_without_cliffs(data):
    weights = mass_weights.fit(data, np.arange(len(data), dtype=np.int32), 0.05)
    assert weights.weight["h1"] is weights.weight["h3"]
    batch = make_batch(data.rows(np.arange(len(data))), data.topology, CPU)
    mass, weight = [], []
    for name, w in weights(batch, data.topology).items():
        present = batch.truth.present[name]
        assert (w[~present] == 1).all()
        if name in ("h1", "h2", "h3"):
            target = next(t for t in data.topology.targets if t.name == name)
            mass.append(mass_weights.true_mass(batch, target, data.topology)[present].numpy())
            weight.append(w[present].numpy())
    mass, weight = np.concatenate(mass), np.concatenate(weight)
    assert weight.mean() == pytest.approx(1, rel=1e-4)
    edges = np.arange(85, 166, 10)
    before, after = np.histogram(mass, edges)[0], np.histogram(mass, edges, weights=weight)[0]
    assert before.max() > 5 * before.min()
    assert after.max() < 1.6 * after.min()
    table = weights.weight["h1"]
    assert (np.abs(np.diff(np.log(table))) < 0.5).all()  # no two nodes, 5 GeV apart, differ by a factor of 1.65
    assert table.max() <= 21.1 * table.min()  # (1 + floor) / floor


def slow_distance_correlation(x, y):
    """arXiv 2001.05310, eq. 2.2 (with its expectations as means over all pairs and triples) and 2.5."""
    n = len(x)

    def covariance(a, b):
        pairs = list(itertools.product(range(n), repeat=2))
        joint = sum(abs(a[i] - a[j]) * abs(b[i] - b[j]) for i, j in pairs) / n**2
        apart = sum(abs(a[i] - a[j]) for i, j in pairs) / n**2 * sum(abs(b[i] - b[j]) for i, j in pairs) / n**2
        triple = sum(abs(a[i] - a[j]) * abs(b[i] - b[k]) for i, j, k in itertools.product(range(n), repeat=3)) / n**3
        return joint + apart - 2 * triple

    return covariance(x, y) / math.sqrt(covariance(x, x) * covariance(y, y))


def test_distance_correlation():
    rng = np.random.default_rng(3)
    x = rng.normal(size=12)
    for y in (rng.normal(size=12), x**2, -2 * x + 1):
        found = float(distance_correlation(torch.from_numpy(x), torch.from_numpy(y)))
        assert found == pytest.approx(slow_distance_correlation(x, y), rel=1e-9)
    assert found == pytest.approx(1)  # linear
    assert float(distance_correlation(torch.ones(5), torch.rand(5))) == 0
    big = torch.from_numpy(rng.normal(size=(2, 1000)))
    assert float(distance_correlation(*big)) < 0.02  # independent


def test_expected_mass(data):
    target = data.topology.targets[0]
    batch = make_batch(data.rows(np.arange(3)), data.topology, CPU)
    n = batch.inputs[0].shape[1]
    logp = torch.full((3, n, n), -math.inf)
    logp[0, 0, 1], logp[0, 1, 2] = math.log(0.25), math.log(0.75)
    logp[1, 0, 3] = 0.0
    found = expected_ln_mass(logp, target, batch, data.topology)
    jets = [[four_vector(*batch.inputs[0][i, j].double().numpy()[[0, 1, 2, 3, 5]]) for j in range(4)] for i in (0, 1)]
    pair = 0.25 * math.log(mass_of(jets[0][0] + jets[0][1])) + 0.75 * math.log(mass_of(jets[0][1] + jets[0][2]))
    assert float(found[0]) == pytest.approx(pair, rel=1e-5)
    assert float(found[1]) == pytest.approx(math.log(mass_of(jets[1][0] + jets[1][3])), rel=1e-5)
    assert math.isnan(found[2])


@pytest.mark.parametrize("architecture", ["default", "original"])
def test_disco_term_looks_at_background_alone(data, architecture):
    """Only outputs matched with absent targets enter, and descending along its gradient lowers the term."""
    torch.manual_seed(0)
    network = TINY.network if architecture == "default" else {"hidden_dim": 8, "num_encoder_layers": 1}
    model = build(data.topology, architecture, network)
    batch = make_batch(data.rows(np.arange(200)), data.topology, CPU)
    outputs, order = forward_in_groups(model, batch, 2)
    batch = reordered(batch, order)
    for name in outputs.detection:
        outputs.detection[name] = outputs.detection[name].detach().requires_grad_()
    loss = symmetric_loss(outputs, batch.truth, data.topology, [10, 3])
    term = disco_term(outputs, batch, data.topology, loss.permutation)
    term.backward()
    group = torch.tensor(data.topology.event_group)[loss.permutation]
    for i, name in enumerate(data.topology.target_names):
        matched = torch.stack([batch.truth.present[n] for n in data.topology.target_names], 1).gather(1, group)[:, i]
        gradient = outputs.detection[name].grad
        assert (gradient[matched] == 0).all()
        assert gradient[~matched].abs().sum() > 0
        outputs.detection[name] = outputs.detection[name].detach() - 0.01 * gradient / gradient.abs().max()
    assert disco_term(outputs, batch, data.topology, loss.permutation).item() < term.item()


@pytest.mark.parametrize(
    "network", [{"pairwise_mass": False}, {"mass_inputs": False}, {"pairwise_mass": False, "mass_inputs": False}]
)
def test_hidden_masses_stay_hidden(data, network):
    """After training, outputs do not depend on what was hidden; shapes of the weights are those of the full network."""
    config = dataclasses.replace(TINY, network={**TINY.network, **network})
    trainer = training.prepare(config, data, "cpu")
    training.run_epoch(trainer, 1, lambda _: None)
    full = build(data.topology, "default", TINY.network)
    assert {k: v.shape for k, v in trainer.model.state_dict().items()} == {
        k: v.shape for k, v in full.state_dict().items()
    }
    if not network.get("pairwise_mass", True):
        weight = trainer.model.pair_embedding[0].weight
        assert (weight[:, PAIR_MASS] == 0).all()
        assert (weight[:, :PAIR_MASS] != 0).all()
    if not network.get("mass_inputs", True):
        jets, fatjets = (e.first.weight for e in trainer.model.embeddings)
        assert (jets[:, 5] == 0).all()  # mass
        assert (fatjets[:, 4:6] == 0).all()  # fj_mass, fj_sdmass
        assert (jets[:, :4] != 0).any(dim=0).all()
    if len(network) == 2:
        model = trainer.model.eval()
        batch = make_batch(data.rows(np.arange(50)), data.topology, CPU)
        x = [i.clone() for i in batch.inputs]
        x[0][..., 5] *= 0.9
        x[1][..., 4:6] *= 0.9
        before, after = model(batch.inputs, batch.masks), model(x, batch.masks)
        for name in before.detection:
            torch.testing.assert_close(before.detection[name], after.detection[name])


def test_mass_weights_reach_the_loss_and_the_provenance(data, tmp_path):
    config = dataclasses.replace(TINY, mass_weights=True, disco=0.5, keep="last", epochs=2)
    progress = training.train(config, data, tmp_path / "weighted", device="cpu")
    assert progress.best_epoch == 2
    plain = training.train(TINY, data, tmp_path / "plain", device="cpu")
    assert progress.history[0]["training_loss"] != plain.history[0]["training_loss"]
    told = yaml.safe_load((tmp_path / "weighted" / "model.yaml").read_text())["training"]
    assert told["configuration"]["mass_weights"] is True
    tables = told["mass_weights"]
    assert set(tables["targets"]) == {"h1,h2,h3", "bh1,bh2,bh3"}
    trainer = training.prepare(config, data, "cpu")
    kept = tables["targets"]["h1,h2,h3"]["weight"]
    np.testing.assert_allclose(kept, trainer.mass_weights.weight["h1"], rtol=1e-4)
    assert tables["masses_gev"][25] == 125
    assert "mass_weights" not in yaml.safe_load((tmp_path / "plain" / "model.yaml").read_text())["training"]


def test_start_from_a_model(data, tmp_path):
    torch.manual_seed(5)
    start = build(data.topology, "default", {**TINY.network, "dropout": 0.1})
    for normaliser in start.normalisers:
        normaliser.mean.fill_(0.25)
    save(start, tmp_path / "start")
    config = dataclasses.replace(TINY, start_from=str(tmp_path / "start"))
    trainer = training.prepare(config, data, "cpu")
    for key, value in start.state_dict().items():
        assert torch.equal(trainer.model.state_dict()[key], value)
        assert torch.equal(trainer.average.state_dict()[key], value)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        yaml.safe_dump({"network": {**TINY.network, "pairwise_mass": False}, "epochs": 1, "batch_size": 512})
    )
    arguments = ["spanet", "--data", str(data.path), "--config", str(recipe), "--device", "cpu"]
    arguments += ["--start-from", str(tmp_path / "start"), "--output", str(tmp_path / "tuned")]
    assert main(arguments) == 0
    told = yaml.safe_load((tmp_path / "tuned" / "model.yaml").read_text())["training"]["start_from"]
    assert told["model"] == "start"
    assert len(told["weights_sha256"]) == 64
    assert (load(tmp_path / "tuned").pair_embedding[0].weight[:, PAIR_MASS] == 0).all()
    # a deeper network starts as the same function, and learns in its new layer
    deeper = training.prepare(
        dataclasses.replace(config, network={**TINY.network, "num_encoder_layers": 2}), data, "cpu"
    )
    batch = make_batch(data.rows(np.arange(8)), data.topology, CPU)
    found, expected = (m.eval()(batch.inputs, batch.masks) for m in (deeper.model, start))
    assert torch.equal(found.detection["h1"], expected.detection["h1"])
    found.detection["h1"].sum().backward()
    assert deeper.model.encoder[1].attention.out.weight.grad.abs().max() > 0
    shallower = dataclasses.replace(config, network={**TINY.network, "num_encoder_layers": 0})
    with pytest.raises(CheckpointError, match="num_encoder_layers = 1, the configuration 0"):
        training.prepare(shallower, data, "cpu")
    other = dataclasses.replace(config, network={**TINY.network, "hidden_dim": 32})
    with pytest.raises(CheckpointError, match="hidden_dim = 16, the configuration 32"):
        training.prepare(other, data, "cpu")
    with pytest.raises(CheckpointError, match="architecture or event topology"):
        training.prepare(dataclasses.replace(config, architecture="original", network={}), data, "cpu")
    with pytest.raises(CheckpointError, match=r"no model\.yaml"):
        training.prepare(dataclasses.replace(config, start_from=str(tmp_path)), data, "cpu")


def test_recipe_changed_on_the_command_line():
    plain = TrainingConfig.read("hhh_decorrelated")
    assert plain.mass_weights
    changes = ["mass_weights=false", "disco=0.5", "network.pairwise_mass=false", "learning_rate=1e-4"]
    changed = TrainingConfig.read("hhh_decorrelated", changes)
    assert (changed.mass_weights, changed.disco, changed.learning_rate) == (False, 0.5, 1e-4)
    assert changed.network == {**plain.network, "pairwise_mass": False}
    for wrong in ("disco", "epochs.x=3"):
        with pytest.raises(ConfigError, match="must be key=value"):
            TrainingConfig.read("hhh_decorrelated", [wrong])
    with pytest.raises(ConfigError, match="'disko'"):
        TrainingConfig.read("hhh_decorrelated", ["disko=1"])


def test_configuration_errors():
    with pytest.raises(ConfigError, match="key 'keep': must be best or last"):
        TrainingConfig.from_mapping({"keep": "first"})
    with pytest.raises(ConfigError, match="key 'mass_weight_floor': must be from"):
        TrainingConfig.from_mapping({"mass_weight_floor": 0})
