"""Where the names of circles stand: beside them, where they cover nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

ANGLES = np.radians((0, 180, 90, 270, 45, 135, 315, 225, 20, 160, 200, 340))  # the first that is free is taken
GAP = 0.07  # between a circle and its name
OFF_THE_AXES, COVERED = 9.0, 2.0  # prices, beside 1 for each point and each line that is crossed


@dataclass(frozen=True)
class Disc:
    """A circle; the inside of one that is not ``filled`` is free."""

    x: float
    y: float
    radius: float
    filled: bool


@dataclass(frozen=True)
class Box:
    """Room of a text, by its middle and half its width and height."""

    x: float
    y: float
    half_width: float
    half_height: float

    def distance(self, x: float, y: float) -> float:
        """Of a point from the box; 0 inside."""
        dx = max(abs(x - self.x) - self.half_width, 0.0)
        dy = max(abs(y - self.y) - self.half_height, 0.0)
        return float(np.hypot(dx, dy))

    def farthest(self, x: float, y: float) -> float:
        """Distance of a point from the corner that is farthest from it."""
        return float(np.hypot(abs(x - self.x) + self.half_width, abs(y - self.y) + self.half_height))

    def overlaps(self, other: Box) -> bool:
        """Whether two boxes have room in common."""
        return (
            abs(self.x - other.x) < self.half_width + other.half_width
            and abs(self.y - other.y) < self.half_height + other.half_height
        )


def beside(
    named: Sequence[tuple[Disc, float, float]],
    discs: Sequence[Disc],
    points: Sequence[tuple[float, float]],
    limits: tuple[float, float],
) -> list[Box]:
    """Room for a text beside each disc of ``named`` (disc, half the width and half the height of the text).

    Texts keep off filled ``discs``, the lines of the others, ``points`` and each other as well as they can, and within
    ``limits``: the largest absolute value on both axes.
    """
    placed: list[Box] = []
    for disc, width, height in named:
        placed.append(min(_around(disc, width, height), key=lambda box: _price(box, discs, points, placed, limits)))
    return placed


def _around(disc: Disc, width: float, height: float) -> list[Box]:
    found = []
    for angle in ANGLES:
        cos, sin = np.cos(angle), np.sin(angle)
        reach = disc.radius + GAP
        # the corner or side that is nearest to the circle touches it
        found.append(
            Box(disc.x + reach * cos + width * _side(cos), disc.y + reach * sin + height * _side(sin), width, height)
        )
    return found


def _side(component: float) -> float:
    return 0.0 if abs(component) < 1e-9 else float(np.sign(component))


def _price(
    box: Box,
    discs: Sequence[Disc],
    points: Sequence[tuple[float, float]],
    placed: Sequence[Box],
    limits: tuple[float, float],
) -> float:
    price = 0.0
    for disc in discs:
        near, far = box.distance(disc.x, disc.y), box.farthest(disc.x, disc.y)
        if disc.filled:
            price += COVERED * (near < disc.radius)
        else:
            price += near < disc.radius < far
    price += sum(box.distance(*point) < GAP for point in points)
    price += COVERED * sum(box.overlaps(other) for other in placed)
    off = abs(box.x) + box.half_width > limits[0] or abs(box.y) + box.half_height > limits[1]
    return price + OFF_THE_AXES * off
