"""Every histogram of the main job: booked here, filled here, and nowhere else.

Counts that purity and efficiency are made of are unweighted integers (their intervals are binomial); spectra carry the
event weight. All have growing ``dataset`` (and ``method``, ``definition``, ``category``) axes, so chunks add up.
"""

from __future__ import annotations

from typing import Any

import awkward as ak
import hist
import numpy as np
import numpy.typing as npt
from hist import Hist

from hhh_coffea.base.arrays import counts_of, event_index, flat, rank_in_event
from hhh_coffea.base.kinematics import invariant_mass
from hhh_coffea.reconstruction.candidates import BOOSTED, fatjet_momentum, pair_momentum
from hhh_coffea.reconstruction.metrics import Definition, Evaluation
from hhh_coffea.reconstruction.targets import Targets

Histograms = dict[str, Hist]
UNKNOWN, WRONG, CORRECT = -1, 0, 1  # the ``correct`` axis; unknown where there is no truth
MAX_HIGGS = 5  # counts of Higgs bosons up to 4, and one overflow bin
MAIN_HISTOGRAMS = ("candidates", "targets", "event_purity", "event_efficiency", "confusion")


def book() -> Histograms:
    """Empty histograms. pT and mass axes are those of the published figures (§5, §7), in GeV."""

    def axes(*names: str) -> list[Any]:
        return [hist.axis.StrCategory([], growth=True, name=name) for name in names]

    def pt(label: str) -> Any:
        return hist.axis.Regular(20, 0, 1000, underflow=False, name="pt", label=label)

    def number(name: str, label: str, stop: int = MAX_HIGGS) -> Any:
        return hist.axis.Integer(0, stop, underflow=False, name=name, label=label)

    def flag(name: str, label: str) -> Any:
        return hist.axis.Boolean(name=name, label=label)

    candidate = ("dataset", "method", "definition", "category")
    correct = hist.axis.Integer(
        UNKNOWN, CORRECT + 1, flow=False, name="correct", label="−1 unknown, 0 wrong, 1 correct"
    )
    resolved_mass = hist.axis.Regular(40, 30, 230, name="mass", label="Candidate mass [GeV]")
    boosted_mass = hist.axis.Regular(80, 30, 230, name="mass", label="Candidate mass [GeV]")
    count, weight = hist.storage.Int64(), hist.storage.Weight()
    method = candidate[:3]
    return {
        "candidates": Hist(*axes(*candidate), pt("Reconstructed Higgs pT [GeV]"), correct, storage=count),
        "targets": Hist(
            *axes(*candidate), pt("Generated Higgs pT [GeV]"), flag("retrieved", "retrieved"), storage=count
        ),
        "candidate_mass": Hist(*axes(*candidate), resolved_mass, correct, storage=weight),
        "boosted_mass": Hist(*axes(*method), boosted_mass, correct, storage=weight),
        "ranked_mass": Hist(*axes(*method), number("rank", "Rank by pT"), resolved_mass, correct, storage=weight),
        "multiplicity": Hist(*axes("dataset", "collection"), number("n", "Objects per event", 16), storage=weight),
        "higgs_pt": Hist(*axes("dataset", "definition", "target"), pt("Generated Higgs pT [GeV]"), storage=count),
        "higgs_mass": Hist(
            *axes("dataset", "definition", "target"),
            hist.axis.Regular(280, 60, 200, name="mass", label="Generated Higgs mass [GeV]"),
            storage=weight,
        ),
        "target_mass": Hist(*axes("dataset", "definition", "target"), resolved_mass, storage=weight),
        "event_purity": Hist(
            *axes(*method), number("n", "Candidates", 8), flag("pure", "all candidates correct"), storage=count
        ),
        "event_efficiency": Hist(
            *axes(*method), number("n", "Targets"), flag("efficient", "all targets retrieved"), storage=count
        ),
        "confusion": Hist(
            *axes(*method),
            number("target_boosted", "boosted targets"),
            number("target_resolved", "resolved targets"),
            number("candidate_boosted", "boosted candidates"),
            number("candidate_resolved", "resolved candidates"),
            storage=count,
        ),
    }


def fill_multiplicity(
    histograms: Histograms, dataset: str, record: ak.Array, use: npt.NDArray[np.bool_], weight: npt.NDArray[np.float64]
) -> None:
    """Objects above threshold in each event in ``use``, before truncation."""
    for name in ("jets", "fatjets"):
        n = counts_of(record[name].pt)[use]
        histograms["multiplicity"].fill(dataset=dataset, collection=name, n=n, weight=weight[use])


def fill_targets(
    histograms: Histograms,
    dataset: str,
    definition: Definition,
    record: ak.Array,
    targets: Targets,
    weight: npt.NDArray[np.float64],
) -> None:
    """Generated Higgs pT and mass by what they can be reconstructed as, and the mass of the true assignment."""
    for name, mask in (
        ("all", np.ones(targets.pt.shape, dtype=bool)),
        ("resolved", targets.resolved),
        ("boosted", targets.boosted),
        ("merged", targets.resolved | targets.boosted),
    ):
        key = {"dataset": dataset, "definition": definition, "target": name}
        chosen = np.flatnonzero(mask)
        histograms["higgs_pt"].fill(**key, pt=targets.pt.ravel()[chosen])
        if name != "merged":
            mass = targets.mass.ravel()[chosen]
            histograms["higgs_mass"].fill(**key, mass=mass, weight=weight[chosen // mask.shape[1]])
    for name, mask, momentum in (
        ("resolved", targets.resolved, pair_momentum(record, targets.jet1, targets.jet2)),
        ("boosted", targets.boosted, fatjet_momentum(record, targets.fatjet)),
    ):
        key = {"dataset": dataset, "definition": definition, "target": name}
        histograms["target_mass"].fill(
            **key, mass=invariant_mass(momentum), weight=weight[np.flatnonzero(mask) // mask.shape[1]]
        )


def fill_method(
    histograms: Histograms,
    dataset: str,
    method: str,
    definition: Definition,
    candidates: ak.Array,
    targets: Targets,
    result: Evaluation,
    weight: npt.NDArray[np.float64],
) -> None:
    """One method's candidates, and where there is truth what they got right."""
    has_truth = targets.known
    key = {"dataset": dataset, "method": method, "definition": definition}
    pt, mass = flat(candidates.pt), flat(candidates.mass)
    weight_of = weight[event_index(counts_of(candidates.pt))]
    correct = result.correct.astype(np.int64) if has_truth else np.full(len(pt), UNKNOWN)
    for category, use in result.categories.items():
        chosen = use.candidates
        if not chosen.all():
            row = {"pt": pt[chosen], "mass": mass[chosen], "correct": correct[chosen], "weight": weight_of[chosen]}
        else:
            row = {"pt": pt, "mass": mass, "correct": correct, "weight": weight_of}
        histograms["candidates"].fill(**key, category=category, pt=row["pt"], correct=row["correct"])
        histograms["candidate_mass"].fill(
            **key, category=category, mass=row["mass"], correct=row["correct"], weight=row["weight"]
        )
        if has_truth:
            histograms["targets"].fill(
                **key, category=category, pt=targets.pt[use.targets], retrieved=use.retrieved[use.targets]
            )
    boosted = flat(candidates.kind) == BOOSTED
    histograms["boosted_mass"].fill(**key, mass=mass[boosted], correct=correct[boosted], weight=weight_of[boosted])
    merged = np.flatnonzero(result.categories["merged"].candidates)  # what survives overlap removal
    event = event_index(counts_of(candidates.pt))[merged]
    rank = rank_in_event(pt[merged], np.bincount(event, minlength=len(candidates)))
    histograms["ranked_mass"].fill(
        **key, rank=rank, mass=mass[merged], correct=correct[merged], weight=weight_of[merged]
    )
    if has_truth:
        events = result.events
        histograms["event_purity"].fill(**key, n=events.n_candidates, pure=events.all_correct)
        histograms["event_efficiency"].fill(**key, n=events.n_targets, efficient=events.all_retrieved)
        histograms["confusion"].fill(
            **key,
            target_boosted=events.target_class[0],
            target_resolved=events.target_class[1],
            candidate_boosted=events.candidate_class[0],
            candidate_resolved=events.candidate_class[1],
        )


def canonical(histogram: Hist) -> Hist:
    """The same contents with every growing category axis sorted: the order of filling leaves no trace.

    Other axes, and what they have of overflow, stay as they are.
    """
    orders, axes = [], []
    for axis in histogram.axes:
        if isinstance(axis, hist.axis.StrCategory | hist.axis.IntCategory) and axis.traits.growth:
            names = list(axis)
            orders.append(np.argsort(names))
            axes.append(type(axis)(sorted(names), growth=True, name=axis.name, label=axis.label))
        else:
            orders.append(np.arange(axis.extent))
            axes.append(axis)
    result = Hist(*axes, storage=histogram.storage_type())
    result.view(flow=True)[...] = histogram.view(flow=True)[np.ix_(*orders)]
    return result
