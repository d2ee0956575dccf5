"""CMS NanoAOD (versions 9, 12, 15) → the event record.

The branches are those that the version has (:mod:`hhh_coffea.events.nanoaod.names`); which of several taggers, which
event cuts and which corrections is said by the metadata section ``nanoaod``. docs/nanoaod.md tells the whole.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt
from coffea.nanoevents import NanoAODSchema

from hhh_coffea.base.arrays import IntArray, records
from hhh_coffea.base.kinematics import FloatArray
from hhh_coffea.base.once import Once
from hhh_coffea.datasets.fileset import DatasetMetadata, FilesetError
from hhh_coffea.datasets.nanoaod_options import BTAG, DIRECTIONS, NOMINAL, NanoAODOptions
from hhh_coffea.events import coupling_weights
from hhh_coffea.events.generator import HIGGS, first_copies, higgs_to_bb
from hhh_coffea.events.nanoaod import btag_weights, corrections, event_cuts, event_weights, jet_id, jet_list
from hhh_coffea.events.nanoaod import fatjets as nanoaod_fatjets
from hhh_coffea.events.nanoaod import leptons as nanoaod_leptons
from hhh_coffea.events.nanoaod import names as nanoaod_names
from hhh_coffea.events.nanoaod.columns import KINEMATICS, column, flat_values, is_data, kinematics, values
from hhh_coffea.events.nanoaod.jets import FATJETS, FIELDS, GENERATED, JETS, Jets, affects, leaf_of
from hhh_coffea.events.nanoaod.names import REGRESSIONS, RHO, Names, resolve
from hhh_coffea.events.record import (
    COUPLING_WEIGHTS,
    MULTI_HIGGS,
    TRUTH,
    Columns,
    Reading,
    accepted,
    finite_kinematics,
    ordered_collection,
    shared_out,
)
from hhh_coffea.events.tops import top_decays

IS_LAST_COPY = 13  # bit of GenPart_statusFlags


class QuietNanoAODSchema(NanoAODSchema):  # type: ignore[misc]
    """coffea's schema, silent about references to collections that are not read."""

    warn_missing_crossrefs = False


SCHEMA = QuietNanoAODSchema


def options_of(metadata: DatasetMetadata) -> NanoAODOptions:
    """The section ``nanoaod`` of the metadata, or its defaults."""
    return metadata.nanoaod or NanoAODOptions()


def branches(
    metadata: DatasetMetadata, extra_features: Collection[str] = (), collections: Collection[str] = MULTI_HIGGS
) -> list[str]:
    """Names of the branches that :func:`read` may touch, or coffea's schema needs to know of.

    Versions differ, and files are not opened here: of alternatives all are listed, and only what a file has is read.

    Raises
    ------
    FilesetError
        for a large-radius-jet feature that NanoAOD does not have, or a correction that is not in its file.
    """
    options = options_of(metadata)
    with_fatjets = "fatjets" in collections
    leaves = {
        name: {*KINEMATICS, *jet_id.leaves(options.jet_id)} for name in ((JETS, FATJETS) if with_fatjets else (JETS,))
    }
    leaves[JETS] |= {f"btag{tagger}" for tagger in nanoaod_names.WORKING_POINTS} | {"hadronFlavour"}
    singles = {"run", "luminosityBlock", "event", "genWeight"}
    extra = shared_out(extra_features)
    leaves[JETS] |= set(jet_list.leaves(extra["jets"]))
    singles |= set(nanoaod_fatjets.branches(extra["fatjets"])) | set(event_cuts.branches(options))
    singles |= set(nanoaod_leptons.lepton_branches(options.leptons)) if "leptons" in collections else set()
    singles |= set(nanoaod_leptons.met_branches(options)) if "met" in collections else set()
    singles |= {mark for marks in nanoaod_names.YEAR_MARKS.values() for _, mark in marks}
    if options.use_regressed_pt:
        singles |= {branch for factors, _ in REGRESSIONS.values() for branch in factors} | {"Jet_rawFactor"}
    for name, given in ((JETS, options.corrections.jets), (FATJETS, options.corrections.fatjets)):
        if name not in leaves:
            continue
        inputs = corrections.inputs_of(given, FIELDS[name])
        leaves[name] |= ({"area"} if "JetA" in inputs else set()) | ({"rawFactor"} if given and given.jec else set())
        singles |= set(RHO) if "Rho" in inputs else set()
        if given is not None and given.resolution is not None:
            generated, link = GENERATED[name]
            leaves[name].add(link)
            leaves[generated] = set(KINEMATICS)
    if options.corrections.btag is not None:
        btag_weights.check(options.corrections.btag)
    singles |= set(event_weights.branches(options.corrections, options.leptons))
    if metadata.is_signal and set(TRUTH).intersection(collections):
        leaves["GenPart"] = {*KINEMATICS, "pdgId", "genPartIdxMother", "statusFlags"}
    if COUPLING_WEIGHTS in collections and (weights := coupling_weights.wanted(metadata)) is not None:
        singles |= {str(weights.branch), f"n{weights.branch}"}
    if options.lepton_veto is not None:  # coffea's leptons are four-vectors with a charge
        leaves |= {name: {*KINEMATICS, "charge"} for name in ("Electron", "Muon")}
    jagged = [f"{name}_{leaf}" for name, some in leaves.items() for leaf in some] + [f"n{name}" for name in leaves]
    return sorted({*jagged, *singles})


def read(
    events: Any,
    metadata: DatasetMetadata,
    extra_features: Collection[str] = (),
    variation: str = NOMINAL,
    collections: Collection[str] = MULTI_HIGGS,
    shared: Once | None = None,
) -> Reading:
    """Turn a chunk of ``NanoEvents`` with ``NanoAODSchema`` into the event record.

    Parameters
    ----------
    events
        chunk with ``events.metadata`` holding ``fileuuid`` and ``entrystart`` (coffea sets both)
    metadata
        of the dataset; its section ``nanoaod`` rules what is read, cut and corrected
    extra_features
        which of :data:`hhh_coffea.events.nanoaod.jet_list.FEATURES` (as ``jets.n_charged``) and of
        :data:`hhh_coffea.events.nanoaod.fatjets.FEATURES` to compute
    variation
        ``nominal``, or a variation of the jets: ``jer_up``, ``jes_down``, … as the corrections are named
    collections
        what to read beside the jets, out of :data:`hhh_coffea.events.record.COLLECTIONS`
    shared
        of all readings of these events: what does not vary is computed once, and its ``dropped`` is told once

    Raises
    ------
    KeyError
        naming the branch that is missing, what needs it, and what the file has instead.
    FilesetError
        naming the metadata field that these events cannot serve.
    """
    options, once = options_of(metadata), shared or Once()
    names = once("names", lambda: resolve(events, options))
    data = is_data(events)
    if data:
        _check_data(metadata, options)
    selection = metadata.selection
    dropped: dict[str, int] = {}

    jets = Jets.of(events, JETS, names.version, options.use_regressed_pt, options.corrections.jets, once)
    counts = jets.counts
    columns = jets.varied(variation)
    record: dict[str, Any] = {}
    if "met" in collections:
        # the regression estimates a parton and its neutrinos, and does not move MET
        gained = columns["pt"] / np.where(jets.regressed["pt"] > 0, jets.regressed["pt"], 1) - 1
        record |= nanoaod_leptons.met(events, options, names.version, counts, jets.stored, gained)
    columns |= once("tags", lambda: _tags(events, names, data))
    extra = shared_out(extra_features)
    columns |= jet_list.features(events, extra["jets"])
    pt = jet_list.threshold_pt(options.jets, jets, columns)
    keep = accepted({**columns, "pt": pt}, selection.jet_pt_min, selection.jet_abs_eta_max)
    keep = _identified(events, JETS, columns, keep, options, names, dropped, "jets", once)
    if "leptons" in collections:
        record["leptons"] = once("leptons", lambda: nanoaod_leptons.leptons(events, options.leptons, dropped))
        keep &= nanoaod_leptons.clear_of_leptons(columns, counts, keep, record["leptons"], options.leptons, dropped)
    record["jets"] = ordered_collection(columns, counts, keep, jet_list.first(options.jets, columns, counts, keep))
    if "fatjets" in collections:
        own = variation if affects(options.corrections.fatjets, variation) else NOMINAL
        record["fatjets"] = once(
            ("fatjets", own), lambda: _fatjets(events, metadata, extra["fatjets"], own, names, dropped, once)
        )
    if metadata.is_signal:
        truth = {"higgs": generated_higgs, "hard_higgs": higgs_before_shower, "tops": generated_tops}
        record |= {name: once(name, partial(truth[name], events)) for name in truth if name in collections}
    record["weight"] = np.ones(len(events)) if data else values(events, "genWeight").astype(np.float64)
    if COUPLING_WEIGHTS in collections and (given := coupling_weights.wanted(metadata)) is not None:
        stored = column(events, str(given.branch), "metadata field 'couplings'")
        record[COUPLING_WEIGHTS] = coupling_weights.coupling_weights(stored, given)
    record["id"] = events.metadata["entrystart"] + np.arange(len(events), dtype=np.int64)
    cuts = once("cuts", lambda: event_cuts.event_cuts(events, options, names.year))
    if cuts := {**cuts, **jet_list.cuts(options.jets, columns, pt, counts, keep)}:
        record["cuts"] = records(cuts)
    # variations of the weights belong to the nominal jets alone
    factors, shifts = _weights(events, options, columns, counts, keep, variation == NOMINAL, once)
    if factors:
        record["weights"] = records(factors)
    if shifts:
        record["shifts"] = records(shifts)
    return Reading(records(record), dropped)


def _tags(events: Any, names: Names, data: bool) -> Columns:
    score = flat_values(events, names.tagger)
    tags = {"btag": (score > names.btag_cut).astype(np.int8), "btag_score": score}
    for number, points in nanoaod_names.working_points(names.tagger.removeprefix("Jet_btag"), names.year).items():
        exceeded = np.searchsorted(points, np.nan_to_num(score, nan=-1.0))  # how many of the working points
        tags[f"btag_wp{number}"] = exceeded.astype(np.int8)
    return tags if data else {**tags, "flavor": flat_values(events, "Jet_hadronFlavour").astype(np.int32)}


def _weights(
    events: Any,
    options: NanoAODOptions,
    columns: Columns,
    counts: IntArray,
    keep: npt.NDArray[np.bool_],
    with_shifts: bool,
    once: Once,
) -> tuple[dict[str, FloatArray], dict[str, FloatArray]]:
    """Factors of the event weight by name, and what varies it relative to them."""
    given = options.corrections
    others = once("weights", lambda: event_weights.applied(event_weights.event_weights(events, given, options.leptons)))
    factors: dict[str, FloatArray] = {}
    shifts: dict[str, FloatArray] = {}
    if given.btag is not None:
        systematics = tuple(btag_weights.SYSTEMATICS) if with_shifts else (btag_weights.CENTRAL,)
        found = btag_weights.btag_weights(columns, counts, keep, options.working_point, given.btag, systematics)
        central = found[btag_weights.CENTRAL]
        up, down = (found.get(way, central) for way in DIRECTIONS)
        factors, shifts = event_weights.applied({BTAG: (central, up, down)})
    return {**factors, **others[0]}, {**shifts, **others[1]} if with_shifts else {}


def describe(events: Any, metadata: DatasetMetadata) -> str:
    """How a file is read, in words."""
    options = options_of(metadata)
    names = resolve(events, options)
    kind = "data" if is_data(events) else "simulation"
    pt = ", regressed pT" if options.use_regressed_pt else ""
    cut = f"{names.tagger} > {names.btag_cut:g}"
    year = names.year if options.year else f"{names.year} (guessed)"
    return f"NanoAOD v{names.version}, {kind}, {year}, b tag {cut}, jet ID {options.jet_id}{pt}"


def generated_higgs(events: Any) -> ak.Array:
    """H → bb of the generator record: the last copy of a Higgs boson, and the b quarks whose mother it is."""
    counts, momenta = kinematics(events, "GenPart")
    pid = flat_values(events, "GenPart_pdgId")
    flags = flat_values(events, "GenPart_statusFlags").astype(np.int64)
    last = np.flatnonzero(((flags >> IS_LAST_COPY) & 1).astype(bool) & (pid == HIGGS))
    return higgs_to_bb(counts, pid, flat_values(events, "GenPart_genPartIdxMother"), last, momenta)


def higgs_before_shower(events: Any) -> ak.Array:
    """Every Higgs boson of the hard process, see :func:`hhh_coffea.events.generator.first_copies`."""
    counts, momenta = kinematics(events, "GenPart")
    pid, mother = (flat_values(events, f"GenPart_{leaf}") for leaf in ("pdgId", "genPartIdxMother"))
    return first_copies(counts, pid, mother, momenta)


def generated_tops(events: Any) -> ak.Array:
    """Every top quark with its decay, see :func:`hhh_coffea.events.tops.top_decays`."""
    counts, momenta = kinematics(events, "GenPart")
    pid, mother = (flat_values(events, f"GenPart_{leaf}") for leaf in ("pdgId", "genPartIdxMother"))
    return top_decays(counts, pid, mother, momenta)


def _fatjets(
    events: Any,
    metadata: DatasetMetadata,
    features: Collection[str],
    variation: str,
    names: Names,
    dropped: dict[str, int],
    once: Once,
) -> ak.Array:
    options, selection = options_of(metadata), metadata.selection
    fatjets = Jets.of(events, FATJETS, names.version, False, options.corrections.fatjets, once)
    columns = fatjets.varied(variation)
    columns |= nanoaod_fatjets.features(events, columns, fatjets.stored, features, options, names.version)
    keep = accepted(columns, selection.fatjet_pt_min, selection.fatjet_abs_eta_max)
    keep = _identified(events, FATJETS, columns, keep, options, names, dropped, "large-radius jets", once)
    return ordered_collection(columns, fatjets.counts, keep)


def _check_data(metadata: DatasetMetadata, options: NanoAODOptions) -> None:
    given = options.corrections
    wrong = {
        "is_signal": metadata.is_signal,
        "nanoaod.corrections.btag": given.btag is not None,
        "nanoaod.corrections.weights": bool(given.weights),
        "nanoaod.corrections.theory": bool(given.theory),
        **{
            f"nanoaod.corrections.{name}.{field}": jets is not None and bool(getattr(jets, field))
            for name, jets in (("jets", given.jets), ("fatjets", given.fatjets))
            for field in ("uncertainties", "resolution")
        },
    }
    for field, is_wrong in wrong.items():
        if is_wrong:
            raise FilesetError(
                f"metadata field {field!r} is for simulated events; these are data (no branch genWeight)"
            )


def _identified(
    events: Any,
    collection: str,
    columns: Columns,
    keep: npt.NDArray[np.bool_],
    options: NanoAODOptions,
    names: Names,
    dropped: dict[str, int],
    noun: str,
    once: Once,
) -> npt.NDArray[np.bool_]:
    """Of the jets in ``keep`` those with finite kinematics that pass the jet ID; others are counted in ``dropped``."""
    finite = finite_kinematics(columns)
    dropped[f"{noun} with non-finite kinematics"] = int((~finite).sum())
    leaf = leaf_of(events, collection, "jet_id")
    passes = once((collection, "ID"), lambda: jet_id.passes(events, collection, options.jet_id, names.version, leaf))
    keep = keep & finite
    if passes is None:
        return keep
    dropped[f"{noun} that fail the jet ID"] = int((keep & ~passes).sum())
    return keep & passes
