"""The head of every processor: read a chunk, select its events, match them to truth, truncate their jets. Written once."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt
from coffea.analysis_tools import PackedSelection

from hhh_coffea.base.once import Once
from hhh_coffea.datasets.fileset import DatasetMetadata
from hhh_coffea.datasets.nanoaod_options import NOMINAL
from hhh_coffea.events.formats import read
from hhh_coffea.events.record import selected, truncated, weights_of
from hhh_coffea.reconstruction.analysis import Analysis, jet_cut
from hhh_coffea.reconstruction.selection import Cutflow, cutflow, event_selection
from hhh_coffea.reconstruction.targets import Targets


@dataclass(frozen=True)
class Prepared:
    """A chunk, ready for the methods. ``record``, ``targets`` and ``weight`` are of its selected events alone."""

    record: ak.Array  # truncated: what methods may use
    targets: Mapping[str, Targets]  # by definition
    weight: npt.NDArray[np.float64]
    cutflow: Cutflow
    dropped: dict[str, int]  # objects set aside, by reason
    all_events: ak.Array  # before any cut
    selection: PackedSelection  # of all_events
    before_jet_cut: npt.NDArray[np.bool_]  # of all_events: those that pass the cuts before that on the number of jets

    def accounts(self, dataset: str) -> dict[str, dict[str, Any]]:
        """What every processor reports of a chunk, besides its own results."""
        return {"cutflow": {dataset: self.cutflow}, "dropped": {dataset: self.dropped}}

    def weighted(self, variation: str) -> Prepared:
        """The same selected events with the weights of a variation that changes nothing else."""
        weight = self.weight * ak.to_numpy(self.record.shifts[variation])
        return replace(self, record=ak.with_field(self.record, weight, "weight"), weight=weight)


def prepare(
    events: Any,
    metadata: DatasetMetadata,
    analysis: Analysis,
    definitions: Collection[str] = (),
    extra_features: Collection[str] = (),
    variation: str = NOMINAL,
    more_cuts: Mapping[str, Any] | None = None,
    shared: Once | None = None,
) -> Prepared:
    """NanoEvents → selected events with their targets in each of the definitions.

    Parameters
    ----------
    events, metadata
        a chunk and what is known of its dataset (:func:`hhh_coffea.events.formats.metadata_of`)
    analysis
        the declaration of what is looked for
    definitions
        ``default``, ``reference``: of truth matching
    extra_features
        what is read of large-radius jets (``tau21``) and of jets (``jets.n_charged``) beyond their kinematics
    variation
        a systematic variation (:func:`hhh_coffea.events.formats.variations`)
    more_cuts
        name → function of the record of all events that returns a mask; applied after all others
    shared
        the same one for all variations of a chunk: what they have in common is then computed once
    """
    all_events, dropped = read(events, metadata, extra_features, variation, analysis.collections, shared)
    if analysis.refine is not None:
        all_events = analysis.refine(all_events)
    selection = event_selection(all_events, metadata, analysis)
    early = selection.names[: selection.names.index(jet_cut(analysis.jets_required(metadata)))]
    for name, cut in (more_cuts or {}).items():
        selection.add(name, cut(all_events))
    steps = cutflow(selection, ak.to_numpy(all_events.weight), weights_of(all_events))
    record = selected(all_events, selection.all())
    kept = analysis.kept(metadata)
    targets = analysis.targets(record, definitions, metadata.is_signal, kept)
    weight = ak.to_numpy(record.weight)
    return Prepared(
        truncated(record, *kept), targets, weight, steps, dropped, all_events, selection, selection.all(*early)
    )
