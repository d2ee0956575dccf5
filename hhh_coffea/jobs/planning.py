"""Which chunks a run has: files are opened where the executor runs, and only those of which too little is known."""

from __future__ import annotations

from functools import partial
from typing import Any

from rich.console import Console

from hhh_coffea.base.contents import state_of
from hhh_coffea.config import RunConfig
from hhh_coffea.datasets.fileset import Dataset
from hhh_coffea.engine import store as resume
from hhh_coffea.engine.chunks import (
    Executor,
    Failure,
    FileInfo,
    Plan,
    SourceFile,
    died_opening,
    inspect_file,
    plan_chunks,
    sources_of,
)
from hhh_coffea.engine.processors import ProcessorSource
from hhh_coffea.jobs.progress import progress_bar


def make_plan(
    config: RunConfig,
    datasets: dict[str, Dataset],
    source: ProcessorSource,
    executor: Executor,
    console: Console,
    known: resume.KnownFiles | None = None,
) -> Plan:
    """Cut every file into chunks, after opening those that are not ``known`` and of which the fileset states nothing.

    The fileset does not say how large events are. Without a chunk size one file of each dataset is opened for that.
    """
    files = sources_of(datasets, source, config.max_files)
    seen: list[Any] = [None if known is None else known.get(file) for file in files]
    n_known = sum(info is not None for info in seen)
    inspect = partial(inspect_file, timeout=config.chunk_timeout)
    with progress_bar(console) as bar:
        task = bar.add_task("opening files", total=len(files), completed=n_known, note="")

        def look_into(positions: list[int]) -> None:
            for place, info in executor.map(inspect, [files[position] for position in positions]):
                file = files[positions[place]]
                seen[positions[place]] = info if isinstance(info, FileInfo | Failure) else died_opening(file, info)
                bar.advance(task)

        look_into(_to_open(files, seen, samples=config.chunksize is None))
        sizes = {info.source.dataset: info.bytes_per_event for info in seen if isinstance(info, FileInfo)}
        if config.chunksize is not None:
            sizes = dict.fromkeys(datasets, 0.0)
        else:  # once more, for datasets of which the sample was a bad file
            look_into([i for i, info in enumerate(seen) if info is None and files[i].dataset not in sizes])
        bar.update(task, completed=len(files))
    if known is not None and n_known < len(files):
        known.keep(seen)
    found = [
        FileInfo(file, *file.stated, sizes[file.dataset], state=state_of(file.path))
        if info is None and file.stated
        else info
        for file, info in zip(files, seen, strict=True)
    ]
    return plan_chunks(found, config.chunksize, config.max_chunks)


def _to_open(files: list[SourceFile], seen: list[Any], samples: bool) -> list[int]:
    """Positions of the files of which nothing is stated and, with ``samples``, of one of each dataset that has no other."""
    unknown = [position for position, info in enumerate(seen) if info is None]
    needed = [position for position in unknown if files[position].stated is None]
    if samples:
        have = {files[i].dataset for i, info in enumerate(seen) if info is not None or files[i].stated is None}
        first = {files[i].dataset: i for i in reversed(unknown) if files[i].dataset not in have}
        needed += first.values()
    return needed
