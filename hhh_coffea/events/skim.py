"""Skims: selected event records in a TTree, as ``hhh run --skim`` writes them, whatever format the events came from.

Objects are in the record's order, with corrections applied and b tags decided, so that a skim gives the same candidates as
its original. Branches are ``jets_pt`` with their number ``njets``, ``higgs_b1_pt``, ``met_pt``, ``weight``, ``entry``: coffea
reads them with ``BaseSchema`` or ``NanoAODSchema``. ``entry`` and ``jets_index`` are those of the original file.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import awkward as ak
import numpy as np
from coffea.nanoevents import BaseSchema

from hhh_coffea.base.arrays import counts_of, flat, records, unflatten
from hhh_coffea.datasets.fileset import DatasetMetadata
from hhh_coffea.events import coupling_weights
from hhh_coffea.events.missing import MissingBranchError
from hhh_coffea.events.record import COUPLING_WEIGHTS, LISTS, MULTI_HIGGS, TRUTH, Reading, accepted, shared_out

SCHEMA = BaseSchema
TREE = "Events"
KINEMATICS = ("pt", "eta", "phi", "mass")
ENTRY, WEIGHT = "entry", "weight"
IDENTITY = ("run", "luminosityBlock", "event")  # NanoAODSchema wants them
# What the objects of a list may have, and what of it is a particle with columns of its own
LEAVES = {
    "jets": (*KINEMATICS, "btag", "btag_score", "btag_wp3", "btag_wp5", "flavor", "index"),
    "fatjets": (*KINEMATICS, "index"),
    "leptons": (*KINEMATICS, "charge", "flavor", "isolation", "index"),
    "higgs": KINEMATICS,
    "hard_higgs": KINEMATICS,
    "tops": (*KINEMATICS, "pid", "decay"),
}
COLLECTION = {"hard_higgs": "hardHiggs"}  # NanoAODSchema takes what stands before the first _ for the collection
PARTS = {"higgs": ("b1", "b2"), "tops": ("b", "w", "d1", "d2", "nu_sum")}
MET, SUM_ET = ("met_pt", "met_phi"), "sum_et"


def columns_of(record: ak.Array) -> dict[str, Any]:
    """Branches of a record: jagged lists of plain columns by collection, and one value for each event."""
    found: dict[str, Any] = {}
    for name in record.fields:
        if name in LISTS:
            columns: dict[str, Any] = {}
            for leaf in record[name].fields:
                values = record[name][leaf]
                parts = {f"{leaf}_{part}": values[part] for part in values.fields}
                columns |= {key: flat(column) for key, column in (parts or {leaf: values}).items()}
            found[COLLECTION.get(name, name)] = unflatten(columns, counts_of(record[name].pt))
        elif name == "met":
            found |= {f"met_{part}": ak.to_numpy(record.met[part]) for part in record.met.fields}
        elif name in (WEIGHT, SUM_ET, COUPLING_WEIGHTS, "id"):
            found[ENTRY if name == "id" else name] = ak.to_numpy(record[name])
    return found


def branches(
    metadata: DatasetMetadata, extra_features: Collection[str] = (), collections: Collection[str] = MULTI_HIGGS
) -> list[str]:
    """Names of the branches that :func:`read` may touch; of these only what a skim has is read."""
    found = [ENTRY, WEIGHT, *IDENTITY]
    extra = shared_out(extra_features)
    for name in _lists(metadata, collections):
        leaves = [*LEAVES[name], *extra.get(name, ())]
        leaves += [f"{part}_{leaf}" for part in PARTS.get(name, ()) for leaf in (*KINEMATICS, "pid")]
        stem = COLLECTION.get(name, name)
        found += [f"n{stem}", *(f"{stem}_{leaf}" for leaf in leaves)]
    found += [COUPLING_WEIGHTS] if COUPLING_WEIGHTS in collections else []
    return [*found, *MET, SUM_ET] if "met" in collections else found


def read(
    events: Any,
    metadata: DatasetMetadata,
    extra_features: Collection[str] = (),
    collections: Collection[str] = MULTI_HIGGS,
) -> Reading:
    """Turn a chunk of a skim back into the event record. Thresholds of the metadata apply where they are tighter.

    Raises
    ------
    MissingBranchError
        naming what the run that made the skim did not read.
    """
    record: dict[str, Any] = {name: _list(events, name) for name in _lists(metadata, collections)}
    for name, features in shared_out(extra_features).items():
        for feature in features:
            _column(events, f"{name}_{feature}")
    selection = metadata.selection
    for name, pt_min, eta_max in (
        ("jets", selection.jet_pt_min, selection.jet_abs_eta_max),
        ("fatjets", selection.fatjet_pt_min, selection.fatjet_abs_eta_max),
    ):
        if name in record:
            record[name] = _passing(record[name], pt_min, eta_max)
    if "met" in collections:
        record["met"] = records({name.removeprefix("met_"): ak.to_numpy(_column(events, name)) for name in MET})
        record[SUM_ET] = ak.to_numpy(_column(events, SUM_ET))
    if COUPLING_WEIGHTS in collections and coupling_weights.wanted(metadata) is not None:
        record[COUPLING_WEIGHTS] = ak.to_numpy(_column(events, COUPLING_WEIGHTS))
    record[WEIGHT] = ak.to_numpy(_column(events, WEIGHT))
    record["id"] = ak.to_numpy(_column(events, ENTRY))
    return Reading(records(record), {})


def describe(_: Any, metadata: DatasetMetadata) -> str:
    """How a file is read, in words."""
    return f"skim of {metadata.format} events"


def _lists(metadata: DatasetMetadata, collections: Collection[str]) -> list[str]:
    return [n for n in LISTS if n == "jets" or (n in collections and (metadata.is_signal or n not in TRUTH))]


def _list(events: Any, name: str) -> ak.Array:
    prefix = f"{COLLECTION.get(name, name)}_"
    counts = counts_of(_column(events, f"{prefix}pt"))
    leaves = [field.removeprefix(prefix) for field in events.fields if field.startswith(prefix)]
    columns: dict[str, Any] = {}
    for part in PARTS.get(name, ()):
        own = [leaf for leaf in leaves if leaf.startswith(f"{part}_")]
        columns[part] = records({leaf.removeprefix(f"{part}_"): flat(events[prefix + leaf]) for leaf in own})
        leaves = [leaf for leaf in leaves if leaf not in own]
    return unflatten({**{leaf: flat(events[prefix + leaf]) for leaf in leaves}, **columns}, counts)


def _column(events: Any, branch: str) -> ak.Array:
    if branch not in events.fields:
        raise MissingBranchError(branch, "the run that made the skim did not read it", events.fields)
    return events[branch]


def _passing(objects: ak.Array, pt_min: float, abs_eta_max: float | None) -> ak.Array:
    columns = {name: flat(objects[name]) for name in objects.fields}
    keep = accepted(columns, pt_min, abs_eta_max)
    if keep.all():
        return objects
    event = np.repeat(np.arange(len(objects)), counts_of(objects.pt))[keep]
    return unflatten({n: v[keep] for n, v in columns.items()}, np.bincount(event, minlength=len(objects)))
