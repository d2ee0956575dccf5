"""Training data for SPANet: selected events with their truth as padded arrays, one shard a chunk.

``hhh train data`` runs it; so does ``--processor training_data`` of the main job, with the parameters
below at their defaults. It is a stock coffea processor.
"""

from __future__ import annotations

from pathlib import Path

from coffea.processor import ProcessorABC

from hhh_coffea.analyses import Analyses, analysis_of
from hhh_coffea.events.formats import branches_of, metadata_of
from hhh_coffea.methods.spanet_inputs import extra_features_of
from hhh_coffea.reconstruction.prepare import prepare
from hhh_coffea.training.spanet_data import TrainingSpecification, training_rows, write_schema, write_shard


class TrainingDataProcessor(ProcessorABC):
    """Select events, match them to truth, and write them as a training data directory.

    Parameters
    ----------
    topology
        bundled event topology or path of an event YAML: which features, which targets
    data
        directory to write
    truth_definition
        ``default`` or ``reference``: which objects count as those of a particle
    btagging
        ``upart`` or ``csv`` throws the b tags of Delphes jets anew, unless the dataset says otherwise
    """

    def __init__(
        self,
        topology: str = "hhh",
        data: str | Path = "training_data",
        truth_definition: str = "default",
        btagging: str | None = None,
        analyses: Analyses | None = None,
    ) -> None:
        self.specification = TrainingSpecification.of(topology)
        self.data = Path(data).resolve()
        self.truth_definition = truth_definition
        self.btagging = btagging
        self.analyses = dict(analyses or {})
        self.extra_features = extra_features_of(self.specification.topology)

    def branches(self, metadata):
        """Branches read from files of a dataset: lets the engine size its chunks and describe only these."""
        return branches_of(metadata, self.extra_features, analysis_of(metadata, self.analyses).collections)

    def process(self, events):
        dataset = events.metadata["dataset"]
        metadata = metadata_of(events, self.btagging)
        analysis = analysis_of(metadata, self.analyses)
        self.specification.check(dataset, analysis)
        (definition,) = analysis.asked_for([self.truth_definition])
        prepared = prepare(events, metadata, analysis, [definition], self.extra_features)
        rows = training_rows(
            prepared.record,
            prepared.targets[definition],
            self.specification,
            analysis,
            metadata,
            events.metadata["fileuuid"],
        )
        return {
            "shards": write_shard(self.data, rows, events.metadata),
            **prepared.accounts(dataset),
        }

    def postprocess(self, accumulator):
        write_schema(self.data, self.specification.topology, accumulator["shards"], self.truth_definition)
        return accumulator
