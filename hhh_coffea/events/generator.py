"""H → bb in the generator record: the Higgs bosons with their two b quarks, whatever the format calls its columns."""

from __future__ import annotations

from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt

from hhh_coffea.base.arrays import IntArray, event_index, records, unflatten
from hhh_coffea.events.record import Columns

HIGGS, B_QUARK = 25, 5


def higgs_to_bb(
    counts: IntArray, pid: npt.NDArray[Any], mother: npt.NDArray[Any], higgs: IntArray, momenta: Columns
) -> ak.Array:
    """Every Higgs boson with exactly two b daughters, in record order, with its quarks as ``b1`` and ``b2``.

    A mother index of −1 means none and is not taken for the last particle, as numpy would.

    Parameters
    ----------
    counts
        particles of each event; all other arrays are flat
    pid, mother
        PDG number and position of the mother in the event
    higgs
        indices, rising, of the one copy of each Higgs boson whose daughters count
    momenta
        ``pt eta phi mass`` (GeV)
    """
    event = event_index(counts)
    number = np.full(len(pid) + 1, -1, dtype=np.int64)  # of each Higgs boson; the last place is for index −1: none
    number[higgs] = np.arange(len(higgs))
    quarks = np.flatnonzero(np.abs(pid) == B_QUARK)
    owner = number[flat_index(mother[quarks], event[quarks], counts)]
    quarks, owner = quarks[owner >= 0], owner[owner >= 0]
    first, last = np.zeros((2, len(higgs)), dtype=np.int64)
    last[owner] = quarks
    first[owner[::-1]] = quarks[::-1]
    has_two = np.bincount(owner, minlength=len(higgs)) == 2
    higgs, first, last = higgs[has_two], first[has_two], last[has_two]

    def four_vector(index: IntArray) -> Columns:
        return {name: values[index] for name, values in momenta.items()}

    quarks_of = {"b1": records(four_vector(first)), "b2": records(four_vector(last))}
    return unflatten({**four_vector(higgs), **quarks_of}, np.bincount(event[higgs], minlength=len(counts)))


def first_copies(counts: IntArray, pid: npt.NDArray[Any], mother: npt.NDArray[Any], momenta: Columns) -> ak.Array:
    """Every Higgs boson as it left the hard process, before the shower: the copies whose mother is no Higgs boson.

    Parameters are those of :func:`higgs_to_bb`.
    """
    event, copies = event_index(counts), np.flatnonzero(pid == HIGGS)
    mothers = flat_index(mother[copies], event[copies], counts)
    first = copies[(mothers < 0) | (pid[mothers] != HIGGS)]
    return unflatten(
        {name: values[first] for name, values in momenta.items()}, np.bincount(event[first], minlength=len(counts))
    )


def flat_index(position: npt.NDArray[Any], event: IntArray, counts: IntArray) -> IntArray:
    """Flat index of the particles at these positions in their events; −1 where there is none."""
    inside = (position >= 0) & (position < counts[event])
    return np.where(inside, (np.cumsum(counts) - counts)[event] + position, -1)
