"""χ² pairing: the disjoint jet pairs whose masses are together nearest to that of one particle.

χ² = Σ (m_jj − m)² over n pairs (§3 of the published analysis), minimised over every choice of 2n of the first K jets
and every way to pair them: 15 for n = 3 with K = 6, 3 for n = 2 with K = 4, 3150 for n = 3 with K = 10.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import combinations
from typing import NamedTuple

import awkward as ak
import numpy as np
import numpy.typing as npt

from hhh_coffea.base.arrays import IntArray, counts_of
from hhh_coffea.base.kinematics import Cartesian, FloatArray
from hhh_coffea.events.record import momentum
from hhh_coffea.reconstruction.candidates import make_candidates
from hhh_coffea.topology.kinds import NONE, Kind

MASS = 125.0  # GeV
Chooser = Callable[[FloatArray, int], IntArray]  # (χ² table, jets) → pairs
BLOCK = 4096  # events at a time: the tables of a block stay in the processor's cache
FEW_PAIRINGS = 105


def reconstruct(record: ak.Array, kind: Kind, n_jets: int | None = None, mass: float = MASS) -> ak.Array:
    """A candidate for each member of ``kind``, pairs among the first ``n_jets`` (2n when None) jets of the record.

    ``mass`` is that of the particle in GeV. An event with fewer than 2n jets gets no candidates.
    """
    n_pairs = len(kind.members)
    return make_candidates(record, kind, pairs(momentum(record.jets), counts_of(record.jets.pt), n_pairs, n_jets, mass))


def pairs(
    momenta: Cartesian, counts: IntArray, n_pairs: int, n_jets: int | None = None, mass: float = MASS
) -> IntArray:
    """``(N, n_pairs, 2)``: positions of the jets paired among the first ``n_jets`` (2·n_pairs when None, and at least).

    ``momenta`` are flat (GeV), ``counts`` the jets of each event. −1 throughout where there are fewer than 2·n_pairs.
    """
    return chosen_pairs(momenta, counts, n_pairs, n_jets, lambda chi2, k: best_pairing(chi2, k, n_pairs), mass)


def best_pairing(chi2: FloatArray, n_jets: int, n_pairs: int) -> IntArray:
    """The pairing of least χ² in every event.

    Parameters
    ----------
    chi2
        ``(n_jets·(n_jets−1)/2, N)``: χ² of each jet pair, pairs in the order (0,1), (0,2), …; +inf where a jet is absent
    n_jets, n_pairs
        jets to choose from and disjoint pairs to make

    Returns
    -------
    ``(N, n_pairs, 2)`` jet positions, pairs ordered by their first jet. χ² is summed from the last pair to the first;
    exact ties go to the first pairing in lexicographic order.

    Raises
    ------
    ValueError
        if any χ² is NaN.
    """
    if np.isnan(chi2).any():
        raise ValueError("χ² pairing of NaN: jets with non-finite kinematics must be removed first")
    if len(_all_pairings(n_jets, n_pairs)[0]) <= FEW_PAIRINGS:
        return _first_of_all(chi2, n_jets, n_pairs)
    levels = _levels(n_jets, n_pairs)
    # least[s]: least χ² of pairing up all jets of subset s, built from subsets with one pair fewer
    least = [chi2]
    for level in levels[1:]:
        rows = np.empty((len(level.subsets), chi2.shape[1]))
        for row, pairs, rests in zip(rows, level.pair, level.rest, strict=True):
            np.add(chi2[pairs[0]], least[-1][rests[0]], out=row)
            for pair, rest in zip(pairs[1:], rests[1:], strict=True):
                np.minimum(row, chi2[pair] + least[-1][rest], out=row)
        least.append(rows)
    subset = np.argmin(least[-1], axis=0)
    tied = np.flatnonzero((least[-1] == least[-1].min(axis=0)).sum(axis=0) > 1)

    event = np.arange(chi2.shape[1])
    pairing = np.empty((chi2.shape[1], n_pairs, 2), dtype=np.int64)
    jets_of_pair = np.array(list(combinations(range(n_jets), 2)))
    for depth, level in enumerate(reversed(levels)):
        if level.pair.shape[1] == 1:
            chosen = level.pair[subset, 0]
        else:
            below = least[len(levels) - 2 - depth]
            options = chi2[level.pair[subset].T, event] + below[level.rest[subset].T, event]
            option = np.argmin(options, axis=0)  # the first least is the lexicographically first
            chosen = level.pair[subset, option]
            subset = level.rest[subset, option]
        pairing[:, depth] = jets_of_pair[chosen]
    if len(tied):  # equal χ² from different jets: rare, so look at every pairing
        pairing[tied] = _first_of_all(chi2[:, tied], n_jets, n_pairs)
    return pairing


class _Level(NamedTuple):
    """Subsets of 2k jets, and the ways to split the pair of a subset's first jet off."""

    subsets: list[tuple[int, ...]]
    pair: IntArray  # (subsets, 2k−1): pair number
    rest: IntArray  # (subsets, 2k−1): number of the remaining subset in the level below


@cache
def _levels(n_jets: int, n_pairs: int) -> tuple[_Level, ...]:
    pair_number = {pair: number for number, pair in enumerate(combinations(range(n_jets), 2))}
    levels: list[_Level] = []
    below: dict[tuple[int, ...], int] = {}
    for size in range(2, 2 * n_pairs + 1, 2):
        subsets = list(combinations(range(n_jets), size))
        pair = np.array([[pair_number[s[0], other] for other in s[1:]] for s in subsets])
        rest = np.array([[below.get(tuple(j for j in s[1:] if j != other), 0) for other in s[1:]] for s in subsets])
        levels.append(_Level(subsets, pair, rest))
        below = {s: number for number, s in enumerate(subsets)}
    return tuple(levels)


def all_pairings(n_jets: int, n_pairs: int) -> list[tuple[tuple[int, int], ...]]:
    """Every set of disjoint pairs of the jets, in lexicographic order."""
    pairs = list(combinations(range(n_jets), 2))

    def extend(chosen: tuple[tuple[int, int], ...]) -> list[tuple[tuple[int, int], ...]]:
        if len(chosen) == n_pairs:
            return [chosen]
        used = {jet for pair in chosen for jet in pair}
        later = [p for p in pairs if not used & set(p) and (not chosen or p > chosen[-1])]
        return [full for pair in later for full in extend((*chosen, pair))]

    return extend(())


@cache
def _all_pairings(n_jets: int, n_pairs: int) -> tuple[IntArray, IntArray]:
    """(pairings, n_pairs, 2) jets and (n_pairs, pairings) pair numbers, in lexicographic order."""
    pairings = np.array(all_pairings(n_jets, n_pairs))
    number = {pair: i for i, pair in enumerate(combinations(range(n_jets), 2))}
    numbers = np.array([[number[tuple(pair)] for pair in pairing] for pairing in pairings.tolist()])
    return pairings, np.ascontiguousarray(numbers.T)


def _first_of_all(chi2: FloatArray, n_jets: int, n_pairs: int) -> IntArray:
    """Least χ² by looking at every pairing: fastest when they are few, and settles ties when they are many."""
    pairings, numbers = _all_pairings(n_jets, n_pairs)
    best = np.empty(chi2.shape[1], dtype=np.int64)
    step = max(1, 64 * BLOCK // len(pairings))
    for start in range(0, chi2.shape[1], step):
        block = chi2[:, start : start + step]
        total = block[numbers[-1]]
        for pair in range(n_pairs - 2, -1, -1):
            total += block[numbers[pair]]
        best[start : start + step] = np.argmin(total, axis=0)
    return pairings[best]


def chosen_pairs(
    momenta: Cartesian, counts: IntArray, n_pairs: int, n_jets: int | None, choose: Chooser, mass: float
) -> IntArray:
    """``(N, n_pairs, 2)`` jet positions, −1 where an event has too few jets."""
    n_jets = 2 * n_pairs if n_jets is None else max(n_jets, 2 * n_pairs)
    starts = np.cumsum(counts) - counts
    jet = np.arange(n_jets)[:, None]
    enough = counts >= 2 * n_pairs
    result = np.full((len(counts), n_pairs, 2), NONE, dtype=np.int64)
    for start in range(0, len(counts), BLOCK):
        events = start + np.flatnonzero(enough[start : start + BLOCK])
        if len(events):
            exists = jet < counts[events]
            place = np.where(exists, starts[events] + jet, 0)
            table = pair_chi2(Cartesian(*(component[place] for component in momenta)), exists, mass)
            result[events] = choose(table, n_jets)
    return result


def pair_chi2(momenta: Cartesian, exists: npt.NDArray[np.bool_], mass: float = MASS) -> FloatArray:
    """(m_jj − mass)² of every jet pair: ``(jets, N)`` components → ``(jets·(jets−1)/2, N)``, +inf where one is absent."""
    n_jets, n_events = exists.shape
    table = np.empty((n_jets * (n_jets - 1) // 2, n_events))
    complete = bool(exists.all())
    start = 0
    for first in range(n_jets - 1):
        rows = table[start : start + n_jets - 1 - first]
        np.add(momenta.energy[first], momenta.energy[first + 1 :], out=rows)
        rows *= rows
        for component in (momenta.px, momenta.py, momenta.pz):
            total = component[first] + component[first + 1 :]
            total *= total
            rows -= total
        np.maximum(rows, 0.0, out=rows)  # as invariant_mass, in place
        np.sqrt(rows, out=rows)
        rows -= mass
        rows *= rows
        if not complete:
            rows[~(exists[first] & exists[first + 1 :])] = np.inf
        start += len(rows)
    return table
