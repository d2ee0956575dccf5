"""A pass over events: every method reconstructs them, and a study's own function makes columns of what came out.

The engine, the head of every processor and the methods are those of the main job; only what is kept of an event differs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from coffea.processor import ProcessorABC, column_accumulator
from rich.console import Console

from hhh_coffea.analyses import Analyses, Analysis, analysis_of, load_analyses
from hhh_coffea.base.contents import state_of
from hhh_coffea.base.errors import UserError
from hhh_coffea.base.hashing import split_number
from hhh_coffea.config import RunConfig
from hhh_coffea.datasets.fileset import load_fileset
from hhh_coffea.engine.chunks import Job, RunStopped
from hhh_coffea.engine.executors import make_executor
from hhh_coffea.engine.processors import ProcessorSource
from hhh_coffea.events.formats import metadata_of
from hhh_coffea.jobs.main import process
from hhh_coffea.jobs.planning import make_plan
from hhh_coffea.methods import MethodOptions, branches_for, extra_features, method_options, reconstruct
from hhh_coffea.reconstruction.prepare import prepare
from hhh_coffea.results.console.ending import where_of
from hhh_coffea.results.console.tables import print_warnings
from hhh_coffea.study.event_table import Columns, EventTable, Totals
from hhh_coffea.study.reconstructed import Reconstructed

CHUNK = 2000  # events: the progress bar moves, and the permutations of a chunk fit into memory
OWN = ("entry", "split", "weight")  # columns that every table has


@dataclass(frozen=True)
class Pass:
    """What is asked of one pass over the events of a fileset.

    Parameters
    ----------
    fileset, datasets
        path or bundled name; all its datasets, or those named
    columns
        ``Reconstructed → {name: (N, …) array}``: what is kept of the selected events of a chunk. A function of a module, or
        ``functools.partial`` of one: it travels to worker processes
    methods, settings, model, device
        as in the main job
    change
        analysis → analysis, before anything is read with it: other cuts, scaled jets (``refine``)
    max_events
        of a dataset; all when None
    workers
        local processes
    """

    fileset: str
    columns: Callable[[Reconstructed], Columns]
    methods: tuple[str, ...] = ()
    datasets: tuple[str, ...] | None = None
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    model: tuple[str, ...] = ()
    device: str = "auto"
    change: Callable[[Analysis], Analysis] | None = None
    max_events: int | None = None
    workers: int = 1

    def options(self) -> MethodOptions:
        """The methods' options, their models loaded: of the bundled ones those for the analyses of the datasets."""
        analyses = load_analyses(load_fileset(self.fileset, list(self.datasets) if self.datasets else None)).values()
        return method_options(
            self.methods, model=self.model, device=self.device, settings=self.settings, analyses=analyses
        )

    def inputs(self) -> dict[str, Any]:
        """What the result depends on, as JSON: for :class:`hhh_coffea.study.stages.Stages`."""
        datasets = load_fileset(self.fileset, list(self.datasets) if self.datasets else None)
        used = {name: model["sha256"] for name, model in self.options().models().items() if "sha256" in model}
        return {
            "datasets": {
                name: {"metadata": d.metadata.model_dump(mode="json"), "files": {f: state_of(f) for f in d.files}}
                for name, d in datasets.items()
            },
            "methods": list(self.methods),
            "settings": {name: dict(settings) for name, settings in self.settings.items()},
            "models": used,
            "columns": _name_of(self.columns),
            "change": None if self.change is None else _name_of(self.change),
            "max_events": self.max_events,
        }


def _name_of(function: Any) -> str:
    """A function by module and name, with the arguments that ``partial`` gives it."""
    inner = getattr(function, "func", function)
    given = f"{function.args}{function.keywords}" if inner is not function else ""
    return f"{inner.__module__}.{inner.__qualname__}{given}"


class StudyProcessor(ProcessorABC):  # type: ignore[misc]  # coffea publishes no types
    """Select, match, reconstruct, and keep the columns asked for."""

    def __init__(self, asked: Pass, options: MethodOptions, analyses: Analyses) -> None:
        self.asked, self.options, self.analyses = asked, options, dict(analyses)
        self.wants_gpu = bool(options.spanet or options.pdnn)

    def analysis(self, metadata: Any) -> Analysis:
        """The analysis of a dataset, changed as asked for."""
        found = analysis_of(metadata, self.analyses)
        return found if self.asked.change is None else self.asked.change(found)

    def branches(self, metadata: Any) -> list[str]:
        """Branches read from files of a dataset."""
        return branches_for(self.options.methods, self.analysis(metadata), self.options, metadata)

    def process(self, events: Any) -> dict[str, Any]:
        """One chunk."""
        dataset, metadata = events.metadata["dataset"], metadata_of(events)
        analysis, methods = self.analysis(metadata), self.options.methods
        (definition,) = analysis.asked_for(["default"])
        prepared = prepare(events, metadata, analysis, [definition], extra_features(methods, self.options, analysis))
        found = reconstruct({definition: methods}, prepared.record, analysis, self.options)[definition]
        event = Reconstructed(prepared.record, analysis, prepared.targets[definition], found)
        entry = np.asarray(prepared.record.id, dtype=np.int64)
        own: Columns = {
            "entry": entry,
            "split": split_number(events.metadata["fileuuid"], entry),
            "weight": np.asarray(prepared.weight, dtype=np.float64),
        }
        columns: Columns = {**own, **self.asked.columns(event)}
        if wrong := [name for name, values in columns.items() if len(values) != len(entry)]:
            raise ValueError(f"column {wrong[0]!r} has {len(columns[wrong[0]])} rows for {len(entry)} events")
        weights = np.asarray(prepared.all_events.weight, dtype=np.float64)
        return {
            "columns": {dataset: {name: column_accumulator(np.asarray(v)) for name, v in columns.items()}},
            "events": {dataset: len(weights)},
            "weights": {dataset: float(weights.sum())},
        }

    def postprocess(self, accumulator: dict[str, Any]) -> dict[str, Any]:
        """Nothing to do once all chunks are in."""
        return accumulator


def read_events(asked: Pass, console: Console) -> EventTable:
    """Run the pass with a progress bar; rows are in the order of files and entries, whatever the number of workers.

    Columns that are NaN in every event of all datasets, as scores that a method does not give, are left out.

    Raises
    ------
    UserError
        if a file or chunk cannot be read: nothing is skipped in a study.
    """
    datasets = load_fileset(asked.fileset, list(asked.datasets) if asked.datasets else None)
    processor = StudyProcessor(asked, asked.options(), load_analyses(datasets))
    source = ProcessorSource.of(processor)
    chunksize = min(CHUNK, asked.max_events or CHUNK)
    config = RunConfig(
        fileset=asked.fileset,
        executor="futures" if asked.workers > 1 else "iterative",
        workers=asked.workers if asked.workers > 1 else None,
        chunksize=chunksize,
        max_chunks=None if asked.max_events is None else -(-asked.max_events // chunksize),
        on_error="stop",
    )
    with make_executor(config.executor, config.workers) as executor:
        plan = make_plan(config, datasets, source, executor, console)
        print_warnings(console, plan.warnings)
        if plan.failures:
            raise UserError(f"{where_of(plan.failures[0])}: {plan.failures[0].reason}")
        try:
            total = process(config, Job.of(source, datasets), plan, executor, console)
        except RunStopped as stop:
            raise UserError(f"{where_of(stop.args[0])}: {stop.args[0].reason}") from None
    if total.output is None:
        raise UserError(f"{asked.fileset}: holds no events")
    read = {chunk.path for chunk in plan.chunks}
    files = {
        name: tuple(
            (Path(f.source.path).name, f.uuid) for f in plan.files if f.source.dataset == name and f.source.path in read
        )
        for name in datasets
    }
    columns = {name: {c: v.value for c, v in found.items()} for name, found in total.output["columns"].items()}
    full = {c for found in columns.values() for c, v in found.items() if v.dtype.kind != "f" or not np.isnan(v).all()}
    columns = {name: {c: v for c, v in found.items() if c in full} for name, found in columns.items()}
    return EventTable(
        columns,
        {
            name: Totals(
                total.output["events"][name],
                total.output["weights"][name],
                files[name],
                datasets[name].metadata.is_signal,
            )
            for name in columns
        },
    )
