"""Systematic variations of NanoAOD events: jet energy scale and resolution, b tagging.

Each file is read once. A variation of the weights fills the candidates of the nominal events with another weight; a
variation of the jets selects and reconstructs anew, and only the events that it changes.
"""

from __future__ import annotations

from dataclasses import replace

import awkward as ak
from coffea.processor import ProcessorABC

from hhh_coffea.analyses import Analyses, analysis_of
from hhh_coffea.base.arrays import counts_of, flat
from hhh_coffea.base.once import Once
from hhh_coffea.datasets.nanoaod_options import NOMINAL
from hhh_coffea.events.formats import describe, metadata_of, variations
from hhh_coffea.methods import (
    branches_for,
    check_trained_on,
    fatjet_features,
    method_options,
    reconstruct,
)
from hhh_coffea.reconstruction.observables import EventObservable
from hhh_coffea.reconstruction.prepare import prepare
from hhh_coffea.results import event_observables, systematics


class SystematicsProcessor(ProcessorABC):
    """Candidate masses and selected events of every variation that a dataset's metadata describe.

    Parameters
    ----------
    methods, chi2_jets, chi2_mass, bdt, bdt_wp, model, device
        as in the main job
    regions, observables
        as in the main job; every observable is filled in every region with every variation
    """

    def __init__(
        self,
        methods: tuple[str, ...] = ("chi2",),
        chi2_jets: int | None = None,
        chi2_mass: float = 125.0,
        bdt: str = "hbb_bdt",
        bdt_wp: str | float = "loose",
        model: tuple[str, ...] = (),
        device: str = "auto",
        analyses: Analyses | None = None,
        regions: dict | None = None,
        observables: dict | None = None,
        accept_foreign_model: bool = False,
    ) -> None:
        self.options = method_options(methods, chi2_jets, chi2_mass, bdt, bdt_wp, model, device)
        self.options = replace(self.options, accept_foreign_model=accept_foreign_model)
        self.methods = self.options.methods
        self.analyses = dict(analyses or {})
        self.regions = dict(regions or {})
        self.observables = {name: EventObservable.model_validate(one) for name, one in (observables or {}).items()}
        self.models = self.options.models()  # for provenance.json
        self.wants_gpu = bool(
            self.options.spanet or self.options.pdnn
        )  # its chunks go to workers with a GPU where there are such

    def branches(self, metadata):
        """Branches read from files of a dataset: lets the engine size its chunks and describe only these."""
        return branches_for(self.methods, analysis_of(metadata, self.analyses), self.options, metadata)

    def process(self, events):
        """Read, select and reconstruct once for each variation of the jets; fill once for each variation."""
        dataset = events.metadata["dataset"]
        metadata = metadata_of(events)
        analysis = analysis_of(metadata, self.analyses)
        check_trained_on(self.options.needs(self.methods, analysis), self.options, metadata.format)
        features = fatjet_features(self.methods, self.options, analysis)
        booked = systematics.book() | event_observables.book(analysis, self.observables, with_variations=True)
        output = {"histograms": booked, "read_as": {dataset: {describe(events, metadata)}}, "regions": {dataset: {}}}

        def found_in(record):
            return reconstruct({"default": self.methods}, record, analysis, self.options)["default"]

        shared = Once()
        for shape, names in variations(metadata).items():
            prepared = prepare(events, metadata, analysis, fatjet_features=features, variation=shape, shared=shared)
            record = prepared.record
            n_jets = counts_of(prepared.all_events.jets.pt)[prepared.selection.all()]
            if shape == NOMINAL:
                output |= prepared.accounts(dataset)
                nominal, nominal_found = record, found_in(record)
                found = nominal_found
            else:
                found = systematics.reconstruct_changed(found_in, nominal, nominal_found, record)
            weight = ak.to_numpy(record.weight)
            weights = {n: weight if n == shape else weight * ak.to_numpy(record.shifts[n]) for n in names}
            systematics.fill(output["histograms"], dataset, weights, n_jets, found, tuple(analysis.kinds))
            for method, candidates in found.items():
                counted = event_observables.fill(
                    *(output["histograms"], {"dataset": dataset, "method": method}),
                    *(analysis, {**analysis.regions, **self.regions}, self.observables),
                    *(record, candidates, ~flat(candidates.overlaps)),
                    weights=weights,
                )
                if shape == NOMINAL:
                    output["regions"][dataset][method] = counted
        return output

    def postprocess(self, accumulator):
        """Nothing to do once all chunks are in."""
        return accumulator
