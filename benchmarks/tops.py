"""Speed of semi-leptonic tops on one core, every number measured in this run, as ratios to a plain uproot read.

    python benchmarks/tops.py ../shared/data/tops/ttflat_train_0[01].root
    python benchmarks/tops.py --higgs ../shared/data/tops/tth_train_0[01].root

Prints reading and matching, then the parts, and χ² for each number of jets.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import awkward as ak
import numpy as np
import uproot
from coffea.nanoevents import DelphesSchema, NanoEventsFactory
from main_job import REPEATS, best, show

from hhh_coffea.analyses import tops_objects, tops_truth
from hhh_coffea.analyses.tops_kinematics import leptonic_w, systems
from hhh_coffea.base.arrays import counts_of, flat
from hhh_coffea.base.kinematics import Cartesian
from hhh_coffea.datasets.fileset import DatasetMetadata
from hhh_coffea.events.formats import branches_of, read
from hhh_coffea.events.record import momentum, selected
from hhh_coffea.reconstruction.chi2_tops import PATTERNS, TopChi2Options, assign
from hhh_coffea.reconstruction.composites import summed
from hhh_coffea.results.assignment_efficiency import count

METADATA = DatasetMetadata(format="delphes", n_higgs=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--higgs", action="store_true", help="ttH instead of tt̄")
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    kind = "tth" if options.higgs else "ttbar"
    collections = (*tops_objects.COLLECTIONS, *(["higgs"] if options.higgs else []))
    branches = branches_of(METADATA, collections=collections)

    def plain_read() -> int:
        total = 0
        for file in options.files:
            with uproot.open(file) as opened:
                total += len(opened["Delphes"].arrays(branches))
        return total

    def record_of(file: Path) -> ak.Array:
        events = NanoEventsFactory.from_root(
            {str(file): "Delphes"},
            schemaclass=DelphesSchema,
            mode="virtual",
            metadata={"entrystart": 0, "fileuuid": str(file)},
        ).events()
        record = tops_objects.central(read(events, METADATA, collections=collections).record)
        cuts = tops_objects.cuts(record, tops_objects.MIN_JETS[kind])
        return selected(record, np.logical_and.reduce(list(cuts.values())))

    def read_and_match() -> int:
        total = 0
        for file in options.files:
            record = record_of(file)
            tops_truth.match(record, tops_truth.truth(record))
            total += len(record)
        return total

    read_and_match()  # imports and first-use set-up belong to neither side
    plain, events = best(plain_read)
    whole, _ = best(read_and_match)
    print(f"{events:,} events; CPU time of one core, best of {REPEATS}")
    show("plain uproot read of the same branches", plain, events, 1.0)
    show("reading, selection, truth and matching", whole, events, whole / plain)
    show("  of it beyond the plain read", whole - plain, events, whole / plain - 1)

    record = record_of(options.files[0])
    generated = tops_truth.truth(record)
    targets = tops_truth.match(record, generated)
    n_jets, btag, jets = counts_of(record.jets.pt), flat(record.jets.btag), momentum(record.jets)
    w = summed(*leptonic_w(record))
    chosen = assign(jets, btag, n_jets, w, options.higgs)
    groups = {name: pattern.group for name, pattern in PATTERNS.items()}
    print(f"parts, on the {len(record):,} selected events of the first file:")
    for name, function in {
        "truth": lambda: tops_truth.truth(record),
        "matching": lambda: tops_truth.match(record, generated),
        "lepton and neutrino": lambda: leptonic_w(record),
        "four-momenta of all systems": lambda: systems(record, chosen.objects),
        "efficiencies": lambda: count(
            targets, chosen.objects, groups, n_jets, (6, 7, 8) if options.higgs else (4, 5, 6)
        ),
        "chi2, ≤ 8 jets": lambda: assign(jets, btag, n_jets, w, options.higgs),
        "chi2, ≤ 10 jets": lambda: assign(jets, btag, n_jets, w, options.higgs, TopChi2Options(max_jets=10)),
    }.items():
        show(name, best(function)[0], len(record))
    for n in range(6 if options.higgs else 4, 11):
        pieces = repeated(jets, btag, n_jets, n)
        if pieces is not None:
            momenta, tags, rows = pieces
            own_w = Cartesian(*(component[rows] for component in w))
            many = TopChi2Options(max_jets=n)
            seconds, _ = best(
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
