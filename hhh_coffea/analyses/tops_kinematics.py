"""Four-momenta of t_H, t_L, H and tt̄ from assigned jets, the lepton and MET, alike for all methods (GeV)."""

from __future__ import annotations

from collections.abc import Mapping

import awkward as ak
import numpy as np

from hhh_coffea.analyses.tops_objects import selected_leptons
from hhh_coffea.base.arrays import IntArray
from hhh_coffea.base.kinematics import Cartesian
from hhh_coffea.methods.neutrino import W_MASS, massless, neutrino
from hhh_coffea.reconstruction.composites import assigned_momentum, summed


def leptonic_w(record: ak.Array, w_mass: float = W_MASS) -> tuple[Cartesian, Cartesian]:
    """Four-momenta ``(N,)`` of the lepton, taken massless, and the neutrino of each selected event."""
    columns = selected_leptons(record)
    lepton = massless(columns["pt"], columns["eta"], columns["phi"])
    return lepton, neutrino(lepton, ak.to_numpy(record.met.pt), ak.to_numpy(record.met.phi), w_mass)


def systems(record: ak.Array, objects: Mapping[str, IntArray], w_mass: float = W_MASS) -> dict[str, Cartesian]:
    """Four-momenta ``(N,)``: ``lepton neutrino w_lep w_had ht lt ttbar``, and ``h`` where it was assigned.

    ``objects`` holds positions in ``record.jets``: ``ht (N, 3)`` as b, q1, q2, ``lt (N, 1)`` and perhaps ``h (N, 2)``. The
    jets have their measured momenta. NaN where a needed jet is −1.
    """
    lepton, nu = leptonic_w(record, w_mass)
    w_lep = summed(lepton, nu)
    found = {
        "lepton": lepton,
        "neutrino": nu,
        "w_lep": w_lep,
        "w_had": assigned_momentum(record.jets, objects["ht"][:, 1:]),
        "ht": assigned_momentum(record.jets, objects["ht"]),
        "lt": summed(assigned_momentum(record.jets, objects["lt"]), w_lep),
    }
    found["ttbar"] = summed(found["ht"], found["lt"])
    if "h" in objects:
        found["h"] = assigned_momentum(record.jets, np.asarray(objects["h"]))
    return found
