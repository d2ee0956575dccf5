"""Example of an analysis: tt̄ with both top quarks decaying to b q q′, from Delphes or NanoAOD."""

import awkward as ak
import numpy as np

from hhh_coffea.analyses import Analysis
from hhh_coffea.base.arrays import counts_of, flat
from hhh_coffea.base.kinematics import Cartesian, invariant_mass
from hhh_coffea.events.record import momentum
from hhh_coffea.methods.method import method_of
from hhh_coffea.reconstruction.matching import match_quarks
from hhh_coffea.reconstruction.targets import Targets
from hhh_coffea.topology.assignments import assignments, patterns
from hhh_coffea.topology.topology import Topology

TOPOLOGY = Topology.bundled("ttbar")  # t1 and t2, each of q1, q2 (exchangeable) and b


def cuts(record, is_signal):
    """In signal both top quarks decay to quarks."""
    return (
        {"2 hadronic t": (counts_of(record.tops.decay) == 2) & ak.all(record.tops.decay == 0, axis=1)}
        if is_signal
        else {}
    )


def match(record, definitions, _):
    """Each quark gets the nearest jet within ΔR < 0.4, and each jet is used once."""
    tops = record.tops
    quarks = [tops[name] for name in ("d1", "d2", "b")]  # the order of the daughters in the topology
    eta, phi = (np.stack([flat(quark[k]) for quark in quarks], axis=1).reshape(-1, 6) for k in ("eta", "phi"))
    jets = match_quarks(record.jets, eta, phi, radius=0.4).reshape(-1, 2, 3)
    pt, mass = (flat(tops[k]).reshape(-1, 2) for k in ("pt", "mass"))
    return dict.fromkeys(definitions, Targets({"t": jets}, pt, mass))


def chi2(record, analysis):
    """Least Σ ((m_qq − 80.4)/10)² + ((m_qqb − 172.5)/15)² among the first six jets, in all 90 ways."""
    table = assignments(patterns(TOPOLOGY), 6, TOPOLOGY.event_group).objects.reshape(-1, 2, 3)
    counts = counts_of(record.jets.pt)
    enough = np.flatnonzero(counts >= 6)
    first = (np.cumsum(counts) - counts)[enough, None] + np.arange(6)
    p = Cartesian(*(component[first][:, table] for component in momentum(record.jets)))  # (events, ways, 2, 3)
    w = invariant_mass(Cartesian(*(c[..., :2].sum(axis=-1) for c in p)))
    top = invariant_mass(Cartesian(*(c.sum(axis=-1) for c in p)))
    best = np.argmin((((w - 80.4) / 10) ** 2 + ((top - 172.5) / 15) ** 2).sum(axis=-1), axis=1)
    objects = np.full((len(record), 2, 3), -1)
    objects[enough] = table[best]
    return analysis.candidates(record, "t", objects)


ANALYSIS = Analysis(
    name="hadronic_tops",
    topology=TOPOLOGY,
    collections=("tops",),
    cuts=cuts,
    match=match,
    methods={"chi2": method_of(chi2)},
    particle="top",
    symbol="t",
)
