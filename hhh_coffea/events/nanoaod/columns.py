"""Branches of a NanoAOD file by the names they have there: ``Jet_pt``, ``HLT_PFHT1050``, ``genWeight``."""

from __future__ import annotations

from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt

from hhh_coffea.base.arrays import IntArray, counts_of, flat
from hhh_coffea.events.missing import MissingBranchError

KINEMATICS = ("pt", "eta", "phi", "mass")


def has(events: Any, branch: str) -> bool:
    """Whether the file has this branch; nothing is read."""
    collection, _, leaf = branch.partition("_")
    if branch in events.fields:
        return True
    return leaf != "" and collection in events.fields and leaf in events[collection].fields


def column(events: Any, branch: str, wanted_by: str = "") -> ak.Array:
    """A branch as NanoEvents holds it: one value an event, or a list.

    Raises
    ------
    MissingBranchError
        naming the branch, what needs it, and what the file has instead.
    """
    collection, _, leaf = branch.partition("_")
    if branch in events.fields:
        return events[branch]
    if leaf and collection in events.fields:
        if leaf in events[collection].fields:
            return events[collection][leaf]
        raise MissingBranchError(branch, wanted_by, (f"{collection}_{name}" for name in events[collection].fields))
    raise MissingBranchError(branch, wanted_by, events.fields)


def values(events: Any, branch: str, wanted_by: str = "") -> npt.NDArray[Any]:
    """A branch with one value an event as numpy array."""
    return np.asarray(ak.to_numpy(column(events, branch, wanted_by)))


def flat_values(events: Any, branch: str, wanted_by: str = "") -> npt.NDArray[Any]:
    """A branch with a list an event as flat numpy array."""
    return flat(column(events, branch, wanted_by))


def kinematics(events: Any, collection: str) -> tuple[IntArray, dict[str, npt.NDArray[Any]]]:
    """Objects of each event, and their flat ``pt eta phi mass`` as the file has them (GeV)."""
    counts = counts_of(column(events, f"{collection}_pt"))
    return counts, {name: flat_values(events, f"{collection}_{name}") for name in KINEMATICS}


def is_data(events: Any) -> bool:
    """Whether the events were recorded, not simulated: such files have no generator weight."""
    return not has(events, "genWeight")
