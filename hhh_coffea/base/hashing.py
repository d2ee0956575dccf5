"""Training or validation? Decided event by event from (file uuid, entry) alone: the same for every run and chunking."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

from hhh_coffea.base.arrays import IntArray


def split_number(file_uuid: str, entry: IntArray) -> npt.NDArray[np.float32]:
    """Uniform number in [0, 1) of each event; validation takes those below its fraction, for every kind of model.

    The finaliser of splitmix64 (G. Steele, D. Lea, C. Flood, OOPSLA 2014) on the entry, offset by the uuid's SHA-256.
    """
    offset = np.uint64(int.from_bytes(hashlib.sha256(file_uuid.encode()).digest()[:8], "little"))
    with np.errstate(over="ignore"):  # arithmetic modulo 2⁶⁴ is what is meant
        z = entry.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + offset
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return ((z >> np.uint64(40)) / 2.0**24).astype(np.float32)


def is_validation(file_uuid: str, entry: IntArray, fraction: float) -> npt.NDArray[np.bool_]:
    """Mark the events that are kept for validation, a ``fraction`` of all; objects of one event are never parted."""
    chosen: npt.NDArray[np.bool_] = split_number(file_uuid, entry) < fraction
    return chosen
