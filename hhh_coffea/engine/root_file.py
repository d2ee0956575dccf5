"""Opening ROOT files, and saying in plain words why one cannot be read."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import uproot

from hhh_coffea.base.bundled import OF_THE_PROJECT, SAMPLES
from hhh_coffea.events.missing import MissingError


class UnreadableFileError(OSError):
    """A file that is not what it should be; the message says what is wrong with it."""


def open_file(path: str) -> Any:
    """Open a ROOT file by path or URL.

    Raises
    ------
    UnreadableFileError
        for a local path that is a directory, a pipe or a device, empty, or not a ROOT file.
    """
    if "://" not in path:
        if Path(path).is_dir():
            raise UnreadableFileError("this is a directory: name the files in it, for example FOLDER/*.root")
        if not stat.S_ISREG(Path(path).stat().st_mode):
            raise UnreadableFileError("not a regular file")  # opening a pipe waits for its other end
        with Path(path).open("rb") as stream:
            magic = stream.read(4)
        if not magic:
            raise UnreadableFileError(f"the file is empty (0 bytes): {COPY_AGAIN}")
        if magic != b"root":
            raise UnreadableFileError("not a ROOT file: correct its path, or take it out of the fileset")
        # for every column fsspec, uproot's choice, would go through an event loop
        return uproot.open({path: None}, handler=uproot.source.file.MultithreadedFileSource)
    return uproot.open({path: None})


COPY_AGAIN = "copy it again from its source, or take it out of the fileset"


def explain(error: BaseException, path: str) -> str:
    """One line that tells a user what is wrong with a file."""
    if isinstance(error, FileNotFoundError):
        return "file not found" + (
            OF_THE_PROJECT if SAMPLES in path else ": correct its path, or take it out of the fileset"
        )
    if isinstance(error, PermissionError):
        return "no permission to read the file"
    text = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    text = " ".join(line.strip() for line in text.splitlines() if line.strip())
    text = text.replace(f"for file path {path}", "").replace(f"in file {path}", "").replace(path, "").strip()[:400]
    if isinstance(error, UnreadableFileError | MissingError):
        return text
    if "expected Chunk of length" in text or "Decompression" in type(error).__name__:
        return f"the file is truncated or damaged: {COPY_AGAIN}"
    return f"{type(error).__name__}: {text}"
