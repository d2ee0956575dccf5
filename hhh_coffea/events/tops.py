"""Top quarks in the generator record: each with its W boson, its b quark and the daughters of the W.

The walk follows the mothers of particles, so it is the same for Delphes and NanoAOD. A quark or lepton is the direct
daughter, before it radiates.
"""

from __future__ import annotations

from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt

from hhh_coffea.base.arrays import IntArray, position_in_event, records, unflatten
from hhh_coffea.base.kinematics import Cartesian, cartesian, polar
from hhh_coffea.events.generator import B_QUARK
from hhh_coffea.events.record import Columns

TOP, W, TAU = 6, 24, 15
CHARGED, NEUTRINOS, QUARKS = (11, 13, TAU), (12, 14, 16), (1, 2, 3, 4, B_QUARK)
HADRONIC, UNKNOWN = 0, -1  # values of ``decay``; else it is the absolute PDG number of the W boson's charged lepton
KINEMATICS = ("pt", "eta", "phi", "mass")


def top_decays(counts: IntArray, pid: npt.NDArray[Any], mother: npt.NDArray[Any], momenta: Columns) -> ak.Array:
    """Last copy of every top quark, in record order, with its decay.

    Parameters
    ----------
    counts
        particles of each event; all other arrays are flat
    pid, mother
        PDG number and position of the mother in the event, −1 for none
    momenta
        ``pt eta phi mass`` (GeV)

    Returns
    -------
    Per event a list of ``{pt eta phi mass pid decay b w d1 d2 nu_sum}``. ``b``, ``w``, ``d1``, ``d2``, ``nu_sum`` have
    ``pt eta phi mass``, NaN where there is no such particle; ``d1`` and ``d2`` have ``pid`` as well, 0 where there is none.

    ``decay`` 0 is W → q q′, with ``d1`` and ``d2`` in record order. 11, 13 and 15 are W → ℓν: ``d1`` is the electron
    or muon, which for 15 is that of the τ decay (none if the τ decays to hadrons), ``d2`` is the W's own neutrino and
    ``nu_sum`` the sum of all neutrinos. −1: the decay is not in the record. ``b`` is absent in t → sW and t → dW.
    """
    starts = np.cumsum(counts) - counts
    mother = _flat_mothers(mother, counts, starts)
    kind = np.abs(pid)
    decays = np.isin(kind, (TOP, W, TAU))
    members = np.flatnonzero(mother >= 0)
    members = members[decays[mother[members]]]  # daughters and copies of these, all that matters below
    copy = pid[members] == pid[mother[members]]
    following = np.full(len(pid) + 1, -1, dtype=np.int64)  # the next copy; the last place is for index −1: none
    following[mother[members[copy]]] = members[copy]
    members = members[~copy]
    member_kind, slot = kind[members], np.full(len(pid) + 1, -1, dtype=np.int64)

    def children(parents: IntArray, kinds: tuple[int, ...], wanted: int = 1) -> IntArray:
        """``(parents, wanted)``: the first daughters of these kinds that each parent has; −1 where fewer."""
        found = np.full((len(parents), wanted), -1, dtype=np.int64)
        real = np.flatnonzero(parents >= 0)
        slot[parents[real]] = real
        daughters = members[np.logical_or.reduce([member_kind == number for number in kinds])]
        owner = slot[mother[daughters]]
        slot[parents[real]] = -1
        daughters, owner = daughters[owner >= 0], owner[owner >= 0]
        order = np.argsort(owner, kind="stable")
        daughters, owner = daughters[order], owner[order]
        rank = position_in_event(np.bincount(owner, minlength=len(parents)))
        early = rank < wanted
        found[owner[early], rank[early]] = daughters[early]
        return found

    def last_copy(particles: IntArray) -> IntArray:
        while (later := following[particles] >= 0).any():
            particles = np.where(later, following[particles], particles)
        return particles

    tops = np.flatnonzero(kind == TOP)
    tops = tops[following[tops] < 0]
    b = children(tops, (B_QUARK,))[:, 0]
    w = last_copy(children(tops, (W,))[:, 0])
    quarks = children(w, QUARKS, 2)
    charged = children(w, CHARGED)[:, 0]
    neutrino = children(w, NEUTRINOS)[:, 0]

    is_tau = (charged >= 0) & (kind[charged] == TAU)
    tau = np.where(is_tau, last_copy(charged), -1)
    lepton = np.where(is_tau, children(tau, (11, 13))[:, 0], charged)
    from_tau = children(tau, NEUTRINOS, 2)

    leptonic = (charged >= 0) & (neutrino >= 0)
    hadronic = ~leptonic & (quarks >= 0).all(axis=1)
    decay = np.select([hadronic, leptonic], [HADRONIC, kind[charged]], UNKNOWN)
    d1 = np.select([hadronic, leptonic], [quarks[:, 0], lepton], -1)
    d2 = np.select([hadronic, leptonic], [quarks[:, 1], neutrino], -1)

    def four_vector(index: IntArray) -> Columns:
        return {name: np.where(index >= 0, momenta[name][index], np.nan) for name in KINEMATICS}

    def with_pid(index: IntArray) -> Columns:
        return {**four_vector(index), "pid": np.where(index >= 0, pid[index], 0)}

    event = np.searchsorted(starts, tops, side="right") - 1
    return unflatten(
        {
            **{name: momenta[name][tops] for name in KINEMATICS},
            "pid": pid[tops],
            "decay": decay,
            "b": records(four_vector(b)),
            "w": records(four_vector(w)),
            "d1": records(with_pid(d1)),
            "d2": records(with_pid(d2)),
            "nu_sum": records(_sum(four_vector(np.where(leptonic, neutrino, -1)), *map(four_vector, from_tau.T))),
        },
        np.bincount(event, minlength=len(counts)),
    )


def _flat_mothers(mother: npt.NDArray[Any], counts: IntArray, starts: IntArray) -> IntArray:
    """Flat index of each particle's mother; −1 where there is none or the link leads out of the event."""
    position = mother.astype(np.int64)
    inside = (position >= 0) & (position < np.repeat(counts, counts))
    return np.where(inside, position + np.repeat(starts, counts), -1)


def _sum(first: Columns, *others: Columns) -> Columns:
    """Sum of four-vectors; those after the first count nothing where they are absent. One alone keeps its numbers."""
    result = {name: values.astype(np.float64) for name, values in first.items()}
    several = np.flatnonzero(~np.all([np.isnan(other["pt"]) for other in others], axis=0))
    if len(several):
        start, *more = (np.stack(cartesian(*(p[name][several] for name in KINEMATICS))) for p in (first, *others))
        total = start + sum(np.nan_to_num(component, nan=0.0) for component in more)
        for name, values in zip(KINEMATICS, polar(Cartesian(*total)), strict=True):
            result[name][several] = values
    return result
