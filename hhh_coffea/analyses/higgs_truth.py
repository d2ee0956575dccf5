"""Which jets truly came from which Higgs boson: the targets, in our definition and in the published one.

A *resolved* target of a Higgs is the pair of small-radius jets of its two b quarks, a *boosted* target the large-radius jet
that holds both. A Higgs may have both, or neither.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import awkward as ak
import numpy as np

from hhh_coffea.base.arrays import IntArray, counts_of, flat
from hhh_coffea.base.compiled import compiled
from hhh_coffea.base.kinematics import Array, FloatArray
from hhh_coffea.events.record import field
from hhh_coffea.reconstruction.matching import Objects, Particles, distance, match_nearest
from hhh_coffea.reconstruction.targets import Targets
from hhh_coffea.topology.kinds import NONE

RESOLVED_RADIUS = 0.5
BOOSTED_RADIUS = 0.8


class Directions(NamedTuple):
    """What both definitions match, read from the record once, with pT and mass of the Higgs bosons ``(N, n)`` (GeV)."""

    jets: Objects  # of which the b-flavoured ones are matched
    quarks: Particles  # 2i and 2i + 1 are those of Higgs i
    fatjets: Objects
    higgs: Particles  # with their quarks: a large-radius jet must be near to all three
    pt: FloatArray
    mass: FloatArray


def directions(record: ak.Array, n_higgs: int) -> Directions:
    """Read what is matched.

    ``record`` holds all objects above threshold (not truncated) of events with exactly ``n_higgs`` Higgs.
    """
    higgs, jets, fatjets = field(record, "higgs", "truth matching"), record.jets, record.fatjets

    def shaped(*values: ak.Array) -> Array:
        return np.stack([flat(v) for v in values], axis=1).reshape(len(record), n_higgs, len(values))

    eta, phi = (shaped(higgs[k], higgs.b1[k], higgs.b2[k]) for k in ("eta", "phi"))
    is_b = np.abs(flat(field(jets, "flavor", "truth matching"))) == 5
    every = np.ones(len(flat(fatjets.eta)), dtype=np.bool_)
    return Directions(
        (flat(jets.eta), flat(jets.phi), counts_of(jets), is_b),
        (eta[..., 1:].reshape(len(record), 2 * n_higgs, 1), phi[..., 1:].reshape(len(record), 2 * n_higgs, 1)),
        (flat(fatjets.eta), flat(fatjets.phi), counts_of(fatjets), every),
        (eta, phi),
        shaped(higgs.pt)[..., 0].astype(np.float64),
        shaped(higgs.mass)[..., 0].astype(np.float64),
    )


def match(record: ak.Array, n_higgs: int, max_jets: int, max_fatjets: int, found: Directions | None = None) -> Targets:
    """Targets in our definition (``default``).

    Resolved: of all (b quark, b-flavoured jet) pairs with ΔR < 0.5, the nearest is taken first and each quark and each
    jet once, over all jets above threshold; the target exists if both quarks got a jet and both jets are among the
    first ``max_jets``. Boosted: ΔR(large-radius jet, H) < 0.8 and both quarks within 0.8, nearest to the Higgs first, each
    large-radius jet and each Higgs once; the jet must be among the first ``max_fatjets``.

    ``record`` and ``found`` are those of :func:`directions`.
    """
    found = found or directions(record, n_higgs)
    jet, fatjet = (match_nearest(o, np.arange(len(o[0])), p, radius) for o, p, radius in _both(found))
    return _targets(found, jet.reshape(-1, n_higgs, 2), max_jets, fatjet[..., None], max_fatjets)


def match_reference(
    record: ak.Array, n_higgs: int, max_jets: int, max_fatjets: int, found: Directions | None = None
) -> Targets:
    """Targets as published (``reference``, §1), faults included.

    Each b-flavoured jet goes to the LAST Higgs in record order that has a quark within 0.5 of it; the first two jets
    of a Higgs among the kept ones are its pair, be they from one quark or two. Each large-radius jet goes to the last Higgs
    within 0.8 whose quarks are within 0.8 too; a Higgs takes its first large-radius jet among the kept ones.
    """
    found = found or directions(record, n_higgs)
    pair, fatjet = (_first_to_last(*one, n_higgs) for one in _both(found))
    return _targets(found, pair, max_jets, fatjet, max_fatjets)


def match_each(
    definitions: Iterable[str], record: ak.Array, n_higgs: int, max_jets: int, max_fatjets: int
) -> dict[str, Targets]:
    """Targets by definition, ``default`` or ``reference``."""
    found = directions(record, n_higgs)
    matches = {"default": match, "reference": match_reference}
    return {d: matches[d](record, n_higgs, max_jets, max_fatjets, found) for d in definitions}


def _both(found: Directions) -> tuple[tuple[Objects, Particles, float], ...]:
    return (found.jets, found.quarks, RESOLVED_RADIUS), (found.fatjets, found.higgs, BOOSTED_RADIUS)


@compiled
def _first_to_last(objects, particles, radius, n_higgs):  # type: ignore[no-untyped-def]
    """``(N, n_higgs, k)``: the first k objects whose last near particle is one of the k of each Higgs, −1 where fewer."""
    (eta, phi, counts, use), (of_eta, of_phi) = objects, particles
    per_higgs = of_eta.shape[1] // n_higgs
    found, start = np.full((len(counts), n_higgs, per_higgs), NONE, dtype=np.int64), 0
    for event in range(len(counts)):
        for i in range(start, start + counts[event]):
            last = NONE
            for p in range(of_eta.shape[1] if use[i] else 0):
                near = True
                for d in range(of_eta.shape[2]):
                    near &= distance(eta[i], phi[i], of_eta[event, p, d], of_phi[event, p, d]) < radius * radius
                last = p if near else last
            for place in range(per_higgs if last != NONE else 0):
                if found[event, last // per_higgs, place] == NONE:
                    found[event, last // per_higgs, place] = i - start
                    break
        start += counts[event]
    return found


@compiled
def _complete(objects, kept):  # type: ignore[no-untyped-def]
    """Put one or two daughters ``(N, n, k)`` in order; −1 throughout where one is missing or not among those kept."""
    for own in objects.reshape(-1, objects.shape[2]):
        low, high = min(own[0], own[-1]), max(own[0], own[-1])
        exists = low != NONE and high < kept
        own[0], own[-1] = (low, high) if exists else (NONE, NONE)
    return objects


def _targets(found: Directions, pair: IntArray, max_jets: int, fatjet: IntArray, max_fatjets: int) -> Targets:
    objects = {"resolved": _complete(pair, max_jets), "boosted": _complete(fatjet, max_fatjets)}
    return Targets(objects, found.pt, found.mass)
