"""What the versions of NanoAOD call the same thing, and the working points of the b taggers.

Branch names were checked on files of versions 12 and 15; those of version 9 are taken from its documentation.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from hhh_coffea.base.errors import listed
from hhh_coffea.datasets.fileset import FilesetError
from hhh_coffea.datasets.nanoaod_options import NanoAODOptions
from hhh_coffea.events.nanoaod.columns import has

# Newest first: the first one that the file has (and the version knows) is taken
TAGGERS: dict[int, tuple[str, ...]] = {
    15: ("UParTAK4B", "PNetB", "DeepFlavB"),
    12: ("PNetB", "RobustParTAK4B", "DeepFlavB"),
    9: ("DeepFlavB",),
}
# A branch that only this and later versions have
MARKS = {15: "Jet_btagUParTAK4B", 12: "Jet_btagPNetB", 9: "Jet_btagDeepFlavB"}

# Regressed pT = pT × factors, where ``True`` says that they multiply the raw pT. The last factor adds neutrinos.
REGRESSIONS: dict[str, tuple[tuple[str, ...], bool]] = {
    "UParTAK4": (("Jet_UParTAK4RegPtRawCorr", "Jet_UParTAK4RegPtRawCorrNeutrino"), True),
    "PNet": (("Jet_PNetRegPtRawCorr", "Jet_PNetRegPtRawCorrNeutrino"), True),
    "bReg": (("Jet_bRegCorr",), False),
}
REGRESSION_ORDER = {15: ("UParTAK4", "PNet"), 12: ("PNet",), 9: ("bReg",)}

# Score of H → bb against multijets: a branch, or signal / (signal + background)
XBB: dict[str, tuple[str, str | None]] = {
    "globalParT3": ("FatJet_globalParT3_Xbb", "FatJet_globalParT3_QCD"),
    "particleNet": ("FatJet_particleNet_XbbVsQCD", None),
    "particleNetMD": ("FatJet_particleNetMD_Xbb", "FatJet_particleNetMD_QCD"),
    "particleNetLegacy": ("FatJet_particleNetLegacy_Xbb", "FatJet_particleNetLegacy_QCD"),
}
XBB_ORDER = {15: ("globalParT3", "particleNet", "particleNetLegacy"), 12: ("particleNet",), 9: ("particleNetMD",)}

# Regressed mass of a large-radius jet: a branch, and whether it is relative to the mass
REGRESSED_MASS = (
    ("FatJet_particleNet_massCorr", True),
    ("FatJet_particleNet_mass", False),
    ("FatJet_particleNetLegacy_mass", False),
)

# Energy density of the event, an input of jet energy corrections
RHO = ("Rho_fixedGridRhoFastjetAll", "fixedGridRhoFastjetAll")

# Filters that the CMS JetMET group recommends for data and simulation (TWiki CMS/MissingETOptionalFiltersRun2, sections
# "UL data" and "Run 3 2022 and 2023 data and MC"), as several analyses have written them down. ecalBadCalib is for 2017 on;
# hfNoisyHits is optional in Run 2, and so not among these; the HBHE filters are not for Run 3.
_FILTERS = (
    "Flag_goodVertices",
    "Flag_globalSuperTightHalo2016Filter",
    "Flag_EcalDeadCellTriggerPrimitiveFilter",
    "Flag_BadPFMuonFilter",
    "Flag_BadPFMuonDzFilter",
    "Flag_eeBadScFilter",
)
_HBHE, _ECAL = ("Flag_HBHENoiseFilter", "Flag_HBHENoiseIsoFilter"), ("Flag_ecalBadCalibFilter",)
_RUN3 = (*_FILTERS, *_ECAL, "Flag_hfNoisyHitsFilter")
MET_FILTERS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("2016preVFP", "2016"), (*_FILTERS, *_HBHE)),
    **dict.fromkeys(("2017", "2018"), (*_FILTERS, *_HBHE, *_ECAL)),
    **dict.fromkeys(("2022", "2022EE", "2023", "2023BPix", "2024"), _RUN3),
}

# The year is needed for working points and MET filters. Triggers that tell one from another; else the year of the version.
YEAR_MARKS = {
    12: (("2023", "HLT_PFHT280_QuadPFJet30_PNet2BTagMean0p55"),),
    9: (
        ("2018", "HLT_PFHT330PT30_QuadPFJet_75_60_45_40_TriplePFBTagDeepCSV_4p5"),
        ("2017", "HLT_PFHT300PT30_QuadPFJet_75_60_45_40_TriplePFBTagCSV_3p0"),
        ("2016", "HLT_QuadJet45_TripleBTagCSV_p087"),
    ),
}
YEAR_MARKS[15] = YEAR_MARKS[9]  # Run 2 was processed again; 2022 to 2024 share triggers
YEARS = {15: "2024", 12: "2022", 9: "2018"}

# Score for 10%, 1% and 0.1% misidentification of light jets (CMS BTV group, btv-wiki.docs.cern.ch/ScaleFactors)
LEVELS = ("loose", "medium", "tight")
WORKING_POINTS: dict[str, dict[str, tuple[float, float, float]]] = {
    "DeepFlavB": {
        "2016preVFP": (0.0508, 0.2598, 0.6502),
        "2016": (0.0480, 0.2489, 0.6377),
        "2017": (0.0532, 0.3040, 0.7476),
        "2018": (0.0490, 0.2783, 0.7100),
        "2022": (0.0583, 0.3086, 0.7183),
        "2022EE": (0.0614, 0.3196, 0.7300),
        "2023": (0.0479, 0.2431, 0.6553),
        "2023BPix": (0.0480, 0.2435, 0.6563),
    },
    "PNetB": {
        "2022": (0.0470, 0.2450, 0.6734),
        "2022EE": (0.0499, 0.2605, 0.6915),
        "2023": (0.0358, 0.1917, 0.6172),
        "2023BPix": (0.0359, 0.1919, 0.6133),
    },
    "RobustParTAK4B": {
        "2022": (0.0849, 0.4319, 0.8482),
        "2022EE": (0.0897, 0.4510, 0.8604),
        "2023": (0.0681, 0.3487, 0.7969),
        "2023BPix": (0.0683, 0.3494, 0.7994),
    },
    "UParTAK4B": {"2018": (0.0308, 0.1610, 0.5405), "2024": (0.0246, 0.1272, 0.4648)},
}


# two tighter points, used by HH → 4b analyses
TIGHTER: dict[str, dict[str, tuple[float, float]]] = {
    "PNetB": {
        "2022": (0.7862, 0.961),
        "2022EE": (0.8033, 0.9664),
        "2023": (0.7515, 0.9659),
        "2023BPix": (0.7544, 0.9688),
    }
}


def working_points(tagger: str, year: str) -> dict[int, tuple[float, ...]]:
    """The scores of the three working points of a tagger, and of all five where they are known; by their number."""
    three, two = WORKING_POINTS[tagger].get(year), TIGHTER.get(tagger, {}).get(year)
    found: dict[int, tuple[float, ...]] = {}
    if three is not None:
        found[3] = three
        if two is not None:
            found[5] = (*three, *two)
    return found


class Names(NamedTuple):
    """How one file is read: what was found in it, after what the metadata ask for."""

    version: int
    year: str
    tagger: str  # branch of its score
    btag_cut: float


def resolve(events: Any, options: NanoAODOptions) -> Names:
    """See from the branches which version a file is and choose tagger and cut; nothing is read.

    Raises
    ------
    KeyError
        if the file has no b tagger of this version, or not the one that was asked for.
    FilesetError
        if there is no working point for this tagger and year.
    """
    version: int | None = options.version
    if version is None:
        version = next((v for v, mark in MARKS.items() if has(events, mark)), None)
    if version is None:
        raise KeyError(
            f"no branch of {listed(MARKS.values())}: the version of NanoAOD is not known; set metadata field 'nanoaod.version'"
        )
    wanted = (options.tagger,) if options.tagger else TAGGERS[version]
    tagger = next((name for name in wanted if has(events, f"Jet_btag{name}")), None)
    if tagger is None:
        known = [name for name in WORKING_POINTS if has(events, f"Jet_btag{name}")]
        raise KeyError(
            f"no branch {' or '.join(f'Jet_btag{name}' for name in wanted)} (metadata field 'nanoaod.tagger'); "
            f"the file has the b taggers {known}"
        )
    year: str | None = options.year
    if year is None:
        year = next((y for y, mark in YEAR_MARKS.get(version, ()) if has(events, mark)), YEARS[version])
    return Names(version, year, f"Jet_btag{tagger}", options.btag_cut or _working_point(tagger, year, options))


def xbb_tagger(events: Any, options: NanoAODOptions, version: int) -> str:
    """Name of the H → bb tagger in use; KeyError if the file has none."""
    wanted = (options.xbb_tagger,) if options.xbb_tagger else XBB_ORDER[version]
    for name in wanted:
        if has(events, XBB[name][0]):
            return name
    known = [name for name, (branch, _) in XBB.items() if has(events, branch)]
    raise KeyError(
        f"no branch {' or '.join(XBB[name][0] for name in wanted)} (feature 'xbb' of large-radius jets, metadata field "
        f"'nanoaod.xbb_tagger'); the file has the taggers {known}"
    )


def _working_point(tagger: str, year: str, options: NanoAODOptions) -> float:
    if year not in WORKING_POINTS[tagger]:
        raise FilesetError(
            f"no working points of {tagger!r} for {year} are known (there are {listed(WORKING_POINTS[tagger])}): "
            "give metadata field 'nanoaod.btag_cut', another 'nanoaod.tagger' or another 'nanoaod.year'"
        )
    return WORKING_POINTS[tagger][year][LEVELS.index(options.working_point)]
