"""Events and transfer functions that the tests of the kinematic fit share, and ln L written out once more, slowly."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import torch
import uproot

from hhh_coffea.methods.likelihood import LeptonJets, LikelihoodOptions, TransferFunctions
from hhh_coffea.methods.likelihood.transfer_file import DoubleGaussian, Gaussian, LinearMet

# made up, of the size of Delphes' resolutions
DOUBLE: dict[str, Any] = {
    "schema_version": 1,
    "light": [
        {
            "kind": "double_gaussian",
            "eta": (0.0, 2.5),
            "shape": "E4",
            "parameters": (0.0, 1.0, 0.03, 0.9, 0.1, 1.0, 0.1, 0.2, 0.15, 0.00005),
            "range": (20.0, 1000.0),
        }
    ],
    "bottom": [
        {
            "kind": "double_gaussian",
            "eta": (0.0, 1.2),
            "shape": "E4",
            "parameters": (0.02, 2.0, 0.04, 1.0, 0.2, 1.0, 0.15, 0.3, 0.18, 0.00005),
            "range": (20.0, 1000.0),
        },
        {
            "kind": "double_gaussian",
            "eta": (1.2, 2.5),
            "shape": "E4",
            "parameters": (0.01, 2.5, 0.05, 1.0, 0.2, 1.0, 0.12, 0.3, 0.2, 0.00005),
            "range": (20.0, 1000.0),
        },
    ],
    "electron": [{"kind": "gaussian", "eta": (0.0, 2.5), "a": 0.01, "b": 0.1}],
    "muon": [{"kind": "gaussian", "eta": (0.0, 2.5), "a": 0.02}],
    "met": {"kind": "linear", "p0": 15.0, "p1": 0.02},
    "btag": {"pt": (0.0,), "efficiency": (0.7,), "mistag": (0.05,)},
}


def functions(**changes: Any) -> TransferFunctions:
    """The double Gaussians above, with changes."""
    return TransferFunctions.model_validate({**DOUBLE, **changes})


def conformance() -> tuple[LeptonJets, TransferFunctions]:
    """KLFitter's own test event and what it was fitted with (spec §3.7)."""
    measured = np.array(
        [
            (133.56953, 0.2231264, 1.7798618, 137.56292),
            (77.834281, 0.8158330, -1.533635, 105.72334),
            (49.327293, 1.9828589, -1.878274, 182.64006),
            (43.140816, 0.4029131, -0.472721, 47.186804),
        ]
    )
    jets = measured.copy()
    jets[:, 3] = np.sqrt(measured[:, 3] ** 2 - (measured[:, 0] * np.cosh(measured[:, 1])) ** 2)
    events = LeptonJets.of(
        jets[None],
        np.array([[0, 0, 1, 0]]),
        np.ones((1, 4)),
        np.array([[30.501886, 0.4483959, 2.9649317, 1]]),
        np.array([[26.125748, 0.36392, 26.125748]]),
    )
    jet = [
        {"kind": "gaussian", "eta": (0.0, 1.7), "a": 0.0302, "b": 0.5205, "c": 1.59},
        {"kind": "gaussian", "eta": (1.7, 3.2), "a": 0.05, "b": 0.706},
    ]
    return events, functions(
        light=jet,
        bottom=jet,
        electron=jet,
        muon=[{"kind": "gaussian", "eta": (0.0, 2.5), "c": 0.02}],
        met={"kind": "linear", "p0": 20.0},
        btag={"pt": (0.0,), "efficiency": (0.7,), "mistag": (1 / 125,)},
    )


def random_events(n: int, jets: int, seed: int = 1) -> LeptonJets:
    """Events with no physics in them: ``jets`` jets each, half of the leptons electrons."""
    g = np.random.default_rng(seed)
    pt = 25 + g.exponential(45, (n, jets))
    kinematics = np.stack([pt, g.uniform(-2.4, 2.4, (n, jets)), g.uniform(-3.1, 3.1, (n, jets)), 0.12 * pt], -1)
    lepton = np.stack(
        [25 + g.exponential(30, n), g.uniform(-2.4, 2.4, n), g.uniform(-3.1, 3.1, n), g.integers(0, 2, n)], -1
    )
    met = np.stack([g.exponential(50, n) + 1, g.uniform(-3.1, 3.1, n), pt.sum(1)], -1)
    return LeptonJets.of(kinematics, g.uniform(size=(n, jets)) < 0.45, np.ones((n, jets)), lepton, met)


def delphes_events(file: Path, n: int) -> LeptonJets:
    """The first selected events of a file of semi-leptonic tops (spec §1.2)."""
    names = [f"Jet.{k}" for k in ("PT", "Eta", "Phi", "Mass", "BTag")]
    names += [f"{lepton}.{k}" for lepton in ("Electron", "Muon") for k in ("PT", "Eta", "Phi")]
    names += ["MissingET.MET", "MissingET.Phi", "ScalarHT.HT"]
    with uproot.open(file) as opened:
        events = opened["Delphes"].arrays(names, entry_stop=2 * n)
    good = (events["Jet.PT"] > 25) & (abs(events["Jet.Eta"]) < 2.5)
    leptons = [
        ak.zip(
            {k: events[f"{name}.{k}"] for k in ("PT", "Eta", "Phi")}
            | {"flavor": flavor * ak.ones_like(events[f"{name}.PT"])}
        )
        for flavor, name in enumerate(("Electron", "Muon"))
    ]
    lepton = ak.concatenate(leptons, axis=1)
    lepton = lepton[(lepton.PT > 25) & (abs(lepton.Eta) < 2.5)]
    tags = ak.sum(good & (events["Jet.BTag"] % 2 == 1), axis=1)
    chosen = (ak.sum(good, axis=1) >= 4) & (tags >= 2) & (ak.num(lepton) == 1)
    events, good, lepton = events[chosen][:n], good[chosen][:n], lepton[chosen][:n, 0]
    slots = int(ak.max(ak.sum(good, axis=1)))

    def padded(name: str) -> np.ndarray:
        return ak.to_numpy(ak.fill_none(ak.pad_none(events[name][good], slots, clip=True), 0)).astype(float)

    jets = np.stack([padded(f"Jet.{k}") for k in ("PT", "Eta", "Phi", "Mass")], -1)
    met = np.stack([ak.to_numpy(events[k][:, 0]) for k in names[-3:]], -1).astype(float)
    return LeptonJets.of(
        jets,
        padded("Jet.BTag").astype(int) % 2,
        jets[..., 0] > 0,
        np.stack([ak.to_numpy(lepton[k]) for k in ("PT", "Eta", "Phi", "flavor")], -1).astype(float),
        met,
    )


# --- ln L as a plain function of numbers ----------------------------------------------------------------------------
def log_transfer(bins: list[Any], eta: float, x: float, measured: float) -> float:
    function = next((b for b in bins if abs(eta) < b.eta[1]), bins[-1])
    if isinstance(function, Gaussian):
        sigma = math.sqrt(function.a**2 * x**2 + function.b**2 * x + function.c**2)
        return -0.5 * ((x - measured) / sigma) ** 2 - math.log(sigma * math.sqrt(2 * math.pi))
    assert isinstance(function, DoubleGaussian)
    p, at = function.parameters, min(max(x, function.range[0]), function.range[1])
    r = math.sqrt(at)
    mu1, s1, a, mu2, s2 = {
        "E1": (p[0] + p[1] * at, p[2] / r + p[3], p[4] + p[5] * at, p[6] + p[7] * at, p[8] + p[9] * at),
        "E2": (p[0] / r + p[1] * at, p[2] / r + p[3], p[4] / r + p[5] * at, p[6] + p[7] * at, p[8] + p[9] * at),
        "E3": (
            p[0] / at + p[1],
            math.sqrt(p[2] ** 2 / at + p[3] ** 2),
            p[4] + p[5] * at,
            p[6] / at + p[7],
            p[8] / at + p[9],
        ),
        "E4": (p[0] + p[1] / at, p[2] + p[3] / r, p[4] + p[5] / at, p[6] + p[7] / r, p[8] + p[9] * at),
        "E5": (p[0] + p[1] * at, p[2] + p[3] / r, p[4] + p[5] * at, p[6] + p[7] / r, p[8] + p[9] * at),
        "pT": tuple(p[2 * k] + p[2 * k + 1] * at for k in range(5)),
    }[function.shape]
    d = (x - measured) / x
    # from the larger exponent, so that the logarithm exists far away
    e1, e2 = -((d - mu1) ** 2) / (2 * s1**2), -((d - mu2) ** 2) / (2 * s2**2)
    top = max(e1, e2)
    shape = top + math.log(math.exp(e1 - top) + a * math.exp(e2 - top))
    return shape - math.log(math.sqrt(2 * math.pi) * (s1 + a * s2))


def vector(energy: float, mass: float, eta: float, phi: float) -> np.ndarray:
    p = math.sqrt(energy**2 - mass**2)
    return np.array(
        [energy, p * math.cos(phi) / math.cosh(eta), p * math.sin(phi) / math.cosh(eta), p * math.tanh(eta)]
    )


def square(p: np.ndarray) -> float:
    return float(p[0] ** 2 - p[1] ** 2 - p[2] ** 2 - p[3] ** 2)


class SlowLikelihood:
    """ln L of one event, one parameter set at a time: E of b_had, q1, q2, b_lep [, b1, b2], E_ℓ, neutrino (px, py, pz), m_top."""

    def __init__(self, events: LeptonJets, event: int, tf: TransferFunctions, options: LikelihoodOptions) -> None:
        self.event = {name: getattr(events, name)[event].tolist() for name in ("pt", "eta", "phi", "mass", "btag")}
        names = ("lepton_pt", "lepton_eta", "lepton_phi", "lepton_flavor", "met", "met_phi", "sum_et")
        self.scalars = {name: getattr(events, name)[event].item() for name in names}
        self.tf, self.options = tf, options

    def measured_energy(self, jet: int) -> float:
        pt, eta, mass = (self.event[k][jet] for k in ("pt", "eta", "mass"))
        return math.sqrt((pt * math.cosh(eta)) ** 2 + mass**2)

    def jet(self, jet: int, energy: float, mass: float) -> np.ndarray:
        return vector(energy, mass, self.event["eta"][jet], self.event["phi"][jet])

    def breit_wigner(self, s: float, mass: float, width: float) -> float:
        return -math.log((s - mass**2) ** 2 + mass**2 * width**2)

    def __call__(self, permutation: list[int], parameters: np.ndarray) -> float:
        o, s = self.options, self.scalars
        n = len(permutation)
        energies, lepton_energy, (px, py, pz), top = (
            parameters[:n],
            parameters[n],
            parameters[n + 1 : n + 4],
            parameters[-1],
        )
        masses = [o.bottom_mass, 0, 0, o.bottom_mass, o.bottom_mass, o.bottom_mass]
        total, p = 0.0, []
        for position, (jet, energy) in enumerate(zip(permutation, energies, strict=True)):
            bins = self.tf.light if position in (1, 2) else self.tf.bottom
            total += log_transfer(bins, self.event["eta"][jet], energy, self.measured_energy(jet))
            p.append(self.jet(jet, energy, masses[position]))
        grow = math.cosh(s["lepton_eta"])
        if s["lepton_flavor"] == 0:
            total += log_transfer(self.tf.electron, s["lepton_eta"], lepton_energy, s["lepton_pt"] * grow)
        else:
            total += log_transfer(self.tf.muon, s["lepton_eta"], lepton_energy / grow, s["lepton_pt"])
        lepton = vector(lepton_energy, 0, s["lepton_eta"], s["lepton_phi"])
        neutrino = np.array([math.sqrt(px**2 + py**2 + pz**2), px, py, pz])
        met = self.tf.met
        assert isinstance(met, LinearMet)
        sigma = met.p0 + met.p1 * s["sum_et"]
        for fitted, measured in ((px, s["met"] * math.cos(s["met_phi"])), (py, s["met"] * math.sin(s["met_phi"]))):
            total += -0.5 * ((fitted - measured) / sigma) ** 2 - math.log(sigma * math.sqrt(2 * math.pi))
        for system, mass, width in (
            (p[1] + p[2], o.w_mass, o.w_width),
            (p[0] + p[1] + p[2], top, o.gamma_top),
            (lepton + neutrino, o.w_mass, o.w_width),
            (p[3] + lepton + neutrino, top, o.gamma_top),
        ):
            total += self.breit_wigner(square(system), mass, width)
        if n > 4 and o.higgs_mass is not None:
            total += self.breit_wigner(square(p[4] + p[5]), o.higgs_mass, o.higgs_width)
        return total


def rotated(events: LeptonJets, *, phi: float = 0.0, mirror: bool = False, flip: bool = False) -> LeptonJets:
    """Events rotated in φ, with φ → −φ, with z → −z."""
    sign, z = (-1 if mirror else 1), (-1 if flip else 1)
    values = {f: getattr(events, f) for f in LeptonJets.__dataclass_fields__}
    for name in ("phi", "lepton_phi", "met_phi"):
        values[name] = sign * values[name] + phi
    for name in ("eta", "lepton_eta"):
        values[name] = z * values[name]
    return LeptonJets(**values)


def reordered(events: LeptonJets, order: torch.Tensor) -> LeptonJets:
    """Events with their jets in another order, the same for all."""
    values = {f: getattr(events, f) for f in LeptonJets.__dataclass_fields__}
    for name in ("pt", "eta", "phi", "mass", "btag", "mask"):
        values[name] = values[name][:, order]
    return LeptonJets(**values)
