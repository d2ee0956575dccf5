"""Histograms at any self-couplings: the mass of the leading candidate as sums of polynomial coefficients.

The weight of an event relative to the standard model is a polynomial in κ3 and κ4. Beside the spectrum itself the sums of
its coefficients are filled, and of their products for the errors: after one pass the spectrum is known at any couplings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import awkward as ak
import hist
import numpy as np
import numpy.typing as npt
from hist import Hist

from hhh_coffea.analyses.self_couplings import POLYNOMIALS, GeneratorError, coupling_weights
from hhh_coffea.base.arrays import counts_of, event_index, flat, rank_in_event
from hhh_coffea.inference import moments

FloatArray = npt.NDArray[np.float64]
SUMS, PRODUCTS = "sums", "products"
LEADING = 0


def names_of(n_higgs: int) -> tuple[str, str]:
    """Names of the two histograms of datasets with so many Higgs bosons."""
    return f"couplings_{n_higgs}_higgs_{SUMS}", f"couplings_{n_higgs}_higgs_{PRODUCTS}"


def has_couplings(metadata: Any) -> bool:
    """Whether the events of a dataset have self-coupling weights: signal of two or three Higgs bosons."""
    return bool(metadata.is_signal) and metadata.n_higgs in POLYNOMIALS


def coefficients(generated: ak.Array, n_higgs: int) -> FloatArray:
    """Coefficients ``(N, 3)`` of HH or ``(N, 9)`` of HHH, from the generated Higgs bosons before the shower.

    Raises
    ------
    GeneratorError
        if an event has another number of them.
    """
    counts = counts_of(generated.pt)
    if (counts != n_higgs).any():
        wrong = int(counts[counts != n_higgs][0])
        raise GeneratorError(f"self-couplings: an event has {wrong} generated Higgs bosons, not {n_higgs}")
    columns = (flat(generated[name]).reshape(-1, n_higgs) for name in ("pt", "eta", "phi", "mass"))
    return coupling_weights(*columns)


def book(n_higgs: int) -> dict[str, Hist]:
    """Empty histograms: dataset × method × definition × mass of the leading candidate × monomial or pair."""
    axes = [hist.axis.StrCategory([], growth=True, name=name) for name in ("dataset", "method", "definition")]
    mass = hist.axis.Regular(40, 30, 230, name="mass", label="Candidate mass [GeV]")
    return dict(zip(names_of(n_higgs), moments.book(POLYNOMIALS[n_higgs], *axes, mass), strict=True))


def fill(
    histograms: Mapping[str, Hist],
    n_higgs: int,
    key: Mapping[str, str],
    candidates: ak.Array,
    surviving: npt.NDArray[np.bool_],
    weight: FloatArray,
    of_events: FloatArray,
) -> None:
    """Add the events of a chunk.

    Parameters
    ----------
    key
        dataset, method and definition
    candidates
        of each event, with ``pt`` and ``mass``
    surviving
        candidates (flat) that count, as for the histogram ``ranked_mass``
    weight
        of each event ``(N,)``
    of_events
        coefficients of each event
    """
    chosen = np.flatnonzero(surviving)
    event = event_index(counts_of(candidates.pt))[chosen]
    rank = rank_in_event(flat(candidates.pt)[chosen], np.bincount(event, minlength=len(candidates)))
    leading = rank == LEADING
    event, mass = event[leading], flat(candidates.mass)[chosen][leading]
    pair = tuple(histograms[name] for name in names_of(n_higgs))
    moments.fill((pair[0], pair[1]), of_events[event], weight[event], {"mass": mass}, key)
