"""HHH → 4b 2τ declared as a topology: two Higgs bosons of two b jets each, one of two τ jets."""

import awkward as ak
import numpy as np

from hhh_coffea.analyses import Analysis
from hhh_coffea.base.arrays import counts_of
from hhh_coffea.events.record import momentum
from hhh_coffea.methods import chi2
from hhh_coffea.methods.method import method_of
from hhh_coffea.reconstruction.targets import no_targets
from hhh_coffea.topology.topology import Topology

TOPOLOGY = Topology.from_text("""
INPUTS:
  SEQUENTIAL:
    Jets: {pt: log_normalize, eta: normalize, sinphi: none, cosphi: none, btag: none, mass: normalize}
EVENT:
  h1: [b1, b2]
  h2: [b1, b2]
  htautau: [tau1, tau2]
PERMUTATIONS:
  EVENT:
    - [h1, h2]
  h1: [[b1, b2]]
  h2: [[b1, b2]]
  htautau: [[tau1, tau2]]
""")


def match(record, definitions, _):
    """Match no truth: every event counts as one without targets."""
    return dict.fromkeys(definitions, no_targets(len(record), ANALYSIS.kinds, ANALYSIS.n_particles))


def first_six(record, analysis):
    """χ² pairs the first four jets (b-tagged jets come first); the next two are taken as the τ jets."""
    counts = counts_of(record.jets.pt)
    bb = chi2.pairs(momentum(record.jets), counts, n_pairs=2)
    tautau = np.where(counts[:, None, None] >= 6, [[[4, 5]]], -1)
    return ak.concatenate(
        [analysis.candidates(record, "h", bb), analysis.candidates(record, "htautau", tautau)], axis=1
    )


ANALYSIS = Analysis(
    name="hhh_4b2tau",
    topology=TOPOLOGY,
    match=match,
    methods={"chi2": method_of(first_six)},
    particle="Higgs",
    symbol="H",
)
