"""Files → chunks → executor → merged output, with a ledger of every chunk.

One function looks at a file, one plans the chunks, one runs a chunk; every executor calls the same three. Whatever
happens to a chunk, it ends as processed or as failed with a reason: planned = processed + failed.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from coffea.nanoevents import NanoEventsFactory
from uproot.exceptions import KeyInFileError

from hhh_coffea.base.atomic import NoRoomError
from hhh_coffea.base.contents import sha256_of, state_of
from hhh_coffea.base.errors import listed
from hhh_coffea.datasets.fileset import DEFAULT_TREE, Dataset, DatasetMetadata
from hhh_coffea.datasets.nanoaod_options import files_of
from hhh_coffea.engine.outputs import check
from hhh_coffea.engine.processors import ProcessorSource, raised_at
from hhh_coffea.engine.retry import with_retries
from hhh_coffea.engine.root_file import UnreadableFileError, explain, open_file
from hhh_coffea.events.formats import schema_of
from hhh_coffea.events.missing import MissingError

DEFAULT_CHUNKSIZE = 100_000
SET_FORMAT = '; set "format": "{}" in the metadata of this dataset'
CHUNK_BYTES = 256 * 1024**2  # uncompressed size of the branches of a chunk, when the user does not set the chunk size


class RunStopped(RuntimeError):
    """The first failure ends the run: with ``--on-error stop``, or for want of room on the disk."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file to look into, and the branches that will be read from it (empty: not known).

    ``stated``: its uuid and number of events, where the fileset has them.
    """

    dataset: str
    path: str
    tree: str
    branches: tuple[str, ...] = ()
    stated: tuple[str, int] | None = None


@dataclass(frozen=True)
class Failure:
    """Something that was not processed, and why. ``events`` is None where they could not even be counted.

    ``no_room``: what came of it could not be written.
    """

    dataset: str
    file: str
    reason: str
    start: int | None = None
    stop: int | None = None
    no_room: bool = False

    @property
    def events(self) -> int | None:
        """Events lost with it."""
        return None if self.start is None or self.stop is None else self.stop - self.start


@dataclass(frozen=True, slots=True)
class FileInfo:
    """What planning needs to know of a readable file.

    ``missing``: collections that will be read, and are not there; ``state``: size and time of change, where it has them.
    """

    source: SourceFile
    uuid: str
    entries: int
    bytes_per_event: float
    missing: tuple[str, ...] = ()
    state: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Chunk:
    """A range of entries of one file: the unit of work."""

    dataset: str
    path: str
    tree: str
    uuid: str
    start: int
    stop: int
    file_entries: int | None = None  # that the plan was made with, as is the state
    file_state: tuple[int, ...] = ()


@dataclass(frozen=True)
class Plan:
    """All chunks of a run in their canonical order, the files behind them, and what could not be planned."""

    chunks: tuple[Chunk, ...]
    files: tuple[FileInfo, ...]
    failures: tuple[Failure, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def events(self) -> int:
        """Events in all planned chunks."""
        return sum(chunk.stop - chunk.start for chunk in self.chunks)


@dataclass
class Partial:
    """Merged output of some chunks and their part of the ledger."""

    output: Any = None
    chunks: int = 0
    events: int = 0
    failures: list[Failure] = field(default_factory=list)
    seconds: float = 0.0
    resumed: int = 0  # of the chunks: those that an earlier run had finished
    unkept: Counter[str] = field(default_factory=Counter)  # finished chunks that could not be kept, by reason


@dataclass(frozen=True)
class Job:
    """What a worker needs to run any chunk: the processor, and the metadata of the datasets.

    ``auxiliary`` holds path → sha256 of the files that the metadata name, as the run found them; ``store`` keeps finished
    chunks, ``timeout`` is the longest a chunk may take in seconds, ``wants_gpu`` whether chunks go to workers with a GPU
    where there are such.
    """

    processor: ProcessorSource
    metadata: dict[str, dict[str, Any]]
    store: ChunkStore | None = None
    timeout: float | None = None
    wants_gpu: bool = False
    auxiliary: dict[str, dict[str, str]] = field(default_factory=dict)

    @classmethod
    def of(cls, processor: ProcessorSource, datasets: dict[str, Dataset], **options: Any) -> Job:
        """The job of these datasets.

        Raises
        ------
        OSError
            if an auxiliary file cannot be read.
        """
        metadata = {name: d.metadata.model_dump(exclude_unset=True) for name, d in datasets.items()}
        given = {name: d.metadata.nanoaod for name, d in datasets.items()}
        auxiliary = {n: {path: sha256_of(path) for _, path in files_of(o)} for n, o in given.items() if o is not None}
        return cls(processor, metadata, auxiliary=auxiliary, **options)


class ChunkStore(Protocol):
    """Where finished chunks are kept: :class:`hhh_coffea.engine.store.Store`."""

    @property
    def folder(self) -> str:
        """Where that is; workers keep chunks themselves if they see it."""
        ...

    def load(self, job: Job, chunk: Chunk) -> Partial | None:
        """What a chunk gave in an earlier run, if that is known."""
        ...

    def save(self, job: Job, chunk: Chunk, partial: Partial) -> str | None:
        """Keep a finished chunk; returns why not, where that fails."""
        ...


class Executor(Protocol):
    """Runs functions of the engine somewhere. ``map`` yields (position, result) in any order."""

    def map(self, function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        """Apply a function to every item; an item that kills its worker yields the exception."""
        ...

    def reduce(self, job: Job, chunks: Sequence[Chunk], on_progress: Callable[[Partial], None]) -> Partial:
        """Run every chunk and merge the results in the canonical tree; report each chunk as it ends."""
        ...


def inspect_file(source: SourceFile, timeout: float | None = None) -> FileInfo | Failure:
    """Open a file and count its events within ``timeout`` seconds, or say why that cannot be done."""
    try:
        return with_retries(lambda: _look_into(source), timeout)
    except Exception as error:
        return Failure(source.dataset, source.path, explain(error, source.path))


def _look_into(source: SourceFile) -> FileInfo | Failure:
    state = state_of(source.path)  # before it is read: what changes meanwhile counts as changed
    with open_file(source.path) as file:
        try:
            tree = file[source.tree]
        except KeyInFileError:
            names = {key.split(";")[0] for key in file.keys(recursive=False)}
            others = [f for f, t in DEFAULT_TREE.items() if t in names and source.tree in DEFAULT_TREE.values()]
            hint = SET_FORMAT.format(others[0]) if others else ""
            return Failure(source.dataset, source.path, f"no tree {source.tree!r}; the file has {listed(names)}{hint}")
        if not hasattr(tree, "num_entries"):
            return Failure(source.dataset, source.path, f"{source.tree!r} is not a TTree")
        entries = int(tree.num_entries)
        present = [b for b in source.branches if b in tree]
        if source.branches and not present and (found := _format_of(tree)):
            reason = f"tree {source.tree!r} has none of the branches that are read{SET_FORMAT.format(found)}"
            return Failure(source.dataset, source.path, reason)
        size = sum(tree[b].uncompressed_bytes for b in present)
        missing = tuple(name for name, mark in _collections(source.branches).items() if mark not in tree)
        return FileInfo(source, str(tree.file.uuid), entries, size / entries if entries else 0.0, missing, state)


def _format_of(tree: Any) -> str:
    """The format that a tree looks like; empty if like none."""
    names = set(tree.keys(recursive=False))
    if {"run", "luminosityBlock", "event"} <= names:
        return "nanoaod"
    return "delphes" if any(f"{name}_size" in names for name in names) else ""


def _collections(branches: Iterable[str]) -> dict[str, str]:
    """Collections that these branches are of, and a branch that each has whatever its version: ``X``, or NanoAOD's ``nX``."""
    delphes = {b.split("/")[0]: b.split("/")[0] for b in branches if "/" in b}
    return delphes | {b[1:]: b for b in branches if b[:1] == "n" and b[1:2].isupper()}


def _sha256_here(path: str) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        raise UnreadableFileError(f"{path} cannot be read on this worker: {error.strerror}") from error


def died_opening(source: SourceFile, error: Any) -> Failure:
    """A file that took its worker down."""
    return Failure(source.dataset, source.path, f"the worker died in every attempt to open the file ({error})")


def plan_chunks(
    inspected: Iterable[FileInfo | Failure], chunksize: int | None = None, max_chunks: int | None = None
) -> Plan:
    """Cut files into chunks of nearly equal size, at most ``chunksize`` events each.

    ``None`` picks the chunk size of each file: :data:`DEFAULT_CHUNKSIZE`, or fewer where the events are so large that a
    chunk's branches would exceed :data:`CHUNK_BYTES`. ``max_chunks`` limits the chunks of each dataset.
    """
    chunks: list[Chunk] = []
    files: list[FileInfo] = []
    failures: list[Failure] = []
    warnings: list[str] = []
    seen: dict[str, SourceFile] = {}
    per_dataset: dict[str, int] = {}
    for info in inspected:
        if isinstance(info, Failure):
            failures.append(info)
            continue
        source = info.source
        twin = seen.setdefault(info.uuid, source)
        if twin.path != source.path:
            owner = "" if twin.dataset == source.dataset else f" in dataset {twin.dataset!r}"
            warnings.append(
                f"{source.path} has the content of {twin.path}{owner} (same file uuid): its events count twice"
            )
        if info.entries == 0:
            warnings.append(f"{source.path}: the tree {source.tree!r} holds no events")
        files.append(info)
        size = chunksize or max(1, min(DEFAULT_CHUNKSIZE, int(CHUNK_BYTES / max(info.bytes_per_event, 1.0))))
        pieces = -(-info.entries // size)
        for piece in range(pieces):
            if max_chunks is not None and per_dataset.get(source.dataset, 0) >= max_chunks:
                break
            per_dataset[source.dataset] = per_dataset.get(source.dataset, 0) + 1
            start, stop = (info.entries * k // pieces for k in (piece, piece + 1))
            chunks.append(
                Chunk(source.dataset, source.path, source.tree, info.uuid, start, stop, info.entries, info.state)
            )
    return Plan(tuple(chunks), tuple(files), tuple(failures), tuple(warnings))


def sources_of(datasets: dict[str, Dataset], processor: ProcessorSource, max_files: int | None) -> list[SourceFile]:
    """The files of a run, the first ``max_files`` of each dataset."""
    instance = processor.load()
    sources = []
    for dataset in datasets.values():
        branches: tuple[str, ...] = ()
        if hasattr(instance, "branches"):
            branches = tuple(instance.branches(dataset.metadata))
        for path, tree in list(dataset.files.items())[:max_files]:
            sources.append(SourceFile(dataset.name, path, tree, branches, dataset.known.get(path)))
    return sources


def run_chunk(job: Job, chunk: Chunk) -> Partial:
    """Process one chunk, or take it from the store. Never raises: what cannot be done comes back as failed, with the reason."""
    if job.store is not None and (known := job.store.load(job, chunk)) is not None:
        return known
    begin = time.perf_counter()
    try:
        output = with_retries(lambda: _accumulator(job, chunk), job.timeout)
    except (Exception, SystemExit) as error:  # a processor that exits must not end the run as if all were well
        # no line of code helps with a fault of the file
        where = "" if isinstance(error, OSError | MissingError) else raised_at(error)
        text, no_room = explain(error, chunk.path) + where, isinstance(error, NoRoomError)
        failure = Failure(chunk.dataset, chunk.path, text, chunk.start, chunk.stop, no_room)
        return Partial(failures=[failure], seconds=time.perf_counter() - begin)
    partial = Partial(output, 1, chunk.stop - chunk.start, [], time.perf_counter() - begin)
    if job.store is not None and (reason := job.store.save(job, chunk, partial)) is not None:
        partial.unkept[reason] += 1
    return partial


def process(job: Job, chunk: Chunk) -> Any:
    """Open a chunk as NanoEvents, exactly as coffea's Runner would, and hand it to the processor."""
    metadata = DatasetMetadata.model_validate(job.metadata[chunk.dataset])
    processor = job.processor.load()
    for path, digest in job.auxiliary.get(chunk.dataset, {}).items():
        if _sha256_here(path) != digest:
            raise UnreadableFileError(f"{path} has changed since the run was planned")
    branches = processor.branches(metadata) if hasattr(processor, "branches") else None
    with open_file(chunk.path) as file:
        if str(file.file.uuid) != chunk.uuid:
            raise UnreadableFileError("the file has changed since the run was planned (it has another uuid)")
        # of its time of change nothing is said: workers may read copies of their own
        if chunk.file_state and state_of(chunk.path)[:1] != chunk.file_state[:1]:
            raise UnreadableFileError("the file has changed since the run was planned (it has another size)")
        if chunk.file_entries is not None and (there := file[chunk.tree].num_entries) != chunk.file_entries:
            raise UnreadableFileError(f"the run was planned with {chunk.file_entries} events of it, and it has {there}")
        events = open_events(file, chunk, job.metadata[chunk.dataset], branches)
        if len(events) != chunk.stop - chunk.start:
            raise OSError(f"expected {chunk.stop - chunk.start} events, found {len(events)}: has the file changed?")
        try:
            output = processor.process(events)
        except MissingError as error:  # events hold only the branches asked for
            there = {branch.name: bool(branch.branches) for branch in file[chunk.tree].branches}
            raise error.told_from(there).with_traceback(error.__traceback__) from None
    return output


def open_events(file: Any, chunk: Chunk, metadata: Mapping[str, Any], branches: Collection[str] | None = None) -> Any:
    """A chunk of an open file as NanoEvents, exactly as coffea's Runner would; with ``branches``, of those alone.

    Describing the branches of a file takes longer than reading them when it has hundreds.
    """
    options: dict[str, Any] = {}
    if branches is not None:
        wanted = {*branches, *(name.split("/")[0] + "_size" for name in branches)}
        options["filter_name"] = lambda name: name in wanted
    file[chunk.tree].typenames = dict  # coffea asks for those of all branches, and the schemas of our formats use none
    return NanoEventsFactory.from_root(
        file,
        treepath=chunk.tree,
        schemaclass=schema_of(DatasetMetadata.model_validate(metadata)),
        mode="virtual",
        entry_start=chunk.start,
        entry_stop=chunk.stop,
        iteritems_options=options,
        metadata={
            **metadata,
            "dataset": chunk.dataset,
            "filename": chunk.path,
            "treename": chunk.tree,
            "entrystart": chunk.start,
            "entrystop": chunk.stop,
            "fileuuid": chunk.uuid,
        },
    ).events()


def _accumulator(job: Job, chunk: Chunk) -> Any:
    """What a chunk gives, checked to be something that adds up."""
    output = process(job, chunk)
    if output is None:
        name = type(job.processor.load()).__name__
        raise TypeError(f"{name}.process returned None; it must return an accumulator")
    check(output)
    return output
