"""The published purity and efficiency curves, read back from the figures of arXiv:2412.03819 (±0.003)."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt

# our category → name of the published figure; "resolved" is that of the boosted+resolved network before overlap removal
_FIGURES = {
    "merged": "merged",
    "boosted": "boosted",
    "resolved": "resolved_BRnet",
    "resolved_after_overlap_removal": "resolved_afterOR",
}
_CURVES = (("spa", "spanet"), ("base", "chi2+bdt"))


@cache
def _content() -> dict[str, Any]:
    text = files("hhh_coffea").joinpath("figures/data/published_curves.json").read_text(encoding="utf-8")
    data: dict[str, Any] = json.loads(text)["data"]
    return data


def curves(analysis: str, category: str, what: str) -> list[tuple[str, npt.NDArray[np.float64]]]:
    """(our name of the method, points) of the published methods; none where nothing was published.

    ``points`` is ``(21, 3)``: value, upper and lower end for pT in steps of 50 GeV, the last bin the overflow; NaN where
    the figure hides a point. ``what`` is ``purity`` or ``efficiency``.
    """
    figure = f"{analysis.upper()}_{_FIGURES.get(category)}"
    found = _content().get(figure, {}).get({"purity": "pur", "efficiency": "eff"}[what], {})
    return [
        (method, np.array([p or [np.nan] * 3 for p in found[name]], dtype=np.float64))
        for name, method in _CURVES
        if name in found
    ]
