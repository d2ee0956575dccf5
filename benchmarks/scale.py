"""How the cost of a run grows with its chunks: planning, scheduling and merging, for 100 to 100,000 of them.

    python benchmarks/scale.py                        100 1,000 10,000 chunks on a cluster of two workers
    python benchmarks/scale.py --chunks 100 1000 10000 100000
    python benchmarks/scale.py --speedup FILES        the main job with one and with two workers, in one run

A stub stands for the events: no file is opened. What is measured is the engine itself. Planning: a task for every file, and
:func:`plan_chunks`. Scheduling: a task and its report for every chunk, and sums of next to nothing. Merging: what it takes
more when every chunk gives the histograms of the main job on the demo sample, added up in the tree on the workers.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from hhh_coffea.engine.chunks import Executor, FileInfo, Job, Partial, SourceFile, inspect_file, plan_chunks, run_chunk
from hhh_coffea.engine.dask_executor import DaskExecutor
from hhh_coffea.engine.executors import executor
from hhh_coffea.engine.processors import ProcessorSource, load_processor

REPOSITORY = Path(__file__).resolve().parents[1]
CHUNKS_PER_FILE = 5
HHH = {"format": "delphes", "n_higgs": 3}


class StubSource:
    """Stands where :class:`ProcessorSource` does, and holds what its processor would give for any events."""

    def __init__(self, output: Any) -> None:
        self.output = output


class StubStore:
    """Knows every chunk already, so that the engine opens no file; keeps nothing."""

    folder = tempfile.gettempdir()

    def load(self, job: Any, chunk: Any) -> Partial:
        return Partial(job.processor.output, 1, chunk.stop - chunk.start)

    def save(self, *_: Any) -> None:
        return None


def stub_file(number: int) -> FileInfo:
    """As if a file had been opened."""
    return FileInfo(SourceFile("HHH", f"f{number}.root", "Delphes"), f"uuid of {number}", CHUNKS_PER_FILE, 1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--speedup", type=Path, nargs="+", metavar="FILE", help="Delphes files")
    parser.add_argument("--passes", type=int, default=4, help="with --speedup: times that the files are gone through")
    options = parser.parse_args()
    if options.speedup:
        speedup([f.resolve() for f in options.speedup], options.passes)
    else:
        scale(options.chunks, options.workers)


def scale(numbers: list[int], workers: int) -> None:
    source = SourceFile("HHH", str(REPOSITORY / "fileset" / "demo" / "hhh.root"), "Delphes")
    job = Job(ProcessorSource.of(load_processor("assignment", {})), {"HHH": HHH})
    one = run_chunk(job, plan_chunks([inspect_file(source)]).chunks[0])
    size = sum(h.view(flow=True).nbytes for h in one.output["histograms"].values())
    nothing, histograms = (Job(StubSource(o), {"HHH": HHH}, StubStore()) for o in ({"n": 1}, one.output))  # type: ignore[arg-type]
    print(f"{workers} workers, histograms of {size / 1024:.0f} kB in every chunk")
    print(f"load of the machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores: trust ratios")
    print("                   ms of CPU per chunk, all processes      of it   ms of wall     MB of memory")
    print("  chunks   files  planning scheduling   merging        driver's  time per chunk   driver   worker")
    with executor("dask", workers) as where:
        assert isinstance(where, DaskExecutor)
        for stub in (nothing, histograms):  # imports
            where.reduce(stub, plan_chunks([stub_file(k) for k in range(10)], 1).chunks, lambda _: None)
        pids = [os.getpid(), *where.client.run(os.getpid).values()]
        for number in numbers:
            costs = [_costs(pids)]
            files = dict(where.map(stub_file, range(-(-number // CHUNKS_PER_FILE))))
            chunks = plan_chunks([files[k] for k in sorted(files)], 1).chunks[:number]
            costs.append(_costs(pids))
            for stub in (nothing, histograms):
                assert where.reduce(stub, chunks, lambda _: None).chunks == number
                costs.append(_costs(pids))
            planning, scheduling, both = ((b - a) / number * 1e3 for a, b in pairwise(costs))
            memory = [psutil.Process(pid).memory_info().rss / 1024**2 for pid in pids[:2]]
            print(
                f"{number:8,d} {len(files):7,d} {planning[1]:9.2f} {scheduling[1]:10.2f} {both[1] - scheduling[1]:9.2f} "
                f"{(planning + both)[2]:15.2f} {(planning + both)[0]:15.2f} {memory[0]:8.0f} {memory[1]:8.0f}",
                flush=True,
            )


def _costs(pids: list[int]) -> Any:
    """Wall time, CPU time of all processes and of the first, the driver and scheduler."""
    return np.array([time.perf_counter(), _cpu(pids), _cpu(pids[:1])])


def _cpu(pids: list[int]) -> float:
    times = [psutil.Process(pid).cpu_times() for pid in pids]
    return sum(t.user + t.system for t in times)


def speedup(files: list[Path], passes: int) -> None:
    """One worker against two, alternating, on a cluster and as plain processes, warm before the clock runs.

    The files are gone through several times: when few chunks are left one worker waits for the other, half a chunk on average,
    which of a run of six chunks a worker is a tenth. What plain processes reach is what the machine gives: two cores may be
    one, or share a clock or their memory.
    """
    job = Job(ProcessorSource.of(load_processor("assignment", {"chi2_jets": 10})), {"HHH": HHH})
    plan = plan_chunks([inspect_file(SourceFile("HHH", str(f), "Delphes")) for f in files], 10_000)
    chunks = plan.chunks * passes
    events = plan.events * passes
    print(f"{events:,} events in {len(chunks)} chunks, chi2 of 10 jets; {passes} passes over {len(files)} files")
    print(f"load of the machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print("                     events/s   in chunks   ms in chunks       CPU of driver")
    print("                              of the time  a 1000 events    of a core's time")
    rates: dict[tuple[str, int], float] = {}
    for kind, workers in (("dask", 1), ("dask", 2), ("futures", 1), ("futures", 2)) * 2:
        with executor(kind, workers) as where:
            _warm(where, job, (plan.chunks * 8)[: 4 * workers])
            cpu, begin = _cpu([os.getpid()]), time.perf_counter()
            total = where.reduce(job, chunks, lambda _: None)
            wall, cpu = time.perf_counter() - begin, _cpu([os.getpid()]) - cpu
        assert (total.events, total.failures) == (events, [])
        print(
            f"{kind:8s} {workers} workers {events / wall:9,.0f} {total.seconds / wall / workers:12.0%} "
            f"{total.seconds / events * 1e6:14.1f} {cpu / wall:19.0%}",
            flush=True,
        )
        rates[kind, workers] = max(events / wall, rates.get((kind, workers), 0.0))
    for kind, name in (("dask", "a cluster"), ("futures", "plain processes")):
        print(f"two workers over one, {name}: {rates[kind, 2] / rates[kind, 1]:.2f}")


def _warm(where: Executor, job: Job, chunks: Any) -> None:
    """Imports and compilation, on every worker."""
    if isinstance(where, DaskExecutor):
        where.client.run(run_chunk, job, chunks[0])
    where.reduce(job, chunks, lambda _: None)


if __name__ == "__main__":
    main()
