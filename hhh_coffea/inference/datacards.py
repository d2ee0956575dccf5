"""A workspace as a datacard of ``combine`` with a ROOT file of its histograms.

https://cms-analysis.github.io/HiggsAnalysis-CombinedLimit/latest/part2/settinguptheanalysis/ (shape analysis) and
…/part2/bin-wise-stats/ (autoMCStats). How the modifiers of HistFactory are written:

- normsys: ``lnN`` with the factors down/up, or one factor where they are inverse to each other
- histosys: ``shape``, with the histograms ``process_sourceUp`` and ``process_sourceDown``
- staterror: ``autoMCStats 0``, one Gaussian parameter for the sum in each bin; its errors are those of the histograms
- shapesys: ``autoMCStats`` with a threshold above every number of effective events, one Poisson parameter for each
  process and bin. Where a channel has both, the errors of the histograms are the sum in quadrature, all Poisson.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hist
import numpy as np
import uproot
from hist import Hist

from hhh_coffea.base.atomic import replacing
from hhh_coffea.inference.model import ModelError, Workspace
from hhh_coffea.inference.templates import FloatArray, Templates

CARD, SHAPES = "datacard.txt", "shapes.root"
DATA = "data_obs"
EACH_PROCESS = 10**9  # autoMCStats: effective events below which every process has a parameter of its own


@dataclass(frozen=True)
class _Column:
    """One process in one channel."""

    channel: str
    process: str
    number: int  # 0 and below for signals
    sample: dict[str, Any]
    effects: dict[str, dict[str, str]]  # kind → nuisance parameter → entry


def write_datacard(folder: Path, workspace: Workspace, templates: Templates) -> None:
    """Write ``datacard.txt`` and ``shapes.root``, each whole or not at all.

    Parameters
    ----------
    folder
        is created if missing
    workspace
        of :func:`hhh_coffea.inference.model.build_workspace`
    templates
        what it was built of: bin edges, and statistical errors

    Raises
    ------
    ModelError
        for a modifier that a datacard cannot hold, or two names that become the same in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    columns = _columns(workspace, templates)
    observed = {o["name"]: np.asarray(o["data"], dtype=np.float64) for o in workspace["observations"]}
    edges = {region.name: region.edges for region in templates.regions}
    with replacing(folder / SHAPES) as partial, uproot.recreate(partial) as file:
        for channel, data in observed.items():
            file[f"{_plain(channel)}/{DATA}"] = _histogram(data, None, edges[channel])
        for column in columns:
            place, own = f"{_plain(column.channel)}/{_plain(column.process)}", edges[column.channel]
            file[place] = _histogram(np.asarray(column.sample["data"]), _errors(column.sample), own)
            for modifier in column.sample["modifiers"]:
                if modifier["type"] == "histosys":
                    for direction, key in (("Up", "hi_data"), ("Down", "lo_data")):
                        varied = np.asarray(modifier["data"][key], dtype=np.float64)
                        file[f"{place}_{_plain(modifier['name'])}{direction}"] = _histogram(varied, None, own)
    with replacing(folder / CARD) as partial:
        partial.write_text("\n".join(_card(workspace, columns, observed)) + "\n", encoding="utf-8")


def _columns(workspace: Workspace, templates: Templates) -> list[_Column]:
    poi = workspace["measurements"][0]["config"]["poi"]
    signals, backgrounds = list(templates.signals), list(templates.backgrounds)
    numbers = {name: 1 - len(signals) + i for i, name in enumerate(signals)}
    numbers |= {name: i + 1 for i, name in enumerate(backgrounds)}
    columns = []
    for channel in workspace["channels"]:
        for sample in channel["samples"]:
            effects: dict[str, dict[str, str]] = {"lnN": {}, "shape": {}}
            for modifier in sample["modifiers"]:
                kind, name = modifier["type"], modifier["name"]
                if kind == "normsys":
                    effects["lnN"][name] = _log_normal(modifier["data"]["lo"], modifier["data"]["hi"])
                elif kind == "histosys":
                    effects["shape"][name] = "1"
                elif not (kind in {"shapesys", "staterror"} or (kind == "normfactor" and name == poi)):
                    raise ModelError(f"datacard: no entry for the modifier {name!r} of type {kind!r}")
            columns.append(_Column(channel["name"], sample["name"], numbers[sample["name"]], sample, effects))
    every = (
        {c.channel for c in columns} | {c.process for c in columns} | {n for c in columns for n in c.effects["shape"]}
    )
    plain: dict[str, str] = {}
    for name in sorted(every):
        if (other := plain.setdefault(_plain(name), name)) != name:
            raise ModelError(f"datacard: the names {other!r} and {name!r} are both written {_plain(name)!r}")
    return columns


def _log_normal(low: float, high: float) -> str:
    return f"{high:.10g}" if abs(low * high - 1) < 1e-12 else f"{low:.10g}/{high:.10g}"


def _errors(sample: dict[str, Any]) -> FloatArray:
    """What autoMCStats reads from the histogram: the uncertainties of bins, in quadrature."""
    parts = [np.asarray(m["data"]) for m in sample["modifiers"] if m["type"] in {"shapesys", "staterror"}]
    return np.sqrt(np.sum(np.square(parts), axis=0)) if parts else np.zeros(len(sample["data"]))


def _histogram(values: FloatArray, errors: FloatArray | None, edges: FloatArray) -> Hist:
    axis = hist.axis.Variable(edges, name="observable", flow=False)
    if errors is None:
        return Hist(axis, storage=hist.storage.Double(), data=values)
    result = Hist(axis, storage=hist.storage.Weight())
    result.view().value, result.view().variance = values, errors**2
    return result


def _card(workspace: Workspace, columns: list[_Column], observed: dict[str, FloatArray]) -> list[str]:
    channels = [channel["name"] for channel in workspace["channels"]]
    nuisances = [(kind, name) for kind in ("lnN", "shape") for name in _names(columns, kind)]
    lines = [
        f"imax {len(channels)}",
        f"jmax {len({column.process for column in columns}) - 1}",
        "kmax *",
        "-" * 40,
        f"shapes * * {SHAPES} $CHANNEL/$PROCESS $CHANNEL/$PROCESS_$SYSTEMATIC",
        "-" * 40,
        _row("bin", "", [_plain(name) for name in channels]),
        _row("observation", "", [f"{observed[name].sum():.10g}" for name in channels]),
        "-" * 40,
        _row("bin", "", [_plain(c.channel) for c in columns]),
        _row("process", "", [_plain(c.process) for c in columns]),
        _row("process", "", [str(c.number) for c in columns]),
        _row("rate", "", [f"{sum(c.sample['data']):.10g}" for c in columns]),
        "-" * 40,
        *(_row(_plain(name), kind, [c.effects[kind].get(name, "-") for c in columns]) for kind, name in nuisances),
    ]
    for channel in channels:
        kinds = {m["type"] for c in columns if c.channel == channel for m in c.sample["modifiers"]}
        if "shapesys" in kinds:
            lines.append(f"{_plain(channel)} autoMCStats {EACH_PROCESS}")
        elif "staterror" in kinds:
            lines.append(f"{_plain(channel)} autoMCStats 0")
    return lines


def _names(columns: list[_Column], kind: str) -> list[str]:
    return sorted({name for column in columns for name in column.effects[kind]})


def _row(name: str, kind: str, entries: list[str]) -> str:
    return f"{name:<28} {kind:<6} " + " ".join(f"{entry:<18}" for entry in entries).rstrip()


def _plain(name: str) -> str:
    """Without the characters that separate words and paths in a datacard."""
    return re.sub(r"[^A-Za-z0-9_.+-]", "_", name)
