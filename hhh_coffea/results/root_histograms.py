"""``histograms.root``: the histograms as TH1 and TH2, for combine, cabinetry, pyhf and ROOT itself.

Categories become folders: ``candidate_mass/HHH/chi2/default/merged/all``. An axis of two or three flags (``correct``,
``retrieved`` …) is split as well, into ``all`` and its values. What then has one axis is a TH1, two axes a TH2.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import hist
import uproot
from hist import Hist

from hhh_coffea.base.atomic import replacing

FLAGS: dict[str, tuple[tuple[str, int], ...]] = {
    "correct": (("correct", 1), ("wrong", 0), ("unknown", -1)),
    "retrieved": (("retrieved", True), ("not_retrieved", False)),
    "right": (("right", True), ("not_right", False)),
    "pure": (("pure", True), ("not_pure", False)),
    "efficient": (("efficient", True), ("not_efficient", False)),
}


def write_root(path: Path, histograms: Mapping[str, Hist]) -> list[str]:
    """Write every histogram that fits; returns the names of those that do not (none or more than two numeric axes).

    The file appears whole or not at all. Weighted histograms keep their sums of squared weights; bins keep under- and
    overflow.
    """
    left_out = []
    with replacing(path) as partial, uproot.recreate(partial) as file:
        for name in sorted(histograms):
            if all(isinstance(a, hist.axis.StrCategory | hist.axis.IntCategory) for a in histograms[name].axes):
                left_out.append(name)
                continue
            parts = list(_parts(histograms[name]))
            if any(len(part.axes) > 2 for _, part in parts):
                left_out.append(name)
                continue
            for place, part in parts:
                file["/".join((name, *place))] = _writable(part)
    return left_out


def _writable(histogram: Hist) -> Hist:
    """Integer counts as doubles, which is what ROOT's histograms hold; exact below 2^53."""
    if histogram.storage_type is not hist.storage.Int64:
        return histogram
    result = Hist(*histogram.axes, storage=hist.storage.Double())
    result.view(flow=True)[...] = histogram.view(flow=True)
    return result


def _parts(histogram: Hist) -> Iterator[tuple[tuple[str, ...], Hist]]:
    """Every combination of categories that was ever filled, and of flags, with its place."""
    categories = [a for a in histogram.axes if isinstance(a, hist.axis.StrCategory | hist.axis.IntCategory)]
    flags = [FLAGS[a.name] for a in histogram.axes if a.name in FLAGS]
    names = [a.name for a in histogram.axes if a.name in FLAGS]
    for values in itertools.product(*categories):
        chosen = {axis.name: hist.loc(value) for axis, value in zip(categories, values, strict=True)}
        filled = histogram[chosen] if chosen else histogram
        if not filled.values(flow=True).any():
            continue
        for flag in itertools.product(*(((("all", None)), *words) for words in flags)):
            index = {n: sum if value is None else hist.loc(value) for n, (_, value) in zip(names, flag, strict=True)}
            place = (*(re.sub("[/:]", "_", str(value)) for value in values), *(word for word, _ in flag))
            yield place, filled[index] if index else filled
