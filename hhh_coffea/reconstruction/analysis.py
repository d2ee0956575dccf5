"""An analysis as it is declared: what one family of events is made of, in one place.

Everything else in the package speaks of targets, daughters and kinds. docs/bring_your_own.md shows a declaration.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import awkward as ak
import numpy as np
import numpy.typing as npt

from hhh_coffea.base.arrays import IntArray, counts_of, flat
from hhh_coffea.base.errors import UserError, did_you_mean
from hhh_coffea.base.kinematics import Cartesian
from hhh_coffea.datasets.fileset import DatasetMetadata
from hhh_coffea.events.record import COLLECTIONS
from hhh_coffea.reconstruction.candidates import make_candidates, summed_momentum
from hhh_coffea.reconstruction.couplings import Couplings
from hhh_coffea.reconstruction.metrics import Category, Evaluation, evaluate, one_for_each_kind
from hhh_coffea.reconstruction.observables import check_region
from hhh_coffea.reconstruction.quantities import Quantity
from hhh_coffea.reconstruction.targets import Targets, no_targets
from hhh_coffea.topology.kinds import NONE, Kind, kinds_of
from hhh_coffea.topology.topology import Topology

Masks = Mapping[str, npt.NDArray[np.bool_]]


class Kept(NamedTuple):
    """How many objects of an event the methods see."""

    jets: int
    fatjets: int


class Generated(NamedTuple):
    """How to tell a user that a sample holds other events than its metadata say."""

    cut: str  # name of the cut that asks for them
    count: Callable[[ak.Array], Any]  # record → ``(N,)`` decays that the analysis looks for
    advice: Callable[[int], str]  # their number → what to write into the metadata


class MassPlane(NamedTuple):
    """The plane of the masses (GeV) of the two candidates of largest pT, that of larger pT first."""

    bins: int  # of each axis
    low: float
    high: float
    circles: tuple[tuple[float, float, float, str], ...]  # of what its figure shows as regions: centre, radius, name


class PublishedAssignments(NamedTuple):
    """Published efficiencies of whole assignments, by number of jets."""

    source: str  # the publication
    # method → all or full → name of the bin of jets → event and targets in their order (%)
    rows: Mapping[str, Mapping[str, Mapping[str, tuple[float, ...]]]]


@dataclass(frozen=True)
class Analysis:
    """One family of events.

    Parameters
    ----------
    name
        what filesets and results call it
    topology
        targets, their daughters, inputs and symmetries
    match
        ``(record, definitions, kept) → {definition: Targets}``: truth in signal. ``record`` holds all objects above
        threshold of selected events, and positions count in its sorted lists; targets that need an object beyond the ``kept``
        ones are removed afterwards
    methods
        what reconstructs it, by name (:class:`hhh_coffea.methods.method.Method`)
    definitions
        sets of definitions that ``match`` and ``categories`` know
    categories
        by definition: which candidates and targets a row of the summary counts, the first for whole events. All kinds
        together (``all``) and each on its own when not given
    collections
        of the event record that are read beside the jets
    refine
        record → record with fewer objects, before the cuts
    cuts
        ``(record, is_signal) → {name: mask}`` beside the number of jets, in their order
    late_cuts
        the same, applied after the number of jets
    min_jets
        small-radius jets an event must have, unless the metadata ask for more; what its targets need when not given
    max_jets
        small-radius jets kept, unless the metadata say otherwise
    beyond
        by kind: record → ``(N,)`` momenta (GeV) that belong to it beside its daughters
    kind_names, particle, symbol
        what kinds and particles are called in tables and figures
    daughter_names
        by kind: columns of the candidate table that hold its daughters; their names in the topology when not given
    classes
        kinds by which events are classified in the confusion figure, in order of preference; all when not given
    most
        the greatest numbers of particles and of members of a kind in this family of analyses: analyses that share it
        can be run together. Those of the topology when not given
    mass_range
        of candidate masses in histograms (GeV)
    fine_mass
        kinds whose mass is histogrammed in finer bins as well
    published
        by definition: methods evaluated beside others, as the published analysis ran them
    generated
        for the advice to users whose sample does not fit
    jet_bins
        numbers of jets, the last for all above, in which the efficiency of whole assignments is counted: for methods that
        give every target of every event a candidate (:mod:`hhh_coffea.results.assignment_efficiency`)
    marks
        record of one event of signal → (particle, marker, η, φ) of what was generated, for its picture
    regions
        of its selected events by name, as expressions (:mod:`hhh_coffea.reconstruction.observables`); a run may add others
    mass_plane
        histogrammed, and drawn, where it is declared beside regions
    event_columns
        further columns of the table of events (``--events``) by name, as expressions too
    couplings
        parameters of the theory that event weights depend on
    quantities
        what the main job histograms of its events beside what it does for every analysis
    labels
        what figures call targets and other items of its quantities, in mathtext; their names when not given
    published_assignments
        published efficiencies of whole assignments, for ``--overlay-published``
    regressions, classifications
        what a network may learn beside the targets, by key of the event YAML (``EVENT/mass``): record of signal →
        ``(N,)`` true values, NaN where unknown; ``(record, is_signal)`` → ``(N,)`` numbers of classes
    outputs
        columns of candidates that some of its methods fill beside the usual ones; NaN for other methods
    made_from
        file and SHA-256, for one of the user's own
    """

    name: str
    topology: Topology
    match: Callable[[ak.Array, Collection[str], Kept], Mapping[str, Targets]]
    methods: Mapping[str, Any] = field(default_factory=dict)
    definitions: tuple[str, ...] = ("default",)
    categories: Mapping[str, Mapping[str, Category]] = field(default_factory=dict)
    collections: tuple[str, ...] = ()
    refine: Callable[[ak.Array], ak.Array] | None = None
    cuts: Callable[[ak.Array, bool], Masks] | None = None
    late_cuts: Callable[[ak.Array, bool], Masks] | None = None
    min_jets: int | None = None
    max_jets: int = 10
    beyond: Mapping[str, Callable[[ak.Array], Cartesian]] = field(default_factory=dict)
    kind_names: tuple[str, ...] = ()
    daughter_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    particle: str = "particle"
    symbol: str = ""
    classes: tuple[str, ...] = ()
    most: tuple[int, int] | None = None
    mass_range: tuple[int, float, float] = (80, 0.0, 400.0)  # bins, GeV, GeV
    fine_mass: tuple[str, ...] = ()
    published: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    generated: Generated | None = None
    jet_bins: tuple[int, ...] = ()
    marks: Callable[[ak.Array], list[tuple[int, str, float, float]]] | None = None
    regions: Mapping[str, str] = field(default_factory=dict)
    mass_plane: MassPlane | None = None
    event_columns: Mapping[str, str] = field(default_factory=dict)
    couplings: Couplings | None = None
    quantities: tuple[Quantity, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    published_assignments: PublishedAssignments | None = None
    regressions: Mapping[str, Callable[[ak.Array], npt.NDArray[np.float64]]] = field(default_factory=dict)
    classifications: Mapping[str, Callable[[ak.Array, bool], IntArray]] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    made_from: tuple[str, str] | None = None
    kinds: dict[str, Kind] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """The kinds of its targets, by name; ValueError where ``kind_names`` do not fit."""
        object.__setattr__(self, "kinds", kinds_of(self.topology, self.kind_names))
        if plain := [name for name, method in self.methods.items() if not hasattr(method, "reconstruct")]:
            raise TypeError(
                f"analysis {self.name!r}: method {plain[0]!r} is a bare function: wrap it, method_of(function)"
            )
        for name, text in {**self.regions, **self.event_columns}.items():
            check_region(f"analysis {self.name!r}", name, text)
        if unknown := sorted(set(self.collections) - set(COLLECTIONS)):
            raise ValueError(
                f"analysis {self.name!r}: no collection {unknown[0]!r}{did_you_mean(unknown[0], COLLECTIONS)}; there are "
                f"{', '.join(COLLECTIONS)}"
            )

    @property
    def n_particles(self) -> int:
        """Particles to look for in an event."""
        return len(self.topology.alternatives)

    def particle_names(self) -> list[str]:
        """H1, H2, … where there is a symbol; else the names of their targets."""
        if self.symbol:
            return [f"{self.symbol}{i + 1}" for i in range(self.n_particles)]
        return [self.topology.targets[members[0]].name for members in self.topology.alternatives]

    @property
    def jets_needed(self) -> int:
        """Small-radius jets that all particles need together, each in the kind that needs most."""
        degrees = np.zeros(self.n_particles, dtype=int)
        for kind in self.kinds.values():
            for particle in kind.particles:
                degrees[particle] = max(degrees[particle], kind.collections.count("jets"))
        return int(degrees.sum())

    def kept(self, metadata: DatasetMetadata) -> Kept:
        """Objects of an event that the methods see."""
        n_fatjets = sum(len(k.members) * k.collections.count("fatjets") for k in self.kinds.values())
        return Kept(metadata.selection.max_jets or self.max_jets, metadata.selection.max_fatjets or max(n_fatjets, 1))

    def jets_required(self, metadata: DatasetMetadata) -> int:
        """Small-radius jets an event must have."""
        return metadata.selection.min_jets or (self.min_jets if self.min_jets is not None else self.jets_needed)

    def check(self, metadata: DatasetMetadata) -> None:
        """Check the selection of a dataset.

        Raises
        ------
        UserError
            if it keeps or requires fewer jets than the targets need.
        """
        selection, needed = metadata.selection, self.jets_needed
        if (kept := self.kept(metadata).jets) < needed:
            raise UserError(f"selection.max_jets = {kept} cannot hold the {needed} jets of analysis {self.name!r}")
        if selection.min_jets is not None and selection.min_jets < needed:
            raise UserError(
                f"selection.min_jets = {selection.min_jets} is below the {needed} jets of analysis {self.name!r}"
            )

    def categories_of(self, definition: str) -> Mapping[str, Category]:
        """Categories of a set of definitions by name."""
        return self.categories.get(definition) or one_for_each_kind(self.kinds)

    def asked_for(self, definitions: Sequence[str]) -> tuple[str, ...]:
        """Of the sets of definitions asked for those that it has; its own ``default`` where it has none of them."""
        return tuple(d for d in definitions if d in self.definitions) or self.definitions[:1]

    def classes_of_events(self) -> tuple[str, ...]:
        """Kinds by which events are classified."""
        return self.classes or tuple(self.kinds)

    def limits(self) -> tuple[int, int]:
        """Most particles of an event, and most members of a kind, in this family of analyses."""
        return self.most or (self.n_particles, max(len(k.members) for k in self.kinds.values()))

    def targets(
        self, record: ak.Array, definitions: Collection[str], is_signal: bool, kept: Kept
    ) -> dict[str, Targets]:
        """Targets by definition; there are none outside signal."""
        if not is_signal:
            return dict.fromkeys(definitions, no_targets(len(record), self.kinds, self.n_particles))
        found = self.match(record, definitions, kept) if definitions else {}
        if not isinstance(found, dict) or set(definitions) - set(found):
            raise TypeError(f"{self.at}: match() must return Targets for each of {', '.join(definitions)}, in a dict")
        for targets in found.values():
            self._check_targets(targets, len(record))
        return {definition: self._of_kept(targets, kept) for definition, targets in found.items()}

    @property
    def at(self) -> str:
        """The analysis and its file, for messages."""
        return f"analysis {self.name!r}" + (f" of {Path(self.made_from[0]).name}" if self.made_from else "")

    def _check_targets(self, targets: Targets, n_events: int) -> None:
        if not isinstance(targets, Targets):
            raise TypeError(f"{self.at}: match() must return Targets in its dict, not {type(targets).__name__}")
        if set(targets.objects) != set(self.kinds):
            has, wants = ", ".join(targets.objects), ", ".join(self.kinds)
            raise ValueError(f"{self.at}: match() returned targets of the kinds {has}; the topology has {wants}")
        wanted: dict[str, tuple[int, ...]] = {
            f"objects[{k.name!r}]": (n_events, len(k.members), k.degree) for k in self.kinds.values()
        }
        given = {f"objects[{name!r}]": array for name, array in targets.objects.items()}
        wanted |= {"pt": (n_events, self.n_particles), "mass": (n_events, self.n_particles)}
        for name, array in {**given, "pt": targets.pt, "mass": targets.mass}.items():
            if np.shape(array) != wanted[name]:
                raise ValueError(
                    f"{self.at}: match() returned Targets with {name} of shape {np.shape(array)}, not {wanted[name]}; "
                    "it is called for chunks without events too"
                )

    def masks(self, name: Literal["cuts", "late_cuts"], record: ak.Array, is_signal: bool) -> Masks:
        """What ``cuts`` or ``late_cuts`` returns, checked: a mask for each event, by name of the cut."""
        function = {"cuts": self.cuts, "late_cuts": self.late_cuts}[name]
        if function is None:
            return {}
        made = function(record, is_signal)
        if not isinstance(made, Mapping):
            raise TypeError(f"{self.at}: {name}() must return a dict of masks by name, not {type(made).__name__}")
        for cut, mask in made.items():
            if np.ndim(mask) != 1 or len(mask) != len(record):
                raise ValueError(f"{self.at}: {name}(), cut {cut!r}: a mask has one value for each of the events")
        return made

    def _of_kept(self, targets: Targets, kept: Kept) -> Targets:
        """Targets without those that need an object beyond the kept ones."""
        limits = kept._asdict()
        objects = {}
        for kind in self.kinds.values():
            positions = targets.objects[kind.name]
            most = [limits.get(name, np.iinfo(np.int64).max) for name in kind.collections]
            beyond = np.logical_or.reduce([positions[..., d] >= limit for d, limit in enumerate(most)])
            objects[kind.name] = np.where(beyond[..., None], NONE, positions) if beyond.any() else positions
        return replace(targets, objects=objects)

    def candidates(
        self,
        record: ak.Array,
        kind: str,
        objects: npt.NDArray[Any],
        assignment_probability: npt.NDArray[Any] | float = 1.0,
        detection_probability: npt.NDArray[Any] | float = 1.0,
        outputs: Mapping[str, npt.NDArray[Any]] | None = None,
    ) -> ak.Array:
        """Candidates of one kind at ``(N, C, k)`` positions: see :func:`hhh_coffea.reconstruction.candidates.make_candidates`.

        Of ``outputs`` those that the analysis declares become columns, and so does ``probability``.

        Raises
        ------
        KeyError
            if it has no kind of this name.
        """
        if kind not in self.kinds:
            raise KeyError(f"analysis {self.name!r} has no kind {kind!r}; there are {', '.join(self.kinds)}")
        beyond = self.beyond[kind](record) if kind in self.beyond else None
        outputs = outputs or {}
        given: dict[str, Any] = {name: outputs.get(name, np.nan) for name in self.outputs}
        given |= {name: outputs[name] for name in ("probability",) if name in outputs}
        probabilities = assignment_probability, detection_probability
        return make_candidates(record, self.kinds[kind], objects, *probabilities, beyond, given)

    def columns(self) -> dict[str, list[tuple[int, int, str]]]:
        """Columns of the candidate table: name → (number of the kind, daughter, collection) of all that share it."""
        found: dict[str, list[tuple[int, int, str]]] = {}
        for kind in self.kinds.values():
            names = self.daughter_names.get(kind.name, kind.daughters)
            for daughter, (name, collection) in enumerate(zip(names, kind.collections, strict=True)):
                found.setdefault(name, []).append((kind.number, daughter, collection))
        return found

    def with_columns(self, candidates: ak.Array) -> ak.Array:
        """Candidates with a field for each of :meth:`columns`: the position in the record's list, −1 where there is none."""
        kind, objects, counts = flat(candidates.kind), flat(candidates.objects), counts_of(candidates.kind)
        for name, places in self.columns().items():
            positions = np.full(len(kind), NONE, dtype=np.int64)
            for number, daughter, _ in places:
                own = kind == number
                positions[own] = objects[own, daughter]
            candidates = ak.with_field(candidates, ak.unflatten(positions, counts), name)
        return candidates

    def evaluate(self, candidates: ak.Array, targets: Targets, definition: str) -> Evaluation:
        """What candidates got right: see :func:`hhh_coffea.reconstruction.metrics.evaluate`."""
        classes = [name for name in self.classes_of_events() if name in self.kinds]
        return evaluate(candidates, targets, self.kinds, self.categories_of(definition), classes)

    def momentum(self, record: ak.Array, kind: Kind, event: IntArray, objects: IntArray) -> Cartesian:
        """Momenta (GeV) of targets or candidates of a kind: daughters at ``(C, k)`` positions in the events ``(C,)``."""
        total = summed_momentum(record, kind, event, objects)
        if kind.name not in self.beyond:
            return total
        return Cartesian(*(a + b[event] for a, b in zip(total, self.beyond[kind.name](record), strict=True)))


def jet_cut(min_jets: int) -> str:
    """Name of the cut on the number of small-radius jets."""
    return f"≥ {min_jets} jets"


def jet_mask(record: ak.Array, min_jets: int) -> npt.NDArray[np.bool_]:
    """Events with at least so many small-radius jets."""
    enough: npt.NDArray[np.bool_] = counts_of(record.jets.pt) >= min_jets
    return enough
