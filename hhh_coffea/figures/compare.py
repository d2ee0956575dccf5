"""Several runs in the same figures: their methods side by side, named after the run where the runs differ."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import hist
import numpy as np
from hist import Hist

from hhh_coffea.figures.style import RUN
from hhh_coffea.results import directory as results
from hhh_coffea.results.directory import ResultsError

COMPARED = ("candidates", "targets", "candidate_mass", "boosted_mass")  # what the figures of a comparison are made of
Run = tuple[dict[str, Hist], dict[str, dict[str, Any]]]


def read_runs(folders: Sequence[Path]) -> tuple[dict[str, Hist], dict[str, dict[str, Any]]]:
    """The compared histograms of all runs as those of one, and its datasets.

    A method that only one run has, or that gives the same in every run (in the datasets they share), keeps its name;
    otherwise it becomes ``method @ run``, with the folder's name for the run.

    Raises
    ------
    ResultsError
        if a folder holds no results of the main job, two folders are called the same, or a dataset differs in kind.
    """
    names = [folder.resolve().name for folder in folders]
    if len(set(names)) < len(names):
        raise ResultsError(f"the runs are named after their folders, and two are called the same: {', '.join(names)}")
    runs = dict(zip(names, (_read(folder) for folder in folders), strict=True))
    datasets: dict[str, dict[str, Any]] = {}
    for name, (_, own) in runs.items():
        for dataset, info in own.items():
            known = datasets.setdefault(dataset, info)
            for key in ("analysis", "is_signal"):
                if info[key] != known[key]:
                    raise ResultsError(
                        f"dataset {dataset!r}: {key} is {known[key]} in one run and {info[key]} in {name}"
                    )
    histograms = [run for run, _ in runs.values()]
    methods = sorted({method for run in histograms for method in run["candidates"].axes["method"]})
    same = {method for method in methods if _same_everywhere(method, histograms)}
    seen: set[tuple[str, str]] = set()
    total: dict[str, Hist] = {}
    for name, (run, own) in runs.items():
        for method in run["candidates"].axes["method"]:
            new = method if method in same else f"{method}{RUN}{name}"
            wanted = [dataset for dataset in own if (dataset, new) not in seen]
            seen |= {(dataset, new) for dataset in wanted}
            for key in COMPARED:
                part = _subset(run[key], wanted, method, new)
                total[key] = total[key] + part if key in total else part
    return total, datasets


def _read(folder: Path) -> Run:
    histograms, datasets = results.read_histograms(folder)
    if missing := [name for name in COMPARED if name not in histograms]:
        raise ResultsError(f"{folder}: not results of the main job: has no histogram {missing[0]!r}")
    return histograms, datasets


def _same_everywhere(method: str, runs: Sequence[Mapping[str, Hist]]) -> bool:
    """Whether the runs that have the method have the same counts for it in every dataset they share."""
    found = [run["candidates"] for run in runs if method in run["candidates"].axes["method"]]
    for first, other in itertools.combinations(found, 2):
        shared = sorted(set(first.axes["dataset"]) & set(other.axes["dataset"]))
        if _contents(_subset(first, shared, method, method)) != _contents(_subset(other, shared, method, method)):
            return False
    return True


def _contents(histogram: Hist) -> dict[tuple[str, ...], bytes]:
    """Bin contents by category, empty categories left out: what was never filled makes no difference."""
    categories = [axis for axis in histogram.axes if isinstance(axis, hist.axis.StrCategory)]
    found = {}
    for names in itertools.product(*categories):
        chosen = {axis.name: hist.loc(name) for axis, name in zip(categories, names, strict=True)}
        values = histogram[chosen].values(flow=True)
        if values.any():
            found[names] = values.tobytes()
    return found


def _subset(histogram: Hist, datasets: Sequence[str], method: str, new_name: str) -> Hist:
    """The contents of one method, under a new name, in these datasets."""
    wanted = {"dataset": [d for d in histogram.axes["dataset"] if d in datasets], "method": [method]}
    names = {**wanted, "method": [new_name]}
    values, axes = histogram.view(flow=True), []
    for position, axis in enumerate(histogram.axes):
        if axis.name not in wanted:
            axes.append(axis)
            continue
        present = [value for value in wanted[axis.name] if value in axis]
        index = [list(axis).index(value) for value in present]
        values = np.take(values, index, axis=position)
        axes.append(hist.axis.StrCategory(names[axis.name] if present else [], growth=True, name=axis.name))
    result = Hist(*axes, storage=histogram.storage_type())
    result.view(flow=True)[...] = values
    return result
