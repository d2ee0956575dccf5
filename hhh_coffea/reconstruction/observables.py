"""What is measured of an event, and where: observables and regions that a user declares as expressions.

``sum(jets.btag) >= 5`` is a region, ``candidates.mass[0]`` an observable. ``candidates`` are those of a method that survive
overlap removal, by falling pT; ``jets``, ``fatjets``, ``leptons``, ``met`` and ``sum_et`` are those of the event record
(:mod:`hhh_coffea.events.record`). :mod:`hhh_coffea.base.expressions` is the language.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

import awkward as ak
import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator, Field, StringConstraints, model_validator

from hhh_coffea.base.arrays import counts_of, event_index, flat, unflatten
from hhh_coffea.base.expressions import ExpressionError, parse
from hhh_coffea.base.strict import Strict
from hhh_coffea.reconstruction.candidates import FIELDS

OBJECTS = ("candidates", "jets", "fatjets", "leptons", "met", "sum_et")
CANDIDATE = ("pt", "eta", "phi", "mass", "assignment_probability", "detection_probability", "probability")
EVERYWHERE = "all"  # the region of all events: the only one where none is declared


def _checked(text: str) -> str:
    try:
        parse(text, OBJECTS)
    except ExpressionError as error:
        raise ValueError(str(error)) from None
    return text


ExpressionText = Annotated[str, AfterValidator(_checked)]
NAME = r"^[A-Za-z0-9][A-Za-z0-9_]*$"
Name = Annotated[str, StringConstraints(pattern=NAME)]


def _not_everywhere(name: str) -> str:
    if name == EVERYWHERE:
        raise ValueError(f"region {name!r}: that is the name of all events; choose another")
    return name


RegionName = Annotated[Name, AfterValidator(_not_everywhere)]


def check_region(where: str, name: str, text: str) -> None:
    """Check a region that is declared in code.

    Raises
    ------
    ValueError
        with ``where``, for a name that is none or an expression that cannot be read.
    """
    if not re.match(NAME, name):
        raise ValueError(f"{where}: region {name!r}: a name has letters, digits and _")
    try:
        _not_everywhere(name)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    try:
        parse(text, OBJECTS)
    except ExpressionError as error:
        raise ValueError(f"{where}: region {name!r}: {error}") from None


class EventObservable(Strict):
    """One value of each event, and the bins that it is counted in; an event without a value is not counted."""

    value: ExpressionText
    bins: int = Field(ge=1, le=10_000)
    low: float = Field(allow_inf_nan=False)
    high: float = Field(allow_inf_nan=False)
    label: str = ""

    @model_validator(mode="after")
    def _rising(self) -> EventObservable:
        if not self.low < self.high:
            raise ValueError(f"low = {self.low:g} is not below high = {self.high:g}")
        return self


def read_observable(text: str) -> dict[str, Any]:
    """``EXPRESSION@BINS,LOW,HIGH[,LABEL]`` of the command line; ``EventObservable`` validates the parts.

    Raises
    ------
    ValueError
        if it has another form.
    """
    value, at, rest = text.partition("@")
    parts = [part.strip() for part in rest.split(",", 3)]
    try:
        bins, low, high = int(parts[0]), float(parts[1]), float(parts[2])
    except (IndexError, ValueError):
        at = ""
        bins, low, high = 0, 0.0, 0.0
    if not at:
        raise ValueError(f"{text!r} is not EXPRESSION@BINS,LOW,HIGH or EXPRESSION@BINS,LOW,HIGH,LABEL")
    label = parts[3] if len(parts) > 3 else ""
    return {"value": value.strip(), "bins": bins, "low": low, "high": high, "label": label}


def objects_of(record: ak.Array, candidates: ak.Array, surviving: npt.NDArray[np.bool_]) -> dict[str, ak.Array]:
    """What expressions may speak of: the collections of a record, and its surviving candidates (flat mask) by falling pT."""
    kept = np.flatnonzero(surviving)
    event = event_index(counts_of(candidates.pt))[kept]
    order = kept[np.lexsort((-flat(candidates.pt)[kept], event))]
    names = [name for name in candidates.fields if name in CANDIDATE or name not in FIELDS]  # what methods add as well
    columns = {name: flat(candidates[name])[order] for name in names}
    own = unflatten(columns, np.bincount(event, minlength=len(candidates)))
    return {"candidates": own, **{name: record[name] for name in OBJECTS if name in record.fields}}


def in_regions(regions: Mapping[str, str], objects: Mapping[str, Any]) -> dict[str, npt.NDArray[np.bool_]]:
    """Events ``(N,)`` of each region; of all events where none is declared.

    Raises
    ------
    ExpressionError
        for a region that is a number and not a condition.
    """
    if not regions:
        return {EVERYWHERE: np.ones(len(objects["candidates"]), dtype=bool)}
    found = {}
    for name, text in regions.items():
        mask = parse(text, OBJECTS)(objects)
        if mask.dtype != np.bool_:
            raise ExpressionError(f"region {name!r}: {text!r} is a number, not a condition: compare it")
        found[name] = mask
    return found


def values_of(observable: EventObservable, objects: Mapping[str, Any]) -> npt.NDArray[np.float64]:
    """Value of each event ``(N,)``; NaN where there is none."""
    return parse(observable.value, OBJECTS)(objects).astype(np.float64)
