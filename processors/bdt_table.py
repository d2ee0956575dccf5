"""The table a BDT is trained on: one row a fat jet, with its features and whether it is a Higgs boson.

``python -m hhh_coffea.train bdt`` runs this; a plain coffea ``Runner`` can too.
"""

from __future__ import annotations

from pathlib import Path

import awkward as ak
import numpy as np
from coffea.processor import ProcessorABC

from hhh_coffea.events.formats import branches_of, metadata_of, read
from hhh_coffea.events.record import selected, truncated, weights_of
from hhh_coffea.reconstruction import targets as truth
from hhh_coffea.reconstruction.selection import cutflow, event_selection
from hhh_coffea.training.bdt_table import DEFAULT_FEATURES, write_part


class BdtTableProcessor(ProcessorABC):
    """Write the fat jets that the method will see: those kept, of events that pass the selection.

    Signal is a fat jet matched to a Higgs boson (``default`` truth); background is every other fat jet of signal events
    and all fat jets of background events.

    Parameters
    ----------
    table
        folder that takes one parquet file a chunk
    features
        fields of the event record's fat jets
    validation_fraction
        share of events marked as validation
    """

    def __init__(
        self,
        table: str | Path,
        features: tuple[str, ...] = DEFAULT_FEATURES,
        validation_fraction: float = 0.2,
    ) -> None:
        self.table = table
        self.features = tuple(features)
        self.validation_fraction = validation_fraction
        self.fatjet_features = [name for name in features if name not in ("pt", "eta", "phi", "mass")]

    def branches(self, metadata):
        """Branches read from files of a dataset: lets the engine size its chunks and describe only these."""
        return branches_of(metadata, self.fatjet_features)

    def process(self, events):
        """Select events, match their fat jets to truth, write them; returns cutflow and rows by class."""
        dataset = events.metadata["dataset"]
        metadata = metadata_of(events)
        record, dropped = read(events, metadata, self.fatjet_features)
        selection = event_selection(record, metadata)
        output = {
            "cutflow": {dataset: cutflow(selection, ak.to_numpy(record.weight), weights_of(record))},
            "dropped": {dataset: dropped},
        }
        record = selected(record, selection.all())
        if metadata.is_signal:
            targets = truth.match(record, metadata.n_higgs, metadata.selection.max_jets, metadata.max_fatjets)
        else:
            targets = truth.no_targets(len(record), metadata.n_higgs)
        record = truncated(record, metadata.selection.max_jets, metadata.max_fatjets)
        signal = write_part(
            self.table, events.metadata, record, targets.fatjet, self.features, self.validation_fraction
        )
        output["rows"] = {dataset: {"signal": int(signal.sum()), "background": int(np.sum(~signal))}}
        return output

    def postprocess(self, accumulator):
        """Nothing to do once all chunks are in."""
        return accumulator
