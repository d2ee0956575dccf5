"""The method chi2+bdt at many working points in one pass: purity and efficiency as curves.

A processor of its own and not a part of the main job, because it does the work of the main job once for every working
point: fat jets are scored once, candidates and metrics are made anew for each.
"""

from __future__ import annotations

import awkward as ak
from coffea.processor import ProcessorABC

from hhh_coffea.events.formats import branches_of, metadata_of, read
from hhh_coffea.events.record import selected, truncated, weights_of
from hhh_coffea.reconstruction import MethodOptions, bdt, check_models, check_trained_on, chi2
from hhh_coffea.reconstruction import targets as truth
from hhh_coffea.reconstruction.bdt_model import load_model
from hhh_coffea.reconstruction.metrics import DEFINITIONS, evaluate
from hhh_coffea.reconstruction.selection import cutflow, event_selection
from hhh_coffea.results import bdt_scan


class BdtScanProcessor(ProcessorABC):
    """Count candidates, correct ones, targets and retrieved ones for each working point of a grid.

    The model's named working points are evaluated too, and a score of 1, which no fat jet exceeds: χ² alone.

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
        chi2_mass: float = chi2.HIGGS_MASS,
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
        check_trained_on(["chi2+bdt"], MethodOptions(bdt=self.model), metadata.format)

    def branches(self, metadata):
        """Branches read from files of a dataset: lets the engine size its chunks and describe only these."""
        self.check(metadata)
        check_models((), metadata.n_higgs, MethodOptions(chi2_jets=self.chi2[0]))
        return branches_of(metadata, self.model.substructure)

    def process(self, events):
        """Read, select and score once; reconstruct and evaluate at every working point."""
        dataset = events.metadata["dataset"]
        metadata = metadata_of(events, self.btagging)
        self.check(metadata)
        record, dropped = read(events, metadata, self.model.substructure)
        selection = event_selection(record, metadata)
        output = {
            "histograms": {bdt_scan.SCAN: bdt_scan.book()},
            "cutflow": {dataset: cutflow(selection, ak.to_numpy(record.weight), weights_of(record))},
            "dropped": {dataset: dropped},
        }
        if not metadata.is_signal:  # nothing is right or wrong there
            return output
        record = selected(record, selection.all())
        n_higgs = metadata.n_higgs
        kept = (n_higgs, metadata.selection.max_jets, metadata.max_fatjets)
        targets = truth.match_each(self.metrics, record, metadata.is_signal, *kept)
        record = truncated(record, *kept[1:])
        scores = bdt.score(record.fatjets, self.model)
        pairs = chi2.reconstruct(record, n_higgs, *self.chi2) if "reference" in self.metrics else None
        for point, cut in bdt_scan.cuts(self.model).items():
            for definition in self.metrics:
                if definition == "reference":
                    candidates = bdt.reconstruct_reference(record, scores, cut, n_higgs, pairs)
                else:
                    candidates = bdt.reconstruct(record, scores, cut, n_higgs, *self.chi2)
                result = evaluate(candidates, targets[definition], definition)
                bdt_scan.fill(output["histograms"][bdt_scan.SCAN], dataset, definition, point, result)
        return output

    def postprocess(self, accumulator):
        """Add purity and efficiency with their intervals, for summary.json."""
        accumulator["working_points"] = bdt_scan.table(accumulator["histograms"][bdt_scan.SCAN])
        return accumulator
