"""Delphes files → event record: columns, order, truth record, bad values."""

import pickle

import awkward as ak
import numpy as np
import pytest
from conftest import DEMO

from hhh_coffea.base.arrays import flat
from hhh_coffea.datasets.fileset import DatasetMetadata, FilesetError, Selection
from hhh_coffea.events import delphes
from hhh_coffea.events.formats import metadata_of
from hhh_coffea.events.missing import MissingCollectionError
from hhh_coffea.events.record import truncated

SIGNAL = DatasetMetadata(format="delphes", n_higgs=3)
BACKGROUND = DatasetMetadata(format="delphes", n_higgs=3, is_signal=False)
FEATURES = sorted(delphes.FATJET_BRANCHES)


@pytest.mark.parametrize("features", [[], FEATURES])
@pytest.mark.parametrize("metadata", [SIGNAL, BACKGROUND])
def test_reads_the_branches_it_names_and_nothing_else(open_delphes, metadata, features):
    log = []
    events = open_delphes(DEMO / "hhh.root", stop=50, log=log)
    record, _ = delphes.read(events, metadata, features)
    ak.materialize(record)
    read = {access.branch for access in log} - {"Jet_size", "FatJet_size", "Particle_size"}
    assert read == set(delphes.branches(metadata, features))
    assert ("higgs" in record.fields) == metadata.is_signal


def test_order_and_file_positions(open_delphes):
    """b-tagged first, then falling pT; ``index`` leads back to the same jet in the file."""
    events = open_delphes(DEMO / "hhh.root", stop=300)
    record, dropped = delphes.read(events, SIGNAL)
    assert dropped == {"jets with non-finite kinematics": 0, "large-radius jets with non-finite kinematics": 0}
    for event, jets in zip(events, record.jets, strict=True):
        raw = list(zip(event.Jet.PT.tolist(), (event.Jet.BTag & 1).tolist(), strict=True))
        expected = sorted(range(len(raw)), key=lambda i: (-raw[i][1], -raw[i][0]))
        assert jets.index.tolist() == expected
        assert jets.pt.tolist() == [raw[i][0] for i in expected]
    assert ak.all(record.fatjets.pt[:, :-1] >= record.fatjets.pt[:, 1:])


def test_order_of_an_unsorted_file(open_delphes):
    """The published code relied on files sorted by pT; here reversed lists give the same jets in the same order."""
    events = open_delphes(DEMO / "hhh.root", stop=100)
    record, _ = delphes.read(events, SIGNAL)
    backwards = {name: events[name] for name in ("Jet", "FatJet")}
    events["Jet"] = backwards["Jet"][:, ::-1]
    events["FatJet"] = backwards["FatJet"][:, ::-1]
    reversed_record, _ = delphes.read(events, SIGNAL)
    for name in ("pt", "eta", "btag", "flavor"):
        assert ak.all(reversed_record.jets[name] == record.jets[name])
    count = ak.num(record.jets)
    assert ak.all(reversed_record.jets.index == count - 1 - record.jets.index)


def test_btag_is_a_bit(open_delphes):
    events = open_delphes(DEMO / "hhh.root", stop=20)
    jets = events.Jet
    events["Jet"] = ak.with_field(jets, jets.BTag * 0 + 2, "BTag")
    assert not ak.any(delphes.read(events, SIGNAL).record.jets.btag)
    other_bit = DatasetMetadata(format="delphes", n_higgs=3, btag_bit=1)
    assert ak.all(delphes.read(events, other_bit).record.jets.btag == 1)


def test_thresholds(open_delphes):
    cuts = Selection(jet_pt_min=40.0, jet_abs_eta_max=2.0, fatjet_pt_min=300.0, fatjet_abs_eta_max=1.5)
    metadata = DatasetMetadata(format="delphes", n_higgs=3, selection=cuts)
    events = open_delphes(DEMO / "hhh.root", stop=500)
    record, _ = delphes.read(events, metadata)
    jets = events.Jet[(events.Jet.PT >= 40) & (abs(events.Jet.Eta) <= 2)]
    fatjets = events.FatJet[(events.FatJet.PT >= 300) & (abs(events.FatJet.Eta) <= 1.5)]
    assert ak.num(record.jets).tolist() == ak.num(jets).tolist()
    assert ak.num(record.fatjets).tolist() == ak.num(fatjets).tolist()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_non_finite_jets_are_dropped_and_counted(open_delphes, value):
    events = open_delphes(DEMO / "hhh.root", stop=50)
    before = ak.num(delphes.read(events, SIGNAL).record.jets).tolist()
    jets, fatjets = events.Jet, events.FatJet
    bad = ak.local_index(jets) == 1
    events["Jet"] = ak.with_field(jets, ak.where(bad, value, jets.Mass), "Mass")
    events["FatJet"] = ak.with_field(fatjets, ak.full_like(fatjets.Phi, value), "Phi")
    record, dropped = delphes.read(events, SIGNAL, FEATURES)
    assert ak.num(record.jets).tolist() == [n - 1 for n in before]
    assert ak.num(record.fatjets).tolist() == [0] * 50
    assert dropped["jets with non-finite kinematics"] == 50
    assert dropped["large-radius jets with non-finite kinematics"] == len(flat(fatjets.PT))
    assert np.isfinite(flat(record.jets.mass)).all()


def test_fatjet_features(open_delphes):
    """Against the four-vector and the formulas of §1, jet by jet; 0/0 and x/0 are −1."""
    events = open_delphes(DEMO / "hhh.root", stop=200)
    fatjets = events.FatJet
    tau = ak.to_numpy(ak.flatten(fatjets.Tau_5)).copy()
    tau[0], tau[1, 0] = 0, 0  # 0/0 and x/0
    events["FatJet"] = ak.with_field(fatjets, ak.unflatten(tau, ak.num(fatjets)), "Tau_5")
    record, _ = delphes.read(events, SIGNAL, FEATURES)
    mine = {name: flat(record.fatjets[name]) for name in FEATURES}
    position = flat(record.fatjets.index)
    start = np.repeat(np.cumsum(ak.num(fatjets)) - ak.num(fatjets), ak.num(record.fatjets))
    raw = start + position
    groomed = ak.flatten(fatjets.SoftDroppedP4_5)[:, 0]
    mass2 = ak.to_numpy(groomed.t**2 - groomed.x**2 - groomed.y**2 - groomed.z**2)[raw]
    np.testing.assert_allclose(mine["softdrop_mass"], np.sqrt(np.maximum(mass2, 0)), atol=1e-9)
    for number, (above, below, name) in enumerate(((1, 0, "tau21"), (2, 1, "tau32"))):
        for value, jet in zip(mine[name], raw, strict=True):
            expected = tau[jet, above] / tau[jet, below] if tau[jet, below] > 0 else -1
            assert value == pytest.approx(expected), number
    assert {-1.0} == {mine["tau21"][raw == 0][0], mine["tau21"][raw == 1][0], mine["tau32"][raw == 0][0]}
    assert mine["n_charged"].tolist() == ak.to_numpy(ak.flatten(fatjets.NCharged))[raw].tolist()


def test_jet_features(open_delphes):
    """As in the file, jet by jet; read only where asked for."""
    events = open_delphes(DEMO / "hhh.root", stop=200)
    wanted = ["jets.n_charged", "jets.n_neutral"]
    record, _ = delphes.read(events, SIGNAL, wanted)
    raw = events.Jet[record.jets.index]
    assert ak.all(record.jets.n_charged == raw.NCharged)
    assert ak.all(record.jets.n_neutral == raw.NNeutrals)
    assert "n_charged" not in delphes.read(events, SIGNAL).record.jets.fields
    names = set(delphes.branches(SIGNAL, wanted)) - set(delphes.branches(SIGNAL))
    assert names == {"Jet/Jet.NCharged", "Jet/Jet.NNeutrals"}
    with pytest.raises(FilesetError, match=r"do not have the features \['n_muons'\] of jets; they have n_charged"):
        delphes.branches(SIGNAL, ["jets.n_muons"])


def particles(*events):
    """(PID, M1, D1) lists → a Particle collection whose pT is its position."""
    columns = {"PID": 0, "M1": 1, "D1": 2}
    counts = [len(e) for e in events]
    flat_rows = [row for e in events for row in e]
    content = {k: np.array([row[i] for row in flat_rows], dtype=np.int32) for k, i in columns.items()}
    position = np.array([p for e in events for p in range(len(e))], dtype=float)
    content |= {"PT": position, "Eta": position / 10, "Phi": position / 100, "Mass": position}
    return ak.unflatten(ak.zip(content), counts)


def test_higgs_to_bb_by_hand():
    """Copies, missing mothers, other decays and empty events."""
    good = [(25, -1, 1), (25, 0, 2), (5, 1, -1), (-5, 1, -1)]  # a first copy, its last copy, two b quarks
    tautau = [(25, -1, 1), (15, 0, -1), (-15, 0, -1)]
    gluon = [(21, -1, 1), (5, 0, -1), (-5, 0, -1), (25, -1, -1)]  # b from a gluon; a Higgs without daughters
    no_mother = [(5, -1, -1), (25, -1, 0)]  # M1 = −1 must not be taken for the last particle
    higgs = delphes.higgs_to_bb(particles(good, [], tautau, gluon, no_mother, good))
    assert ak.num(higgs).tolist() == [1, 0, 0, 0, 0, 1]
    assert higgs.pt[0].tolist() == [1.0]
    assert higgs.b1.pt[0].tolist() == [2.0]
    assert higgs.b2.pt[5].tolist() == [3.0]


def test_full_record_gives_the_same_as_its_own_plain_reading(open_delphes, shared_dir):
    """Files as Delphes writes them with everything on: 455 branches, 1,760 particles an event."""
    for name in ("hhh_full_60.root", "hhh_allbranches_400.root"):
        events = open_delphes(shared_dir / "data/delphes/full_record" / name)
        record, _ = delphes.read(events, SIGNAL, FEATURES)
        assert len(record) > 0
        assert ak.all(ak.num(record.higgs) == 3)
        for event in range(20):
            particle = events.Particle[event]
            pid, mother = particle.PID.tolist(), particle.M1.tolist()
            quarks = [i for i, p in enumerate(pid) if abs(p) == 5 and mother[i] >= 0 and pid[mother[i]] == 25]
            mine = sorted(record.higgs.b1.pt[event].tolist() + record.higgs.b2.pt[event].tolist())
            assert mine == sorted(particle.PT[quarks].tolist())


def test_missing_collection_and_branch_are_named(open_delphes):
    events = open_delphes(DEMO / "hhh.root", stop=5)
    elsewhere = DatasetMetadata(format="delphes", n_higgs=3, fatjets="ParticleFlowJet08")
    with pytest.raises(KeyError, match=r"no collection 'ParticleFlowJet08' .metadata field 'fatjets'.*FatJet"):
        delphes.read(events, elsewhere)
    with pytest.raises(KeyError, match="no collection"):  # a dask worker sends it
        raise pickle.loads(pickle.dumps(MissingCollectionError("a", "jets", ["b"])))
    slim = ak.without_field(events.Jet, "BTag")
    events["Jet"] = slim
    with pytest.raises(KeyError, match=r"no branch Jet\.BTag"):
        delphes.read(events, SIGNAL)


def test_weights_come_from_the_collection_that_is_named(open_delphes):
    """A collection that is not there, or has no weight, is an error: unit weights are for those who ask for them."""
    events = open_delphes(DEMO / "hhh.root", stop=5)
    events["Event"] = ak.with_field(events.Event, np.arange(5.0) - 2, "Weight")
    assert delphes.read(events, SIGNAL).record.weight.tolist() == [-2, -1, 0, 1, 2]
    wrong = DatasetMetadata(format="delphes", n_higgs=3, event="Evt")
    with pytest.raises(KeyError, match=r"no collection 'Evt' .metadata field 'event'.*Event"):
        delphes.read(events, wrong)
    with pytest.raises(KeyError, match=r"no branch Jet\.Weight"):
        delphes.read(events, DatasetMetadata(format="delphes", n_higgs=3, event="Jet"))
    without = DatasetMetadata(format="delphes", n_higgs=3, event=None)
    assert delphes.read(events, without).record.weight.tolist() == [1.0] * 5
    assert not any("Weight" in branch for branch in delphes.branches(without))


def test_truncation_keeps_the_first(open_delphes):
    record, _ = delphes.read(open_delphes(DEMO / "hhh.root", stop=300), SIGNAL)
    short = truncated(record, 7, 1)
    assert short.jets.index.tolist() == record.jets.index[:, :7].tolist()
    assert short.fatjets.index.tolist() == record.fatjets.index[:, :1].tolist()


def test_btagging_option_yields_to_the_dataset(open_delphes):
    events = open_delphes(DEMO / "hhh.root", stop=5)
    events.metadata.update({"format": "delphes", "n_higgs": 3})
    assert metadata_of(events, "upart").btagging == "upart"
    events.metadata["btagging"] = "stored"
    assert metadata_of(events, "upart").btagging == "stored"


@pytest.mark.parametrize(("name", "n"), [("hh", 2), ("hhh", 3)])
def test_higgs_bosons_before_the_shower(open_delphes, name, n):
    """The copies with status 22; those that decay recoil against radiation."""
    events = open_delphes(DEMO / f"{name}.root", stop=200)
    metadata = DatasetMetadata(format="delphes", n_higgs=n)
    record, _ = delphes.read(events, metadata, collections=("higgs", "hard_higgs"))
    particles = events.Particle
    first = particles[(particles.PID == 25) & (particles.Status == 22)]
    assert ak.num(record.hard_higgs.pt).tolist() == [n] * 200
    for field, leaf in (("pt", "PT"), ("eta", "Eta"), ("phi", "Phi"), ("mass", "Mass")):
        assert flat(record.hard_higgs[field]).tolist() == flat(first[leaf]).tolist()
    assert not np.allclose(flat(record.hard_higgs.pt), flat(record.higgs.pt))
