"""``scale_range``: what it does to a batch, and that a network trained with it carves less of a peak into background."""

import json

import numpy as np
import pytest
import torch
import yaml
from scipy.stats import kstest

from hhh_coffea.run import main
from hhh_coffea.spanet.training import trainer as training
from hhh_coffea.spanet.training.batches import augment, make_batch
from hhh_coffea.spanet.training.config import TrainingConfig
from hhh_coffea.spanet.training.dataset import TrainingData
from hhh_coffea.train import main as train

torch.set_num_threads(1)
RANGE = (0.3, 1.7)
RECIPE = {
    "epochs": 3,
    "batch_size": 128,
    "max_events": 16000,
    "learning_rate": 5e-3,
    "ema_decay": 0.98,
    "validation_fraction": 0.1,
    "loss": {"detection_over_present": False},
    "network": {"hidden_dim": 32, "num_encoder_layers": 1},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scaling") / "data"
    arguments = ["data", "--fileset", "demo_hh", "--datasets", "HH", "--topology", "hh_resolved"]
    assert train([*arguments, "--output", str(folder)]) == 0
    return TrainingData.open(folder)


def masses(x, names, pairs):
    """Mass of the pair of jets at ``pairs (B, 2)``, from the features ``x (B, M, F)``."""
    own = np.take_along_axis(x.astype(float), pairs[:, :, None], axis=1)
    pt, eta, sin, cos, m = (own[..., names.index(name)] for name in ("pt", "eta", "sinphi", "cosphi", "mass"))
    p = np.stack([np.sqrt((pt * np.cosh(eta)) ** 2 + m**2), pt * cos, pt * sin, pt * np.sinh(eta)]).sum(axis=-1)
    return np.sqrt(p[0] ** 2 - p[1] ** 2 - p[2] ** 2 - p[3] ** 2)


def test_masses_of_true_pairs_are_uniform_in_the_range(data):
    rows = data.rows(np.flatnonzero((data.column("targets/h1") >= 0).all(axis=1))[:1500])
    names = list(data.topology.inputs[0].feature_names)
    batch = make_batch(rows, data.topology, torch.device("cpu"))
    scaled = augment(batch, data.topology, False, False, torch.Generator().manual_seed(1), scale_range=RANGE)
    before, after = (b.inputs[0].numpy() for b in (batch, scaled))
    for name in ("eta", "sinphi", "cosphi", "btag"):
        assert (before[..., names.index(name)] == after[..., names.index(name)]).all()
    pairs = rows["targets/h1"].astype(int)
    ratio = masses(after, names, pairs) / masses(before, names, pairs)
    assert kstest((ratio - RANGE[0]) / (RANGE[1] - RANGE[0]), "uniform").pvalue > 1e-3
    pt = names.index("pt")
    each = np.where(rows["masks/Jets"], after[..., pt] / np.where(rows["masks/Jets"], before[..., pt], 1), np.nan)
    np.testing.assert_allclose(np.nanmax(each, axis=1), np.nanmin(each, axis=1), rtol=1e-5)
    np.testing.assert_allclose(np.nanmean(each, axis=1), ratio, rtol=1e-3)
    config = TrainingConfig.from_mapping({**RECIPE, "scale_range": list(RANGE)})
    trainer = training.prepare(config, data)
    for found, start in zip(training._validation_batches(trainer), range(0, 10**6, 1024), strict=False):
        same = data.rows(trainer.validation[start : start + 1024])["inputs/Jets"]
        assert (found.inputs[0].numpy() == same).all()


@pytest.mark.slow
def test_background_is_sculpted_less(shared_dir, tmp_path):
    """Two short trainings that differ in nothing else; purity and efficiency in signal stand beside the distance."""
    events = {"HH": {"files": [str(shared_dir / "data/delphes/hh_train_00.root")]}}
    events["HH"]["metadata"] = {"format": "delphes", "n_higgs": 2}
    (tmp_path / "hh.json").write_text(json.dumps(events))
    arguments = ["data", "--fileset", str(tmp_path / "hh.json"), "--topology", "hh_resolved"]
    assert train([*arguments, "--output", str(tmp_path / "data")]) == 0
    found = {}
    for name, change in (("plain", {}), ("scaled", {"scale_range": list(RANGE)})):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(RECIPE | change))
        command = [
            "spanet",
            "--data",
            str(tmp_path / "data"),
            "--config",
            str(tmp_path / f"{name}.yaml"),
            "--device",
            "cpu",
        ]
        assert train([*command, "--output", str(tmp_path / name)]) == 0
        run = ["--fileset", "demo_hh", "--processor", "sculpting", "--methods", "spanet", "--metrics", "default"]
        run += [
            "--model",
            str(tmp_path / name),
            "--device",
            "cpu",
            "--no-plots",
            "--output",
            str(tmp_path / f"r_{name}"),
        ]
        assert main(run) == 0
        summary = json.loads((tmp_path / f"r_{name}" / "summary.json").read_text())
        merged = summary["results"]["HH"]["default"]["spanet"]["categories"]["merged"]
        emd = summary["other"]["sculpting"]["QCD"]["default"]["spanet"]["merged"]["all"]["30-225"]["emd_to_random_gev"]
        found[name] = (emd, merged["purity"]["value"], merged["efficiency"]["value"])
    (plain, *of_plain), (scaled, *of_scaled) = found["plain"], found["scaled"]
    assert plain["value"] - scaled["value"] > 3 * np.hypot(plain["error"], scaled["error"]), found
    assert min(*of_plain, *of_scaled) > 0.3, found
