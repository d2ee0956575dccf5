"""Truth of semi-leptonic tt̄ and ttH: the quarks of t_H, t_L and H, and the jets matched to them.

``lt`` is the top quark whose W boson decays to leptons (``b``), ``ht`` the other (``b q1 q2``), ``h`` the Higgs boson
(``b1 b2``): the names of the event YAMLs.
"""

from __future__ import annotations

from typing import NamedTuple

import awkward as ak
import numpy as np
import numpy.typing as npt

from hhh_coffea.base.arrays import IntArray, counts_of, flat, padded
from hhh_coffea.base.kinematics import FloatArray
from hhh_coffea.events.record import field
from hhh_coffea.events.tops import HADRONIC, TAU
from hhh_coffea.reconstruction.matching import match_quarks
from hhh_coffea.reconstruction.targets import Targets

MATCHING_RADIUS = 0.4
BoolArray = npt.NDArray[np.bool_]
Parts = dict[str, FloatArray]  # pt eta phi mass, each (N,), NaN where absent (GeV)


class TopTruth(NamedTuple):
    """Generated particles of N events; NaN where absent, and throughout where the event is not semi-leptonic.

    ``particles`` by name: ``lt lt_b lepton neutrino nu_sum ht ht_b q1 q2``, and ``h b1 b2``. ``semileptonic``: two top
    quarks, of which exactly one W decays to leptons and the other to quarks. ``tau``: W → τν; ``lepton`` is then the
    electron or muon of the τ and ``neutrino`` the W's own. ``flavor`` is 11, 13 or 15, 0 in other events.
    """

    semileptonic: BoolArray
    tau: BoolArray
    flavor: IntArray
    particles: dict[str, Parts]


def truth(record: ak.Array) -> TopTruth:
    """Generated particles of semi-leptonic tt̄ or ttH events, from ``record.tops`` (and ``record.higgs``)."""
    tops = field(record, "tops", "the truth of semi-leptonic tops")
    counts = counts_of(tops.pt)
    starts = np.cumsum(counts) - counts
    decay = padded(flat(tops.decay), counts, 2, -1)
    hadronic, leptonic = decay == HADRONIC, decay > HADRONIC
    semileptonic = (counts == 2) & (hadronic.sum(axis=1) == 1) & (leptonic.sum(axis=1) == 1)
    place = {
        name: np.where(semileptonic, starts + np.argmax(which, axis=1), -1)
        for name, which in (("ht", hadronic), ("lt", leptonic))
    }
    particles = {
        name: _parts(tops[own] if own else tops, place[top])
        for name, top, own in (
            ("lt", "lt", ""),
            ("lt_b", "lt", "b"),
            ("lepton", "lt", "d1"),
            ("neutrino", "lt", "d2"),
            ("nu_sum", "lt", "nu_sum"),
            ("ht", "ht", ""),
            ("ht_b", "ht", "b"),
            ("q1", "ht", "d1"),
            ("q2", "ht", "d2"),
        )
    }
    if "higgs" in record.fields:
        n_higgs = counts_of(record.higgs.pt)
        first = np.where(semileptonic & (n_higgs == 1), np.cumsum(n_higgs) - n_higgs, -1)
        particles |= {"h": _parts(record.higgs, first)}
        particles |= {name: _parts(record.higgs[name], first) for name in ("b1", "b2")}
    flavor = np.where(semileptonic, (decay * leptonic).max(axis=1), 0)
    return TopTruth(semileptonic, flavor == TAU, flavor, particles)


def match(record: ak.Array, generated: TopTruth, radius: float = MATCHING_RADIUS) -> Targets:
    """Targets ``ht (b, q1, q2)``, ``lt (b)`` and, where the truth has it, ``h (b1, b2)``: positions in ``record.jets``.

    Exclusive and closest first over one global list of quarks and all jets (:func:`match_quarks`), whatever a jet's
    flavor. A target is reconstructable where all its quarks are matched.
    """
    parts = generated.particles
    quarks = ["lt_b", "ht_b", "q1", "q2", *(["b1", "b2"] if "h" in parts else [])]
    eta, phi = (np.stack([parts[q][name] for q in quarks], axis=1) for name in ("eta", "phi"))
    jets = match_quarks(record.jets, eta, phi, radius)[:, None]
    objects = {"ht": jets[..., 1:4], "lt": jets[..., :1]} | ({"h": jets[..., 4:]} if "h" in parts else {})
    pt, mass = (np.stack([parts[name][part] for name in objects], axis=1) for part in ("pt", "mass"))
    return Targets(objects, pt, mass)


def _parts(objects: ak.Array, index: IntArray) -> Parts:
    """Kinematics of the objects of all events at ``index`` (flat), NaN where it is −1."""
    return {name: np.append(flat(objects[name]), np.nan)[index] for name in ("pt", "eta", "phi", "mass")}
