"""The metadata section ``nanoaod`` of a dataset: how its files are read, which events count, what is corrected.

Everything is optional: an empty section reads a file as what its branches say it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from hhh_coffea.base.strict import Positive, Strict
from hhh_coffea.base.user_files import expanded

Tagger = Literal["UParTAK4B", "PNetB", "RobustParTAK4B", "DeepFlavB"]
XbbTagger = Literal["globalParT3", "particleNet", "particleNetMD", "particleNetLegacy"]
Year = Literal["2016preVFP", "2016", "2017", "2018", "2022", "2022EE", "2023", "2023BPix", "2024"]
JetId = Literal["none", "tight", "tight_lepton_veto"]
ElectronId = Literal[
    "none", "veto", "loose", "medium", "tight", "mva_wp90", "mva_wp80", "mva_no_isolation_wp90", "mva_no_isolation_wp80"
]
MuonId = Literal["none", "loose", "medium", "tight"]
Trigger = Annotated[str, StringConstraints(pattern=r"^HLT_\w+$")]
MetFilter = Annotated[str, StringConstraints(pattern=r"^Flag_\w+$")]
Source = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9]*$")]

WeightName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]
Theory = Literal["scale", "pdf", "parton_shower"]
THEORY_SOURCES = ("scale", "pdf", "isr", "fsr")  # what their variations are called
LEPTON_INPUTS = ("pt", "eta", "abseta", "phi")

NOMINAL = "nominal"
JER, BTAG = "jer", "btag"  # variations that the resolution and the b-tag weights bring along
DIRECTIONS = ("up", "down")


class LeptonVeto(Strict):
    """No event with a lepton above these thresholds (GeV) is kept."""

    electron_pt_min: float = Field(15.0, ge=0, allow_inf_nan=False)
    electron_abs_eta_max: Positive = 2.5
    electron_cut_based_min: int = Field(
        2, ge=1, le=4, description="1 veto, 2 loose, 3 medium, 4 tight; holds isolation"
    )
    muon_pt_min: float = Field(15.0, ge=0, allow_inf_nan=False)
    muon_abs_eta_max: Positive = 2.4
    muon_isolation_max: Positive = Field(0.25, description="pfRelIso04_all, of muons that pass looseId")


class LeptonOptions(Strict):
    """Which electrons and muons enter the event record, where an analysis reads leptons."""

    pt_min: float = Field(15.0, ge=0, allow_inf_nan=False, description="GeV")
    electron_abs_eta_max: Positive = 2.5
    electron_id: ElectronId = Field("tight", description="veto … tight: cut-based, isolation included")
    electron_isolation_max: Positive | None = Field(None, description="pfRelIso03_all")
    muon_abs_eta_max: Positive = 2.4
    muon_id: MuonId = "tight"
    muon_isolation_max: Positive | None = Field(0.15, description="pfRelIso04_all")
    jet_delta_r_min: float | None = Field(0.4, gt=0, description="jets nearer to such a lepton are dropped")


class MeanScore(Strict):
    """A cut on the mean b-tag score of the jets with the highest scores of an event."""

    jets: int = Field(2, ge=1, le=10)
    above: float = Field(gt=0, lt=1)


class JetList(Strict):
    """Which small-radius jets there are, in which order, and what they must fulfil together."""

    threshold_pt: Literal["used", "unregressed"] = Field(
        "used", description="what the threshold and the ladder cut on: the pT in use, or that before the regression"
    )
    by_score: int | None = Field(
        None, ge=1, le=20, description="so many jets by falling b-tag score first; else b-tagged first; the rest by pT"
    )
    pt_ladder: list[Positive] = Field(
        default_factory=list, description="the jets of highest pT must exceed these values (GeV), in falling order"
    )
    mean_score: MeanScore | None = None

    @model_validator(mode="after")
    def _falling(self) -> JetList:
        if self.pt_ladder != sorted(self.pt_ladder, reverse=True):
            raise ValueError("pt_ladder: the values must fall: [80, 60, 45, 35]")
        return self


class JetCorrections(Strict):
    """Names of corrections in a correctionlib file, for one jet collection."""

    file: str
    jec: str | None = Field(None, description="correction or compound correction of the raw pT; else that of the file")
    uncertainties: dict[Source, str] = Field(default_factory=dict, description="variation → relative uncertainty")
    resolution: str | None = Field(None, description="relative pT resolution; smearing needs resolution_scale too")
    resolution_scale: str | None = Field(None, description="data/simulation ratio of resolutions; nom, up, down")

    @model_validator(mode="after")
    def _complete(self) -> JetCorrections:
        if (self.resolution is None) != (self.resolution_scale is None):
            raise ValueError("resolution and resolution_scale belong together: give both or none")
        if taken := set(self.uncertainties) & {JER, BTAG, NOMINAL}:
            raise ValueError(f"uncertainties: the name {sorted(taken)[0]!r} is taken, choose another")
        return self


class BTagWeights(Strict):
    """Scale factors of a working point and the efficiencies they need, from correctionlib files."""

    file: str
    heavy: str = Field(description="correction for b and c jets")
    light: str = Field(description="correction for all others")
    efficiency_file: str
    efficiency: str = Field(description="correction that gives the efficiency in simulation")
    abs_eta_max: Positive = Field(2.5, description="jets beyond are not tagged")


class EventWeight(Strict):
    """A weight of simulated events from a correctionlib file: one number for each event, or the product over its leptons."""

    file: str
    correction: str
    over: Literal["electrons", "muons"] | None = Field(None, description="product over those of the event record")
    inputs: dict[str, str] = Field(
        default_factory=dict, description="input → branch of one value an event; over leptons: pt, eta, abseta, phi"
    )
    constants: dict[str, str | int | float] = Field(default_factory=dict, description="input → value")
    systematic: str = Field("systematic", description="input that chooses among the variations")
    variations: list[str] = Field(["nominal", "up", "down"], min_length=3, max_length=3)

    @model_validator(mode="after")
    def _known_inputs(self) -> EventWeight:
        if self.over is not None and (unknown := sorted(set(self.inputs.values()) - set(LEPTON_INPUTS))):
            raise ValueError(f"inputs: leptons have no {unknown[0]!r}; they have {', '.join(LEPTON_INPUTS)}")
        if self.over is None and (wrong := sorted(b for b in self.inputs.values() if not b.isidentifier())):
            raise ValueError(f"inputs: {wrong[0]!r} is no name of a branch")
        if twice := sorted(
            {self.systematic, *self.inputs} & {*self.constants, *({self.systematic} & set(self.inputs))}
        ):
            raise ValueError(f"the input {twice[0]!r} is given twice")
        return self


class Corrections(Strict):
    """Corrections of simulated events, or of jets in data."""

    jets: JetCorrections | None = None
    fatjets: JetCorrections | None = None
    btag: BTagWeights | None = None
    weights: dict[WeightName, EventWeight] = Field(default_factory=dict, description="pile-up, leptons, triggers")
    theory: list[Theory] = Field(default_factory=list, description="variations by weights that the file holds")

    @model_validator(mode="after")
    def _names_of_their_own(self) -> Corrections:
        others = [c for c in (self.jets, self.fatjets) if c is not None]
        taken = {JER, BTAG, NOMINAL, *THEORY_SOURCES, *(source for c in others for source in c.uncertainties)}
        if twice := sorted(set(self.weights) & taken):
            raise ValueError(f"weights: the name {twice[0]!r} is taken, choose another")
        if len(set(self.theory)) < len(self.theory):
            raise ValueError("theory: a kind is given twice")
        return self

    def shapes(self) -> list[str]:
        """Variations of the jets, as ``jes_up``: those that change what is reconstructed."""
        given = [c for c in (self.jets, self.fatjets) if c is not None]
        sources = [source for c in given for source in c.uncertainties]
        sources += [JER] if any(c.resolution is not None for c in given) else []
        return [f"{source}_{way}" for source in dict.fromkeys(sources) for way in DIRECTIONS]


class NanoAODOptions(Strict):
    """What a dataset in NanoAOD format may say beyond the metadata that all formats share."""

    version: Literal[9, 12, 15] | None = Field(None, description="of the branch names; else seen from the branches")
    year: Year | None = Field(None, description="of the working points; else guessed from version and triggers")
    tagger: Tagger | None = Field(None, description="b tagger of small-radius jets; else the newest the file has")
    working_point: Literal["loose", "medium", "tight"] = "medium"
    btag_cut: float | None = Field(None, gt=0, lt=1, description="score above which a jet is tagged")
    use_regressed_pt: bool = Field(False, description="scale each jet to its regressed pT")
    jet_id: JetId = "tight"
    jets: JetList = JetList()
    xbb_tagger: XbbTagger | None = Field(
        None, description="of the feature 'xbb' of large-radius jets; default: the newest"
    )
    triggers: list[Trigger] = Field(default_factory=list, description="any of them must have fired")
    met_filters: Literal["recommended"] | list[MetFilter] = Field(default_factory=list)
    lepton_veto: LeptonVeto | None = None
    leptons: LeptonOptions = LeptonOptions()
    met: Literal["puppi", "pf"] | None = Field(None, description="else PUPPI, in version 9 the particle-flow one")
    golden_json: str | None = Field(None, description="certified luminosity sections, for data")
    corrections: Corrections = Corrections()

    @model_validator(mode="after")
    def _consistent(self) -> NanoAODOptions:
        jets = self.corrections.jets
        if self.use_regressed_pt and jets is not None and jets.jec is not None:
            raise ValueError(
                "use_regressed_pt and corrections.jets.jec exclude each other: the regression replaces the jec"
            )
        return self


def files_of(options: NanoAODOptions) -> Iterator[tuple[str, str]]:
    """(field, path) of every auxiliary file."""
    if options.golden_json is not None:
        yield "golden_json", options.golden_json
    for name in ("jets", "fatjets"):
        if (jets := getattr(options.corrections, name)) is not None:
            yield f"corrections.{name}.file", jets.file
    if (btag := options.corrections.btag) is not None:
        yield "corrections.btag.file", btag.file
        yield "corrections.btag.efficiency_file", btag.efficiency_file
    for name, weight in options.corrections.weights.items():
        yield f"corrections.weights.{name}.file", weight.file


def with_absolute_paths(options: NanoAODOptions, folder: Path) -> NanoAODOptions:
    """Resolve every auxiliary file against ``folder``; FileNotFoundError ``(field, path)`` names the first missing."""
    content = options.model_dump(exclude_unset=True)
    for field, given in files_of(options):
        path = folder / expanded(given)
        if not path.is_file():
            raise FileNotFoundError(f"nanoaod.{field}", given)
        *parents, last = field.split(".")
        place = content
        for parent in parents:
            place = place[parent]
        place[last] = str(path.resolve())
    return NanoAODOptions.model_validate(content)
