"""What a SPANet model sees of the event record: padded features in the order of its event topology."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import awkward as ak
import numpy as np
import numpy.typing as npt

from hhh_coffea.base.arrays import counts_of, pad
from hhh_coffea.base.errors import UserError, listed
from hhh_coffea.base.kinematics import delta_r_squared
from hhh_coffea.events.record import OF_JETS
from hhh_coffea.events.record import field as record_field
from hhh_coffea.reconstruction.candidates import OVERLAP_RADIUS
from hhh_coffea.topology import kinds

if TYPE_CHECKING:
    from hhh_coffea.topology.topology import Input, Topology

# Event-YAML feature → field of the record; sines and cosines of φ are made here
CONSTITUENTS = {"ncharged": "n_charged", "nneutral": "n_neutral"}  # of jets: read where a model takes them
JET_FEATURES = {name: name for name in ("pt", "eta", "phi", "mass", "btag", "btag_score", "btag_wp3", "btag_wp5")}
JET_FEATURES |= CONSTITUENTS
FATJET_FEATURES = {
    "fj_pt": "pt",
    "fj_eta": "eta",
    "fj_phi": "phi",
    "fj_mass": "mass",
    "fj_sdmass": "softdrop_mass",
    "fj_tau21": "tau21",
    "fj_tau32": "tau32",
    "fj_ncharged": "n_charged",
    "fj_nneutral": "n_neutral",
    "fj_chargedenergyfrac": "charged_fraction",
    "fj_xbb": "xbb",
    "fj_regressed_mass": "regressed_mass",
}
LEPTON_FEATURES = {name: name for name in ("pt", "eta", "phi", "mass", "charge", "flavor", "isolation")}
MET_FEATURES = {"met": "pt", "pt": "pt", "phi": "phi"}
EVENT_FEATURES: dict[str, Callable[[ak.Array], npt.NDArray[Any]]] = {  # of the jets that the network sees
    "ht": lambda jets: np.asarray(ak.sum(jets.pt, axis=1)),  # GeV
    "n_jets": lambda jets: counts_of(jets.pt),
}
FEATURES = {
    "jets": JET_FEATURES,
    "fatjets": FATJET_FEATURES,
    "leptons": LEPTON_FEATURES,
    "met": MET_FEATURES,
    "event": {name: name for name in EVENT_FEATURES},
}
GLOBAL = ("met", "event")
ANGLES = {"sinphi": np.sin, "cosphi": np.cos, "sin_phi": np.sin, "cos_phi": np.cos}
# slots: of jets and large-radius jets those of the published analysis; an event has one missing transverse momentum
PADDED_LENGTH = {"jets": 10, "fatjets": 3, "leptons": 4, "met": 1, "event": 1}


class SpanetError(UserError):
    """The model cannot be used; the message names it and what does not fit."""


class TakesInputs(Protocol):
    """A model, or what is to become one: its name for errors, and its topology."""

    @property
    def name(self) -> str:
        """What errors call it."""

    @property
    def topology(self) -> Topology:
        """Its event topology."""


def extra_features_of(topology: Topology) -> tuple[str, ...]:
    """Extra features that a topology takes: of large-radius jets beyond the kinematics, of jets their constituents."""
    named = [name for i in topology.inputs for name in i.feature_names]
    of_fatjets = {FATJET_FEATURES.get(name, "") for name in named} - {"", "pt", "eta", "phi", "mass"}
    of_jets = {OF_JETS + CONSTITUENTS[name] for name in named if name in CONSTITUENTS}
    return tuple(sorted(of_fatjets | of_jets))


def network_inputs(record: ak.Array, model: TakesInputs) -> tuple[list[npt.NDArray[Any]], list[npt.NDArray[np.bool_]]]:
    """Padded features ``(N, M, F)`` in the order of the topology, and masks ``(N, M)``.

    Raises
    ------
    KeyError
        naming the model and the collection or feature that this file's format, or the analysis, does not provide.
    """
    inputs, masks = [], []
    for event_input in model.topology.inputs:
        name = collection_of(event_input, model.name)
        if name == "event":
            of_event = [EVENT_FEATURES[feature](record.jets) for feature in event_input.feature_names]
            inputs.append(np.stack(of_event, axis=-1).astype(np.float32)[:, None])
            masks.append(np.ones((len(record), 1), dtype=bool))
            continue
        if name not in record.fields:
            raise KeyError(
                f"SPANet model {model.name!r}: input {event_input.name!r} takes {name}, which the analysis does not read "
                "(its 'collections')"
            )
        objects, length = record[name], padded_length(record, name)
        columns = []
        for feature in event_input.feature_names:
            bare = feature.removeprefix("fj_")
            field = "phi" if bare in ANGLES else FEATURES[name][feature]
            values = record_field(objects, field, f"SPANet model {model.name!r}")
            values = ak.to_numpy(values)[:, None] if values.ndim == 1 else pad(values, length, 0)
            columns.append(ANGLES.get(bare, np.asarray)(values).astype(np.float32))
        inputs.append(np.stack(columns, axis=-1))
        masks.append(np.arange(length) < _counts(record, name)[:, None])
    return inputs, masks


def collection_of(event_input: Input, model: str) -> str:
    """``jets``, ``fatjets``, ``leptons``, ``met`` or ``event``: whose features this input takes.

    Raises
    ------
    SpanetError
        naming the model and the features that the event record cannot give.
    """
    collection = kinds.collection_of(event_input)
    known = {*FEATURES[collection], *(("fj_" if collection == "fatjets" else "") + angle for angle in ANGLES)}
    if (event_input.kind == "sequential") == (collection in GLOBAL):
        raise SpanetError(
            f"SPANet model {model!r}: input {event_input.name!r} is {event_input.kind}, "
            f"jets and leptons are sequential, MET and {', '.join(EVENT_FEATURES)} of the event are global"
        )
    if unknown := [name for name in event_input.feature_names if name not in known]:
        raise SpanetError(
            f"SPANet model {model!r}: input {event_input.name!r} takes {unknown}, which the event record does not have; "
            f"it has {listed(known)}"
        )
    return collection


def overlaps(record: ak.Array, topology: Topology) -> npt.NDArray[np.bool_] | None:
    """``(N, jets, fatjets)``: which lie within ΔR < 0.5; None where the topology has no large-radius jets."""
    if not {"jets", "fatjets"} <= {kinds.collection_of(i) for i in topology.inputs}:
        return None
    directions = []
    for name in ("jets", "fatjets"):
        length = padded_length(record, name)
        directions.append([pad(record[name][k], length, 0.0) for k in ("eta", "phi")])
    (eta, phi), (fat_eta, fat_phi) = directions
    near = (
        delta_r_squared(eta[:, :, None], phi[:, :, None], fat_eta[:, None, :], fat_phi[:, None, :]) < OVERLAP_RADIUS**2
    )
    exists = [
        np.arange(d[0].shape[1]) < counts_of(record[n].pt)[:, None]
        for n, d in zip(("jets", "fatjets"), directions, strict=True)
    ]
    both: npt.NDArray[np.bool_] = near & exists[0][:, :, None] & exists[1][:, None, :]
    return both


def padded_length(record: ak.Array, name: str) -> int:
    """Slots of an input: those of the published analysis, or more where the record keeps more objects."""
    return max(PADDED_LENGTH[name], int(_counts(record, name).max(initial=0)))


def _counts(record: ak.Array, name: str) -> npt.NDArray[np.int64]:
    """Objects of each event; a collection that is no list, MET, counts as one."""
    pt = record[name].pt
    return np.ones(len(pt), dtype=np.int64) if pt.ndim == 1 else counts_of(pt)
