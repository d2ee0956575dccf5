"""What systematic variations cost: one pass with 20 of them over one without, on real NanoAOD events, in one run.

    python benchmarks/systematics.py ../shared/data/nanoaod/tt_v12.root
    python benchmarks/systematics.py --jes 7 --methods chi2,chi2+bdt ../shared/data/nanoaod/tt_v15.root

The events of the file are written over and over into a temporary one, with the branches that are read. Ten variations move
every jet and are selected and reconstructed again: four sources of the jet energy scale and the resolution, up and down (--jes
changes their number). Ten change weights alone: b tagging, pile-up, the scales of the matrix element, initial and final state
radiation. "Without" is the main job with the same nominal corrections. Both open the file, read, select, reconstruct and fill,
in turns; the ratio is the median of those of neighbours. Memory is the peak of what Python and numpy allocate in one pass.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import uproot

from hhh_coffea.datasets.fileset import Dataset, DatasetMetadata
from hhh_coffea.datasets.nanoaod_options import NOMINAL
from hhh_coffea.engine.chunks import Job, inspect_file, plan_chunks, sources_of
from hhh_coffea.engine.executors import IterativeExecutor
from hhh_coffea.engine.processors import ProcessorSource, load_processor
from hhh_coffea.events.formats import variations

REPEATS = 5
ETA = [-5.2, *(round(-5 + 0.5 * i, 1) for i in range(21)), 5.2]
PT = [10.0, 20.0, 30.0, 50.0, 80.0, 120.0, 200.0, 400.0, 1000.0, 5000.0]


def corrections(folder: Path, n_sources: int) -> dict[str, Any]:
    """Section ``nanoaod.corrections`` and its files: as many bins as those of CMS, with invented numbers."""
    rng, sources = np.random.default_rng(1), tuple(f"jes{i}" for i in range(n_sources))

    def binned(low: float, high: float, of: tuple[str, ...] = ("JetEta", "JetPt")) -> dict[str, Any]:
        edges = {"JetEta": ETA, "JetPt": PT, "abseta": [0.0, 0.8, 1.6, 2.5], "pt": PT}
        content = rng.uniform(low, high, int(np.prod([len(edges[name]) - 1 for name in of]))).tolist()
        return {
            "nodetype": "multibinning",
            "inputs": list(of),
            "edges": [edges[n] for n in of],
            "content": content,
            "flow": "clamp",
        }

    def by(name: str, content: dict[Any, Any]) -> dict[str, Any]:
        return {"nodetype": "category", "input": name, "content": [{"key": k, "value": v} for k, v in content.items()]}

    def correction(name: str, inputs: tuple[str, ...], data: Any) -> dict[str, Any]:
        kinds = {"systematic": "string", "working_point": "string", "flavor": "int"}
        variables = [{"name": n, "type": kinds.get(n, "real")} for n in inputs]
        return {
            "name": name,
            "version": 1,
            "inputs": variables,
            "output": {"name": "value", "type": "real"},
            "data": data,
        }

    of_jets, tagged = ("JetEta", "JetPt"), ("systematic", "working_point", "flavor", "abseta", "pt")
    shifts = ("central", "up", "down")
    interactions = {
        "nodetype": "binning",
        "input": "NumTrueInteractions",
        "edges": [float(i) for i in range(101)],
        "flow": "clamp",
    }
    made = [
        *(correction(name, of_jets, binned(0.005, 0.03)) for name in sources),
        correction("resolution", of_jets, binned(0.05, 0.2)),
        correction("ratio", (*of_jets, "systematic"), by("systematic", {n: binned(1.05, 1.2) for n in ("nom", "up", "down")})),
        *(correction(n, tagged, by("systematic", {s: binned(0.9, 1.1, tagged[3:]) for s in shifts})) for n in ("heavy", "light")),
        correction("efficiency", ("flavor", *tagged[3:]), by("flavor", {f: binned(0.02, 0.8, tagged[3:]) for f in (5, 4, 0)})),
        correction("pileup", ("NumTrueInteractions", "systematic"), by("systematic", {
            n: {**interactions, "content": rng.uniform(0.8, 1.2, 100).tolist()} for n in ("nominal", "up", "down")
        })),
    ]  # fmt: skip
    file = folder / "corrections.json"
    file.write_text(json.dumps({"schema_version": 2, "corrections": made}))
    name = str(file)
    return {
        "jets": {"file": name, "uncertainties": {s: s for s in sources}, "resolution": "resolution", "resolution_scale": "ratio"},
        "btag": {"file": name, "heavy": "heavy", "light": "light", "efficiency_file": name, "efficiency": "efficiency"},
        "weights": {"pileup": {"file": name, "correction": "pileup", "inputs": {"NumTrueInteractions": "Pileup_nTrueInt"}}},
        "theory": ["scale", "parton_shower"],
    }  # fmt: skip


def tiled(source: Path, path: Path, branches: list[str], events: int) -> Path:
    """The events of a file again and again, with these branches of it."""
    with uproot.open(source) as file:
        tree = file["Events"]
        there = [name for name in branches if name in tree]
        arrays = tree.arrays(there)
    times = -(-events // len(arrays))
    columns: dict[str, Any] = {}
    for name in there:
        collection, _, leaf = name.partition("_")
        if arrays[name].ndim == 1:
            if f"n{collection}" not in there or name[0] != "n":
                columns[name] = np.tile(ak.to_numpy(arrays[name]), times)
        elif leaf:
            columns.setdefault(collection, {})[leaf] = arrays[name]
        else:
            columns[name] = ak.concatenate([arrays[name]] * times)
    columns = {n: v for n, v in columns.items() if not (n[:1] == "n" and n[1:] in columns)}
    whole = {n: ak.concatenate([ak.zip(v)] * times) if isinstance(v, dict) else v for n, v in columns.items()}
    with uproot.recreate(path, compression=uproot.ZSTD(3)) as file:
        types = {n: v.dtype if isinstance(v, np.ndarray) else ak.type(v).content for n, v in whole.items()}
        file.mktree("Events", types).extend(whole)
    return path


def job_of(name: str, path: Path, metadata: DatasetMetadata, methods: tuple[str, ...]) -> Callable[[], int]:
    """One pass of a bundled processor over a file; returns the number of events."""
    dataset = Dataset(name="benchmark", files={str(path): "Events"}, metadata=metadata)
    source = ProcessorSource.of(load_processor(name, {"methods": methods, "metrics": ("default",)}))
    plan = plan_chunks([inspect_file(s) for s in sources_of({"benchmark": dataset}, source, None)], None)
    job = Job.of(source, {"benchmark": dataset})

    def run() -> int:
        total = IterativeExecutor().reduce(job, plan.chunks, lambda _: None)
        if total.failures:
            raise SystemExit(total.failures[0].reason)
        return total.events

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="NanoAOD with generator weights")
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--jes", type=int, default=4, metavar="N", help="sources of the jet energy scale")
    parser.add_argument("--methods", default="chi2", metavar="A[,B]")
    parser.add_argument("--n-higgs", type=int, default=2)
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    methods = tuple(options.methods.split(","))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base = {"format": "nanoaod", "n_higgs": options.n_higgs, "is_signal": False}
        metadata = DatasetMetadata.model_validate(
            {**base, "nanoaod": {"corrections": corrections(folder, options.jes)}}
        )
        names = [n for group in variations(metadata).values() for n in group if n != NOMINAL]
        branches = load_processor("systematics", {"methods": methods}).branches(metadata)
        path = tiled(options.file, folder / "events.root", branches, options.events)
        with_them, without = (job_of(n, path, metadata, methods) for n in ("systematics", "assignment"))
        events = min(with_them(), without())  # imports and first-use set-up belong to neither side
        print(f"{options.file.name}, {events:,} events, {options.methods}; {len(names)} variations:")
        print(", ".join(names))
        pairs = []
        for _ in range(REPEATS):
            seconds = []
            for run in (without, with_them):
                start = time.process_time()
                run()
                seconds.append(time.process_time() - start)
            pairs.append(seconds)
        for label, column in zip(("without", "with"), zip(*pairs, strict=True), strict=True):
            print(f"{label:10s} {statistics.median(column):7.3f} s of CPU time")
        ratio = statistics.median(b / a for a, b in pairs)
        print(f"one pass with {len(names)} variations over one without: {ratio:.2f}")
        for label, run in (("without", without), ("with", with_them)):
            tracemalloc.start()
            run()
            print(f"peak memory {label}: {tracemalloc.get_traced_memory()[1] / 1024**2:.0f} MiB")
            tracemalloc.stop()


if __name__ == "__main__":
    main()
