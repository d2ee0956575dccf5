"""Quantities that an analysis declares to be histogrammed in the main job, beside what every analysis has.

A *spectrum* counts values by whether their target was assigned right; an *efficiency* counts how often targets are right
against a value. :mod:`hhh_coffea.results.quantities` books and fills them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import awkward as ak
import numpy as np

from hhh_coffea.base.arrays import IntArray, counts_of, event_index, flat
from hhh_coffea.base.kinematics import FloatArray
from hhh_coffea.reconstruction.targets import Targets
from hhh_coffea.topology.kinds import NONE, Kind

# all targets of an event together: of those that can be found; where every one can be found; of all selected events
EVENT, FULL, SELECTED = "event", "full event", "selected event"


class Reconstruction(NamedTuple):
    """N selected events, what is true of them, and the candidates of one method (none for what depends on no method)."""

    record: ak.Array
    targets: Targets
    candidates: ak.Array | None = None


Values = Callable[[Reconstruction], Mapping[str, FloatArray]]


@dataclass(frozen=True)
class Quantity:
    """One quantity of each event.

    Parameters
    ----------
    name
        of the histogram, ``quantity_NAME``
    label
        of its axis, with the unit
    edges
        of its bins
    values
        reconstruction → ``(N,)`` values of each item, NaN where an event has none: masses ``{"ht": …, "w": …}`` say. Those
        of an efficiency are by target, or :data:`EVENT`, :data:`FULL`, :data:`SELECTED`
    form
        what is counted
    outcome_of
        of a spectrum: item → target, by which its values are split; of itself where it is a target, not split otherwise
    by_method
        False for a spectrum that does not depend on the candidates: it is filled once, and ``values`` sees none
    """

    name: str
    label: str
    edges: tuple[float, ...]
    values: Values
    form: Literal["spectrum", "efficiency"] = "spectrum"
    outcome_of: Mapping[str, str] = field(default_factory=dict)
    by_method: bool = True


def evenly(bins: int, low: float, high: float) -> tuple[float, ...]:
    """Edges of bins of equal width."""
    return tuple(float(edge) for edge in np.linspace(low, high, bins + 1))


def objects_of(candidates: ak.Array, kind: Kind) -> IntArray:
    """``(N, k)``: the objects of each event's first candidate of a kind, −1 where it has none."""
    index = first_of(candidates, kind)
    found = np.full((len(index), kind.degree), NONE, dtype=np.int64)
    some = index >= 0
    found[some] = flat(candidates.objects)[index[some], : kind.degree]
    return found


def feature_of(candidates: ak.Array, kind: Kind, name: str) -> FloatArray:
    """``(N,)``: ``pt``, ``mass`` … of each event's first candidate of a kind, NaN where it has none."""
    index = first_of(candidates, kind)
    found = np.full(len(index), np.nan)
    some = index >= 0
    found[some] = flat(candidates[name])[index[some]]
    return found


def first_of(candidates: ak.Array, kind: Kind) -> IntArray:
    """``(N,)``: flat index of each event's first candidate of a kind, −1 where it has none."""
    counts = counts_of(candidates.kind)
    own = np.flatnonzero(flat(candidates.kind) == kind.number)
    event = event_index(counts)[own]
    found = np.full(len(counts), NONE, dtype=np.int64)
    found[event[::-1]] = own[::-1]  # the first is written last
    return found
