"""One run from validated options to the results directory, and what it tells the user on the way."""

from __future__ import annotations

import platform
import subprocess
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from hhh_coffea import __version__, report, results
from hhh_coffea.cli import EXIT_NOTHING_READ, EXIT_OK, EXIT_SKIPPED
from hhh_coffea.config import RunConfig
from hhh_coffea.engine import Executor, Job, Partial, Plan, RunStopped, inspect_file, plan_chunks, sources_of
from hhh_coffea.executors import dashboard_of, executor, performance_report
from hhh_coffea.fileset import Dataset, load_fileset
from hhh_coffea.histograms import MAIN_HISTOGRAMS
from hhh_coffea.loading import ProcessorSource, load_processor
from hhh_coffea.sculpting_report import print_sculpting
from hhh_coffea.summary import summarise

RECORDED_PACKAGES = (
    "coffea",
    "awkward",
    "uproot",
    "numpy",
    "dask",
    "distributed",
    "hist",
    "boost-histogram",
    "correctionlib",
    "xgboost",
)


def run_job(config: RunConfig) -> int:
    """Plan, process, merge, write, draw; returns the exit code (0 all done, 3 something skipped, 1 nothing read).

    A run that ends early leaves nothing behind in the results directory.
    """
    with results.cleaned_up(Path(config.output)):
        return _run_job(config)


def _run_job(config: RunConfig) -> int:
    console = Console()
    if not console.is_terminal:
        console.width = 120  # logs and pipes: wide enough for the tables
    output = Path(config.output)
    datasets = load_fileset(config.fileset, list(config.datasets) if config.datasets else None)
    processor = load_processor(
        config.processor,
        config.processor_options((output / results.CANDIDATES_IN_PROGRESS).resolve()),
        asked_for=config.model_fields_set,
    )
    source = ProcessorSource.of(processor)
    if not config.dry_run:
        results.prepare(output)
    begin = time.perf_counter()
    with executor(config.executor, config.workers, config.scheduler) as where:
        if (link := dashboard_of(where)) is not None:
            console.print(f"dask dashboard: {link}", soft_wrap=True)
        plan = make_plan(config, datasets, source, where, console)
        if config.dry_run:
            report.print_plan(console, plan, datasets, sources_of(datasets, source, config.max_files))
            return exit_code(plan, None)
        report.print_warnings(console, plan.warnings)
        if config.on_error == "stop" and plan.failures:
            return _stopped(console, plan.failures[0])
        job = Job(source, {name: d.metadata.model_dump(exclude_unset=True) for name, d in datasets.items()})
        try:
            with performance_report(where, output / "dask_report.html" if config.performance_report else None):
                total = process(config, job, plan, where, console)
        except RunStopped as stop:
            return _stopped(console, stop.args[0])
    _check_ledger(plan, total)
    return _finish(config, console, datasets, processor, plan, total, time.perf_counter() - begin)


def _finish(
    config: RunConfig,
    console: Console,
    datasets: dict[str, Dataset],
    processor: Any,
    plan: Plan,
    total: Partial,
    wall: float,
) -> int:
    """Write the results, print and draw them."""
    output = Path(config.output)
    postprocessed = processor.postprocess(total.output) if total.output is not None else None
    histograms, rest = results.split_output(total.output if postprocessed is None else postprocessed)
    is_main = set(MAIN_HISTOGRAMS) <= set(histograms)
    summary = summarise(histograms) if is_main else {}
    cutflow = report.cutflow_table(rest.pop("cutflow", {}), rest.pop("dropped", {}), datasets)
    weight_warnings = report.weight_warnings(cutflow, datasets)
    plan = replace(plan, warnings=(*plan.warnings, *weight_warnings))
    results.write(
        output,
        {
            "histograms.json": results.histogram_file(histograms, datasets),
            "summary.json": {
                "schema_version": results.SCHEMA_VERSION,
                "results": summary,
                "other": rest,
            },
            "cutflow.json": {"schema_version": results.SCHEMA_VERSION, "datasets": cutflow},
            "provenance.json": provenance(config, datasets, plan, total, wall, getattr(processor, "models", {})),
        },
        config.candidates,
    )
    report.print_summary(console, summary, datasets)
    print_sculpting(console, rest.get("sculpting", {}))
    report.print_cutflow(console, cutflow)
    report.print_warnings(console, weight_warnings)
    written = ["histograms.json", "summary.json", "cutflow.json", "provenance.json"]
    if config.candidates:
        written.append("candidates/")
    if config.root:
        from hhh_coffea.root_histograms import write_root

        left_out = write_root(output / "histograms.root", histograms)
        written.append("histograms.root" + (f" (without {', '.join(left_out)}: over two axes)" if left_out else ""))
    if config.plots and histograms and total.chunks:
        from hhh_coffea import figures

        console.print("results are written; drawing the figures")
        try:
            drawn = figures.draw_all(output, overlay_published=config.overlay_published)
        except KeyboardInterrupt:
            written.append(f"plots/ (interrupted: draw them with python -m hhh_coffea.plot {output})")
        else:
            written.append(f"plots/ ({len(drawn)} figures, PNG and PDF)")
    from hhh_coffea.html_report import write_report

    written.append(write_report(output).name)
    report.print_failures(console, plan, total)
    report.print_end(console, plan, total, wall, output, written)
    return exit_code(plan, total)


def make_plan(
    config: RunConfig, datasets: dict[str, Dataset], source: ProcessorSource, where: Executor, console: Console
) -> Plan:
    """Open every file once, wherever the executor runs, and cut it into chunks."""
    files = sources_of(datasets, source, config.max_files)
    found: list[Any] = [None] * len(files)
    with _progress(console) as bar:
        task = bar.add_task("opening files", total=len(files), note="")
        for position, info in where.map(inspect_file, files):
            if isinstance(info, BaseException):
                raise info
            found[position] = info
            bar.advance(task)
    return plan_chunks(found, config.chunksize, config.max_chunks)


def process(config: RunConfig, job: Job, plan: Plan, where: Executor, console: Console) -> Partial:
    """Run all chunks with a progress bar over events."""
    failed = 0
    with _progress(console) as bar:
        task = bar.add_task("processing events", total=plan.events, note="")

        def on_progress(partial: Partial) -> None:
            nonlocal failed
            lost = sum(failure.events or 0 for failure in partial.failures)
            failed += len(partial.failures)
            bar.update(task, advance=partial.events + lost, note=f"[red]{failed} chunks failed" if failed else "")
            if partial.failures and config.on_error == "stop":
                raise RunStopped(partial.failures[0])

        return where.reduce(job, plan.chunks, on_progress)


def exit_code(plan: Plan, total: Partial | None) -> int:
    """0 everything was processed, 3 something was skipped, 1 nothing could be read."""
    failures = len(plan.failures) + (len(total.failures) if total else 0)
    read_something = bool(plan.files) if total is None or not plan.chunks else total.chunks > 0
    if not read_something:
        return EXIT_NOTHING_READ
    return EXIT_SKIPPED if failures else EXIT_OK


def provenance(
    config: RunConfig,
    datasets: dict[str, Dataset],
    plan: Plan,
    total: Partial,
    wall: float,
    models: dict[str, dict[str, Any]],
) -> dict[str, Any]:
    """Where the numbers come from, and the ledger of every chunk."""
    failures = [*plan.failures, *total.failures]
    lost = sum(failure.events or 0 for failure in total.failures)
    return {
        "schema_version": results.SCHEMA_VERSION,
        "package": {"version": __version__, "git_commit": _git_commit()},
        "python": platform.python_version(),
        "packages": {name: version(name) for name in RECORDED_PACKAGES},
        "config": config.model_dump(mode="json"),
        "models": models,
        "datasets": {name: d.metadata.model_dump(mode="json") for name, d in datasets.items()},
        "files": [
            {"dataset": f.source.dataset, "file": f.source.path, "uuid": f.uuid, "events": f.entries}
            for f in plan.files
        ],
        "ledger": {
            "files": {
                "planned": len(plan.files) + len(plan.failures),
                "readable": len(plan.files),
                "failed": len(plan.failures),
            },
            "chunks": {"planned": len(plan.chunks), "processed": total.chunks, "failed": len(total.failures)},
            "events": {"planned": plan.events, "processed": total.events, "failed": lost},
        },
        "failures": [
            {
                "dataset": f.dataset,
                "file": f.file,
                "start": f.start,
                "stop": f.stop,
                "events": f.events,
                "reason": f.reason,
            }
            for f in failures
        ],
        "warnings": list(plan.warnings),
        "timing": {
            "wall_seconds": round(wall, 3),
            "worker_seconds": round(total.seconds, 3),
            "events_per_second": round(total.events / wall, 1),
        },
    }


def _check_ledger(plan: Plan, total: Partial) -> None:
    lost = sum(failure.events or 0 for failure in total.failures)
    if (len(plan.chunks), plan.events) != (total.chunks + len(total.failures), total.events + lost):
        raise RuntimeError(  # a fault of ours: better no result than a silently incomplete one
            f"the ledger does not close: planned {len(plan.chunks)} chunks with {plan.events} events, "
            f"processed {total.chunks} with {total.events}, failed {len(total.failures)} with {lost}"
        )


def _stopped(console: Console, failure: Any) -> int:
    report.print_stop(console, failure)
    return EXIT_NOTHING_READ


def _progress(console: Console) -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
    )


def _git_commit() -> str | None:
    """Commit of the checkout the package runs from; None when it is installed."""
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return None
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40"],
            cwd=root,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()
