"""Names beside the points of a figure, where they hide neither each other nor a point."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import numpy.typing as npt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.text import Text
from matplotlib.transforms import Bbox

FloatArray = npt.NDArray[np.float64]
POINT_RADIUS = 8  # that a marker takes; all lengths are in points
# steps from the point in units of the distance: beside it, above and below, then the corners
DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))
DISTANCES = (11, 20, 35, 50, 70, 95)  # a label further away than the first gets a line to its point


def label_points(
    axis: Axes,
    points: Sequence[tuple[float, float]],
    labels: Sequence[str],
    fontsize: float,
    avoid: Sequence[Text] = (),
) -> None:
    """Write each label where it covers least; to be called once the axes have their final limits."""
    scale = 72 / axis.figure.dpi  # pixels → points

    def box(artist: Artist) -> Bbox:
        return Bbox(artist.get_window_extent().get_points() * scale)

    inside = box(axis).padded(-6)
    centers = axis.transData.transform(np.asarray(points, dtype=float)) * scale
    taken = [Bbox([center - POINT_RADIUS, center + POINT_RADIUS]) for center in centers] + [box(text) for text in avoid]
    for point, center, label in zip(points, centers, labels, strict=True):
        text = axis.annotate(label, point, fontsize=fontsize)
        size = np.array(box(text).size)
        text.remove()
        corners = [_corner(center, size, step, distance) for distance, step in product(DISTANCES, DIRECTIONS)]
        costs = [_hidden(Bbox([corner, corner + size]), taken, inside) for corner in corners]
        best = int(np.argmin(costs))
        taken.append(Bbox([corners[best], corners[best] + size]))
        line = {"arrowstyle": "-", "color": "0.6", "shrinkA": 0, "shrinkB": 0, "relpos": (0.5, 0.5)}
        axis.annotate(
            label,
            point,
            xytext=tuple(corners[best] - center),
            textcoords="offset points",
            va="bottom",
            fontsize=fontsize,
            arrowprops=line if best >= len(DIRECTIONS) else None,
        )


def _corner(center: FloatArray, size: FloatArray, step: tuple[int, int], distance: float) -> FloatArray:
    """Lower left corner of a text box that lies in a direction from the point."""
    return center + np.asarray(step) * (distance + size / 2) - size / 2


def _hidden(box: Bbox, taken: Sequence[Bbox], inside: Bbox) -> float:
    """Area of the box that others have, or that lie outside the axes."""
    covered = sum(_area(Bbox.intersection(box, other)) for other in taken)
    return covered + 10 * (_area(box) - _area(Bbox.intersection(box, inside)))


def _area(box: Bbox | None) -> float:
    return 0.0 if box is None else float(box.width * box.height)
