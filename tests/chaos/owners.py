"""Who writes where: runs at once, parents that are killed, trainings."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from .commands import Command
from .harness import HHH, REPOSITORY

RECIPE = "epochs: 12\nbatch_size: 128\nvalidation_fraction: 0.2\nnetwork: {hidden_dim: 8, num_encoder_layers: 1, pair_dim: 4}\n"


def two_at_once(chaos, seed):
    """A second run during the first; four that start at the same moment; one that starts while workers of a dead one write."""
    content = {"HHH": {"files": [str(f) for f in chaos.files], "metadata": HHH}}
    options = ("--executor", "futures", "--workers", "2", "--chunksize", "250", "--metrics", "default")
    command = Command(chaos.folder, f"two-{seed}", content, options)
    process = command.start()
    command.wait_for(process, 2)
    assert command.run() == 2
    assert f"another run is writing there (process {process.pid} on " in Path(f"{command.output}.log").read_text()
    assert process.wait(timeout=600) == 0
    command.check()  # goes on from nothing: the first had written its results

    at_once = Command(chaos.folder, f"four-{seed}", content, ("--executor", "iterative", *options[4:]))
    codes = sorted(process.wait(timeout=600) for process in [at_once.start() for _ in range(4)])
    assert codes.count(0) >= 1
    assert set(codes) <= {0, 2}
    at_once.check()

    orphans = Command(chaos.folder, f"orphans-{seed}", content, options)
    for _ in range(3):
        orphans.killed(2, wait=False)
    orphans.check()
    kinds = {"a second run into one directory": 1, "runs that start at one moment": 3}
    chaos.say(f"runs at once, seed {seed}", kinds | {"killed, resumed while its workers end": 3})


def parents(chaos, seed):
    """The command with local processes is ended by every signal: its workers end too, and what they did is kept."""
    draw = random.Random(seed)
    content = {"HHH": {"files": [str(f) for f in chaos.files], "metadata": HHH}}
    options = ("--executor", "futures", "--workers", "2", "--chunksize", "200", "--metrics", "default")
    command = Command(chaos.folder, f"parents-{seed}", content, options)
    import psutil

    signals = [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGKILL]
    for number in signals:
        before = command.kept()
        process = command.start()
        command.wait_for(process, 2, before)
        time.sleep(draw.random() / 3)
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        code = process.wait(timeout=120)
        assert code == (130 if number == signal.SIGINT else -number)
        _, alive = psutil.wait_procs(children, timeout=60)
        assert not alive, f"left behind by signal {number}: {alive}"
    known = len(command.kept())
    assert command.check()["resumed_chunks"] >= known >= 2 * len(signals)
    chaos.say(f"the parent of local processes ended, seed {seed}", [f"parent ended by {s.name}" for s in signals])


def trainings(chaos, seed):
    """A training is killed at random moments and resumed, with another started beside it each time."""
    draw = random.Random(seed)
    folder = chaos.folder / f"trainings-{seed}"
    folder.mkdir()
    (folder / "recipe.yaml").write_text(RECIPE)
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}

    def start(*arguments):
        with (folder / "log").open("ab") as stream:
            command = [sys.executable, "-m", "hhh_coffea.train", *map(str, arguments)]
            return subprocess.Popen(command, stdout=stream, stderr=stream, env=environment, cwd="/")

    given = ["--fileset", "demo", "--datasets", "HHH", "--chunksize", "1000", "--max-chunks", "2"]
    for executor in (["--executor", "futures", "--workers", "2"], []):  # killed, and written again over what is there
        process = start("data", *given, "--output", folder / "data", *executor)
        if executor:
            while not list(folder.glob("data/shards/*")) and process.poll() is None:
                time.sleep(0.01)
            process.kill()
        assert process.wait(timeout=300) in (-signal.SIGKILL, 0)
    base = ["spanet", "--data", folder / "data", "--config", folder / "recipe.yaml", "--device", "cpu", "--output"]
    assert start(*base, folder / "alone").wait(timeout=600) == 0
    output, kills = folder / "model", 0
    while kills < 3:
        state = output / "training_state" / "last.safetensors"
        before = state.stat().st_mtime_ns if state.exists() else 0
        process = start(*base, output, *(["--resume"] if before else []))
        while not state.exists() or state.stat().st_mtime_ns == before:
            assert process.poll() is None, f"see {folder / 'log'}"
            time.sleep(0.005)
        process.send_signal(signal.SIGSTOP)
        assert start(*base, output, "--resume").wait(timeout=120) == 2
        assert f"another command is writing there (process {process.pid} on " in (folder / "log").read_text()
        process.send_signal(signal.SIGCONT)
        time.sleep(draw.random() / 10)
        process.kill()
        process.wait()
        kills += 1
    assert start(*base, output, "--resume").wait(timeout=600) == 0
    assert (output / "weights.safetensors").read_bytes() == (folder / "alone" / "weights.safetensors").read_bytes()
    epochs = json.loads((output / "history.json").read_text())["epochs"]
    assert [entry["epoch"] for entry in epochs] == list(range(1, 13))
    kinds = {"training killed": kills, "a second training into one directory": kills, "training data killed": 1}
    chaos.say(f"trainings, seed {seed}", kinds)
