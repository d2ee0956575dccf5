"""What the Z′ study keeps of an event, and which event does what.

Datasets of its fileset: signal has ``user: {"mass": 500}`` in its metadata; of the others ``ttbar`` is never used for tuning.
"""

from __future__ import annotations

import numpy as np

from hhh_coffea.analyses.tops_kinematics import leptonic_w, systems
from hhh_coffea.analyses.tops_truth import truth
from hhh_coffea.base.kinematics import FloatArray, cartesian, invariant_mass, polar
from hhh_coffea.methods.neutrino import neutrino_at, pz_roots
from hhh_coffea.reconstruction.composites import assigned_momentum, summed
from hhh_coffea.study.event_table import Columns
from hhh_coffea.study.quality import quality
from hhh_coffea.study.reconstructed import Reconstructed
from hhh_coffea.study.split import BoolArray, parts

METHODS = ("likelihood", "pdnn", "spanet")
REGRESSED = "spanet, regressed η"  # SPANet's jets with the neutrino at the η that it regresses
UNCUT = ("likelihood",)  # the paper has no cut on the likelihood
BACKGROUND = "ttbar"  # events that no network has seen, and that are used for nothing but results
ROLES = {"tuning": 0.4, "fit": 0.6}


def all_methods(methods: tuple[str, ...]) -> tuple[str, ...]:
    """The methods and, beside ``spanet``, the one with the regressed neutrino."""
    return (*methods, *((REGRESSED,) if "spanet" in methods else ()))


def columns(event: Reconstructed) -> Columns:
    """``METHOD.mtt`` (GeV) and ``METHOD.quality``, and what is true: ``true_mtt``, and η of the neutrino (NaN with a τ).

    ``constraint.eta``, ``.w`` and ``.real``: η of the neutrino from the W-mass constraint, m(ℓν), and whether its solution is
    real. ``regressed.eta`` and ``.w`` are those of SPANet's regression.
    """
    record = event.record
    generated = truth(record)
    tops = [generated.particles[name] for name in ("ht", "lt")]
    both = [cartesian(*(top[name] for name in ("pt", "eta", "phi", "mass"))) for top in tops]
    lepton, nu = leptonic_w(record)
    met_pt, met_phi = (np.asarray(record.met[name], dtype=np.float64) for name in ("pt", "phi"))
    found: Columns = {
        "true_mtt": invariant_mass(summed(*both)),
        "true_eta": np.where(generated.tau, np.nan, generated.particles["neutrino"]["eta"]),
        "constraint.eta": polar(nu)[1],
        "constraint.w": invariant_mass(summed(lepton, nu)),
        "constraint.real": pz_roots(lepton, met_pt, met_phi).real,
    }
    for method in event.candidates:
        objects = event.positions(method)
        found[f"{method}.mtt"] = invariant_mass(systems(record, objects)["ttbar"])
        found[f"{method}.quality"] = quality(event, method)
        if method == "spanet":
            eta = event.of_event(method, "neutrino_eta")
            leptonic = summed(lepton, neutrino_at(met_pt, met_phi, eta))
            jets = [assigned_momentum(record.jets, objects[name]) for name in ("ht", "lt")]
            found |= {
                "regressed.eta": eta,
                "regressed.w": invariant_mass(leptonic),
                f"{REGRESSED}.mtt": invariant_mass(summed(*jets, leptonic)),
                f"{REGRESSED}.quality": found[f"{method}.quality"],
            }
    return found


def roles(split: FloatArray, dataset: str) -> dict[str, BoolArray]:
    """Masks by :data:`ROLES` from the number of each event in [0, 1); every event of :data:`BACKGROUND` is for the fit.

    The number is scaled first, so that both have the same share of the events that trainings take for validation.
    """
    number = np.asarray(split, dtype=np.float64) * 64 % 1
    return parts(number, ROLES if dataset != BACKGROUND else {"tuning": 0.0, "fit": 1.0})
