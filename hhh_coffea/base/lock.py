"""One owner of a directory at a time, told from others by a lock that ends with its process, however that ends."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from hhh_coffea.base.errors import UserError

LOCK = ".lock"  # in a directory that is being written


class TakenError(OSError):
    """Another process holds the lock; the message names it."""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on the file ``path``, which is there as long as the lock is, and names the owner.

    ``flock`` holds between processes of a machine, and on NFS between machines. A file system without locks has none.

    Raises
    ------
    TakenError
        if another process, or this one, holds it.
    OSError
        if the file cannot be written.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            with _unless_unsupported():
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.fstat(descriptor).st_ino == path.stat().st_ino:
                break
            os.close(descriptor)  # its last owner removed it between our two steps
        except BlockingIOError:
            owner = os.read(descriptor, 200).decode(errors="replace").strip()
            os.close(descriptor)
            raise TakenError(owner or "a process that has just started") from None
        except OSError:
            os.close(descriptor)
            raise
    try:
        os.truncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


@contextmanager
def owned(output: Path, is_file: bool = False) -> Iterator[None]:
    """Own the directory ``output`` while a command writes there: make it if need be, and let no other command in.

    On leaving, folders that were made here and are empty are removed. Of a file (``is_file``) the folder is made, and the
    lock lies beside the file, so that others may write there.

    Raises
    ------
    UserError
        naming the path, if another command is writing there or it cannot be made.
    """
    folder = output.parent if is_file else output
    with ExitStack() as stack:
        for path in [path for path in (folder, *folder.parents) if not path.exists()][::-1]:
            stack.callback(remove_if_empty, path)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(folder / (f".{output.name}{LOCK}" if is_file else LOCK)))
        except TakenError as error:
            raise UserError(
                f"{output}: another command is writing there ({error}); wait for it, or choose another --output"
            ) from None
        except OSError as error:
            raise UserError(f"{output}: cannot be written to: {error.strerror}") from error
        yield


def remove_if_empty(folder: Path) -> None:
    """Remove a folder unless something is in it."""
    with suppress(OSError):
        folder.rmdir()


@contextmanager
def _unless_unsupported() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):
            raise
