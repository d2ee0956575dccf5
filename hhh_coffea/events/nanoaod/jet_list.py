"""The list of small-radius jets as resolved analyses of CMS make it: their order, thresholds, and cuts on them together."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hhh_coffea.base.arrays import IntArray, event_index, rank_in_event, true_in_event
from hhh_coffea.datasets.nanoaod_options import JetList
from hhh_coffea.events.nanoaod.jets import Jets
from hhh_coffea.events.record import Columns

BoolArray = npt.NDArray[np.bool_]


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
