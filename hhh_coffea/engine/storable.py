"""What processors return, as JSON that gives back the very same values: nothing is pickled, nothing is executed.

Dicts, lists, sets, numbers, text, numpy arrays and histograms, nested as one likes; anything else is refused by name.
Floats keep every bit (Python prints the shortest text that reads back the same), category axes keep their order.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import uhi.io.json
from hist import Hist

FACTORIES: dict[str, Callable[[], Any]] = {f.__name__: f for f in (int, float, str, list, set, dict)}
SEQUENCES: dict[str, Callable[[Any], Any]] = {f.__name__: f for f in (list, tuple, set, frozenset)}


class UnstorableError(TypeError):
    """A value of a type that cannot be stored; the message names the type and where it is."""


def encode(value: Any, where: str = "output") -> Any:
    """JSON-able form of a processor's output: plain values as they are, all others as ``[type, content]``.

    Raises
    ------
    UnstorableError
        naming the first value that has no such form.
    """
    kind = type(value)
    if value is None or kind in (bool, int, float, str):
        return value
    name = kind.__name__
    if kind in (dict, Counter):
        return [name, [[encode(k, where), encode(v, f"{where}[{k!r}]")] for k, v in value.items()]]
    if kind is defaultdict and getattr(value.default_factory, "__name__", "") in FACTORIES:
        return [name, value.default_factory.__name__, encode(dict(value), where)]
    if kind in (list, tuple, set, frozenset):
        return [name, [encode(item, where) for item in value]]
    if kind is Hist:
        return _encode_histogram(value)
    if (
        (kind is np.ndarray or isinstance(value, np.generic))
        and value.dtype.kind in "biufU"
        and value.dtype != np.longdouble
    ):
        return ["numpy", value.dtype.str, list(value.shape), np.ravel(value).tolist()]
    raise UnstorableError(f"{where} is a {kind.__module__}.{kind.__qualname__}")


def _encode_histogram(value: Any) -> Any:
    """The JSON writer asks uhi for its form; but for means that has variances, which empty bins do not have."""
    if value.kind != "MEAN":
        return ["Hist", value]
    view = value.view(flow=True)
    return ["Mean", value.copy().reset(), {field: np.ravel(view[field]).tolist() for field in view.dtype.names}]


def decode(raw: Any) -> Any:
    """The value that :func:`encode` was given."""
    if not isinstance(raw, list):
        return raw
    kind = raw[0]
    if kind in ("dict", "Counter"):
        return (dict if kind == "dict" else Counter)({decode(k): decode(v) for k, v in raw[1]})
    if kind == "defaultdict":
        return defaultdict(FACTORIES[raw[1]], decode(raw[2]))
    if kind in ("Hist", "Mean"):
        histogram: Any = Hist(raw[1])
        for field, numbers in raw[2].items() if kind == "Mean" else ():
            view = histogram.view(flow=True)
            view[field] = np.reshape(numbers, view.shape)
        return histogram
    if kind == "numpy":
        array = np.array(raw[3], dtype=np.dtype(raw[1])).reshape(raw[2])
        return array if raw[2] else array[()]
    return SEQUENCES[kind](decode(item) for item in raw[1])


json_default = uhi.io.json.default
json_hook = uhi.io.json.object_hook
