"""The method chi2+bdt at many working points in one pass: purity and efficiency as curves.

A processor of its own and not a part of the main job, because it does the work of the main job once for every working
point: large-radius jets are scored once, candidates and metrics are made anew for each.
"""

from __future__ import annotations

from coffea.processor import ProcessorABC

from hhh_coffea.analyses import analysis_of
from hhh_coffea.events.formats import branches_of, metadata_of
from hhh_coffea.methods import (
    MethodOptions,
    bdt,
    check_models,
    check_trained_on,
    chi2,
)
from hhh_coffea.methods.bdt_model import load_model
from hhh_coffea.reconstruction.metrics import DEFINITIONS
from hhh_coffea.reconstruction.prepare import prepare
from hhh_coffea.results import bdt_scan


class BdtScanProcessor(ProcessorABC):
    """Count candidates, correct ones, targets and retrieved ones for each working point of a grid.

    The model's named working points are evaluated too, and a score of 1, which no large-radius jet exceeds: χ² alone.

    Parameters
    ----------
    metrics
        ``default``, ``reference`` or both
    chi2_jets, chi2_mass
        as in the main job
    bdt
        model: a bundled name or a path
    btagging
        as in the main job
    """

    def __init__(
        self,
        metrics: tuple[str, ...] = DEFINITIONS,
        chi2_jets: int | None = None,
        chi2_mass: float = chi2.MASS,
        bdt: str = "hbb_bdt",
        btagging: str | None = None,
    ) -> None:
        self.metrics = tuple(metrics)
        self.chi2 = (chi2_jets, chi2_mass)
        self.model = load_model(bdt)
        self.models = {"bdt": {"name": self.model.name, "sha256": self.model.sha256}}  # for provenance.json
        self.btagging = btagging

    def check(self, metadata):
        """Refuse a model for events of a format that it was not trained on."""
        check_trained_on(["bdt"], MethodOptions(bdt=self.model), metadata.format)

    def branches(self, metadata):
        """Branches read from files of a dataset: lets the engine size its chunks and describe only these."""
        self.check(metadata)
        analysis = analysis_of(metadata)
        check_models((), analysis, MethodOptions(chi2_jets=self.chi2[0]))
        return branches_of(metadata, self.model.substructure, analysis.collections)

    def process(self, events):
        """Read, select and score once; reconstruct and evaluate at every working point."""
        dataset = events.metadata["dataset"]
        metadata = metadata_of(events, self.btagging)
        self.check(metadata)
        analysis = analysis_of(metadata)
        boosted, resolved = analysis.kinds["boosted"], analysis.kinds["resolved"]
        prepared = prepare(events, metadata, analysis, self.metrics, self.model.substructure)
        record = prepared.record
        output = {
            "histograms": {bdt_scan.SCAN: bdt_scan.book()},
            **prepared.accounts(dataset),
        }
        if not metadata.is_signal:  # nothing is right or wrong there
            return output
        scores = bdt.score(record.fatjets, self.model)
        pairs = chi2.reconstruct(record, resolved, *self.chi2) if "reference" in self.metrics else None
        for point, cut in bdt_scan.cuts(self.model).items():
            for definition in self.metrics:
                if definition == "reference":
                    candidates = bdt.reconstruct_reference(record, scores, cut, boosted, pairs)
                else:
                    candidates = bdt.reconstruct(record, scores, cut, boosted, resolved, *self.chi2)
                result = analysis.evaluate(candidates, prepared.targets[definition], definition)
                bdt_scan.fill(output["histograms"][bdt_scan.SCAN], dataset, definition, point, result)
        return output

    def postprocess(self, accumulator):
        """Add purity and efficiency with their intervals, for summary.json."""
        accumulator["working_points"] = bdt_scan.table(accumulator["histograms"][bdt_scan.SCAN])
        return accumulator
