"""``train btag-efficiencies``: a fileset of simulated NanoAOD → the map of b-tag efficiencies that its corrections need."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from coffea.processor import ProcessorABC
from hist import Hist
from rich.console import Console

from hhh_coffea.analyses import Analyses, analysis_of, load_analyses
from hhh_coffea.base.atomic import replacing
from hhh_coffea.base.terminal import say
from hhh_coffea.config import RunConfig
from hhh_coffea.datasets.fileset import Dataset, load_fileset
from hhh_coffea.datasets.normalisation import event_scales
from hhh_coffea.engine.chunks import Job, RunStopped
from hhh_coffea.engine.executors import make_executor
from hhh_coffea.engine.processors import ProcessorSource
from hhh_coffea.events.formats import branches_of, metadata_of, read
from hhh_coffea.events.nanoaod.btag_efficiencies import (
    ABS_ETA,
    FLAVORS,
    NAME,
    PT,
    EfficiencyError,
    book,
    correction_file,
    cuts_of,
    efficiencies,
    fill,
)
from hhh_coffea.events.nanoaod.names import resolve
from hhh_coffea.events.nanoaod.reader import options_of
from hhh_coffea.events.record import cuts_of as event_cuts_of
from hhh_coffea.jobs.main import process
from hhh_coffea.jobs.planning import make_plan
from hhh_coffea.results.console.ending import print_failures, where_of
from hhh_coffea.results.console.layout import show, table_of
from hhh_coffea.results.console.tables import print_warnings

MIN_JETS = 20.0


class BTagEfficiencyProcessor(ProcessorABC):  # type: ignore[misc]  # coffea publishes no types
    """Jets of events that pass the cuts of the metadata (trigger, filters, vetoes), before any cut of the analysis."""

    def __init__(
        self, pt: tuple[float, ...] = PT, abs_eta: tuple[float, ...] = ABS_ETA, analyses: Analyses | None = None
    ):
        self.pt, self.abs_eta, self.analyses = pt, abs_eta, dict(analyses or {})

    def collections(self, metadata: Any) -> tuple[str, ...]:
        """Leptons, where the analysis reads them: jets near to one are not in the record."""
        return tuple(n for n in analysis_of(metadata, self.analyses).collections if n == "leptons")

    def branches(self, metadata: Any) -> list[str]:
        """Branches read from files of a dataset."""
        return branches_of(metadata, (), self.collections(metadata))

    def process(self, events: Any) -> dict[str, Any]:
        """Count jets."""
        dataset, metadata = events.metadata["dataset"], metadata_of(events)
        record = read(events, metadata, (), collections=self.collections(metadata)).record
        names = resolve(events, options_of(metadata))
        weight = np.asarray(record.weight, dtype=np.float64)
        total = float(weight[np.isfinite(weight)].sum())
        passed = np.logical_and.reduce([np.isfinite(weight), *event_cuts_of(record).values()])
        histogram = book(self.pt, self.abs_eta)
        fill(histogram, dataset, record[passed], cuts_of(names, options_of(metadata)))
        return {"jets": histogram, "sums": {dataset: total}, "read_as": {f"{names.tagger}, {names.year}": {dataset}}}

    def postprocess(self, accumulator: dict[str, Any]) -> dict[str, Any]:
        """Nothing to do once all chunks are in."""
        return accumulator


def make_btag_efficiencies(
    config: RunConfig, pt: tuple[float, ...] = PT, abs_eta: tuple[float, ...] = ABS_ETA, min_jets: float = MIN_JETS
) -> Path:
    """Read the events with any executor and write ``config.output``.

    Several datasets are added up in proportion to their cross sections if all have one, else with their weights as they are.

    Raises
    ------
    UserError
        if a chunk failed and ``config.on_error`` is ``stop``, if datasets are data, not NanoAOD or of different taggers, or if a
        flavour has too few jets.
    """
    console = Console(stderr=True)
    datasets = load_fileset(config.fileset, list(config.datasets) if config.datasets else None)
    for name, dataset in datasets.items():
        if dataset.metadata.format != "nanoaod" or dataset.metadata.is_data or dataset.metadata.skim:
            raise EfficiencyError(
                f"dataset {name!r}: b-tag efficiencies are those of simulated NanoAOD; choose with --datasets"
            )
    source = ProcessorSource.of(BTagEfficiencyProcessor(pt, abs_eta, load_analyses(datasets)))
    with make_executor(config.executor, config.workers, config.scheduler) as executor:
        plan = make_plan(config, datasets, source, executor, console)
        print_warnings(console, plan.warnings)
        if config.on_error == "stop" and plan.failures:
            raise EfficiencyError(f"{where_of(plan.failures[0])}: {plan.failures[0].reason}")
        try:
            total = process(config, Job.of(source, datasets), plan, executor, console)
        except RunStopped as stop:
            raise EfficiencyError(f"{where_of(stop.args[0])}: {stop.args[0].reason}") from None
    print_failures(console, plan, total)
    if total.output is None:
        raise EfficiencyError(f"{config.fileset}: nothing could be read")
    read_as = total.output["read_as"]
    if len(read_as) > 1:
        which = "; ".join(f"{', '.join(sorted(names))}: {how}" for how, names in sorted(read_as.items()))
        raise EfficiencyError(f"the datasets are tagged in different ways: make a map of each ({which})")
    jets, note = _added(total.output["jets"], datasets, total.output["sums"])
    found = efficiencies(jets, min_jets)
    described = f"{next(iter(read_as)).removeprefix('Jet_btag')}; {', '.join(datasets)}; {note}"
    output = Path(config.output)
    with replacing(output) as partial:
        partial.write_text(
            correction_file(found, jets, f"b-tag efficiencies in simulation: {described}"), encoding="utf-8"
        )
    _print(console, found, described, min_jets)
    return output


def _added(jets: Hist, datasets: dict[str, Dataset], sums: dict[str, float]) -> tuple[Hist, str]:
    """The datasets together, and in words how."""
    rates = {name: d.metadata.normalisation for name, d in datasets.items()}
    given = {name: rate for name, rate in rates.items() if rate is not None}
    by_rate = len(rates) > 1 and len(given) == len(rates)
    generated = {name: datasets[name].metadata.sum_of_weights or total for name, total in sums.items()}
    scales = event_scales(given, generated, 1.0) if by_rate else dict.fromkeys(sums, 1.0)
    total: Any = 0
    for name in jets.axes["dataset"]:
        total = total + jets[{"dataset": name}] * scales[name]
    if len(rates) == 1:
        return total, "one dataset"
    return total, "in proportion to their cross sections" if by_rate else "with their weights as they are"


def _print(console: Console, found: Any, described: str, min_jets: float) -> None:
    numbers = ("effective", "tagged %", "bins", "of wider bins")
    table = table_of(f"b-tag efficiencies: {described}", ("working point", "jets"), numbers)
    for (point, flavor), one in found.items():
        table.add_row(
            point, FLAVORS[flavor], f"{one.jets:,.0f}", f"{100 * one.mean:.2f}", str(one.value.size), str(one.filled_in)
        )
    show(console, table)
    if lacking := sum(one.filled_in for one in found.values()):
        whole = sum(one.value.size for one in found.values())
        print_warnings(
            console,
            [
                f"{lacking} of {whole} bins hold fewer than {min_jets:g} jets and take the mean of a wider one: read more events"
            ],
        )
    say(f'for the metadata: "efficiency_file": …, "efficiency": "{NAME}"', console)
