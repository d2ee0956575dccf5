"""What a processor may return: checked with every chunk, and taken apart into histograms and other values in the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping, MutableSet
from typing import Any

import boost_histogram
from coffea.processor import column_accumulator, value_accumulator
from hist import Hist

from hhh_coffea.base.errors import UserError

Path = tuple[str, ...]


class OutputError(UserError):
    """What a processor returned cannot be used; the message says where in it."""


def check(output: Any) -> None:
    """Refuse what could not be added up with other chunks' or not be written, as long as only this chunk is lost for it.

    Raises
    ------
    OutputError
        naming the first such value.
    """
    for path, value in leaves(output):
        if not isinstance(value, MutableSet) and not hasattr(type(value), "__add__"):
            kind = type(value)
            raise OutputError(f"{_named(path)} is {kind.__module__}.{kind.__qualname__}, which cannot be added up")
    split(output)


def split(output: Any) -> tuple[dict[str, Hist], dict[Path, Any]]:
    """Histograms by name, and all other values by where they are.

    Histograms may be nested in dicts and lists; their names are then joined by ``/`` (the top level ``histograms`` is left
    out).

    Raises
    ------
    OutputError
        for two values of one name.
    """
    histograms: dict[str, Hist] = {}
    rest: dict[Path, Any] = {}
    for path, value in leaves(output):
        if not isinstance(value, Hist):
            if path in rest:
                raise OutputError(f"two values are called {_named(path)}")
            rest[path] = value
            continue
        name = "/".join(path[1:] if len(path) > 1 and path[0] == "histograms" else path) or "histogram"
        if name in histograms:
            raise OutputError(f"two histograms are called {name!r}")
        histograms[name] = value
    return histograms, rest


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """(where, value) of all that is in nested dicts; lists are taken apart if they hold histograms."""
    value = _unwrapped(value)
    if isinstance(value, MutableMapping | Mapping):
        for key, inner in value.items():
            yield from leaves(inner, (*path, str(key)))
    elif isinstance(value, list | tuple) and any(isinstance(item, boost_histogram.Histogram) for item in value):
        for number, inner in enumerate(value):
            yield from leaves(inner, (*path, str(number)))
    else:
        yield path, value


def _unwrapped(value: Any) -> Any:
    """The content of coffea's accumulators, and any kind of histogram as ``Hist``."""
    if isinstance(value, column_accumulator | value_accumulator):
        value = value.value
    return Hist(value) if isinstance(value, boost_histogram.Histogram) and not isinstance(value, Hist) else value


def _named(path: Path) -> str:
    return "output" + "".join(f"[{part!r}]" for part in path)
