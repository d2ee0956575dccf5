"""Electrons, muons and missing transverse momentum of NanoAOD: working points and what the versions call them."""

from __future__ import annotations

from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt

from hhh_coffea.base.arrays import IntArray, counts_of, event_index, flat, padded, records
from hhh_coffea.base.kinematics import FloatArray, delta_r_squared
from hhh_coffea.datasets.nanoaod_options import LeptonOptions, NanoAODOptions
from hhh_coffea.events.leptons import ELECTRON, MUON, finite, merged, moved
from hhh_coffea.events.nanoaod.columns import column, flat_values, has, values
from hhh_coffea.events.record import Columns, accepted

BoolArray = npt.NDArray[np.bool_]
COLLECTIONS = {ELECTRON: "Electron", MUON: "Muon"}
ISOLATION = {ELECTRON: "pfRelIso03_all", MUON: "pfRelIso04_all"}

CUT_BASED = {"veto": 1, "loose": 2, "medium": 3, "tight": 4}  # values of Electron_cutBased, isolation included
# Leaves that hold a decision, by option; newest version first
ELECTRON_MVA = {
    "mva_wp90": ("mvaIso_WP90", "mvaFall17V2Iso_WP90"),
    "mva_wp80": ("mvaIso_WP80", "mvaFall17V2Iso_WP80"),
    "mva_no_isolation_wp90": ("mvaNoIso_WP90", "mvaFall17V2noIso_WP90"),
    "mva_no_isolation_wp80": ("mvaNoIso_WP80", "mvaFall17V2noIso_WP80"),
}
MUON_ID = {"loose": "looseId", "medium": "mediumId", "tight": "tightId"}

# Version 15 renamed what is called MET before
MET = {"puppi": ("PuppiMET",), "pf": ("PFMET", "MET")}
DEFAULT_MET = {9: "pf", 12: "puppi", 15: "puppi"}  # as the jets of the version: CHS, PUPPI, PUPPI
TYPE1_PT_MIN = 15.0  # jets that correct MET (GeV)
TYPE1_EM_MAX = 0.9  # electromagnetic energy fraction: beyond it a jet is likely an electron or photon
EM_FRACTIONS = ("neEmEF", "chEmEF")


def lepton_branches(options: LeptonOptions) -> list[str]:
    """Branches that :func:`leptons` may read; alternatives of the versions are all listed."""
    names: dict[str, tuple[str, ...]] = {
        "Electron": _electron_leaves(options),
        "Muon": () if options.muon_id == "none" else (MUON_ID[options.muon_id],),
    }
    common = ("pt", "eta", "phi", "mass", "charge")
    found = [f"{c}_{leaf}" for kind, c in COLLECTIONS.items() for leaf in (*common, ISOLATION[kind], *names[c])]
    return [*found, *(f"n{c}" for c in COLLECTIONS.values())]


def met_branches(options: NanoAODOptions) -> list[str]:
    """Branches that :func:`met` may read; alternatives of the versions are all listed."""
    kinds = MET.values() if options.met is None else (MET[options.met],)
    found = [f"{name}_{leaf}" for names in kinds for name in names for leaf in ("pt", "phi", "sumEt")]
    return found + ([] if options.corrections.jets is None else [f"Jet_{leaf}" for leaf in EM_FRACTIONS])


def leptons(events: Any, options: LeptonOptions, dropped: dict[str, int]) -> ak.Array:
    """Electrons and muons that pass identification, isolation and thresholds; bad ones are counted in ``dropped``.

    Raises
    ------
    KeyError
        naming the branch that is missing.
    """
    (electrons, electron_keep), (muons, muon_keep) = (_one_flavor(events, kind, options) for kind in (ELECTRON, MUON))
    is_finite = finite(electrons[1]), finite(muons[1])
    dropped["leptons with non-finite kinematics"] = sum(int((~some).sum()) for some in is_finite)
    return merged(electrons, muons, (electron_keep & is_finite[0], muon_keep & is_finite[1]))


def clear_of_leptons(
    columns: Columns,
    counts: IntArray,
    keep: BoolArray,
    leptons: ak.Array,
    options: LeptonOptions,
    dropped: dict[str, int],
) -> BoolArray:
    """Flat: jets with no such lepton within ΔR < ``jet_delta_r_min``: in NanoAOD every lepton is in a jet as well."""
    if options.jet_delta_r_min is None:
        return np.ones(len(keep), dtype=bool)
    n_leptons = counts_of(leptons.pt)
    width = int(n_leptons.max(initial=0))
    event = event_index(counts)
    clear = np.ones(len(keep), dtype=bool)
    eta, phi = (padded(flat(leptons[name]), n_leptons, width, np.nan) for name in ("eta", "phi"))
    for k in range(width):  # NaN, where there is no such lepton, is not near
        near = delta_r_squared(columns["eta"], columns["phi"], eta[event, k], phi[event, k])
        clear &= ~(near < options.jet_delta_r_min**2)
    dropped["jets that overlap a lepton"] = int((keep & ~clear).sum())
    return clear


def met(
    events: Any, options: NanoAODOptions, version: int, counts: IntArray, jets: Columns, gained: FloatArray
) -> dict[str, Any]:
    """``met`` and ``sum_et`` of the record. What the ``jets`` of the file gained by corrections, MET loses ("type-I").

    ``gained`` is flat, relative to a jet's pT. The MET of the file is already corrected with the jets of the file.

    Raises
    ------
    KeyError
        if the file does not have the MET that was asked for.
    """
    kind = options.met or DEFAULT_MET[version]
    name = next((name for name in MET[kind] if has(events, f"{name}_pt")), MET[kind][-1])
    pt, phi, total = (
        values(events, f"{name}_{leaf}", "metadata field 'nanoaod.met'") for leaf in ("pt", "phi", "sumEt")
    )
    result = {"pt": pt, "phi": phi}
    if options.corrections.jets is not None:
        use = _corrects_met(events, jets["pt"], gained)
        change = np.where(use, jets["pt"] * gained, 0.0)
        result = moved(pt, phi, counts, jets["phi"], change)
    return {"met": records(result), "sum_et": total}


def _corrects_met(events: Any, pt: npt.NDArray[Any], gained: FloatArray) -> BoolArray:
    """Flat: which jets a type-I correction is made of, before or after they changed.

    CMS takes jets above 15 GeV with an electromagnetic energy fraction below 0.9. Softer jets, which NanoAOD keeps apart
    (``CorrT1METJet``), and the muons inside jets are not treated.
    """
    fraction = sum(
        flat_values(events, f"Jet_{leaf}", "metadata field 'nanoaod.corrections.jets'").astype(np.float64)
        for leaf in EM_FRACTIONS
    )
    hard = (pt * np.maximum(1 + gained, 1) > TYPE1_PT_MIN) & np.isfinite(pt * gained)
    result: BoolArray = hard & (fraction < TYPE1_EM_MAX)
    return result


def _one_flavor(events: Any, kind: int, options: LeptonOptions) -> tuple[tuple[IntArray, Columns], BoolArray]:
    name, wanted_by = COLLECTIONS[kind], "metadata field 'nanoaod.leptons'"

    def leaf(of: str) -> npt.NDArray[Any]:
        return flat_values(events, f"{name}_{of}", wanted_by)

    columns = {of: leaf(of) for of in ("pt", "eta", "phi", "charge")}
    columns["isolation"] = leaf(ISOLATION[kind])
    if kind == ELECTRON:
        eta_max, isolation_max = options.electron_abs_eta_max, options.electron_isolation_max
        passes = _electron_id(events, options, leaf)
    else:
        eta_max, isolation_max = options.muon_abs_eta_max, options.muon_isolation_max
        passes = None if options.muon_id == "none" else leaf(MUON_ID[options.muon_id]).astype(bool)
    keep = accepted(columns, options.pt_min, eta_max)
    if passes is not None:
        keep = keep & passes
    if isolation_max is not None:
        keep = keep & (columns["isolation"] < isolation_max)
    return (counts_of(column(events, f"{name}_pt", wanted_by)), columns), keep


def _electron_leaves(options: LeptonOptions) -> tuple[str, ...]:
    if options.electron_id == "none":
        return ()
    return ELECTRON_MVA.get(options.electron_id, ("cutBased",))


def _electron_id(events: Any, options: LeptonOptions, leaf: Any) -> BoolArray | None:
    if options.electron_id == "none":
        return None
    if options.electron_id in CUT_BASED:
        passes: BoolArray = leaf("cutBased") >= CUT_BASED[options.electron_id]
        return passes
    names = ELECTRON_MVA[options.electron_id]
    decision: BoolArray = leaf(next((n for n in names if has(events, f"Electron_{n}")), names[0])).astype(bool)
    return decision
