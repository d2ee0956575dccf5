"""One event as the main job sees it: record, targets, and every method's candidates with what they got right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt

from hhh_coffea.base.errors import UserError
from hhh_coffea.datasets.fileset import Dataset, DatasetMetadata
from hhh_coffea.engine.chunks import Chunk, FileInfo, Job, SourceFile, inspect_file, process
from hhh_coffea.engine.processors import ProcessorSource
from hhh_coffea.events.formats import metadata_of
from hhh_coffea.events.missing import MissingError
from hhh_coffea.methods import (
    MethodOptions,
    branches_for,
    extra_features,
    reconstruct,
)
from hhh_coffea.methods.spanet import SpanetModel, network_inputs
from hhh_coffea.reconstruction.analysis import Analysis
from hhh_coffea.reconstruction.prepare import prepare
from hhh_coffea.reconstruction.targets import Targets
from hhh_coffea.topology.kinds import Kind, partner


@dataclass(frozen=True)
class Matrix:
    """SPANet's opinion of one target: ``probability`` of each object or pair, ``(N,)`` or symmetric ``(N, N)``."""

    target: str
    kind: str
    probability: npt.NDArray[np.float64]
    detection: float
    label: str = ""  # what figures call the target, where its analysis says so


@dataclass(frozen=True)
class EventView:
    """An event to be drawn; plain numbers, positions are those in the record's lists."""

    dataset: str
    label: str
    file: str
    entry: int
    symbol: str  # of a particle: H
    names: list[str]  # of the particles: H1, H2
    kinds: dict[str, Kind]
    objects: dict[str, list[dict[str, float]]]  # by collection of the record
    particles: list[dict[str, float]]  # pt and mass of the generated ones; empty without truth
    marks: list[tuple[int, str, float, float]]  # generated: particle, marker, η, φ
    targets: list[dict[str, Any]]  # particle, kind, objects; only those that exist
    candidates: dict[str, list[dict[str, Any]]]  # by method; ``particle``: the one it is, None if wrong or unknown
    known: bool = True  # whether there is truth
    matrices: list[Matrix] = field(default_factory=list)
    format: str = "delphes"
    met: tuple[float, float] | None = None  # missing transverse momentum: pT (GeV) and φ, where it is in the record


class _Picker:
    """A processor in all but name: the chain of the main job on a chunk of one event, with all it finds on the way."""

    def __init__(self, methods: Sequence[str], definition: str, options: MethodOptions, analysis: Analysis) -> None:
        self.methods, self.definition, self.options, self.analysis = tuple(methods), definition, options, analysis
        self.features = extra_features(self.methods, options, analysis)

    def branches(self, metadata: DatasetMetadata) -> list[str]:
        return branches_for(self.methods, self.analysis, self.options, metadata)

    def process(self, events: Any) -> Any:
        metadata = metadata_of(events)
        prepared = prepare(events, metadata, self.analysis, [self.definition], self.features)
        record, targets, selection = prepared.record, prepared.targets[self.definition], prepared.selection
        failed = [name for name in selection.names if not selection.all(name).all()]
        if failed:
            return {"failed": failed}
        found = reconstruct({self.definition: self.methods}, record, self.analysis, self.options)[self.definition]
        return {
            "record": record,
            "targets": targets,
            "candidates": found,
        }


def read_event(
    dataset: Dataset,
    analysis: Analysis,
    file: str,
    entry: int,
    methods: Sequence[str],
    definition: str,
    options: MethodOptions,
) -> EventView:
    """Read one entry of one file and run the methods on it.

    Raises
    ------
    UserError
        if the file cannot be read, has no such entry, or the event fails the selection.
    """
    source = ProcessorSource.of(_Picker(methods, analysis.asked_for([definition])[0], options, analysis))
    info = inspect_file(SourceFile(dataset.name, file, dataset.files[file]))
    if not isinstance(info, FileInfo):
        raise UserError(f"{file}: {info.reason}")
    if not 0 <= entry < info.entries:
        where = f"{dataset.name}, {Path(file).name}"
        raise UserError(f"option --event: {where}: the events are 0 to {info.entries - 1:,}, not {entry:,}")
    job = Job.of(source, {dataset.name: dataset})
    try:
        found = process(job, Chunk(dataset.name, file, dataset.files[file], info.uuid, entry, entry + 1))
    except MissingError as error:
        raise UserError(f"{file}: {error.args[0]}") from error
    if "failed" in found:
        raise UserError(f"event {entry} of {file} does not pass the selection: {', '.join(found['failed'])}")
    record, targets = found["record"], found["targets"]
    there = _targets(targets, analysis) if targets.known else []
    by_number = {kind.number: kind for kind in analysis.kinds.values()}
    candidates = {
        name: [
            {**candidate, "kind": by_number[candidate["kind"]].name, "particle": _which(candidate, by_number, there)}
            for candidate in ak.to_list(array)[0]
        ]
        for name, array in found["candidates"].items()
    }
    known = targets.known and bool(np.isfinite(targets.pt[0]).any())
    return EventView(
        dataset.name,
        dataset.label,
        file,
        entry,
        analysis.symbol or analysis.particle,
        [str(analysis.labels.get(name, name)) for name in analysis.particle_names()],
        analysis.kinds,
        {name: ak.to_list(record[name])[0] for name in ("jets", "fatjets", "leptons") if name in record.fields},
        [{"pt": float(pt), "mass": float(m)} for pt, m in zip(targets.pt[0], targets.mass[0], strict=True)]
        if known
        else [],
        analysis.marks(record) if analysis.marks is not None and targets.known else [],
        there,
        candidates,
        targets.known,
        assignment_matrices(record, options.spanet_for(analysis), analysis)
        if "spanet" in options.needs(methods, analysis)
        else [],
        dataset.metadata.format,
        (float(record.met.pt[0]), float(record.met.phi[0])) if "met" in record.fields else None,
    )


def _targets(targets: Targets, analysis: Analysis) -> list[dict[str, Any]]:
    return [
        {"particle": particle, "kind": kind.name, "objects": targets.objects[kind.name][0, member].tolist()}
        for kind in analysis.kinds.values()
        for member, particle in enumerate(kind.particles)
        if targets.exists(kind.name)[0, member]
    ]


def _which(candidate: dict[str, Any], kinds: dict[int, Kind], targets: list[dict[str, Any]]) -> int | None:
    """The particle that a candidate is, None if it is wrong."""
    kind = kinds[candidate["kind"]]
    name = int(kind.identity(np.array(candidate["objects"][: kind.degree])))
    same = (t for t in targets if t["kind"] == kind.name and int(kind.identity(np.array(t["objects"]))) == name)
    return next((int(target["particle"]) for target in same), None)


def assignment_matrices(record: ak.Array, model: SpanetModel, analysis: Analysis) -> list[Matrix]:
    """P(j1, j2) of each pair and P(object) of each single object, for a record of one event.

    The orderings of a pair's jets are one assignment: their probabilities are added (docs/spanet.md).
    """
    import torch

    from hhh_coffea.spanet.checkpoint import load_bytes
    from hhh_coffea.spanet.decoding.candidates import spans

    network = load_bytes(model.description, model.weights, model.name)
    inputs, masks = network_inputs(record, model)
    with torch.inference_mode():
        outputs = network([torch.from_numpy(x) for x in inputs], [torch.from_numpy(m) for m in masks])
    topology = network.topology
    lengths = [x.shape[1] for x, i in zip(inputs, topology.inputs, strict=True) if i.kind == "sequential"]
    ranges = spans(topology, lengths)
    objects = {i.name: int(m[0].sum()) for i, m in zip(topology.inputs, masks, strict=True)}
    found = []
    own_kind = {i: partner(kind, analysis.kinds) for kind in model.kinds.values() for i in kind.members}
    for number, target in enumerate(topology.targets):
        kind = own_kind[number]
        if target.degree > 2 or kind is None:
            continue  # a picture of three jets would need a third axis
        probability = outputs.assignment[target.name][0].double().exp().numpy()
        source = target.sources[0]
        first, end = ranges[source]
        # the original architecture scores every object of the event, ours those of the daughters' own input
        start = first if len(probability) > end - first else 0
        own = slice(start, start + objects[str(source)])
        probability = probability[(own,) * target.degree]
        if target.degree == 2:
            probability = probability + probability.T
        detection = float(torch.sigmoid(outputs.detection[target.name][0]))
        label = str(analysis.labels.get(target.name, ""))
        found.append(Matrix(target.name, kind.name, probability, detection, label))
    return found
