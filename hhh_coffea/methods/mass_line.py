"""The pairing of the CMS Run 2 search for HH → 4b, called D_HH: two pairs whose masses lie nearest to a line.

    D = |m₁ − k m₂| / √(1 + k²),  k = 1.04

Of the three pairings of four jets the one of least D is taken if the next is more than ``window`` away; otherwise, among
the pairings that are too close to tell, the one with the pair of largest pT.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from hhh_coffea.base.arrays import IntArray
from hhh_coffea.base.kinematics import Cartesian, FloatArray, invariant_mass, rest_frame
from hhh_coffea.base.strict import Positive, Strict
from hhh_coffea.topology.kinds import NONE

PAIRINGS = np.array([[[0, 1], [2, 3]], [[0, 2], [1, 3]], [[0, 3], [1, 2]]])


class MassLineOptions(Strict):
    """Slope, window in GeV, and the three choices in which implementations of the pairing differ."""

    slope: Positive = 1.04
    window: float = Field(30.0, ge=0, allow_inf_nan=False, description="GeV")
    leading: Literal["pt", "first_jet"] = Field("pt", description="m₁ is of the pair of larger pT, or of the first jet")
    fallback: Literal["all", "two"] = Field("all", description="largest pT among all pairings, or the two of least D")
    frame: Literal["laboratory", "four_jets"] = Field("laboratory", description="where the pT of the fallback is taken")


def pairs(jets: Cartesian, counts: IntArray, options: MassLineOptions | None = None) -> IntArray:
    """``(N, 2, 2)``: positions of the jets of two pairs among the first four; −1 throughout where there are fewer.

    ``jets`` are flat momenta (GeV), in the order in which they are to be taken, ``counts`` the jets of each event.
    """
    options = options or MassLineOptions()
    result = np.full((len(counts), 2, 2), NONE, dtype=np.int64)
    enough = np.flatnonzero(counts >= 4)
    first = (np.cumsum(counts) - counts)[enough, None] + np.arange(4)
    four = Cartesian(*(component[first] for component in jets))
    found = Cartesian(*(component[:, PAIRINGS].sum(axis=-1) for component in four))  # (N, 3, 2)
    distance = mass_line_distance(found, options)
    order = np.argsort(distance, axis=1, kind="stable")
    ranked = np.take_along_axis(distance, order, axis=1)
    allowed = np.ones_like(order, dtype=bool)
    if options.fallback == "two":
        np.put_along_axis(allowed, order[:, 2:], False, axis=1)
    pt = _pt(found) if options.frame == "laboratory" else _pt(in_rest_frame(found, four))
    by_pt = np.argmax(np.where(allowed, pt.max(axis=2), -np.inf), axis=1)
    chosen = np.where(ranked[:, 1] - ranked[:, 0] > options.window, order[:, 0], by_pt)
    result[enough] = PAIRINGS[chosen]
    return result


def mass_line_distance(found: Cartesian, options: MassLineOptions) -> FloatArray:
    """D (GeV) of pairings ``(…, 2)`` of which the first pair holds the first jet."""
    mass = invariant_mass(found)
    if options.leading == "pt":
        pt = _pt(found)
        mass = np.where((pt[..., 1] > pt[..., 0])[..., None], mass[..., ::-1], mass)
    distance: FloatArray = np.abs(mass[..., 0] - options.slope * mass[..., 1]) / np.hypot(1.0, options.slope)
    return distance


def in_rest_frame(found: Cartesian, parts: Cartesian) -> Cartesian:
    """Momenta ``(N, …)`` boosted to where the summed momentum of ``parts (N, k)`` is zero."""
    shape = (len(parts.px), *(1,) * (found.px.ndim - 1))
    return rest_frame(found, Cartesian(*(component.sum(axis=1).reshape(shape) for component in parts)))


def _pt(p: Cartesian) -> FloatArray:
    pt: FloatArray = np.hypot(p.px, p.py)
    return pt
