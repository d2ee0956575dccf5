"""Files → chunks → executor → merged output, with a ledger of every chunk.

One function looks at a file, one plans the chunks, one runs a chunk; every executor calls the same three. Whatever
happens to a chunk, it ends as processed or as failed with a reason: planned = processed + failed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from coffea.nanoevents import NanoEventsFactory
from coffea.processor import accumulate
from uproot.exceptions import KeyInFileError

from hhh_coffea.events.formats import schema_of
from hhh_coffea.fileset import Dataset, DatasetMetadata
from hhh_coffea.loading import ProcessorSource, raised_at
from hhh_coffea.root_file import explain, open_file

DEFAULT_CHUNKSIZE = 100_000
CHUNK_BYTES = 256 * 1024**2  # uncompressed size of the branches of a chunk, when the user does not set the chunk size
ATTEMPTS = 3
BACKOFF_SECONDS = 0.5
FAN_IN = 8  # partial results merged at a time


class RunStopped(RuntimeError):
    """``--on-error stop``: the first failure ends the run."""


@dataclass(frozen=True)
class SourceFile:
    """A file to look into, and the branches that will be read from it (empty: not known)."""

    dataset: str
    path: str
    tree: str
    branches: tuple[str, ...] = ()


@dataclass(frozen=True)
class Failure:
    """Something that was not processed, and why. ``events`` is None where they could not even be counted."""

    dataset: str
    file: str
    reason: str
    start: int | None = None
    stop: int | None = None

    @property
    def events(self) -> int | None:
        """Events lost with it."""
        return None if self.start is None or self.stop is None else self.stop - self.start


@dataclass(frozen=True)
class FileInfo:
    """What planning needs to know of a readable file."""

    source: SourceFile
    uuid: str
    entries: int
    bytes_per_event: float


@dataclass(frozen=True)
class Chunk:
    """A range of entries of one file: the unit of work."""

    dataset: str
    path: str
    tree: str
    uuid: str
    start: int
    stop: int


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


@dataclass(frozen=True)
class Job:
    """What a worker needs to run any chunk: the processor, and the metadata of the datasets."""

    processor: ProcessorSource
    metadata: dict[str, dict[str, Any]]


class Executor(Protocol):
    """Runs functions of the engine somewhere. ``map`` yields (position, result) in any order."""

    def map(self, function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        """Apply a function to every item; an item that kills its worker yields the exception."""
        ...

    def reduce(self, job: Job, chunks: Sequence[Chunk], on_progress: Callable[[Partial], None]) -> Partial:
        """Run every chunk and merge the results in the canonical tree; report each chunk as it ends."""
        ...


def inspect_file(source: SourceFile) -> FileInfo | Failure:
    """Open a file and count its events, or say why that cannot be done."""
    try:
        with open_file(source.path) as file:
            try:
                tree = file[source.tree]
            except KeyInFileError:
                names = sorted({key.split(";")[0] for key in file.keys(recursive=False)})
                return Failure(source.dataset, source.path, f"no tree {source.tree!r}; the file has {names}")
            if not hasattr(tree, "num_entries"):
                return Failure(source.dataset, source.path, f"{source.tree!r} is not a TTree")
            entries = int(tree.num_entries)
            present = [b for b in source.branches if b in tree]
            size = sum(tree[b].uncompressed_bytes for b in present)
            return FileInfo(source, str(tree.file.uuid), entries, size / entries if entries else 0.0)
    except Exception as error:
        return Failure(source.dataset, source.path, explain(error, source.path))


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
    seen: dict[tuple[str, str], str] = {}
    per_dataset: dict[str, int] = {}
    for info in inspected:
        if isinstance(info, Failure):
            failures.append(info)
            continue
        source = info.source
        twin = seen.setdefault((source.dataset, info.uuid), source.path)
        if twin != source.path:
            warnings.append(f"{source.path} has the content of {twin} (same file uuid): its events count twice")
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
            chunks.append(Chunk(source.dataset, source.path, source.tree, info.uuid, start, stop))
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
            sources.append(SourceFile(dataset.name, path, tree, branches))
    return sources


def run_chunk(job: Job, chunk: Chunk) -> Partial:
    """Process one chunk. Never raises: after :data:`ATTEMPTS` the chunk is returned as failed, with the reason."""
    begin = time.perf_counter()
    for attempt in range(1, ATTEMPTS + 1):
        try:
            output = process(job, chunk)
        except (Exception, SystemExit) as error:  # a processor that exits must not end the run as if all were well
            where = (
                "" if isinstance(error, OSError) else raised_at(error)
            )  # of a file that cannot be read no line helps
            reason = explain(error, chunk.path) + where
            failure = Failure(chunk.dataset, chunk.path, reason, chunk.start, chunk.stop)
            if isinstance(error, OSError) and attempt < ATTEMPTS:
                time.sleep(BACKOFF_SECONDS * 2 ** (attempt - 1))  # storage may recover
        else:
            return Partial(output, 1, chunk.stop - chunk.start, [], time.perf_counter() - begin)
    return Partial(failures=[failure], seconds=time.perf_counter() - begin)


def process(job: Job, chunk: Chunk) -> Any:
    """Open a chunk as NanoEvents, exactly as coffea's Runner would, and hand it to the processor."""
    metadata = DatasetMetadata.model_validate(job.metadata[chunk.dataset])
    processor = job.processor.load()
    options: dict[str, Any] = {}
    if hasattr(processor, "branches"):
        wanted = set(processor.branches(metadata))
        wanted |= {name.split("/")[0] + suffix for name in wanted for suffix in ("", "_size")}
        # describing the branches of a file takes longer than reading them when it has hundreds
        options["filter_name"] = lambda name: name in wanted
    with open_file(chunk.path) as file:
        events = NanoEventsFactory.from_root(
            file,
            treepath=chunk.tree,
            schemaclass=schema_of(metadata),
            mode="virtual",
            entry_start=chunk.start,
            entry_stop=chunk.stop,
            iteritems_options=options,
            metadata={
                **job.metadata[chunk.dataset],
                "dataset": chunk.dataset,
                "filename": chunk.path,
                "treename": chunk.tree,
                "entrystart": chunk.start,
                "entrystop": chunk.stop,
                "fileuuid": chunk.uuid,
            },
        ).events()
        if len(events) != chunk.stop - chunk.start:
            raise OSError(f"expected {chunk.stop - chunk.start} events, found {len(events)}: has the file changed?")
        output = processor.process(events)
    if output is None:
        raise TypeError(f"{type(processor).__name__}.process returned None; it must return an accumulator")
    return output


def merge(parts: Sequence[Partial]) -> Partial:
    """Add partial results up, in the order given."""
    return Partial(
        accumulate([part.output for part in parts]),
        sum(part.chunks for part in parts),
        sum(part.events for part in parts),
        [failure for part in parts for failure in part.failures],
        sum(part.seconds for part in parts),
    )


class MergeTree:
    """Adds results up in a tree of :data:`FAN_IN` branches that depends on their positions only.

    Results may arrive in any order: a group is merged once complete, so that floating-point sums come out the same
    whatever the executor, and few results are held at a time. ``merge_group`` may return a future.
    """

    def __init__(self, total: int, merge_group: Callable[[list[Any]], Any] = merge) -> None:
        self._sizes = [total]
        while self._sizes[-1] > 1:
            self._sizes.append(-(-self._sizes[-1] // FAN_IN))
        self._pending: list[dict[int, dict[int, Any]]] = [{} for _ in self._sizes]
        self._merge = merge_group
        self.result: Any = None

    def add(self, position: int, value: Any, level: int = 0) -> None:
        """Take the result at a position, and merge every group that this completes."""
        if level == len(self._sizes) - 1:
            self.result = value
            return
        group = position // FAN_IN
        members = self._pending[level].setdefault(group, {})
        members[position] = value
        if len(members) == min(FAN_IN, self._sizes[level] - group * FAN_IN):
            del self._pending[level][group]
            self.add(group, self._merge([members[k] for k in sorted(members)]), level + 1)
