"""Delphes ROOT files → the event record. Reads the branches of the collections asked for and nothing else."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt
from coffea.nanoevents import DelphesSchema

from hhh_coffea.base.arrays import IntArray, counts_of, event_index, event_of, flat, position_in_event, records
from hhh_coffea.base.errors import listed
from hhh_coffea.base.kinematics import Cartesian, invariant_mass
from hhh_coffea.datasets.fileset import DatasetMetadata, FilesetError
from hhh_coffea.events import btagging, coupling_weights, leptons
from hhh_coffea.events.generator import B_QUARK, HIGGS, first_copies, flat_index
from hhh_coffea.events.generator import higgs_to_bb as higgs_with_quarks
from hhh_coffea.events.missing import MissingCollectionError
from hhh_coffea.events.record import (
    COUPLING_WEIGHTS,
    MULTI_HIGGS,
    SCALE,
    TRUTH,
    Columns,
    Reading,
    accepted,
    finite_kinematics,
    ordered_collection,
    shared_out,
)
from hhh_coffea.events.tops import top_decays

SCHEMA = DelphesSchema
KINEMATICS = {"pt": "PT", "eta": "Eta", "phi": "Phi", "mass": "Mass"}
LEPTON = {"pt": "PT", "eta": "Eta", "phi": "Phi", "charge": "Charge", "isolation": "IsolationVar"}

# Properties of jets and of large-radius jets that only some methods need, by the branches they are made of: a run
# reads those it uses.
JET_BRANCHES = {"n_charged": "NCharged", "n_neutral": "NNeutrals"}
FATJET_BRANCHES = {
    "softdrop_mass": ("SoftDroppedP4[5]",),
    "tau21": ("Tau[5]",),
    "tau32": ("Tau[5]",),
    "charged_fraction": ("ChargedEnergyFraction",),
    "n_charged": ("NCharged",),
    "n_neutral": ("NNeutrals",),
}


def branches(
    metadata: DatasetMetadata, extra_features: Collection[str] = (), collections: Collection[str] = MULTI_HIGGS
) -> list[str]:
    """Full names of the branches :func:`read` touches in this dataset's files.

    Raises
    ------
    FilesetError
        naming the features that Delphes does not provide, or that these files without large-radius jets lack.
    """
    extra = shared_out(extra_features)
    for name, known, what in (("jets", JET_BRANCHES, "jets"), ("fatjets", FATJET_BRANCHES, "large-radius jets")):
        if unknown := sorted(set(extra[name]) - set(known)):
            raise FilesetError(f"Delphes files do not have the features {unknown} of {what}; they have {listed(known)}")
    if metadata.fatjets is None and extra["fatjets"]:
        raise FilesetError(
            f"the features {listed(extra['fatjets'])} of large-radius jets are needed, but the metadata field 'fatjets' is "
            "null: choose methods that do not use large-radius jets, or name the collection"
        )
    fatjet_leaves = sorted({leaf for feature in extra["fatjets"] for leaf in FATJET_BRANCHES[feature]})
    jet_leaves = [JET_BRANCHES[feature] for feature in extra["jets"]]
    leaves = {metadata.jets: [*KINEMATICS.values(), "BTag", "Flavor", *jet_leaves]}
    if metadata.event is not None:
        leaves[metadata.event] = ["Weight", *(["Scale"] if SCALE in collections else [])]
    if "fatjets" in collections and metadata.fatjets is not None:
        leaves[metadata.fatjets] = [*KINEMATICS.values(), *fatjet_leaves]
    if "leptons" in collections:
        leaves |= {name: list(LEPTON.values()) for name in (metadata.electrons, metadata.muons)}
    if "met" in collections:
        # Eta is not read, but coffea describes the vector with it
        leaves |= {metadata.met: ["MET", "Eta", "Phi"], metadata.sum_et: ["HT"]}
    if COUPLING_WEIGHTS in collections and (given := coupling_weights.wanted(metadata)) is not None:
        leaves[str(given.branch)] = ["Weight"]
    if metadata.is_signal and set(TRUTH).intersection(collections):
        first_daughter = ["D1"] if "higgs" in collections else []
        leaves[metadata.particles] = ["PID", "M1", *first_daughter, *KINEMATICS.values()]
    return [f"{name}/{name}.{leaf}" for name, names in leaves.items() for leaf in names]


def read(
    events: Any,
    metadata: DatasetMetadata,
    extra_features: Collection[str] = (),
    collections: Collection[str] = MULTI_HIGGS,
) -> Reading:
    """Turn a chunk of ``NanoEvents`` with ``DelphesSchema`` into the event record.

    Parameters
    ----------
    events
        chunk with ``events.metadata`` holding ``fileuuid`` and ``entrystart`` (coffea sets both)
    metadata
        of the dataset: collection names, thresholds, b-tag bit
    extra_features
        which of :data:`JET_BRANCHES` (as ``jets.n_charged``) and of :data:`FATJET_BRANCHES` to read beside the kinematics
    collections
        what to read beside the jets, out of :data:`hhh_coffea.events.record.COLLECTIONS`

    Raises
    ------
    KeyError
        naming the missing collection or branch and what the file has instead.
    """
    entry = events.metadata["entrystart"] + np.arange(len(events), dtype=np.int64)
    dropped: dict[str, int] = {}

    jets = _collection(events, metadata.jets, "jets")
    counts, columns = _kinematics(jets, metadata.jets)
    flavor = flat(_branch(jets, metadata.jets, "Flavor")).astype(np.int32)
    if metadata.btagging == "stored":
        bits = flat(_branch(jets, metadata.jets, "BTag"))
        columns["btag"] = ((bits >> metadata.btag_bit) & 1).astype(np.int8)
    else:
        columns["btag"] = btagging.retag(
            metadata.btagging,
            flavor,
            columns["pt"],
            events.metadata["fileuuid"],
            entry[event_index(counts)],
            position_in_event(counts),
            metadata.btag_seed,
        ).astype(np.int8)
    columns["flavor"] = flavor
    extra = shared_out(extra_features)
    columns |= {feature: flat(_branch(jets, metadata.jets, JET_BRANCHES[feature])) for feature in extra["jets"]}
    selection = metadata.selection
    finite = finite_kinematics(columns)
    dropped["jets with non-finite kinematics"] = int((~finite).sum())
    record = {
        "jets": ordered_collection(
            columns, counts, finite & accepted(columns, selection.jet_pt_min, selection.jet_abs_eta_max)
        )
    }

    if "fatjets" in collections:
        if metadata.fatjets is None:
            branches(metadata, extra_features)  # none may be needed
        record["fatjets"] = _fatjets(events, metadata, extra["fatjets"], dropped)
    if "leptons" in collections:
        record["leptons"] = _leptons(events, metadata, dropped)
    if "met" in collections:
        missing, total = (
            _collection(events, name, role) for name, role in ((metadata.met, "met"), (metadata.sum_et, "sum_et"))
        )
        pt, phi = (ak.to_numpy(_branch(missing, metadata.met, leaf)) for leaf in ("MET", "Phi"))
        record["met"] = records({"pt": pt, "phi": phi})
        record["sum_et"] = ak.to_numpy(_branch(total, metadata.sum_et, "HT"))

    if metadata.is_signal:
        read_truth = {"higgs": higgs_to_bb, "hard_higgs": higgs_before_shower, "tops": generated_tops}
        for name in [name for name in read_truth if name in collections]:
            particles = _collection(events, metadata.particles, "particles")
            record[name] = read_truth[name](particles, metadata.particles)
    if COUPLING_WEIGHTS in collections and (given := coupling_weights.wanted(metadata)) is not None:
        stored = _branch(_collection(events, str(given.branch), "couplings"), str(given.branch), "Weight")
        record[COUPLING_WEIGHTS] = coupling_weights.coupling_weights(stored, given)
    if SCALE in collections and metadata.event is not None:
        scale = _branch(_collection(events, metadata.event, "event"), metadata.event, "Scale")
        record[SCALE] = np.asarray(ak.to_numpy(scale), dtype=np.float64)
    record["weight"] = _generator_weight(events, metadata)
    record["id"] = entry
    return Reading(records(record), dropped)


def higgs_to_bb(particles: ak.Array, name: str = "Particle") -> ak.Array:
    """Every Higgs boson with exactly two b daughters, see :func:`hhh_coffea.events.generator.higgs_to_bb`.

    Of the copies of a Higgs boson the one counts whose first daughter is a b quark: it is the last.
    """
    pid, first_daughter, mother = (_branch(particles, name, leaf) for leaf in ("PID", "D1", "M1"))
    counts, pid = counts_of(pid), flat(pid)
    copies = np.flatnonzero(pid == HIGGS)
    daughter = flat_index(flat(first_daughter)[copies], event_of(copies, counts), counts)
    higgs = copies[(daughter >= 0) & (np.abs(pid[daughter]) == B_QUARK)]
    momenta = {field: flat(_branch(particles, name, leaf)) for field, leaf in KINEMATICS.items()}
    return higgs_with_quarks(counts, pid, flat(mother), higgs, momenta)


def higgs_before_shower(particles: ak.Array, name: str = "Particle") -> ak.Array:
    """Every Higgs boson of the hard process, see :func:`hhh_coffea.events.generator.first_copies`."""
    momenta = {field: flat(_branch(particles, name, leaf)) for field, leaf in KINEMATICS.items()}
    pid, mother = (_branch(particles, name, leaf) for leaf in ("PID", "M1"))
    return first_copies(counts_of(pid), flat(pid), flat(mother), momenta)


def generated_tops(particles: ak.Array, name: str = "Particle") -> ak.Array:
    """Every top quark with its decay, see :func:`hhh_coffea.events.tops.top_decays`."""
    momenta = {field: flat(_branch(particles, name, leaf)) for field, leaf in KINEMATICS.items()}
    pid, mother = (_branch(particles, name, leaf) for leaf in ("PID", "M1"))
    return top_decays(counts_of(pid), flat(pid), flat(mother), momenta)


def _fatjets(events: Any, metadata: DatasetMetadata, features: Collection[str], dropped: dict[str, int]) -> ak.Array:
    if metadata.fatjets is None:
        counts, columns = np.zeros(len(events), dtype=np.int64), {name: np.zeros(0, np.float32) for name in KINEMATICS}
        return ordered_collection(columns, counts, np.zeros(0, dtype=bool))
    fatjets = _collection(events, metadata.fatjets, "fatjets")
    counts, columns = _kinematics(fatjets, metadata.fatjets)
    finite = finite_kinematics(columns)
    dropped["large-radius jets with non-finite kinematics"] = int((~finite).sum())
    columns |= _fatjet_features(fatjets, metadata.fatjets, features)
    selection = metadata.selection
    keep = finite & accepted(columns, selection.fatjet_pt_min, selection.fatjet_abs_eta_max)
    return ordered_collection(columns, counts, keep)


def _leptons(events: Any, metadata: DatasetMetadata, dropped: dict[str, int]) -> ak.Array:
    """All electrons and muons of the file: Delphes has identified and isolated them."""
    kinds = []
    for name, role in ((metadata.electrons, "electrons"), (metadata.muons, "muons")):
        collection = _collection(events, name, role)
        columns = {field: flat(_branch(collection, name, leaf)) for field, leaf in LEPTON.items()}
        kinds.append((counts_of(collection[LEPTON["pt"]]), columns))
    electrons, muons = kinds
    keep = (leptons.finite(electrons[1]), leptons.finite(muons[1]))
    dropped["leptons with non-finite kinematics"] = sum(int((~finite).sum()) for finite in keep)
    return leptons.merged(electrons, muons, keep)


def _kinematics(collection: ak.Array, name: str) -> tuple[IntArray, Columns]:
    counts = counts_of(_branch(collection, name, "PT"))
    return counts, {field: flat(_branch(collection, name, leaf)) for field, leaf in KINEMATICS.items()}


def _fatjet_features(fatjets: ak.Array, name: str, wanted: Collection[str]) -> Columns:
    """Substructure by its names in the record; a ratio 0/0 becomes −1 (as published), x/0 becomes −1 as well."""
    columns: Columns = {}
    if "softdrop_mass" in wanted:
        groomed = ak.flatten(_branch(fatjets, name, "SoftDroppedP4_5"), axis=1)[:, 0]  # entry 0: whole groomed jet
        columns["softdrop_mass"] = invariant_mass(
            Cartesian(*(np.asarray(ak.to_numpy(groomed[axis])) for axis in ("t", "x", "y", "z")))
        )
    if "tau21" in wanted or "tau32" in wanted:
        tau = flat(_branch(fatjets, name, "Tau_5"))
        for ratio, above, below in (("tau21", 1, 0), ("tau32", 2, 1)):
            if ratio in wanted:
                some = tau[:, below] > 0
                columns[ratio] = np.where(some, tau[:, above] / np.where(some, tau[:, below], 1), -1)
    for feature, leaf in (
        ("charged_fraction", "ChargedEnergyFraction"),
        ("n_charged", "NCharged"),
        ("n_neutral", "NNeutrals"),
    ):
        if feature in wanted:
            columns[feature] = flat(_branch(fatjets, name, leaf))
    return columns


def _generator_weight(events: Any, metadata: DatasetMetadata) -> npt.NDArray[np.float64]:
    if metadata.event is None:
        return np.ones(len(events))
    event = _collection(events, metadata.event, "event")
    return np.asarray(ak.to_numpy(_branch(event, metadata.event, "Weight")), dtype=np.float64)


def _collection(events: Any, name: str, role: str) -> ak.Array:
    if name not in events.fields:
        raise MissingCollectionError(name, role, (f for f in events.fields if "." not in f))
    return events[name]


def _branch(collection: ak.Array, name: str, leaf: str) -> ak.Array:
    if leaf not in collection.fields:
        raise KeyError(f"no branch {name}.{leaf}; {name} has {listed(collection.fields)}")
    return collection[leaf]


def describe(_: Any, metadata: DatasetMetadata) -> str:
    """How a file is read, in words."""
    bit = f" (bit {metadata.btag_bit})" if metadata.btagging == "stored" else ""
    return f"Delphes, b tags {metadata.btagging}{bit}"
