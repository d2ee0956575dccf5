"""Trying again what storage may have spoiled, and giving up on what hangs."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from hhh_coffea.base.atomic import NO_ROOM
from hhh_coffea.engine.root_file import UnreadableFileError

ATTEMPTS = 3
TIMEOUTS = 2  # of the attempts: what hung twice hangs
BACKOFF_SECONDS = 0.5
# these will be the same a second later
LASTING = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, UnreadableFileError)

T = TypeVar("T")
_abandoned: list[threading.Thread] = []


class ChunkTimeoutError(TimeoutError):
    """It took longer than it may."""


def is_transient(error: BaseException) -> bool:
    """Whether trying again may help: an error of reading that says nothing about the file itself."""
    return isinstance(error, OSError) and not isinstance(error, LASTING) and error.errno not in NO_ROOM


def with_retries(function: Callable[[], T], timeout: float | None = None) -> T:
    """Call a function, again after a growing pause where an error is transient.

    At most :data:`ATTEMPTS` times, each no longer than ``timeout`` seconds. The last error is raised.
    """
    timeouts = 0
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return function() if timeout is None else within(function, timeout)
        except OSError as error:
            timeouts += isinstance(error, ChunkTimeoutError)
            if attempt == ATTEMPTS or timeouts == TIMEOUTS or not is_transient(error):
                raise
            # a thousand workers that lost the same server must not all come back at the same moment
            time.sleep(BACKOFF_SECONDS * 2 ** (attempt - 1) * random.uniform(1, 2))
    raise AssertionError("unreachable")


def within(function: Callable[[], T], timeout: float) -> T:
    """Call a function in a thread of its own and leave it behind if it takes longer than ``timeout`` seconds.

    A thread cannot be killed: :func:`stuck_threads` tells when a process had better be replaced.
    """
    outcome: list[Any] = []

    def call() -> None:
        try:
            outcome.append((True, function()))
        except BaseException as error:
            outcome.append((False, error))

    thread = threading.Thread(target=call, name="chunk", daemon=True)
    thread.start()
    thread.join(timeout)
    if not outcome:
        _abandoned.append(thread)
        raise ChunkTimeoutError(f"not done after {timeout:g} s (--chunk-timeout)")
    succeeded, result = outcome[0]
    if not succeeded:
        raise result
    value: T = result
    return value


def stuck_threads() -> int:
    """Threads of this process that were left behind and still run."""
    _abandoned[:] = [thread for thread in _abandoned if thread.is_alive()]
    return len(_abandoned)
