"""Re-run the b tagging of a Delphes jet from its true flavour and pT.

Efficiencies ε(flavour, pT), pT in GeV, as in §1 of the published analysis: ``upart`` follows CMS-DP-2024-066
(UParT AK4), ``csv`` arXiv:1211.4462 (the default CMS card). Neither has an |η| limit, as published.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from hhh_coffea.base.arrays import IntArray
from hhh_coffea.base.kinematics import FloatArray

Efficiency = Callable[[FloatArray], FloatArray]

EFFICIENCIES: dict[str, dict[int, Efficiency]] = {
    "upart": {
        5: lambda pt: 0.85 / (1 + np.exp(-(pt + 20) / 20)),
        4: lambda pt: 0.12 / (1 + np.exp(-(pt + 20) / 20)),
        0: lambda pt: 0.006 / (1 - np.exp(-(pt + 10) / 80)) + 1.5e-5 * pt,
    },
    "csv": {
        5: lambda pt: 0.85 * np.tanh(0.0025 * pt) * 25 / (1 + 0.063 * pt),
        4: lambda pt: 0.25 * np.tanh(0.018 * pt) / (1 + 0.0013 * pt),
        0: lambda pt: 0.01 + 3.8e-5 * pt,
    },
}


def efficiency(tagger: str, flavor: npt.NDArray[np.integer], pt: npt.NDArray[np.floating]) -> FloatArray:
    """Probability that a jet of this |flavour| (5 = b, 4 = c, else light) and pT (GeV) is tagged."""
    formulas = EFFICIENCIES[tagger]
    pt64 = np.asarray(pt, dtype=np.float64)
    heavy = np.where(np.abs(flavor) == 5, formulas[5](pt64), formulas[4](pt64))
    return np.where((np.abs(flavor) == 5) | (np.abs(flavor) == 4), heavy, formulas[0](pt64))


def retag(
    tagger: str,
    flavor: npt.NDArray[np.integer],
    pt: npt.NDArray[np.floating],
    file_uuid: str,
    entry: IntArray,
    jet: IntArray,
    seed: int = 0,
) -> npt.NDArray[np.bool_]:
    """Throw the b tag of every jet anew.

    All arrays are flat, one value a jet: ``entry`` is the entry number in the file and ``jet`` the position in the
    file's list. The random number is a function of (file uuid, entry, jet, ``seed``) alone, so chunking cannot change a tag.
    """
    return uniform(file_uuid, entry, jet, seed) < efficiency(tagger, flavor, pt)


def uniform(file_uuid: str, entry: IntArray, jet: IntArray, seed: int = 0) -> FloatArray:
    """Uniform numbers in [0, 1) from a counter: splitmix64 (Steele et al., OOPSLA 2014) over uuid, entry, jet and ``seed``."""
    key = uuid.UUID(file_uuid).int
    state = _splitmix64(
        np.uint64(key & 0xFFFFFFFFFFFFFFFF) ^ _splitmix64(np.uint64(key >> 64) + entry.astype(np.uint64))
    )
    state = _splitmix64(state + jet.astype(np.uint64))
    if seed:
        state = _splitmix64(state ^ _splitmix64(np.array(seed, dtype=np.uint64)))
    return (state >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _splitmix64(state: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    with np.errstate(over="ignore"):  # arithmetic is modulo 2^64 by design
        z = state + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
