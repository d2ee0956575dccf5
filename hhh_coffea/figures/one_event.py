"""One event as the main job sees it: record, targets, and every method's candidates with what they got right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt

from hhh_coffea.base.errors import UserError
from hhh_coffea.datasets.fileset import Dataset, DatasetMetadata
from hhh_coffea.engine.chunks import Chunk, FileInfo, Job, SourceFile, inspect_file, process
from hhh_coffea.engine.processors import ProcessorSource
from hhh_coffea.events.formats import branches_of, metadata_of
from hhh_coffea.reconstruction import (
    MethodOptions,
    check_models,
    check_trained_on,
    fatjet_features,
    reconstruct,
)
from hhh_coffea.reconstruction.metrics import Definition, evaluate
from hhh_coffea.reconstruction.prepare import prepare
from hhh_coffea.reconstruction.spanet import SpanetModel, network_inputs


@dataclass(frozen=True)
class Matrix:
    """SPANet's opinion of one target: ``probability`` of each object or pair, ``(N,)`` or symmetric ``(N, N)``."""

    target: str
    probability: npt.NDArray[np.float64]
    detection: float


@dataclass(frozen=True)
class EventView:
    """An event to be drawn; plain numbers, positions are those in the record's lists."""

    dataset: str
    label: str
    file: str
    entry: int
    jets: list[dict[str, float]]
    fatjets: list[dict[str, float]]
    higgs: list[dict[str, Any]]  # with b1 and b2; empty without truth
    targets: list[dict[str, int]]  # jet1, jet2, fatjet of each Higgs, −1 where none
    candidates: dict[str, list[dict[str, Any]]]  # by method; ``higgs``: the Higgs it found, None if wrong or unknown
    matrices: list[Matrix] = field(default_factory=list)
    format: str = "delphes"


class _Picker:
    """A processor in all but name: the chain of the main job on a chunk of one event, with all it finds on the way."""

    def __init__(self, methods: Sequence[str], definition: Definition, options: MethodOptions) -> None:
        self.methods, self.definition, self.options = tuple(methods), definition, options
        self.features = fatjet_features(self.methods, options)

    def branches(self, metadata: DatasetMetadata) -> list[str]:
        check_models(self.methods, metadata.n_higgs, self.options)
        check_trained_on(self.methods, self.options, metadata.format)
        return branches_of(metadata, self.features)

    def process(self, events: Any) -> Any:
        metadata = metadata_of(events)
        prepared = prepare(events, metadata, [self.definition], self.features)
        record, targets, selection = prepared.record, prepared.targets[self.definition], prepared.selection
        failed = [name for name in selection.names if not selection.all(name).all()]
        if failed:
            return {"failed": failed}
        found = reconstruct({self.definition: self.methods}, record, metadata.n_higgs, self.options)[self.definition]
        return {
            "record": record,
            "targets": targets,
            "candidates": found,
            "correct": {name: evaluate(c, targets, self.definition).correct for name, c in found.items()},
        }


def read_event(
    dataset: Dataset, file: str, entry: int, methods: Sequence[str], definition: Definition, options: MethodOptions
) -> EventView:
    """Read one entry of one file and run the methods on it.

    Raises
    ------
    UserError
        if the file cannot be read, has no such entry, or the event fails the selection.
    """
    source = ProcessorSource.of(_Picker(methods, definition, options))
    info = inspect_file(SourceFile(dataset.name, file, dataset.files[file]))
    if not isinstance(info, FileInfo):
        raise UserError(f"{file}: {info.reason}")
    if not 0 <= entry < info.entries:
        raise UserError(f"option --event: {file} has the events 0 to {info.entries - 1}, not {entry}")
    job = Job.of(source, {dataset.name: dataset})
    found = process(job, Chunk(dataset.name, file, dataset.files[file], info.uuid, entry, entry + 1))
    if "failed" in found:
        raise UserError(f"event {entry} of {file} does not pass the selection: {', '.join(found['failed'])}")
    record, targets = found["record"], found["targets"]
    known = [
        {name: int(getattr(targets, name)[0, i]) for name in ("jet1", "jet2", "fatjet")}
        for i in range(targets.pt.shape[1])
        if targets.known
    ]
    candidates = {
        name: [
            {**candidate, "higgs": _which(candidate, known) if right else None}
            for candidate, right in zip(ak.to_list(array)[0], found["correct"][name], strict=True)
        ]
        for name, array in found["candidates"].items()
    }
    return EventView(
        dataset.name,
        dataset.label,
        file,
        entry,
        ak.to_list(record.jets)[0],
        ak.to_list(record.fatjets)[0],
        ak.to_list(record.higgs)[0] if "higgs" in record.fields else [],
        known,
        candidates,
        assignment_matrices(record, options.spanet_for(dataset.metadata.n_higgs))
        if "spanet" in options.needs(methods)
        else [],
        dataset.metadata.format,
    )


def _which(candidate: dict[str, Any], targets: list[dict[str, int]]) -> int:
    """The Higgs that a correct candidate is."""
    names = ("fatjet",) if candidate["fatjet"] >= 0 else ("jet1", "jet2")
    return next(i for i, target in enumerate(targets) if all(target[n] == candidate[n] for n in names))


def assignment_matrices(record: ak.Array, model: SpanetModel) -> list[Matrix]:
    """P(j1, j2) of each resolved target and P(fat jet) of each boosted one, for a record of one event.

    The orderings of a pair's jets are one assignment: their probabilities are added (docs/spanet.md).
    """
    import torch

    from hhh_coffea.spanet.checkpoint import load_bytes
    from hhh_coffea.spanet.decoding.decode import spans

    network = load_bytes(model.description, model.weights, model.name)
    inputs, masks = network_inputs(record, model)
    with torch.inference_mode():
        outputs = network([torch.from_numpy(x) for x in inputs], [torch.from_numpy(m) for m in masks])
    topology = network.topology
    ranges = spans(topology, [x.shape[1] for x in inputs])
    objects = {i.name: int(m[0].sum()) for i, m in zip(topology.inputs, masks, strict=True)}
    found = []
    for target in topology.targets:
        probability = outputs.assignment[target.name][0].double().exp().numpy()
        source = target.sources[0]
        first, end = ranges[source]
        # the original architecture scores every object of the event, ours those of the daughters' own input
        start = first if len(probability) > end - first else 0
        own = slice(start, start + objects[str(source)])
        probability = probability[(own,) * target.degree]
        if target.degree == 2:
            probability = probability + probability.T
        found.append(Matrix(target.name, probability, float(torch.sigmoid(outputs.detection[target.name][0]))))
    return found
