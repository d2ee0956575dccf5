"""How much a method carves a peak into the masses of background: pure functions of binned spectra.

A spectrum is an array ``(..., bins)`` of counts in bins of 5 GeV from 30 to 225 GeV, as in the published figure (§6);
leading axes are bootstrap replicas. Everything is measured on shapes: the counts are normalised to the range looked at.

``flat`` compares with the uniform spectrum, ``signal`` with the masses of the true assignments in signal, ``random`` with
what the same events give when jets are paired at random (:mod:`hhh_coffea.methods.random_pairing`): the one that assumes
nothing about what background looks like.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
EDGES: FloatArray = np.arange(30.0, 225.1, 5.0)  # GeV
RANGES = {"30-225": (30.0, 225.0), "75-175": (75.0, 175.0)}  # GeV: the published figure, the published weights
PEAK = (110.0, 140.0)  # GeV


def within(spectrum: npt.ArrayLike, low: float, high: float) -> FloatArray:
    """The bins between two edges (GeV), normalised to 1: ``(..., bins)`` → ``(..., fewer bins)``; NaN if empty."""
    first, last = np.searchsorted(EDGES, [low, high])
    part = np.asarray(spectrum, dtype=np.float64)[..., first:last]
    total = part.sum(axis=-1, keepdims=True)
    shape: FloatArray = np.divide(part, total, out=np.full_like(part, np.nan), where=total > 0)
    return shape


def earth_movers_distance(p: FloatArray, q: FloatArray) -> FloatArray:
    """∫ |P(m) − Q(m)| dm of the cumulative distributions, GeV: ``(..., bins)`` twice, normalised → ``(...)``.

    The 1-Wasserstein distance (L. Kantorovich 1942; in one dimension S. Vallender, Theor. Probab. Appl. 18, 784 (1974)):
    by how many GeV the average candidate must be moved. All entries of a bin are taken to be at its centre.
    """
    distance: FloatArray = np.abs(np.cumsum(p - q, axis=-1)).sum(axis=-1) * (EDGES[1] - EDGES[0])
    return distance


def jensen_shannon(p: FloatArray, q: FloatArray) -> FloatArray:
    """½ Σ p log₂(p/m) + ½ Σ q log₂(q/m), m = (p + q)/2, in bits (J. Lin, IEEE Trans. Inf. Theory 37, 145 (1991)).

    From 0 (the same shape) to 1 (no overlap); ``(..., bins)`` twice, normalised → ``(...)``.
    """
    m = (p + q) / 2

    def divergence(a: FloatArray) -> FloatArray:
        ratio = np.divide(a, m, out=np.ones_like(m), where=(a > 0) & (m > 0))
        terms: FloatArray = (a * np.log2(ratio)).sum(axis=-1)
        return terms

    p, q = np.broadcast_arrays(p, q)
    return 0.5 * (divergence(p) + divergence(q))


def peak_share(spectrum: npt.ArrayLike, low: float, high: float) -> FloatArray:
    """Share of the entries between ``low`` and ``high`` that are in 110–140 GeV: ``(..., bins)`` → ``(...)``."""
    first, last = np.searchsorted(EDGES, low), np.searchsorted(EDGES, PEAK)
    share: FloatArray = within(spectrum, low, high)[..., last[0] - first : last[1] - first].sum(axis=-1)
    return share


def measures(spectrum: npt.ArrayLike, references: Mapping[str, npt.ArrayLike]) -> dict[str, dict[str, Any]]:
    """Range → measure → ``{value, error}``.

    ``spectrum`` and each of ``references`` (by name, ``flat`` is added) are ``(1 + R, bins)``: the sample itself, then R
    bootstrap replicas; ``(bins)`` or ``(1, bins)`` for a reference without error. The error is the standard deviation over the
    replicas, in which sample and reference vary together. A distance between two samples of finite size is never 0:
    it exceeds that of the distributions behind them by about its error where these agree. None where there is nothing to
    compare.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, (low, high) in RANGES.items():
        p = np.atleast_2d(within(spectrum, low, high))
        entry: dict[str, Any] = {"peak_share": _with_error(peak_share(spectrum, low, high))}
        for reference, counts in {"flat": np.ones(len(EDGES) - 1), **references}.items():
            q = np.atleast_2d(within(counts, low, high))
            entry[f"emd_to_{reference}_gev"] = _with_error(earth_movers_distance(p, q))
            entry[f"js_to_{reference}_bits"] = _with_error(jensen_shannon(p, q))
        found[name] = entry
    return found


def _with_error(values: FloatArray) -> dict[str, float | None]:
    """The first value, and the standard deviation of the others (None if there are none, or nothing was measured)."""
    values = np.atleast_1d(values)
    replicas = values[1:][np.isfinite(values[1:])]
    return {
        "value": float(values[0]) if np.isfinite(values[0]) else None,
        "error": float(replicas.std(ddof=1)) if len(replicas) > 1 else None,
    }
