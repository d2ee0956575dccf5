"""Cuts on whole NanoAOD events that the metadata ask for: certified data, noise filters, triggers, no leptons."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hhh_coffea.base.arrays import counts_of, event_index
from hhh_coffea.base.contents import sha256_of
from hhh_coffea.base.user_files import unique_keys
from hhh_coffea.datasets.fileset import FilesetError
from hhh_coffea.datasets.nanoaod_options import LeptonVeto, NanoAODOptions
from hhh_coffea.events.nanoaod.columns import column, flat_values, is_data, values
from hhh_coffea.events.nanoaod.names import MET_FILTERS

BoolArray = npt.NDArray[np.bool_]

ELECTRON_LEAVES = ("pt", "eta", "cutBased")
MUON_LEAVES = ("pt", "eta", "looseId", "pfRelIso04_all")


def branches(options: NanoAODOptions) -> list[str]:
    """Branches these cuts may read."""
    names = list(options.triggers)
    if options.met_filters == "recommended":
        names += sorted({name for filters in MET_FILTERS.values() for name in filters})
    else:
        names += options.met_filters
    if options.lepton_veto is not None:
        names += [f"Electron_{leaf}" for leaf in ELECTRON_LEAVES] + [f"Muon_{leaf}" for leaf in MUON_LEAVES]
    return names


def event_cuts(events: Any, options: NanoAODOptions, year: str) -> dict[str, BoolArray]:
    """Masks by the name they have in the cutflow, in the order they are applied.

    Raises
    ------
    KeyError
        naming a trigger, filter or lepton branch that the file does not have.
    FilesetError
        if certified luminosity sections are asked of simulated events.
    """
    cuts: dict[str, BoolArray] = {}
    if options.golden_json is not None:
        if not is_data(events):
            raise FilesetError(
                "metadata field 'nanoaod.golden_json' is for data; these events are simulated (genWeight)"
            )
        runs, sections = (values(events, name).astype(np.uint32) for name in ("run", "luminosityBlock"))
        cuts["golden JSON"] = _lumi_mask(options.golden_json)(runs, sections)
    if options.met_filters:
        names = MET_FILTERS[year] if options.met_filters == "recommended" else options.met_filters
        cuts["MET filters"] = np.logical_and.reduce(_flags(events, names, "met_filters"))
    if options.triggers:
        cuts["trigger"] = np.logical_or.reduce(_flags(events, options.triggers, "triggers"))
    if options.lepton_veto is not None:
        cuts["no lepton"] = no_lepton(events, options.lepton_veto)
    return cuts


def no_lepton(events: Any, veto: LeptonVeto) -> BoolArray:
    """Events without an electron or muon above the thresholds of the veto."""
    wanted_by = "metadata field 'nanoaod.lepton_veto'"
    electron = {leaf: flat_values(events, f"Electron_{leaf}", wanted_by) for leaf in ELECTRON_LEAVES}
    muon = {leaf: flat_values(events, f"Muon_{leaf}", wanted_by) for leaf in MUON_LEAVES}
    is_electron = (
        (electron["pt"] >= veto.electron_pt_min)
        & (np.abs(electron["eta"]) <= veto.electron_abs_eta_max)
        & (electron["cutBased"] >= veto.electron_cut_based_min)
    )
    is_muon = (
        (muon["pt"] >= veto.muon_pt_min)
        & (np.abs(muon["eta"]) <= veto.muon_abs_eta_max)
        & muon["looseId"].astype(bool)
        & (muon["pfRelIso04_all"] < veto.muon_isolation_max)
    )
    clean = np.ones(len(events), dtype=bool)
    for collection, found in (("Electron", is_electron), ("Muon", is_muon)):
        clean[event_index(counts_of(column(events, f"{collection}_pt")))[found]] = False
    return clean


def _flags(events: Any, names: Iterable[str], field: str) -> list[BoolArray]:
    return [values(events, name, f"metadata field 'nanoaod.{field}'").astype(bool) for name in names]


def _lumi_mask(path: str) -> Any:
    try:
        return _lumi_mask_of(path, sha256_of(path))
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise FilesetError(f"metadata field 'nanoaod.golden_json': {path} cannot be read: {error}") from error


@lru_cache(maxsize=8)
def _lumi_mask_of(path: str, _sha256: str) -> Any:
    from coffea.lumi_tools import LumiMask

    json.loads(
        Path(path).read_text(encoding="utf-8"), object_pairs_hook=unique_keys
    )  # of a run twice it takes the last
    return LumiMask(path)
