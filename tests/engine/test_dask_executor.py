"""What becomes of chunks whose workers die, without the time it takes workers to."""

import time

import pytest

from hhh_coffea.engine import dask_executor
from hhh_coffea.engine.chunks import Chunk, Failure, Job, Partial
from hhh_coffea.engine.dask_executor import POISONED, DaskExecutor
from hhh_coffea.engine.dask_futures import Stream
from hhh_coffea.engine.processors import ProcessorSource


@pytest.fixture
def client():
    from distributed import Client

    with Client(
        processes=False, n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", set_as_default=False
    ) as client:
        yield client


@pytest.mark.parametrize("order", [("good", "poisoned"), ("poisoned", "good"), ("poisoned",)])
def test_a_file_that_kills_every_worker_is_set_aside_and_the_sum_waited_for(client, monkeypatch, order):
    """Also when the last chunk of all is one that is not tried again: nothing but the sum is in flight then."""

    def run(job, chunk):
        from distributed import KilledWorker, get_worker

        if chunk.path == "poisoned":
            raise KilledWorker(get_worker().get_current_task(), None, 2)
        return Partial({"n": 1}, 1, 1)

    monkeypatch.setattr(dask_executor, "_run", run)
    chunks = [Chunk("A", path, "T", "u", i, i + 1) for path in order for i in range(4 * POISONED)]
    reported = []
    job = Job(ProcessorSource(b"", ""), {"A": {}})
    total = DaskExecutor(client).reduce(job, chunks, reported.append)
    good = 4 * POISONED * order.count("good")
    assert (total.chunks, len(total.failures), len(reported)) == (good, 4 * POISONED, len(chunks))
    tried = [f for f in total.failures if "not tried again" not in f.reason]
    assert len(tried) == POISONED
    assert total.output == ({"n": good} if good else None)


def test_a_chunk_that_failed_does_not_run_again_when_its_worker_dies(client, monkeypatch, tmp_path):
    """With a time limit of ten minutes that would take twenty, each time."""
    log, reports = tmp_path / "runs", []

    def run(job, chunk):
        from distributed import get_worker

        time.sleep(0.05)
        if chunk.start == 0:
            with log.open("a") as file:
                file.write(get_worker().address + "\n")
            return Partial(failures=[Failure("A", "f", "hangs", 0, 1)])
        return Partial({"n": 1}, 1, 1)

    def on_progress(partial):
        async def remove(dask_scheduler, address):
            await dask_scheduler.remove_worker(address, stimulus_id="test")

        reports.append(partial)
        if len(reports) > 1 and reports[-2].failures:
            time.sleep(0.3)  # what the report before let go of reaches the scheduler
            client.run_on_scheduler(remove, address=log.read_text().split()[0])

    monkeypatch.setattr(dask_executor, "_run", run)
    chunks = [Chunk("A", "f", "T", "u", i, i + 1) for i in range(12)]
    total = DaskExecutor(client).reduce(Job(ProcessorSource(b"", ""), {"A": {}}), chunks, on_progress)
    assert (total.chunks, len(total.failures)) == (11, 1)
    assert not reports[-1].failures  # its worker was removed before the sum was made
    assert len(log.read_text().split()) == 1


def test_the_scheduler_is_not_asked_for_its_threads_for_every_chunk(client, monkeypatch):
    """Each question waits for an answer from a busy process: four fifths of the cost of a chunk, before."""
    asked, ask = [], client.nthreads
    monkeypatch.setattr(client, "nthreads", lambda: asked.append(1) or ask())
    monkeypatch.setattr(dask_executor, "_run", lambda job, chunk: Partial({"n": 1}, 1, 1))
    monkeypatch.setattr(dask_executor, "LOOK_SECONDS", 3600.0)
    where, job = DaskExecutor(client), Job(ProcessorSource(b"", ""), {"A": {}})
    assert where.reduce(job, [Chunk("A", "f", "T", "u", i, i + 1) for i in range(60)], lambda _: None).chunks == 60
    assert len(dict(where.map(str, range(30)))) == 30
    assert len(asked) == 1


def test_a_result_that_came_before_its_worker_died_is_taken(client):
    """dask calls its future lost then, and makes it again for whoever needs it on the workers."""
    stream, found = Stream(client), []
    future = client.submit(lambda: 7)
    stream.watch(future, lambda _, value: found.append(value))
    while not stream._done.has_ready():
        time.sleep(0.01)
    future._state.lose()
    stream.step()
    assert found == [7]
