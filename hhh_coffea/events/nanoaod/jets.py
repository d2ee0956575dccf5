"""The energy of NanoAOD jets: regression or corrections, resolution, and their variations, applied to pT and mass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hhh_coffea.base.arrays import IntArray, counts_of, event_index, position_in_event
from hhh_coffea.base.kinematics import FloatArray
from hhh_coffea.base.once import Once
from hhh_coffea.datasets.nanoaod_options import DIRECTIONS, JER, NOMINAL, JetCorrections
from hhh_coffea.events.nanoaod import corrections
from hhh_coffea.events.nanoaod.columns import flat_values, has, kinematics, values
from hhh_coffea.events.nanoaod.corrections import Generated, RandomSeed, Thrown
from hhh_coffea.events.nanoaod.names import REGRESSION_ORDER, REGRESSIONS, RHO
from hhh_coffea.events.record import Columns

JETS, FATJETS = "Jet", "FatJet"
FIELDS = {JETS: "jets", FATJETS: "fatjets"}  # what the metadata call them
RADIUS = {JETS: 0.4, FATJETS: 0.8}
GENERATED = {JETS: ("GenJet", "genJetIdx"), FATJETS: ("GenJetAK8", "genJetAK8Idx")}
UP = DIRECTIONS[0]
Leaf = Callable[[str], npt.NDArray[Any]]


def affects(given: JetCorrections | None, variation: str) -> bool:
    """Whether a variation moves the jets of a collection with these corrections."""
    source = variation.rpartition("_")[0]
    return given is not None and (source in given.uncertainties or (source == JER and given.resolution is not None))


@dataclass(frozen=True)
class Jets:
    """The jets of one collection of a chunk: as stored, regressed, and with any variation of their energy."""

    events: Any
    collection: str
    counts: IntArray
    stored: Columns  # flat pt eta phi mass of the file
    regressed: Columns
    given: JetCorrections | None
    once: Once

    @classmethod
    def of(
        cls, events: Any, collection: str, version: int, regressed: bool, given: JetCorrections | None, once: Once
    ) -> Jets:
        """Read a collection."""
        counts, stored = once((collection, "stored"), lambda: kinematics(events, collection))
        own = stored
        if regressed:
            own = once((collection, "regressed"), lambda: _scaled(stored, _regression(events, stored["pt"], version)))
        return cls(events, collection, counts, stored, own, given, once)

    def varied(self, variation: str) -> Columns:
        """pT and mass with energy scale, then resolution, then the variation of the scale: a dict of the caller's own."""
        if self.given is None:
            return dict(self.regressed)
        way = variation if variation.rpartition("_")[0] == JER else NOMINAL
        columns = self.once((self.collection, "smeared", way), lambda: self._smeared(way))
        source, _, direction = variation.rpartition("_")
        if source not in self.given.uncertainties:
            return dict(columns)
        delta = self.once((self.collection, "shift", source), lambda: self._shift(source, columns))
        return _scaled(columns, 1 + delta if direction == UP else 1 - delta)

    def _smeared(self, variation: str) -> Columns:
        columns = self.once((self.collection, "scaled"), self._energy_scale)
        assert self.given is not None
        if self.given.resolution is None:
            return columns
        thrown = self.once((self.collection, "thrown"), lambda: self._thrown(columns))
        inputs = self._inputs()
        return _scaled(columns, corrections.smearing(columns, inputs, self.given, variation, thrown))

    def _energy_scale(self) -> Columns:
        assert self.given is not None
        if self.given.jec is None:
            return self.regressed
        raw_factor = self._leaf()("rawFactor")
        return _scaled(self.regressed, corrections.energy_scale(self.regressed, self._inputs(), raw_factor, self.given))

    def _thrown(self, columns: Columns) -> Thrown:
        position = position_in_event(self.counts) + (0 if self.collection == JETS else 1 << 20)  # other random numbers
        entry = self.events.metadata["entrystart"] + event_index(self.counts)
        seed = RandomSeed(self.events.metadata["fileuuid"], entry, position)
        generated = _generated(self.events, self.collection, self.counts, self._leaf())
        assert self.given is not None
        return corrections.throw(columns, self._inputs(), self.given, generated, RADIUS[self.collection], seed)

    def _shift(self, source: str, columns: Columns) -> FloatArray:
        assert self.given is not None
        return corrections.shift(columns, self._inputs(), self.given, source)

    def _inputs(self) -> dict[str, npt.NDArray[Any]]:
        assert self.given is not None
        given, leaf = self.given, self._leaf()
        return self.once(
            (self.collection, "inputs"),
            lambda: _correction_inputs(self.events, self.collection, self.counts, given, leaf),
        )

    def _leaf(self) -> Leaf:
        return leaf_of(self.events, self.collection, "corrections")


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
