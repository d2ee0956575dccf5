"""``train pdnn``: a fileset of signal with truth → a model of the method ``pdnn``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coffea.processor import ProcessorABC, column_accumulator
from rich.console import Console

from hhh_coffea import __version__
from hhh_coffea.analyses import Analyses, analysis_of, load_analyses
from hhh_coffea.base.terminal import say
from hhh_coffea.config import RunConfig
from hhh_coffea.datasets.fileset import Dataset, load_fileset
from hhh_coffea.engine.chunks import Job, Plan, RunStopped
from hhh_coffea.engine.executors import make_executor
from hhh_coffea.engine.processors import ProcessorSource
from hhh_coffea.events.formats import branches_of, metadata_of
from hhh_coffea.jobs.main import process
from hhh_coffea.jobs.planning import make_plan
from hhh_coffea.jobs.progress import progress_bar
from hhh_coffea.methods.pdnn.model import save_model
from hhh_coffea.methods.pdnn.network import PermutationNetwork
from hhh_coffea.methods.spanet_model import device_of
from hhh_coffea.reconstruction.analysis import Analysis
from hhh_coffea.reconstruction.prepare import prepare
from hhh_coffea.results.console.ending import print_failures, where_of
from hhh_coffea.results.console.tables import print_warnings
from hhh_coffea.spanet.training.state import Progress
from hhh_coffea.training import pdnn_card
from hhh_coffea.training import pdnn_train as training
from hhh_coffea.training.pdnn_data import Columns, TrainingDataError, check, ordered, training_columns
from hhh_coffea.training.pdnn_options import PdnnTraining


class PermutationDataProcessor(ProcessorABC):  # type: ignore[misc]  # coffea publishes no types
    """Columns of :func:`hhh_coffea.training.pdnn_data.training_columns` of the full events of each chunk."""

    def __init__(self, max_jets: int, analyses: Analyses) -> None:
        self.max_jets, self.analyses = max_jets, dict(analyses)

    def branches(self, metadata: Any) -> list[str]:
        """Branches read from files of a dataset."""
        return branches_of(metadata, collections=analysis_of(metadata, self.analyses).collections)

    def process(self, events: Any) -> dict[str, Any]:
        """Select, match, and keep what the network sees of full events."""
        metadata = metadata_of(events)
        analysis = analysis_of(metadata, self.analyses)
        (definition,) = analysis.asked_for(["default"])
        prepared = prepare(events, metadata, analysis, (definition,))
        columns = training_columns(
            prepared.record, prepared.targets[definition], analysis, self.max_jets, events.metadata["fileuuid"]
        )
        return {
            "events": len(prepared.record),
            "columns": {name: column_accumulator(values) for name, values in columns.items()},
        }

    def postprocess(self, accumulator: dict[str, Any]) -> dict[str, Any]:
        """Nothing to do once all chunks are in."""
        return accumulator


@dataclass(frozen=True)
class Data:
    """What a training reads: the columns of full events, how many were selected, and where they come from."""

    columns: Columns
    selected: int
    analysis: Analysis
    formats: tuple[str, ...]
    files: list[str]


def train_pdnn(
    config: RunConfig, settings: PdnnTraining, *, resume: bool = False, stop_after: int | None = None
) -> Progress:
    """Read the events with any executor, train, and write ``config.output`` at each better epoch.

    ``stop_after`` ends after that many epochs of the schedule, as a kill would.

    Raises
    ------
    TrainingDataError
        if a chunk failed and ``config.on_error`` is ``stop``, or if the datasets cannot be trained on.
    TrainingError
        if ``config.output`` holds a training already and ``resume`` is not set, or if there is none to resume that fits.
    """
    console = Console(stderr=True)
    device = device_of(config.device)
    data = read(config, settings, console)
    topology = data.analysis.topology
    trainer = training.prepare(data.columns, topology, settings, device)
    say(
        f"{training.parameters(trainer.model):,} parameters; {len(trainer.train):,} full events for training, "
        f"{len(trainer.validation):,} for validation; on {device}",
        console,
    )
    output = Path(config.output)

    def save(network: PermutationNetwork, progress: Progress) -> None:
        made = {
            "version": __version__,
            "settings": settings.model_dump(),
            "analysis": data.analysis.name,
            "formats": list(data.formats),
            "files": data.files,
            "selected_events": data.selected,
            "training_events": len(trainer.train),
            "validation_events": len(trainer.validation),
            "validation": progress.history[-1],
        }
        card = pdnn_card.text(output.resolve().name, topology, training.parameters(network), made)
        save_model(output, network, topology.text, settings.max_jets, made, card)

    with progress_bar(console) as bar:
        task = bar.add_task("training", total=settings.epochs * trainer.steps_per_epoch, note="")

        def step(epoch: int, done: int, loss: float) -> None:
            bar.update(task, completed=(epoch - 1) * trainer.steps_per_epoch + done, note=f"loss {loss:.4f}")

        identity = training.identity_of(data.columns, topology, settings)
        options: dict[str, Any] = {"resume": resume, "stop_after": stop_after}
        return training.train(
            trainer, output, identity, save, say=lambda line: say(line, console), step=step, **options
        )


def read(config: RunConfig, settings: PdnnTraining, console: Console) -> Data:
    """The full events of a fileset."""
    datasets = load_fileset(config.fileset, list(config.datasets) if config.datasets else None)
    analyses = load_analyses(datasets)
    analysis = _one_analysis(datasets, analyses)
    source = ProcessorSource.of(PermutationDataProcessor(settings.max_jets, analyses))
    with make_executor(config.executor, config.workers, config.scheduler) as executor:
        plan = make_plan(config, datasets, source, executor, console)
        print_warnings(console, plan.warnings)
        if config.on_error == "stop" and plan.failures:
            raise TrainingDataError(f"{where_of(plan.failures[0])}: {plan.failures[0].reason}")
        try:
            total = process(config, Job.of(source, datasets), plan, executor, console)
        except RunStopped as stop:
            raise TrainingDataError(f"{where_of(stop.args[0])}: {stop.args[0].reason}") from None
    print_failures(console, plan, total)
    if total.output is None:
        raise TrainingDataError(f"{config.fileset}: nothing could be read")
    columns = ordered({name: column.value for name, column in total.output["columns"].items()})
    formats = tuple(sorted({dataset.metadata.format for dataset in datasets.values()}))
    return Data(columns, total.output["events"], analysis, formats, _file_names(plan))


def _one_analysis(datasets: dict[str, Dataset], analyses: Analyses) -> Analysis:
    found: dict[str, str] = {}
    for name, dataset in datasets.items():
        analysis = analysis_of(dataset.metadata, analyses)
        check(name, analysis, dataset.metadata.is_signal)
        found.setdefault(analysis.name, name)
    if len(found) > 1:
        (first, a), (second, b) = list(found.items())[:2]
        raise TrainingDataError(
            f"dataset {a!r} is of analysis {first!r}, dataset {b!r} of {second!r}: a network is trained for one analysis; "
            "choose with --datasets"
        )
    return analysis_of(next(iter(datasets.values())).metadata, analyses)


def _file_names(plan: Plan) -> list[str]:
    return sorted(Path(file.source.path).name for file in plan.files)
