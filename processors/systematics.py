"""Systematic variations: every histogram of the main job, once for each, in one pass.

It is the main job (:mod:`assignment`, beside this file) in a loop. Each file is read once. A variation of the weights fills the
candidates of the nominal events again with another weight; a variation of the jets selects and reconstructs anew, and
only the events that it changes. A chunk holds the nominal events, those of one variation, and the histograms of all.
"""

from __future__ import annotations

from hhh_coffea.base.bundled import bundled_folder
from hhh_coffea.base.once import Once
from hhh_coffea.base.user_code import import_file
from hhh_coffea.datasets.nanoaod_options import NOMINAL
from hhh_coffea.events.formats import variations
from hhh_coffea.methods import reconstruct
from hhh_coffea.reconstruction.prepare import prepare
from hhh_coffea.results import histograms, systematics

MainJob = import_file(bundled_folder("processors") / "assignment.py").AssignmentProcessor


class SystematicsProcessor(MainJob):
    """The main job, with an axis ``variation`` of its histograms: all variations that a dataset's metadata describe.

    Parameters are those of the main job. All else that it gives (cutflow, candidates, skims, intervals) is of the nominal events.
    """

    def process(self, events):
        """Read, select and reconstruct once for each variation of the jets; fill once for each variation."""
        dataset = events.metadata["dataset"]
        metadata, analysis, definitions, features = self.job(events)
        wanted = self.wanted(definitions, analysis)

        def found_in(record):
            return reconstruct(wanted, record, analysis, self.options)

        shared, filled = Once(), {}
        for shape, names in variations(metadata).items():
            prepared = prepare(events, metadata, analysis, definitions, features, variation=shape, shared=shared)
            if shape == NOMINAL:
                nominal, found = prepared.record, found_in(prepared.record)
                nominal_found = found
            else:
                found = systematics.reconstruct_changed(found_in, nominal, nominal_found, prepared.record)
            results = self.evaluated(analysis, prepared, found)
            for name in names:
                weighted = prepared if name == shape else prepared.weighted(name)
                filled[name] = self.filled(dataset, metadata, analysis, weighted, found, results)
            if shape == NOMINAL:
                accounts = self.accounts(events, metadata, analysis, prepared, found, results)
        booked = {name: one["histograms"] for name, one in filled.items()}
        return filled[NOMINAL] | accounts | {"histograms": histograms.along_variations(booked)}
