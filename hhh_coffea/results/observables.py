"""One observable out of a histogram with many axes: region × dataset × variation × bin, everything else chosen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import hist
from hist import Hist

from hhh_coffea.base.errors import UserError

REGION, PROCESS, VARIATION, METHOD = "region", "dataset", "variation", "method"
KEPT = (REGION, PROCESS, VARIATION)
SUMMED = ("correct",)  # whether a candidate is right makes no difference to what is observed
CHOSEN: dict[str, str | int] = {"definition": "default", "category": "merged", "rank": 0}


class ObservableError(UserError):
    """A histogram that does not hold this observable; the message names the axis and its values."""


def observable(histogram: Hist, chosen: Mapping[str, str | int], name: str = "histogram") -> Hist:
    """The histogram with the axes region, dataset and variation, as far as it has them, and one numeric axis.

    Axes that say whether something is correct are summed over. Every other axis needs a value: from ``chosen``, else from
    :data:`CHOSEN`, else the only one that it has.

    Raises
    ------
    ObservableError
        naming the axis that is open or that does not exist, and what could be chosen.
    """
    axes = {axis.name: axis for axis in histogram.axes}
    if unknown := sorted(set(chosen) - set(axes)):
        raise ObservableError(f"{name} has no axis {unknown[0]!r}; it has {', '.join(axes)}")
    places: dict[str, Any] = {}
    numeric = []
    for key, axis in axes.items():
        if key in KEPT and key not in chosen:
            continue
        if key in SUMMED and key not in chosen:
            places[key] = sum
        elif isinstance(axis, hist.axis.StrCategory):
            places[key] = hist.loc(_category(name, key, [str(value) for value in axis], chosen))
        elif isinstance(axis, hist.axis.Boolean) and key not in chosen:
            places[key] = sum
        elif key in chosen or key in CHOSEN:
            places[key] = _bin(name, axis, chosen.get(key, CHOSEN.get(key)))
        else:
            numeric.append(key)
    if len(numeric) != 1:
        raise ObservableError(
            f"{name} has the numeric axes {', '.join(numeric) or '(none)'}: choose a value of all but one, as in "
            f"{numeric[0] if numeric else 'n'}=0"
        )
    return histogram[places] if places else histogram


def in_words(histogram: Hist, chosen: Mapping[str, str | int], name: str) -> str:
    """``ranked_mass (Candidate mass [GeV]), rank=0``: an observable, its axis, and the choice on others, as in --select."""
    one = observable(histogram, chosen, name)
    labels = [axis.label for axis in one.axes if axis.name not in KEPT]
    picked = {a.name: chosen.get(a.name, CHOSEN.get(a.name)) for a in histogram.axes if a.name in {*chosen, *CHOSEN}}
    words = [f"{axis}={value}" for axis, value in picked.items() if axis != METHOD]
    return ", ".join([f"{name} ({labels[0]})" if labels[0] != name else name, *words])


def values_of(histogram: Hist, axis: str) -> list[str]:
    """The values of an axis of names; none where the histogram has no such axis."""
    return [str(value) for value in histogram.axes[axis]] if axis in [a.name for a in histogram.axes] else []


def _category(name: str, key: str, values: list[str], chosen: Mapping[str, str | int]) -> str:
    wanted = str(chosen.get(key, CHOSEN.get(key, "")))
    if wanted in values:
        return wanted
    if key not in chosen and len(values) == 1:
        return values[0]
    said = f"has no {wanted!r} on its axis {key!r}" if key in chosen else f"has several values on its axis {key!r}"
    raise ObservableError(f"{name} {said}: choose one of {', '.join(values)}")


def _bin(name: str, axis: Any, value: Any) -> Any:
    try:
        number = float(value)
    except ValueError:
        raise ObservableError(f"{name}: {axis.name}={value} must be a number") from None
    index = axis.index(number)
    if not 0 <= index < axis.size:
        raise ObservableError(
            f"{name}: {axis.name}={value} is outside the axis, {axis.edges[0]:g} to {axis.edges[-1]:g}"
        )
    return int(index)
