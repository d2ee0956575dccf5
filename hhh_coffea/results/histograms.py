"""Every histogram of the main job: booked here, filled here, and nowhere else.

Counts that purity and efficiency are made of are unweighted integers (their intervals are binomial); spectra carry the
event weight. All have growing ``dataset`` (and ``method``, ``definition``, ``category``) axes, so chunks add up.

Where regions are declared, the masses of candidates have an axis ``region`` too, with the region ``all`` of every event beside
them. The histograms of ``--processor systematics`` end with an axis ``variation``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import awkward as ak
import hist
import numpy as np
import numpy.typing as npt
from hist import Hist

from hhh_coffea.base.arrays import counts_of, flat, rank_in_event
from hhh_coffea.base.kinematics import invariant_mass
from hhh_coffea.datasets.nanoaod_options import NOMINAL
from hhh_coffea.reconstruction.analysis import Analysis
from hhh_coffea.reconstruction.metrics import Evaluation
from hhh_coffea.reconstruction.observables import EVERYWHERE
from hhh_coffea.reconstruction.targets import Targets

Histograms = dict[str, Hist]
UNKNOWN, WRONG, CORRECT = -1, 0, 1  # the ``correct`` axis; unknown where there is no truth
EVERYTHING = "merged"  # targets of any kind
NAMES_OF_ALL = (
    *("candidates", "targets", "candidate_mass", "ranked_mass", "multiplicity", "generated_pt", "generated_mass"),
    *("target_mass", "event_purity", "event_efficiency", "confusion", "assignments"),
)
MAIN_HISTOGRAMS = ("candidates", "targets", "event_purity", "event_efficiency", "confusion")
REGION, VARIATION = "region", "variation"  # names of axes
BY_REGION = "mass"  # what the axis of the histograms with an axis of regions is called, but for those of observables


def book(analysis: Analysis, with_regions: bool = False) -> Histograms:
    """Empty histograms. pT axes are those of the published figures (§5, §7), in GeV.

    Analyses with the same words and :meth:`~hhh_coffea.reconstruction.analysis.Analysis.limits` book the same ones, and
    can be run together.
    """

    def axes(*names: str) -> list[Any]:
        return [hist.axis.StrCategory([], growth=True, name=name) for name in names]

    def pt(label: str) -> Any:
        return hist.axis.Regular(20, 0, 1000, underflow=False, name="pt", label=label)

    def number(name: str, label: str, stop: int) -> Any:
        return hist.axis.Integer(0, stop, underflow=False, name=name, label=label)

    def flag(name: str, label: str) -> Any:
        return hist.axis.Boolean(name=name, label=label)

    def mass(finer: int = 1) -> Any:
        bins, low, high = analysis.mass_range
        return hist.axis.Regular(finer * bins, low, high, name="mass", label="Candidate mass [GeV]")

    candidate = ("dataset", "method", "definition", "category")
    correct = hist.axis.Integer(
        UNKNOWN, CORRECT + 1, flow=False, name="correct", label="−1 unknown, 0 wrong, 1 correct"
    )
    particle = analysis.particle
    most_particles, most = analysis.limits()
    classes = analysis.classes_of_events()
    count, weight = hist.storage.Int64(), hist.storage.Weight()
    method = candidate[:3]
    region = [hist.axis.StrCategory([EVERYWHERE], growth=True, name=REGION)] if with_regions else []
    return {
        "candidates": Hist(*axes(*candidate), pt(f"Reconstructed {particle} pT [GeV]"), correct, storage=count),
        "targets": Hist(
            *axes(*candidate), pt(f"Generated {particle} pT [GeV]"), flag("retrieved", "retrieved"), storage=count
        ),
        "candidate_mass": Hist(*axes(*candidate), mass(), correct, *region, storage=weight),
        **{
            f"{kind}_mass": Hist(*axes(*method), mass(finer=2), correct, *region, storage=weight)
            for kind in analysis.fine_mass
        },
        "ranked_mass": Hist(
            *axes(*method), number("rank", "Rank by pT", most_particles + 1), mass(), correct, *region, storage=weight
        ),
        "multiplicity": Hist(*axes("dataset", "collection"), number("n", "Objects per event", 16), storage=weight),
        "generated_pt": Hist(
            *axes("dataset", "definition", "target"), pt(f"Generated {particle} pT [GeV]"), storage=count
        ),
        "generated_mass": Hist(
            *axes("dataset", "definition", "target"),
            hist.axis.Regular(280, 60, 200, name="mass", label=f"Generated {particle} mass [GeV]"),
            storage=weight,
        ),
        "target_mass": Hist(*axes("dataset", "definition", "target"), mass(), storage=weight),
        "event_purity": Hist(
            *axes(*method), number("n", "Candidates", 8), flag("pure", "all candidates correct"), storage=count
        ),
        "event_efficiency": Hist(
            *axes(*method),
            number("n", "Targets", most_particles + 1),
            flag("efficient", "all targets retrieved"),
            storage=count,
        ),
        "confusion": Hist(
            *axes(*method),
            *(number(f"target_{kind}", f"{kind} targets", most + 1) for kind in classes),
            *(number(f"candidate_{kind}", f"{kind} candidates", most + 1) for kind in classes),
            storage=count,
        ),
    }


def generated(kind: str) -> str:
    """What the particles of a kind are called that were generated, with and without a target; the others are ``all``."""
    return f"{kind}, generated"


def fill_multiplicity(
    histograms: Histograms, dataset: str, record: ak.Array, use: npt.NDArray[np.bool_], weight: npt.NDArray[np.float64]
) -> None:
    """Objects above threshold in each event in ``use``, before truncation."""
    for name in (n for n in ("jets", "fatjets", "leptons") if n in record.fields):
        n = counts_of(record[name].pt)[use]
        histograms["multiplicity"].fill(dataset=dataset, collection=name, n=n, weight=weight[use])


def fill_targets(
    histograms: Histograms,
    dataset: str,
    definition: str,
    analysis: Analysis,
    record: ak.Array,
    targets: Targets,
    weight: npt.NDArray[np.float64],
) -> None:
    """Generated pT and mass by what they can be reconstructed as, and the mass of the true assignment."""
    place = {"dataset": dataset, "definition": definition}
    kinds = analysis.kinds.values()
    every = np.ones(targets.pt.shape, dtype=bool)
    masks = {"all": every, **{kind.name: np.zeros_like(every) for kind in kinds}}
    for kind in kinds:
        if len(kind.particles) < targets.pt.shape[1]:  # kinds are particles of their own
            masks[generated(kind.name)] = np.zeros_like(every)
            masks[generated(kind.name)][:, kind.particles] = True
    for kind in kinds:
        exists = targets.exists(kind.name)
        masks[kind.name][:, kind.particles] = exists
        there = np.flatnonzero(exists)
        event, objects = (
            there // exists.shape[1],
            targets.objects[kind.name].reshape(-1, kind.degree).take(there, axis=0),
        )
        mass = invariant_mass(analysis.momentum(record, kind, event, objects))
        histograms["target_mass"].fill(**place, target=kind.name, mass=mass, weight=weight[event])
    for name, mask in masks.items():
        chosen = np.flatnonzero(mask & np.isfinite(targets.pt))
        histograms["generated_pt"].fill(**place, target=name, pt=targets.pt.ravel()[chosen])
        mass = targets.mass.ravel()[chosen]
        histograms["generated_mass"].fill(**place, target=name, mass=mass, weight=weight[chosen // targets.pt.shape[1]])
    merged = np.logical_or.reduce([masks[kind.name] for kind in kinds])
    chosen = np.flatnonzero(merged & np.isfinite(targets.pt))
    histograms["generated_pt"].fill(**place, target=EVERYTHING, pt=targets.pt.ravel()[chosen])


def fill_method(
    histograms: Histograms,
    dataset: str,
    method: str,
    definition: str,
    analysis: Analysis,
    candidates: ak.Array,
    targets: Targets,
    result: Evaluation,
    weight: npt.NDArray[np.float64],
    regions: Mapping[str, npt.NDArray[np.bool_]] | None = None,
) -> None:
    """One method's candidates, and where there is truth what they got right; ``regions`` are masks of the events."""
    has_truth = targets.known
    key = {"dataset": dataset, "method": method, "definition": definition}
    pt, mass = flat(candidates.pt), flat(candidates.mass)
    weight_of = weight[result.event]
    correct = result.correct.astype(np.int64) if has_truth else np.full(len(pt), UNKNOWN)

    def fill_mass(name: str, chosen: npt.NDArray[Any], **more: Any) -> None:
        """Fill the masses of the chosen candidates, in every region where the histogram has them."""
        histogram = histograms[name]
        own = {"mass": mass[chosen], "correct": correct[chosen], "weight": weight_of[chosen], **more}
        if REGION not in [axis.name for axis in histogram.axes]:
            histogram.fill(**key, **own)
            return
        histogram.fill(**key, region=EVERYWHERE, **own)
        for region, events in (regions or {}).items():
            inside = events[result.event[chosen]]
            parts = {n: values[inside] if isinstance(values, np.ndarray) else values for n, values in own.items()}
            histogram.fill(**key, region=region, **parts)

    for category, use in result.categories.items():
        chosen = np.flatnonzero(use.candidates)
        histograms["candidates"].fill(**key, category=category, pt=pt[chosen], correct=correct[chosen])
        fill_mass("candidate_mass", chosen, category=category)
        if has_truth:
            wanted = np.flatnonzero(use.targets)
            histograms["targets"].fill(
                **key, category=category, pt=targets.pt.ravel()[wanted], retrieved=use.retrieved.ravel()[wanted]
            )
    for name in analysis.fine_mass:
        own = np.flatnonzero(flat(candidates.kind) == analysis.kinds[name].number)
        fill_mass(f"{name}_mass", own)
    whole = np.flatnonzero(next(iter(result.categories.values())).candidates)  # what survives overlap removal
    rank = rank_in_event(pt[whole], np.bincount(result.event[whole], minlength=len(candidates)))
    fill_mass("ranked_mass", whole, rank=rank)
    if has_truth:
        events = result.events
        histograms["event_purity"].fill(**key, n=events.n_candidates, pure=events.all_correct)
        histograms["event_efficiency"].fill(**key, n=events.n_targets, efficient=events.all_retrieved)
        histograms["confusion"].fill(
            **key,
            **{f"target_{kind}": events.target_class.get(kind, 0) for kind in analysis.classes_of_events()},
            **{f"candidate_{kind}": events.candidate_class.get(kind, 0) for kind in analysis.classes_of_events()},
        )


def usual(histograms: Mapping[str, Hist]) -> Histograms:
    """What is read where nothing else is asked for: the nominal variation, and masses of all events. No such axis is left."""
    found = {}
    for name, histogram in histograms.items():
        names = [axis.name for axis in histogram.axes]
        wanted = {VARIATION: NOMINAL, **({REGION: EVERYWHERE} if BY_REGION in names else {})}
        place = {n: hist.loc(value) for n, value in wanted.items() if n in names and value in histogram.axes[n]}
        found[name] = histogram[place] if place else histogram
    return found


def along_variations(filled: Mapping[str, Mapping[str, Hist]]) -> Histograms:
    """Histograms of each variation as one of each name, with a last axis of variations.

    Those that some variations did not fill keep their place, empty.
    """
    names = dict.fromkeys(name for histograms in filled.values() for name in histograms)
    return {
        name: _along({v: histograms[name] for v, histograms in filled.items() if name in histograms}) for name in names
    }


def _along(parts: Mapping[str, Hist]) -> Hist:
    first = next(iter(parts.values()))
    axes = []
    for axis in first.axes:
        if isinstance(axis, hist.axis.StrCategory):
            values = dict.fromkeys(value for part in parts.values() for value in part.axes[axis.name])
            axes.append(hist.axis.StrCategory(list(values), growth=True, name=axis.name, label=axis.label))
        else:
            axes.append(axis)
    variation = hist.axis.StrCategory(list(parts), growth=True, name=VARIATION)
    result = Hist(*axes, variation, storage=first.storage_type())
    view = np.asarray(result.view(flow=True))
    for number, part in enumerate(parts.values()):
        place = [
            [*map(axis.index, own)] if isinstance(own, hist.axis.StrCategory) else range(own.extent)
            for axis, own in zip(axes, part.axes, strict=True)
        ]
        view[(*np.ix_(*place), number)] = part.view(flow=True)
    return result


AS_PUBLISHED = "_as_published"  # after the name of a method, of what a run adds to it


def in_order(names: Iterable[str], asked: Sequence[str]) -> list[str]:
    """Names of methods in the order in which they were ``asked`` for, others after them in alphabetical order."""
    places = {name: place for place, name in enumerate(asked)}
    return sorted(names, key=lambda name: (places.get(name.removesuffix(AS_PUBLISHED), len(places)), name))


def canonical(histogram: Hist, methods: Sequence[str] = ()) -> Hist:
    """The same contents with every growing category axis sorted: the order of filling leaves no trace.

    The axis of methods is in the order of ``methods`` (:func:`in_order`). Other axes, and what they have of overflow, stay as
    they are.
    """
    orders, axes = [], []
    for axis in histogram.axes:
        if isinstance(axis, hist.axis.StrCategory | hist.axis.IntCategory) and axis.traits.growth:
            names = list(axis)
            ordered = in_order(names, methods) if axis.name == "method" else sorted(names)
            orders.append(np.array([names.index(name) for name in ordered], dtype=np.int64))
            axes.append(type(axis)(ordered, growth=True, name=axis.name, label=axis.label))
        else:
            orders.append(np.arange(axis.extent))
            axes.append(axis)
    result = Hist(*axes, storage=histogram.storage_type())
    result.view(flow=True)[...] = histogram.view(flow=True)[np.ix_(*orders)]
    return result
