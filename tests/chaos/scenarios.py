"""Runs with faults, each with a fixed seed, and what must hold at their ends: identical physics, or a named, counted loss.

Every run is the real command in a process of its own, on a real LocalCluster, over real Delphes files.
"""

import contextlib
import json
import os
import random
import resource
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from hhh_coffea.engine import Job, SourceFile, inspect_file, plan_chunks, run_chunk
from hhh_coffea.loading import ProcessorSource, load_processor
from hhh_coffea.merging import merge

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
HHH = {"format": "delphes", "n_higgs": 3}
MEMORY = 4 * 1024**3  # for all workers of a run
PASSING = ("oserror", "kill", "exit", "segfault", "hang", "memory")  # struck once, the chunk succeeds
LASTING = (
    "oserror",
    "nospace",
    "bug",
    "systemexit",
    "memoryerror",
    "kill",
    "hang",
    "memory",
)  # struck each time, it is lost
ALWAYS = 1_000_000


@dataclass
class Chaos:
    """Files, chunk size, and what each chunk gives when nothing goes wrong."""

    folder: Path
    files: list[Path]
    chunksize: int
    timeout: float = 20.0
    faults: int = 0
    lost: int = 0
    log: list[str] = field(default_factory=list)

    def __post_init__(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        options = {"methods": ("chi2",), "metrics": ("default", "reference"), "candidates": None}
        job = Job(ProcessorSource.of(load_processor("assignment", options)), {"HHH": HHH})
        self.chunks = plan_chunks(
            [inspect_file(SourceFile("HHH", str(f), "Delphes")) for f in self.files], self.chunksize
        ).chunks
        self.expected = {(c.path, c.start): run_chunk(job, c) for c in self.chunks}
        assert not any(p.failures for p in self.expected.values())

    def names(self):
        """``file:start`` of every chunk, as faults are addressed."""
        return [f"{Path(c.path).name}:{c.start}" for c in self.chunks]

    def command(self, output, files=None, executor="dask", extra=()):
        fileset = self.folder / f"{output.name}.json"
        fileset.write_text(json.dumps({"HHH": {"files": [str(f) for f in files or self.files], "metadata": HHH}}))
        where = ["--executor", executor] + (
            ["--workers", "2"] if executor == "dask" and "--scheduler" not in extra else []
        )
        return [
            *(sys.executable, "-m", "hhh_coffea.run", "--fileset", str(fileset), "--output", str(output), "--no-plots"),
            *("--processor", str(HERE / "faulty.py"), "--candidates", "--chunksize", str(self.chunksize)),
            *("--chunk-timeout", str(self.timeout), *where, *extra),
        ]

    def start(self, output, faults=None, limit=None, **options):
        """The run as a process, with faults ``{"file:start": (kind, times)}``; files it writes may be limited in size."""
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "TERM": "dumb"}
        environment.pop("HHH_FAULTS", None)
        if faults:
            tries = self.folder / f"{output.name}-tries"
            tries.mkdir(exist_ok=True)
            plan = self.folder / f"{output.name}-faults.json"
            plan.write_text(json.dumps({"folder": str(tries), "faults": faults}))
            environment["HHH_FAULTS"] = str(plan)

        def prepare():
            resource.setrlimit(resource.RLIMIT_RSS, (MEMORY, MEMORY))  # what dask takes for the machine's memory
            if limit is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        with (self.folder / f"{output.name}.log").open("ab") as stream:
            command = self.command(output, **options)
            return subprocess.Popen(command, stdout=stream, stderr=stream, env=environment, preexec_fn=prepare, cwd="/")

    def run(self, output, faults=None, **options):
        """Run to the end; returns the exit code."""
        return self.start(output, faults, **options).wait(timeout=900)

    def check(self, output, code, lost=(), files_failed=0):
        """The results hold exactly the chunks that are not ``lost``, and name those that are; the ledger closes."""
        lost = set(lost)
        kept = [c for c in self.chunks if f"{Path(c.path).name}:{c.start}" not in lost]
        provenance = json.loads((output / "provenance.json").read_text())
        ledger = provenance["ledger"]
        assert code == (3 if lost or files_failed else 0), f"exit code {code}; {lost}"
        named = {f"{Path(f['file']).name}:{f['start']}" for f in provenance["failures"] if f["start"] is not None}
        assert named == lost, f"lost {named}, expected {lost}"
        assert all(f["reason"] for f in provenance["failures"])
        for what in ("chunks", "events"):
            assert ledger[what]["planned"] == ledger[what]["processed"] + ledger[what]["failed"]
        assert ledger["chunks"] == {"planned": len(self.chunks), "processed": len(kept), "failed": len(lost)}
        assert ledger["files"]["failed"] == files_failed
        assert physics(output) == expected_physics([self.expected[c.path, c.start] for c in kept])
        assert candidates(output) == {(Path(c.path).name, c.start) for c in kept}
        self.lost += len(lost)
        return provenance

    def done(self, output):
        """Chunks finished so far."""
        return sum(1 for _ in (output / ".resume" / "chunks").glob("*/*.json.gz"))

    def wait_for(self, output, chunks, process):
        """Until so many chunks are finished, or the run is."""
        while self.done(output) < chunks and process.poll() is None:
            time.sleep(0.05)

    def say(self, text, faults):
        self.faults += faults
        self.log.append(text)
        print(f"{self.faults:3d} faults  {text}", flush=True)


def physics(output):
    """Histograms of a results directory, as text."""
    return json.dumps(json.loads((output / "histograms.json").read_text())["histograms"], sort_keys=True)


def expected_physics(parts):
    from hhh_coffea import results

    histograms, _ = results.split_output(merge(parts).output)
    text = json.dumps(results.histogram_file(histograms, {})["histograms"], default=results.uhi.io.json.default)
    return json.dumps(json.loads(text), sort_keys=True)


def candidates(output):
    """(file, start) of every chunk with candidates: from their rows and names."""
    import pyarrow.parquet as pq

    found = set()
    for path in (output / "candidates").iterdir():
        rows = pq.read_table(path, columns=["file"]).to_pydict()["file"]
        found.add((Path(rows[0]).name, int(path.name.split("-")[-3])))
    return found


def mixed(chaos, seed, n_faults):
    """Faults of every kind in one run: struck once they cost nothing, struck each time the chunk is lost and named."""
    draw = random.Random(seed)
    names = draw.sample(chaos.names(), n_faults)
    n_lasting = n_faults // 3
    kinds = draw.sample(LASTING, n_lasting) + [PASSING[(seed + i) % len(PASSING)] for i in range(n_faults - n_lasting)]
    faults = {n: (k, ALWAYS if i < n_lasting else 1) for i, (n, k) in enumerate(zip(names, kinds, strict=True))}
    output = chaos.folder / f"mixed-{seed}"
    chaos.check(output, chaos.run(output, faults), lost=names[:n_lasting])
    assert chaos.run(output) == 0  # without the faults: what was lost is tried again, the rest is known
    provenance = chaos.check(output, 0)
    assert provenance["resumed_chunks"] == len(chaos.chunks) - n_lasting
    struck = ", ".join(kind if times < ALWAYS else f"{kind} always" for kind, times in faults.values())
    chaos.say(f"mixed, seed {seed}: {struck}", n_faults)


def driver_killed(chaos, seed, kills):
    """SIGKILL of the command itself, again and again; at most the chunks in flight are done twice."""
    draw = random.Random(seed)
    output = chaos.folder / f"driver-{seed}"
    for kill in range(kills):
        process = chaos.start(output)
        goal = (
            draw.randrange(kill * len(chaos.chunks) // (kills + 1), (kill + 1) * len(chaos.chunks) // (kills + 1)) + 1
        )
        chaos.wait_for(output, goal, process)
        time.sleep(draw.random() / 5)
        children = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
        psutil.wait_procs(children, timeout=60)  # workers end by themselves when the driver is gone
    finished = chaos.done(output)
    provenance = chaos.check(output, chaos.run(output), lost=())
    assert provenance["resumed_chunks"] >= finished > 0
    chaos.say(
        f"driver killed {kills} times, seed {seed}: {provenance['resumed_chunks']} chunks known at the end", kills
    )


def workers_killed(chaos, seed, kills):
    """SIGKILL of workers at random moments."""
    draw = random.Random(seed)
    output = chaos.folder / f"workers-{seed}"
    process = chaos.start(output)
    struck = 0
    for kill in range(kills):
        chaos.wait_for(output, 1 + kill * len(chaos.chunks) // (kills + 1), process)
        children = [c for c in psutil.Process(process.pid).children(recursive=True) if _is_worker(c)]
        if children and process.poll() is None:
            with contextlib.suppress(psutil.NoSuchProcess):
                draw.choice(children).kill()
                struck += 1
        time.sleep(1 + draw.random())
    chaos.check(output, process.wait(timeout=900))
    chaos.say(f"workers killed {struck} times, seed {seed}", struck)


def _is_worker(process):
    with contextlib.suppress(psutil.Error):
        return "spawn_main" in " ".join(process.cmdline())
    return False


def scheduler_killed(chaos, seed):
    """SIGKILL of a scheduler of its own: the run ends with code 4, and goes on with a new one."""
    output = chaos.folder / f"scheduler-{seed}"
    with cluster(chaos.folder) as (scheduler, address):
        process = chaos.start(output, extra=("--scheduler", address))
        chaos.wait_for(output, 2 + random.Random(seed).randrange(4), process)
        scheduler.kill()
        assert process.wait(timeout=300) == 4, f"see {output}.log"
    finished = chaos.done(output)
    assert not (output / "provenance.json").exists()
    provenance = chaos.check(output, chaos.run(output))
    assert provenance["resumed_chunks"] == finished > 0
    chaos.say(f"scheduler killed, seed {seed}", 1)


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


def disk_full(chaos, seed):
    """No room for the results, twice: earlier ones stay whole, and once there is room nothing is computed again."""
    output = chaos.folder / f"disk-{seed}"
    assert chaos.run(output, executor="iterative", extra=("--methods", "chi2_as_published")) == 0
    before = {f.name: f.read_bytes() for f in output.iterdir() if f.is_file()}
    rooms = (20_000, 30_000)  # bytes: enough for a chunk, not for histograms.json
    for room in rooms:
        assert chaos.run(output, executor="iterative", limit=room) == 4
        assert before == {f.name: f.read_bytes() for f in output.iterdir() if f.is_file()}
        assert (output / "candidates").is_dir()
    provenance = chaos.check(output, chaos.run(output, executor="iterative"))
    assert provenance["resumed_chunks"] == len(chaos.chunks)
    chaos.say(f"no room for the results of a run, seed {seed}", len(rooms))


def bad_files(chaos, seed):
    """Files that are truncated, missing, empty, or that kill every worker that reads them."""
    draw = random.Random(seed)
    folder = chaos.folder / f"files-{seed}"
    folder.mkdir()
    whole = chaos.files[0].read_bytes()
    bad = [folder / name for name in ("truncated.root", "missing.root", "empty.root", "poisoned.root")]
    bad[0].write_bytes(whole[: draw.randrange(len(whole) // 10, len(whole) * 6 // 10)])
    bad[2].touch()
    bad[3].write_bytes(whole)
    poisoned = plan_chunks([inspect_file(SourceFile("HHH", str(bad[3]), "Delphes"))], chaos.chunksize).chunks
    faults = {f"poisoned.root:{c.start}": ("kill", ALWAYS) for c in poisoned}
    output = chaos.folder / f"bad-{seed}"
    code = chaos.run(output, faults, files=[*chaos.files, *bad])
    provenance = json.loads((output / "provenance.json").read_text())
    assert code == 3
    assert {f["file"] for f in provenance["failures"]} == {str(b) for b in bad}
    ledger = provenance["ledger"]
    assert ledger["chunks"]["processed"] == len(chaos.chunks)
    assert ledger["chunks"]["failed"] == len(poisoned)
    assert ledger["chunks"]["planned"] == len(chaos.chunks) + len(poisoned)
    assert ledger["events"]["planned"] == ledger["events"]["processed"] + ledger["events"]["failed"]
    assert physics(output) == expected_physics(list(chaos.expected.values()))
    chaos.say(f"bad files, one of them killing every worker, seed {seed}", 3 + len(poisoned))


def changed(chaos, seed):
    """A run that was killed and comes back with other options takes nothing of the old one."""
    output = chaos.folder / f"changed-{seed}"
    process = chaos.start(output, executor="iterative", extra=("--metrics", "default"))
    chaos.wait_for(output, 2, process)
    process.kill()
    process.wait()
    assert chaos.done(output) >= 2
    provenance = chaos.check(output, chaos.run(output, executor="iterative"))
    assert provenance["resumed_chunks"] == 0
    chaos.say(f"killed, then other options, seed {seed}", 1)
