"""What a SPANet model sees of the event record: padded features in the order of its event topology."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import awkward as ak
import numpy as np
import numpy.typing as npt

from hhh_coffea.base.arrays import counts_of, pad
from hhh_coffea.base.errors import UserError
from hhh_coffea.base.kinematics import delta_r_squared
from hhh_coffea.events.record import field as record_field
from hhh_coffea.reconstruction.candidates import OVERLAP_RADIUS
from hhh_coffea.topology import kinds

if TYPE_CHECKING:
    from hhh_coffea.topology.topology import Input, Topology

# Event-YAML feature → field of the record; sines and cosines of φ are made here
JET_FEATURES = {"pt": "pt", "eta": "eta", "mass": "mass", "btag": "btag", "btag_score": "btag_score", "phi": "phi"}
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
ANGLES = {"sinphi": np.sin, "cosphi": np.cos, "sin_phi": np.sin, "cos_phi": np.cos}
PADDED_LENGTH = {"jets": 10, "fatjets": 3}  # slots of the published analysis


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


def substructure_of(topology: Topology) -> tuple[str, ...]:
    """Fat-jet fields of the record that a topology takes beyond the kinematics."""
    wanted = {FATJET_FEATURES.get(f, "") for i in topology.inputs for f in i.feature_names}
    return tuple(sorted(wanted - {"", "pt", "eta", "phi", "mass"}))


def network_inputs(record: ak.Array, model: TakesInputs) -> tuple[list[npt.NDArray[Any]], list[npt.NDArray[np.bool_]]]:
    """Padded features ``(N, M, F)`` in the order of the topology, and masks ``(N, M)``.

    Raises
    ------
    KeyError
        naming the model and the feature that this file's format does not provide.
    """
    inputs, masks = [], []
    for event_input in model.topology.inputs:
        name = collection_of(event_input, model.name)
        objects, length = record[name], padded_length(record, name)
        columns = []
        for feature in event_input.feature_names:
            bare = feature.removeprefix("fj_")
            if bare in ANGLES:
                values = ANGLES[bare](pad(objects.phi, length, 0.0))
            else:
                known = (FATJET_FEATURES if name == "fatjets" else JET_FEATURES)[feature]
                values = pad(record_field(objects, known, f"SPANet model {model.name!r}"), length, 0)
            columns.append(values.astype(np.float32))
        inputs.append(np.stack(columns, axis=-1))
        masks.append(np.arange(length) < counts_of(objects.pt)[:, None])
    return inputs, masks


def collection_of(event_input: Input, model: str) -> str:
    """``jets`` or ``fatjets``: whose features this input takes.

    Raises
    ------
    SpanetError
        naming the model and the features that the event record cannot give.
    """
    is_fat = kinds.collection_of(event_input) == "fatjets"
    known = {**(FATJET_FEATURES if is_fat else JET_FEATURES)}
    known |= {("fj_" if is_fat else "") + angle: "phi" for angle in ANGLES}
    if event_input.kind != "sequential":
        raise SpanetError(
            f"SPANet model {model!r}: input {event_input.name!r} is {event_input.kind}, jets are sequential"
        )
    if unknown := [name for name in event_input.feature_names if name not in known]:
        raise SpanetError(
            f"SPANet model {model!r}: input {event_input.name!r} takes {unknown}, which the event record does not have; "
            f"it has {sorted(known)}"
        )
    return "fatjets" if is_fat else "jets"


def overlaps(record: ak.Array, topology: Topology) -> npt.NDArray[np.bool_] | None:
    """``(N, jets, fatjets)``: which lie within ΔR < 0.5; None where the topology has no fat jets."""
    if len(topology.inputs) < 2:
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
    counts = counts_of(record[name].pt)
    return max(PADDED_LENGTH[name], int(counts.max()) if len(counts) else 0)
