"""Fine-tuning: new regressions and classes on a trained network's event vector."""

import pytest

torch = pytest.importorskip("torch")

from hhh_coffea.spanet.checkpoint import load  # noqa: E402
from hhh_coffea.spanet.training.batches import make_batch  # noqa: E402
from hhh_coffea.spanet.training.config import ConfigError, TrainingConfig  # noqa: E402
from hhh_coffea.spanet.training.dataset import TrainingData  # noqa: E402
from hhh_coffea.spanet.training.trainer import train  # noqa: E402
from hhh_coffea.topology.topology import Topology  # noqa: E402
from hhh_coffea.train import main  # noqa: E402

NETWORK = {"hidden_dim": 16, "num_encoder_layers": 1, "pair_dim": 8, "spectators": True, "combination_score": True}
BASE = {"network": NETWORK, "epochs": 1, "batch_size": 64, "validation_fraction": 0.2, "criterion": "full"}
HEADS = ("REGRESSIONS:\n  EVENT: [neutrino_eta, log_mtt]\n", "CLASSIFICATIONS:\n  EVENT: [signal]\n")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The same events for a topology with a regression, one with a class besides, and one with no heads."""
    folder = tmp_path_factory.mktemp("fine_tune")
    text = Topology.bundled("tth_semileptonic").text
    assert all(section in text for section in HEADS)
    kinds = {"base": text.replace(HEADS[1], ""), "more": text, "none": text.replace(HEADS[0], "").replace(HEADS[1], "")}
    found = {}
    for name, content in kinds.items():
        (folder / f"{name}.yaml").write_text(content)
        arguments = ["--fileset", "demo_tops", "--datasets", "tth,ttbb", "--topology", str(folder / f"{name}.yaml")]
        assert main(["data", *arguments, "--output", str(folder / name)]) == 0
        found[name] = TrainingData.open(folder / name)
    return found


def outputs(model, data):
    batch = make_batch(data.rows(torch.arange(100).numpy()), data.topology, torch.device("cpu"))
    with torch.inference_mode():
        return model(batch.inputs, batch.masks)


def test_a_frozen_trunk_leaves_assignments_as_they_are(data, tmp_path):
    """To the bit, and the old heads too where they are not trained; the new class is learnt."""
    base = TrainingConfig.from_mapping({**BASE, "loss": {"regression": 1.0}})
    train(base, data["base"], tmp_path / "base", device="cpu")
    content = {**BASE, "epochs": 3, "loss": {"classification": 1.0}, "criterion": "auc/EVENT/signal"}
    tuned = TrainingConfig.from_mapping({**content, "fine_tune": str(tmp_path / "base")})
    progress = train(tuned, data["more"], tmp_path / "tuned", device="cpu")
    assert progress.best_epoch > 0
    old, new = load(tmp_path / "base"), load(tmp_path / "tuned")
    before, after = outputs(old, data["base"]), outputs(new, data["more"])
    for name in data["base"].topology.target_names:
        assert torch.equal(before.assignment[name], after.assignment[name])
        assert torch.equal(before.detection[name], after.detection[name])
    assert torch.equal(before.vectors["EVENT"], after.vectors["EVENT"])
    for key, value in before.regression.items():
        assert torch.equal(value, after.regression[key])
    torch.manual_seed(tuned.seed)
    first, last = (outputs(m, data["more"]).classification["EVENT/signal"] for m in (fresh(tuned, data["more"]), new))
    assert not torch.allclose(first, last)
    free = TrainingConfig.from_mapping({**content, "fine_tune": str(tmp_path / "base"), "trunk": "free", "epochs": 1})
    train(free, data["more"], tmp_path / "free", device="cpu")
    moved = outputs(load(tmp_path / "free"), data["more"])
    assert not torch.equal(before.assignment["lt"], moved.assignment["lt"])


def fresh(config, data):
    from hhh_coffea.spanet.training.preparation import prepare

    return prepare(config, data).model.eval()


def test_what_cannot_be_fine_tuned_is_named(data, tmp_path, capsys):
    train(TrainingConfig.from_mapping(BASE), data["none"], tmp_path / "none", device="cpu")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"network: {NETWORK}\nbatch_size: 64\nloss: {{classification: 1.0}}\n")
    arguments = ["spanet", "--data", str(data["more"].path), "--config", str(recipe), "--output", str(tmp_path / "out")]
    assert main([*arguments, "--fine-tune", str(tmp_path / "none"), "--device", "cpu"]) == 2
    assert "has no event vector" in capsys.readouterr().err
    wider = [*arguments, "--fine-tune", str(tmp_path / "none"), "--set", "network.hidden_dim=32", "--device", "cpu"]
    assert main(wider) == 2
    assert "has hidden_dim = 16, the configuration 32" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="must be frozen or free"):
        TrainingConfig.from_mapping({"trunk": "half"})
    with pytest.raises(ConfigError, match="only one of them"):
        TrainingConfig.from_mapping({"start_from": "a", "fine_tune": "b"})


def test_embeddings_are_the_event_vectors(data, tmp_path):
    import pyarrow.parquet as pq

    train(
        TrainingConfig.from_mapping({**BASE, "loss": {"regression": 1.0}}), data["more"], tmp_path / "m", device="cpu"
    )
    arguments = ["--data", str(data["more"].path), "--model", str(tmp_path / "m")]
    assert main(["embeddings", *arguments, "--output", str(tmp_path / "e.parquet")]) == 0
    table = pq.read_table(tmp_path / "e.parquet")
    expected = outputs(load(tmp_path / "m"), data["more"])
    assert len(table) == len(data["more"])
    assert set(table["dataset"].to_pylist()) == {"tth", "ttbb"}
    assert table["entry"].to_pylist() == data["more"].column("entry").tolist()
    found = torch.tensor(table["vector"].to_pylist()[:100])
    torch.testing.assert_close(found, expected.vectors["EVENT"], atol=1e-5, rtol=1e-4)
    eta = torch.tensor(table["EVENT/neutrino_eta"].to_pylist()[:100])
    torch.testing.assert_close(eta, expected.regression["EVENT/neutrino_eta"], atol=1e-5, rtol=1e-4)
    assert all(abs(sum(p) - 1) < 1e-5 for p in table["EVENT/signal"].to_pylist())
    arguments = ["--data", str(data["none"].path), "--model", "spanet_hhh", "--output", str(tmp_path / "f.parquet")]
    assert main(["embeddings", *arguments]) == 2
