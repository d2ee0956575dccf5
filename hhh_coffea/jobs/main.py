"""One run from validated options to the results directory, and what it tells the user on the way."""

from __future__ import annotations

import time
from collections.abc import Collection
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from hhh_coffea.analyses import Analyses, load_analyses
from hhh_coffea.base.errors import UserError
from hhh_coffea.base.terminal import plural, say
from hhh_coffea.cli import EXIT_NOTHING_READ, EXIT_OK, EXIT_SKIPPED, EXIT_UNFINISHED
from hhh_coffea.config import RunConfig
from hhh_coffea.datasets.fileset import Dataset, load_fileset
from hhh_coffea.engine import store as resume
from hhh_coffea.engine.chunks import (
    Executor,
    Job,
    Partial,
    Plan,
    RunStopped,
    sources_of,
)
from hhh_coffea.engine.dask_cluster import ExecutorError
from hhh_coffea.engine.dask_executor import DaskExecutor
from hhh_coffea.engine.dask_futures import ClusterLostError
from hhh_coffea.engine.executors import dashboard_of, make_executor, performance_report
from hhh_coffea.engine.processors import ProcessorSource, load_processor
from hhh_coffea.jobs import dry_run
from hhh_coffea.jobs.generator_check import empty_signals
from hhh_coffea.jobs.planning import make_plan
from hhh_coffea.jobs.progress import drawing, progress_bar
from hhh_coffea.jobs.provenance import foreign_models, provenance, user_files
from hhh_coffea.reconstruction.couplings import check_couplings
from hhh_coffea.results import directory as results
from hhh_coffea.results.assignment_efficiency import ASSIGNMENTS, published_rows, tables
from hhh_coffea.results.bdt_scan import SCAN
from hhh_coffea.results.console import ending
from hhh_coffea.results.console import tables as report
from hhh_coffea.results.console.assignments import print_assignments
from hhh_coffea.results.console.headline import print_headline
from hhh_coffea.results.console.regions import print_regions
from hhh_coffea.results.console.sculpting import print_sculpting
from hhh_coffea.results.event_observables import EVENTS, empty_regions
from hhh_coffea.results.expected_events import SUMS, check_rates, sums_of_weights
from hhh_coffea.results.headline import headline_tables
from hhh_coffea.results.histograms import MAIN_HISTOGRAMS, canonical, usual
from hhh_coffea.results.parameters import along_parameters
from hhh_coffea.results.quantities import check_together
from hhh_coffea.results.sculpting_spectra import SPECTRA
from hhh_coffea.results.skims import size_of, write_fileset
from hhh_coffea.results.special_tables import special_tables
from hhh_coffea.results.summary import summarise
from hhh_coffea.results.systematics import not_varied


def run_job(config: RunConfig) -> int:
    """Plan, process, merge, write, draw; returns the exit code (0 all done, 3 something skipped, 1 nothing read).

    A run that ends early leaves nothing behind in the results directory; a dry run does not touch it.
    """
    console = Console()
    output = Path(config.output)
    datasets = load_fileset(config.fileset, list(config.datasets) if config.datasets else None)
    analyses = load_analyses(datasets)
    config.check_methods(analyses.values())
    config.check_formats({dataset.metadata.format for dataset in datasets.values()})
    if config.processor in ("assignment", "systematics"):
        check_together(analyses.values())
    if config.luminosity is not None:
        check_rates(datasets)
    notes = [
        n
        for name, d in datasets.items()
        for n in check_couplings(name, d.metadata, analyses[d.metadata.analysis].couplings)
    ]
    report.print_warnings(console, notes)
    if config.overlay_published:
        _check_overlay(config, analyses)
    _refuse_own_input(output, datasets)
    in_progress = (output / resume.FOLDER).resolve()
    processor = load_processor(
        config.processor,
        {**config.processor_options(in_progress), "analyses": analyses},
        asked_for={*config.model_fields_set, *config.options},
    )
    overwritten = None if config.overwrite else datasets
    try:
        with nullcontext() if config.dry_run else results.owned(output, overwritten):
            if not config.dry_run and not config.overwrite:
                made = (*config.parts, *(["plots"] if config.plots else []))
                report.print_warnings(console, results.deleted(output, config.methods, made))
            return _run_job(config, console, datasets, analyses, processor)
    except results.WritingError as error:
        return _unfinished(console, error)


def _refuse_own_input(output: Path, datasets: dict[str, Dataset]) -> None:
    """A run replaces what is in its results directory: a skim there must not be what it reads."""
    for dataset in datasets.values():
        for file in dataset.files:
            if "://" not in file and Path(file).is_relative_to(output.resolve()):
                raise UserError(
                    f"option 'output': this run would replace {output}, and dataset {dataset.name!r} is read from there; choose "
                    "another --output"
                )


def _check_overlay(config: RunConfig, analyses: Analyses) -> None:
    """Refuse to overlay what nothing of the run would show; published rows of assignments need no figures."""
    if any(analysis.published_assignments for analysis in analyses.values()):
        return
    if not config.plots:
        raise UserError("option 'overlay_published': it needs figures, and they are switched off")
    if config.definitions == "default":
        raise UserError(
            "option 'overlay_published': it draws over the published definitions, and needs --definitions reference or both"
        )


def _run_job(
    config: RunConfig, console: Console, datasets: dict[str, Dataset], analyses: Analyses, processor: Any
) -> int:
    output = Path(config.output)
    source = ProcessorSource.of(processor)
    store = None
    if not config.dry_run:
        store, notes = resume.store_for(output, processor, config.processor_options(output), config.resume)
        report.print_warnings(console, notes)
    begin = time.perf_counter()
    with make_executor(config.executor, config.workers, config.scheduler, config.cluster_options) as executor:
        if (link := dashboard_of(executor)) is not None:
            say(f"dask dashboard: {link}", console)
        if isinstance(executor, DaskExecutor):
            if config.parts and not config.dry_run and not executor.sees(output / resume.FOLDER):
                raise ExecutorError(
                    f"option {config.parts[0]!r}: the workers do not see {output}: it must be on shared storage"
                )
            if getattr(processor, "wants_gpu", False):
                report.print_warnings(console, executor.gpu_warnings(config.device))
        known = resume.KnownFiles(output if store is not None else None)
        plan = make_plan(config, datasets, source, executor, console, known)
        if config.dry_run:
            there = dry_run.branches_there(plan.files)
            sources = sources_of(datasets, source, config.max_files)
            report.print_plan(console, plan, datasets, analyses, sources, there)
            report.print_warnings(console, lost := dry_run.missing_cuts(datasets, there))
            lost += [name for info in plan.files for name in info.missing]
            return exit_code(plan, None) or (EXIT_SKIPPED if lost else EXIT_OK)
        report.print_warnings(console, plan.warnings)
        if config.on_error == "stop" and plan.failures:
            return _stopped(console, plan.failures[0])
        wants_gpu = getattr(processor, "wants_gpu", False)
        job = Job.of(source, datasets, store=store, timeout=config.chunk_timeout, wants_gpu=wants_gpu)
        try:
            with performance_report(executor, output / "dask_report.html" if config.performance_report else None):
                total = process(config, job, plan, executor, console)
        except RunStopped as stop:
            if stop.args[0].no_room:
                return _unfinished(console, results.WritingError(f"results of a chunk: {stop.args[0].reason}"))
            return _stopped(console, stop.args[0])
        except ClusterLostError as error:
            return _unfinished(console, error)
    _check_ledger(plan, total)
    wall = time.perf_counter() - begin
    return _finish(config, console, datasets, analyses, processor, plan, total, wall, keeps=store is not None)


def _finish(
    config: RunConfig,
    console: Console,
    datasets: dict[str, Dataset],
    analyses: Analyses,
    processor: Any,
    plan: Plan,
    total: Partial,
    wall: float,
    keeps: bool,
) -> int:
    """Write the results, print and draw them."""
    output = Path(config.output)
    if exit_code(plan, total) == EXIT_NOTHING_READ and results.of_events(output):
        ending.print_failures(console, plan, total)
        report.print_warnings(console, [f"nothing was read: the earlier results in {output} are kept as they were"])
        return EXIT_NOTHING_READ
    lost = {(f.dataset, f.file, f.start) for f in total.failures}
    finished = [c for c in plan.chunks if (c.dataset, c.path, c.start) not in lost]
    resume.drop_strays(output, finished)
    postprocessed = processor.postprocess(total.output) if total.output is not None else None
    asked = results.asked_for(config.methods)
    histograms, rest = _in_order(total.output if postprocessed is None else postprocessed, asked)
    nominal = usual(histograms)
    of_dataset = {name: analyses[d.metadata.analysis] for name, d in datasets.items()}
    categories = {
        name: {d: list(a.categories_of(d)) for d in a.asked_for(config.every_definition)}
        for name, a in of_dataset.items()
    }
    summary = (
        summarise(nominal, categories, rest.pop("event_sums", None), asked)
        if set(MAIN_HISTOGRAMS) <= set(histograms)
        else {}
    )
    content = results.histogram_file(histograms, datasets, analyses)
    table_1 = tables(nominal[ASSIGNMENTS], content["datasets"]) if ASSIGNMENTS in histograms else {}
    published = published_rows(table_1, of_dataset)
    cutflow = _cutflow(rest, datasets, config.luminosity)
    weight_warnings = report.weight_warnings(cutflow, datasets, config.luminosity)
    empty, wrong_number = empty_signals(cutflow, datasets, of_dataset, plan)
    regions = {name: {**a.regions, **config.regions} for name, a in of_dataset.items()}
    empty = [
        *ending.unread(plan, total, finished),
        *empty,
        *empty_regions(nominal, regions),
        *foreign_models(datasets, processor),
    ]
    sums = sums_of_weights(cutflow, datasets)
    used = {**getattr(processor, "models", {}), **user_files(analyses)}
    try:
        if config.skim:
            empty = [*empty, *write_fileset(output / resume.FOLDER / resume.SKIM, datasets, finished, sums)]
        plan = replace(plan, warnings=(*plan.warnings, *weight_warnings, *empty))
        results.write(
            output,
            {
                "histograms.json": content,
                "summary.json": {
                    "schema_version": results.SCHEMA_VERSION,
                    "results": summary,
                    "assignments": table_1,
                    "parameters": along_parameters(content["datasets"], table_1, summary),
                    **({"published_assignments": published} if published else {}),
                    "other": rest,
                },
                "cutflow.json": {"schema_version": results.SCHEMA_VERSION, "datasets": cutflow},
                "provenance.json": {
                    **provenance(config, datasets, plan, total, wall, used),
                    SUMS: sums,
                },
            },
            config.parts,
        )
    except OSError as error:
        return _unfinished(console, error)
    if not keeps or not total.chunks or not (plan.failures or total.failures):
        resume.clear(output)  # else what was set aside may be tried again, and the rest comes from the store
    shown = published if config.overlay_published else None
    _print_results(config, console, datasets, summary, table_1, content["datasets"], shown, cutflow)
    _print_special(config, console, rest, histograms)
    if any(regions.values()) and EVENTS in histograms:
        print_regions(console, cutflow, config.verbose)
    report.print_warnings(console, [*weight_warnings, *empty, *not_varied(histograms)])
    written = ["histograms.json", "summary.json", "cutflow.json", "provenance.json"]
    written += [size_of(output / part) for part in config.parts]
    written += _extras(config, console, histograms, bool(total.chunks))
    from hhh_coffea.figures.report.html_report import write_report

    written.append(write_report(output).name)
    ending.print_failures(console, plan, total)
    report.print_warnings(console, resume.unkept(total.unkept))
    if total.resumed:
        say(f"an earlier run had finished {total.resumed} of {plural(total.chunks, 'chunk')}", console)
    ending.print_end(console, plan, total, wall, output, written)
    return exit_code(plan, total) or (EXIT_SKIPPED if wrong_number else EXIT_OK)


def _in_order(output: Any, methods: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Histograms and all else that a processor returned; methods in the order of ``--methods``."""
    histograms, rest = results.split_output(output)
    return {name: canonical(histogram, methods) for name, histogram in histograms.items()}, rest


def _print_results(
    config: RunConfig,
    console: Console,
    datasets: dict[str, Dataset],
    summary: dict[str, Any],
    table_1: dict[str, Any],
    described: dict[str, Any],
    published: dict[str, Any] | None,
    cutflow: dict[str, Any],
) -> None:
    """The headline, or every table with ``--verbose``."""
    if not config.verbose:
        print_headline(console, headline_tables(summary, table_1, described))
    if config.verbose or published is not None:
        print_assignments(console, table_1, described, published)
    if config.verbose:
        report.print_summary(console, summary, datasets)
        report.print_cutflow(console, cutflow)


def _print_special(config: RunConfig, console: Console, rest: dict[str, Any], histograms: Collection[str]) -> None:
    """What the processors ``bdt_scan`` and ``sculpting`` measured."""
    if SCAN in histograms:
        print_headline(console, special_tables(rest, [SCAN], config.verbose))
    if SPECTRA in histograms:
        print_sculpting(console, rest.get("sculpting", {}), config.verbose)


def _cutflow(rest: dict[str, Any], datasets: dict[str, Dataset], luminosity: float | None) -> dict[str, Any]:
    """Contents of ``cutflow.json``; what they are made of is taken out of the ``rest`` of a processor's output."""
    has_cutflow = report.is_cutflow(rest.get("cutflow"), rest.get("dropped", {}), datasets)
    cuts, dropped, regions = (rest.pop(name, {}) if has_cutflow else {} for name in ("cutflow", "dropped", "regions"))
    return report.cutflow_table(cuts, dropped, datasets, luminosity, regions)


def _extras(config: RunConfig, console: Console, histograms: dict[str, Any], any_read: bool) -> list[str]:
    """Write what is made of the results: ROOT histograms and figures; returns what was written."""
    output = Path(config.output)
    written = []
    if config.root:
        from hhh_coffea.results.root_histograms import write_root

        left_out = write_root(output / "histograms.root", histograms)
        written.append(
            "histograms.root"
            + (f" (without {', '.join(left_out)}: ROOT histograms have one or two axes of numbers)" if left_out else "")
        )
    if config.plots and histograms and any_read:
        from hhh_coffea.figures import results_figures as figures

        say("results are written; drawing the figures", console)
        try:
            with drawing(console, output / "plots"):
                drawn = figures.draw_all(output, overlay_published=config.overlay_published)
        except KeyboardInterrupt:
            written.append(f"plots/ (interrupted: draw them with hhh plot {output})")
        else:
            if drawn:
                written.append(f"plots/ ({plural(len(drawn), 'figure')}, PNG and PDF)")
    return written


def process(config: RunConfig, job: Job, plan: Plan, executor: Executor, console: Console) -> Partial:
    """Run all chunks with a progress bar over events."""
    failed = 0
    with progress_bar(console) as bar:
        task = bar.add_task("processing events", total=plan.events, note="", visible=bool(plan.events))

        def on_progress(partial: Partial) -> None:
            nonlocal failed
            lost = sum(failure.events or 0 for failure in partial.failures)
            failed += len(partial.failures)
            bar.update(
                task,
                advance=partial.events + lost,
                note=f"[red]{plural(failed, 'chunk')} failed" if failed else "",
            )
            for failure in partial.failures:
                # the chunks that follow would be lost too, and earlier results be replaced by next to nothing
                if config.on_error == "stop" or failure.no_room:
                    raise RunStopped(failure)

        return executor.reduce(job, plan.chunks, on_progress)


def exit_code(plan: Plan, total: Partial | None) -> int:
    """0 everything was processed, 3 something was skipped, 1 nothing could be read."""
    failures = len(plan.failures) + (len(total.failures) if total else 0)
    read_something = bool(plan.files) if total is None or not plan.chunks else total.chunks > 0
    if not read_something:
        return EXIT_NOTHING_READ
    return EXIT_SKIPPED if failures else EXIT_OK


def _check_ledger(plan: Plan, total: Partial) -> None:
    lost = sum(failure.events or 0 for failure in total.failures)
    if (len(plan.chunks), plan.events) != (total.chunks + len(total.failures), total.events + lost):
        raise RuntimeError(  # a fault of ours: better no result than a silently incomplete one
            f"the ledger does not close: planned {len(plan.chunks)} chunks with {plan.events} events, "
            f"processed {total.chunks} with {total.events}, failed {len(total.failures)} with {lost}"
        )


def _unfinished(console: Console, error: Exception) -> int:
    say(f"{error}; finished chunks are kept; repeat the command to continue", console, "not finished:", "red")
    return EXIT_UNFINISHED


def _stopped(console: Console, failure: Any) -> int:
    ending.print_stop(console, failure)
    return EXIT_NOTHING_READ
