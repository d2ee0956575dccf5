"""Speed of the main job on one core, every number measured in this run, as ratios to a plain uproot read.

    python benchmarks/main_job.py ../shared/data/delphes/hhh_train_0[01].root

Prints the plain read of the same branches, the chain without reading, its parts, and the whole run, and the peak memory.
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

from hhh_coffea import truth
from hhh_coffea.engine import Job, inspect_file, plan_chunks, run_chunk, sources_of
from hhh_coffea.events.formats import branches_of
from hhh_coffea.events.record import selected, truncated
from hhh_coffea.fileset import Dataset, DatasetMetadata
from hhh_coffea.loading import ProcessorSource, load_processor
from hhh_coffea.metrics import evaluate
from hhh_coffea.reconstruction import chi2

REPEATS = 5


def best(function: Callable[[], Any]) -> tuple[float, Any]:
    """Shortest CPU time of a few calls: the machine may be busy with other things."""
    times = []
    for _ in range(REPEATS):
        begin = time.process_time()
        value = function()
        times.append(time.process_time() - begin)
    return min(times), value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--n-higgs", type=int, default=3)
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

    n = options.n_higgs
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
    read, events = best(plain_read)
    whole, processed = best(whole_run)
    if processed != events:
        raise SystemExit(f"read {events} events but processed {processed}")

    record, selected = in_memory(job, plan.chunks[0], metadata)
    few = len(record)
    kept = (n, metadata.selection.max_jets, metadata.max_fatjets)
    targets = truth.match(record, *kept)
    short = truncated(record, *kept[1:])
    candidates = chi2.reconstruct(short, n)
    parts = {
        "truth matching, both definitions": lambda: both_truths(record, kept),
        "chi2, 2·n_higgs jets": lambda: chi2.reconstruct(short, n),
        "chi2, 10 jets": lambda: chi2.reconstruct(short, n, 10),
        "metrics, one definition": lambda: evaluate(candidates, targets, "default"),
    }
    print(f"{events} events in {len(options.files)} files, {len(plan.chunks)} chunks; CPU time of one core, best of {REPEATS}")
    print(f"{'plain uproot read of the same branches':44s} {read:7.3f} s {events / read:12,.0f} events/s   1.00")
    print(f"{'whole run (read, chi2, metrics, histograms)':44s} {whole:7.3f} s {events / whole:12,.0f} events/s   {whole / read:.2f}")
    print(f"{'  of it without the plain read':44s} {whole - read:7.3f} s {events / (whole - read):12,.0f} events/s   {whole / read - 1:.2f}")
    for name, function in parts.items():
        seconds, _ = best(function)
        print(f"{name:44s} {seconds:7.3f} s {few / seconds:12,.0f} selected events/s")
    seconds, _ = best(lambda: pairing_only(short, n))
    print(f"{'chi2 pairing alone, from padded momenta':44s} {seconds:7.3f} s {few / seconds:12,.0f} selected events/s")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2:.2f} GB")


def both_truths(record: ak.Array, kept: tuple[int, int, int]) -> None:
    near = truth.distances(record, kept[0])
    truth.match(record, *kept, near)
    truth.match_reference(record, *kept, near)


def pairing_only(record: ak.Array, n: int) -> Any:
    from hhh_coffea.events.record import momentum
    from hhh_coffea.jagged import counts_of, padded
    from hhh_coffea.kinematics import Cartesian

    counts = counts_of(record.jets.pt)
    components = [padded(c, counts, 2 * n, 0.0) for c in momentum(record.jets)]
    exists = np.ones((len(counts), 2 * n), dtype=bool)
    found = []
    for start in range(0, len(counts), chi2.BLOCK):
        block = slice(start, start + chi2.BLOCK)
        table = chi2.pair_chi2(Cartesian(*(np.ascontiguousarray(c[block].T) for c in components)), exists[block].T)
        found.append(chi2.best_pairing(table, 2 * n, n))
    return found


def in_memory(job: Job, chunk: Any, metadata: DatasetMetadata) -> tuple[ak.Array, Any]:
    """The selected, untruncated record of a chunk."""
    from coffea.nanoevents import DelphesSchema, NanoEventsFactory

    from hhh_coffea.events.formats import read
    from hhh_coffea.selection import event_selection

    events = NanoEventsFactory.from_root(
        {chunk.path: chunk.tree},
        schemaclass=DelphesSchema,
        mode="virtual",
        metadata={"entrystart": 0, "fileuuid": chunk.uuid},
    ).events()
    record = read(events, metadata).record
    selection = event_selection(record, metadata)
    return selected(record, selection.all()), selection


if __name__ == "__main__":
    main()
