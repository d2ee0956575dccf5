"""Event selection: named cuts through coffea's PackedSelection, and their cutflow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt
from coffea.analysis_tools import PackedSelection, Weights

from hhh_coffea.datasets.fileset import DatasetMetadata
from hhh_coffea.events.record import cuts_of
from hhh_coffea.reconstruction.analysis import Analysis, jet_cut, jet_mask

Cutflow = dict[str, dict[str, float]]


def event_selection(record: ak.Array, metadata: DatasetMetadata, analysis: Analysis) -> PackedSelection:
    """Build the cuts, in the order they are applied.

    ``finite weight``; the format's own cuts (trigger, …) where the metadata ask for them; the cuts of the analysis;
    ``≥ N jets``; its late cuts. For Delphes no trigger or jet ID, as published.
    """
    selection = PackedSelection()
    selection.add("finite weight", np.isfinite(ak.to_numpy(record.weight)))
    for name, mask in cuts_of(record).items():
        selection.add(name, mask)
    required = analysis.jets_required(metadata)
    for name, mask in (
        *analysis.masks("cuts", record, metadata.is_signal).items(),
        (jet_cut(required), jet_mask(record, required)),
        *analysis.masks("late_cuts", record, metadata.is_signal).items(),
    ):
        selection.add(name, mask)  # ValueError for a name that is there already
    return selection


def cutflow(
    selection: PackedSelection, weight: npt.NDArray[Any], factors: Mapping[str, npt.NDArray[np.float64]] | None = None
) -> Cutflow:
    """Events and sum of weights after each cut, all those before it included; the first row is all events.

    The rows of the cuts carry ``weight`` (the generator's); for each of the named ``factors`` a row follows, in which it
    is applied with those before it.
    """
    generator = np.where(np.isfinite(weight), weight, 0.0)
    weights = Weights(len(weight))
    weights.add("generator", generator)
    result = selection.cutflow(*selection.names, weights=weights).result()
    names = ["all events", *selection.names]
    rows = {
        name: {"events": int(events), "weighted": float(weighted)}
        for name, events, weighted in zip(names, result.nevcutflow, result.wgtevcutflow, strict=True)
    }
    passed = selection.all()
    for name, factor in (factors or {}).items():
        generator = generator * factor
        rows[f"weight: {name}"] = {"events": int(passed.sum()), "weighted": float(generator[passed].sum())}
    return rows
