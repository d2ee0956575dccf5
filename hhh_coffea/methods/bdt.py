"""Candidates from a boosted decision tree on large-radius jets, and their marriage with χ² pairs.

A model scores every large-radius jet; those above the working point are candidates. Two ways to go on: ours
(:func:`reconstruct`) takes what they cover out of the pairing and pairs what is left; the published one
(:func:`reconstruct_reference`, §3) pairs everything and only marks the overlaps afterwards.
"""

from __future__ import annotations

import awkward as ak
import numpy as np
import numpy.typing as npt

from hhh_coffea.base.arrays import IntArray, counts_of, event_index, flat, position_in_event
from hhh_coffea.base.kinematics import Cartesian, delta_r_squared
from hhh_coffea.events.record import field, momentum
from hhh_coffea.methods import chi2
from hhh_coffea.methods.bdt_model import BdtModel
from hhh_coffea.reconstruction.candidates import make_candidates, merge
from hhh_coffea.topology.kinds import NONE, Kind

POOL_RADIUS = 0.8  # the large-radius jets' own radius: a small jet inside it is made of the same particles


def score(fatjets: ak.Array, model: BdtModel) -> npt.NDArray[np.float32]:
    """The model's output for every large-radius jet, flat: from 0 (like background) to 1 (like signal).

    It ranks large-radius jets; it is no probability, for training gives both classes the same total weight.

    Raises
    ------
    KeyError
        naming the model and the feature that this file's format does not provide.
    """
    columns = [flat(field(fatjets, name, f"BDT model {model.name!r}")) for name in model.features]
    return model.predict(np.column_stack(columns).astype(np.float32))


def reconstruct(
    record: ak.Array,
    scores: npt.NDArray[np.floating],
    cut: float,
    boosted: Kind,
    resolved: Kind,
    n_jets: int | None = None,
    mass: float = chi2.MASS,
) -> ak.Array:
    """Candidates of ``chi2+bdt`` in our definition (``default``).

    Of the large-radius jets that score above ``cut`` the best are boosted candidates, at most one a particle. Small-radius jets
    within ΔR < 0.8 of one of them leave the pool. The χ² pairing makes the other candidates among the first jets of the
    pool: twice as many jets as particles are missing, or ``n_jets`` if that is more. Where the pool is too small for
    all of them it makes as many pairs as it can.

    A boosted candidate's detection probability is its score, its assignment probability 1 (one object: there is nothing
    to assign); the χ² has no probabilities to offer, so its pairs get 1 for both.

    Parameters
    ----------
    record
        event record, truncated
    scores
        flat, one a large-radius jet
    cut
        working point: a score
    boosted, resolved
        single large-radius jets and pairs of jets
    n_jets, mass
        as in :func:`hhh_coffea.methods.chi2.reconstruct`
    """
    n = len(resolved.members)
    fatjet = tagged(record.fatjets, scores > cut, scores, n)
    taken = fatjet >= 0
    counts = counts_of(record.fatjets.pt)
    score_of_fatjet = np.zeros(fatjet.shape)
    score_of_fatjet[taken] = scores[((np.cumsum(counts) - counts)[:, None] + fatjet)[taken]]
    fat = make_candidates(record, boosted, fatjet[..., None], 1.0, score_of_fatjet)

    counts = counts_of(record.jets.pt)
    pool = np.flatnonzero(~covered(record, fatjet))
    event, position = event_index(counts)[pool], position_in_event(counts)[pool]
    in_pool = np.bincount(event, minlength=len(counts))
    start = np.cumsum(in_pool) - in_pool
    n_pairs = np.minimum(n - taken.sum(axis=1), in_pool // 2)
    momenta = momentum(record.jets)
    pair = np.full((len(record), n, 2), NONE, dtype=np.int64)
    for wanted in range(1, n + 1):
        events = np.flatnonzero(n_pairs == wanted)
        if len(events):
            jets = pool[n_pairs[event] == wanted]
            found = chi2.pairs(Cartesian(*(c[jets] for c in momenta)), in_pool[events], wanted, n_jets, mass)
            pair[events, :wanted] = position[start[events][:, None, None] + found]
    # no pair can overlap: the pool's radius is larger than that of the overlap removal
    return ak.concatenate([fat, make_candidates(record, resolved, pair)], axis=1)


def reconstruct_reference(
    record: ak.Array, scores: npt.NDArray[np.floating], cut: float, boosted: Kind, pairs: ak.Array
) -> ak.Array:
    """Candidates of ``chi2+bdt`` as published (``reference``, §3).

    Every large-radius jet above ``cut`` is a boosted candidate, at most one a particle in order of pT, and all ``pairs``
    (those of a χ² method that knows nothing of large-radius jets) stay; pairs that overlap are marked. All probabilities are 1.
    """
    fatjet = tagged(record.fatjets, scores > cut, flat(record.fatjets.pt), len(boosted.members))
    return merge(record, make_candidates(record, boosted, fatjet[..., None]), boosted, pairs)


def tagged(fatjets: ak.Array, passes: npt.NDArray[np.bool_], rank: npt.NDArray[np.floating], most: int) -> IntArray:
    """``(N, most)``: positions of the large-radius jets that pass, highest ``rank`` first; −1 where there are fewer.

    ``passes`` and ``rank`` are flat; equal ranks keep the order of the record.
    """
    counts = counts_of(fatjets.pt)
    result = np.full((len(counts), most), NONE, dtype=np.int64)
    index = np.flatnonzero(passes)
    event = event_index(counts)[index]
    order = np.lexsort((-rank[index], event))
    event, index = event[order], index[order]
    place = position_in_event(np.bincount(event, minlength=len(counts)))
    use = place < most
    result[event[use], place[use]] = position_in_event(counts)[index[use]]
    return result


def covered(record: ak.Array, fatjet: IntArray) -> npt.NDArray[np.bool_]:
    """Flat over the jets: within ΔR < 0.8 of a large-radius jet whose position ``fatjet`` ``(N, C)`` holds."""
    jets, fatjets = record.jets, record.fatjets
    result = np.zeros(int(counts_of(jets.eta).sum()), dtype=bool)
    counts = counts_of(fatjets.eta)
    starts = np.cumsum(counts) - counts
    event = event_index(counts_of(jets.eta))
    eta, phi, fat_eta, fat_phi = flat(jets.eta), flat(jets.phi), flat(fatjets.eta), flat(fatjets.phi)
    for position in fatjet.T:
        near = np.flatnonzero(position[event] >= 0)
        index = (starts + position)[event[near]]
        distance = delta_r_squared(eta[near], phi[near], fat_eta[index], fat_phi[index])
        result[near] |= distance < POOL_RADIUS**2
    return result
