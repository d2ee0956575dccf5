"""Chunks and merges on a dask.distributed cluster."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hhh_coffea.engine.chunks import Chunk, Failure, Job, Partial, run_chunk
from hhh_coffea.engine.dask_check import gpu_here
from hhh_coffea.engine.dask_futures import ClusterLostError, Stream
from hhh_coffea.engine.merging import FAN_IN, MergeTree, merge
from hhh_coffea.engine.retry import stuck_threads

BLOCK = FAN_IN**2  # chunks whose sum is made on the workers; the sums of blocks are added up here
BLOCK_ATTEMPTS = 3
CHUNK_STARTS = 10
POISONED = 3  # chunks that kill workers make their file a suspect altogether
IN_FLIGHT = 3  # chunks handed out for each thread
LOOK_SECONDS = 1.0  # so old may the number of threads be


class DaskExecutor:
    """A dask.distributed cluster.

    The driver holds a small future for each chunk in flight and a few sums of :data:`BLOCK` chunks; the scheduler forgets a
    block once its sum is here, so that neither grows with the number of chunks. Work of a worker that dies is done again
    elsewhere by dask itself; what was in flight when workers died again and again is tried once more, alone.
    """

    def __init__(self, client: Any) -> None:
        self.client = client
        self._threads, self._look_at = 0, 0.0

    def map(self, function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        """Apply the function to every item on the workers."""
        run = uuid.uuid4().hex[:8]
        stream, found = Stream(self.client), []  # type: ignore[var-annotated]
        for position, item in enumerate(items):
            while len(stream) >= self._room():
                stream.step()
            yield from found
            found.clear()
            future = self.client.submit(function, item, key=f"map-{run}-{position}", pure=False)
            stream.watch(future, lambda _, result, position=position: found.append((position, result)))  # type: ignore[misc]
        while len(stream):
            stream.step()
            yield from found
            found.clear()

    def reduce(self, job: Job, chunks: Sequence[Chunk], on_progress: Callable[[Partial], None]) -> Partial:
        """Run all chunks and merge them in the tree."""
        return _Reduction(self, job, chunks, on_progress).run()

    def sees(self, folder: Path) -> bool:
        """Whether the workers share the file system of this folder."""
        token = folder / f"seen-{uuid.uuid4().hex[:12]}"
        folder.mkdir(parents=True, exist_ok=True)
        token.touch()
        try:
            answers = self.client.run(_exists, str(token))
        finally:
            token.unlink(missing_ok=True)
        return bool(answers) and all(answers.values())

    def gpu_workers(self) -> list[str]:
        """Addresses of the workers that declare ``resources={"GPU": …}``."""
        workers = self.client.scheduler_info(n_workers=-1)["workers"]
        return sorted(address for address, worker in workers.items() if worker.get("resources", {}).get("GPU"))

    def gpu_warnings(self, device: str) -> list[str]:
        """GPUs that two workers would share, and workers that declare one and have none."""
        declared = self.gpu_workers()
        there = self.client.run(gpu_here, device, workers=declared or None)
        warnings = [
            f"{a} declares a GPU but finds none: its chunks run on the CPU" for a in declared if not there[a][1]
        ]
        owners: dict[tuple[str, str], list[str]] = {}
        for address, (host, gpu) in sorted(there.items()):
            if gpu:
                owners.setdefault((host, gpu), []).append(address)
        for (host, gpu), addresses in owners.items():
            if len(addresses) > 1:
                warnings.append(
                    f"{', '.join(addresses)} share GPU {gpu} of {host}: give each worker its own GPU (CUDA_VISIBLE_DEVICES) "
                    "and declare it (--resources GPU=1)"
                )
        return warnings

    def _room(self, threads: int | None = None) -> int:
        """How many chunks may be handed out at a time, for so many threads or all that the cluster has now."""
        if threads is None and time.monotonic() >= self._look_at:  # a question to the scheduler: not for every chunk
            self._threads, self._look_at = sum(self.client.nthreads().values()), time.monotonic() + LOOK_SECONDS
        return max(4, IN_FLIGHT * (threads or self._threads))


class _Reduction:
    """One pass over all chunks."""

    def __init__(
        self, where: DaskExecutor, job: Job, chunks: Sequence[Chunk], on_progress: Callable[[Partial], None]
    ) -> None:
        self.where, self.client, self.chunks, self.on_progress = where, where.client, chunks, on_progress
        self.store_here = job.store if job.store is not None and not where.sees(_folder_of(job)) else None
        self.job = replace(job, store=None) if self.store_here is not None else job
        self.gpus = len(where.gpu_workers()) if job.wants_gpu else 0
        self._send_job()
        self.stream = Stream(self.client)
        self.run_id = uuid.uuid4().hex[:8]
        self.total = MergeTree(-(-len(chunks) // BLOCK))
        self.blocks: dict[int, MergeTree] = {}
        self.attempts: Counter[int] = Counter()  # of blocks whose sum was lost
        self.starts: Counter[int] = Counter()  # of chunks
        self.reported: set[int] = set()  # positions, of blocks that are made again
        self.suspects: list[int] = []  # in flight when workers died
        self.killers: Counter[str] = Counter()  # chunks among them, by file
        self.again: list[int] = []  # to be started once more

    def _send_job(self) -> None:
        # it holds processor and models: sent once, fetched once by each worker, made again if its keeper dies
        self.remote_job = self.client.submit(_identity, self.job, pure=False)

    def run(self) -> Partial:
        """Hand out chunks, a few for each thread; suspects come last and alone."""
        position = 0
        while position < len(self.chunks) or self.again or len(self.stream):
            room = self.where._room(self.gpus or None)
            while (position < len(self.chunks) or self.again) and len(self.stream) < room:
                if self.again:
                    self._start(self.again.pop())
                    continue
                if self.killers[self.chunks[position].path] >= POISONED:
                    self.suspects.append(position)
                else:
                    self._start(position)
                position += 1
            if len(self.stream):
                self.stream.step()
        while self.suspects:
            self._run_suspects()
            while len(self.stream) or self.again:  # sums of blocks, and what was lost with them
                if self.again:
                    self._start(self.again.pop())
                else:
                    self.stream.step()
        result: Partial | None = self.total.result
        return result or Partial()

    def _run_suspects(self) -> None:
        """One by one: only the culprit is blamed now. A file whose chunks kill worker after worker is not tried for ever."""
        guilty: Counter[str] = Counter()
        while self.suspects:
            position = self.suspects.pop(0)
            path = self.chunks[position].path
            if guilty[path] >= POISONED:
                self._set_aside(
                    position, f"{POISONED} other chunks of this file killed their workers: it was not tried again"
                )
                continue
            outcome: list[bool] = []
            self._start(position, outcome.append)
            while len(self.stream) or self.again:
                if self.again:
                    again = self.again.pop()
                    self._start(again, outcome.append if again == position else None)
                else:
                    self.stream.step()
            guilty[path] += outcome == [False]

    def _start(self, position: int, last_chance: Callable[[bool], None] | None = None) -> None:
        """Submit a chunk. ``last_chance`` is told how it ended; without one a killer becomes a suspect."""
        chunk = self.chunks[position]
        known = self.store_here.load(self.job, chunk) if self.store_here is not None else None
        if known is not None:
            future = self._as_future(known)
        else:
            self.starts[position] += 1
            key = f"chunk-{self.run_id}-{position}-{self.starts[position]}"
            resources = {"GPU": 1} if self.gpus else None
            future = self.client.submit(_run, self.remote_job, chunk, key=key, pure=False, resources=resources)

        def ended(_: Any, report: Any) -> None:
            if not isinstance(report, BaseException):
                if self.store_here is not None and known is None and report.chunks:
                    reason = self.store_here.save(self.job, chunk, report)
                    report.unkept.update([reason] if reason else [])
                # dask makes again what is lost with a worker; a chunk that failed is not to hang once more for that
                self._finished(position, future if report.chunks else self._as_future(report), report)
                if last_chance is not None:
                    last_chance(True)
            elif getattr(report, "task", None) != future.key and self.starts[position] < CHUNK_STARTS:
                # something else was on the workers that died: the job on its way, or the report
                if self.remote_job.status == "error":
                    self._send_job()
                self.again.append(position)
            elif last_chance is None:
                self.suspects.append(position)
                self.killers[chunk.path] += 1
            else:
                self._set_aside(position, f"its worker died in every attempt, the last ones in isolation ({report})")
                last_chance(False)

        view = _identity if self.store_here is not None else _without_output
        self.stream.watch(self.client.submit(view, future, pure=False, priority=10), ended)

    def _as_future(self, partial: Partial) -> Any:
        return self.client.submit(_identity, partial, pure=False)

    def _set_aside(self, position: int, reason: str) -> None:
        chunk = self.chunks[position]
        failed = Partial(failures=[Failure(chunk.dataset, chunk.path, reason, chunk.start, chunk.stop)])
        self._finished(position, self._as_future(failed), failed)

    def _finished(self, position: int, future: Any, report: Partial) -> None:
        if position not in self.reported:
            self.on_progress(report)
        number = position // BLOCK
        size = min(BLOCK, len(self.chunks) - number * BLOCK)
        block = self.blocks.setdefault(number, MergeTree(size, self._merge))
        block.add(position % BLOCK, future)
        if block.result is not None:
            del self.blocks[number]
            self.stream.watch(block.result, lambda _, value: self._summed(number, size, value))

    def _merge(self, parts: Sequence[Any]) -> Any:
        return self.client.submit(_merge_values, *parts, pure=False, priority=10)

    def _summed(self, number: int, size: int, value: Any) -> None:
        """Take the sum of a block; where merging killed its workers, run the block again (the store knows its chunks)."""
        if not isinstance(value, BaseException):
            self.total.add(number, value)
            self.reported -= set(range(number * BLOCK, number * BLOCK + size))
            return
        self.attempts[number] += 1
        if self.attempts[number] == BLOCK_ATTEMPTS:
            raise ClusterLostError(
                f"the results of {size} chunks cannot be added up on the workers: {value}"
            ) from value
        self.reported |= set(range(number * BLOCK, number * BLOCK + size))
        self.again += range(number * BLOCK, number * BLOCK + size)


def _run(job: Job, chunk: Chunk) -> Partial:
    """:func:`run_chunk` on a worker; one that has a thread hanging is replaced after it has handed over its results."""
    partial = run_chunk(job, chunk)
    if stuck_threads():
        from distributed import get_worker

        worker = get_worker()
        worker.loop.add_callback(worker.close_gracefully, restart=True, reason="a chunk hangs")
    return partial


def _merge_values(*parts: Partial) -> Partial:
    return merge(parts)


def _identity(value: Any) -> Any:
    return value


def _exists(path: str) -> bool:
    return Path(path).exists()


def _folder_of(job: Job) -> Path:
    return Path(job.store.folder) if job.store is not None else Path()


def _without_output(partial: Partial) -> Partial:
    return replace(partial, output=None)
