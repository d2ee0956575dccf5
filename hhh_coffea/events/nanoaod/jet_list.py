"""The list of small-radius jets as resolved analyses of CMS make it: order, thresholds, cuts on them together, properties."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt

from hhh_coffea.base.arrays import IntArray, event_index, rank_in_event, true_in_event
from hhh_coffea.base.errors import listed
from hhh_coffea.datasets.fileset import FilesetError
from hhh_coffea.datasets.nanoaod_options import JetList
from hhh_coffea.events.nanoaod.columns import flat_values
from hhh_coffea.events.nanoaod.jets import JETS, Jets
from hhh_coffea.events.record import Columns

BoolArray = npt.NDArray[np.bool_]
FEATURES = {
    "n_charged": "chMultiplicity",
    "n_neutral": "neMultiplicity",
}  # beyond kinematics and tags; from version 15 on


def leaves(wanted: Collection[str]) -> list[str]:
    """Leaves that :func:`features` reads; FilesetError names a feature that NanoAOD does not have."""
    if unknown := sorted(set(wanted) - set(FEATURES)):
        raise FilesetError(f"NanoAOD files do not have the features {unknown} of jets; they have {listed(FEATURES)}")
    return [FEATURES[feature] for feature in wanted]


def features(events: Any, wanted: Collection[str]) -> Columns:
    """Flat columns of the wanted features; KeyError names the branch that is missing and the feature that needs it."""
    return {name: flat_values(events, f"{JETS}_{FEATURES[name]}", f"feature {name!r} of jets") for name in wanted}


def threshold_pt(given: JetList, jets: Jets, columns: Columns) -> npt.NDArray[np.floating]:
    """pT (GeV) that thresholds cut on, flat: with the corrections of ``columns``, and without the regression if so asked."""
    if given.threshold_pt == "used":
        return columns["pt"]
    regressed = jets.regressed["pt"]
    return columns["pt"] * np.where(regressed > 0, jets.stored["pt"] / np.where(regressed > 0, regressed, 1), 1)


def first(given: JetList, columns: Columns, counts: IntArray, keep: BoolArray) -> IntArray | None:
    """What :func:`hhh_coffea.events.record.ordered_collection` sorts by: large for the jets of highest score, 0 for the rest."""
    if given.by_score is None:
        return None
    rank: IntArray = rank_in_event(np.where(keep, columns["btag_score"], -np.inf), counts)
    return np.maximum(given.by_score - rank, 0)


def cuts(
    given: JetList, columns: Columns, pt: npt.NDArray[np.floating], counts: IntArray, keep: BoolArray
) -> dict[str, BoolArray]:
    """Masks of events by the name they have in the cutflow; ``pt`` is that of :func:`threshold_pt`."""
    found = {}
    if given.pt_ladder:
        rank = rank_in_event(np.where(keep, pt, -np.inf), counts)
        limit = np.append(given.pt_ladder, -np.inf)[np.minimum(rank, len(given.pt_ladder))]
        high = true_in_event(keep & (rank < len(given.pt_ladder)) & (pt > limit), counts)
        found[f"jets above {', '.join(f'{value:g}' for value in given.pt_ladder)} GeV"] = high == len(given.pt_ladder)
    if (mean := given.mean_score) is not None:
        score = columns["btag_score"]
        rank = rank_in_event(np.where(keep, score, -np.inf), counts)
        best = keep & (rank < mean.jets)
        number = true_in_event(best, counts)
        total = np.bincount(event_index(counts)[best], weights=score[best], minlength=len(counts))
        found[f"mean of {mean.jets} b scores > {mean.above:g}"] = (number == mean.jets) & (
            total > mean.above * mean.jets
        )
    return found
