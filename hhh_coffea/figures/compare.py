"""Several runs in the same figures: their methods side by side, each with the name of the runs that it is from."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import hist
import numpy as np
from hist import Hist

from hhh_coffea.figures.looks.style import RUN, SAME
from hhh_coffea.results import directory as results
from hhh_coffea.results.directory import ResultsError

COMPARED = ("candidates", "targets", "candidate_mass")  # what the figures of a comparison are made of
OF_SOME = ("boosted_mass",)  # likewise, where all runs have it: of Higgs bosons, not of tops
Run = tuple[dict[str, Hist], dict[str, dict[str, Any]]]


def read_runs(folders: Sequence[Path]) -> tuple[dict[str, Hist], dict[str, dict[str, Any]]]:
    """The compared histograms of all runs as those of one, and its datasets.

    A method becomes ``method @ run``, with the folder's name for the run. In datasets in which it gives the same in every run
    that has it, it is there once, as ``method @ run = other run``.

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
    compared = [*COMPARED, *(key for key in OF_SOME if all(key in run for run, _ in runs.values()))]
    methods = list(dict.fromkeys(method for run, _ in runs.values() for method in run["candidates"].axes["method"]))
    total: dict[str, Hist] = {}
    for dataset, method in itertools.product(datasets, methods):
        having = [n for n, (run, own) in runs.items() if dataset in own and method in run["candidates"].axes["method"]]
        same = _same([runs[name][0] for name in having], dataset, method, compared)
        groups = [having] if same and having else [[name] for name in having]
        for names_of_runs in groups:
            new = f"{method}{RUN}{SAME.join(names_of_runs)}"
            for key in compared:
                part = _subset(runs[names_of_runs[0]][0][key], dataset, method, new)
                total[key] = total[key] + part if key in total else part
    return total, datasets


def _read(folder: Path) -> Run:
    histograms, datasets = results.read_histograms(folder)
    if missing := [name for name in COMPARED if name not in histograms]:
        raise ResultsError(f"{folder}: not results of the main job: has no histogram {missing[0]!r}")
    return histograms, datasets


def _same(runs: Sequence[Mapping[str, Hist]], dataset: str, method: str, compared: Sequence[str]) -> bool:
    """Whether all that is compared is the same in these runs, bin for bin."""
    contents = [[_contents(_subset(run[key], dataset, method, method)) for key in compared] for run in runs]
    return all(other == contents[0] for other in contents[1:])


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


def _subset(histogram: Hist, dataset: str, method: str, new_name: str) -> Hist:
    """The contents of one dataset and method, the method under a new name."""
    wanted = {"dataset": [dataset], "method": [method]}
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
