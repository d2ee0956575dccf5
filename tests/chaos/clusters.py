"""Schedulers and workers of their own, as on other machines."""

import contextlib
import json
import os
import subprocess
import sys
import time

import psutil

from .harness import REPOSITORY


@contextlib.contextmanager
def cluster(folder, workers=2, resources=(), package=REPOSITORY, tls=(), security=None):
    """A scheduler and workers of their own, as on other machines: (process of the scheduler, its address).

    ``resources`` of each worker, if any; they import the package from the folder ``package``. ``tls``: options that encrypt it,
    and ``security`` what a client then needs.
    """
    environment = {**os.environ, "PYTHONPATH": str(package)}
    file = folder / f"scheduler-{time.monotonic_ns()}.json"
    # not from the repository: -m would import the package from there
    options = {"env": environment, "cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    base = [
        sys.executable,
        "-m",
        "distributed.cli.dask_scheduler",
        "--host",
        "127.0.0.1",
        "--port",
        "0",
        "--no-dashboard",
    ]
    processes = [subprocess.Popen([*base, "--scheduler-file", str(file), *tls], **options)]
    try:
        for i in range(workers):
            own = ("--resources", resources[i]) if i < len(resources) and resources[i] else ()
            processes.append(join(file, package, *own, *tls))
        while not (file.exists() and file.stat().st_size):
            time.sleep(0.05)
        address = json.loads(file.read_text())["address"]
        from distributed import Client

        with Client(address, set_as_default=False, security=security) as client:
            client.wait_for_workers(workers, timeout=120)
        yield processes[0], address
    finally:
        for process in processes[::-1]:
            end(process)


def join(scheduler_file, package=REPOSITORY, *options):
    """A worker of one thread that joins a cluster, importing the package from the folder ``package``: its process."""
    environment = {**os.environ, "PYTHONPATH": str(package)}
    command = [sys.executable, "-m", "distributed.cli.dask_worker", "--scheduler-file", str(scheduler_file)]
    command += ["--nthreads", "1", "--no-dashboard", "--host", "127.0.0.1", *options]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, env=environment, cwd=scheduler_file.parent, **quiet)


def end(process):
    """End a process of a cluster, and what it started."""
    children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
    for child in children:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
