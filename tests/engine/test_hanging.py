"""What would wait for ever: workers without a parent, pipes, and mounts that do not answer."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from conftest import DEMO, REPOSITORY

from hhh_coffea.engine import chunks, retry
from hhh_coffea.run import main

SLOW = """
import os, time
from coffea.processor import ProcessorABC

class Slow(ProcessorABC):
    def process(self, events):
        open(os.path.join({folder!r}, str(os.getpid())), "w").close()
        time.sleep(0.2)
        return {{"n": len(events)}}
    def postprocess(self, accumulator):
        return accumulator
"""


def _runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_local_workers_end_with_a_killed_parent(tmp_path):
    (tmp_path / "pids").mkdir()
    (tmp_path / "slow.py").write_text(SLOW.format(folder=str(tmp_path / "pids")))
    command = [sys.executable, "-m", "hhh_coffea.run", "--fileset", "demo", "--processor", str(tmp_path / "slow.py")]
    command += ["--output", str(tmp_path / "r"), "--executor", "futures", "--workers", "2", "--chunksize", "100"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as parent:
        while len(list((tmp_path / "pids").iterdir())) < 2:
            assert parent.poll() is None
            time.sleep(0.05)
        parent.send_signal(signal.SIGKILL)
    pids = [int(file.name) for file in (tmp_path / "pids").iterdir()]
    deadline = time.monotonic() + 60
    while any(_runs(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def fileset(folder):
    content = {"HHH": {"files": [str(DEMO / "hhh.root"), "odd.root"], "metadata": {"format": "delphes", "n_higgs": 3}}}
    (folder / "fileset.json").write_text(json.dumps(content))
    return [
        "--fileset",
        str(folder / "fileset.json"),
        "--output",
        str(folder / "r"),
        "--no-plots",
        "--metrics",
        "default",
    ]


def test_a_pipe_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "odd.root")
    assert main(fileset(tmp_path)) == 3
    (failure,) = json.loads((tmp_path / "r" / "provenance.json").read_text())["failures"]
    assert failure["reason"] == "not a regular file"


def test_opening_a_file_has_the_time_limit_too(tmp_path, monkeypatch):
    """``open`` of a file on a mount that does not answer."""
    real = chunks.open_file
    monkeypatch.setattr(chunks, "open_file", lambda path: time.sleep(8) if path.endswith("odd.root") else real(path))
    monkeypatch.setattr(retry, "BACKOFF_SECONDS", 0.001)
    assert main([*fileset(tmp_path), "--chunk-timeout", "3"]) == 3
    (failure,) = json.loads((tmp_path / "r" / "provenance.json").read_text())["failures"]
    assert failure["reason"] == "ChunkTimeoutError: not done after 3 s (--chunk-timeout)"


def test_a_cluster_that_does_not_close_loses_nothing(monkeypatch):
    """As when a worker is restarted just then: the run goes on, and no process stays behind."""
    import asyncio
    import time

    import psutil

    from hhh_coffea.engine import dask_cluster

    cluster = dask_cluster.local_cluster(1, dask_cluster.ClusterOptions())
    (worker,) = cluster.workers.values()
    process = psutil.Process(worker.process.pid)
    closing = cluster._close

    async def never():
        await asyncio.sleep(3600)

    monkeypatch.setattr(cluster, "_close", never)
    monkeypatch.setattr(dask_cluster, "CLOSE_SECONDS", 0.5)
    dask_cluster._closed(cluster)
    until = time.monotonic() + 30
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE and time.monotonic() < until:
        time.sleep(0.1)
    assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    monkeypatch.setattr(cluster, "_close", closing)
    cluster.close()
