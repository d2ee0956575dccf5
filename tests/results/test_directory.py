"""Who owns a results directory: one run at a time, and never a run that only looks, or somebody else's files."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from conftest import REPOSITORY

from hhh_coffea.base.lock import TakenError, locked
from hhh_coffea.plot import main as plot
from hhh_coffea.run import main

RUN = ["--fileset", "demo", "--datasets", "HHH", "--metrics", "default", "--no-plots"]


def test_a_lock_has_one_owner_and_ends_with_it(tmp_path):
    path = tmp_path / ".lock"
    code = f"from pathlib import Path; from hhh_coffea.base.lock import locked; import time\nwith locked(Path({str(path)!r})):\n"
    code += "    print('mine', flush=True); time.sleep(60)"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment) as owner:
        assert owner.stdout.readline() == b"mine\n"
        with pytest.raises(TakenError, match=f"process {owner.pid} on "), locked(path):
            pass
        owner.send_signal(signal.SIGKILL)
    assert path.exists()
    with locked(path):
        assert path.read_text().startswith(f"process {os.getpid()} on ")
        with pytest.raises(TakenError), locked(path):
            pass
    assert not path.exists()


def test_two_runs_into_one_directory(tmp_path, capsys):
    """The second is refused; it, a mistyped command and a dry run leave what the first keeps alone."""
    output = tmp_path / "r"
    gate = tmp_path / "gate"  # while it is there, the first run waits after its first chunk
    gate.touch()
    slow = f"""
import pathlib, time
from hhh_coffea import run
from hhh_coffea.engine import chunks
real, gate, done = chunks.process, pathlib.Path({str(gate)!r}), []
def process(*arguments):
    while done and gate.exists():
        time.sleep(0.02)
    done.append(1)
    return real(*arguments)
chunks.process = process
run.main()
"""
    command = [sys.executable, "-c", slow, *RUN, "--output", str(output), "--chunksize", "1000", "--candidates"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as first:
        while not list(output.glob(".resume/chunks/*/*.gz")):
            assert first.poll() is None
            time.sleep(0.02)
        assert main([*RUN, "--output", str(output)]) == 2
        assert f"another run is writing there (process {first.pid} on " in capsys.readouterr().err
        assert main([*RUN, "--output", str(output), "--dry-run"]) == 0
        assert main(["--fileset", "nothing", "--output", str(output)]) == 2
        assert list(output.glob(".resume/chunks/*/*.gz"))
        gate.unlink()
        assert first.wait() == 0
    assert json.loads((output / "provenance.json").read_text())["ledger"]["chunks"]["processed"] == 5
    assert len(list((output / "candidates").iterdir())) == 5
    assert not (output / ".lock").exists()


def test_folders_of_the_user_stay(tmp_path, capsys):
    empty, foreign = tmp_path / "empty", tmp_path / "foreign"
    (foreign / "plots").mkdir(parents=True)
    (foreign / "plots" / "mine.png").touch()
    (foreign / "summary.json").write_text("{}")
    (foreign / "provenance.json").write_text('{"of": "something else"}')
    empty.mkdir()
    assert main([*RUN, "--output", str(empty), "--dry-run"]) == 0
    assert main(["--fileset", "nothing", "--output", str(empty)]) == 2
    assert main([*RUN, "--output", str(empty), "--methods", "chi2,nothing"]) == 2
    assert empty.is_dir()
    capsys.readouterr()
    assert main([*RUN, "--output", str(foreign)]) == 2
    assert "is not empty and contains no earlier results" in capsys.readouterr().err
    assert (foreign / "plots" / "mine.png").exists()
    assert main([*RUN, "--output", str(tmp_path / "new" / "r"), "--dry-run"]) == 0
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").touch()
    assert main([*RUN, "--output", str(tmp_path / "file")]) == 2
    assert "file: cannot be used for results: File exists" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["../../x", "/tmp/hhh_coffea_outside/x"])
def test_figures_of_foreign_results_stay_in_their_folder(tmp_path, capsys, name):
    output = tmp_path / "deep" / "r"
    assert main([*RUN, "--output", str(output)]) == 0
    for file in ("histograms.json", "summary.json", "cutflow.json"):
        (output / file).write_text((output / file).read_text().replace('"HHH"', json.dumps(name)))
    before = set(tmp_path.rglob("*"))
    capsys.readouterr()
    assert plot([str(output)]) == 2
    assert "no figure is written outside" in capsys.readouterr().err
    assert {path for path in set(tmp_path.rglob("*")) - before if not path.is_relative_to(output)} == set()


def test_no_room_to_note_that_a_folder_is_in_use(tmp_path, monkeypatch, capsys):
    """A full disk is told as such with exit code 4, and the earlier results stay (make chaos fills a real one)."""
    import errno

    from hhh_coffea.results import directory
    from hhh_coffea.run import main

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    output = tmp_path / "r"
    command = ["--fileset", "demo", "--datasets", "HH", "--no-plots", "--metrics", "default", "--output", str(output)]
    assert main(command) == 0
    before = (output / "histograms.json").read_bytes()
    monkeypatch.setattr(directory, "locked", full)
    assert main(command) == 4
    assert "not finished: " in capsys.readouterr().out
    assert (output / "histograms.json").read_bytes() == before
