"""Example of a processor with options: the pT of the leading jets of selected events."""

import awkward as ak
import hist
from coffea.processor import ProcessorABC

from hhh_coffea.analyses import analysis_of
from hhh_coffea.events.formats import branches_of, metadata_of, read
from hhh_coffea.reconstruction.selection import event_selection


class LeadingJets(ProcessorABC):
    def __init__(self, n_jets: int = 2, pt_min: float = 20.0) -> None:
        self.n_jets, self.pt_min = n_jets, pt_min

    def branches(self, metadata):
        return branches_of(metadata, (), analysis_of(metadata).collections)

    def process(self, events):
        metadata = metadata_of(events)
        analysis = analysis_of(metadata)
        record = read(events, metadata, collections=analysis.collections).record
        record = record[event_selection(record, metadata, analysis).all()]
        pt = ak.sort(record.jets.pt, axis=1, ascending=False)[:, : self.n_jets]
        histogram = hist.Hist(
            hist.axis.StrCategory([], growth=True, name="dataset"),
            hist.axis.Regular(50, 0, 500, name="pt", label="Jet pT [GeV]"),
        )
        histogram.fill(dataset=events.metadata["dataset"], pt=ak.flatten(pt[pt > self.pt_min]))
        return {"histograms": {"leading_pt": histogram}}

    def postprocess(self, accumulator):
        return accumulator
