"""Four-momenta of what a method put together from jets (GeV)."""

from __future__ import annotations

import awkward as ak
import numpy as np
import numpy.typing as npt

from hhh_coffea.base.arrays import counts_of
from hhh_coffea.base.kinematics import Cartesian
from hhh_coffea.events.record import momentum


def assigned_momentum(objects: ak.Array, positions: npt.NDArray[np.integer]) -> Cartesian:
    """``(N,)`` sums of the objects (jets of the record) at ``positions (N, k)``; NaN where one is −1."""
    counts = counts_of(objects.pt)
    index = (np.cumsum(counts) - counts)[:, None] + positions
    some = (positions >= 0).all(axis=1)
    result = []
    for component in momentum(objects):
        total = np.full(len(counts), np.nan)
        total[some] = component[index[some]].sum(axis=1)
        result.append(total)
    return Cartesian(*result)


def summed(*parts: Cartesian) -> Cartesian:
    """Sum of four-momenta of equal shape."""
    return Cartesian(*(np.add.reduce(components) for components in zip(*parts, strict=True)))
