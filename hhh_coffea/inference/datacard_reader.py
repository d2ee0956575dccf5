"""A datacard of ``combine`` with histograms in ROOT files, as a workspace of pyhf.

It reads what :mod:`hhh_coffea.inference.datacards` writes, and the same subset of other datacards: template histograms,
``lnN``, ``shape`` with strength 1, ``autoMCStats``. Anything else is refused by name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyhf
import uproot

from hhh_coffea.inference.model import MEASUREMENT, MU, ModelError, Workspace, approximate_error
from hhh_coffea.inference.templates import FloatArray

IGNORED = {"imax", "jmax", "kmax"}


@dataclass
class _Card:
    """The lines of a datacard, by what they are."""

    shapes: list[list[str]] = field(default_factory=list)
    bins: list[list[str]] = field(default_factory=list)  # of the observations, then of the processes
    processes: list[list[str]] = field(default_factory=list)  # names, then numbers
    rates: list[str] = field(default_factory=list)
    nuisances: list[tuple[str, str, list[str]]] = field(default_factory=list)
    statistics: dict[str, float] = field(default_factory=dict)  # channel → threshold of autoMCStats


def read_datacard(path: Path) -> Workspace:
    """The model of a datacard; ``lnN`` becomes normsys, ``shape`` histosys, autoMCStats staterror or shapesys.

    Raises
    ------
    ModelError
        naming the file, and the line or histogram at fault.
    """
    card = _parse(path)
    columns = list(zip(card.bins[1], card.processes[0], card.processes[1], strict=True))
    channels = list(dict.fromkeys(card.bins[0]))
    found: list[dict[str, Any]] = []
    observations = []
    with _Files(path.parent, card.shapes) as files:
        for channel in channels:
            samples = []
            for index, (own, process, number) in enumerate(columns):
                if own == channel:
                    is_signal = int(number) <= 0
                    samples.append(_sample(card, files, index, channel, process, is_signal))
            found.append({"name": channel, "samples": samples})
            observations.append({"name": channel, "data": files.read(channel, "data_obs")[0].tolist()})
    poi = {"name": MU, "inits": [1.0], "bounds": [[0.0, _largest_mu(found)]]}
    workspace = {
        "version": "1.0.0",
        "channels": found,
        "observations": observations,
        "measurements": [{"name": MEASUREMENT, "config": {"poi": MU, "parameters": [poi]}}],
    }
    try:
        pyhf.schema.validate(workspace, "workspace.json")
    except pyhf.exceptions.InvalidSpecification as error:
        raise ModelError(f"{path}: no model can be made of it: {str(error).splitlines()[0]}") from None
    return workspace


def _parse(path: Path) -> _Card:
    card = _Card()
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: cannot be read as a datacard: {error}") from None
    for number, line in enumerate(lines, start=1):
        words = line.split("#")[0].split()
        if words and set(words[0]) != {"-"} and words[0] not in IGNORED and not _take(card, words[0], words[1:]):
            raise ModelError(f"{path}, line {number}: {' '.join(words[:2])!r} is not supported")
    complete = len(card.bins) == 2 and len(card.processes) == 2 and card.shapes and card.rates
    if not complete:
        raise ModelError(
            f"{path}: a datacard with histograms has lines 'shapes', 'bin', 'process' (two each) and 'rate'"
        )
    entries = {
        len(card.bins[1]),
        *(len(p) for p in card.processes),
        len(card.rates),
        *(len(n[2]) for n in card.nuisances),
    }
    if len(entries) != 1:
        raise ModelError(f"{path}: the lines of processes and nuisance parameters have different numbers of entries")
    return card


def _take(card: _Card, first: str, rest: list[str]) -> bool:
    """Keep one line; whether it is of a kind that can be read."""
    tables = {"shapes": card.shapes, "bin": card.bins, "process": card.processes}
    if first in tables:
        tables[first].append(rest)
    elif first == "rate":
        card.rates.extend(rest)
    elif len(rest) > 1 and rest[0] == "autoMCStats":
        card.statistics[first] = float(rest[1])
    elif len(rest) > 1 and rest[0] in {"lnN", "shape"}:
        card.nuisances.append((first, rest[0], rest[1:]))
    else:
        return first == "observation"  # the histograms have the events of each bin
    return True


def _sample(card: _Card, files: _Files, index: int, channel: str, process: str, is_signal: bool) -> dict[str, Any]:
    values, errors = files.read(channel, process)
    modifiers: list[dict[str, Any]] = []
    if is_signal:
        modifiers.append({"name": MU, "type": "normfactor", "data": None})
    for name, kind, entries in card.nuisances:
        if (entry := entries[index]) == "-":
            continue
        if kind == "lnN":
            low, _, high = entry.rpartition("/")
            factor = float(high)
            data: dict[str, Any] = {"lo": float(low) if low else 1 / factor, "hi": factor}
            modifiers.append({"name": name, "type": "normsys", "data": data})
        else:
            if float(entry) != 1:
                raise ModelError(
                    f"datacard: shape {name!r} of {process!r} has the strength {entry}; only 1 is supported"
                )
            up, down = (files.read(channel, process, name + end)[0].tolist() for end in ("Up", "Down"))
            modifiers.append({"name": name, "type": "histosys", "data": {"hi_data": up, "lo_data": down}})
    threshold = card.statistics.get(channel, card.statistics.get("*", -1))
    if threshold >= 0 and errors.any():
        modifiers.append(_statistics(threshold, channel, process, values, errors))
    return {"name": process, "data": values.tolist(), "modifiers": modifiers}


def _largest_mu(channels: list[dict[str, Any]]) -> float:
    signals, backgrounds = [], []
    for channel in channels:
        bins: dict[bool, FloatArray] = {kind: np.zeros(len(channel["samples"][0]["data"])) for kind in (True, False)}
        for sample in channel["samples"]:
            bins[any(m["type"] == "normfactor" for m in sample["modifiers"])] += sample["data"]
        signals.append(bins[True])
        backgrounds.append(bins[False])
    return 10 * max(1.0, approximate_error(np.concatenate(signals), np.concatenate(backgrounds), 0.1))


def _statistics(threshold: float, channel: str, process: str, values: FloatArray, errors: FloatArray) -> dict[str, Any]:
    """One parameter of the sum above the threshold of effective events, one of each process below."""
    with np.errstate(divide="ignore", invalid="ignore"):
        effective = np.where(errors > 0, (values / errors) ** 2, np.inf)
    if threshold == 0:
        return {"name": f"mc_statistics_{channel}", "type": "staterror", "data": errors.tolist()}
    if (effective[np.isfinite(effective)] > threshold).any():
        raise ModelError(f"datacard: autoMCStats {threshold:g} in {channel!r}; only 0, or above all bins, is supported")
    return {"name": f"uncorrelated_{channel}_{process}", "type": "shapesys", "data": errors.tolist()}


class _Files:
    """Histograms by the rules of the ``shapes`` lines; the last rule that fits counts."""

    def __init__(self, folder: Path, rules: list[list[str]]) -> None:
        self._folder, self._rules = folder, rules
        self._open: dict[str, Any] = {}

    def __enter__(self) -> _Files:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._open.values():
            file.close()

    def read(self, channel: str, process: str, source: str = "") -> tuple[FloatArray, FloatArray]:
        """Values and errors of a nominal histogram, or of one that ``source`` varies."""
        for rule in reversed(self._rules):
            if rule[0] in {"*", process} and rule[1] in {"*", channel}:
                pattern = rule[4] if source and len(rule) > 4 else rule[3]
                name = pattern.replace("$CHANNEL", channel).replace("$PROCESS", process)
                return self._histogram(rule[2], name.replace("$SYSTEMATIC", source))
        raise ModelError(f"datacard: no 'shapes' line for process {process!r} in {channel!r}")

    def _histogram(self, file: str, name: str) -> tuple[FloatArray, FloatArray]:
        path = self._folder / file
        try:
            if file not in self._open:
                self._open[file] = uproot.open(path)
            histogram = self._open[file][name]
            return np.asarray(histogram.values(), dtype=np.float64), np.asarray(histogram.errors(), dtype=np.float64)
        except (OSError, KeyError, AttributeError) as error:
            raise ModelError(f"{path}: no histogram {name!r} ({type(error).__name__})") from None
