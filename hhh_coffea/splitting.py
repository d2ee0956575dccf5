"""Training or validation? Decided event by event from (file uuid, entry) alone: the same for every run and chunking."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hhh_coffea.events.btagging import uniform
from hhh_coffea.jagged import IntArray

_STREAM = 2**40  # no jet has this position, so these numbers have nothing to do with those of the b tagging


def is_validation(file_uuid: str, entry: IntArray, fraction: float) -> npt.NDArray[np.bool_]:
    """Mark the events that are kept for validation, a ``fraction`` of all; objects of one event are never parted."""
    chosen: npt.NDArray[np.bool_] = uniform(file_uuid, entry, np.full_like(entry, _STREAM)) < fraction
    return chosen
