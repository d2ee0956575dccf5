"""Semi-leptonic tt̄ and ttH: objects and event selection (M. Fenton et al., Commun. Phys. 7, 139 (2024))."""

from __future__ import annotations

import awkward as ak
import numpy as np
import numpy.typing as npt

from hhh_coffea.base.arrays import IntArray, counts_of, flat, records, true_in_event, unflatten
from hhh_coffea.events.record import field

PT_MIN, ABS_ETA_MAX = 25.0, 2.5  # GeV; of jets, electrons and muons
MIN_JETS = {"ttbar": 4, "tth": 6}
MIN_BTAGS = 2
COLLECTIONS = ("leptons", "met", "tops")  # of the event record; ttH has "higgs" as well
BoolArray = npt.NDArray[np.bool_]


def central(record: ak.Array, pt_min: float = PT_MIN, abs_eta_max: float = ABS_ETA_MAX) -> ak.Array:
    """The record with only those jets and leptons that have pT > ``pt_min`` (GeV) and |η| < ``abs_eta_max``.

    An object on a threshold is not taken.
    """
    fields = {name: record[name] for name in record.fields}
    for name in ("jets", "leptons"):
        objects = field(record, name, "the selection of semi-leptonic tops")
        counts = counts_of(objects.pt)
        keep = (flat(objects.pt) > pt_min) & (np.abs(flat(objects.eta)) < abs_eta_max)
        if not keep.all():
            columns = {part: flat(objects[part])[keep] for part in objects.fields}
            fields[name] = unflatten(columns, true_in_event(keep, counts))
    return records(fields)


def count_btags(record: ak.Array) -> IntArray:
    """b-tagged jets of each event."""
    return true_in_event(flat(record.jets.btag) > 0, counts_of(record.jets.pt))


def finite_met(record: ak.Array) -> dict[str, BoolArray]:
    """The cut that drops events of which the missing transverse momentum is not a number."""
    met = field(record, "met", "the selection of semi-leptonic tops")
    return {"finite MET": np.isfinite(ak.to_numpy(met.pt)) & np.isfinite(ak.to_numpy(met.phi))}


def selected_leptons(record: ak.Array) -> dict[str, npt.NDArray[np.generic]]:
    """``(N,)`` columns of the only lepton of each selected event.

    Raises
    ------
    ValueError
        if some event does not have exactly one.
    """
    if not (counts_of(record.leptons.pt) == 1).all():
        raise ValueError("the lepton of an event: there are events without or with several (not selected)")
    return {name: flat(record.leptons[name]) for name in record.leptons.fields}
