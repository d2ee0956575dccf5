"""How the cost of a run grows with its chunks: planning, scheduling and merging, for 100 to 100,000 of them.

    python benchmarks/scale.py                        100 1,000 10,000 chunks on a cluster of two workers
    python benchmarks/scale.py --chunks 100 1000 10000 100000
    python benchmarks/scale.py --speedup FILES        the main job with one and with two workers, in one run

A stub stands for the events: every chunk gives the histograms of the main job on the demo sample, no file is opened. What is
measured is the engine itself: :func:`plan_chunks`, a task and its report for every chunk, the merge tree on the workers.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

import psutil

from hhh_coffea.dask_executor import DaskExecutor
from hhh_coffea.engine import FileInfo, Job, SourceFile, inspect_file, plan_chunks, run_chunk
from hhh_coffea.executors import executor
from hhh_coffea.loading import ProcessorSource, load_processor
from hhh_coffea.merging import FAN_IN, merge

REPOSITORY = Path(__file__).resolve().parents[1]
CHUNKS_PER_FILE = 5
HHH = {"format": "delphes", "n_higgs": 3}


class StubSource:
    """Stands where :class:`ProcessorSource` does: its processor gives the same output for any events."""

    def __init__(self, output: Any) -> None:
        self.output = output

    def load(self) -> Any:
        return self

    def process(self, _: Any) -> Any:
        return self.output


class StubStore:
    """Knows every chunk already, so that the engine opens no file; keeps nothing."""

    folder = "/"

    def load(self, job: Job, chunk: Any) -> Any:
        from hhh_coffea.engine import Partial

        return Partial(job.processor.load().process(None), 1, chunk.stop - chunk.start)

    def save(self, *_: Any) -> None:
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--speedup", type=Path, nargs="+", metavar="FILE", help="Delphes files")
    options = parser.parse_args()
    if options.speedup:
        speedup([f.resolve() for f in options.speedup])
    else:
        scale(options.chunks, options.workers)


def scale(numbers: list[int], workers: int) -> None:
    source = SourceFile("HHH", str(REPOSITORY / "fileset" / "demo" / "hhh.root"), "Delphes")
    job = Job(ProcessorSource.of(load_processor("assignment", {})), {"HHH": HHH})
    one = run_chunk(job, plan_chunks([inspect_file(source)]).chunks[0])
    size = sum(h.view(flow=True).nbytes for h in one.output["histograms"].values())
    begin = time.process_time()
    for _ in range(20):
        merge([one] * FAN_IN)
    print(f"accumulator of {size / 1024:.0f} kB; merging {FAN_IN}: {(time.process_time() - begin) / 20 * 1e3:.1f} ms")
    print(f"load of the machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores: trust ratios")
    print("  chunks   files      plan       run  driver CPU  workers CPU   driver   worker")
    print("                  µs/chunk  ms/chunk    ms/chunk     ms/chunk       MB       MB")
    stub = Job(StubSource(one.output), {"HHH": HHH}, StubStore())  # type: ignore[arg-type]
    with executor("dask", workers) as where:
        assert isinstance(where, DaskExecutor)
        where.reduce(stub, plan_chunks([FileInfo(source, "u", 16, 1.0)], 1).chunks, lambda _: None)  # imports
        pids = list(where.client.run(os.getpid).values())
        for number in numbers:
            names = [f"f{i}.root" for i in range(-(-number // CHUNKS_PER_FILE))]
            files = [FileInfo(SourceFile("HHH", n, "Delphes"), f"uuid of {n}", CHUNKS_PER_FILE, 1.0) for n in names]
            begin = time.perf_counter()
            plan = plan_chunks(files, 1)
            planned = time.perf_counter() - begin
            cpu, begin = _cpu([os.getpid()]), time.perf_counter()
            cpu_workers = _cpu(pids)
            total = where.reduce(stub, plan.chunks[:number], lambda _: None)
            wall = time.perf_counter() - begin
            assert total.chunks == number
            memory = [psutil.Process(pid).memory_info().rss / 1024**2 for pid in (os.getpid(), pids[0])]
            print(
                f"{number:8,d} {len(files):7,d} {planned / number * 1e6:9.1f} {wall / number * 1e3:9.2f} "
                f"{(_cpu([os.getpid()]) - cpu) / number * 1e3:11.2f} {(_cpu(pids) - cpu_workers) / number * 1e3:12.2f} "
                f"{memory[0]:8.0f} {memory[1]:8.0f}",
                flush=True,
            )


def _cpu(pids: list[int]) -> float:
    times = [psutil.Process(pid).cpu_times() for pid in pids]
    return sum(t.user + t.system for t in times)


def speedup(files: list[Path]) -> None:
    """One worker against two, alternating, workers started and warm before the clock runs."""
    job = Job(ProcessorSource.of(load_processor("assignment", {"chi2_jets": 10})), {"HHH": HHH})
    plan = plan_chunks([inspect_file(SourceFile("HHH", str(f), "Delphes")) for f in files], 10_000)
    print(f"{plan.events:,} events in {len(plan.chunks)} chunks, chi2 of 10 jets; load {os.getloadavg()[0]:.1f}")
    rates: dict[int, float] = {}
    for workers in (1, 2, 1, 2):
        with executor("dask", workers) as where:
            where.reduce(job, plan.chunks[: 2 * workers], lambda _: None)
            begin = time.perf_counter()
            total = where.reduce(job, plan.chunks, lambda _: None)
            rate = total.events / (time.perf_counter() - begin)
        print(f"{workers} workers: {rate:10,.0f} events/s", flush=True)
        rates[workers] = max(rate, rates.get(workers, 0.0))
    print(f"two workers over one: {rates[2] / rates[1]:.2f}")


if __name__ == "__main__":
    main()
