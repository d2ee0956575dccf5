"""Where chunks run: in this process, in local processes, or on a dask cluster. All give the same bytes."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import socket
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from hhh_coffea.engine import Chunk, Executor, Failure, Job, MergeTree, Partial, merge, run_chunk
from hhh_coffea.errors import UserError

Progress = Callable[[Partial], None]
MAX_DEATHS = 3  # a chunk that was running each of these times a worker died is set aside


class ExecutorError(UserError):
    """There is nothing to run on; the message names the option."""


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
                self._pool = ProcessPoolExecutor(self.workers, mp_context=multiprocessing.get_context("spawn"))
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


class DaskExecutor:
    """A dask.distributed cluster. Chunks and merges run on the workers; the driver holds one small future a chunk in
    flight, and only the final sum travels back. Work of a worker that dies is done again elsewhere by dask itself."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def map(self, function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        """Apply the function to every item on the workers."""

        def start(item: Any, key: str) -> Any:
            return self.client.submit(function, item, key=key, pure=False)

        for position, future, result in self._stream(start, items):
            yield position, result if future.status == "finished" else future.exception()

    def reduce(self, job: Job, chunks: Sequence[Chunk], on_progress: Progress) -> Partial:
        """Run all chunks and merge them in the tree, on the workers."""

        def merge_on_worker(parts: Sequence[Any]) -> Any:
            return self.client.submit(_merge_values, *parts, pure=False, priority=10)

        # the job holds processor and models: sent once, fetched once by each worker, made again if its keeper dies
        shared_job = self.client.submit(_identity, job, pure=False)

        def start(chunk: Chunk, key: str) -> Any:
            return self.client.submit(run_chunk, shared_job, chunk, key=key, pure=False)

        tree = MergeTree(len(chunks), merge_on_worker)
        for position, future, report in self._stream(start, chunks, _without_output):
            if future.status == "finished":
                on_progress(report)
                tree.add(position, future)
            else:
                failed = _killed(chunks[position], future.exception())
                on_progress(failed)
                tree.add(position, self.client.submit(_identity, failed, pure=False))
        return tree.result.result() if tree.result is not None else Partial()

    def _stream(
        self, start: Callable[[Any, str], Any], items: Sequence[Any], view: Callable[[Any], Any] | None = None
    ) -> Iterator[tuple[int, Any, Any]]:
        """(position, future, result) as they come, with a few tasks a thread in flight: no graph of a million tasks.

        ``start(item, key)`` submits one.
        With ``view`` only ``view(result)`` travels to the driver; the result itself stays on its worker.
        """
        from distributed import as_completed

        run = uuid.uuid4().hex[:8]
        finished = as_completed(loop=self.client.loop, with_results=True, raise_errors=False)
        running: dict[Any, tuple[int, Any]] = {}
        position = 0
        while position < len(items) or running:
            in_flight = max(4, 3 * sum(self.client.nthreads().values()))
            while position < len(items) and len(running) < in_flight:
                future = start(items[position], f"hhh-{run}-{position}")
                watched = future if view is None else self.client.submit(view, future, pure=False, priority=10)
                running[watched] = (position, future)
                finished.add(watched)
                position += 1
            watched, result = next(finished)
            yield *running.pop(watched), result


@contextlib.contextmanager
def executor(kind: str, workers: int | None = None, scheduler: str | None = None) -> Iterator[Executor]:
    """Make an executor and clean up after it.

    ``kind`` is ``iterative``, ``futures`` or ``dask``; ``dask`` joins ``scheduler`` (an address) or starts a local cluster
    of ``workers`` processes with its dashboard on localhost only.
    """
    n_workers = workers or os.cpu_count() or 1
    if kind == "iterative":
        yield IterativeExecutor()
    elif kind == "futures":
        with contextlib.closing(FuturesExecutor(n_workers)) as pool:
            yield pool
    elif kind == "dask":
        from distributed import Client, LocalCluster

        if scheduler is not None:
            try:
                client = Client(scheduler, timeout="20s", set_as_default=False)
            except (OSError, TimeoutError, ValueError) as error:
                raise ExecutorError(f"option 'scheduler': cannot join {scheduler!r}: {error}") from error
            with client:
                if not client.nthreads():
                    raise ExecutorError(f"option 'scheduler': {scheduler!r} has no workers")
                yield DaskExecutor(client)
        else:
            cluster = LocalCluster(
                n_workers=n_workers,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                dashboard_address=f"127.0.0.1:{_free_port(8787)}",
            )
            try:
                with Client(cluster, set_as_default=False) as client:
                    yield DaskExecutor(client)
            finally:
                # a worker that is slow to end gets killed, and dask then raises: no reason to lose what was computed
                with contextlib.suppress(TimeoutError):
                    cluster.close()
    else:
        raise ValueError(f"no executor {kind!r}; there are iterative, futures and dask")


class _ChunkRunner:
    """:func:`run_chunk` of a job, as an object that pickles."""

    def __init__(self, job: Job) -> None:
        self.job = job

    def __call__(self, chunk: Chunk) -> Partial:
        return run_chunk(self.job, chunk)


def _merge_values(*parts: Partial) -> Partial:
    return merge(parts)


def _identity(value: Any) -> Any:
    return value


def _without_output(partial: Partial) -> Partial:
    return Partial(None, partial.chunks, partial.events, partial.failures, partial.seconds)


def _killed(chunk: Chunk, error: BaseException | None = None) -> Partial:
    reason = f"its worker died each of {MAX_DEATHS} times it was tried" + (f" ({error})" if error else "")
    return Partial(failures=[Failure(chunk.dataset, chunk.path, reason, chunk.start, chunk.stop)])


def _free_port(wanted: int) -> int:
    """The wanted port if nothing listens there, else 0: any free one."""
    with socket.socket() as probe:
        return 0 if probe.connect_ex(("127.0.0.1", wanted)) == 0 else wanted


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
