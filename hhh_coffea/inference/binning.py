"""Automatic binning "transformation D": bins that each hold a set share of signal and background.

Calvet, "Search for the production of a Higgs boson in association with top quarks …" (thesis); as TRExFitter defines it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from pydantic import Field

from hhh_coffea.base.strict import Strict
from hhh_coffea.inference.templates import FloatArray, Region, TemplateError, Templates

ROUNDING = 0.01  # of the number of bins


class TransformationD(Strict):
    """Shares of signal and background: their sum is the largest number of bins."""

    z_signal: float = Field(2.5, ge=0, allow_inf_nan=False)
    z_background: float = Field(2.5, ge=0, allow_inf_nan=False)


def transformation_d(signal: FloatArray, background: FloatArray, shares: TransformationD) -> npt.NDArray[np.int64]:
    """Boundaries of the bins, as positions among the edges of the fine bins.

    From the right, a bin takes one fine bin after the other until Z = z_s·n_s/N_s + z_b·n_b/N_b exceeds 1. If Z was
    nearer to 1 one fine bin earlier, the last fine bin goes to the next bin. What is left over on the left joins its
    neighbour where it would be one bin more than z_s + z_b, or where it has no background.

    A bin without background is extended further than the algorithm asks: no model can hold one.

    Parameters
    ----------
    signal, background
        expected events ``(fine bins,)``

    Returns
    -------
    array
        ``(bins + 1,)``, increasing from 0 to the number of fine bins

    Raises
    ------
    TemplateError
        if signal or background have no events.
    """
    n_signal, n_background = float(signal.sum()), float(background.sum())
    for name, total in (("signal", n_signal), ("background", n_background)):
        if not total > 0:
            raise TemplateError(f"automatic binning: the {name} adds up to {total:g} events")
    if not shares.z_signal + shares.z_background >= 1:
        raise TemplateError("automatic binning: z_signal + z_background must be at least 1")
    z_of_bin = shares.z_signal * signal / n_signal + shares.z_background * background / n_background
    boundaries = [len(signal)]
    position, z, b = len(signal), 0.0, 0.0
    while position > 0:
        position -= 1
        before, z, b = z, z + float(z_of_bin[position]), b + float(background[position])
        if z <= 1 or b <= 0:
            continue
        overshoots = before > 0 and abs(1 / z - 1) > abs(1 / before - 1)
        if overshoots and background[position + 1 : boundaries[-1]].sum() > 0:
            position += 1
        boundaries.append(position)
        z, b = 0.0, 0.0
    if boundaries[-1] > 0:
        boundaries.append(0)
        too_many = len(boundaries) - 1 > shares.z_signal + shares.z_background + ROUNDING
        if len(boundaries) > 2 and (too_many or b <= 0):
            del boundaries[-2]
    return np.array(boundaries[::-1], dtype=np.int64)


def region_boundaries(region: Region, templates: Templates, shares: TransformationD) -> npt.NDArray[np.int64]:
    """Boundaries of one region, from its nominal signals and backgrounds; where no signal passes, from backgrounds alone."""
    signal, background = region.total(templates.signals), region.total(templates.backgrounds)
    try:
        return transformation_d(signal if signal.any() else background, background, shares)
    except TemplateError as error:
        raise TemplateError(f"region {region.name!r}: {error}") from None


def rebinned(templates: Templates, shares: TransformationD) -> Templates:
    """Every region in bins of its own."""
    regions = [region.rebinned(region_boundaries(region, templates, shares)) for region in templates.regions]
    return replace(templates, regions=tuple(regions))
