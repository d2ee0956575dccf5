"""From the event record to training data for SPANet: padded arrays with truth, one shard a chunk.

The form on disk is that of :mod:`hhh_coffea.spanet.training.dataset`, which reads it without awkward or coffea.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np

from hhh_coffea.base.hashing import split_number
from hhh_coffea.base.user_files import expanded
from hhh_coffea.datasets.fileset import DatasetMetadata
from hhh_coffea.methods.spanet_inputs import PADDED_LENGTH, collection_of, network_inputs
from hhh_coffea.reconstruction.analysis import Analysis, Kept
from hhh_coffea.reconstruction.targets import Targets
from hhh_coffea.spanet.training.dataset import SCHEMA_FILE, SCHEMA_VERSION, UNKNOWN_FORMAT, DatasetError, Rows, row_type
from hhh_coffea.topology.kinds import Kind, daughter_order, in_words, kinds_of, partner, same_targets
from hhh_coffea.topology.topology import Topology, bundled_names

SHARDS = "shards"


@dataclass(frozen=True)
class TrainingSpecification:
    """What training data are made for: stands where a model would, in errors and for its topology."""

    name: str
    topology: Topology

    @classmethod
    def of(cls, topology: str | Path) -> TrainingSpecification:
        """From a bundled topology's name or an event YAML; ValueError if it cannot be had or the record lacks it."""
        name = str(topology)
        read = Topology.bundled(name) if name in bundled_names() or not expanded(name).is_file() else None
        specification = cls(Path(name).stem, read or Topology.from_file(name))
        for event_input in specification.topology.inputs:
            collection_of(event_input, specification.name)
        return specification

    @property
    def kinds(self) -> dict[str, Kind]:
        """Kinds of targets to be learnt."""
        return kinds_of(self.topology)

    def lengths(self, kept: Kept) -> list[int]:
        """Padded length of each input: depends on the selection, never on the events of a chunk."""
        names = [collection_of(i, self.name) for i in self.topology.inputs]
        return [max(PADDED_LENGTH[name], kept._asdict().get(name, 0)) for name in names]

    def check(self, dataset: str, analysis: Analysis) -> None:
        """DatasetError if the analysis of the dataset has other targets than the topology, or no truth for its heads."""
        if not same_targets(self.kinds, analysis.kinds):
            raise DatasetError(
                f"topology {self.name!r} seeks {in_words(self.kinds)}, dataset {dataset!r} is of analysis "
                f"{analysis.name!r} with {in_words(analysis.kinds)}"
            )
        heads = [*(r.key for r in self.topology.regressions), *self.topology.classifications]
        if unknown := [key for key in heads if key not in {*analysis.regressions, *analysis.classifications}]:
            raise DatasetError(
                f"topology {self.name!r}: training data made of events hold no truth for {', '.join(unknown)}, which "
                f"analysis {analysis.name!r} does not declare; leave them out of REGRESSIONS and CLASSIFICATIONS, or "
                "bring the values in a file: train import-hdf5"
            )


def training_rows(
    record: ak.Array,
    targets: Targets,
    specification: TrainingSpecification,
    analysis: Analysis,
    metadata: DatasetMetadata,
    uuid: str,
) -> Rows:
    """One row for each event of a truncated record; ``targets`` are positions in its lists.

    Where events are told apart in classes, targets that are not known (background) have weight 0: such events train
    classes and regressions alone, and not that the targets were absent.

    Raises
    ------
    DatasetError
        if an event has more objects of an input than training data keep.
    """
    topology, lengths = specification.topology, specification.lengths(analysis.kept(metadata))
    weighted = topology.target_names if topology.classifications else ()
    rows = np.zeros(len(record), dtype=row_type(topology, lengths, weighted))
    for event_input, length, x, mask in zip(
        topology.inputs, lengths, *network_inputs(record, specification), strict=True
    ):
        if x.shape[1] > length and mask[:, length:].any():
            raise DatasetError(
                f"input {event_input.name!r}: an event has {mask.sum(axis=1).max()} objects, training data keep {length}"
            )
        # a chunk may have come out shorter than the selection allows: what is beyond stays padding
        rows[f"inputs/{event_input.name}"][:, : x.shape[1]] = np.where(mask[..., None], x, 0.0)
        rows[f"masks/{event_input.name}"][:, : x.shape[1]] = mask
    for kind in specification.kinds.values():
        own = partner(kind, analysis.kinds)
        assert own is not None  # checked before
        order = daughter_order(kind, own)  # the topology may list the daughters in another order
        assert order is not None
        positions = targets.objects[own.name][..., list(order)]
        for member, i in enumerate(kind.members):
            rows[f"targets/{topology.targets[i].name}"] = positions[:, member]
    for name in weighted:
        rows[f"weights/{name}"] = float(targets.known)
    for r in topology.regressions:
        rows[f"regressions/{r.key}"] = analysis.regressions[r.key](record) if metadata.is_signal else np.nan
    for key in topology.classifications:
        rows[f"classifications/{key}"] = analysis.classifications[key](record, metadata.is_signal)
    rows["weight"] = ak.to_numpy(record.weight)
    rows["entry"] = ak.to_numpy(record.id)
    rows["split"] = split_number(uuid, rows["entry"])
    return rows


def write_shard(folder: str | Path, rows: Rows, chunk: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Write a chunk's rows and return its entry of the schema, by the shard's name.

    ``chunk`` is ``events.metadata``. The name depends on the chunk alone and the file appears whole or not at all, so
    a chunk that is processed again replaces what it wrote before.
    """
    start, stop = int(chunk["entrystart"]), int(chunk["entrystop"])
    name = f"{SHARDS}/{chunk['dataset']}-{chunk['fileuuid']}-{start:012d}-{stop:012d}.npy"
    path = Path(folder) / name
    columns = rows.dtype.names or ()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as stream:
        np.save(stream, rows, allow_pickle=False)
    partial.replace(path)
    return {
        name: {
            "dataset": str(chunk["dataset"]),
            "format": str(chunk.get("format", UNKNOWN_FORMAT)),
            "source": Path(str(chunk["filename"])).name,
            "uuid": str(chunk["fileuuid"]),
            "start": start,
            "stop": stop,
            "events": len(rows),
            "lengths": {n.removeprefix("masks/"): rows.dtype[n].shape[0] for n in columns if n.startswith("masks/")},
            "weighted": [n.removeprefix("weights/") for n in columns if n.startswith("weights/")],
            "classes": {
                n.removeprefix("classifications/"): int(rows[n].max(initial=0)) + 1
                for n in columns
                if n.startswith("classifications/")
            },
        }
    }


def write_schema(folder: str | Path, topology: Topology, shards: Mapping[str, Mapping[str, Any]], truth: str) -> Path:
    """Write ``schema.json`` for these shards; only what it lists is ever read.

    Raises
    ------
    DatasetError
        if there is none, or if datasets were padded to different lengths.
    """
    if not shards:
        raise DatasetError(f"{folder}: no shard was written")
    lengths = {json.dumps(s["lengths"], sort_keys=True): s for s in shards.values()}
    if len(lengths) > 1:
        a, b = list(lengths.values())[:2]
        raise DatasetError(
            f"datasets {a['dataset']!r} and {b['dataset']!r} keep different numbers of objects ({a['lengths']}, "
            f"{b['lengths']}): give them the same selection.max_jets and max_fatjets"
        )
    first = next(iter(shards.values()))
    length, weighted = first["lengths"], first["weighted"]
    of_shard = ("lengths", "weighted", "classes")
    # in the order of files and entries, not in that of arrival: the same dataset whatever the executor
    listed = sorted(shards.items(), key=lambda item: (item[1]["dataset"], item[1]["source"], item[0]))
    schema = {
        "schema_version": SCHEMA_VERSION,
        "events": sum(s["events"] for s in shards.values()),
        "truth": truth,
        "inputs": {i.name: {"length": length[i.name], "features": list(i.feature_names)} for i in topology.inputs},
        "targets": {t.name: dict(zip(t.daughters, t.sources, strict=True)) for t in topology.targets},
        "shards": [{"file": n} | {k: v for k, v in s.items() if k not in of_shard} for n, s in listed],
        "topology": topology.text,
    }
    if weighted:
        schema["weighted_targets"] = weighted
    if topology.classifications:
        schema["classes"] = {key: max(s["classes"][key] for s in shards.values()) for key in topology.classifications}
    path = Path(folder) / SCHEMA_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(schema, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(path)
    return path
