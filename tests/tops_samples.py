"""Selected events of the shared samples of tops and the reference numbers on them."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import awkward as ak
from conftest import open_file

from hhh_coffea.analyses import Analysis, load_analysis, tops_truth
from hhh_coffea.datasets.fileset import DatasetMetadata
from hhh_coffea.events import delphes
from hhh_coffea.reconstruction.prepare import prepare
from hhh_coffea.reconstruction.targets import Targets

SAMPLES = ("tt_test", "tth_test", "ttbb_test")


class Sample(NamedTuple):
    """Selected events of one file, their truth, and what the reference says of the file."""

    analysis: Analysis
    record: ak.Array
    truth: tops_truth.TopTruth
    targets: Targets
    reference: dict[str, Any]

    @property
    def with_higgs(self) -> bool:
        return self.reference["kind"] == "tth"


@cache
def load(shared: Path, name: str) -> Sample:
    reference = json.loads((shared / "reference" / "tops_truth.json").read_text())[name]
    analysis = load_analysis("tth_semileptonic" if reference["kind"] == "tth" else "ttbar_semileptonic")
    metadata = DatasetMetadata(format="delphes", analysis=analysis.name)
    events = open_file("Delphes", delphes.SCHEMA, shared / "data" / "tops" / f"{name}.root")
    prepared = prepare(events, metadata, analysis, ("default",))
    record, targets = prepared.record, prepared.targets["default"]
    return Sample(analysis, record, tops_truth.truth(record), targets, reference)
