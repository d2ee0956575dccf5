"""The energy of NanoAOD jets: regression or corrections, resolution, and their variations, applied to pT and mass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from hhh_coffea.base.arrays import IntArray, counts_of, event_index, position_in_event
from hhh_coffea.base.kinematics import FloatArray
from hhh_coffea.datasets.nanoaod_options import NOMINAL, JetCorrections
from hhh_coffea.events.nanoaod import corrections
from hhh_coffea.events.nanoaod.columns import flat_values, has, values
from hhh_coffea.events.nanoaod.corrections import Generated, RandomSeed
from hhh_coffea.events.nanoaod.names import REGRESSION_ORDER, REGRESSIONS, RHO
from hhh_coffea.events.record import Columns

JETS, FATJETS = "Jet", "FatJet"
FIELDS = {JETS: "jets", FATJETS: "fatjets"}  # what the metadata call them
RADIUS = {JETS: 0.4, FATJETS: 0.8}
GENERATED = {JETS: ("GenJet", "genJetIdx"), FATJETS: ("GenJetAK8", "genJetAK8Idx")}
Leaf = Callable[[str], npt.NDArray[Any]]


def corrected(
    events: Any,
    collection: str,
    counts: IntArray,
    columns: Columns,
    given: JetCorrections | None,
    variation: str,
    regressed: bool,
    version: int,
) -> Columns:
    """Scale pT and mass: regression or energy scale, then resolution, then the variation of the scale."""
    columns = dict(columns)
    if regressed:
        columns = _scaled(columns, _regression(events, columns["pt"], version))
    if given is None:
        return columns
    leaf = leaf_of(events, collection, "corrections")
    inputs = _correction_inputs(events, collection, counts, given, leaf)
    if given.jec is not None:
        columns = _scaled(columns, corrections.energy_scale(columns, inputs, leaf("rawFactor"), given))
    if given.resolution is not None:
        position = position_in_event(counts) + (0 if collection == JETS else 1 << 20)  # other random numbers
        entry = events.metadata["entrystart"] + event_index(counts)
        seed = RandomSeed(events.metadata["fileuuid"], entry, position)
        generated = _generated(events, collection, counts, leaf)
        factor = corrections.smearing(columns, inputs, given, variation, generated, RADIUS[collection], seed)
        columns = _scaled(columns, factor)
    if variation != NOMINAL and (shift := corrections.shift(columns, inputs, given, variation)) is not None:
        columns = _scaled(columns, shift)
    return columns


def _scaled(columns: Columns, factor: FloatArray) -> Columns:
    """The jets with their momentum and mass times a factor, in the precision of the file."""
    return {name: (x * factor).astype(x.dtype) if name in ("pt", "mass") else x for name, x in columns.items()}


def _regression(events: Any, pt: npt.NDArray[Any], version: int) -> FloatArray:
    """Regressed over stored pT; 1 where the network did not run (it then stores 0)."""
    for name in REGRESSION_ORDER[version]:
        branches_, of_raw = REGRESSIONS[name]
        if has(events, branches_[0]):
            factor = np.ones(len(pt))
            for branch in branches_:
                factor = factor * flat_values(events, branch, "metadata field 'nanoaod.use_regressed_pt'")
            if of_raw:
                factor = factor * (1.0 - flat_values(events, "Jet_rawFactor"))
            return np.where(factor > 0, factor, 1.0)
    wanted = [REGRESSIONS[name][0][0] for name in REGRESSION_ORDER[version]]
    raise KeyError(f"no branch {' or '.join(wanted)} (metadata field 'nanoaod.use_regressed_pt')")


def _correction_inputs(
    events: Any, collection: str, counts: IntArray, given: JetCorrections, leaf: Leaf
) -> dict[str, npt.NDArray[Any]]:
    """What the corrections need beyond the jets' kinematics, flat."""
    wanted = corrections.inputs_of(given, FIELDS[collection])
    inputs: dict[str, npt.NDArray[Any]] = {}
    event = event_index(counts)
    if "JetA" in wanted:
        inputs["JetA"] = leaf("area")
    if "Rho" in wanted:
        rho = next((name for name in RHO if has(events, name)), RHO[0])
        inputs["Rho"] = values(events, rho, "metadata field 'nanoaod.corrections'")[event]
    if "run" in wanted:
        inputs["run"] = values(events, "run")[event]
    return inputs


def _generated(events: Any, collection: str, counts: IntArray, leaf: Leaf) -> Generated:
    name, link = GENERATED[collection]
    gen_counts = counts_of(events[name].pt) if name in events.fields else None
    if gen_counts is None:
        raise KeyError(f"no branch {name}_pt (metadata field 'nanoaod.corrections': resolution needs generated jets)")
    starts = np.cumsum(gen_counts) - gen_counts
    event, index = event_index(counts), leaf(link).astype(np.int64)
    there = (index >= 0) & (index < gen_counts[event])
    flat_index = (starts[event] + index)[there]
    found = []
    for field, missing in (("pt", -1.0), ("eta", 0.0), ("phi", 0.0)):
        column = np.full(len(index), missing)
        column[there] = flat_values(events, f"{name}_{field}")[flat_index]
        found.append(column)
    return Generated(*found)


def leaf_of(events: Any, collection: str, field: str) -> Leaf:
    """Reader of a collection's leaves whose errors name the metadata field that needs them."""

    def leaf(name: str) -> npt.NDArray[Any]:
        return flat_values(events, f"{collection}_{name}", f"metadata field 'nanoaod.{field}'")

    return leaf
