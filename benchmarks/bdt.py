"""Speed of the large-radius-jet BDT on one core: scoring, and what chi2+bdt costs beyond chi2, every number from this run.

    python benchmarks/bdt.py ../shared/data/delphes/hhh_train_00.root

``--bdt`` takes any model. Prints CPU times, rates and ratios.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import uproot
from coffea.nanoevents import DelphesSchema, NanoEventsFactory

from hhh_coffea.analyses.higgs import higgs
from hhh_coffea.datasets.fileset import DatasetMetadata
from hhh_coffea.events.formats import read
from hhh_coffea.events.record import selected, truncated
from hhh_coffea.methods import bdt, chi2
from hhh_coffea.methods.bdt_model import BdtModel, load_model
from hhh_coffea.reconstruction.selection import event_selection

REPEATS = 5
ROWS = 500_000  # large-radius jets scored at once: those of the file, again and again


def best(function: Callable[[], Any]) -> float:
    """Shortest CPU time of a few calls: the machine may be busy with other things."""
    times = []
    for _ in range(REPEATS):
        begin = time.process_time()
        function()
        times.append(time.process_time() - begin)
    return min(times)


def load(path: Path, n_higgs: int, model: BdtModel) -> ak.Array:
    """The selected, truncated record of a file."""
    metadata = DatasetMetadata(format="delphes", n_higgs=n_higgs)
    with uproot.open(path) as file:
        identity = str(file.file.uuid)
    events = NanoEventsFactory.from_root(
        {str(path): "Delphes"},
        schemaclass=DelphesSchema,
        mode="virtual",
        metadata={"entrystart": 0, "fileuuid": identity},
    ).events()
    record = read(events, metadata, model.substructure).record
    return truncated(selected(record, event_selection(record, metadata, higgs(n_higgs)).all()), 10, n_higgs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--n-higgs", type=int, default=3)
    parser.add_argument("--bdt", default="hbb_bdt")
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

    model = load_model(options.bdt)
    n = options.n_higgs
    resolved, boosted = (higgs(n).kinds[name] for name in ("resolved", "boosted"))
    record = load(options.file, n, model)
    columns = [ak.to_numpy(ak.flatten(record.fatjets[name])) for name in model.features]
    rows = np.resize(np.column_stack(columns).astype(np.float32), (ROWS, len(columns)))
    scores = bdt.score(record.fatjets, model)
    cut = float(np.quantile(scores, 0.9))
    pairs = chi2.reconstruct(record, resolved)

    scoring = best(lambda: model.predict(rows))
    plain = best(lambda: chi2.reconstruct(record, resolved))
    print(
        f"{len(record)} selected events with {len(scores)} large-radius jets; CPU time of one core, best of {REPEATS}"
    )
    print(f"{'scoring alone':44s} {scoring:7.3f} s {ROWS / scoring:12,.0f} large-radius jets/s")
    print(f"{'chi2':44s} {plain:7.3f} s {len(record) / plain:12,.0f} selected events/s   1.00")
    for name, function in {
        "scores from the record": lambda: bdt.score(record.fatjets, model),
        "chi2+bdt from scores, default": lambda: bdt.reconstruct(record, scores, cut, boosted, resolved),
        "chi2+bdt from scores and pairs, reference": lambda: bdt.reconstruct_reference(
            record, scores, cut, boosted, pairs
        ),
    }.items():
        seconds = best(function)
        print(f"{name:44s} {seconds:7.3f} s {len(record) / seconds:12,.0f} selected events/s   {seconds / plain:.2f}")


if __name__ == "__main__":
    main()
