"""Speed of the main job on one core, every number measured in this run, as ratios to a plain uproot read.

    python benchmarks/main_job.py ../shared/data/delphes/hhh_train_0[01].root

Prints the plain read of the same branches, the whole run, the parts of it, and the peak memory.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import uproot
from coffea.nanoevents import DelphesSchema, NanoEventsFactory

from hhh_coffea.analyses import higgs_truth as truth
from hhh_coffea.analyses.higgs import higgs
from hhh_coffea.base.arrays import counts_of, padded
from hhh_coffea.base.kinematics import Cartesian
from hhh_coffea.datasets.fileset import Dataset, DatasetMetadata
from hhh_coffea.engine.chunks import Chunk, Job, inspect_file, plan_chunks, run_chunk, sources_of
from hhh_coffea.engine.processors import ProcessorSource, load_processor
from hhh_coffea.events.formats import branches_of, read
from hhh_coffea.events.record import momentum, selected, truncated
from hhh_coffea.reconstruction import Analysis, chi2
from hhh_coffea.reconstruction.selection import event_selection

REPEATS = 5


def best(function: Callable[[], Any]) -> tuple[float, Any]:
    """Shortest CPU time of a few calls: the machine may be busy with other things."""
    times = []
    for _ in range(REPEATS):
        begin = time.process_time()
        value = function()
        times.append(time.process_time() - begin)
    return min(times), value


def show(name: str, seconds: float, events: int, ratio: float | None = None) -> None:
    """One line: time, rate, and the ratio to the plain read."""
    print(f"{name:44s} {seconds:7.3f} s {events / seconds:12,.0f} events/s" + (f" {ratio:7.2f}" if ratio else ""))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--n-higgs", type=int, default=3)
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

    n = options.n_higgs
    analysis = higgs(n)
    metadata = DatasetMetadata(format="delphes", n_higgs=n)
    dataset = Dataset(name="benchmark", files={str(f): "Delphes" for f in options.files}, metadata=metadata)
    source = ProcessorSource.of(load_processor("assignment", {}))
    job = Job(source, {"benchmark": metadata.model_dump(exclude_unset=True)})
    plan = plan_chunks([inspect_file(s) for s in sources_of({"benchmark": dataset}, source, None)])
    branches = branches_of(metadata)

    def plain_read() -> int:
        total = 0
        for file in options.files:
            with uproot.open(file) as opened:
                total += len(opened["Delphes"].arrays(branches))
        return total

    def whole_run() -> int:
        return sum(run_chunk(job, chunk).events for chunk in plan.chunks)

    whole_run()  # imports and first-use set-up belong to neither side
    plain, events = best(plain_read)
    whole, processed = best(whole_run)
    if processed != events:
        raise SystemExit(f"read {events} events but processed {processed}")
    print(f"{events:,} events, {len(plan.chunks)} chunks; CPU time of one core, best of {REPEATS}")
    show("plain uproot read of the same branches", plain, events, 1.0)
    show("whole run (read, chi2, metrics, histograms)", whole, events, whole / plain)
    show("  of it beyond the plain read", whole - plain, events, whole / plain - 1)

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
        show(name, best(function)[0], len(record))
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2:.2f} GB")


def both_truths(record: ak.Array, kept: tuple[int, int, int]) -> None:
    near = truth.distances(record, kept[0])
    truth.match(record, *kept, near)
    truth.match_reference(record, *kept, near)


def pairing_only(momenta: list[Any], n: int) -> None:
    for start in range(0, len(momenta[0]), chi2.BLOCK):
        block = Cartesian(*(np.ascontiguousarray(c[start : start + chi2.BLOCK].T) for c in momenta))
        table = chi2.pair_chi2(block, np.ones(block.energy.shape, dtype=bool))
        chi2.best_pairing(table, 2 * n, n)


def in_memory(chunk: Chunk, metadata: DatasetMetadata, analysis: Analysis) -> ak.Array:
    """The selected, untruncated record of a chunk."""
    events = NanoEventsFactory.from_root(
        {chunk.path: chunk.tree},
        schemaclass=DelphesSchema,
        mode="virtual",
        metadata={"entrystart": 0, "fileuuid": chunk.uuid},
    ).events()
    record = read(events, metadata).record
    return selected(record, event_selection(record, metadata, analysis).all())


if __name__ == "__main__":
    main()
