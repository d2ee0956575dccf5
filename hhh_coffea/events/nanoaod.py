"""CMS NanoAOD (versions 9, 12, 15) → the event record.

The branches are those that the version has (:mod:`hhh_coffea.events.nanoaod_names`); which of several taggers, which
event cuts and which corrections is said by the metadata section ``nanoaod``. docs/nanoaod.md tells the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt
from coffea.nanoevents import NanoAODSchema

from hhh_coffea.events import btag_weights, corrections, event_cuts, jet_id, nanoaod_fatjets, nanoaod_names
from hhh_coffea.events.corrections import Generated, RandomSeed
from hhh_coffea.events.higgs import HIGGS, higgs_to_bb
from hhh_coffea.events.nanoaod_columns import KINEMATICS, flat_values, has, is_data, kinematics, values
from hhh_coffea.events.nanoaod_names import REGRESSION_ORDER, REGRESSIONS, RHO, Names, resolve
from hhh_coffea.events.record import Columns, Reading, accepted, finite_kinematics, ordered_collection
from hhh_coffea.fileset import DatasetMetadata, FilesetError
from hhh_coffea.jagged import IntArray, counts_of, event_index, position_in_event
from hhh_coffea.kinematics import FloatArray
from hhh_coffea.nanoaod_options import BTAG, NOMINAL, JetCorrections, NanoAODOptions

JETS, FATJETS = "Jet", "FatJet"
RADIUS = {JETS: 0.4, FATJETS: 0.8}
GENERATED = {JETS: ("GenJet", "genJetIdx"), FATJETS: ("GenJetAK8", "genJetAK8Idx")}
IS_LAST_COPY = 13  # bit of GenPart_statusFlags


class SCHEMA(NanoAODSchema):  # type: ignore[misc]
    """coffea's schema, silent about references to collections that are not read."""

    warn_missing_crossrefs = False


def options_of(metadata: DatasetMetadata) -> NanoAODOptions:
    """The section ``nanoaod`` of the metadata, or its defaults."""
    return metadata.nanoaod or NanoAODOptions()


def branches(metadata: DatasetMetadata, fatjet_features: Collection[str] = ()) -> list[str]:
    """Names of the branches that :func:`read` may touch, or coffea's schema needs to know of.

    Versions differ, and files are not opened here: of alternatives all are listed, and only what a file has is read.

    Raises
    ------
    FilesetError
        for a fat-jet feature that NanoAOD does not have, or a correction that is not in its file.
    """
    options = options_of(metadata)
    leaves = {JETS: {*KINEMATICS, *jet_id.leaves(options.jet_id)}, FATJETS: {*KINEMATICS, *jet_id.leaves(options.jet_id)}}
    leaves[JETS] |= {f"btag{tagger}" for tagger in nanoaod_names.WORKING_POINTS} | {"hadronFlavour"}
    singles = {"run", "luminosityBlock", "event", "genWeight"}
    singles |= set(nanoaod_fatjets.branches(fatjet_features)) | set(event_cuts.branches(options))
    singles |= {mark for marks in nanoaod_names.YEAR_MARKS.values() for _, mark in marks}
    if options.use_regressed_pt:
        singles |= {branch for factors, _ in REGRESSIONS.values() for branch in factors} | {"Jet_rawFactor"}
    for name, given in ((JETS, options.corrections.jets), (FATJETS, options.corrections.fatjets)):
        inputs = corrections.inputs_of(given, "jets" if name == JETS else "fatjets")
        leaves[name] |= ({"area"} if "JetA" in inputs else set()) | ({"rawFactor"} if given and given.jec else set())
        singles |= set(RHO) if "Rho" in inputs else set()
        if given is not None and given.resolution is not None:
            generated, link = GENERATED[name]
            leaves[name].add(link)
            leaves[generated] = set(KINEMATICS)
    if options.corrections.btag is not None:
        btag_weights.check(options.corrections.btag)
    if metadata.is_signal:
        leaves["GenPart"] = {*KINEMATICS, "pdgId", "genPartIdxMother", "statusFlags"}
    if options.lepton_veto is not None:  # coffea's leptons are four-vectors with a charge
        leaves |= {name: {*KINEMATICS, "charge"} for name in ("Electron", "Muon")}
    jagged = [f"{name}_{leaf}" for name, some in leaves.items() for leaf in some] + [f"n{name}" for name in leaves]
    return sorted({*jagged, *singles})


def read(
    events: Any, metadata: DatasetMetadata, fatjet_features: Collection[str] = (), variation: str = NOMINAL
) -> Reading:
    """Turn a chunk of ``NanoEvents`` with ``NanoAODSchema`` into the event record.

    Parameters
    ----------
    events
        chunk with ``events.metadata`` holding ``fileuuid`` and ``entrystart`` (coffea sets both)
    metadata
        of the dataset; its section ``nanoaod`` rules what is read, cut and corrected
    fatjet_features
        which of :data:`hhh_coffea.events.nanoaod_fatjets.FEATURES` to compute
    variation
        ``nominal``, or a variation of the jets: ``jer_up``, ``jes_down``, … as the corrections are named

    Raises
    ------
    KeyError
        naming the branch that is missing, what needs it, and what the file has instead.
    FilesetError
        naming the metadata field that these events cannot serve.
    """
    options = options_of(metadata)
    names = resolve(events, options)
    data = is_data(events)
    if data:
        _check_data(metadata, options)
    selection = metadata.selection
    dropped: dict[str, int] = {}

    counts, columns = kinematics(events, JETS)
    columns = _corrected(events, JETS, counts, columns, options.corrections.jets, variation, options.use_regressed_pt, names)
    score = flat_values(events, names.tagger)
    columns["btag"] = (score > names.btag_cut).astype(np.int8)
    columns["btag_score"] = score
    if not data:
        columns["flavor"] = flat_values(events, "Jet_hadronFlavour").astype(np.int32)
    keep = accepted(columns, selection.jet_pt_min, selection.jet_abs_eta_max)
    keep = _identified(events, JETS, columns, keep, options, names, dropped, "jets")
    record: dict[str, Any] = {"jets": ordered_collection(columns, counts, keep)}
    weights = {}
    if options.corrections.btag is not None:
        weights = btag_weights.btag_weights(columns, counts, keep, options.working_point, options.corrections.btag)

    counts, columns = kinematics(events, FATJETS)
    stored = columns
    columns = _corrected(events, FATJETS, counts, columns, options.corrections.fatjets, variation, False, names)
    columns |= nanoaod_fatjets.features(events, columns, stored, fatjet_features, options, names.version)
    keep = accepted(columns, selection.fatjet_pt_min, selection.fatjet_abs_eta_max)
    keep = _identified(events, FATJETS, columns, keep, options, names, dropped, "fat jets")
    record["fatjets"] = ordered_collection(columns, counts, keep)

    if metadata.is_signal:
        record["higgs"] = generated_higgs(events)
    record["weight"] = np.ones(len(events)) if data else values(events, "genWeight").astype(np.float64)
    record["id"] = events.metadata["entrystart"] + np.arange(len(events), dtype=np.int64)
    if cuts := event_cuts.event_cuts(events, options, names.version):
        record["cuts"] = ak.zip(cuts)
    if weights:
        central = weights["central"]
        record["weights"] = ak.zip({"b tag": central})
        safe = np.where(central > 0, central, 1.0)
        record["shifts"] = ak.zip({f"{BTAG}_{way}": weights[way] / safe for way in ("up", "down")})
    return Reading(ak.zip(record, depth_limit=1), dropped)


def describe(events: Any, metadata: DatasetMetadata) -> str:
    """How a file is read, in words."""
    options = options_of(metadata)
    names = resolve(events, options)
    kind = "data" if is_data(events) else "simulation"
    pt = ", regressed pT" if options.use_regressed_pt else ""
    cut = f"{names.tagger} > {names.btag_cut:g}"
    return f"NanoAOD v{names.version}, {kind}, {names.year}, b tag {cut}, jet ID {options.jet_id}{pt}"


def generated_higgs(events: Any) -> ak.Array:
    """H → bb of the generator record: the last copy of a Higgs boson, and the b quarks whose mother it is."""
    counts, momenta = kinematics(events, "GenPart")
    pid = flat_values(events, "GenPart_pdgId")
    flags = flat_values(events, "GenPart_statusFlags").astype(np.int64)
    last = ((flags >> IS_LAST_COPY) & 1).astype(bool) & (pid == HIGGS)
    return higgs_to_bb(counts, pid, flat_values(events, "GenPart_genPartIdxMother"), last, momenta)


def _check_data(metadata: DatasetMetadata, options: NanoAODOptions) -> None:
    given = options.corrections
    wrong = {
        "is_signal": metadata.is_signal,
        "nanoaod.corrections.btag": given.btag is not None,
        **{
            f"nanoaod.corrections.{name}.{field}": jets is not None and bool(getattr(jets, field))
            for name, jets in (("jets", given.jets), ("fatjets", given.fatjets))
            for field in ("uncertainties", "resolution")
        },
    }
    for field, is_wrong in wrong.items():
        if is_wrong:
            raise FilesetError(f"metadata field {field!r} is for simulated events; these are data (no branch genWeight)")


def _identified(
    events: Any,
    collection: str,
    columns: Columns,
    keep: npt.NDArray[np.bool_],
    options: NanoAODOptions,
    names: Names,
    dropped: dict[str, int],
    noun: str,
) -> npt.NDArray[np.bool_]:
    """Of the jets in ``keep`` those with finite kinematics that pass the jet ID; others are counted in ``dropped``."""
    finite = finite_kinematics(columns)
    dropped[f"{noun} with non-finite kinematics"] = int((~finite).sum())
    passes = jet_id.passes(events, collection, options.jet_id, names.version, _leaf_of(events, collection, "jet_id"))
    keep = keep & finite
    if passes is None:
        return keep
    dropped[f"{noun} that fail the jet ID"] = int((keep & ~passes).sum())
    return keep & passes


def _corrected(
    events: Any,
    collection: str,
    counts: IntArray,
    columns: Columns,
    given: JetCorrections | None,
    variation: str,
    regressed: bool,
    names: Names,
) -> Columns:
    """Scale pT and mass: regression or energy scale, then resolution, then the variation of the scale."""
    columns = dict(columns)
    if regressed:
        columns = _scaled(columns, _regression(events, columns["pt"], names.version))
    if given is None:
        return columns
    leaf = _leaf_of(events, collection, "corrections")
    inputs = _correction_inputs(events, collection, counts, given, leaf)
    if given.jec is not None:
        columns = _scaled(columns, corrections.energy_scale(columns, inputs, leaf("rawFactor"), given))
    if given.resolution is not None:
        position = position_in_event(counts) + (0 if collection == JETS else 1 << 20)  # other random numbers
        entry = events.metadata["entrystart"] + event_index(counts)
        seed = RandomSeed(events.metadata["fileuuid"], entry, position)
        generated = _generated(events, collection, counts, leaf)
        factor = corrections.smearing(columns, inputs, given, variation, generated, RADIUS[collection], seed)
        columns = _scaled(columns, factor)
    if variation != NOMINAL and (factor := corrections.shift(columns, inputs, given, variation)) is not None:
        columns = _scaled(columns, factor)
    return columns


def _scaled(columns: Columns, factor: FloatArray) -> Columns:
    """The jets with their momentum and mass times a factor, in the precision of the file."""
    return {
        name: (x * factor).astype(x.dtype) if name in ("pt", "mass") else x for name, x in columns.items()
    }


def _regression(events: Any, pt: npt.NDArray[Any], version: int) -> FloatArray:
    """Regressed over stored pT; 1 where the network did not run (it then stores 0)."""
    for name in REGRESSION_ORDER[version]:
        branches_, of_raw = REGRESSIONS[name]
        if has(events, branches_[0]):
            factor = np.ones(len(pt))
            for branch in branches_:
                factor = factor * flat_values(events, branch, "metadata field 'nanoaod.use_regressed_pt'")
            if of_raw:
                factor = factor * (1.0 - flat_values(events, "Jet_rawFactor"))
            return np.where(factor > 0, factor, 1.0)
    wanted = [REGRESSIONS[name][0][0] for name in REGRESSION_ORDER[version]]
    raise KeyError(f"no branch {' or '.join(wanted)} (metadata field 'nanoaod.use_regressed_pt')")


def _correction_inputs(
    events: Any, collection: str, counts: IntArray, given: JetCorrections, leaf: Callable[[str], npt.NDArray[Any]]
) -> dict[str, npt.NDArray[Any]]:
    """What the corrections need beyond the jets' kinematics, flat."""
    wanted = corrections.inputs_of(given, "jets" if collection == JETS else "fatjets")
    inputs: dict[str, npt.NDArray[Any]] = {}
    event = event_index(counts)
    if "JetA" in wanted:
        inputs["JetA"] = leaf("area")
    if "Rho" in wanted:
        rho = next((name for name in RHO if has(events, name)), RHO[0])
        inputs["Rho"] = values(events, rho, "metadata field 'nanoaod.corrections'")[event]
    if "run" in wanted:
        inputs["run"] = values(events, "run")[event]
    return inputs


def _generated(events: Any, collection: str, counts: IntArray, leaf: Callable[[str], npt.NDArray[Any]]) -> Generated:
    name, link = GENERATED[collection]
    gen_counts = counts_of(events[name].pt) if name in events.fields else None
    if gen_counts is None:
        raise KeyError(f"no branch {name}_pt (metadata field 'nanoaod.corrections': resolution needs generated jets)")
    starts = np.cumsum(gen_counts) - gen_counts
    event, index = event_index(counts), leaf(link).astype(np.int64)
    there = (index >= 0) & (index < gen_counts[event])
    flat_index = (starts[event] + index)[there]
    found = []
    for field, missing in (("pt", -1.0), ("eta", 0.0), ("phi", 0.0)):
        column = np.full(len(index), missing)
        column[there] = flat_values(events, f"{name}_{field}")[flat_index]
        found.append(column)
    return Generated(*found)


def _leaf_of(events: Any, collection: str, field: str) -> Callable[[str], npt.NDArray[Any]]:
    def leaf(name: str) -> npt.NDArray[Any]:
        return flat_values(events, f"{collection}_{name}", f"metadata field 'nanoaod.{field}'")

    return leaf
