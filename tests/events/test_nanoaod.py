"""NanoAOD → event record: the same events as from Delphes, only the branches needed, every name by version."""

import awkward as ak
import numpy as np
import pytest
from conftest import DEMO
from nanoaod_writer import TAGGERS

from hhh_coffea.analyses import higgs_truth as truth
from hhh_coffea.analyses.higgs import higgs
from hhh_coffea.base.arrays import flat
from hhh_coffea.datasets.fileset import DatasetMetadata, FilesetError
from hhh_coffea.events import delphes
from hhh_coffea.events.formats import describe
from hhh_coffea.events.nanoaod import reader as nanoaod
from hhh_coffea.events.nanoaod.fatjets import FEATURES
from hhh_coffea.events.record import selected, truncated
from hhh_coffea.methods import method_options, reconstruct
from hhh_coffea.reconstruction.selection import event_selection

DELPHES = DatasetMetadata(format="delphes", n_higgs=3)
HHH = higgs(3)
COMMON = ["softdrop_mass", "tau21", "tau32"]


def signal(**options):
    return DatasetMetadata(format="nanoaod", n_higgs=3, nanoaod=options)


def background(**options):
    return DatasetMetadata(format="nanoaod", n_higgs=3, is_signal=False, nanoaod=options)


def chain(record, metadata):
    """Targets of both definitions and χ² candidates, as the main job makes them."""
    record = selected(record, event_selection(record, metadata, HHH).all())
    found = truth.directions(record, 3)
    targets = [match(record, 3, 10, 3, found) for match in (truth.match, truth.match_reference)]
    record = truncated(record, 10, 3)
    options = method_options(["chi2"], 8)
    return targets, reconstruct({"default": ["chi2"]}, record, HHH, options)["default"]["chi2"], record


@pytest.mark.parametrize("version", [12, 15])
def test_same_targets_and_candidates_as_from_delphes(relaid, open_delphes, open_nanoaod, version):
    features = [*COMMON, *(["charged_fraction", "n_charged", "n_neutral"] if version == 15 else [])]
    metadata = signal(jet_id="none")
    theirs = nanoaod.read(open_nanoaod(relaid[version]), metadata, features).record
    ours = delphes.read(open_delphes(DEMO / "hhh.root", stop=1500), DELPHES, features).record
    (targets, candidates, record), (expected, expected_candidates, expected_record) = (
        chain(theirs, metadata),
        chain(ours, DELPHES),
    )
    assert len(record) == len(expected_record) > 1000
    assert record.id.tolist() == expected_record.id.tolist()
    for mine, other in zip(targets, expected, strict=True):
        assert mine.exists("resolved").sum() > 500
        for kind in HHH.kinds:
            np.testing.assert_array_equal(mine.objects[kind], other.objects[kind])
        for name in ("pt", "mass"):
            np.testing.assert_array_equal(getattr(mine, name), getattr(other, name))
    for name in candidates.fields:
        np.testing.assert_array_equal(flat(candidates[name]), flat(expected_candidates[name]))
    for name in features:
        np.testing.assert_allclose(
            flat(record.fatjets[name]), flat(expected_record.fatjets[name]), rtol=2e-6, atol=1e-5
        )
    for name in ("btag", "index", "pt"):
        assert record.jets[name].tolist() == expected_record.jets[name].tolist()


@pytest.mark.parametrize("version", [12, 15])
@pytest.mark.parametrize("is_signal", [True, False])
def test_reads_the_branches_it_needs_and_nothing_else(relaid, open_nanoaod, version, is_signal):
    metadata = (signal if is_signal else background)()
    described = set(nanoaod.branches(metadata, ["xbb"]))
    log = []
    record = nanoaod.read(open_nanoaod(relaid[version], log=log, only=described), metadata, ["xbb"]).record
    ak.materialize(record)
    needed = {f"{name}_{leaf}" for name in ("Jet", "FatJet") for leaf in ("pt", "eta", "phi", "mass")}
    needed |= {"nJet", "nFatJet", f"Jet_btag{TAGGERS[version][0]}", "Jet_hadronFlavour", "genWeight"}
    if version == 12:
        needed |= {"Jet_jetId", "FatJet_jetId", "Jet_neHEF", "Jet_neEmEF", "FatJet_particleNet_XbbVsQCD"}
    else:
        leaves = ("neHEF", "neEmEF", "chHEF", "chMultiplicity", "neMultiplicity")
        needed |= {f"{name}_{leaf}" for name in ("Jet", "FatJet") for leaf in leaves}
        needed |= {"FatJet_globalParT3_Xbb", "FatJet_globalParT3_QCD"}
    if is_signal:
        leaves = ("pt", "eta", "phi", "mass", "pdgId", "genPartIdxMother", "statusFlags")
        needed |= {"nGenPart", *(f"GenPart_{leaf}" for leaf in leaves)}
    assert {access.branch for access in log} == needed
    assert needed <= described
    assert ("higgs" in record.fields) == is_signal


def test_version_tagger_and_year_are_seen_or_said(relaid, open_nanoaod):
    said = {v: describe(open_nanoaod(relaid[v], stop=5), background()) for v in (12, 15)}
    assert said[12] == "NanoAOD v12, simulation, 2022 (guessed), b tag Jet_btagPNetB > 0.245, jet ID tight"
    assert said[15] == "NanoAOD v15, simulation, 2024 (guessed), b tag Jet_btagUParTAK4B > 0.1272, jet ID tight"
    events = open_nanoaod(relaid[12], stop=300)
    right = nanoaod.read(events, background()).record
    chosen = background(tagger="RobustParTAK4B", year="2022EE", working_point="tight", use_regressed_pt=True)
    assert "2022EE, b tag Jet_btagRobustParTAK4B > 0.8604, jet ID tight, regressed pT" in describe(events, chosen)
    wrong = nanoaod.read(events, background(tagger="RobustParTAK4B")).record  # it says the opposite in these files
    sums = [ak.sum(r.jets.btag, axis=1) for r in (right, wrong)]
    assert ak.all(sums[0] + sums[1] == ak.num(right.jets))
    assert ak.all(sums[0] == ak.sum(right.jets.btag_score > 0.5, axis=1))
    none = nanoaod.read(events, background(btag_cut=0.999)).record
    assert not ak.any(none.jets.btag)


def test_version_9_by_its_own_names(relaid, open_nanoaod):
    """Laid out from v12 by renaming: DeepFlavB, jetId bits as they are, bRegCorr, the mass-decorrelated Xbb."""
    events = open_nanoaod(relaid[12], stop=200)
    jets, fatjets = events.Jet, events.FatJet
    for name in ("btagPNetB", "btagRobustParTAK4B", "PNetRegPtRawCorr", "PNetRegPtRawCorrNeutrino"):
        jets = ak.without_field(jets, name)
    jets = ak.with_field(jets, jets.pt * 0 + 1.5, "bRegCorr")
    score = fatjets.particleNet_XbbVsQCD
    fatjets = ak.without_field(ak.without_field(fatjets, "particleNet_XbbVsQCD"), "particleNet_massCorr")
    fatjets = ak.with_field(
        ak.with_field(fatjets, score * 0.2, "particleNetMD_Xbb"), (1 - score) * 0.2, "particleNetMD_QCD"
    )
    fatjets = ak.with_field(fatjets, fatjets.mass * 1.5, "particleNet_mass")
    old = {"Jet": jets, "FatJet": fatjets}
    new = nanoaod.read(events, background(), ["xbb", "regressed_mass"]).record
    plain = events.Jet.pt
    for name, value in old.items():
        events[name] = value
    assert "v9, simulation, 2018 (guessed), b tag Jet_btagDeepFlavB > 0.2783" in describe(events, background())
    record = nanoaod.read(events, background(), ["xbb", "regressed_mass"]).record
    np.testing.assert_allclose(flat(record.fatjets.xbb), flat(new.fatjets.xbb), atol=1e-6)
    np.testing.assert_allclose(flat(record.fatjets.regressed_mass), flat(new.fatjets.regressed_mass), rtol=1e-6)
    regressed = nanoaod.read(events, background(use_regressed_pt=True)).record
    assert ak.all(ak.sort(regressed.jets.pt) == ak.sort(ak.values_astype(plain * 1.5, np.float32)))


@pytest.mark.parametrize("version", [12, 15])
def test_regressed_pt(relaid, open_nanoaod, version):
    """pT and mass are scaled together; a network that did not run leaves a jet as it is."""
    events = open_nanoaod(relaid[version], stop=300)
    stored = events.Jet
    name = {12: "PNetRegPtRawCorr", 15: "UParTAK4RegPtRawCorr"}[version]
    first = ak.local_index(stored) == 0
    events["Jet"] = ak.with_field(stored, ak.where(first, 0, stored[name]), name)
    jets = nanoaod.read(events, background(use_regressed_pt=True)).record.jets
    raw = stored[jets.index]
    factor = ak.where(jets.index == 0, 1.0, 1.25)
    np.testing.assert_allclose(flat(jets.pt), flat(raw.pt * factor), rtol=1e-6)
    np.testing.assert_allclose(flat(jets.mass), flat(raw.mass * factor), rtol=1e-6)
    assert ak.sum(ak.num(jets)) == ak.sum(ak.num(stored))  # all are above 20 GeV already


@pytest.mark.parametrize("version", [12, 15])
def test_fatjet_features_by_version(relaid, open_nanoaod, version):
    events = open_nanoaod(relaid[version], stop=600)
    fatjets = nanoaod.read(events, background(), ["xbb", "regressed_mass", "tau21"]).record.fatjets
    np.testing.assert_allclose(flat(fatjets.xbb), np.clip(1 - flat(fatjets.tau21), 0, 1), atol=1e-5)
    np.testing.assert_allclose(flat(fatjets.regressed_mass), 1.5 * flat(fatjets.mass), rtol=1e-6)
    stored = events.FatJet
    first = ak.local_index(stored) == 0
    for name in ("globalParT3_Xbb", "particleNet_XbbVsQCD", "particleNet_massCorr"):
        if name in stored.fields:
            stored = ak.with_field(
                stored, ak.where(first, {"particleNet_massCorr": 0}.get(name, -10), stored[name]), name
            )
    events["FatJet"] = stored
    missing = nanoaod.read(events, background(), ["xbb", "regressed_mass"]).record.fatjets
    where = missing.index == 0
    assert set(flat(missing.xbb[where])) == set(flat(missing.regressed_mass[where])) == {-1.0}
    chosen = background(xbb_tagger="particleNet")
    other = nanoaod.read(open_nanoaod(relaid[version], stop=600), chosen, ["xbb"]).record.fatjets
    sign = {12: other.xbb, 15: 1 - other.xbb}[version]  # in v15 only the newer tagger is right
    np.testing.assert_allclose(flat(sign), flat(fatjets.xbb), atol=1e-5)


def test_jet_features(relaid, open_nanoaod):
    """Of version 15 those in the file, jet by jet; version 12 has none."""
    events, wanted = open_nanoaod(relaid[15], stop=300), ["jets.n_charged", "jets.n_neutral"]
    jets = nanoaod.read(events, background(), wanted).record.jets
    raw = events.Jet[jets.index]
    assert ak.all(jets.n_charged == raw.chMultiplicity)
    assert ak.all(jets.n_neutral == raw.neMultiplicity)
    assert {"Jet_chMultiplicity", "Jet_neMultiplicity"} <= set(nanoaod.branches(background(jet_id="none"), wanted))
    with pytest.raises(KeyError, match=r"no branch Jet_chMultiplicity \(feature 'n_charged' of jets\)"):
        nanoaod.read(open_nanoaod(relaid[12], stop=5), background(), wanted)


def test_data_have_candidates_but_no_truth(relaid, open_nanoaod):
    events = open_nanoaod(relaid["data"], stop=300)
    record = nanoaod.read(events, background()).record
    assert "flavor" not in record.jets.fields
    assert set(ak.to_numpy(record.weight)) == {1.0}
    simulated = nanoaod.read(open_nanoaod(relaid[15], stop=300), background()).record
    assert record.jets.pt.tolist() == simulated.jets.pt.tolist()
    assert "v15, data" in describe(events, background())
    for metadata, field in ((signal(), "is_signal"), (background(corrections=BTAG), "nanoaod.corrections.btag")):
        with pytest.raises(FilesetError, match=f"'{field}' is for simulated events; these are data"):
            nanoaod.read(events, metadata)


BTAG = {"btag": {"file": "f", "heavy": "h", "light": "l", "efficiency_file": "e", "efficiency": "e"}}


def test_missing_branches_are_named(relaid, open_nanoaod):
    events = open_nanoaod(relaid[12], stop=5)
    with pytest.raises(KeyError, match=r"no branch Jet_btagUParTAK4B .*nanoaod\.tagger.*\['DeepFlavB', 'PNetB', 'Rob"):
        nanoaod.read(events, background(tagger="UParTAK4B"))
    with pytest.raises(KeyError, match=r"no branch FatJet_chMultiplicity \(feature 'n_charged' of large-radius jets\)"):
        nanoaod.read(events, background(), ["n_charged"])
    with pytest.raises(KeyError, match=r"no branch FatJet_globalParT3_Xbb .*xbb_tagger.*\['particleNet'\]"):
        nanoaod.read(events, background(xbb_tagger="globalParT3"), ["xbb"])
    with pytest.raises(KeyError, match=r"no branch HLT_Nothing \(metadata field 'nanoaod\.triggers'\)"):
        nanoaod.read(events, background(triggers=["HLT_Nothing"]))
    slim = open_nanoaod(relaid[12], stop=5)
    slim["Electron"] = ak.without_field(slim.Electron, "cutBased")
    with pytest.raises(KeyError, match=r"no branch Electron_cutBased \(metadata field 'nanoaod\.lepton_veto'\)"):
        nanoaod.read(slim, background(lepton_veto={}))
    with pytest.raises(FilesetError, match=r"no working points of 'PNetB' for 2018 .*nanoaod\.btag_cut"):
        nanoaod.read(events, background(year="2018"))
    with pytest.raises(FilesetError, match=r"do not have the features \['n_subjets'\] of large-radius jets"):
        nanoaod.branches(background(), ["n_subjets"])
    for name, collection in (("Jet_hadronFlavour", "Jet"), ("FatJet_msoftdrop", "FatJet")):
        other = open_nanoaod(relaid[12], stop=5)
        other[collection] = ak.without_field(other[collection], name.split("_")[1])
        with pytest.raises(KeyError, match=f"no branch {name}"):
            nanoaod.read(other, background(), ["softdrop_mass"])
    bare = open_nanoaod(relaid[12], stop=5, only=set(nanoaod.branches(background())))
    with pytest.raises(KeyError, match="no branch GenPart_pt; the file has"):
        nanoaod.read(bare, signal())


def test_generated_higgs_by_hand(relaid, open_nanoaod):
    """Only the last copy counts, only with two b daughters of its own."""
    events = open_nanoaod(relaid[12], stop=3)
    last = 1 << 13
    rows = [  # pdgId, mother, flags
        [
            (25, -1, 0),
            (25, 0, last),
            (5, 1, 0),
            (-5, 1, 0),
            (5, 2, last),
            (-5, 3, last),
        ],  # the quarks' copies are not its own
        [(25, -1, last), (15, 0, last), (-15, 0, last), (5, -1, 0)],
        [(25, -1, last), (5, 0, 0), (21, 0, 0), (25, -1, last), (5, 3, 0), (-5, 3, 0)],
    ]
    counts = [len(r) for r in rows]
    flat_rows = [x for r in rows for x in r]
    position = np.array([i for r in rows for i in range(len(r))], dtype=np.float32)
    content = {
        name: np.array([x[k] for x in flat_rows]) for k, name in enumerate(("pdgId", "genPartIdxMother", "statusFlags"))
    }
    content |= dict.fromkeys(("pt", "eta", "phi", "mass"), position)
    events["GenPart"] = ak.unflatten(ak.zip(content), counts)
    higgs = nanoaod.generated_higgs(events)
    assert higgs.pt.tolist() == [[1.0], [], [3.0]]
    assert higgs.b1.pt.tolist() == [[2.0], [], [4.0]]
    assert higgs.b2.pt.tolist() == [[3.0], [], [5.0]]


def test_every_feature_can_be_read_from_version_15(relaid, open_nanoaod):
    record = nanoaod.read(open_nanoaod(relaid[15], stop=50), background(), list(FEATURES)).record
    assert set(FEATURES) <= set(record.fatjets.fields)
    assert all(np.isfinite(flat(record.fatjets[name])).all() for name in FEATURES)


def test_higgs_bosons_before_the_shower(relaid, open_nanoaod, open_delphes):
    """The same as from Delphes; a boson whose mother is another copy of it is left out."""
    metadata = DatasetMetadata(format="nanoaod", n_higgs=3)
    record, _ = nanoaod.read(open_nanoaod(relaid[12], stop=50), metadata, collections=("hard_higgs",))
    of_delphes = DatasetMetadata(format="delphes", n_higgs=3)
    other, _ = delphes.read(open_delphes(DEMO / "hhh.root", stop=50), of_delphes, collections=("hard_higgs",))
    assert record.hard_higgs.pt.tolist() == other.hard_higgs.pt.tolist()
