"""Which objects truly came from which particle: the targets of an analysis, whatever its topology."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce

import numpy as np
import numpy.typing as npt

from hhh_coffea.base.arrays import IntArray
from hhh_coffea.base.kinematics import FloatArray
from hhh_coffea.topology.kinds import NONE, Kind

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Targets:
    """Targets of N events with n particles each.

    ``objects`` by kind: ``(N, m, k)`` positions of the k daughters of each of its m members, in the event record's sorted
    and truncated lists; −1 where a daughter has no object. A target exists where all its daughters have one. ``pt`` and
    ``mass`` ``(N, n)`` are those of the generated particles (GeV), NaN where they are not known.
    """

    objects: Mapping[str, IntArray]
    pt: FloatArray
    mass: FloatArray
    known: bool = True  # False in data and background: nothing is correct or wrong there

    def exists(self, kind: str) -> BoolArray:
        """``(N, m)``: which targets of a kind exist."""
        objects = self.objects[kind]
        return reduce(np.logical_and, [objects[..., d] >= 0 for d in range(objects.shape[2])])


def no_targets(n_events: int, kinds: Mapping[str, Kind], n_particles: int) -> Targets:
    """Targets of events without truth."""
    none = {k.name: np.full((n_events, len(k.members), k.degree), NONE, dtype=np.int64) for k in kinds.values()}
    unknown = np.full((n_events, n_particles), np.nan)
    return Targets(none, unknown, unknown, known=False)
