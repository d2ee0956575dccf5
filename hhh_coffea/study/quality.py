"""How sure a method is of its assignment of an event: what quality cuts are put on."""

from __future__ import annotations

import numpy as np

from hhh_coffea.base.kinematics import FloatArray
from hhh_coffea.study.reconstructed import Reconstructed

# method → what its quality is, in words
NAMES = {
    "chi2": "−χ²",
    "likelihood": "ln L of the best permutation",
    "pdnn": "score of the best permutation",
    "spanet": "marginal probability: product of A·D over the targets",
}


def quality(event: Reconstructed, method: str) -> FloatArray:
    """``(N,)``, NaN without an assignment: see :data:`NAMES`."""
    if method == "spanet":
        found: FloatArray = np.exp(event.of_event(method, "event_score"))
        return found
    return event.of_event(method, "score")
