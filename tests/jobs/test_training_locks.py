"""One command at a time writes into a directory; a training that was killed leaves it to the one that goes on."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import yaml
from conftest import REPOSITORY

from hhh_coffea.base.errors import UserError
from hhh_coffea.base.lock import LOCK, locked, owned
from hhh_coffea.tradeoff import main as tradeoff
from hhh_coffea.train import main

RECIPE = {
    "epochs": 8,
    "batch_size": 128,
    "validation_fraction": 0.2,
    "network": {"hidden_dim": 8, "num_encoder_layers": 1, "pair_dim": 4},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("locks")
    given = ["--fileset", "demo", "--datasets", "HHH", "--chunksize", "1000", "--max-chunks", "1"]
    assert main(["data", *given, "--output", str(folder / "data")]) == 0
    (folder / "tiny.yaml").write_text(yaml.safe_dump(RECIPE))
    return folder


def test_two_trainings_and_one_that_is_killed(folder, capsys):
    """The second is refused and names the first; the one that goes on ends as if nothing had happened."""
    base = ["spanet", "--data", str(folder / "data"), "--config", str(folder / "tiny.yaml"), "--device", "cpu"]
    output, state = folder / "model", folder / "model" / "training_state" / "last.safetensors"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-m", "hhh_coffea.train", *base, "--output", str(output)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as first:
        while not state.exists():
            assert first.poll() is None
            time.sleep(0.01)
        first.send_signal(signal.SIGSTOP)
        for option in ((), ("--resume",)):
            assert main([*base, "--output", str(output), *option]) == 2
            assert f"another command is writing there (process {first.pid} on " in capsys.readouterr().err
        first.send_signal(signal.SIGKILL)
    assert (output / LOCK).exists()
    done = json.loads((output / "history.json").read_text()) if (output / "history.json").exists() else {"epochs": [1]}
    assert len(done["epochs"]) < RECIPE["epochs"]
    assert main([*base, "--output", str(output), "--resume"]) == 0
    assert not (output / LOCK).exists()
    assert main([*base, "--output", str(folder / "whole")]) == 0
    weights = [(folder / name / "weights.safetensors").read_bytes() for name in ("model", "whole")]
    assert weights[0] == weights[1]


@pytest.mark.parametrize(
    "command",
    [
        ["data", "--fileset", "demo"],
        ["spanet", "--data", "nothing", "--config", "nothing"],
        ["bdt", "--fileset", "demo"],
        ["transfer-functions", "--fileset", "demo"],
        ["pdnn", "--fileset", "demo"],
        ["import-hdf5", "nothing.h5"],
        ["import-spanet", "nothing"],
        ["mass-price", "--model", "spanet_hhh", "--background", "nothing", "--slope", "1"],
    ],
)
def test_every_command_that_writes_a_directory_has_the_lock(tmp_path, capsys, command):
    (tmp_path / "x").mkdir()
    with locked(tmp_path / "x" / LOCK):
        assert main([*command, "--output", str(tmp_path / "x")]) == 2
    assert "x: another command is writing there (process " in capsys.readouterr().err
    assert list((tmp_path / "x").iterdir()) == []


@pytest.mark.parametrize(
    "command", [["data", "--fileset", "demo", "--format", "spanet-hdf5"], ["export-onnx", "nothing"]]
)
def test_files_have_a_lock_beside_them(tmp_path, capsys, command):
    with locked(tmp_path / f".x.h5{LOCK}"):
        assert main([*command, "--output", str(tmp_path / "x.h5")]) == 2
    assert "x.h5: another command is writing there (process " in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_comparisons_too(tmp_path, capsys):
    (tmp_path / "t").mkdir()
    with locked(tmp_path / "t" / LOCK):
        assert tradeoff(["spanet_hhh", "--output", str(tmp_path / "t")]) == 2
    assert "t: another command is writing there (process " in capsys.readouterr().err


def test_what_was_made_for_nothing_is_removed(tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    for output in ("new/deep/x", "mine"):
        assert main(["spanet", "--data", "nothing", "--config", "hhh", "--output", str(tmp_path / output)]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    (tmp_path / "file").touch()
    assert main(["spanet", "--data", "nothing", "--config", "hhh", "--output", str(tmp_path / "file")]) == 2
    assert "file: cannot be written to: File exists" in capsys.readouterr().err
    with owned(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b" / "c").touch()
        with pytest.raises(UserError, match="another command"), owned(tmp_path / "a" / "b"):
            pass
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["c"]
