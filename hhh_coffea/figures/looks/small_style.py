"""Ticks and letters of figures with small panels, like those of mplhep's style. Needs nothing but matplotlib."""

from __future__ import annotations

from typing import Any

STYLE: Any = {
    **{f"{axis}tick.direction": "in" for axis in "xy"},
    "xtick.top": True,
    "ytick.right": True,
    "xaxis.labellocation": "right",
    "yaxis.labellocation": "top",
    "font.size": 13,
    "axes.labelsize": 14,
    "axes.titlesize": 15,
    "legend.frameon": False,
}
# those of mplhep; the second has what the first lacks
FONTS: Any = {"font.family": ["TeX Gyre Heros", "DejaVu Sans"]}
LETTERS_PER_INCH = 11.5  # of text of size 13
