"""The main job with what a comparison of methods needs: errors on ratios, and SPANet with more or fewer particles declared.

``python benchmarks/results.py`` runs it. The network runs once an event, whatever the number of decodings.
"""

from __future__ import annotations

from coffea.processor import ProcessorABC

from hhh_coffea.analyses import Analyses, analysis_of
from hhh_coffea.events.formats import metadata_of
from hhh_coffea.methods import (
    branches_for,
    extra_features,
    method_options,
    methods_for,
    reconstruct,
    spanet,
)
from hhh_coffea.reconstruction.metrics import DEFINITIONS
from hhh_coffea.reconstruction.prepare import prepare
from hhh_coffea.results import bdt_scan, histograms, paired

# what is added to the logit of every target's presence in joint and reference decoding, the least probability of being right
# in expected decoding, the least DP in greedy decoding
SCAN = (
    *(f"{decoding}:{n / 4:+.2f}" for decoding in ("joint", "reference") for n in range(-6, 11)),
    *(f"{decoding}:{n / 20:.2f}" for decoding in ("expected", "expected_by_kind") for n in range(2, 13)),
    *(f"greedy:{n / 20:.2f}" for n in range(4, 19)),
)
SPANET_SCAN = "spanet_scan"


class ComparisonProcessor(ProcessorABC):
    """Select events, match them to truth, reconstruct with all methods, count per event and along the scan.

    Parameters are those of the main job (``processors/assignment.py``).
    """

    def __init__(
        self,
        methods: tuple[str, ...] = ("chi2",),
        metrics: tuple[str, ...] = DEFINITIONS,
        bdt: str = "hbb_bdt",
        bdt_wp: str | float = "loose",
        model: tuple[str, ...] = (),
        device: str = "auto",
        btagging: str | None = None,
        analyses: Analyses | None = None,
    ) -> None:
        self.metrics = tuple(metrics)
        self.options = method_options(methods, bdt=bdt, bdt_wp=bdt_wp, model=model, device=device)
        self.methods = self.options.methods
        self.analyses = dict(analyses or {})
        self.models = self.options.models()  # for provenance.json
        self.wants_gpu = bool(
            self.options.spanet or self.options.pdnn
        )  # its chunks go to workers with a GPU where there are such
        self.btagging = btagging

    def branches(self, metadata):
        """Branches read from files of a dataset: lets the engine size its chunks and describe only these."""
        return branches_for(self.methods, analysis_of(metadata, self.analyses), self.options, metadata)

    def process(self, events):
        dataset = events.metadata["dataset"]
        metadata = metadata_of(events, self.btagging)
        analysis = analysis_of(metadata, self.analyses)
        features = extra_features(self.methods, self.options, analysis)
        prepared = prepare(events, metadata, analysis, self.metrics, features)
        record, weight = prepared.record, prepared.weight
        booked = histograms.book(analysis) | {paired.PAIRED: paired.book(), SPANET_SCAN: bdt_scan.book()}
        output = {
            "histograms": booked,
            **prepared.accounts(dataset),
            "event_sums": {dataset: {definition: {} for definition in self.metrics}},
        }
        if not metadata.is_signal:  # nothing is right or wrong there
            return output

        scan, decoded = {}, None
        if "spanet" in self.options.needs(self.methods, analysis):
            decodings = {d for name in self.methods for d in self.options.method(name, analysis).decodings.values()}
            model = self.options.spanet_for(analysis)
            decoded = spanet.reconstruct(record, model, [*sorted(decodings), *SCAN], analysis)
            scan = {point: decoded[point] for point in SCAN}
        wanted = {d: methods_for(self.methods, d, analysis) for d in self.metrics}
        found = reconstruct(wanted, record, analysis, self.options, decoded)
        for definition in self.metrics:
            truth_here = prepared.targets[definition]
            histograms.fill_targets(booked, dataset, definition, analysis, record, truth_here, weight)
            results = {m: analysis.evaluate(c, truth_here, definition) for m, c in found[definition].items()}
            for method, result in results.items():
                candidates = found[definition][method]
                histograms.fill_method(
                    booked, dataset, method, definition, analysis, candidates, truth_here, result, weight
                )
            output["event_sums"][dataset][definition] = {m: paired.event_sums(r) for m, r in results.items()}
            for category in analysis.categories_of(definition):
                counts = {m: paired.per_event(r, category) for m, r in results.items()}
                paired.fill(booked[paired.PAIRED], dataset, definition, category, counts)
            for point, candidates in scan.items():
                result = analysis.evaluate(candidates, truth_here, definition)
                bdt_scan.fill(booked[SPANET_SCAN], dataset, definition, point, result)
        return output

    def postprocess(self, accumulator):
        return accumulator
