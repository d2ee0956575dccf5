"""Why no event of a signal dataset passes its cut on the generator record: what that record holds instead."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from coffea.processor import ProcessorABC

from hhh_coffea.datasets.fileset import Dataset
from hhh_coffea.engine.chunks import Job, Plan, process
from hhh_coffea.engine.processors import ProcessorSource
from hhh_coffea.events.formats import branches_of, metadata_of, read
from hhh_coffea.reconstruction.analysis import Analysis, Generated

SAMPLE = 1000  # events that are looked at


class DecaysPerEvent(ProcessorABC):  # type: ignore[misc]
    """``{number of decays that the analysis looks for: events}`` of a chunk."""

    def __init__(self, analysis: Analysis, generated: Generated) -> None:
        self.analysis, self.generated = analysis, generated

    def branches(self, metadata: Any) -> list[str]:
        """Return the branches of an event record without methods."""
        return branches_of(metadata, (), self.analysis.collections)

    def process(self, events: Any) -> Counter[int]:
        """Count."""
        metadata = metadata_of(events)
        record = read(events, metadata, collections=self.analysis.collections).record
        return Counter(self.generated.count(record).tolist())

    def postprocess(self, accumulator: Any) -> Any:
        """Leave it as it is."""
        return accumulator


def empty_signals(
    cutflow: Mapping[str, Mapping[str, Any]],
    datasets: Mapping[str, Dataset],
    analyses: Mapping[str, Analysis],
    plan: Plan,
) -> tuple[list[str], bool]:
    """Warn of signal of which no event has the decays of its analysis, and whether any has another number of them.

    ``cutflow`` is that of ``cutflow.json``; ``analyses`` by dataset. The first events of each such dataset are read again.
    """
    warnings, wrong_number = [], False
    for name, entry in cutflow.items():
        cuts = entry["cuts"]
        gone = next((row["cut"] for row in cuts if row["events"] == 0 and cuts[0]["events"]), "")
        generated = analyses[name].generated
        if generated is None or gone != generated.cut:
            continue
        found = _found(datasets[name], analyses[name], generated, plan)
        usual = found.most_common(1)[0][0] if found else 0
        if usual:
            wrong_number = True
            share = found[usual] / found.total()
            advice = f"{share:.0%} of its first {found.total():,} events have {usual}: {generated.advice(usual)} in its metadata"
        else:
            none = f"; none of its first {found.total():,} has any" if set(found) == {0} else ""
            advice = f"if it is background, set is_signal: false in its metadata{none}"
        warnings.append(f"no event of {name} has {gone}, so its results are empty: {advice}")
    return warnings, wrong_number


def _found(dataset: Dataset, analysis: Analysis, generated: Generated, plan: Plan) -> Counter[int]:
    chunk = next((chunk for chunk in plan.chunks if chunk.dataset == dataset.name), None)
    if chunk is None:
        return Counter()
    few = replace(chunk, stop=min(chunk.stop, chunk.start + SAMPLE))
    job = Job(
        ProcessorSource.of(DecaysPerEvent(analysis, generated)),
        {dataset.name: dataset.metadata.model_dump(exclude_unset=True)},
    )
    try:
        counted: Counter[int] = process(job, few)
    except Exception:  # a hint only: workers may see files that this process does not
        return Counter()
    return counted
