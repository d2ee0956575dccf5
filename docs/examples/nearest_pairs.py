"""Example of a pairing method: join the two jets that are nearest in ΔR, and repeat this until there are n pairs."""

import awkward as ak
import numpy as np

from hhh_coffea.analyses import Analysis
from hhh_coffea.base.arrays import counts_of, pad
from hhh_coffea.base.kinematics import delta_r_squared


class NearestPairs:
    def reconstruct(self, record: ak.Array, analysis: Analysis) -> ak.Array:
        n_pairs = analysis.n_particles
        jets, n = record.jets, 2 * n_pairs  # ordered by b tag, then by pT: the first 2n are paired
        eta, phi = (pad(jets[name], n, np.nan)[:, :n] for name in ("eta", "phi"))
        distance = delta_r_squared(eta[:, :, None], phi[:, :, None], eta[:, None], phi[:, None])  # (events, n, n)
        distance[:, *np.tril_indices(n)] = np.inf  # each pair once
        pairs = np.full((len(record), n_pairs, 2), -1)
        event = np.flatnonzero(counts_of(jets.pt) >= n)  # −1 stays where an event has too few jets
        for k in range(n_pairs):
            a, b = np.divmod(distance.reshape(len(record), -1).argmin(axis=1)[event], n)
            pairs[event, k, 0], pairs[event, k, 1] = a, b
            for jet in (a, b):  # both are taken
                distance[event, jet, :] = distance[event, :, jet] = np.inf
        return analysis.candidates(record, "resolved", pairs)
