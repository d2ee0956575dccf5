"""Training data in the HDF5 layout of the original SPANet: written for its users, read from them.

``INPUTS/<input>/{MASK, feature…}``, ``TARGETS/<target>/{daughter…, MASK, WEIGHT}``, ``REGRESSIONS/…``,
``CLASSIFICATIONS/…`` (M. Fenton et al., Commun. Phys. 7, 139 (2024), and the code's documentation), and ``WEIGHTS/weight``
of events in files of CMS analyses. Positions of daughters count in their own input's list, −1 where absent. What our training
knows besides, ``EVENTS/{weight, entry, split}``, is ignored by the original. Needs h5py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hhh_coffea.base.hashing import split_number
from hhh_coffea.spanet.training.dataset import DatasetError, Rows, TrainingData, row_type
from hhh_coffea.topology.topology import Target, Topology, bundled_names
from hhh_coffea.training.spanet_data import write_schema, write_shard

BLOCK = 50_000  # events in memory at a time, and of a shard
SUFFIXES = (".h5", ".hdf5")
LAYOUT = "spanet-hdf5"


def h5py() -> Any:
    """The module; ImportError says how to get it."""
    try:
        import h5py as module
    except ImportError:
        raise ImportError("HDF5 files need the package h5py: pip install 'hhh-coffea[hdf5]'") from None
    return module


def write_hdf5(data: TrainingData, file: str | Path) -> Path:
    """Write training data as ``file``, and its event YAML beside it; memory does not grow with their size."""
    path, topology, n = Path(file), data.topology, len(data)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    with h5py().File(partial, "w") as target:

        def book(name: str, dtype: Any, *shape: int) -> None:
            target.create_dataset(name, (n, *shape), dtype, chunks=(min(n, 4096), *shape), compression="lzf")

        for i, length in zip(topology.inputs, data.lengths, strict=True):
            shape = (length,) if i.kind == "sequential" else ()
            book(f"INPUTS/{i.name}/MASK", "?", *shape)
            for feature in i.feature_names:
                book(f"INPUTS/{i.name}/{feature}", "<f4", *shape)
        for t in topology.targets:
            book(f"TARGETS/{t.name}/MASK", "?")
            for daughter in t.daughters:
                book(f"TARGETS/{t.name}/{daughter}", "<i8")
        for name in data.schema.get("weighted_targets", ()):
            book(f"TARGETS/{name}/WEIGHT", "<f4")
        for r in topology.regressions:
            book(f"REGRESSIONS/{r.key}", "<f4")
        for key in topology.classifications:
            book(f"CLASSIFICATIONS/{key}", "<i8")
        for name, dtype in (("weight", "<f4"), ("entry", "<i8"), ("split", "<f4")):
            book(f"EVENTS/{name}", dtype)
        for start, rows in data.blocks(BLOCK):
            for name, values in _columns(rows, topology):
                target[name][start : start + len(rows)] = values
    partial.replace(path)
    path.with_suffix(".yaml").write_text(topology.text, encoding="utf-8")
    return path


def _columns(rows: Rows, topology: Topology) -> list[tuple[str, npt.NDArray[Any]]]:
    """Name in the file and values of every dataset, for some rows."""
    columns: list[tuple[str, npt.NDArray[Any]]] = []
    for i in topology.inputs:
        pick = ... if i.kind == "sequential" else (slice(None), 0)
        columns.append((f"INPUTS/{i.name}/MASK", rows[f"masks/{i.name}"][pick]))
        for f, feature in enumerate(i.feature_names):
            columns.append((f"INPUTS/{i.name}/{feature}", rows[f"inputs/{i.name}"][..., f][pick]))
    for t in topology.targets:
        positions = rows[f"targets/{t.name}"]
        columns.append((f"TARGETS/{t.name}/MASK", np.all(positions >= 0, axis=1)))
        columns += [(f"TARGETS/{t.name}/{d}", positions[:, k]) for k, d in enumerate(t.daughters)]
    for name in rows.dtype.names or ():
        kind, _, rest = name.partition("/")
        if kind == "weights":
            columns.append((f"TARGETS/{rest}/WEIGHT", rows[name]))
        elif kind in ("regressions", "classifications"):
            columns.append((f"{kind.upper()}/{rest}", rows[name]))
    return columns + [(f"EVENTS/{name}", rows[name]) for name in ("weight", "entry", "split")]


def read_hdf5(
    file: str | Path,
    event: str | Path | None,
    folder: str | Path,
    dummy_targets: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> TrainingData:
    """Turn an HDF5 file into a training data directory.

    Parameters
    ----------
    file, folder
        what is read, and the directory that is written
    event
        an event YAML or a bundled topology's name; None takes the YAML beside the file
    dummy_targets
        the targets of the file mean nothing, as in files for classification that number them 0, 1, 2 …: leave them out
    say
        takes notes: where weights come from, daughters under other names, datasets that were not read

    Validation events of a file that was not written by us are drawn by a hash of its contents.

    Raises
    ------
    DatasetError
        naming the file and the dataset in it that is missing or does not fit.
    """
    path = Path(file)
    topology = _topology(path, event)
    if not path.is_file():
        raise DatasetError(f"{path}: there is no such file")
    with path.open("rb") as stream:
        uuid = hashlib.file_digest(stream, "sha256").hexdigest()
    shards: dict[str, dict[str, Any]] = {}
    try:
        with h5py().File(path) as source:
            reader = _Reader(path, source, topology, dummy_targets)
            for start in range(0, reader.n, BLOCK):
                stop = min(start + BLOCK, reader.n)
                chunk = {"dataset": path.stem, "fileuuid": uuid, "filename": path.name}
                shards |= write_shard(folder, reader.rows(start, stop, uuid), chunk | _range(start, stop))
            for note in (*topology.notes, *(f"{path}: {note}" for note in reader.notes())):
                say(note)
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read as HDF5: {error}") from error
    write_schema(folder, topology, shards, LAYOUT)
    return TrainingData.open(folder)


def _range(start: int, stop: int) -> dict[str, int]:
    return {"entrystart": start, "entrystop": stop}


def _topology(path: Path, event: str | Path | None) -> Topology:
    if event is None:
        event = path.with_suffix(".yaml")
        if not event.is_file():
            raise DatasetError(f"{path}: no {event.name} beside it: name the event YAML with --topology")
    if str(event) in bundled_names() and not Path(event).is_file():
        return Topology.bundled(str(event))
    return Topology.from_file(event)


class _Reader:
    """An open file whose datasets were checked against a topology."""

    def __init__(self, path: Path, source: Any, topology: Topology, dummy_targets: bool):
        self.path, self.source, self.topology, self.dummy_targets = path, source, topology, dummy_targets
        self._read: set[str] = set()
        self.daughters = {t.name: self._daughters(t) for t in topology.targets}
        self.weight = next((name for name in ("EVENTS/weight", "WEIGHTS/weight") if name in source), None)
        if others := [name for name in source.get("WEIGHTS", ()) if f"WEIGHTS/{name}" != self.weight]:
            raise DatasetError(
                f"{path}: WEIGHTS/{others[0]} would not be used: events have one weight, WEIGHTS/weight; rename it, or take it "
                "out"
            )
        first = topology.inputs[0]
        self.n = int(self.dataset(f"INPUTS/{first.name}/{first.feature_names[0]}").shape[0])
        self.lengths = []
        for i in topology.inputs:
            shape = self.dataset(f"INPUTS/{i.name}/{i.feature_names[0]}").shape
            if len(shape) != (2 if i.kind == "sequential" else 1):
                raise DatasetError(f"{path}: INPUTS/{i.name} is {i.kind}, but its features have the shape {shape}")
            self.lengths.append(int(shape[1]) if i.kind == "sequential" else 1)
        self.weighted = [t.name for t in topology.targets if f"TARGETS/{t.name}/WEIGHT" in source]
        self.type = row_type(topology, self.lengths, self.weighted)

    def dataset(self, name: str) -> Any:
        found = self.source.get(name)
        if found is None or not hasattr(found, "shape"):
            raise DatasetError(f"{self.path}: {name} is missing")
        self._read.add(name)
        return found

    def _daughters(self, target: Target) -> tuple[str, ...]:
        """The file's names of a target's daughters: those of the event YAML, or else as many others, in their order."""
        group = self.source.get(f"TARGETS/{target.name}")
        there = [name for name in group if name not in ("MASK", "WEIGHT")] if hasattr(group, "keys") else []
        if not set(target.daughters) <= set(there) and len(there) == target.degree:
            return tuple(there)
        return target.daughters

    def notes(self) -> list[str]:
        """What a user must know of how the file was read."""
        found = ["no weights of events: each counts 1"] if self.weight is None else []
        for t in self.topology.targets:
            if self.daughters[t.name] != t.daughters and not self.dummy_targets:
                ours, theirs = ", ".join(t.daughters), ", ".join(self.daughters[t.name])
                found.append(f"daughters {ours} of {t.name} are called {theirs} there: taken by their order")
        if self.dummy_targets:
            found.append("targets were left out (--dummy-targets)")
        names: list[str] = []
        self.source.visititems(lambda name, item: names.append(name) if hasattr(item, "shape") else None)
        unread = [n for n in names if n not in self._read and not (self.dummy_targets and n.startswith("TARGETS/"))]
        return [*found, *([f"not read: {', '.join(unread)}"] if unread else [])]

    def rows(self, start: int, stop: int, uuid: str) -> Rows:
        """Rows ``start`` to ``stop``, checked."""
        part, rows = slice(start, stop), np.zeros(stop - start, dtype=self.type)

        def column(name: str) -> npt.NDArray[Any]:
            dataset = self.dataset(name)
            if dataset.shape[0] != self.n:
                raise DatasetError(f"{self.path}: {name} has {dataset.shape[0]} events, not {self.n}")
            values: npt.NDArray[Any] = dataset[part]
            return values

        for i in self.topology.inputs:
            shape = rows[f"masks/{i.name}"].shape
            named = f"INPUTS/{i.name}/MASK"
            mask = column(named).astype(bool) if named in self.source or i.kind == "sequential" else np.True_
            rows[f"masks/{i.name}"] = np.broadcast_to(mask.reshape(shape) if mask.ndim else mask, shape)
            for f, feature in enumerate(i.feature_names):
                x = column(f"INPUTS/{i.name}/{feature}").reshape(shape)
                rows[f"inputs/{i.name}"][..., f] = np.where(rows[f"masks/{i.name}"], x, 0.0)
            if not np.isfinite(rows[f"inputs/{i.name}"]).all():
                raise DatasetError(f"{self.path}: INPUTS/{i.name} has values that are no numbers where MASK is true")
        for t in self.topology.targets:
            if self.dummy_targets:
                rows[f"targets/{t.name}"] = -1
                continue
            positions = np.stack([column(f"TARGETS/{t.name}/{d}") for d in self.daughters[t.name]], axis=1)
            there = np.asarray(np.all(positions >= 0, axis=1))
            if (mask_name := f"TARGETS/{t.name}/MASK") in self.source:
                there &= column(mask_name).astype(bool)
            self._check(t.name, positions[there], t.sources)
            rows[f"targets/{t.name}"] = np.where(there[:, None], positions, -1)
        for name in self.weighted:
            rows[f"weights/{name}"] = column(f"TARGETS/{name}/WEIGHT")
        for r in self.topology.regressions:
            rows[f"regressions/{r.key}"] = column(f"REGRESSIONS/{r.key}")
        for key in self.topology.classifications:
            rows[f"classifications/{key}"] = self._classes(key, column(f"CLASSIFICATIONS/{key}"))
        ours = "EVENTS/split" in self.source
        entry = np.arange(start, stop)
        rows["weight"] = 1.0 if self.weight is None else column(self.weight)
        if not np.isfinite(rows["weight"]).all():
            raise DatasetError(f"{self.path}: {self.weight} has values that are no numbers")
        rows["entry"] = column("EVENTS/entry") if ours else entry
        rows["split"] = column("EVENTS/split") if ours else split_number(uuid, entry)
        return rows

    def _classes(self, key: str, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Numbers of classes, −1 where unknown; a score, or a NaN, would be cut to a class without a word."""
        limit = np.iinfo(self.type[f"classifications/{key}"]).max
        if not (np.isfinite(values).all() and (values == np.floor(values)).all() and (np.abs(values) <= limit).all()):
            raise DatasetError(
                f"{self.path}: CLASSIFICATIONS/{key} holds values that are no numbers of classes (0, 1, …)"
            )
        return values

    def _check(self, target: str, positions: npt.NDArray[Any], sources: tuple[str | None, ...]) -> None:
        """Positions must lie in their list: a target that points beyond it would be learned as nonsense."""
        sizes: dict[str | None, int] = {i.name: n for i, n in zip(self.topology.inputs, self.lengths, strict=True)}
        sizes[None] = sum(sizes[i.name] for i in self.topology.sequential)
        for k, source in enumerate(sources):
            if len(positions) and positions[:, k].max() >= sizes[source]:
                raise DatasetError(
                    f"{self.path}: TARGETS/{target} points at object {positions[:, k].max()} of {sizes[source]}"
                )
