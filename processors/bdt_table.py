"""The table a BDT is trained on: one row a large-radius jet, with its features and whether it is a target.

``hhh train bdt`` runs this; a plain coffea ``Runner`` can too.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from coffea.processor import ProcessorABC

from hhh_coffea.analyses import analysis_of
from hhh_coffea.events.formats import branches_of, metadata_of
from hhh_coffea.reconstruction.prepare import prepare
from hhh_coffea.training.bdt_table import DEFAULT_FEATURES, write_part


class BdtTableProcessor(ProcessorABC):
    """Write the large-radius jets that the method will see: those kept, of events that pass the selection.

    Signal is a large-radius jet that is a target (``default`` truth); background is every other large-radius jet of signal events
    and all large-radius jets of background events.

    Parameters
    ----------
    table
        folder that takes one parquet file a chunk
    features
        fields of the event record's large-radius jets
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
        self.extra_features = [name for name in features if name not in ("pt", "eta", "phi", "mass")]

    def branches(self, metadata):
        """Branches read from files of a dataset: lets the engine size its chunks and describe only these."""
        return branches_of(metadata, self.extra_features, analysis_of(metadata).collections)

    def process(self, events):
        """Select events, match their large-radius jets to truth, write them; returns cutflow and rows by class."""
        dataset = events.metadata["dataset"]
        metadata = metadata_of(events)
        analysis = analysis_of(metadata)
        prepared = prepare(events, metadata, analysis, ["default"], self.extra_features)
        kind = next(k for k in analysis.kinds.values() if k.collections == ("fatjets",))
        fatjet = prepared.targets["default"].objects[kind.name][..., 0]
        signal = write_part(
            self.table, events.metadata, prepared.record, fatjet, self.features, self.validation_fraction
        )
        rows = {"signal": int(signal.sum()), "background": int(np.sum(~signal))}
        return {**prepared.accounts(dataset), "rows": {dataset: rows}}

    def postprocess(self, accumulator):
        """Nothing to do once all chunks are in."""
        return accumulator
