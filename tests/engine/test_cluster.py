"""Clusters that are there already, and those that a batch system would start: what is asked, sent and refused."""

import asyncio
import json
import logging
import os
import shutil
import subprocess
import sys
import threading
import time

import pytest
import yaml
from chaos import clusters
from conftest import REPOSITORY

from hhh_coffea.config import ConfigError, make_config
from hhh_coffea.engine.chunks import Chunk, Job, Partial
from hhh_coffea.engine.dask_cluster import ClusterOptions, ExecutorError, batch_cluster, differences
from hhh_coffea.engine.dask_executor import DaskExecutor
from hhh_coffea.engine.executors import make_executor
from hhh_coffea.engine.processors import ProcessorSource
from hhh_coffea.run import main

WHO = """
from coffea.processor import ProcessorABC
from distributed import get_worker

import hhh_coffea

class Who(ProcessorABC):
    wants_gpu = True

    def process(self, events):
        return {"on": {get_worker().address: len(events)}, "from": {hhh_coffea.__file__}}

    def postprocess(self, accumulator):
        return accumulator
"""


@pytest.fixture(scope="module")
def foreign_package(tmp_path_factory):
    """Folder of a package that is not quite ours."""
    folder = tmp_path_factory.mktemp("cluster")
    ignore = shutil.ignore_patterns("__pycache__", "_bundled")
    shutil.copytree(REPOSITORY / "hhh_coffea", folder / "hhh_coffea", ignore=ignore)
    with (folder / "hhh_coffea" / "jagged.py").open("a") as file:
        file.write("\n# an older version\n")
    return folder


@pytest.fixture(scope="module")
def foreign_cluster(foreign_package):
    """Two workers with that package, one of which declares a GPU: (scheduler file's address, folder)."""
    folder = foreign_package
    with clusters.cluster(folder, resources=("", "GPU=1"), package=folder) as (_, address):
        yield address, folder


@pytest.mark.slow
def test_warnings_of_workers_that_are_slow_to_end_are_hidden():
    """While a cluster closes, and of a worker that is replaced; errors, and warnings of memory, are shown."""
    from hhh_coffea.engine.dask_cluster import _closed, _quiet

    shown = []
    handler = logging.Handler()
    handler.emit = lambda record: shown.append(record.getMessage())
    dask, nanny = logging.getLogger("distributed"), logging.getLogger("distributed.nanny")
    dask.addHandler(handler)

    class Cluster:
        def close(self, timeout):
            nanny.warning("Worker process still alive after 4.0 seconds, killing")
            nanny.error("an error")

    try:
        _closed(Cluster())
        with _quiet("distributed", "still alive after"):
            nanny.warning("Worker process still alive after 4.0 seconds, killing")
            nanny.warning("Worker exceeded 95% memory budget. Restarting")
        nanny.warning("afterwards")
    finally:
        dask.removeHandler(handler)
    assert shown == ["an error", "Worker exceeded 95% memory budget. Restarting", "afterwards"]


def test_a_closing_worker_does_not_report_its_last_heartbeat(capfd):
    """A heartbeat on its way while the cluster closes is lost, and nothing is wrong; one lost before that is reported."""
    waiting = threading.Event()
    calls = []

    async def heartbeat(*_, **__):
        calls.append(len(calls))
        if calls == [0]:
            raise OSError("lost")
        waiting.set()
        await asyncio.sleep(10)  # longer than the cluster takes to close

    with make_executor("dask", 1) as executor:
        executor.client.cluster.scheduler.handlers["heartbeat_worker"] = heartbeat
        assert waiting.wait(60)
    reported = capfd.readouterr().err
    assert (reported.count("during heartbeat"), reported.count("Traceback")) == (1, 1)
    assert "OSError: lost" in reported


def test_workers_are_checked_and_the_package_is_shipped(foreign_cluster, tmp_path, capsys):
    """A table where they differ; with --ship-package they run our code. Chunks go to the worker with the GPU."""
    address, folder = foreign_cluster
    (tmp_path / "who.py").write_text(WHO)
    base = [
        "--fileset",
        "demo",
        "--datasets",
        "HHH",
        "--output",
        str(tmp_path / "r"),
        "--no-plots",
        "--chunksize",
        "500",
    ]
    base += ["--processor", str(tmp_path / "who.py"), "--executor", "dask", "--scheduler"]
    file = next(folder.glob("scheduler-*.json"))
    assert main([*base, str(file)]) == 2
    said = capsys.readouterr().err
    assert "the workers differ from this machine" in said
    (row,) = [line for line in said.splitlines() if "hhh_coffea (code)" in line]
    assert row.count("tcp://") == 2
    assert "--ship-package" in said

    assert main([*base, address, "--ship-package"]) == 0
    other = json.loads((tmp_path / "r" / "summary.json").read_text())["other"]
    assert list(other["on"].values()) == [5000]
    assert "shipped-" in other["from"][0]
    printed = " ".join(capsys.readouterr().out.split())
    assert "declares a GPU but finds none" in printed
    with make_executor("dask", scheduler=address, options=ClusterOptions(ship_package=True)) as where:
        assert where.gpu_workers() == list(other["on"])


@pytest.mark.slow
def test_workers_that_come_late_are_checked(foreign_package, tmp_path, caplog):
    """One with another package is sent away before it does anything, unless the package is shipped; one with ours helps."""

    settled = tmp_path / "settled"  # until this appears no task ends: there is work for whoever comes

    def origin(_, settled=str(settled)):
        import time
        from pathlib import Path

        import hhh_coffea

        begin = time.monotonic()
        while not Path(settled).exists() and time.monotonic() < begin + 60:
            time.sleep(0.05)
        time.sleep(0.1)
        return hhh_coffea.__file__

    def settle(client):
        late[0].wait(timeout=60)
        while late[1].poll() is None and len(client.nthreads()) != 2:
            time.sleep(0.05)
        settled.touch()

    ours = str(REPOSITORY / "hhh_coffea" / "__init__.py")
    late = []
    try:
        with clusters.cluster(tmp_path, workers=1) as (_, address):
            (file,) = tmp_path.glob("scheduler-*.json")
            with make_executor("dask", scheduler=address) as where:
                late += [clusters.join(file, foreign_package), clusters.join(file)]
                watch = threading.Thread(target=settle, args=(where.client,))
                watch.start()
                assert {found for _, found in where.map(origin, range(12))} == {ours}
                watch.join()
                assert late[0].poll() is not None
                assert len(where.client.nthreads()) == 2
                assert late[1].poll() is None
            assert "a worker that joined later was removed" in caplog.text
            assert caplog.text.count("hhh_coffea (code)") == 1
            with make_executor("dask", scheduler=address, options=ClusterOptions(ship_package=True)) as where:
                late.append(clusters.join(file, foreign_package))
                where.client.wait_for_workers(3, timeout=60)
                found = {found for _, found in where.map(origin, range(60))}
                assert len(found) == 3  # each unpacks its own
                assert all("shipped-" in name for name in found)
    finally:
        for process in late:
            clusters.end(process)


@pytest.mark.slow
def test_chunks_are_kept_by_the_driver_where_workers_do_not_see_the_folder(foreign_cluster, monkeypatch):
    """The merge in blocks, too: 150 chunks are three of them."""
    address, _ = foreign_cluster
    chunks = [Chunk("A", "f.root", "T", "u", i, i + 1) for i in range(150)]
    kept = {}

    class Memory:
        folder = "/nowhere"

        def load(self, job, chunk):
            return Partial({"sum": 0.1 * chunk.start}, 1, 1, resumed=1) if chunk.start % 2 else kept.get(chunk)

        def save(self, job, chunk, partial):
            kept[chunk] = partial

    monkeypatch.setattr(DaskExecutor, "sees", lambda self, folder: False)
    job = Job(ProcessorSource(b"", ""), {"A": {"format": "delphes", "n_higgs": 3}}, Memory())
    seen = []
    with make_executor("dask", scheduler=address, options=ClusterOptions(ship_package=True)) as where:
        total = where.reduce(job, chunks, seen.append)
    assert (total.chunks, total.resumed, len(total.failures), len(seen)) == (75, 75, 75, 150)
    assert kept == {}  # the others cannot be loaded: their processor is empty
    from hhh_coffea.engine.executors import IterativeExecutor

    job = Job(job.processor, job.metadata, Memory())
    assert IterativeExecutor().reduce(job, chunks, lambda _: None).output == total.output


def test_differences_are_shown_worker_by_worker():
    here = {"numpy": "2.1", "coffea": "1"}
    there = {f"tcp://w{i}": {"numpy": "2.0", "coffea": "1"} for i in range(5)} | {"tcp://x": {"numpy": "2.1"}}
    table = differences(here, there)
    assert [line.split() for line in table.splitlines()] == [
        ["package", "here", "there", "workers"],
        ["numpy", "2.1", "2.0", "tcp://w0,", "tcp://w1,", "tcp://w2", "and", "2", "more"],
        ["coffea", "1", "missing", "tcp://x"],
    ]
    assert differences(here, {"a": here}) == ""


@pytest.mark.parametrize(
    ("system", "own", "expected"),
    [
        (
            "slurm",
            {"queue": "short", "account": "cms", "walltime": "01:00:00", "job_script_prologue": ["source env"]},
            ["#SBATCH -p short", "#SBATCH -A cms", "#SBATCH -t 01:00:00", "source env", "--nthreads 1", "--nworkers 4"],
        ),
        ("htcondor", {"disk": "1GB"}, ["RequestCpus = MY.DaskWorkerCores", "MY.DaskWorkerMemory = 8000000000"]),
    ],
)
def test_job_scripts(tmp_path, system, own, expected):
    pytest.importorskip("dask_jobqueue")
    path = tmp_path / "c.yaml"
    options = {
        "jobs": 3,
        "cores": 4,
        "processes": 4,
        "memory": "8 GB",
        "scheduler_options": {"host": "127.0.0.1"},
        **own,
    }
    path.write_text(yaml.safe_dump(options))
    cluster = batch_cluster(ClusterOptions(system, str(path)), scale=False)
    try:
        script = cluster.job_script()
        for line in expected:
            assert line in script
        assert cluster.dashboard_link.startswith("http://127.0.0.1:")
        assert "dask_worker tcp://127.0.0.1:" in script
    finally:
        cluster.close()


# the half-made cluster of dask-jobqueue is thrown away, and distributed cannot finalise it
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cores: 1", "'jobs' must be the number of jobs to submit"),
        ("jobs: 2\ncores: 1\nmemory: 1GB", "name the network"),
        ("jobs: 2\ninterface: lo\ncores: 1\nmemory: 1GB\nqueu: x", "queu"),
        ("- jobs", "must be a mapping"),
        ("jobs: !!python/object/apply:os.getcwd []", "cannot be read as YAML"),
    ],
)
def test_batch_configurations_that_do_not_work(tmp_path, text, message):
    pytest.importorskip("dask_jobqueue")
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ExecutorError, match=r"c\.yaml.*" + message):
        batch_cluster(ClusterOptions("slurm", str(tmp_path / "c.yaml")))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"cluster": "slurm"}, "cluster and cluster_config belong together"),
        ({"cluster": "slurm", "cluster_config": "c", "scheduler": "s"}, "one of cluster"),
        ({"cluster": "slurm", "cluster_config": "c", "workers": 2}, "leave 'workers' out"),
        ({"tls_ca_file": "ca.pem"}, "belong together"),
        ({"ship_package": True}, "local workers have the package"),
        ({"executor": "futures", "dashboard_address": "0.0.0.0:1"}, "dashboard_address needs executor 'dask'"),
        ({"chunk_timeout": 0}, "chunk_timeout"),
    ],
)
def test_options_that_do_not_go_together(given, message):
    with pytest.raises(ConfigError, match=message):
        make_config({"fileset": "demo", "executor": "dask", **given})


def test_no_scheduler_no_certificate(tmp_path, capsys):
    base = ["--fileset", "demo", "--executor", "dask", "--output", str(tmp_path / "r")]
    missing = str(tmp_path / "ca.pem")
    tls = ["--tls-ca-file", missing, "--tls-cert", missing, "--tls-key", missing]
    assert main([*base, *tls]) == 2
    assert "option 'tls_ca_file': no file" in capsys.readouterr().err
    (tmp_path / "scheduler.json").write_text("{}")
    assert main([*base, "--scheduler", str(tmp_path / "scheduler.json")]) == 2
    assert "option 'scheduler': cannot join" in capsys.readouterr().err


@pytest.mark.slow
def test_an_encrypted_cluster_of_this_machine(tmp_path):
    """Its scheduler speaks TLS, and turns away a client without a certificate."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make a certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subject = ["-subj", "/CN=hhh", "-days", "2", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(
        ["openssl", "req", "-x509", "-nodes", "-newkey", "rsa:2048", *subject], check=True, capture_output=True
    )
    options = ClusterOptions(tls=(str(certificate), str(certificate), str(key)))
    with make_executor("dask", workers=1, options=options) as where:
        address = where.client.scheduler.address
        assert address.startswith("tls://127.0.0.1:")
        assert list(where.map(abs, [-3])) == [(0, 3)]
        assert all(worker.startswith("tls://127.0.0.1:") for worker in where.client.nthreads())
        with (
            pytest.raises(ExecutorError, match="option 'scheduler': cannot join"),
            make_executor("dask", scheduler=address),
        ):
            pass


def certificates(folder):
    """An authority, a certificate that it signed, and its key: three files."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make certificates")

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    new = ("req", "-nodes", "-newkey", "rsa:2048")
    openssl(*new, "-x509", "-days", "2", "-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.pem")
    openssl(*new, "-subj", "/CN=me", "-keyout", "me.key", "-out", "me.csr")
    signing = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-out", "me.pem")
    openssl("x509", "-req", "-in", "me.csr", *signing)
    return tuple(str(folder / name) for name in ("ca.pem", "me.pem", "me.key"))


@pytest.mark.slow
def test_a_run_on_an_encrypted_cluster_that_is_there_already(tmp_path, capsys):
    """With the certificates of its authority only: not without any, and not with those of another."""
    for name in ("ours", "theirs"):
        (tmp_path / name).mkdir()
    ours, theirs = certificates(tmp_path / "ours"), certificates(tmp_path / "theirs")
    options = dict(zip(("--tls-ca-file", "--tls-cert", "--tls-key"), ours, strict=True))
    security = ClusterOptions(tls=ours).security
    base = ["--fileset", "demo", "--datasets", "HHH", "--no-plots", "--metrics", "default", "--executor", "dask"]
    base += ["--output", str(tmp_path / "r")]
    given = [part for item in options.items() for part in item]
    with clusters.cluster(tmp_path, workers=1, tls=[*given, "--protocol", "tls"], security=security) as (_, address):
        assert address.startswith("tls://127.0.0.1:")
        assert main([*base, "--scheduler", address]) == 2
        said = capsys.readouterr().err
        assert f"option 'scheduler': cannot join '{address}'" in said
        assert "--tls-ca-file, --tls-cert and --tls-key" in said
        foreign = [part for item in zip(options, theirs, strict=True) for part in item]
        assert main([*base, "--scheduler", address, *foreign]) == 2
        assert "certificate" in capsys.readouterr().err
        assert main([*base, "--scheduler", address, *given]) == 0
    ledger = json.loads((tmp_path / "r" / "provenance.json").read_text())["ledger"]
    assert ledger["events"]["processed"] == 5000


@pytest.mark.slow
def test_a_training_whose_cluster_is_lost_says_so(tmp_path):
    """Exit code 2 and one line, not a traceback of ours; the output may be written again."""
    command = [sys.executable, "-m", "hhh_coffea.train", "data", "--fileset", "demo", "--datasets", "HHH"]
    command += ["--chunksize", "25", "--executor", "dask", "--output", str(tmp_path / "data")]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with clusters.cluster(tmp_path) as (scheduler, address), (tmp_path / "log").open("wb") as log:
        training = subprocess.Popen([*command, "--scheduler", address], env=environment, stdout=log, stderr=log)
        while not list(tmp_path.glob("data/shards/*")):
            assert training.poll() is None
            time.sleep(0.05)
        scheduler.kill()
        assert training.wait(timeout=300) == 2
    assert (tmp_path / "log").read_text().splitlines()[-1].startswith("error: ")
    assert not (tmp_path / "data" / "schema.json").exists()
    assert not (tmp_path / "data" / ".lock").exists()
