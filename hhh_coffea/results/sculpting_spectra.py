"""Mass spectra of candidates and of random pairings, with bootstrap replicas: booked, filled, and turned into numbers.

Every histogram here is additive over chunks. Replica 0 is the sample; in replicas 1 to :data:`REPLICAS` every event has
another Poisson weight of mean 1, the bootstrap for data that come in pieces (W. Chamandy et al., *Estimating uncertainty
for massive data streams*, Google 2012), a function of (file uuid, entry, replica) alone. All candidates of an event, its
random pairs and its large-radius jets share that weight, so correlations are in the errors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import awkward as ak
import hist
import numpy as np
import numpy.typing as npt
from hist import Hist

from hhh_coffea.base.arrays import IntArray, counts_of, event_index, flat, padded, rank_in_event
from hhh_coffea.base.mass_measures import EDGES, measures
from hhh_coffea.events.btagging import uniform
from hhh_coffea.methods import random_pairing
from hhh_coffea.results.summary import counts
from hhh_coffea.topology.kinds import Kind

FloatArray = npt.NDArray[np.float64]
SPECTRA, FATJETS, BOOSTED_PT = "sculpting", "sculpting_fatjets", "sculpting_boosted_pt"
KINDS = ("resolved", "boosted")  # pairs of jets, single large-radius jets
CANDIDATES, RANDOM = "candidates", "random"
REPLICAS = 100
RANKS = 4  # by falling pT among the surviving candidates of an event; the fourth takes all beyond
BINS = len(EDGES) - 1
PT_BINS, PT_MIN, PT_MAX = 32, 200.0, 1000.0  # of large-radius jets, GeV
BLOCK = 4096  # events at a time: the table of counts by event stays small
_STREAM = 2**43  # no jet, split or draw has this position
# Poisson distribution of mean 1, cumulative: a uniform number below its n-th value is a weight of at most n
_POISSON = np.cumsum([np.exp(-1.0) / np.prod(np.arange(1.0, n + 1)) for n in range(16)])


def book() -> dict[str, Hist]:
    """Empty histograms: sums of weights, of which the replicas give the error."""

    def axes(*names: str) -> list[Any]:
        return [hist.axis.StrCategory([], growth=True, name=name) for name in names]

    rank = hist.axis.Integer(1, RANKS + 1, flow=False, name="rank", label="rank by pT")
    replica = hist.axis.Integer(0, REPLICAS + 1, flow=False, name="replica", label="0: the sample")
    mass = hist.axis.Regular(BINS, EDGES[0], EDGES[-1], name="mass", label="Mass [GeV]")
    pt = hist.axis.Regular(PT_BINS, PT_MIN, PT_MAX, name="pt", label="pT [GeV]")
    method, storage = ("dataset", "method", "definition"), hist.storage.Double()
    return {
        SPECTRA: Hist(*axes(*method, "kind", "source"), rank, replica, mass, storage=storage),
        FATJETS: Hist(*axes("dataset"), replica, pt, mass, storage=storage),
        BOOSTED_PT: Hist(*axes(*method), rank, replica, pt, storage=storage),
    }


def replica_weights(weight: npt.NDArray[Any], file_uuid: str, entry: IntArray) -> npt.NDArray[np.float64]:
    """``(N, 1 + REPLICAS)``: the event's weight, and the same times a Poisson number for each replica."""
    numbers = [uniform(file_uuid, entry, np.full_like(entry, _STREAM + r)) for r in range(REPLICAS)]
    poisson = np.searchsorted(_POISSON, np.stack(numbers, axis=1), side="right")
    result: FloatArray = weight[:, None] * np.concatenate([np.ones((len(weight), 1)), poisson], axis=1)
    return result


def fill_fatjets(histograms: dict[str, Hist], dataset: str, record: ak.Array, weights: FloatArray) -> None:
    """All large-radius jets of the events, by pT and mass: what boosted candidates are compared with."""
    axes = [histograms[FATJETS].axes[name] for name in ("pt", "mass")]
    event = event_index(counts_of(record.fatjets.pt))
    cell = _cell(axes, flat(record.fatjets.pt), flat(record.fatjets.mass))
    _add(histograms[FATJETS], {"dataset": dataset}, axes, _sums(weights, event, cell, axes))


def fill_method(
    histograms: dict[str, Hist],
    key: dict[str, str],
    kinds: Mapping[str, Kind],
    record: ak.Array,
    candidates: ak.Array,
    first: int,
    weights: FloatArray,
    file_uuid: str,
) -> None:
    """One method's surviving candidates, and random pairs in their place.

    ``key``: dataset, method and definition; ``kinds``: pairs of jets, and single large-radius jets where there
    are such; ``first``: jets of an event that the method may pair; ``weights`` those of :func:`replica_weights`.
    """
    spectra, boosted_pt = histograms[SPECTRA], histograms[BOOSTED_PT]
    by_mass = [spectra.axes[name] for name in ("rank", "mass")]
    by_pt = [boosted_pt.axes[name] for name in ("rank", "pt")]
    candidates = candidates[~candidates.overlaps]
    n, pt = counts_of(candidates.pt), flat(candidates.pt)
    event, boosted = event_index(n), np.isin(flat(candidates.kind), [k.number for k in kinds.values() if k.degree == 1])
    rank = np.minimum(1 + rank_in_event(pt, n), RANKS)
    cell = _cell(by_mass, rank, flat(candidates.mass))
    for kind, use in zip(KINDS, (~boosted, boosted), strict=True):
        sums = _sums(weights, event[use], cell[use], by_mass)
        _add(spectra, {**key, "kind": kind, "source": CANDIDATES}, by_mass, sums)
    sums = _sums(weights, event[boosted], _cell(by_pt, rank, pt)[boosted], by_pt)
    _add(boosted_pt, key, by_pt, sums)

    usable, momenta = (
        random_pairing.usable_jets(record, candidates, boosted, first),
        random_pairing.padded_momenta(record, first),
    )
    k, n_boosted = (np.bincount(event[use], minlength=len(n)) for use in (~boosted, boosted))
    fixed = padded(pt[boosted], n_boosted, int(n_boosted.max(initial=0)), np.nan)  # (N, boosted)
    entry, sums = ak.to_numpy(record.id), np.zeros(1)
    for draw in range(random_pairing.DRAWS):
        pairs = random_pairing.random_pairs(usable, k, file_uuid, entry, draw)
        pair_pt, mass = random_pairing.pt_and_mass(momenta, pairs)  # (N, K)
        others = np.concatenate([pair_pt, fixed], axis=1)
        rank_of_pair = 1 + (others[:, None, :] > pair_pt[:, :, None]).sum(axis=2)
        row, column = np.nonzero(np.isfinite(mass))
        cell = _cell(by_mass, np.minimum(rank_of_pair, RANKS)[row, column], mass[row, column])
        sums = sums + _sums(weights, row, cell, by_mass)
    _add(spectra, {**key, "kind": KINDS[0], "source": RANDOM}, by_mass, sums / random_pairing.DRAWS)


def _cell(axes: Sequence[Any], first: npt.NDArray[Any], second: npt.NDArray[Any]) -> IntArray:
    """Number of the cell of the plane of two axes, with what is beyond their ends."""
    i, j = (a.index(x) + bool(a.traits.underflow) for a, x in zip(axes, (first, second), strict=True))
    cell: IntArray = np.asarray(i * axes[1].extent + j, dtype=np.int64)
    return cell


def _sums(weights: FloatArray, event: IntArray, cell: IntArray, axes: Sequence[Any]) -> FloatArray:
    """Sum of the weights of ``event`` (rising) in each ``cell``, for all replicas: ``(1 + REPLICAS, cells)``."""
    cells = axes[0].extent * axes[1].extent
    total = np.zeros((weights.shape[1], cells))
    for start in range(0, len(weights), BLOCK):
        block = weights[start : start + BLOCK]
        part = slice(*np.searchsorted(event, [start, start + BLOCK]))
        place = (event[part] - start) * cells + cell[part]
        total += block.T @ np.bincount(place, minlength=len(block) * cells).reshape(len(block), cells)
    return total


def _add(histogram: Hist, key: dict[str, str], axes: Sequence[Any], sums: FloatArray) -> None:
    """Put ``(1 + REPLICAS, cells)`` into a histogram, by filling one entry a cell."""
    replica, cell = np.nonzero(sums)
    if not len(cell):
        return
    first, second = np.divmod(cell, axes[1].extent)
    values = {a.name: _values(a)[i] for a, i in zip(axes, (first, second), strict=True)}
    histogram.fill(**key, replica=replica, **values, weight=sums[replica, cell])


def _values(axis: Any) -> npt.NDArray[Any]:
    """A value in each bin of an axis, those beyond its ends included where it has them."""
    if isinstance(axis, hist.axis.Integer):  # booked without flow
        return np.arange(axis.edges[0], axis.edges[-1], dtype=np.int64)
    below = [axis.edges[0] - 1] if axis.traits.underflow else []
    above = [axis.edges[-1] + 1] if axis.traits.overflow else []
    return np.array([*below, *axis.centers, *above])


# --- from histograms to numbers ---------------------------------------------------------------------------------------
def spectrum(histograms: dict[str, Hist], key: dict[str, str], category: str, rank: int, source: str) -> FloatArray:
    """``(1 + REPLICAS, bins)``: sums of weights in 30–225 GeV, of the sample and its replicas.

    ``key``: dataset, method, definition; ``category``: merged, resolved or boosted; ``rank`` 0 for all. The random
    spectrum of boosted candidates is that of all large-radius jets of the dataset with the same pT: in each bin of pT as many as
    there are candidates.
    """
    chosen = slice(None) if rank == 0 else slice(rank - 1, rank)
    total = np.zeros((REPLICAS + 1, BINS))
    for kind in KINDS if category == "merged" else (category,):
        if source == RANDOM and kind == KINDS[1]:
            wanted = counts(histograms[BOOSTED_PT], key)[chosen].sum(axis=0)  # (replica, pt)
            fatjets = counts(histograms[FATJETS], {"dataset": key["dataset"]})  # (replica, pt, mass)
            there = fatjets.sum(axis=2)
            share = np.divide(wanted, there, out=np.zeros_like(wanted), where=there != 0)
            total += np.einsum("rp,rpm->rm", share, fatjets)[:, 1:-1]
        else:
            place = {**key, "kind": kind, "source": source}
            total += counts(histograms[SPECTRA], place)[chosen].sum(axis=0)[:, 1:-1]
    return total


def signal_masses(histograms: dict[str, Hist], definition: str, category: str) -> dict[str, FloatArray]:
    """Masses of the true assignments in every signal dataset, ``(bins)``, by its name; ``merged``: of both kinds."""
    target_mass, found = histograms["target_mass"], {}
    kinds = KINDS if category == "merged" else (category,)
    for dataset in target_mass.axes["dataset"]:
        key = {"dataset": dataset, "definition": definition}
        total = sum(counts(target_mass, {**key, "target": kind})[1 : BINS + 1] for kind in kinds)
        if np.any(total):
            found[str(dataset)] = np.asarray(total)
    return found


def keys(histograms: dict[str, Hist]) -> Iterator[dict[str, str]]:
    """Dataset, method and definition of everything that was filled."""
    axes = histograms[SPECTRA].axes
    for dataset in axes["dataset"]:
        for definition in axes["definition"]:
            for method in axes["method"]:
                key = {"dataset": dataset, "method": method, "definition": definition}
                if counts(histograms[SPECTRA].project(*key, "mass"), key).any():
                    yield key


def table(histograms: dict[str, Hist]) -> dict[str, Any]:
    """dataset → definition → method → category → rank (``all``, ``1`` …) → the measures of :mod:`.sculpting`."""
    result: dict[str, Any] = {}
    for key in keys(histograms):
        place = result.setdefault(key["dataset"], {}).setdefault(key["definition"], {}).setdefault(key["method"], {})
        for category in ("merged", *KINDS):
            signal = signal_masses(histograms, key["definition"], category)
            for rank in range(RANKS + 1):
                found = spectrum(histograms, key, category, rank, CANDIDATES)
                if not found[0].sum():
                    continue
                random = spectrum(histograms, key, category, rank, RANDOM)
                entry = {"candidates": float(found[0].sum()), **measures(found, {"random": random, **signal})}
                place.setdefault(category, {})["all" if rank == 0 else str(rank)] = entry
    return result
