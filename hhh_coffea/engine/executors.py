"""Where chunks run: in this process, in local processes, or on a dask cluster. All give the same bytes."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from hhh_coffea.engine.chunks import Chunk, Executor, Failure, Job, Partial, run_chunk
from hhh_coffea.engine.dask_cluster import ClusterOptions, joined
from hhh_coffea.engine.dask_executor import DaskExecutor
from hhh_coffea.engine.merging import MergeTree

Progress = Callable[[Partial], None]
MAX_DEATHS = 3  # a chunk that was running each of these times a worker died is set aside


class IterativeExecutor:
    """One chunk after the other in this process: for debugging and small jobs."""

    def map(self, function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        """Apply the function in order."""
        for position, item in enumerate(items):
            yield position, function(item)

    def reduce(self, job: Job, chunks: Sequence[Chunk], on_progress: Progress) -> Partial:
        """Run and merge all chunks."""
        tree = MergeTree(len(chunks))
        for position, chunk in enumerate(chunks):
            partial = run_chunk(job, chunk)
            on_progress(partial)
            tree.add(position, partial)
        return tree.result or Partial()


class FuturesExecutor:
    """Local processes, one chunk each at a time. A pool that loses a process is made anew and its chunks run again."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._pool: ProcessPoolExecutor | None = None

    def close(self) -> None:
        """End the processes."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self._pool = None

    def map(self, function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        """Apply the function to every item, a few at a time in flight."""
        waiting = list(range(len(items)))[::-1]
        suspects: list[int] = []  # in flight when a process died: run alone, so that only the culprit is blamed
        deaths: dict[int, int] = {}
        while waiting or suspects:
            queue, in_flight = (suspects, 1) if suspects else (waiting, 2 * self.workers)
            if self._pool is None:
                context = multiprocessing.get_context("spawn")
                self._pool = ProcessPoolExecutor(self.workers, context, initializer=_end_with_parent)
            running: dict[Future[Any], int] = {}
            try:
                while queue or running:
                    while queue and len(running) < in_flight:
                        running[self._pool.submit(function, items[queue[-1]])] = queue[-1]
                        queue.pop()
                    done, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        result = future.result()
                        yield running.pop(future), result
            except BrokenProcessPool as error:
                self.close()
                for position in sorted(running.values(), reverse=True):
                    deaths[position] = deaths.get(position, 0) + 1
                    if deaths[position] >= MAX_DEATHS:
                        yield position, error
                    else:
                        suspects.append(position)

    def reduce(self, job: Job, chunks: Sequence[Chunk], on_progress: Progress) -> Partial:
        """Run all chunks in the pool and merge them here."""
        tree = MergeTree(len(chunks))
        for position, result in self.map(_ChunkRunner(job), chunks):
            partial = _killed(chunks[position]) if isinstance(result, BaseException) else result
            on_progress(partial)
            tree.add(position, partial)
        return tree.result or Partial()


@contextlib.contextmanager
def make_executor(
    kind: str, workers: int | None = None, scheduler: str | None = None, options: ClusterOptions | None = None
) -> Iterator[Executor]:
    """Make an executor and clean up after it.

    ``kind`` is ``iterative``, ``futures`` or ``dask``; ``dask`` joins ``scheduler`` (an address or a scheduler file), or starts a
    local cluster of ``workers`` processes, or has a batch system start one (``options``).

    Raises
    ------
    ExecutorError
        if there is nothing to run on; the message names the option.
    """
    n_workers = workers or os.cpu_count() or 1
    if kind == "iterative":
        yield IterativeExecutor()
    elif kind == "futures":
        with contextlib.closing(FuturesExecutor(n_workers)) as pool:
            yield pool
    elif kind == "dask":
        with joined(n_workers, scheduler, options or ClusterOptions()) as client:
            yield DaskExecutor(client)
    else:
        raise ValueError(f"no executor {kind!r}; there are iterative, futures and dask")


def _end_with_parent() -> None:
    """Make this worker end when the process that started it does, for it would wait for work for ever."""

    def watch() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()


class _ChunkRunner:
    """:func:`run_chunk` of a job, as an object that pickles."""

    def __init__(self, job: Job) -> None:
        self.job = job

    def __call__(self, chunk: Chunk) -> Partial:
        return run_chunk(self.job, chunk)


def _killed(chunk: Chunk) -> Partial:
    reason = f"its worker died each of {MAX_DEATHS} times it was tried"
    return Partial(failures=[Failure(chunk.dataset, chunk.path, reason, chunk.start, chunk.stop)])


def dashboard_of(chosen: Executor) -> str | None:
    """Link of the dask dashboard, where there is one."""
    link: str | None = chosen.client.dashboard_link if isinstance(chosen, DaskExecutor) else None
    return link


@contextlib.contextmanager
def performance_report(chosen: Executor, path: Path | None) -> Iterator[None]:
    """dask's performance report of what runs inside the context, written to ``path``; nothing without a cluster."""
    if path is None or not isinstance(chosen, DaskExecutor):
        yield
        return
    from distributed import performance_report as report

    with chosen.client.as_current(), report(filename=str(path)):
        yield
