"""The selected events of a chunk with what every method made of them, as plain arrays of one value per event."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt

from hhh_coffea.base.arrays import IntArray, counts_of, event_index, flat
from hhh_coffea.base.kinematics import FloatArray
from hhh_coffea.reconstruction.analysis import Analysis
from hhh_coffea.reconstruction.targets import Targets
from hhh_coffea.topology.kinds import NONE

PERFECT = "perfect"  # the assignment of the truth, as if a method had found it
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Reconstructed:
    """N selected events: their record, their truth, and candidates by method, one of each kind at most."""

    record: ak.Array
    analysis: Analysis
    targets: Targets
    candidates: Mapping[str, ak.Array]

    def __len__(self) -> int:
        return len(self.record)

    @cached_property
    def n_jets(self) -> IntArray:
        """Selected jets of each event."""
        return counts_of(self.record.jets.pt)

    def exists(self, kind: str) -> BoolArray:
        """``(N,)``: every quark of this particle has a jet of its own; False without truth."""
        return self.targets.exists(kind)[:, 0]

    def positions(self, method: str) -> dict[str, IntArray]:
        """``(N, k)`` positions of each kind's daughters in ``record.jets``, −1 where there is no candidate.

        ``method`` may be :data:`PERFECT`.
        """
        if method == PERFECT:
            return {
                name: np.where(self.exists(name)[:, None], o[:, 0], NONE) for name, o in self.targets.objects.items()
            }
        return {name: self.of(method, name, "objects")[:, : kind.degree] for name, kind in self.analysis.kinds.items()}

    def of(self, method: str, kind: str, column: str) -> Any:
        """A column of the candidates of a kind: ``(N,)``, or ``(N, width)`` for ``objects``.

        NaN, or −1 for ``objects``, where an event has no such candidate.
        """
        candidates = self.candidates[method]
        own = np.flatnonzero(flat(candidates.kind) == self.analysis.kinds[kind].number)
        event = event_index(counts_of(candidates.kind))[own]
        values = (
            flat(candidates[column]) if column != "objects" else ak.to_numpy(ak.flatten(candidates.objects, axis=1))
        )
        result: npt.NDArray[Any]
        if column == "objects":
            result = np.full((len(self), values.shape[1]), NONE, dtype=np.int64)
        else:
            result = np.full(len(self), np.nan)
        result[event[::-1]] = values[own][::-1]  # of several the first
        return result

    def of_event(self, method: str, column: str) -> FloatArray:
        """A column that is the same for all candidates of an event: ``event_score``, ``neutrino_eta`` and so on."""
        values: FloatArray = self.of(method, next(iter(self.analysis.kinds)), column)
        return values

    def correct(self, method: str, kind: str) -> BoolArray:
        """``(N,)``: the candidate has the jets of the truth, up to the symmetry; False where the target does not exist."""
        own = self.analysis.kinds[kind]
        found, true = (self.positions(which)[kind] for which in (method, PERFECT))
        same: BoolArray = own.identity(found) == own.identity(true)
        return same & self.exists(kind)
