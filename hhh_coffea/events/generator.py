"""H → bb in the generator record: the Higgs bosons with their two b quarks, whatever the format calls its columns."""

from __future__ import annotations

from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt

from hhh_coffea.base.arrays import IntArray, records, unflatten
from hhh_coffea.events.record import Columns

HIGGS, B_QUARK = 25, 5


def higgs_to_bb(
    counts: IntArray, pid: npt.NDArray[Any], mother: npt.NDArray[Any], decays: npt.NDArray[np.bool_], momenta: Columns
) -> ak.Array:
    """Every Higgs boson with exactly two b daughters, in record order, with its quarks as ``b1`` and ``b2``.

    A mother index of −1 means none and is not taken for the last particle, as numpy would.

    Parameters
    ----------
    counts
        particles of each event; all other arrays are flat
    pid, mother
        PDG number and position of the mother in the event
    decays
        true for the one copy of a Higgs boson whose daughters count
    momenta
        ``pt eta phi mass`` (GeV)
    """
    starts = np.cumsum(counts) - counts
    quarks = np.flatnonzero(np.abs(pid) == B_QUARK)
    mother_of_quark = linked(quarks, mother, starts, counts)
    from_higgs = (mother_of_quark >= 0) & (pid[mother_of_quark] == HIGGS)
    quarks, mother_of_quark = quarks[from_higgs], mother_of_quark[from_higgs]

    higgs = np.flatnonzero((pid == HIGGS) & decays)
    by_mother = np.argsort(mother_of_quark, kind="stable")
    sorted_mothers = mother_of_quark[by_mother]
    first = np.searchsorted(sorted_mothers, higgs, side="left")
    has_two = np.searchsorted(sorted_mothers, higgs, side="right") - first == 2
    higgs, first = higgs[has_two], first[has_two]

    def four_vector(index: IntArray) -> Columns:
        return {name: values[index] for name, values in momenta.items()}

    b1, b2 = (records(four_vector(quarks[by_mother[first + k]])) for k in (0, 1))
    event = np.searchsorted(starts, higgs, side="right") - 1
    return unflatten({**four_vector(higgs), "b1": b1, "b2": b2}, np.bincount(event, minlength=len(counts)))


def linked(index: IntArray, link: npt.NDArray[Any], starts: IntArray, counts: IntArray) -> IntArray:
    """Flat index of the particle that ``link[index]`` (a position in the event) points to; −1 where to none."""
    event = np.searchsorted(starts, index, side="right") - 1
    # empty events share their start with the next one, and side="right" finds the last of them: the one that owns index
    position = link[index].astype(np.int64)
    inside = (position >= 0) & (position < counts[event])
    return np.where(inside, starts[event] + position, -1)
