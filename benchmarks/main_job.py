"""Speed of the main job on one core, every number measured in this run, as ratios to a plain uproot read.

    python benchmarks/main_job.py ../shared/data/delphes/hhh_train_0[01].root
    python benchmarks/main_job.py --chunksize 10000 ../shared/data/delphes/hhh_train_00.root

What is compared: ``uproot.open(file)[tree].arrays(branches)`` of the branches that the job reads, and the job itself (χ²,
both sets of definitions, histograms, chunks added up), chunk by chunk alike, each opening its file as a worker does.
The two take turns, so that a busy machine slows both; the ratio is the median of the ratios of neighbours. Then the parts
of the job, and the peak memory.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import awkward as ak
import numpy as np
import uproot

from hhh_coffea.analyses import higgs_truth as truth
from hhh_coffea.analyses.higgs import higgs
from hhh_coffea.base.arrays import counts_of, padded
from hhh_coffea.base.kinematics import Cartesian
from hhh_coffea.datasets.fileset import Dataset, DatasetMetadata
from hhh_coffea.engine.chunks import Chunk, Job, inspect_file, open_events, plan_chunks, sources_of
from hhh_coffea.engine.executors import IterativeExecutor
from hhh_coffea.engine.processors import ProcessorSource, load_processor
from hhh_coffea.engine.root_file import open_file
from hhh_coffea.events.formats import branches_of, read
from hhh_coffea.events.record import momentum, selected, truncated
from hhh_coffea.methods import chi2
from hhh_coffea.reconstruction.analysis import Analysis
from hhh_coffea.reconstruction.selection import event_selection

REPEATS = 7


class Seconds(NamedTuple):
    """CPU time of all threads, and time on the clock."""

    cpu: float
    wall: float


def timed(function: Callable[[], Any]) -> tuple[Seconds, Any]:
    """What a call takes, and what it returns."""
    cpu, wall = time.process_time(), time.perf_counter()
    value = function()
    return Seconds(time.process_time() - cpu, time.perf_counter() - wall), value


def best(function: Callable[[], Any]) -> float:
    """Shortest CPU time of a few calls: the machine may be busy with other things."""
    return min(timed(function)[0].cpu for _ in range(REPEATS))


def compare(plain: Callable[[], int], whole: Callable[[], int], label: str) -> None:
    """Time the plain read and the whole in turns, and print their medians and the median ratio."""
    whole()  # imports and first-use set-up belong to neither side
    pairs = []
    for _ in range(REPEATS):
        (read, events), (all_of_it, processed) = timed(plain), timed(whole)
        if processed != events:
            raise SystemExit(f"read {events} events but processed {processed}")
        pairs.append((read, all_of_it))
    print(f"{events:,} events; medians of {REPEATS} pairs")
    for kind in Seconds._fields:
        reads, wholes = ([getattr(pair[side], kind) for pair in pairs] for side in (0, 1))
        ratio = statistics.median(b / a for a, b in zip(reads, wholes, strict=True))
        show(f"plain uproot read of the same branches, {kind}", statistics.median(reads), events, 1.0)
        show(f"{label}, {kind}", statistics.median(wholes), events, ratio)


def show(name: str, seconds: float, events: int, ratio: float | None = None) -> None:
    """One line: time, rate, and the ratio to the plain read."""
    print(f"{name:52s} {seconds:7.3f} s {events / seconds:12,.0f} events/s" + (f" {ratio:7.2f}" if ratio else ""))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--n-higgs", type=int, default=3)
    parser.add_argument("--chunksize", type=int, help="events a chunk; as the engine cuts them when not given")
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

    n = options.n_higgs
    analysis = higgs(n)
    metadata = DatasetMetadata(format="delphes", n_higgs=n)
    dataset = Dataset(name="benchmark", files={str(f): "Delphes" for f in options.files}, metadata=metadata)
    source = ProcessorSource.of(load_processor("assignment", {}))
    job = Job(source, {"benchmark": metadata.model_dump(exclude_unset=True)})
    plan = plan_chunks([inspect_file(s) for s in sources_of({"benchmark": dataset}, source, None)], options.chunksize)
    branches = source.load().branches(metadata)

    def plain_read() -> int:
        total = 0
        for chunk in plan.chunks:
            with uproot.open(chunk.path) as opened:
                arrays = opened[chunk.tree].arrays(branches, entry_start=chunk.start, entry_stop=chunk.stop)
                total += len(arrays)
        return total

    def whole_run() -> int:
        return IterativeExecutor().reduce(job, plan.chunks, lambda _: None).events

    print(f"{len(plan.chunks)} chunks", end=", ")
    compare(plain_read, whole_run, "whole run (read, chi2, metrics, histograms)")

    kept = (n, *analysis.kept(metadata))
    resolved = analysis.kinds["resolved"]
    record = in_memory(plan.chunks[0], metadata, analysis)
    targets = truth.match(record, *kept)
    short = truncated(record, *kept[1:])
    candidates = chi2.reconstruct(short, resolved)
    momenta = [padded(c, counts_of(short.jets.pt), 2 * n, 0.0) for c in momentum(short.jets)]
    print(f"parts, on the {len(record):,} selected events of the first chunk:")
    for name, function in {
        "truth matching, both definitions": lambda: both_truths(record, kept),
        "chi2, 2·n_higgs jets": lambda: chi2.reconstruct(short, resolved),
        "  of it the pairing (from padded momenta)": lambda: pairing_only(momenta, n),
        "chi2, 10 jets": lambda: chi2.reconstruct(short, resolved, 10),
        "metrics, one definition": lambda: analysis.evaluate(candidates, targets, "default"),
    }.items():
        show(name, best(function), len(record))
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2:.2f} GB")


def both_truths(record: ak.Array, kept: tuple[int, int, int]) -> None:
    found = truth.directions(record, kept[0])
    truth.match(record, *kept, found)
    truth.match_reference(record, *kept, found)


def pairing_only(momenta: list[Any], n: int) -> None:
    for start in range(0, len(momenta[0]), chi2.BLOCK):
        block = Cartesian(*(np.ascontiguousarray(c[start : start + chi2.BLOCK].T) for c in momenta))
        table = chi2.pair_chi2(block, np.ones(block.energy.shape, dtype=bool))
        chi2.best_pairing(table, 2 * n, n)


def in_memory(chunk: Chunk, metadata: DatasetMetadata, analysis: Analysis) -> ak.Array:
    """The selected, untruncated record of a chunk."""
    with open_file(chunk.path) as file:
        events = open_events(file, chunk, metadata.model_dump(exclude_unset=True), branches_of(metadata))
        record = read(events, metadata).record
    return selected(record, event_selection(record, metadata, analysis).all())


if __name__ == "__main__":
    main()
