"""Selected events of the shared samples of tops and the reference numbers on them."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import awkward as ak
import numpy as np
from conftest import open_file

from hhh_coffea.analyses import tops_objects, tops_truth
from hhh_coffea.datasets.fileset import DatasetMetadata
from hhh_coffea.events import delphes
from hhh_coffea.events.record import selected
from hhh_coffea.reconstruction.matching import AssignmentTarget

SAMPLES = ("tt_test", "tth_test", "ttbb_test")


class Sample(NamedTuple):
    """Selected events of one file, their truth, and what the reference says of the file."""

    record: ak.Array
    truth: tops_truth.TopTruth
    targets: dict[str, AssignmentTarget]
    reference: dict[str, Any]

    @property
    def with_higgs(self) -> bool:
        return self.reference["kind"] == "tth"


@cache
def load(shared: Path, name: str) -> Sample:
    reference = json.loads((shared / "reference" / "tops_truth.json").read_text())[name]
    with_higgs = reference["kind"] == "tth"
    collections = (*tops_objects.COLLECTIONS, *(["higgs"] if with_higgs else []))
    metadata = DatasetMetadata(format="delphes", n_higgs=1)
    events = open_file("Delphes", delphes.SCHEMA, shared / "data" / "tops" / f"{name}.root")
    record = tops_objects.central(delphes.read(events, metadata, (), collections).record)
    cuts = tops_objects.cuts(record, tops_objects.MIN_JETS["tth" if with_higgs else "ttbar"])
    record = selected(record, np.logical_and.reduce(list(cuts.values())))
    truth = tops_truth.truth(record)
    return Sample(record, truth, tops_truth.match(record, truth), reference)
