"""One fit from validated options to its folder: templates, model, results of every method, figures and a table."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.progress import Progress

from hhh_coffea.base.errors import UserError
from hhh_coffea.base.terminal import plural, say
from hhh_coffea.cli import EXIT_OK
from hhh_coffea.inference.datacards import CARD, SHAPES, write_datacard
from hhh_coffea.inference.fit import FitResult, fit
from hhh_coffea.inference.model import write_workspace
from hhh_coffea.inference.table import couplings_table, fit_table, methods_table
from hhh_coffea.jobs.fit.config import FitConfig
from hhh_coffea.jobs.fit.couplings import CouplingScans, points_of, scan
from hhh_coffea.jobs.fit.templates import (
    FitError,
    Inputs,
    methods_of,
    observable_in_words,
    read_inputs,
    simulation_note,
    templates_of,
)
from hhh_coffea.jobs.progress import drawing, progress_bar
from hhh_coffea.results import directory as results
from hhh_coffea.results.console import tables as report

RESULT, TABLE, WORKSPACE = "fit.json", "table.txt", "workspace.json"
SCHEMA_VERSION = 1
STEPS = 5  # that fit() tells of: significance, limits, best fit, another model, scan
WIDTH = 80  # of the tables


def run_fit(config: FitConfig) -> int:
    """Read, fit every method, write, draw and print; returns the exit code."""
    console = Console()
    begin = time.perf_counter()
    _refuse_others(config.folder)
    inputs = read_inputs(config)
    methods = methods_of(config, inputs)
    found: dict[str, Fitted] = {}
    notes: dict[str, list[str]] = {}  # of which methods each is true
    with progress_bar(console) as bar:
        for method in methods:
            found[method] = _fit(config, inputs, method, bar, notes)
    warnings = [*inputs.warnings, *(f"{', '.join(of)}: {note}" for note, of in notes.items())]
    observable = observable_in_words(config, inputs, methods[0])
    _write(config, inputs, found, warnings, observable)
    headline = _headline(found, observable)
    details = [fit_table(fitted.result, method) for method, fitted in found.items()]
    with (config.folder / TABLE).open("w", encoding="utf-8") as stream:
        Console(file=stream, width=WIDTH).print(Group(*headline, *details))
    console.print(Group(*headline, *(details if config.verbose else [])))
    report.print_warnings(console, warnings)
    written = [RESULT, TABLE, *(f"{folder_of(m)}/ ({WORKSPACE}, {CARD}, {SHAPES})" for m in found)]
    if config.plots:
        with drawing(console, config.folder / "plots"):
            written.append(f"plots/ ({plural(_draw(config, inputs, found), 'figure')}, PNG and PDF)")
    if config.output is None:
        from hhh_coffea.figures.report.html_report import write_report

        write_report(Path(config.results))
    say(f"written to {config.folder.resolve()} in {time.perf_counter() - begin:.1f} s: {', '.join(written)}", console)
    if config.output is None:
        say(f"report: {Path(config.results).resolve() / 'report.html'}", console)
    return EXIT_OK


def folder_of(method: str) -> str:
    """Name of the folder of a method: without characters that are special to a shell or a file system."""
    return "".join(c if c.isalnum() or c in "+-_." else "_" for c in method)


@dataclass(frozen=True)
class Fitted:
    """What was found with one method."""

    result: FitResult
    scans: CouplingScans | None


def _fit(config: FitConfig, inputs: Inputs, method: str, bar: Progress, notes: dict[str, list[str]]) -> Fitted:
    task = bar.add_task(f"fitting {method}", total=STEPS, note="")

    def on_step(name: str) -> None:
        bar.update(task, advance=0 if name == "significance" else 1, note=name)

    try:
        templates, moments, own = templates_of(config, inputs, method)
        result = fit(templates, config.fit_options, on_step)
        bar.update(task, completed=STEPS, note="")
        scans = None
        if config.scan:
            points = bar.add_task(f"couplings, {method}", total=points_of(config), note="")
            scans = scan(config, inputs, method, templates, moments, lambda: bar.advance(points))
    except UserError as error:
        raise FitError(f"method {method!r}: {error}") from error
    if not config.mc_statistics and (note := simulation_note(result.templates, config.background_uncertainty)):
        own = (*own, note)
    for text in dict.fromkeys((*own, *result.warnings, *(scans.warnings if scans else ()))):
        notes.setdefault(text, []).append(method)
    return Fitted(result, scans)


def _refuse_others(folder: Path) -> None:
    """A folder with something else in it than an earlier fit is not deleted."""
    if folder.exists() and not folder.is_dir():
        raise FitError(f"option 'output': {folder} is a file")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / RESULT).is_file():
        raise FitError(f"{folder}: is not empty and contains no earlier fit; choose another --output")


def _write(
    config: FitConfig, inputs: Inputs, found: Mapping[str, Fitted], warnings: list[str], observable: str
) -> None:
    """Replace an earlier fit; ``fit.json`` comes last."""
    folder = config.folder
    if folder.is_dir():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    for method, fitted in found.items():
        (folder / folder_of(method)).mkdir()
        write_workspace(folder / folder_of(method) / WORKSPACE, fitted.result.workspace)
        write_datacard(folder / folder_of(method), fitted.result.workspace, fitted.result.templates)
    results.write_json(
        folder / RESULT,
        {
            "schema_version": SCHEMA_VERSION,
            "options": config.model_dump(mode="json"),
            "observable": inputs.observable,
            "observable_in_words": observable,
            "luminosity": inputs.luminosity,
            "datasets": {name: dict(inputs.datasets[name]) for name in inputs.chosen},
            "scales": {name: inputs.scales[name] for name in inputs.chosen if name in inputs.scales},
            "methods": {
                method: {
                    "folder": folder_of(method),
                    **fitted.result.summary(),
                    "couplings": None if fitted.scans is None else fitted.scans.summary(),
                }
                for method, fitted in found.items()
            },
            "warnings": warnings,
        },
    )


def _headline(found: Mapping[str, Fitted], observable: str) -> list[Any]:
    parts: list[Any] = [methods_table({method: fitted.result for method, fitted in found.items()}, observable)]
    if scans := {method: fitted.scans for method, fitted in found.items() if fitted.scans is not None}:
        parts.append(
            couplings_table(
                {method: s.limits for method, s in scans.items()},
                {method: s.likelihoods for method, s in scans.items()},
            )
        )
    return parts


def _draw(config: FitConfig, inputs: Inputs, found: Mapping[str, Fitted]) -> int:
    from hhh_coffea.figures.looks.labels import labels_of
    from hhh_coffea.figures.looks.style import FORMATS, Writer
    from hhh_coffea.figures.measurement.couplings import (
        draw_contours,
        draw_effective_events,
        draw_likelihood,
        draw_limits,
    )
    from hhh_coffea.figures.measurement.fit import draw_fit, draw_methods

    run = results.read_provenance(Path(config.results))["config"]
    shown = {name: inputs.datasets[name] for name in inputs.chosen if config.unblind or name not in inputs.data}
    options = {**run, "luminosity": inputs.luminosity, **config.labels}
    write = Writer(config.folder / "plots", FORMATS, labels_of(options, shown))
    names = {name: str(info["label"]) for name, info in inputs.datasets.items()}
    if len(found) > 1:
        draw_methods(write, "methods", {method: fitted.result for method, fitted in found.items()})
    for method, fitted in found.items():
        draw_fit(write, fitted.result, folder_of(method), names, method)
    scans = {method: fitted.scans for method, fitted in found.items() if fitted.scans is not None}
    for name in config.scan:
        limits = {method: s.limits[name] for method, s in scans.items()}
        draw_limits(write, f"limits_{name}", limits)
        draw_effective_events(write, f"effective_events_{name}", limits)
        draw_likelihood(write, f"likelihood_{name}", {method: s.likelihoods[name] for method, s in scans.items()})
    if planes := {method: s.plane for method, s in scans.items() if s.plane is not None}:
        draw_contours(write, "contours", planes)
    return len(write.written)
