"""H → bb in the generator record: the Higgs bosons with their two b quarks, whatever the format calls its columns."""

from __future__ import annotations

from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt

from hhh_coffea.base.arrays import IntArray, event_of, offsets_of, records, unflatten
from hhh_coffea.base.compiled import compiled
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
    n_quarks, first, last = _b_daughters(offsets_of(counts), pid, mother, higgs)
    has_two = n_quarks == 2
    higgs, first, last = higgs[has_two], first[has_two], last[has_two]

    def four_vector(index: IntArray) -> Columns:
        return {name: values[index] for name, values in momenta.items()}

    quarks_of = {"b1": records(four_vector(first)), "b2": records(four_vector(last))}
    return unflatten({**four_vector(higgs), **quarks_of}, np.bincount(event_of(higgs, counts), minlength=len(counts)))


@compiled
def _b_daughters(offsets, pid, mother, higgs):  # type: ignore[no-untyped-def]
    """Of each Higgs boson the number of b daughters, and the flat indices of the first and the last of them."""
    n_quarks, first, last = np.zeros((3, len(higgs)), dtype=np.int64)
    after = 0
    for event in range(len(offsets) - 1):
        start, stop, own = offsets[event], offsets[event + 1], after
        while after < len(higgs) and higgs[after] < stop:
            after += 1
        for particle in range(start, stop if after > own else start):
            if abs(pid[particle]) == B_QUARK and mother[particle] >= 0:
                for k in range(own, after):
                    if higgs[k] == start + mother[particle]:
                        if n_quarks[k] == 0:
                            first[k] = particle
                        last[k] = particle
                        n_quarks[k] += 1
    return n_quarks, first, last


def first_copies(counts: IntArray, pid: npt.NDArray[Any], mother: npt.NDArray[Any], momenta: Columns) -> ak.Array:
    """Every Higgs boson as it left the hard process, before the shower: the copies whose mother is no Higgs boson.

    Parameters are those of :func:`higgs_to_bb`.
    """
    copies = np.flatnonzero(pid == HIGGS)
    event = event_of(copies, counts)
    mothers = flat_index(mother[copies], event, counts)
    is_first = (mothers < 0) | (pid[mothers] != HIGGS)
    return unflatten(
        {name: values[copies[is_first]] for name, values in momenta.items()},
        np.bincount(event[is_first], minlength=len(counts)),
    )


def flat_index(position: npt.NDArray[Any], event: IntArray, counts: IntArray) -> IntArray:
    """Flat index of the particles at these positions in their events; −1 where there is none."""
    inside = (position >= 0) & (position < counts[event])
    return np.where(inside, (np.cumsum(counts) - counts)[event] + position, -1)
