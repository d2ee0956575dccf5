"""The real command in a process of its own, with faults, and what must hold at its end.

On a real LocalCluster, over real Delphes files: identical physics, or a named, counted loss.
"""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from hhh_coffea.engine.chunks import Job, SourceFile, inspect_file, plan_chunks, run_chunk
from hhh_coffea.engine.merging import merge
from hhh_coffea.engine.processors import ProcessorSource, load_processor

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
HHH = {"format": "delphes", "n_higgs": 3}
MEMORY = 2 * 1024**3  # for all workers of a run: filling it takes time
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
    timeout: float = 15.0
    harmless: Counter[str] = field(default_factory=Counter)  # faults after which the physics was identical, by kind
    named: Counter[str] = field(default_factory=Counter)  # whose loss was named and counted

    def __post_init__(self):
        self.begin = time.monotonic()
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

    def start(self, output, faults=None, limit=None, inside=(), **options):
        """The run as a process, with faults ``{"file:start": (kind, times)}``; files it writes may be limited in size.

        ``inside``: the beginning of a command that runs the rest of it elsewhere.
        """
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "TERM": "dumb"}
        environment.pop("HHH_FAULTS", None)
        if faults:
            tries = self.folder / f"{output.name}-tries"
            tries.mkdir(exist_ok=True)
            plan = self.folder / f"{output.name}-faults.json"
            plan.write_text(json.dumps({"folder": str(tries), "faults": faults}))
            environment["HHH_FAULTS"] = str(plan)

        # what dask takes for the machine's memory, and a quota
        limits = ["prlimit", f"--rss={MEMORY}", *([] if limit is None else [f"--fsize={limit}"])]
        with (self.folder / f"{output.name}.log").open("ab") as stream:
            command = [*limits, *inside, *self.command(output, **options)]
            return subprocess.Popen(command, stdout=stream, stderr=stream, env=environment, cwd="/")

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
        return provenance

    def done(self, output):
        """Chunks finished so far."""
        return sum(1 for _ in (output / ".resume" / "chunks").glob("*/*.json.gz"))

    def wait_for(self, output, chunks, process):
        """Until so many chunks are finished, or the run is."""
        while self.done(output) < chunks and process.poll() is None:
            time.sleep(0.05)

    @property
    def faults(self):
        """How many were injected so far."""
        return self.harmless.total() + self.named.total()

    def say(self, text, harmless=(), named=()):
        """Note the faults of a scenario that held, by kind."""
        self.harmless.update(harmless)
        self.named.update(named)
        print(f"{time.monotonic() - self.begin:5.0f} s  {self.faults:3d} faults  {text}", flush=True)

    def table(self):
        """Faults by kind, and what became of them."""
        lines = [f"{'fault':42s} {'injected':>8s} {'identical physics':>18s} {'named and counted':>18s}"]
        for kind in sorted({*self.harmless, *self.named}):
            fine, lost = self.harmless[kind], self.named[kind]
            lines.append(f"{kind:42s} {fine + lost:8d} {fine:18d} {lost:18d}")
        lines.append(f"{'all':42s} {self.faults:8d} {self.harmless.total():18d} {self.named.total():18d}")
        return "\n".join(lines)


def physics(output):
    """Histograms of a results directory, as text."""
    return json.dumps(json.loads((output / "histograms.json").read_text())["histograms"], sort_keys=True)


def expected_physics(parts):
    from hhh_coffea.results import directory as results

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
