"""Speed of semi-leptonic tops on one core, every number measured in this run, as ratios to a plain uproot read.

    python benchmarks/tops.py ../shared/data/tops/ttflat_train_0[01].root
    python benchmarks/tops.py --higgs ../shared/data/tops/tth_train_0[01].root

Prints the plain read, the main job, reading to matching, then the parts, and χ² for each number of jets.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import uproot
from main_job import best, compare, show

from hhh_coffea.analyses import Analysis, load_analysis, tops_truth
from hhh_coffea.analyses.tops_kinematics import leptonic_w
from hhh_coffea.base.arrays import counts_of, flat
from hhh_coffea.base.kinematics import Cartesian
from hhh_coffea.datasets.fileset import Dataset, DatasetMetadata
from hhh_coffea.engine.chunks import Chunk, Job, inspect_file, open_events, plan_chunks, run_chunk, sources_of
from hhh_coffea.engine.processors import ProcessorSource, load_processor
from hhh_coffea.engine.root_file import open_file
from hhh_coffea.events.formats import branches_of
from hhh_coffea.events.record import momentum
from hhh_coffea.methods import method_options, reconstruct
from hhh_coffea.methods.chi2_tops import TopChi2Options, assign
from hhh_coffea.reconstruction.composites import summed
from hhh_coffea.reconstruction.prepare import Prepared, prepare
from hhh_coffea.results import assignment_efficiency, histograms, quantities


def prepared_of(chunk: Chunk, analysis: Analysis) -> Prepared:
    """Selected and matched events of a chunk, read as the job reads it."""
    metadata = DatasetMetadata(format="delphes", analysis=analysis.name)
    branches = branches_of(metadata, (), analysis.collections)
    with open_file(chunk.path) as file:
        events = open_events(file, chunk, metadata.model_dump(exclude_unset=True), branches)
        return prepare(events, metadata, analysis, ("default",))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--higgs", action="store_true", help="ttH instead of tt̄")
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    analysis = load_analysis("tth_semileptonic" if options.higgs else "ttbar_semileptonic")
    metadata = DatasetMetadata(format="delphes", analysis=analysis.name)
    branches = branches_of(metadata, (), analysis.collections)
    dataset = Dataset(name="benchmark", files={str(f): "Delphes" for f in options.files}, metadata=metadata)
    source = ProcessorSource.of(load_processor("assignment", {}))
    job = Job(source, {"benchmark": metadata.model_dump(exclude_unset=True)})
    plan = plan_chunks([inspect_file(s) for s in sources_of({"benchmark": dataset}, source, None)])

    def plain_read() -> int:
        total = 0
        for chunk in plan.chunks:
            with uproot.open(chunk.path) as opened:
                total += len(opened[chunk.tree].arrays(branches, entry_start=chunk.start, entry_stop=chunk.stop))
        return total

    def whole_run() -> int:
        return sum(run_chunk(job, chunk).events for chunk in plan.chunks)

    def read_and_match() -> int:
        return sum(len(prepared_of(chunk, analysis).all_events) for chunk in plan.chunks)

    print(f"{len(plan.chunks)} chunks", end=", ")
    compare(plain_read, whole_run, "whole run (read, chi2, tables, histograms)")
    print("without the methods:", end=" ")
    compare(plain_read, read_and_match, "reading, selection, truth and matching")

    prepared = prepared_of(plan.chunks[0], analysis)
    record, targets = prepared.record, prepared.targets["default"]
    generated = tops_truth.truth(record)
    n_jets, btag, jets = counts_of(record.jets.pt), flat(record.jets.btag), momentum(record.jets)
    w = summed(*leptonic_w(record))
    chi2 = method_options(["chi2"])
    found = reconstruct({"default": ["chi2"]}, record, analysis, chi2)["default"]["chi2"]
    result = analysis.evaluate(found, targets, "default")
    booked = histograms.book(analysis) | quantities.book(analysis)
    key = {"dataset": "d", "method": "chi2", "definition": "default"}
    weight = prepared.weight
    print(f"parts, on the {len(record):,} selected events of the first file:")
    for name, function in {
        "truth": lambda: tops_truth.truth(record),
        "matching": lambda: tops_truth.match(record, generated),
        "method chi2": lambda: reconstruct({"default": ["chi2"]}, record, analysis, chi2),
        "  of it lepton and neutrino": lambda: leptonic_w(record),
        "  of it the assignment, ≤ 8 jets": lambda: assign(jets, btag, n_jets, w, options.higgs),
        "metrics": lambda: analysis.evaluate(found, targets, "default"),
        "efficiencies and confusion": lambda: assignment_efficiency.fill_method(
            {}, *key.values(), analysis, record, targets, found, result
        ),
        "histograms of every analysis": lambda: histograms.fill_method(
            booked, *key.values(), analysis, found, targets, result, weight
        ),
        "declared quantities": lambda: (
            quantities.fill_events(booked, "d", "default", analysis, record, targets),
            quantities.fill_method(booked, key, analysis, record, targets, found, result),
        ),
    }.items():
        show(name, best(function), len(record))
    for n in range(6 if options.higgs else 4, 11):
        pieces = repeated(jets, btag, n_jets, n)
        if pieces is not None:
            momenta, tags, rows = pieces
            own_w = Cartesian(*(component[rows] for component in w))
            many = TopChi2Options(max_jets=n)
            seconds = best(
                lambda p=momenta, t=tags, v=own_w, o=many, k=n: assign(p, t, np.full(len(v.px), k), v, options.higgs, o)
            )
            show(f"chi2, events with {n} jets tried", seconds, len(rows))


def repeated(
    jets: Cartesian, btag: np.ndarray, counts: np.ndarray, n: int, wanted: int = 10_000
) -> tuple[Cartesian, np.ndarray, np.ndarray] | None:
    """The first n jets of events with at least as many, repeated to ``wanted`` events; None where there are none."""
    some = np.flatnonzero(counts >= n)
    if not len(some):
        return None
    rows = np.resize(some, wanted)
    place = ((np.cumsum(counts) - counts)[rows][:, None] + np.arange(n)).ravel()
    return Cartesian(*(component[place] for component in jets)), btag[place], rows


if __name__ == "__main__":
    main()
