"""The study, stage by stage."""

from __future__ import annotations

from hhh_coffea.figures.report.page import Page
from hhh_coffea.study import columns
from hhh_coffea.study.columns import method_columns, truth_columns
from hhh_coffea.study.event_table import Columns
from hhh_coffea.study.events import Pass, read_events
from hhh_coffea.study.reconstructed import Reconstructed
from hhh_coffea.study.study import Study


def _columns(event: Reconstructed) -> Columns:
    found = truth_columns(event)
    for method in event.candidates:
        found |= method_columns(event, method)
    return found


def run(study: Study) -> int:
    """Run all stages."""
    options = study.options
    methods = options.methods or ("likelihood", "pdnn", "spanet")
    asked = Pass(
        options.fileset or "demo_tops",
        _columns,
        methods,
        datasets=("tth", "ttbb"),
        max_events=200 if options.quick else None,
        workers=options.workers,
    )
    done = study.stages.table("events", asked.inputs(), lambda: read_events(asked, study.console), (columns,))
    rows = {name: len(done.value[name]["entry"]) for name in done.value.columns}
    return study.finish(Page("ttH against ttbb", "", f"{rows}"), {"rows": rows})
