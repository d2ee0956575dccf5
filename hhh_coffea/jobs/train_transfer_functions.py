"""``train transfer-functions``: a fileset of semi-leptonic tt̄ → transfer functions, their card and the figure of pulls."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from coffea.processor import ProcessorABC, column_accumulator
from rich.console import Console

from hhh_coffea import __version__
from hhh_coffea.analyses import tops_truth
from hhh_coffea.analyses.tops import semileptonic
from hhh_coffea.base.atomic import replacing
from hhh_coffea.base.kinematics import FloatArray
from hhh_coffea.base.terminal import say
from hhh_coffea.config import RunConfig
from hhh_coffea.datasets.fileset import load_fileset
from hhh_coffea.engine.chunks import Job, RunStopped
from hhh_coffea.engine.executors import make_executor
from hhh_coffea.engine.processors import ProcessorSource
from hhh_coffea.events.formats import branches_of, metadata_of
from hhh_coffea.jobs.main import process
from hhh_coffea.jobs.planning import make_plan
from hhh_coffea.methods.likelihood.transfer_file import FILE_NAME, TransferFunctions
from hhh_coffea.reconstruction.prepare import prepare
from hhh_coffea.results.console.ending import print_failures, where_of
from hhh_coffea.results.console.tables import print_warnings
from hhh_coffea.training import transfer_card
from hhh_coffea.training.transfer_fit import (
    JET_SHAPES,
    Pairs,
    TransferFitError,
    fit_double_gaussians,
    fit_met,
    pulls,
    tagging_rates,
)
from hhh_coffea.training.transfer_pairs import pairs_of

JET_ETA, LEPTON_ETA = (0.0, 0.8, 1.5, 2.0, 2.5), (0.0, 1.5, 2.5)
TAG_PT = (25.0, 30.0, 40.0, 50.0, 70.0, 100.0, 150.0)  # GeV, where the bins start
# of each particle: |η| bins, shapes tried, least σ
FITS = {
    "light": (JET_ETA, JET_SHAPES, 0.005),
    "bottom": (JET_ETA, JET_SHAPES, 0.005),
    "electron": (LEPTON_ETA, JET_SHAPES, 0.001),
    "muon": (LEPTON_ETA, ("pT",), 0.001),
}


class TransferPairsProcessor(ProcessorABC):  # type: ignore[misc]  # coffea publishes no types
    """Rows of :func:`hhh_coffea.training.transfer_pairs.pairs_of` of the selected events of each chunk."""

    def branches(self, metadata: Any) -> list[str]:
        """Branches read from files of a dataset."""
        return branches_of(metadata, collections=semileptonic("ttbar").collections)

    def process(self, events: Any) -> dict[str, Any]:
        """Select, match, pair."""
        prepared = prepare(events, metadata_of(events), semileptonic("ttbar"), ("default",))
        record = prepared.record
        rows = pairs_of(record, tops_truth.truth(record), prepared.targets["default"])
        return {"events": len(record), "rows": {name: column_accumulator(table) for name, table in rows.items()}}

    def postprocess(self, accumulator: dict[str, Any]) -> dict[str, Any]:
        """Nothing to do once all chunks are in."""
        return accumulator


def train_transfer_functions(config: RunConfig) -> TransferFunctions:
    """Read the events with any executor, fit, and write ``config.output``.

    Raises
    ------
    TransferFitError
        if a chunk failed and ``config.on_error`` is ``stop``, if there are too few pairs, or if no shape can be fitted.
    """
    console = Console(stderr=True)
    datasets = load_fileset(config.fileset, list(config.datasets) if config.datasets else None)
    source = ProcessorSource.of(TransferPairsProcessor())
    with make_executor(config.executor, config.workers, config.scheduler) as executor:
        plan = make_plan(config, datasets, source, executor, console)
        print_warnings(console, plan.warnings)
        if config.on_error == "stop" and plan.failures:
            raise TransferFitError(f"{where_of(plan.failures[0])}: {plan.failures[0].reason}")
        try:
            total = process(config, Job.of(source, datasets), plan, executor, console)
        except RunStopped as stop:
            raise TransferFitError(f"{where_of(stop.args[0])}: {stop.args[0].reason}") from None
    print_failures(console, plan, total)
    if total.output is None:
        raise TransferFitError(f"{config.fileset}: nothing could be read")
    rows = {name: table.value for name, table in total.output["rows"].items()}
    names = sorted(Path(file.source.path).name for file in plan.files)
    functions, found = derive(rows, f"semi-leptonic tt̄: {', '.join(names)}", console)

    from hhh_coffea.figures.looks.labels import source_of
    from hhh_coffea.figures.models.transfer_functions import draw_pulls

    output = Path(config.output)
    output.mkdir(parents=True, exist_ok=True)
    card = transfer_card.text(output.resolve().name, functions, names, total.output["events"], __version__)
    for name, content in ((FILE_NAME, functions.model_dump_json(indent=1) + "\n"), ("README.md", card)):
        with replacing(output / name) as partial:
            partial.write_text(content, encoding="utf-8")
    formats = {name: {"format": dataset.metadata.format} for name, dataset in datasets.items()}
    draw_pulls(found, output / "pulls.png", source_of(formats))
    return functions


def derive(
    rows: dict[str, FloatArray], description: str, console: Console
) -> tuple[TransferFunctions, dict[str, FloatArray]]:
    """Transfer functions from the rows of :func:`pairs_of`, and the pulls of each by name."""
    content: dict[str, Any] = {"schema_version": 1, "description": description}
    found: dict[str, FloatArray] = {}
    for particle, (edges, shapes, narrowest) in FITS.items():
        generated, measured, threshold, eta = rows[particle].T
        at = [(np.abs(eta) >= low) & (np.abs(eta) < high) for low, high in pairwise(edges)]
        bins = {
            ends: Pairs(generated[here], measured[here], threshold[here])
            for ends, here in zip(pairwise(edges), at, strict=True)
        }
        try:
            functions = fit_double_gaussians(bins, shapes, narrowest)
        except TransferFitError as error:
            raise TransferFitError(f"{transfer_card.PARTICLES[particle]}, {error}") from None
        for function in functions:
            name = f"{transfer_card.PARTICLES[particle]}, {function.eta[0]:g} ≤ |η| < {function.eta[1]:g}"
            found[name] = pulls(function, bins[function.eta].within(*function.range))
            say(f"{name}: shape {function.shape}, {function.n:,} pairs, χ²/ndf {function.chi2_ndf:.1f}", console)
        content[particle] = [function.model_dump() for function in functions]
    *difference, sum_et = rows["met"].T
    content["met"] = fit_met(np.stack(difference), sum_et).model_dump()
    content["btag"] = tagging_rates(*rows["tag"].T, edges=TAG_PT).model_dump()
    return TransferFunctions.model_validate(content), found
