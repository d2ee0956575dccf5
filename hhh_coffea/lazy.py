"""Interactive work: events, event records and candidates as arrays, in memory or as dask-awkward collections.

    from hhh_coffea.lazy import open_events, reconstruct
    events = open_events("demo", "HHH")                    # dask-awkward: nothing is read yet
    candidates = reconstruct(events, "chi2")               # one list a selected event, as in the main job
    candidates.mass[candidates.correct].compute()

With ``mode="virtual"`` the same for one file, without dask: columns are read when they are used. The numbers are those of
the main job to the last bit, because the same functions make them on the same chunks; only the branches that these
functions need are read.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import awkward as ak
import dask_awkward as dak
import numpy as np
from coffea.nanoevents import NanoEventsFactory
from numba.core.entrypoints import init_all

from hhh_coffea.analyses import Analysis, analysis_of, load_analyses
from hhh_coffea.base.arrays import counts_of
from hhh_coffea.base.errors import UserError
from hhh_coffea.datasets.fileset import Dataset, DatasetMetadata, load_fileset
from hhh_coffea.engine.chunks import FileInfo, SourceFile, inspect_file, plan_chunks
from hhh_coffea.events.formats import branches_of, metadata_of, schema_of
from hhh_coffea.methods import (
    MethodOptions,
    check_usable,
    extra_features,
    method_options,
)
from hhh_coffea.methods import reconstruct as run_methods
from hhh_coffea.reconstruction.metrics import Definition
from hhh_coffea.reconstruction.prepare import prepare
from hhh_coffea.topology.kinds import NONE

Mode = Literal["dask", "virtual"]

# dask-awkward collection by name → file uuid and first entry of each of its partitions, as a collection aligned with it
_CHUNKS: dict[str, Any] = {}


def open_events(
    fileset: str,
    dataset: str | None = None,
    *,
    mode: Mode = "dask",
    file: str | None = None,
    chunksize: int | None = None,
) -> Any:
    """Events of a dataset as coffea NanoEvents.

    Parameters
    ----------
    fileset
        path of a fileset JSON, or the name of a bundled one
    dataset
        name in the fileset; its first when not given
    mode
        ``dask``: all files as one dask-awkward collection, a partition a chunk, cut as the main job cuts them;
        ``virtual``: one file in this process, columns read on use
    file
        for ``virtual``: end of the path of the file; the first when not given
    chunksize
        events of a partition at most; as in the main job when not given

    Raises
    ------
    UserError
        if the fileset, the dataset, the mode or a file cannot be used: nothing is skipped here.
    """
    if mode not in (modes := get_args(Mode)):
        raise UserError(f"no mode {mode!r}; there are {', '.join(modes)}")
    # awkward is made known to numba: left to numba, a second thread may compile before that is done
    init_all()  # type: ignore[no-untyped-call]
    datasets = load_fileset(fileset, [dataset] if dataset else None)
    load_analyses(dict(list(datasets.items())[:1]))  # a wrong name or selection is an error here
    chosen = next(iter(datasets.values()))
    metadata = {**chosen.metadata.model_dump(exclude_unset=True), "dataset": chosen.name}
    if mode == "virtual":
        return _open_file(_look_into(chosen, _one(chosen, file)), metadata)
    infos = [_look_into(chosen, path) for path in chosen.files]
    plan = plan_chunks(infos, chunksize)
    for text in plan.warnings:  # of files that are copies of others, say
        warnings.warn(text, stacklevel=2)
    files = {
        info.source.path: {
            "object_path": info.source.tree,
            "steps": [[c.start, c.stop] for c in plan.chunks if c.path == info.source.path],
        }
        for info in infos
        if info.entries
    }
    events = NanoEventsFactory.from_root(
        files, schemaclass=schema_of(chosen.metadata), mode="dask", metadata=metadata
    ).events()
    chunks = ak.Array([{"fileuuid": c.uuid, "entrystart": c.start} for c in plan.chunks])
    _CHUNKS[events.name] = dak.from_awkward(chunks, npartitions=events.npartitions)
    return events


def event_record(events: Any, methods: Sequence[str] = (), **options: Any) -> Any:
    """The event record (docs/how_it_works.md) of the selected events, jets and large-radius jets truncated as the methods
    see them.

    ``methods`` and ``options`` (those of :func:`hhh_coffea.reconstruction.method_options`) add the large-radius-jet features that
    the methods read.
    """
    made = method_options(methods, **options)
    return _run(_Step(made.methods, "default", made, candidates=False), events)


def reconstruct(events: Any, method: str, definition: Definition = "default", **options: Any) -> Any:
    """Candidates of one method in the selected events: one list an event, in the order of :func:`event_record`.

    ``options`` are those of :func:`hhh_coffea.reconstruction.method_options` (``chi2_jets``, ``bdt_wp``, ``model`` …). The
    fields are those of :mod:`hhh_coffea.reconstruction.candidates`, the daughters' positions by the analysis's names of
    them (``jet1``, ``jet2``, ``fatjet`` of the Higgs analyses), and ``correct`` where there is truth.

    Raises
    ------
    UserError
        if there is no such method or its model cannot be used, or if ``events`` are not what :func:`open_events`
        returned: cut the result instead.
    """
    made = method_options([method], **options)
    return _run(_Step(made.methods, definition, made, candidates=True), events)


@dataclass(frozen=True)
class _Step:
    """The chain of the main job on one chunk, as far as asked for; what dask-awkward maps over the partitions."""

    methods: tuple[str, ...]
    definition: str
    options: MethodOptions
    candidates: bool
    analysis: Analysis | None = None

    def __call__(self, events: Any, chunk: Any) -> ak.Array:
        if ak.backend(events) != "typetracer":
            return self.compute(_of_chunk(events, chunk[0]))
        metadata = metadata_of(events)
        analysis = self.analysis or analysis_of(metadata)
        features = extra_features(self.methods, self.options, analysis)
        for branch in branches_of(metadata, features, analysis.collections):
            _touch(events, branch)
        return self.shape_of(events)

    def shape_of(self, events: Any) -> ak.Array:
        """The result's type, from a run on no events at all; all methods return candidates of one type."""
        empty = ak.Array(events.layout.form.length_zero_array(), behavior=events.behavior)
        result = self.compute(_of_chunk(empty, {"fileuuid": "", "entrystart": 0}), run=False)
        return ak.Array(result.layout.to_typetracer(forget_length=True))

    def compute(self, events: Any, run: bool = True) -> ak.Array:
        """Read, select, match and reconstruct; without ``run`` no method is called and there are no candidates."""
        metadata = metadata_of(events)
        analysis = self.analysis or analysis_of(metadata)
        definitions = [self.definition] if self.candidates else []
        features = extra_features(self.methods, self.options, analysis)
        prepared = prepare(events, metadata, analysis, definitions, features)
        if not self.candidates:
            return prepared.record
        if run:
            found = run_methods({self.definition: self.methods}, prepared.record, analysis, self.options)
            candidates = found[self.definition][self.methods[0]]
        else:
            kind = next(iter(analysis.kinds.values()))
            none = np.full((len(prepared.record), 1, kind.degree), NONE, dtype=np.int64)
            candidates = analysis.candidates(prepared.record, kind.name, none)
        candidates = analysis.with_columns(candidates)
        if metadata.is_signal:
            correct = analysis.evaluate(candidates, prepared.targets[self.definition], self.definition).correct
            candidates = ak.with_field(candidates, ak.unflatten(correct, counts_of(candidates.kind)), "correct")
        return candidates


def _run(step: _Step, events: Any) -> Any:
    if not isinstance(events, dak.Array):
        metadata = dict(events.metadata)
        if "entrystop" not in metadata or len(events) != metadata["entrystop"] - metadata["entrystart"]:
            raise UserError("events must be exactly those of open_events(): apply cuts to the result instead")
        return _checked(step, metadata_of(events)).compute(events)
    if events.name not in _CHUNKS:
        raise UserError("events must be exactly those of open_events(): apply cuts to the result instead")
    step = _checked(step, metadata_of(events._meta))
    return dak.map_partitions(
        step, events, _CHUNKS[events.name], label="record" if not step.candidates else step.methods[0]
    )


def _checked(step: _Step, metadata: DatasetMetadata) -> _Step:
    """The step with the analysis of the dataset, which travels to workers with it."""
    analysis = analysis_of(metadata)
    check_usable(step.methods, analysis, step.options, metadata.format)
    return replace(step, analysis=analysis, definition=analysis.asked_for([step.definition])[0])


def _of_chunk(events: Any, chunk: Any) -> Any:
    """The events with the identity of their chunk in their metadata, as the main job's have it."""
    identity = {"fileuuid": str(chunk["fileuuid"]), "entrystart": int(chunk["entrystart"])}
    return ak.with_parameter(events, "metadata", {**events.metadata, **identity})


def _touch(events: Any, branch: str) -> None:
    """Mark a branch as needed: ``Jet/Jet.PT`` (Delphes), ``Jet_pt`` or ``genWeight`` (NanoAOD)."""
    if branch in events.fields and not events[branch].fields:
        ak.typetracer.touch_data(events[branch])
        return
    collection, _, field = branch.rsplit("/", maxsplit=1)[-1].partition("." if "/" in branch else "_")
    if collection not in events.fields:
        return  # optional branches; a required one is missed by name when the chunk is read
    name = field.replace("[", "_").replace("]", "")
    if not field:
        ak.typetracer.touch_data(events[collection])
    elif name in events[collection].fields:
        ak.typetracer.touch_data(events[collection][name])


def _look_into(dataset: Dataset, path: str) -> FileInfo:
    info = inspect_file(SourceFile(dataset.name, path, dataset.files[path]))
    if not isinstance(info, FileInfo):
        raise UserError(f"{path}: {info.reason}")
    return info


def _one(dataset: Dataset, wanted: str | None) -> str:
    found = [path for path in dataset.files if wanted is None or path.endswith(wanted)]
    if wanted is not None and len(found) != 1:
        raise UserError(f"{len(found)} files of dataset {dataset.name!r} end in {wanted!r}")
    return found[0]


def _open_file(info: FileInfo, metadata: dict[str, Any]) -> Any:
    return NanoEventsFactory.from_root(
        {info.source.path: info.source.tree},
        schemaclass=schema_of(DatasetMetadata.model_validate({k: v for k, v in metadata.items() if k != "dataset"})),
        mode="virtual",
        metadata={
            **metadata,
            "filename": info.source.path,
            "fileuuid": info.uuid,
            "entrystart": 0,
            "entrystop": info.entries,
        },
    ).events()
