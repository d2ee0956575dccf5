"""``train data``: a fileset through the engine into a training data directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from hhh_coffea.analyses import load_analyses
from hhh_coffea.config import RunConfig
from hhh_coffea.datasets.fileset import load_fileset
from hhh_coffea.engine.chunks import Job, RunStopped
from hhh_coffea.engine.executors import make_executor
from hhh_coffea.engine.processors import ProcessorSource, load_processor
from hhh_coffea.jobs.main import process
from hhh_coffea.jobs.planning import make_plan
from hhh_coffea.results.console import ending
from hhh_coffea.results.console import tables as report
from hhh_coffea.spanet.training.dataset import DatasetError, TrainingData


def make_training_data(config: RunConfig, topology: str, truth: str) -> TrainingData:
    """Write ``config.output`` with the bundled processor, on any executor; every chunk is in it or named.

    Raises
    ------
    DatasetError
        if a chunk failed and ``config.on_error`` is ``stop``, or if nothing could be read.
    """
    console = Console(stderr=True)
    datasets = load_fileset(config.fileset, list(config.datasets) if config.datasets else None)
    config.check_formats({dataset.metadata.format for dataset in datasets.values()})
    analyses = load_analyses(datasets)
    options: dict[str, Any] = {"topology": topology, "data": config.output, "truth_definition": truth}
    processor: Any = load_processor(config.processor, {**options, "btagging": config.btagging, "analyses": analyses})
    for dataset in datasets.values():
        processor.specification.check(dataset.name, analyses[dataset.metadata.analysis])
    source = ProcessorSource.of(processor)
    Path(config.output).mkdir(parents=True, exist_ok=True)
    with make_executor(config.executor, config.workers, config.scheduler) as executor:
        plan = make_plan(config, datasets, source, executor, console)
        report.print_warnings(console, plan.warnings)
        job = Job.of(source, datasets)
        if config.on_error == "stop" and plan.failures:
            raise DatasetError(f"{ending.where_of(plan.failures[0])}: {plan.failures[0].reason}")
        try:
            total = process(config, job, plan, executor, console)
        except RunStopped as stop:
            raise DatasetError(f"{ending.where_of(stop.args[0])}: {stop.args[0].reason}") from None
    ending.print_failures(console, plan, total)
    if total.output is None:
        raise DatasetError(f"{config.fileset}: nothing could be read")
    processor.postprocess(total.output)
    return TrainingData.open(config.output)
