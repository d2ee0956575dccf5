"""What transfer functions are derived from: generated and measured energies of matched objects, and how often jets are tagged.

Every column is one of the rows ``(n, k)`` that a chunk gives; rows of chunks are put one after the other.
"""

from __future__ import annotations

from collections.abc import Mapping

import awkward as ak
import numpy as np
import numpy.typing as npt

from hhh_coffea.analyses.tops_objects import PT_MIN, selected_leptons
from hhh_coffea.analyses.tops_truth import TopTruth
from hhh_coffea.base.arrays import counts_of, flat
from hhh_coffea.base.kinematics import FloatArray, delta_r_squared
from hhh_coffea.events.generator import B_QUARK
from hhh_coffea.events.record import field, momentum
from hhh_coffea.reconstruction.targets import Targets

LEPTON_RADIUS = 0.1  # ΔR between the generated and the measured lepton
FLAVORS = {"electron": (0, 11), "muon": (1, 13)}  # in the event record, and as PDG number
PAIR = ("generated", "measured", "threshold", "eta")  # GeV: E, of muons pT; least measured value that is selected


def pairs_of(record: ak.Array, truth: TopTruth, targets: Targets) -> dict[str, FloatArray]:
    """Rows of selected events (:mod:`hhh_coffea.analyses.tops_objects`).

    Returns
    -------
    ``light``, ``bottom``, ``electron``, ``muon``
        ``(n, 4)``, columns :data:`PAIR`. Jets of events in which all quarks of both tops are matched; the lepton of
        semi-leptonic events without a τ
    ``met``
        ``(n, 3)``: measured p_x and p_y less those of the neutrino, and ΣE_T (GeV), of events without a τ
    ``tag``
        ``(n, 3)``: pT of each selected jet (GeV), whether it is tagged, whether it is a b jet
    """
    ht, lt = (targets.objects[name][:, 0] for name in ("ht", "lt"))
    full = (targets.exists("ht") & targets.exists("lt"))[:, 0]
    rows = {
        "light": np.concatenate([_jets(record, ht[:, k], truth.particles[f"q{k}"], full) for k in (1, 2)]),
        "bottom": np.concatenate(
            [
                _jets(record, ht[:, 0], truth.particles["ht_b"], full),
                _jets(record, lt[:, 0], truth.particles["lt_b"], full),
            ]
        ),
    }
    columns, generated = selected_leptons(record), truth.particles["lepton"]
    eta = np.asarray(columns["eta"], dtype=np.float64)
    near = delta_r_squared(eta, np.asarray(columns["phi"]), generated["eta"], generated["phi"]) < LEPTON_RADIUS**2
    for name, (flavor, pid) in FLAVORS.items():
        use = near & (columns["flavor"] == flavor) & (truth.flavor == pid)
        grow, grow_generated = (
            (np.ones(int(use.sum())),) * 2 if name == "muon" else (np.cosh(e[use]) for e in (eta, generated["eta"]))
        )
        pt = np.asarray(columns["pt"], dtype=np.float64)[use]
        rows[name] = np.stack([generated["pt"][use] * grow_generated, pt * grow, PT_MIN * grow, eta[use]], axis=1)
    neutrino = truth.particles["neutrino"]
    use = truth.semileptonic & ~truth.tau
    met_pt, met_phi = (np.asarray(ak.to_numpy(v), dtype=np.float64) for v in (record.met.pt, record.met.phi))
    difference = [met_pt * f(met_phi) - neutrino["pt"] * f(neutrino["phi"]) for f in (np.cos, np.sin)]
    sum_et = np.asarray(ak.to_numpy(field(record, "sum_et", "transfer functions")), dtype=np.float64)
    rows["met"] = np.stack([*difference, sum_et], axis=1)[use]
    flavor_of_jet = flat(field(record.jets, "flavor", "b-tagging rates"))
    tag = [flat(record.jets.pt), flat(record.jets.btag) > 0, np.abs(flavor_of_jet) == B_QUARK]
    rows["tag"] = np.stack([np.asarray(column, dtype=np.float64) for column in tag], axis=1)
    return rows


def _jets(
    record: ak.Array,
    position: npt.NDArray[np.integer],
    quark: Mapping[str, FloatArray],
    use: npt.NDArray[np.bool_],
) -> FloatArray:
    """Rows of one quark's jet in the events to ``use``."""
    counts = counts_of(record.jets.pt)
    index = ((np.cumsum(counts) - counts) + position)[use]
    energy, pt = momentum(record.jets).energy[index], flat(record.jets.pt)[index]
    mass = np.maximum(quark["mass"][use], 0)
    generated = np.hypot(quark["pt"][use] * np.cosh(quark["eta"][use]), mass)
    return np.stack([generated, energy, PT_MIN * energy / pt, flat(record.jets.eta)[index]], axis=1).astype(np.float64)
