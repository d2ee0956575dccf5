"""Electrons and muons of any format as one list, and the missing transverse momentum."""

from __future__ import annotations

import awkward as ak
import numpy as np
import numpy.typing as npt

from hhh_coffea.base.arrays import IntArray, event_index, position_in_event, unflatten
from hhh_coffea.base.kinematics import FloatArray
from hhh_coffea.events.record import Columns

ELECTRON, MUON = 0, 1  # values of ``flavor``
MASSES = {ELECTRON: 0.000511, MUON: 0.10566}  # GeV, Particle Data Group
FIELDS = ("pt", "eta", "phi", "charge", "isolation")


def merged(
    electrons: tuple[IntArray, Columns], muons: tuple[IntArray, Columns], keep: tuple[npt.NDArray[np.bool_], ...]
) -> ak.Array:
    """Electrons and muons that pass ``keep``, by falling pT: ``{pt eta phi mass charge flavor isolation index}``.

    Each kind is ``(counts, columns)`` with flat ``pt eta phi charge isolation`` (GeV). ``flavor`` is 0 for electrons and
    1 for muons, ``index`` the position in the file's list of its flavor, ``mass`` that of the particle. Electrons come
    first where pT is equal.
    """
    parts: list[Columns] = []
    for flavor, (counts, columns), kept in zip((ELECTRON, MUON), (electrons, muons), keep, strict=True):
        own = {name: columns[name] for name in FIELDS}
        own |= {
            "event": event_index(counts),
            "index": position_in_event(counts),
            "flavor": np.full(len(kept), flavor, dtype=np.int8),
            "mass": np.full(len(kept), MASSES[flavor], dtype=np.float32),
        }
        parts.append({name: values[kept] for name, values in own.items()})
    both = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    event = both.pop("event")
    order = np.lexsort((-both["pt"], event))
    return unflatten(
        {name: values[order] for name, values in both.items()}, np.bincount(event, minlength=len(electrons[0]))
    )


def finite(columns: Columns) -> npt.NDArray[np.bool_]:
    """Leptons whose pT, η and φ are all numbers."""
    result: npt.NDArray[np.bool_] = np.logical_and.reduce([np.isfinite(columns[name]) for name in FIELDS[:3]])
    return result


def moved(
    pt: npt.NDArray[np.floating],
    phi: npt.NDArray[np.floating],
    counts: IntArray,
    jet_phi: FloatArray,
    change: FloatArray,
) -> dict[str, FloatArray]:
    """Missing transverse momentum after jets changed: what a jet gains, it loses ("type-I" correction).

    ``pt`` (GeV) and ``phi`` are ``(N,)``; ``jet_phi`` and ``change`` (of pT, GeV) are flat, with ``counts`` jets an event.
    """
    event = event_index(counts)
    px = pt * np.cos(phi, dtype=np.float64) - np.bincount(event, change * np.cos(jet_phi), minlength=len(counts))
    py = pt * np.sin(phi, dtype=np.float64) - np.bincount(event, change * np.sin(jet_phi), minlength=len(counts))
    return {"pt": np.hypot(px, py), "phi": np.arctan2(py, px)}
