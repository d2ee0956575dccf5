"""Tables of shares in colour: what was found (columns) of what there is (rows), or the other way round."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes


def draw_shares(
    axis: Axes, matrix: npt.NDArray[Any], rows: Sequence[str], columns: Sequence[str], what: str, base: str
) -> None:
    """Each number ``(rows, columns)`` as its share of the row, with the number itself in brackets.

    ``what`` is counted, as in "events"; ``base`` says which.
    """
    axis.figure.subplots_adjust(right=0.9)  # for the label of the colour bar
    totals = matrix.sum(axis=1, keepdims=True)
    share = np.divide(matrix, totals, out=np.zeros(matrix.shape), where=totals > 0)
    image = axis.imshow(share, cmap="cividis", vmin=0, vmax=1)
    for place in np.ndindex(*share.shape):
        number = int(matrix[place])
        text = f"{100 * share[place]:.1f}%\n({number:,})" if number else "0"
        color = "black" if share[place] > 0.5 else "white"
        row, column = place
        axis.text(column, row, text, ha="center", va="center", fontsize=20, color=color)
    axis.set_xticks(range(len(columns)), columns)
    axis.set_yticks(range(len(rows)), rows)
    axis.tick_params(which="both", top=False, right=False, length=0)
    axis.minorticks_off()
    label = f"Share of the {what} of a row\n({int(matrix.sum()):,} {base})"
    axis.figure.colorbar(image, ax=axis, shrink=0.85).set_label(label, fontsize=22, loc="center")
