"""Ticks and letters of figures with small panels, like those of mplhep's style. Needs nothing but matplotlib."""

from __future__ import annotations

from typing import Any

STYLE: Any = {
    **{f"{axis}tick.direction": "in" for axis in "xy"},
    "xtick.top": True,
    "ytick.right": True,
    "font.size": 12,
    "axes.titlesize": 14,
}
