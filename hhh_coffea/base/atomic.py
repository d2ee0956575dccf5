"""Files that appear whole or not at all, whatever happens while they are written."""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PARTIAL = ".partial"
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG}


class NoRoomError(OSError):
    """The disk takes no more: the fault of no file that is read, and of every chunk that comes."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to; on leaving without an error it is synced to disk and takes ``path``'s place.

    Every writer has a name of its own: two processes that write the same file, as when a chunk runs twice, do not mix.

    Raises
    ------
    NoRoomError
        if the disk is full, whatever the library that writes to the temporary path calls it.
    """
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex[:12]}{PARTIAL}")
    try:
        yield partial
        descriptor = os.open(partial, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        partial.replace(path)
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise NoRoomError(error.errno, os.strerror(error.errno), str(path.parent)) from error
    finally:
        partial.unlink(missing_ok=True)
