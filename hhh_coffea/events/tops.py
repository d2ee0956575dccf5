"""Top quarks in the generator record: each with its W boson, its b quark and the daughters of the W.

The walk follows the mothers of particles, so it is the same for Delphes and NanoAOD. A quark or lepton is the direct
daughter, before it radiates.
"""

from __future__ import annotations

from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt

from hhh_coffea.base.arrays import IntArray, event_of, offsets_of, records, unflatten
from hhh_coffea.base.compiled import compiled
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
    found = _decays(offsets_of(counts), np.asarray(pid, dtype=np.int32), np.asarray(mother, dtype=np.int32))
    tops, b, w, charged, lepton, neutrino = found[:6]
    quarks, from_tau = found[6:8], found[8:]

    leptonic = (charged >= 0) & (neutrino >= 0)
    hadronic = ~leptonic & (quarks >= 0).all(axis=0)
    decay = np.select([hadronic, leptonic], [HADRONIC, np.abs(pid[charged])], UNKNOWN)
    d1 = np.select([hadronic, leptonic], [quarks[0], lepton], -1)
    d2 = np.select([hadronic, leptonic], [quarks[1], neutrino], -1)

    def four_vector(index: IntArray) -> Columns:
        return {name: np.where(index >= 0, momenta[name][index], np.nan) for name in KINEMATICS}

    def with_pid(index: IntArray) -> Columns:
        return {**four_vector(index), "pid": np.where(index >= 0, pid[index], 0)}

    return unflatten(
        {
            **{name: momenta[name][tops] for name in KINEMATICS},
            "pid": pid[tops],
            "decay": decay,
            "b": records(four_vector(b)),
            "w": records(four_vector(w)),
            "d1": records(with_pid(d1)),
            "d2": records(with_pid(d2)),
            "nu_sum": records(_sum(four_vector(np.where(leptonic, neutrino, -1)), *map(four_vector, from_tau))),
        },
        np.bincount(event_of(tops, counts), minlength=len(counts)),
    )


@compiled
def _decays(offsets, pid, mother):  # type: ignore[no-untyped-def]
    """``(10, T)``: flat indices, −1 for none, of the last copy of each top quark and of what it decays to.

    Rows: t, b, W, charged lepton of the W, electron or muon (its own, or of its τ), neutrino of the W, two quarks of the W,
    two neutrinos of the τ.
    """
    found, n = np.full((10, np.sum(np.abs(pid) == TOP)), -1, dtype=np.int64), 0
    kin = np.empty(np.max(np.diff(offsets)) if len(offsets) > 1 else 0, dtype=np.int64)
    for event in range(len(offsets) - 1):
        start, stop = offsets[event], offsets[event + 1]
        n_kin, any_top = 0, False
        for particle in range(start, stop):  # daughters and copies of t, W and τ are all that matters below
            if 0 <= mother[particle] < stop - start and abs(pid[start + mother[particle]]) in (TOP, W, TAU):
                kin[n_kin] = particle
                n_kin += 1
            any_top = any_top or abs(pid[particle]) == TOP
        for top in range(start, stop if any_top else start):
            if abs(pid[top]) != TOP or _last_copy(top, start, pid, mother, kin[:n_kin]) != top:
                continue
            row = found[:, n]
            n += 1
            row[0] = top
            _daughters(top, start, (B_QUARK,), pid, mother, kin[:n_kin], row[1:2])
            _daughters(top, start, (W,), pid, mother, kin[:n_kin], row[2:3])
            if row[2] >= 0:
                row[2] = _last_copy(row[2], start, pid, mother, kin[:n_kin])
            w = row[2]
            if w < 0:
                continue
            _daughters(w, start, CHARGED, pid, mother, kin[:n_kin], row[3:4])
            _daughters(w, start, NEUTRINOS, pid, mother, kin[:n_kin], row[5:6])
            _daughters(w, start, QUARKS, pid, mother, kin[:n_kin], row[6:8])
            row[4] = row[3]
            if row[3] >= 0 and abs(pid[row[3]]) == TAU:
                tau = _last_copy(row[3], start, pid, mother, kin[:n_kin])
                row[4] = -1
                _daughters(tau, start, (11, 13), pid, mother, kin[:n_kin], row[4:5])
                _daughters(tau, start, NEUTRINOS, pid, mother, kin[:n_kin], row[8:10])
    return found[:, :n].copy()


@compiled
def _last_copy(particle, start, pid, mother, kin):  # type: ignore[no-untyped-def]
    """The last particle of the chain of daughters with the same PDG number, −1 in a ring; of two such daughters the later."""
    for _ in range(len(kin) + 1):  # no chain is longer
        last = particle
        for other in kin:
            if start + mother[other] == last and pid[other] == pid[last]:
                particle = other
        if particle == last:
            return particle
    return -1


@compiled
def _daughters(parent, start, kinds, pid, mother, kin, found):  # type: ignore[no-untyped-def]
    """Write the first daughters of these kinds into ``found``; copies of the parent are none."""
    n = 0
    for other in kin:
        if (
            n < len(found)
            and start + mother[other] == parent
            and pid[other] != pid[parent]
            and abs(pid[other]) in kinds
        ):
            found[n] = other
            n += 1


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
