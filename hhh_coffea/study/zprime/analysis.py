"""Spectra of m(tt̄), quality cuts, significance and sculpting: functions of plain arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.stats import wasserstein_distance

from hhh_coffea.base.errors import UserError
from hhh_coffea.base.kinematics import FloatArray
from hhh_coffea.inference.asimov import significance
from hhh_coffea.study.split import BoolArray

EDGES = np.append(np.arange(300.0, 1300.1, 20.0), np.inf)  # GeV; the last bin is the overflow
HALF_WINDOW = 75.0  # GeV around the mass of the Z′, for the cuts
QUANTILES = 40
FEWEST = 25  # simulated background events of a bin: bins with fewer are merged with their neighbours
SCENARIOS = {"140": (140.0, 0.10), "300": (300.0, 0.05)}  # fb⁻¹, uncertainty of the background in every bin


@dataclass(frozen=True)
class Rows:
    """Events of one sample and method: reconstructed m(tt̄) (GeV) and quality, both finite."""

    mass: FloatArray
    quality: FloatArray

    def passing(self, cut: float | None) -> BoolArray:
        """Which rows pass a quality cut."""
        return np.ones(len(self.mass), dtype=bool) if cut is None else self.quality >= cut


def tune(signals: Mapping[float, Rows], background: Rows, quantiles: int = QUANTILES) -> dict[str, Any]:
    """The mean of the three quality cuts that maximise S/√B within 75 GeV of each mass, as published for S/B.

    Cuts are tried at quantiles of the quality of the background. Errors fluctuate: the maximum is that of a mean over three
    neighbours. Returns ``{"cut", "cuts", "best": {mass: cut}, "s_over_root_b", "s_over_b": {mass: [relative to no cut]}}``.
    """
    cuts = np.quantile(background.quality, np.arange(quantiles) / quantiles)
    best, significances, purities = {}, {}, {}
    for mass, signal in signals.items():
        s, b = (np.array([_in_window(rows, cut, mass) for cut in cuts]) for rows in (signal, background))
        use = b >= FEWEST
        gain = np.where(use, s / np.sqrt(np.maximum(b, 1)), 0.0)
        smooth = np.convolve(np.pad(gain, 1, mode="edge"), np.ones(3) / 3, mode="valid")
        best[str(mass)] = float(cuts[int(np.argmax(np.where(use, smooth, 0.0)))])
        significances[str(mass)] = (gain / gain[0]).tolist()
        purities[str(mass)] = np.where(use, s / np.maximum(b, 1) / (s[0] / b[0]), np.nan)[use].tolist()
    return {
        "cut": float(np.mean(list(best.values()))),
        "best": best,
        "cuts": cuts.tolist(),
        "s_over_root_b": significances,
        "s_over_b": purities,
    }


def _in_window(rows: Rows, cut: float, mass: float) -> int:
    return int((rows.passing(cut) & (np.abs(rows.mass - mass) < HALF_WINDOW)).sum())


def merged_edges(masses: FloatArray, edges: FloatArray = EDGES, fewest: int = FEWEST) -> FloatArray:
    """Edges of bins with at least so many background events each; bins are merged from both ends towards the middle.

    Raises
    ------
    UserError
        if there are not enough events for two bins.
    """
    counts = np.histogram(masses, edges)[0]
    kept = [len(edges) - 1]
    total = 0
    for i in range(len(counts) - 1, -1, -1):  # from the right, where events are few
        total += counts[i]
        if total >= fewest:
            kept.append(i)
            total = 0
    if kept[-1] != 0:
        kept[-1] = 0  # what is left joins its neighbour
    if len(kept) < 3:
        raise UserError(f"{int(counts.sum())} background events are too few for a spectrum of m(tt̄)")
    return edges[kept[::-1]]


def spectrum(rows: Rows, cut: float | None, edges: FloatArray, weights: FloatArray | None = None) -> FloatArray:
    """Events per bin; those below the first edge are left out."""
    keep = rows.passing(cut)
    place = np.searchsorted(edges, rows.mass[keep], side="right") - 1
    inside = place >= 0
    own = None if weights is None else weights[keep][inside]
    return np.bincount(place[inside], weights=own, minlength=len(edges) - 1)[: len(edges) - 1].astype(float)


def cross_section(signal: FloatArray, background: FloatArray, target: float, uncertainty: float) -> float:
    """By how much ``signal`` must be multiplied for this significance."""

    def excess(factor: float) -> float:
        return float(significance(factor * signal, background, uncertainty)) - target

    high = 1.0
    while excess(high) < 0:
        high *= 2
        if high > 1e12:
            raise UserError("no cross section gives the published significance: there is no signal in the spectrum")
    return float(brentq(excess, 0.0, high, rtol=1e-6))


def emd(found: FloatArray, true: FloatArray) -> float:
    """Earth mover's distance of two samples of masses (GeV), unbinned."""
    return float(wasserstein_distance(found, true))


def emd_with_error(found: FloatArray, true: FloatArray, replicas: int, seed: int) -> list[float]:
    """The distance and its standard deviation over bootstrap samples of the events."""
    rng = np.random.default_rng(seed)
    draws = (rng.integers(0, len(found), len(found)) for _ in range(replicas))
    values = [emd(found[draw], true[draw]) for draw in draws]
    return [emd(found, true), float(np.std(values, ddof=1))]


def width_of(residual: FloatArray) -> dict[str, float]:
    """RMS about the mean, half the central 68.27%, and median."""
    low, median, high = np.quantile(residual, [0.158655, 0.5, 0.841345])
    return {"rms": float(residual.std()), "half_width": float((high - low) / 2), "median": float(median)}


def poisson_weights(sizes: Sequence[int], seed: int, replica: int) -> list[FloatArray]:
    """Bootstrap weights of the events of each sample, alike for all methods."""
    rng = np.random.default_rng([seed, replica])
    return [rng.poisson(1.0, size).astype(float) for size in sizes]
