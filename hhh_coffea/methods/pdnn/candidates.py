"""Candidates of an analysis from the permutation network."""

from __future__ import annotations

import awkward as ak
import numpy as np

from hhh_coffea.methods.pdnn.assign import assign
from hhh_coffea.methods.pdnn.model import PdnnError, PdnnModel
from hhh_coffea.reconstruction.analysis import Analysis
from hhh_coffea.topology.kinds import daughter_order, partner


def reconstruct(record: ak.Array, model: PdnnModel, analysis: Analysis) -> ak.Array:
    """One candidate of each target of every event that has enough jets.

    ``assignment_probability`` is that of the permutation among all of the event, ``score`` the score of the network.

    Raises
    ------
    PdnnError
        if the model looks for other targets than the analysis.
    """
    found = assign(record, model)
    probability, score = np.nan_to_num(found.probability), found.score
    names = model.topology.target_names
    parts = []
    for kind in model.kinds.values():
        own = partner(kind, analysis.kinds)  # whatever both are called
        order = None if own is None else daughter_order(own, kind)
        if own is None or order is None:
            raise PdnnError(f"model {model.name!r} has targets that analysis {analysis.name!r} lacks")
        objects = np.stack([found.objects[names[t]][:, list(order)] for t in kind.members], axis=1)
        wide = (len(record), len(kind.members))
        parts.append(
            analysis.candidates(
                record,
                own.name,
                objects,
                np.broadcast_to(probability[:, None], wide),
                outputs={"score": score},
            )
        )
    return ak.concatenate(parts, axis=1)
