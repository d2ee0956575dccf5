"""HHH → 4b 2τ declared as a topology: two Higgs bosons of two b jets each, one of two τ jets."""

from hhh_coffea.analyses import Analysis
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


def match(record, definitions, kept):
    """No truth is matched yet: every event counts as one without targets."""
    return dict.fromkeys(definitions, no_targets(len(record), ANALYSIS.kinds, ANALYSIS.n_particles))


ANALYSIS = Analysis(name="hhh_4b2tau", topology=TOPOLOGY, match=match, particle="Higgs", symbol="H")
