"""Which contents a file has: what results depend on is told by it, never by the path alone."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path


def state_of(path: str) -> tuple[int, ...]:
    """Size in bytes and time of change in ns; empty for remote files, which tell neither, and for missing ones."""
    if "://" in path:
        return ()
    try:
        found = Path(path).stat()
    except OSError:
        return ()
    return found.st_size, found.st_mtime_ns


def sha256_of(path: str) -> str:
    """Sum over the contents of a local file; read again only when the file system says that it has changed.

    Raises
    ------
    OSError
        if the file cannot be read.
    """
    found = Path(path).stat()
    # the time of the inode changes too where a tool sets the time of change back
    return _sha256(path, (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino))


@lru_cache(maxsize=256)
def _sha256(path: str, _state: tuple[int, ...]) -> str:
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
