"""The main job: candidates from every method on identical events, and what they got right.

Copy this file, edit it, and run it with ``--processor my_processor.py``. It is a stock coffea processor: a plain
``coffea.processor.Runner`` runs it too.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import awkward as ak
import numpy as np
from coffea.processor import ProcessorABC

from hhh_coffea.analyses import Analyses, analysis_of
from hhh_coffea.base.expressions import parse
from hhh_coffea.events.formats import describe, identity_of, metadata_of
from hhh_coffea.events.record import selected
from hhh_coffea.methods import (
    branches_for,
    check_trained_on,
    extra_features,
    method_options,
    methods_for,
    reconstruct,
)
from hhh_coffea.reconstruction.candidate_table import WRITTEN, write_candidates
from hhh_coffea.reconstruction.event_table import write_events
from hhh_coffea.reconstruction.metrics import DEFINITIONS
from hhh_coffea.reconstruction.observables import OBJECTS, EventObservable, in_regions, objects_of, values_of
from hhh_coffea.reconstruction.prepare import prepare
from hhh_coffea.reconstruction.skim_file import write_skim
from hhh_coffea.results import assignment_efficiency, event_observables, histograms, paired, quantities


class AssignmentProcessor(ProcessorABC):
    """Select events, match them to truth, reconstruct candidates, count and histogram.

    Parameters
    ----------
    methods
        names of the reconstruction methods, or files of one's own: ``my_method.py:MyMethod``
    metrics
        ``default``, ``reference`` or both
    chi2_jets, chi2_mass
        jets that the χ² pairing may choose from (as many as the targets need when None) and the particle's mass in GeV
    bdt, bdt_wp
        model of ``chi2+bdt`` (a bundled name or a path; read only if that method is asked for) and its working point:
        a name or a score
    model, device
        SPANet models (bundled names or paths, each for other targets) and where they run
    btagging
        ``upart`` or ``csv`` throws the b tags of Delphes jets anew, unless the dataset says otherwise
    candidates
        folder that takes one parquet file of candidates a chunk; none are written when None
    events
        folder that takes one parquet file of events a chunk and method, one row for each selected event
    skim
        folder that takes one ROOT file of selected events a chunk, with the candidates of the first set of definitions
    regions, observables
        regions and observables of one's own as expressions (:mod:`hhh_coffea.reconstruction.observables`), by name
    couplings
        fill observables at any self-couplings too
    settings
        options that one method alone has, by its name: ``{chi2: {btag: veto}}`` of the analyses of top quarks
    accept_foreign_model
        use models that were trained on events of another format
    analyses
        those of the user's own, by their names in the metadata (:func:`hhh_coffea.analyses.load_analyses`)
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
        candidates: str | Path | None = None,
        skim: str | Path | None = None,
        events: str | Path | None = None,
        settings: dict | None = None,
        analyses: Analyses | None = None,
        regions: dict | None = None,
        observables: dict | None = None,
        couplings: bool = False,
        accept_foreign_model: bool = False,
    ) -> None:
        self.metrics = tuple(metrics)
        self.analyses = dict(analyses or {})
        self.options = method_options(
            methods,
            chi2_jets,
            chi2_mass,
            bdt,
            bdt_wp,
            model,
            device,
            settings,
            accept_foreign_model,
            self.analyses.values(),
        )
        self.methods = self.options.methods
        self.models = self.options.models()  # for provenance.json
        self.wants_gpu = bool(
            self.options.spanet or self.options.pdnn
        )  # its chunks go to workers with a GPU where there are such
        self.btagging = btagging
        self.candidates, self.skim, self.events = candidates, skim, events
        self.regions = dict(regions or {})
        self.observables = {name: EventObservable.model_validate(one) for name, one in (observables or {}).items()}
        self.couplings = couplings

    def analysis_of(self, metadata):
        """The analysis of a dataset; what its couplings need of the record is read where they are asked for."""
        analysis = analysis_of(metadata, self.analyses)
        if self.couplings and analysis.couplings is not None:
            analysis = replace(analysis, collections=(*analysis.collections, *analysis.couplings.read_for(metadata)))
        return analysis

    def branches(self, metadata):
        """Branches read from files of a dataset: lets the engine size its chunks and describe only these."""
        return branches_for(self.methods, self.analysis_of(metadata), self.options, metadata)

    def process(self, events):
        metadata, analysis, definitions, features = self.job(events)
        prepared = prepare(events, metadata, analysis, definitions, features)
        found = reconstruct(self.wanted(definitions, analysis), prepared.record, analysis, self.options)
        results = self.evaluated(analysis, prepared, found)
        output = self.filled(events.metadata["dataset"], metadata, analysis, prepared, found, results)
        return output | self.accounts(events, metadata, analysis, prepared, found, results)

    def job(self, events):
        """What a chunk is, what is looked for in it, by which definitions, and what is read of large-radius jets."""
        metadata = metadata_of(events, self.btagging)
        analysis = self.analysis_of(metadata)
        check_trained_on(self.options.needs(self.methods, analysis), self.options, metadata.format)
        features = extra_features(self.methods, self.options, analysis)
        return metadata, analysis, analysis.asked_for(self.metrics), features

    def wanted(self, definitions, analysis):
        """Methods by definition."""
        return {d: methods_for(self.methods, d, analysis) for d in definitions}

    def evaluated(self, analysis, prepared, found):
        """What the candidates got right, by definition and method."""
        return {
            d: {m: analysis.evaluate(candidates, prepared.targets[d], d) for m, candidates in methods.items()}
            for d, methods in found.items()
        }

    def filled(self, dataset, metadata, analysis, prepared, found, results):
        """Every histogram of the selected events, and how many of them are in each region."""
        record, weight = prepared.record, prepared.weight
        regions = {**analysis.regions, **self.regions}
        observed = regions or self.observables or self.couplings
        in_any = regions or any(other.regions for other in self.analyses.values())  # the same axes for every dataset
        output = {
            "histograms": histograms.book(analysis, bool(in_any)) | quantities.book(analysis),
        }
        filled, first = output["histograms"], next(iter(found))
        coefficients = None
        if observed:
            filled |= event_observables.book(analysis, self.observables, self.couplings)
            output["regions"] = {dataset: {}}
        if self.couplings and analysis.couplings is not None and metadata.is_signal:
            coefficients = analysis.couplings.of(record, metadata)
        generated = ak.to_numpy(prepared.all_events.weight)
        histograms.fill_multiplicity(filled, dataset, prepared.all_events, prepared.before_jet_cut, generated)
        quantities.fill_events(filled, dataset, first, analysis, record, prepared.targets[first])
        for definition, methods in found.items():
            truth_here = prepared.targets[definition]
            if metadata.is_signal:
                histograms.fill_targets(filled, dataset, definition, analysis, record, truth_here, weight)
            for method, candidates in methods.items():
                result = results[definition][method]
                if metadata.is_signal:
                    assignment_efficiency.fill_method(
                        filled, dataset, method, definition, analysis, record, truth_here, candidates, result
                    )
                inside = {}
                if observed:
                    surviving = next(iter(result.categories.values())).candidates
                    objects = objects_of(record, candidates, surviving)
                    inside = in_regions(regions, objects)
                histograms.fill_method(
                    *(filled, dataset, method, definition, analysis, candidates, truth_here, result, weight),
                    regions=inside,
                )
                key = {"dataset": dataset, "method": method, "definition": definition}
                quantities.fill_method(filled, key, analysis, record, truth_here, candidates, result)
                if observed and definition == first:
                    place = {"dataset": dataset, "method": method}
                    output["regions"][dataset][method] = event_observables.fill(
                        filled, place, analysis, inside, self.observables, objects, weight, coefficients
                    )
        return output

    def accounts(self, events, metadata, analysis, prepared, found, results):
        """What is reported of a chunk beside its histograms, and the files that are written."""
        dataset, first = events.metadata["dataset"], next(iter(found))
        output = {
            **prepared.accounts(dataset),
            "read_as": {dataset: {describe(events, metadata)}},
            "event_sums": {dataset: {definition: {} for definition in found}},
            WRITTEN: {},
        }
        if metadata.is_signal:
            for definition, methods in results.items():
                sums = {method: paired.event_sums(result) for method, result in methods.items()}
                output["event_sums"][dataset][definition] = sums
        skimmed = {}
        for method, candidates in found[first].items():
            correct = results[first][method].correct if metadata.is_signal else None
            if self.skim is not None:
                skimmed[method] = (candidates, correct)
            if self.events is not None:
                result = results[first][method]
                more = self.of_events(analysis, prepared.record, candidates, result)
                output[WRITTEN] |= write_events(
                    *(self.events, events.metadata, method, analysis, prepared.record, candidates, result),
                    known=metadata.is_signal,
                    more=more,
                    analyses=self.analyses.values(),
                )
            if self.candidates is not None:
                output[WRITTEN] |= write_candidates(
                    *(self.candidates, events.metadata, method, analysis, prepared.record, candidates, correct),
                    analyses=self.analyses.values(),
                )
        if self.skim is not None:
            chosen = prepared.selection.all()
            identity = {name: values[chosen] for name, values in identity_of(events, metadata).items()}
            whole = selected(prepared.all_events, chosen)  # the methods see the first jets of an event alone
            output[WRITTEN] |= write_skim(self.skim, events.metadata, analysis, whole, skimmed, identity)
        return output

    def of_events(self, analysis, record, candidates, result):
        """Columns of the table of events beside the usual ones: regions, observables, and what the analysis declares."""
        objects = objects_of(record, candidates, next(iter(result.categories.values())).candidates)
        regions = {**analysis.regions, **self.regions}
        masks = in_regions(regions, objects) if regions else {}
        every = [*self.analyses.values(), analysis]  # the same columns in every file of a run
        columns = {name: np.full(len(record), np.nan) for one in every for name in one.event_columns}
        columns |= {name: parse(text, OBJECTS)(objects) for name, text in analysis.event_columns.items()}
        columns |= {f"observable_{name}": values_of(one, objects) for name, one in self.observables.items()}
        names = dict.fromkeys(name for regions in (*(one.regions for one in every), self.regions) for name in regions)
        return columns | {f"region_{name}": masks.get(name) for name in names}

    def postprocess(self, accumulator):
        accumulator.pop(WRITTEN, None)
        return accumulator
