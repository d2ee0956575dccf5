"""The table of efficiencies of M. Fenton et al. (Commun. Phys. 7, 139, Table 1) for χ² and the likelihood fit, and their speed.

    python benchmarks/tops_methods.py ../shared/data/tops
    python benchmarks/tops_methods.py ../shared/data/tops --variants

Reads ``tt_test.root`` and ``tth_test.root`` of the folder; all methods see the same selected events, and all semi-leptonic
ones are counted. ``--variants`` adds rows of the likelihood fit with other options. Percent; the errors are 68% intervals.
Events per second are those of one core, in CPU time, without reading; compilation is not in them.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import torch
from coffea.nanoevents import DelphesSchema, NanoEventsFactory

from hhh_coffea.analyses import tops_objects, tops_truth
from hhh_coffea.analyses.tops_kinematics import leptonic_w
from hhh_coffea.base.arrays import counts_of, flat
from hhh_coffea.datasets.fileset import DatasetMetadata
from hhh_coffea.events.formats import read
from hhh_coffea.events.record import momentum, selected
from hhh_coffea.reconstruction import chi2_tops, likelihood
from hhh_coffea.reconstruction.composites import summed
from hhh_coffea.results.assignment_efficiency import count, efficiencies

SAMPLES = {"ttbar": ("tt_test.root", (4, 5, 6)), "tth": ("tth_test.root", (6, 7, 8))}


def variants(higgs: bool) -> dict[str, dict[str, Any]]:
    """Other options of the likelihood fit, by what they are called."""
    n = 6 if higgs else 5  # KLFitter's authors advise at most 5 or 6 jets
    return {
        "free top mass": {"free_top_mass": True},
        f"{n} jets": {"max_jets": n},
        "no b tags": {"btag": "none"},
        "veto_tagged_light": {"btag": "veto_tagged_light"},
        "veto_hybrid": {"btag": "veto_hybrid"},
        "with Jacobian": {"jacobian": True},
        "jet masses": {"jet_masses": True},
    }


def record_of(folder: Path, kind: str) -> ak.Array:
    """Selected events of a test file."""
    file = str(folder / SAMPLES[kind][0])
    collections = (*tops_objects.COLLECTIONS, *(["higgs"] if kind == "tth" else []))
    events = NanoEventsFactory.from_root(
        {file: "Delphes"}, schemaclass=DelphesSchema, mode="virtual", metadata={"entrystart": 0, "fileuuid": file}
    ).events()
    record = read(
        events, DatasetMetadata(format="delphes", analysis=f"{kind}_semileptonic"), collections=collections
    ).record
    record = tops_objects.central(record)
    cuts = tops_objects.cuts(record, tops_objects.MIN_JETS[kind])
    return selected(record, np.logical_and.reduce(list(cuts.values())))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--functions", default="transfer_functions_delphes", help="transfer functions")
    parser.add_argument("--variants", action="store_true")
    parser.add_argument("--kinds", default="ttbar,tth")
    options = parser.parse_args()
    torch.set_num_threads(1)
    functions = likelihood.read_transfer_functions(options.functions)
    for kind in options.kinds.split(","):
        record = record_of(options.folder, kind)
        truth = tops_truth.truth(record)
        targets = tops_truth.match(record, truth)
        n_jets, bins, higgs = counts_of(record.jets.pt), SAMPLES[kind][1], kind == "tth"
        groups = {name: chi2_tops.PATTERNS[name].group for name in targets}

        def chi2(record: ak.Array, higgs: bool = higgs) -> dict[str, Any]:
            jets, w = momentum(record.jets), summed(*leptonic_w(record))
            return chi2_tops.assign(jets, flat(record.jets.btag), counts_of(record.jets.pt), w, higgs).objects

        def fitted(record: ak.Array, higgs: bool = higgs, **changes: Any) -> dict[str, Any]:
            chosen = likelihood.LikelihoodOptions(higgs=higgs, **changes)
            return likelihood.assign(record, functions, chosen).objects

        methods: dict[str, Any] = {"chi2": chi2, "likelihood": fitted}
        if options.variants:
            methods |= {
                f"likelihood, {name}": lambda record, c=changes: fitted(record, **c)
                for name, changes in variants(higgs).items()
            }
        print(f"\n{kind}: {len(record):,} events")
        header = " ".join(f"{name:>11}" for name in ("event", *targets))
        for name, method in methods.items():
            method(record[:20])  # compiles
            start = time.process_time()
            objects = method(record)
            rate = len(record) / (time.process_time() - start)
            found = efficiencies(count(targets, objects, groups, n_jets, bins, use=truth.semileptonic))
            print(f"{name}: {rate:,.0f} events/s\n{'':16}{header}")
            for which in ("all", "full"):
                for column, row in found[which].items():
                    values = (f"{100 * v['value']:6.1f} ±{50 * (v['high'] - v['low']):3.1f}" for v in row.values())
                    print(f"  {which:4} {column:8}  {' '.join(f'{v:>11}' for v in values)}")


if __name__ == "__main__":
    main()
