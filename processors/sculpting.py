"""The main job with a close look at masses in background: how much of a peak each method carves into it.

What the main job fills is filled here too, so one run gives purity and efficiency in signal and sculpting in background.
"""

from __future__ import annotations

import awkward as ak
import numpy as np
from coffea.processor import ProcessorABC

from hhh_coffea.analyses import Analyses, analysis_of
from hhh_coffea.base.hashing import is_validation
from hhh_coffea.events.formats import metadata_of
from hhh_coffea.methods import (
    branches_for,
    extra_features,
    jets_paired,
    method_options,
    methods_for,
    reconstruct,
)
from hhh_coffea.reconstruction.metrics import DEFINITIONS
from hhh_coffea.reconstruction.prepare import prepare
from hhh_coffea.results import histograms, paired, sculpting_spectra


class SculptingProcessor(ProcessorABC):
    """Reconstruct candidates; in background, fill their masses and those of random pairings, with replicas.

    A dataset whose metadata say ``"user": {"validation_fraction": 0.05}`` is reduced to the events that a SPANet training
    with that fraction kept for validation.

    Parameters
    ----------
    methods, metrics, chi2_jets, chi2_mass, bdt, bdt_wp, model, device, btagging
        as in the main job
    """

    def __init__(
        self,
        methods: tuple[str, ...] = ("chi2",),
        metrics: tuple[str, ...] = DEFINITIONS,
        chi2_jets: int | None = None,
        chi2_mass: float = 125.0,
        bdt: str = "hbb_bdt",
        bdt_wp: str | float = "loose",
        model: tuple[str, ...] = (),
        device: str = "auto",
        btagging: str | None = None,
        analyses: Analyses | None = None,
    ) -> None:
        self.metrics = tuple(metrics)
        self.options = method_options(methods, chi2_jets, chi2_mass, bdt, bdt_wp, model, device)
        self.methods = self.options.methods
        self.analyses = dict(analyses or {})
        self.models = self.options.models()  # for provenance.json
        self.wants_gpu = bool(self.options.spanet)  # its chunks go to workers with a GPU where there are such
        self.btagging = btagging

    def branches(self, metadata):
        """Branches read from files of a dataset: lets the engine size its chunks and describe only these."""
        return branches_for(self.methods, analysis_of(metadata, self.analyses), self.options, metadata)

    def process(self, events):
        dataset, uuid = events.metadata["dataset"], events.metadata["fileuuid"]
        metadata = metadata_of(events, self.btagging)
        analysis = analysis_of(metadata, self.analyses)
        cuts = {}
        if fraction := metadata.user.get("validation_fraction"):
            cuts["validation events"] = lambda record: is_validation(uuid, ak.to_numpy(record.id), fraction)
        features = extra_features(self.methods, self.options, analysis)
        prepared = prepare(events, metadata, analysis, self.metrics, features, more_cuts=cuts)
        record, weight = prepared.record, prepared.weight
        output = {
            "histograms": histograms.book(analysis) | sculpting_spectra.book(),
            **prepared.accounts(dataset),
            "event_sums": {dataset: {definition: {} for definition in self.metrics}},
        }
        filled = output["histograms"]
        histograms.fill_multiplicity(filled, dataset, record, np.ones(len(record), dtype=bool), weight)
        weights = None
        if not metadata.is_signal:
            weights = sculpting_spectra.replica_weights(weight, uuid, ak.to_numpy(record.id))
            sculpting_spectra.fill_fatjets(filled, dataset, record, weights)

        wanted = {d: methods_for(self.methods, d, analysis) for d in self.metrics}
        found = reconstruct(wanted, record, analysis, self.options)
        for definition in self.metrics:
            truth_here = prepared.targets[definition]
            if metadata.is_signal:
                histograms.fill_targets(filled, dataset, definition, analysis, record, truth_here, weight)
            for method, candidates in found[definition].items():
                result = analysis.evaluate(candidates, truth_here, definition)
                if metadata.is_signal:
                    output["event_sums"][dataset][definition][method] = paired.event_sums(result)
                histograms.fill_method(
                    filled, dataset, method, definition, analysis, candidates, truth_here, result, weight
                )
                if weights is not None:
                    key = {"dataset": dataset, "method": method, "definition": definition}
                    first = jets_paired(method, analysis, analysis.kept(metadata).jets, self.options)
                    sculpting_spectra.fill_method(filled, key, analysis.kinds, record, candidates, first, weights, uuid)
        return output

    def postprocess(self, accumulator):
        """Add the measures with their errors, for summary.json."""
        accumulator["sculpting"] = sculpting_spectra.table(accumulator["histograms"])
        return accumulator
