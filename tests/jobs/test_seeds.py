"""One training for each seed, and the spread of what they reach."""

import json
import statistics

import pytest
import torch

from hhh_coffea.base.errors import UserError
from hhh_coffea.jobs.seeds import parse_seeds
from hhh_coffea.train import main

torch.set_num_threads(1)
TINY = ["epochs=1", "batch_size=256", "validation_fraction=0.2", "network.hidden_dim=8", "network.num_encoder_layers=1"]


def test_seeds_are_numbers_and_ranges():
    assert parse_seeds("1-5") == (1, 2, 3, 4, 5)
    assert parse_seeds("3, 7,20-22") == (3, 7, 20, 21, 22)
    for wrong in ("", "a", "5-1", "1-", "1,,2", "-3"):
        with pytest.raises(UserError, match="option 'seeds'"):
            parse_seeds(wrong)
    with pytest.raises(UserError, match="twice"):
        parse_seeds("1-3,2")


def test_one_training_for_each_and_their_spread(tmp_path, capsys):
    data = ["data", "--fileset", "demo_hh4b", "--datasets", "HH", "--topology", "hh_resolved"]
    assert main([*data, "--output", str(tmp_path / "data")]) == 0
    changes = [word for change in TINY for word in ("--set", change)]
    command = ["spanet", "--data", str(tmp_path / "data"), "--config", "hh", *changes, "--device", "cpu"]
    output = tmp_path / "models"
    assert main([*command, "--seeds", "4,9", "--output", str(output)]) == 0
    printed = capsys.readouterr().out
    content = json.loads((output / "seeds.json").read_text())
    assert content["seeds"] == [4, 9]
    products = []
    for seed in (4, 9):
        history = json.loads((output / f"seed_{seed}" / "history.json").read_text())
        assert f"seed: {seed}" in (output / f"seed_{seed}" / "model.yaml").read_text()
        products.append(history["epochs"][history["best_epoch"] - 1]["product"])
    found = content["numbers"]["product"]
    assert found["values"] == products
    assert found["standard_deviation"] == pytest.approx(statistics.stdev(products))
    assert f"product of the validation: {statistics.fmean(products):.4f} ± " in printed
    assert main([*command, "--seeds", "4-5", "--resume", "--output", str(output)]) == 0  # 5 was not begun
    assert json.loads((output / "seeds.json").read_text())["seeds"] == [4, 5]
    assert main([*command, "--seeds", "4", "--set", "seed=3", "--output", str(output)]) == 2
    assert "give one of them" in capsys.readouterr().err
