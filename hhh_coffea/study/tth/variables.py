"""Event variables that tell ttH from ttbb: Supplementary Table 2 of M. Fenton et al., Commun. Phys. 7, 139 (2024).

Momenta are in GeV, angles in radians. b jets are the b-tagged jets, J all jets, H the sum of the two jets that a method
assigned to the Higgs boson. Of several pairs that tie the first counts, in the order of the record. NaN where an event has no
pair, or the method no candidate.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import awkward as ak
import numpy as np
import numpy.typing as npt

from hhh_coffea.analyses.tops_kinematics import systems
from hhh_coffea.analyses.tops_objects import selected_leptons
from hhh_coffea.base.arrays import IntArray, counts_of, flat, padded, true_in_event
from hhh_coffea.base.kinematics import Cartesian, FloatArray, cartesian, delta_r_squared, invariant_mass, polar
from hhh_coffea.reconstruction.composites import assigned_momentum, summed

HIGGS_MASS, WINDOW = 125.0, 30.0  # GeV
LeptonPair = Literal["nearest_lepton", "nearest_jets"]
BoolArray = npt.NDArray[np.bool_]

EVENT_VARIABLES = (
    "delta_r_bb_average",
    "delta_r_bb_max_pt",
    "delta_eta_jj_max",
    "ht_hadronic",
    "mass_bb_min_delta_r",
    "mass_jj_min_delta_r",
    "n_bb_higgs_30",
    "delta_r_lepton_bb_min",
)
METHOD_VARIABLES = (
    "mass_bb_higgs",
    "mass_higgs_b_leptonic_top",
    "delta_r_bb_higgs",
    "delta_r_higgs_ttbar",
    "delta_r_higgs_leptonic_top",
    "delta_r_higgs_b_hadronic_top",
)


class Pairs(NamedTuple):
    """All pairs of some jets of N events, in lexicographic order."""

    first: IntArray  # (P,) positions of the jets
    second: IntArray
    exist: BoolArray  # (N, P)
    delta_r_squared: FloatArray  # (N, P)


def event_variables(record: ak.Array, lepton_pair: LeptonPair = "nearest_lepton") -> dict[str, FloatArray]:
    """The eight of :data:`EVENT_VARIABLES`, ``(N,)``, which need no assignment.

    ``delta_r_lepton_bb_min`` is the smallest ΔR(ℓ, b_i + b_j) of all pairs of b jets or, with ``nearest_jets``, that of the pair
    with the smallest ΔR(b_i, b_j): the paper's formula can be read as either.
    """
    jets = {name: flat(record.jets[name]) for name in ("pt", "eta", "phi", "mass", "btag")}
    counts, tagged = counts_of(record.jets.pt), jets["btag"] > 0
    every = _padded(jets, counts)
    b_jets = _padded({name: values[tagged] for name, values in jets.items()}, true_in_event(tagged, counts))
    jj, bb = pairs_of(every), pairs_of(b_jets)
    momenta = _momenta(b_jets)
    pt, eta, phi, mass = polar(Cartesian(*(p[:, bb.first] + p[:, bb.second] for p in momenta)))
    nearest, nearest_jj = (_first(some.delta_r_squared, some.exist, np.argmin) for some in (bb, jj))
    lepton = {name: np.asarray(values)[:, None] for name, values in selected_leptons(record).items()}
    to_lepton = np.sqrt(delta_r_squared(lepton["eta"], lepton["phi"], eta, phi))
    chosen = _first(to_lepton, bb.exist, np.argmin) if lepton_pair == "nearest_lepton" else nearest
    delta_r = np.sqrt(bb.delta_r_squared)
    with np.errstate(invalid="ignore"):
        average = np.where(bb.exist, delta_r, 0.0).sum(axis=1) / bb.exist.sum(axis=1)
    there = every["exist"]
    largest, smallest = (
        extreme(np.where(there, every["eta"], worst), axis=1)
        for extreme, worst in ((np.max, -np.inf), (np.min, np.inf))
    )
    inside = bb.exist & (np.abs(mass - HIGGS_MASS) < WINDOW)
    return {
        "delta_r_bb_average": average,
        "delta_r_bb_max_pt": _at(delta_r, _first(pt, bb.exist, np.argmax)),
        "delta_eta_jj_max": np.where(counts > 1, largest - smallest, np.nan),
        "ht_hadronic": every["pt"].sum(axis=1),
        "mass_bb_min_delta_r": _at(mass, nearest),
        "mass_jj_min_delta_r": _mass_of_pair(every, jj, nearest_jj),
        "n_bb_higgs_30": inside.sum(axis=1).astype(np.float64),
        "delta_r_lepton_bb_min": _at(to_lepton, chosen),
    }


def method_variables(record: ak.Array, objects: Mapping[str, IntArray]) -> dict[str, FloatArray]:
    """The six of :data:`METHOD_VARIABLES`, ``(N,)``, of the assigned jets.

    ``objects`` holds positions in ``record.jets``: ``ht (N, 3)`` as b, q1, q2, ``lt (N, 1)`` and ``h (N, 2)``, −1 where none. t_L
    has the neutrino of :mod:`hhh_coffea.methods.neutrino`.
    """
    found = systems(record, objects)
    higgs = found["h"]
    first, second = (assigned_momentum(record.jets, objects["h"][:, [i]]) for i in (0, 1))
    b_lep = assigned_momentum(record.jets, objects["lt"])
    b_had = assigned_momentum(record.jets, objects["ht"][:, :1])
    return {
        "mass_bb_higgs": _mass(higgs),
        "mass_higgs_b_leptonic_top": _mass(summed(higgs, b_lep)),
        "delta_r_bb_higgs": _delta_r(first, second),
        "delta_r_higgs_ttbar": _delta_r(higgs, found["ttbar"]),
        "delta_r_higgs_leptonic_top": _delta_r(higgs, found["lt"]),
        "delta_r_higgs_b_hadronic_top": _delta_r(higgs, b_had),
    }


def pairs_of(jets: Mapping[str, npt.NDArray[Any]]) -> Pairs:
    """Pairs of padded jets ``(N, n)``: ``exist eta phi``."""
    first, second = np.triu_indices(jets["exist"].shape[1], 1)
    eta, phi = jets["eta"], jets["phi"]
    square = delta_r_squared(eta[:, first], phi[:, first], eta[:, second], phi[:, second])
    return Pairs(first, second, jets["exist"][:, second], square)


def _padded(jets: Mapping[str, npt.NDArray[Any]], counts: IntArray) -> dict[str, npt.NDArray[Any]]:
    """Flat jets → ``(N, n)`` float64 columns, 0 beyond an event's jets, and ``exist``; n is 2 at least."""
    width = max(int(counts.max(initial=0)), 2)
    columns = {name: padded(values.astype(np.float64), counts, width, 0.0) for name, values in jets.items()}
    return {**columns, "exist": np.arange(width) < counts[:, None]}


def _momenta(jets: Mapping[str, npt.NDArray[Any]]) -> Cartesian:
    return cartesian(*(jets[name] for name in ("pt", "eta", "phi", "mass")))


def _mass_of_pair(jets: Mapping[str, npt.NDArray[Any]], pairs: Pairs, chosen: IntArray) -> FloatArray:
    """``(N,)``: mass of the chosen pair of each event, NaN where it is −1."""
    momenta = []
    for place in (pairs.first, pairs.second):
        jet = place[np.maximum(chosen, 0)][:, None]
        momenta.append(
            _momenta({name: np.take_along_axis(jets[name], jet, axis=1)[:, 0] for name in ("pt", "eta", "phi", "mass")})
        )
    return np.where(chosen >= 0, invariant_mass(summed(*momenta)), np.nan)


def _first(values: FloatArray, exist: BoolArray, extreme: Any) -> IntArray:
    """``(N,)``: position of the least or greatest value (``np.argmin``, ``np.argmax``), −1 where an event has none."""
    worst = np.inf if extreme is np.argmin else -np.inf
    return np.where(exist.any(axis=1), extreme(np.where(exist, values, worst), axis=1), -1)


def _at(values: FloatArray, position: IntArray) -> FloatArray:
    """``(N,)``: the value at the position of each event, NaN where this is −1."""
    return np.where(position >= 0, np.take_along_axis(values, np.maximum(position, 0)[:, None], axis=1)[:, 0], np.nan)


def _mass(total: Cartesian) -> FloatArray:
    """Invariant mass, NaN kept."""
    return np.where(np.isnan(total.energy), np.nan, invariant_mass(total))


def _delta_r(one: Cartesian, other: Cartesian) -> FloatArray:
    """ΔR of two four-momenta."""
    _, eta_1, phi_1, _ = polar(one)
    _, eta_2, phi_2, _ = polar(other)
    return np.sqrt(delta_r_squared(eta_1, phi_1, eta_2, phi_2))
