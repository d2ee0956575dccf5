"""What is histogrammed of semi-leptonic tops beside purity and efficiency: the masses and dependences of the figures."""

from __future__ import annotations

import awkward as ak
import numpy as np

from hhh_coffea.analyses.tops_kinematics import leptonic_w
from hhh_coffea.base.arrays import counts_of, flat
from hhh_coffea.base.kinematics import Cartesian, FloatArray, cartesian, invariant_mass, polar
from hhh_coffea.events.tops import HADRONIC, TAU
from hhh_coffea.methods.neutrino import pz_roots
from hhh_coffea.reconstruction.composites import assigned_momentum, summed
from hhh_coffea.reconstruction.quantities import EVENT, Quantity, Reconstruction, evenly, feature_of, objects_of
from hhh_coffea.topology.kinds import Kind

REAL, COMPLEX = "real", "complex"  # solutions for the neutrino's p_z


def quantities(kinds: dict[str, Kind]) -> tuple[Quantity, ...]:
    """Those of an analysis with these kinds of targets: ``ht``, ``lt`` and perhaps ``h``."""

    def masses(found: Reconstruction) -> dict[str, FloatArray]:
        """Masses of t_H, its W boson, t_L and H (GeV)."""
        if found.candidates is None:
            return {}
        quarks = objects_of(found.candidates, kinds["ht"])[:, 1:]
        return {
            **{name: feature_of(found.candidates, kind, "mass") for name, kind in kinds.items()},
            "w": invariant_mass(assigned_momentum(found.record.jets, quarks)),
        }

    def n_jets(found: Reconstruction) -> dict[str, FloatArray]:
        number = counts_of(found.record.jets.pt).astype(np.float64)
        return dict.fromkeys((EVENT, *kinds), number)

    def generated_pt(found: Reconstruction) -> dict[str, FloatArray]:
        """pT of the generated particle (GeV); targets stand in the order of the kinds."""
        return {name: found.targets.pt[:, kind.particles[0]] for name, kind in kinds.items()}

    def ttbar_mass(found: Reconstruction) -> dict[str, FloatArray]:
        tops = found.record.tops  # two in every selected event of signal
        both = cartesian(*(flat(tops[name]).reshape(-1, 2) for name in ("pt", "eta", "phi", "mass")))
        mass = invariant_mass(Cartesian(*(component.sum(axis=1) for component in both)))
        return dict.fromkeys((EVENT, *kinds), mass)

    return (
        Quantity("mass", "Mass [GeV]", evenly(80, 0.0, 400.0), masses, outcome_of={"w": "ht"}),
        Quantity("number_of_jets", "Number of jets", evenly(9, 3.5, 12.5), n_jets, form="efficiency"),
        Quantity("ttbar_mass", "Generated $m_{t\\bar{t}}$ [GeV]", TTBAR_MASS, ttbar_mass, form="efficiency"),
        Quantity("generated_pt", "Generated $p_T$ [GeV]", PT, generated_pt, form="efficiency"),
        Quantity(
            "neutrino_eta_residual",
            "$\\eta_\\nu$ reconstructed $-$ generated",
            evenly(60, -6.0, 6.0),
            _neutrino_eta,
            by_method=False,
        ),
        Quantity(
            "regressed_neutrino_eta_residual",
            "$\\eta_\\nu$ regressed $-$ generated",
            evenly(60, -6.0, 6.0),
            _regressed_neutrino_eta,
        ),
        Quantity(
            "leptonic_w_mass", "$m_{\\ell\\nu}$ [GeV]", evenly(70, 60.0, 200.0), _leptonic_w_mass, by_method=False
        ),
    )


TTBAR_MASS = (300.0, 380.0, 420.0, 460.0, 500.0, 550.0, 600.0, 700.0, 800.0, 1000.0, 1400.0)
PT = (0.0, 40.0, 80.0, 120.0, 160.0, 200.0, 250.0, 300.0, 400.0, 600.0)


def _neutrino_eta(found: Reconstruction) -> dict[str, FloatArray]:
    """η of the neutrino less that of the generated one, in events of signal without a τ."""
    if not found.targets.known:
        return {}
    lepton, neutrino = leptonic_w(found.record)
    return _by_solution(found, lepton, polar(neutrino)[1] - _generated_neutrino_eta(found))


def _regressed_neutrino_eta(found: Reconstruction) -> dict[str, FloatArray]:
    """The same for a method that regresses η of the neutrino, which is one of its columns."""
    if not found.targets.known or found.candidates is None or "neutrino_eta" not in found.candidates.fields:
        return {}
    regressed = ak.fill_none(ak.firsts(found.candidates.neutrino_eta), np.nan)
    return {"neutrino": np.asarray(regressed, dtype=np.float64) - _generated_neutrino_eta(found)}


def _generated_neutrino_eta(found: Reconstruction) -> FloatArray:
    """η of the W boson's own neutrino, NaN in events with a τ."""
    decay = flat(found.record.tops.decay)
    leptonic = decay > HADRONIC  # one in every selected event of signal
    generated: FloatArray = ak.to_numpy(ak.flatten(found.record.tops.d2.eta))[leptonic].astype(np.float64)
    return np.where(decay[leptonic] == TAU, np.nan, generated)


def _leptonic_w_mass(found: Reconstruction) -> dict[str, FloatArray]:
    """m(ℓν) (GeV): that of the W boson where p_z has a real solution."""
    lepton, neutrino = leptonic_w(found.record)
    return _by_solution(found, lepton, invariant_mass(summed(lepton, neutrino)))


def _by_solution(found: Reconstruction, lepton: Cartesian, values: FloatArray) -> dict[str, FloatArray]:
    met = found.record.met
    real = pz_roots(lepton, np.asarray(met.pt), np.asarray(met.phi)).real
    return {REAL: np.where(real, values, np.nan), COMPLEX: np.where(real, np.nan, values)}
