"""Matrix-element weights at several couplings out of a file: the field ``coupling_weights`` ``(N, points)`` of the record."""

from __future__ import annotations

import awkward as ak
import numpy as np
import numpy.typing as npt

from hhh_coffea.base.arrays import counts_of, flat
from hhh_coffea.datasets.couplings import CouplingInput
from hhh_coffea.datasets.fileset import DatasetMetadata, FilesetError


def wanted(metadata: DatasetMetadata) -> CouplingInput | None:
    """What the metadata say of weights in the file; None where there are none."""
    given = metadata.couplings
    return given if given is not None and given.branch is not None else None


def coupling_weights(stored: ak.Array, given: CouplingInput) -> npt.NDArray[np.float64]:
    """The weights of :attr:`CouplingInput.points`, from a list of weights in each event.

    Raises
    ------
    FilesetError
        if an event has fewer.
    """
    counts, last = counts_of(stored), given.first + len(given.points)
    if (short := counts[counts < last]).size:
        raise FilesetError(
            f"metadata field 'couplings': {len(given.points)} points from position {given.first} on, and an event has "
            f"{short[0]} weights in {given.branch}"
        )
    index = (np.cumsum(counts) - counts)[:, None] + np.arange(given.first, last)
    return np.asarray(flat(stored)[index], dtype=np.float64).reshape(len(counts), len(given.points))
