"""Futures of a dask cluster as they finish, and what there is to say when none does."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

NO_WORKERS_SECONDS = 60.0
_log = logging.getLogger(__name__)


class ClusterLostError(ConnectionError):
    """The cluster went away in the middle of a run; what is finished is kept."""


class Stream:
    """Futures being waited for, and what to do with each result."""

    def __init__(self, client: Any) -> None:
        from distributed import as_completed

        self._client = client
        self._done = as_completed(loop=client.loop, with_results=True, raise_errors=False)
        self._waiting: dict[Any, Callable[[Any, Any], None]] = {}
        self._warn_at = time.monotonic() + NO_WORKERS_SECONDS

    def __len__(self) -> int:
        return len(self._waiting)

    def watch(self, future: Any, then: Callable[[Any, Any], None]) -> None:
        """Call ``then(future, result)`` once it is there; the result is an exception where the future failed."""
        self._waiting[future] = then
        self._done.add(future)

    def step(self) -> None:
        """Wait for one future and deal with it.

        Raises
        ------
        ClusterLostError
            if the scheduler is gone.
        """
        while not self._done.has_ready():
            self._check()
            with self._done.thread_condition:
                self._done.thread_condition.wait(0.1)
        future, result = next(self._done)
        # "lost" is none of that: its worker died after the result came, and dask makes it again where it is needed
        if future.status == "cancelled":
            self._check()
            raise ClusterLostError("the dask scheduler lost its tasks: was it restarted?")
        then = self._waiting.pop(future)
        then(future, future.exception() if future.status == "error" else result)

    def _check(self) -> None:
        if self._client.status not in ("running", "newly-created"):
            raise ClusterLostError("the connection to the dask scheduler is lost")
        if time.monotonic() > self._warn_at:
            self._warn_at = time.monotonic() + NO_WORKERS_SECONDS
            if not self._client.nthreads():
                _log.warning(
                    "the dask cluster has no workers; waiting for new ones (Ctrl-C ends the run and keeps its chunks)"
                )
