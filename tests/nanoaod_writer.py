"""Lays Delphes events out as NanoAOD: the same jets, fat jets and Higgs bosons under the branch names of v12 or v15.

Only for tests. What Delphes does not know is made up so that it changes nothing where it should not (jet ID, raw pT) and
everything where it would be read by mistake (other taggers say the opposite of the right one).
"""

from __future__ import annotations

from pathlib import Path

import awkward as ak
import numpy as np
import uproot

from hhh_coffea.events.nanoaod.names import MET_FILTERS, YEARS

KINEMATICS = {"pt": "PT", "eta": "Eta", "phi": "Phi", "mass": "Mass"}
TAGGED, UNTAGGED = 0.97, 0.01  # above and below every working point
RAW_FACTOR = 0.125  # exactly representable: raw and back gives the same pT
TAGGERS = {12: ("PNetB", "RobustParTAK4B", "DeepFlavB"), 15: ("UParTAK4B", "PNetB", "DeepFlavB")}  # the right one first
REGRESSION = {12: "PNetReg", 15: "UParTAK4Reg"}


def write_nanoaod(
    delphes: Path,
    output: Path,
    version: int,
    stop: int | None = None,
    data: bool = False,
    signal: bool = True,
    weight: float | np.ndarray | None = None,
    more: dict[str, ak.Array] | None = None,
) -> Path:
    """Write ``Events`` with the first ``stop`` events of a Delphes file; ``data`` leaves out all that is generated.

    ``weight`` of every event, or of each, else as in the Delphes file; ``more`` are branches of its own.
    """
    with uproot.open(delphes) as file:
        tree = file["Delphes"]
        wanted = [f"{c}.{leaf}" for c in ("Jet", "FatJet") for leaf in KINEMATICS.values()]
        wanted += ["Jet.BTag", "Jet.Flavor", "FatJet.NCharged", "FatJet.NNeutrals", "FatJet.ChargedEnergyFraction"]
        wanted += ["FatJet.Tau[5]", "Event.Weight"]
        wanted += [f"Particle.{leaf}" for leaf in ("PID", "M1", "D1", *KINEMATICS.values())]
        events = tree.arrays(wanted, entry_stop=stop)
        groomed = tree["FatJet.SoftDroppedP4[5]"].array(entry_stop=stop)
    n = len(events)
    branches = {
        "run": np.full(n, 370000 if data else 1, dtype=np.uint32),
        "luminosityBlock": (1 + np.arange(n) // 100).astype(np.uint32),
        "event": np.arange(n, dtype=np.uint64),
        "Jet": ak.zip(_jets(events, version, data)),
        "FatJet": ak.zip(_fatjets(events, groomed, version)),
    }
    branches |= _event_content(n, version)
    if not data:
        branches["GenJet"] = ak.zip(_generated_jets(branches["Jet"]))
        branches["genWeight"] = ak.to_numpy(ak.flatten(events["Event.Weight"])).astype(np.float32)
        branches |= _varied_weights(n)
        if weight is not None:
            branches["genWeight"] = np.full(n, weight, dtype=np.float32)
        if signal:
            branches["GenPart"] = ak.zip(_particles(events))
    branches |= more or {}
    with uproot.recreate(output) as file:
        types = {name: ak.type(x).content if isinstance(x, ak.Array) else x.dtype for name, x in branches.items()}
        file.mktree("Events", types).extend(branches)
    return output


def _event_content(n: int, version: int) -> dict[str, np.ndarray | ak.Array]:
    """Triggers, filters and leptons in a pattern of the event number that a test can count by hand."""
    number = np.arange(n)
    found: dict[str, np.ndarray | ak.Array] = {
        "HLT_Even": number % 2 == 0,
        "HLT_Third": number % 3 == 0,
        "Rho_fixedGridRhoFastjetAll": (10 + number % 20).astype(np.float32),
    }
    found |= {name: np.ones(n, dtype=bool) for name in MET_FILTERS[YEARS[version]]}
    found["Flag_goodVertices"] = number % 5 != 0
    electron, muon, loose_muon = ((number % k == 0).astype(int) for k in (7, 11, 13))  # the last is not isolated
    found["Electron"] = _leptons(electron, cutBased=(3, np.uint8), pfRelIso03_all=(0.05, np.float32))
    isolation = np.concatenate([[0.1] * a + [0.5] * b for a, b in zip(muon, loose_muon, strict=True)]).astype(
        np.float32
    )
    muons = _leptons(muon + loose_muon, looseId=(True, bool))
    found["Muon"] = ak.with_field(muons, ak.unflatten(isolation, ak.num(muons)), "pfRelIso04_all")
    return found


def _varied_weights(n: int) -> dict[str, np.ndarray | ak.Array]:
    """Pile-up and the weights of theory: the k-th is 1 + k/100, whatever the event, but for the pile-up."""

    def lists(length: int) -> ak.Array:
        return ak.values_astype(ak.from_regular(np.tile(1 + np.arange(length) / 100, (n, 1)), axis=1), np.float32)

    weights: dict[str, np.ndarray | ak.Array] = {"Pileup_nTrueInt": (20 + np.arange(n) % 30).astype(np.float32)}
    return weights | {"LHEScaleWeight": lists(9), "LHEPdfWeight": lists(103), "PSWeight": lists(4)}


def _leptons(counts: np.ndarray, **leaves: tuple[float, type]) -> ak.Array:
    total = int(counts.sum())
    columns = {"pt": (30.0, np.float32), "eta": (1.0, np.float32), "phi": (0.0, np.float32), "mass": (0.1, np.float32)}
    columns |= {"charge": (1, np.int32), **leaves}
    return ak.unflatten(ak.zip({k: np.full(total, value, dtype) for k, (value, dtype) in columns.items()}), counts)


def _generated_jets(jets: ak.Array) -> dict[str, ak.Array]:
    """One for every other jet, along its direction, with 0.9 of its pT."""
    even = jets[ak.local_index(jets.pt) % 2 == 0]
    scaled = {name: ak.values_astype(even[name] * 0.9, np.float32) for name in ("pt", "mass")}
    return {**scaled, "eta": even.eta, "phi": even.phi}


def _four_vectors(events: ak.Array, name: str) -> dict[str, ak.Array]:
    return {ours: ak.values_astype(events[f"{name}.{theirs}"], np.float32) for ours, theirs in KINEMATICS.items()}


def _like(array: ak.Array, value: float, dtype: type) -> ak.Array:
    return ak.values_astype(ak.full_like(array, value), dtype)


def _jets(events: ak.Array, version: int, data: bool) -> dict[str, ak.Array]:
    jets = _four_vectors(events, "Jet")
    tagged = (events["Jet.BTag"] & 1) == 1
    right, *others = TAGGERS[version]
    jets[f"btag{right}"] = ak.values_astype(ak.where(tagged, TAGGED, UNTAGGED), np.float32)
    jets |= {f"btag{name}": ak.values_astype(ak.where(tagged, UNTAGGED, TAGGED), np.float32) for name in others}
    pt = jets["pt"]
    jets["rawFactor"] = _like(pt, RAW_FACTOR, np.float32)
    # raw pT × correction × neutrinos = 1.25 × pT
    jets[f"{REGRESSION[version]}PtRawCorr"] = _like(pt, 1.25 / (1 - RAW_FACTOR) / 1.0625, np.float32)
    jets[f"{REGRESSION[version]}PtRawCorrNeutrino"] = _like(pt, 1.0625, np.float32)
    jets["area"] = _like(pt, 0.5, np.float32)
    if not data:
        flavor = abs(events["Jet.Flavor"])
        position = ak.local_index(pt)
        jets["genJetIdx"] = ak.values_astype(ak.where(position % 2 == 0, position // 2, -1), np.int16)
        jets["hadronFlavour"] = ak.values_astype(ak.where((flavor == 5) | (flavor == 4), flavor, 0), np.uint8)
    return jets | _identity(pt, version, fat=False)


def _fatjets(events: ak.Array, groomed: ak.Array, version: int) -> dict[str, ak.Array]:
    fatjets = _four_vectors(events, "FatJet")
    counts = ak.num(fatjets["pt"])
    leading = ak.flatten(groomed, axis=1)[:, 0]
    momentum2 = leading.fP.fX**2 + leading.fP.fY**2 + leading.fP.fZ**2
    mass = np.sqrt(np.maximum(ak.to_numpy(leading.fE**2 - momentum2), 0))
    fatjets["msoftdrop"] = ak.unflatten(mass.astype(np.float32), counts)
    tau = ak.to_numpy(ak.flatten(events["FatJet.Tau[5]"], axis=1)).astype(np.float32)
    fatjets |= {f"tau{k + 1}": ak.unflatten(tau[:, k], counts) for k in range(4)}
    score = np.clip(1 - tau[:, 1] / np.maximum(tau[:, 0], 1e-6), 0, 1).astype(np.float32)
    if version == 15:
        fatjets["globalParT3_Xbb"] = ak.unflatten(score * 0.5, counts)
        fatjets["globalParT3_QCD"] = ak.unflatten((1 - score) * 0.5, counts)
        fatjets["particleNet_XbbVsQCD"] = ak.unflatten(1 - score, counts)
    else:
        fatjets["particleNet_XbbVsQCD"] = ak.unflatten(score, counts)
    fatjets["particleNet_massCorr"] = _like(fatjets["pt"], 1.5, np.float32)
    fatjets["rawFactor"] = _like(fatjets["pt"], RAW_FACTOR, np.float32)
    fatjets |= _identity(fatjets["pt"], version, fat=True)
    if version == 15:
        fatjets["chMultiplicity"] = ak.values_astype(events["FatJet.NCharged"], np.int16)
        fatjets["neMultiplicity"] = ak.values_astype(events["FatJet.NNeutrals"], np.int16)
        fatjets["chHEF"] = ak.values_astype(events["FatJet.ChargedEnergyFraction"], np.float32)
        fatjets["chEmEF"] = _like(fatjets["pt"], 0.0, np.float32)
    return fatjets


def _identity(pt: ak.Array, version: int, fat: bool) -> dict[str, ak.Array]:
    """Jet ID, always passed: bits in v12 (with the ingredients of the repair), ingredients in v15."""
    fractions = {"neHEF": 0.25, "neEmEF": 0.25, "chHEF": 0.375, "chEmEF": 0.125, "muEF": 0.0}
    found = {name: _like(pt, value, np.float32) for name, value in fractions.items()}
    if version == 12:
        return {"jetId": _like(pt, 6, np.uint8)} | ({} if fat else found)
    return found | {"chMultiplicity": _like(pt, 12, np.int16), "neMultiplicity": _like(pt, 9, np.int16)}


def _particles(events: ak.Array) -> dict[str, ak.Array]:
    particles = _four_vectors(events, "Particle")
    pid, daughter = events["Particle.PID"], events["Particle.D1"]
    particles["pdgId"] = ak.values_astype(pid, np.int32)
    particles["genPartIdxMother"] = ak.values_astype(events["Particle.M1"], np.int16)
    of_daughter = pid[ak.where(daughter < 0, 0, daughter)]
    last = (daughter < 0) | (of_daughter != pid)
    particles["statusFlags"] = ak.values_astype(ak.where(last, 1 << 13, 0), np.uint16)
    return particles
