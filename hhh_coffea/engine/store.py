"""Finished chunks, kept on disk until the results are written, so that a run that was killed can go on.

``OUTPUT/.resume/`` holds ``run.json`` (what the chunks depend on, see :mod:`hhh_coffea.engine.fingerprint`), ``files.json``
(events and uuid of every file), ``chunks/`` (one gzipped JSON for each finished chunk), ``candidates/`` and ``skim/``. Every
file appears whole or not at all. A damaged one counts as not there.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hhh_coffea.base.atomic import replacing
from hhh_coffea.base.contents import state_of
from hhh_coffea.base.terminal import plural
from hhh_coffea.engine.chunks import Chunk, FileInfo, Job, Partial, SourceFile
from hhh_coffea.engine.fingerprint import UnknownStateError, fingerprint
from hhh_coffea.engine.storable import UnstorableError, decode, encode, json_default, json_hook
from hhh_coffea.reconstruction.candidate_table import WRITTEN, stem, stem_of

SCHEMA_VERSION = 2
FOLDER = ".resume"
RUN, FILES, CHUNKS = "run.json", "files.json", "chunks"
CANDIDATES, SKIM, EVENTS = PARTS = ("candidates", "skim", "events")  # folders that chunks write into


@dataclass(frozen=True)
class Store:
    """Finished chunks of runs with one fingerprint, in ``folder``. It travels to workers."""

    folder: str
    fingerprint: str

    def key(self, job: Job, chunk: Chunk) -> str:
        """Of the fingerprint, the dataset's metadata with the contents of the files that they name, and the chunk.

        Of its file the uuid and, where it is local, size and time of change: one that is updated keeps its uuid.
        """
        dataset = [chunk.dataset, job.metadata[chunk.dataset], job.auxiliary.get(chunk.dataset, {})]
        file = [chunk.path, chunk.tree, chunk.uuid, chunk.file_state]
        text = json.dumps([self.fingerprint, *dataset, *file, chunk.start, chunk.stop], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def path(self, job: Job, chunk: Chunk) -> Path:
        """Where a chunk is kept; in 256 folders, for file systems dislike a hundred thousand files in one."""
        key = self.key(job, chunk)
        return Path(self.folder) / CHUNKS / key[:2] / f"{key[2:]}.json.gz"

    def load(self, job: Job, chunk: Chunk) -> Partial | None:
        """What a chunk gave in an earlier run; None if that is not known, or not all of it."""
        try:
            raw = gzip.decompress(self.path(job, chunk).read_bytes())
            entry = json.loads(raw, object_hook=json_hook)
            if entry["schema_version"] != SCHEMA_VERSION or entry["events"] != chunk.stop - chunk.start:
                return None
            for name, size in entry["written"]:
                if (Path(self.folder) / name).stat().st_size != size:
                    return None
            return Partial(decode(entry["output"]), 1, entry["events"], [], entry["seconds"], resumed=1)
        except Exception:  # zlib, json, uhi, hist: each has errors of its own for what is damaged
            return None

    def save(self, job: Job, chunk: Chunk, partial: Partial) -> str | None:
        """Keep a finished chunk. A run goes on where that fails; returns why it did."""
        written = partial.output.get(WRITTEN, {}) if isinstance(partial.output, dict) else {}
        try:
            entry = {
                "schema_version": SCHEMA_VERSION,
                "events": partial.events,
                "seconds": partial.seconds,
                "written": sorted(written.items()),
                "output": encode(partial.output),
            }
            path = self.path(job, chunk)
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as partly:
                partly.write_bytes(gzip.compress(json.dumps(entry, default=json_default).encode(), 1, mtime=0))
        except UnstorableError as error:
            return f"{error}, which has no form on disk"
        except OSError as error:
            return f"{error.strerror or error}"
        return None


def store_for(output: Path, processor: Any, options: dict[str, Any], wanted: bool) -> tuple[Store | None, list[str]]:
    """The store of a run, and what to tell the user. None if none is wanted, or if the processor cannot be identified.

    Raises
    ------
    OSError
        if the results directory cannot be written.
    """
    if not wanted:
        clear(output)
        return None, []
    try:
        # the folders that chunks write into are in the processor's state
        return open_store(output, fingerprint(processor, {k: v for k, v in options.items() if k not in PARTS}))
    except UnknownStateError as error:
        clear(output)
        return None, [f"this run cannot be continued if it is interrupted: the processor holds {error}"]


def open_store(output: Path, found: dict[str, str]) -> tuple[Store, list[str]]:
    """The store of a results directory for runs with the fingerprint ``found``, and what to tell the user.

    Chunks kept under another fingerprint are discarded, for their candidates would mix; what differs is named.
    """
    folder = (output / FOLDER).resolve()
    text = json.dumps(found, sort_keys=True)
    notes = []
    try:
        earlier = json.loads((folder / RUN).read_text(encoding="utf-8"))
        old = {str(k): str(v) for k, v in earlier["fingerprint"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        old = {}
    if old != found:
        if kept := sum(1 for _ in (folder / CHUNKS).glob("*/*.json.gz")):
            names = sorted(n for n in {*old, *found} if old.get(n) != found.get(n)) if old else ["run.json"]
            notes.append(
                f"{plural(kept, 'chunk')} of an earlier run cannot be reused, because this has changed: {', '.join(names)}"
            )
        clear(output)
        # where this is missing results were written; a run cut short before its first chunk must not look like that
        for part in PARTS:
            (folder / part).mkdir(parents=True)
        with replacing(folder / RUN) as partly:
            content = {"schema_version": SCHEMA_VERSION, "fingerprint": found}
            partly.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
    else:
        for part in PARTS:
            if not (folder / part).exists():
                _take_back(output / part, folder / part)
    return Store(str(folder), hashlib.sha256(text.encode()).hexdigest()), notes


def holds_chunks(output: Path) -> bool:
    """Whether any chunk is kept for a later run."""
    return any((output / FOLDER / CHUNKS).glob("*/*.json.gz"))


def clear(output: Path) -> None:
    """Forget every finished chunk."""
    shutil.rmtree(output / FOLDER, ignore_errors=True)


def _take_back(source: Path, target: Path) -> None:
    """A run that set something aside wrote its results; one that tries again builds on what chunks wrote for them."""
    if not source.is_dir():
        return
    target.mkdir()
    for file in (file for file in source.iterdir() if stem_of(file.name)):
        try:
            os.link(file, target / file.name)
        except OSError:  # a file system without hard links
            shutil.copy2(file, target / file.name)


def drop_strays(output: Path, finished: Iterable[Chunk]) -> None:
    """Remove what no finished chunk wrote: files of chunks that failed half-way, were cut otherwise or killed."""
    wanted = {stem(c.dataset, c.path, c.start, c.stop) for c in finished}
    for folder in (output / FOLDER / part for part in PARTS):
        for entry in os.scandir(folder) if folder.is_dir() else ():
            if stem_of(entry.name) not in wanted:
                Path(entry.path).unlink(missing_ok=True)


class KnownFiles:
    """Events and uuid of local files as an earlier run found them: one of 20,000 need not be opened to be planned.

    A file is the same if its size and its time of change are. The uuid is compared again when a chunk is read.
    """

    def __init__(self, output: Path | None) -> None:
        self._path = None if output is None else output / FOLDER / FILES
        self._known: dict[str, Any] = {}
        if self._path is not None:
            with suppress(OSError, ValueError, RecursionError):
                content = json.loads(self._path.read_text(encoding="utf-8"))
                self._known = content if isinstance(content, dict) else {}

    def get(self, source: SourceFile) -> FileInfo | None:
        """What is known of a file; None if nothing is, or if the file has changed."""
        match self._known.get(_file_key(source)):
            case [str(uuid), int(entries), float(size), *state] if tuple(state) == state_of(source.path) != ():
                return FileInfo(source, uuid, entries, size, state=tuple(state))
        return None

    def keep(self, infos: Iterable[FileInfo | Any]) -> None:
        """Remember the readable ones of these files; where that fails they are opened again, no harm done."""
        if self._path is None:
            return
        content = {
            _file_key(info.source): [info.uuid, info.entries, info.bytes_per_event, *info.state]
            for info in infos
            if isinstance(info, FileInfo) and info.state
        }
        try:
            with replacing(self._path) as partly:
                partly.write_text(json.dumps(content), encoding="utf-8")
        except OSError:
            return


def _file_key(source: SourceFile) -> str:
    branches = hashlib.sha256("\n".join(source.branches).encode()).hexdigest()[:12]
    return json.dumps([source.path, source.tree, branches])


def unkept(reasons: Counter[str]) -> list[str]:
    """Warnings about finished chunks that could not be kept."""
    return [
        f"{plural(number, 'finished chunk')} could not be kept to continue the run later: {reason}"
        for reason, number in sorted(reasons.items())
    ]
