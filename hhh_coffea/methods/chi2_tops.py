"""χ² assignment of semi-leptonic tt̄ and ttH: the jets whose masses are together nearest to those of W, t and H.

χ² = ((m_qq − m_W)/σ_W)² + ((m_qqb − m_t)/σ_had)² + ((m_bℓν − m_t)/σ_lep)² [+ ((m_bb − m_H)/σ_H)²], minimised over all
assignments to b_had, {q1, q2}, b_lep [, {b1, b2}]. Every term belongs to one target, so each is computed once a choice of jets.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field

from hhh_coffea.base.arrays import IntArray
from hhh_coffea.base.kinematics import Cartesian, FloatArray
from hhh_coffea.base.strict import Positive, Strict
from hhh_coffea.methods.best_assignment import best_assignment
from hhh_coffea.topology.assignments import Pattern, assignments
from hhh_coffea.topology.kinds import NONE

PATTERNS = {"ht": Pattern.of(3, (1, 2)), "lt": Pattern.of(1), "h": Pattern.of(2, (0, 1))}
B_DAUGHTERS = {"ht": (0,), "lt": (0,), "h": (0, 1)}  # the others are light quarks
MAX_JETS = 10
BLOCK = 1 << 16  # numbers in the largest table of a block of events: it stays in the processor's cache
VETO = 1e8  # above any χ²


class TopChi2Options(Strict):
    """Masses and widths in GeV; what b tags do; how many jets are tried."""

    w_mass: Positive = 80.4
    top_mass: Positive = 173.0
    higgs_mass: Positive = 125.0
    w_width: Positive = 10.0
    hadronic_top_width: Positive = 15.0
    leptonic_top_width: Positive = 20.0
    higgs_width: Positive = 12.0
    btag: Literal["terms", "veto", "none"] = Field(
        "terms",
        description="'terms' adds btag_penalty for each jet without tag taken as b and each tagged one as light; 'veto' "
        "allows no such jet, or as few as the event permits",
    )
    btag_penalty: float = Field(9.0, ge=0, allow_inf_nan=False)
    max_jets: int = Field(8, ge=4, le=MAX_JETS, description="jets tried, b-tagged first, then by pT")


class TopAssignment(NamedTuple):
    """``objects`` by target: ``ht (N, 3)`` as b, q1 < q2, ``lt (N, 1)``, ``h (N, 2)``, positions in the event's jets.

    −1, and χ² NaN, where an event has too few jets. ``chi2`` holds the terms of b tags; ``mistags`` counts jets without
    tag taken as b and tagged ones taken as light (−1 where there is no assignment).
    """

    objects: dict[str, IntArray]
    chi2: FloatArray
    mistags: IntArray


def assign(
    jets: Cartesian,
    btag: npt.NDArray[np.generic],
    counts: IntArray,
    leptonic_w: Cartesian,
    with_higgs: bool,
    options: TopChi2Options | None = None,
) -> TopAssignment:
    """The assignment of least χ² of N events.

    Parameters
    ----------
    jets, btag, counts
        flat four-momenta (GeV) and tags (0 or 1) of the ``counts (N,)`` jets, in the order in which they are tried
    leptonic_w
        ``(N,)`` lepton plus neutrino
    with_higgs
        whether there is an H → bb as well (ttH)

    Raises
    ------
    ValueError
        if a momentum is not a number: such objects must be removed first.
    """
    options = options or TopChi2Options()
    names = ("ht", "lt", "h") if with_higgs else ("ht", "lt")
    targets = tuple(PATTERNS[name] for name in names)
    degree = sum(target.degree for target in targets)
    objects = np.full((len(counts), degree), NONE, dtype=np.int64)
    chi2 = np.full(len(counts), np.nan)
    starts = np.cumsum(counts) - counts
    tried = np.minimum(counts, max(options.max_jets, degree))
    for n in np.unique(tried[tried >= degree]).tolist():
        events = np.flatnonzero(tried == n)
        step = max(64, BLOCK // _table_size(targets, n))
        for block in np.split(events, range(step, len(events), step)):
            place = starts[block] + np.arange(n)[:, None]
            momenta = Cartesian(*(component[place] for component in jets))
            w = Cartesian(*(component[block] for component in leptonic_w))
            by_target = scores(momenta, btag[place] > 0, w, names, options)
            objects[block], chi2[block] = best_assignment(by_target, targets, n)
    if np.isnan(chi2[tried >= degree]).any():
        raise ValueError("χ² of NaN: jets, leptons and MET with non-finite kinematics must be removed first")
    split = np.split(objects, np.cumsum([t.degree for t in targets])[:-1], axis=1)
    chosen = dict(zip(names, split, strict=True))
    mistags = _mistags(chosen, btag, starts)
    if options.btag == "veto":
        chi2 -= VETO * mistags
    return TopAssignment(chosen, chi2, mistags)


def scores(
    jets: Cartesian,
    btag: npt.NDArray[np.bool_],
    leptonic_w: Cartesian,
    names: tuple[str, ...],
    options: TopChi2Options,
) -> list[FloatArray]:
    """χ² of every choice of jets for each target, ``(C, N)``, of events with n jets: ``(n, N)`` momenta and tags."""
    n = len(btag)
    index = _indices(n)
    single = _square(jets)
    pair = _square(Cartesian(*(p[index.pairs[:, 0]] + p[index.pairs[:, 1]] for p in jets)))
    penalty = {"terms": options.btag_penalty, "veto": VETO, "none": 0.0}[options.btag]
    as_b, as_light = np.where(btag, 0.0, penalty), np.where(btag, penalty, 0.0)

    def term(square: FloatArray, mass: float, width: float) -> FloatArray:
        value = np.sqrt(np.maximum(square, 0.0))
        value -= mass
        value /= width
        value *= value
        return value

    # (p1 + p2 + p3)² from pairs: each mass once a set of three jets, whichever of them is the b
    i, j, k = index.triples.T
    triple = pair[index.pair_number[i, j]] + pair[index.pair_number[i, k]] + pair[index.pair_number[j, k]]
    triple -= single[i] + single[j] + single[k]
    top = term(triple, options.top_mass, options.hadronic_top_width)
    w = term(pair, options.w_mass, options.w_width)
    w += as_light[index.pairs[:, 0]] + as_light[index.pairs[:, 1]]
    hadronic = top[index.triple_of_choice]
    hadronic += w[index.pair_of_choice]
    hadronic += as_b[index.b_of_choice]

    total = _square(Cartesian(*(p + q for p, q in zip(jets, leptonic_w, strict=True))))
    found = {"ht": hadronic, "lt": term(total, options.top_mass, options.leptonic_top_width) + as_b}
    if "h" in names:
        higgs = term(pair, options.higgs_mass, options.higgs_width)
        found["h"] = higgs + as_b[index.pairs[:, 0]] + as_b[index.pairs[:, 1]]
    return [found[name] for name in names]


class _Indices(NamedTuple):
    pairs: IntArray  # (n(n−1)/2, 2), in the order of the choices of the Higgs boson
    pair_number: IntArray  # (n, n)
    triples: IntArray  # (n choose 3, 3)
    triple_of_choice: IntArray  # of each (b, q1, q2)
    pair_of_choice: IntArray
    b_of_choice: IntArray


@lru_cache(maxsize=MAX_JETS)
def _indices(n: int) -> _Indices:
    choices = assignments((PATTERNS["ht"],), n).choices[0].astype(np.int64)
    pairs, triples = (np.array(list(combinations(range(n), k))) for k in (2, 3))
    pair_number = np.zeros((n, n), dtype=np.int64)
    pair_number[pairs[:, 0], pairs[:, 1]] = pair_number[pairs[:, 1], pairs[:, 0]] = np.arange(len(pairs))
    number = {tuple(triple): k for k, triple in enumerate(triples.tolist())}
    triple_of_choice = np.array([number[tuple(sorted(choice))] for choice in choices.tolist()])
    return _Indices(
        pairs, pair_number, triples, triple_of_choice, pair_number[choices[:, 1], choices[:, 2]], choices[:, 0]
    )


def _square(p: Cartesian) -> FloatArray:
    result = p.energy * p.energy
    for component in (p.px, p.py, p.pz):
        result -= component * component
    return result


def _table_size(targets: tuple[Pattern, ...], n: int) -> int:
    return max(len(assignments(targets[:2], n).rows), 1)


def _mistags(objects: dict[str, IntArray], btag: npt.NDArray[np.generic], starts: IntArray) -> IntArray:
    found = np.logical_and.reduce([(positions >= 0).all(axis=1) for positions in objects.values()])
    result = np.full(len(starts), NONE, dtype=np.int64)
    total = np.zeros(int(found.sum()), dtype=np.int64)
    for name, positions in objects.items():
        for daughter, position in enumerate(positions[found].T):
            total += (btag[starts[found] + position] > 0) != (daughter in B_DAUGHTERS[name])
    result[found] = total
    return result
