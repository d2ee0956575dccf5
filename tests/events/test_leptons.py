"""Electrons, muons and missing transverse momentum: columns, order, thresholds, what is read, what is missing."""

import itertools

import awkward as ak
import numpy as np
import pytest
from correction_files import TOTAL, write_jet_corrections

from hhh_coffea.datasets.fileset import DatasetMetadata, FilesetError
from hhh_coffea.datasets.nanoaod_options import NanoAODOptions
from hhh_coffea.events import delphes, formats
from hhh_coffea.events.leptons import moved
from hhh_coffea.events.missing import MissingCollectionError
from hhh_coffea.events.nanoaod import reader as nanoaod
from hhh_coffea.events.record import selected, truncated

TOPS = ("leptons", "met", "tops")
DELPHES = DatasetMetadata(format="delphes", n_higgs=1)


@pytest.fixture
def tops(open_delphes, shared_dir):
    def open_(name="tth_test", **options):
        return open_delphes(shared_dir / "data/tops" / f"{name}.root", **options)

    return open_


@pytest.mark.parametrize("collections", [TOPS, ("leptons",), ("met",), ("tops", "higgs"), ()])
def test_delphes_reads_what_was_asked_for(tops, collections):
    log = []
    record = formats.read(tops(stop=50, log=log), DELPHES, collections=collections).record
    ak.materialize(record)
    read = {access.branch for access in log if not access.branch.endswith("_size")}
    described = set(formats.branches_of(DELPHES, collections=collections))
    assert read == described - {"MissingET/MissingET.Eta"}  # coffea needs it to make a vector of the rest
    assert "fatjets" not in record.fields
    # a file of which only these branches are described, as in the engine, is enough
    groups = {name.partition("/")[0] for name in described}
    only = described | groups | {f"{name}_size" for name in groups}
    again = formats.read(tops(stop=50, only=only), DELPHES, collections=collections).record
    assert again.fields == record.fields


def test_delphes_leptons_and_met(tops):
    """Event by event against the file: electrons and muons by falling pT, ``index`` leads back to the file."""
    events = tops(stop=300)
    record = delphes.read(events, DELPHES, (), TOPS).record
    for event, leptons in zip(events, record.leptons, strict=True):
        rows = [
            (pt, eta, charge, isolation, flavor, index)
            for flavor, kind in enumerate((event.Electron, event.Muon))
            for index, (pt, eta, charge, isolation) in enumerate(
                zip(*(kind[leaf].tolist() for leaf in ("PT", "Eta", "Charge", "IsolationVar")), strict=True)
            )
        ]
        names = ("pt", "eta", "charge", "isolation", "flavor", "index")
        mine = list(zip(*(leptons[name].tolist() for name in names), strict=True))
        assert mine == sorted(rows, key=lambda row: -row[0])
    assert ak.all(
        record.leptons.mass == ak.where(record.leptons.flavor == 0, np.float32(0.000511), np.float32(0.10566))
    )
    assert record.met.pt.tolist() == events.MissingET.MET.tolist()
    assert record.met.phi.tolist() == events.MissingET.Phi.tolist()
    assert record.sum_et.tolist() == events.ScalarHT.HT.tolist()


def test_selected_and_truncated_keep_them(tops):
    record = delphes.read(tops(stop=100), DELPHES, (), (*TOPS, "higgs")).record
    mask = np.arange(100) % 3 == 0
    short = truncated(selected(record, mask), 5, 1)
    for name in ("leptons", "met", "sum_et", "tops", "higgs"):
        assert repr(short[name].tolist()) == repr(record[name][mask].tolist())
    assert short.jets.pt.tolist() == record.jets.pt[mask][:, :5].tolist()


def test_delphes_names_what_is_missing(tops, shared_dir, open_delphes):
    with pytest.raises(MissingCollectionError, match=r"'Photons' .metadata field 'electrons'.*Electron"):
        delphes.read(tops(stop=5), DatasetMetadata(format="delphes", n_higgs=1, electrons="Photons"), (), TOPS)
    events = tops(stop=5)
    events["Muon"] = ak.without_field(events.Muon, "Charge")
    with pytest.raises(KeyError, match=r"no branch Muon\.Charge"):
        delphes.read(events, DELPHES, (), TOPS)
    with pytest.raises(MissingCollectionError, match="metadata field 'electrons'"):  # slim files have no leptons
        delphes.read(open_delphes(shared_dir / "data/delphes/hh_test.root", stop=5), DELPHES, (), TOPS)
    with pytest.raises(MissingCollectionError, match="metadata field 'sum_et'"):
        delphes.read(tops(stop=5), DatasetMetadata(format="delphes", n_higgs=1, sum_et="HT"), (), ("met",))


def test_leptons_that_are_not_numbers_are_dropped_and_counted(tops):
    events = tops(stop=30)
    muons = ak.num(events.Muon).tolist()
    events["Electron"] = ak.with_field(events.Electron, ak.full_like(events.Electron.Eta, np.nan), "Eta")
    record, dropped = delphes.read(events, DELPHES, (), TOPS)
    assert ak.num(record.leptons).tolist() == muons
    assert dropped["leptons with non-finite kinematics"] == ak.count(events.Electron.Eta)


def nano(**options):
    return DatasetMetadata(format="nanoaod", n_higgs=1, nanoaod=NanoAODOptions.model_validate(options))


@pytest.fixture
def tt(open_nanoaod, shared_dir):
    def open_(version, metadata=None, collections=TOPS):
        only = set(nanoaod.branches(metadata, (), collections)) if metadata else None
        return open_nanoaod(shared_dir / f"data/nanoaod/tt_v{version}.root", only=only)

    return open_


ELECTRON_IDS = {
    "none": lambda e: e.pt > 0,
    "veto": lambda e: e.cutBased >= 1,
    "tight": lambda e: e.cutBased >= 4,
    "mva_wp90": lambda e: e.mvaIso_WP90,
    "mva_no_isolation_wp80": lambda e: e.mvaNoIso_WP80,
}
MUON_IDS = {"none": lambda m: m.pt > 0, "loose": lambda m: m.looseId, "medium": lambda m: m.mediumId}


@pytest.mark.parametrize("version", [12, 15])
def test_nanoaod_working_points(tt, version):
    events = tt(version)
    for electron_id, muon_id in itertools.product(ELECTRON_IDS, MUON_IDS):
        leptons = {"electron_id": electron_id, "muon_id": muon_id, "muon_isolation_max": 0.25, "pt_min": 10}
        metadata = nano(leptons=leptons)
        record = nanoaod.read(events, metadata, (), collections=("leptons",)).record
        e, m = events.Electron, events.Muon
        e = e[(e.pt >= 10) & (abs(e.eta) <= 2.5) & ELECTRON_IDS[electron_id](e)]
        m = m[(m.pt >= 10) & (abs(m.eta) <= 2.4) & MUON_IDS[muon_id](m) & (m.pfRelIso04_all < 0.25)]
        for flavor, expected in ((0, e), (1, m)):
            mine = record.leptons[record.leptons.flavor == flavor]
            assert ak.sort(mine.pt).tolist() == ak.sort(expected.pt).tolist()
        assert len(ak.flatten(e.pt)) + len(ak.flatten(m.pt)) > 0
        assert ak.all(record.leptons.pt[:, :-1] >= record.leptons.pt[:, 1:])


@pytest.mark.parametrize("version", [12, 15])
def test_nanoaod_reads_no_other_branches_than_it_names(open_nanoaod, shared_dir, version):
    """What a job reads is limited to the names that ``branches`` gives: with them alone the record is the same."""
    metadata = nano(leptons={"electron_id": "mva_wp80"})
    only = set(nanoaod.branches(metadata, (), TOPS))
    path = shared_dir / f"data/nanoaod/tt_v{version}.root"
    few, every = (nanoaod.read(open_nanoaod(path, only=o), metadata, (), collections=TOPS).record for o in (only, None))
    assert repr(few.tolist()) == repr(every.tolist())
    assert not {name for name in only if name.startswith("FatJet")}
    assert not {n for n in nanoaod.branches(nano()) if n.startswith(("Electron", "Muon", "PuppiMET", "MET"))}


@pytest.mark.parametrize("version", [12, 15])
def test_nanoaod_jets_near_leptons_are_dropped(tt, version):
    metadata, kept = (nano(leptons={"electron_id": "none", **given}) for given in ({}, {"jet_delta_r_min": None}))
    record, dropped = nanoaod.read(tt(version, metadata), metadata, (), collections=TOPS)
    every = nanoaod.read(tt(version, kept), kept, (), collections=TOPS).record
    lost = 0
    for jets, all_jets, leptons in zip(record.jets, every.jets, record.leptons, strict=True):
        near = [
            any(np.hypot(j.eta - k.eta, (j.phi - k.phi + np.pi) % (2 * np.pi) - np.pi) < 0.4 for k in leptons)
            for j in all_jets
        ]
        assert jets.index.tolist() == [j.index for j, is_near in zip(all_jets, near, strict=True) if not is_near]
        lost += sum(near)
    assert dropped["jets that overlap a lepton"] == lost > 0


@pytest.mark.parametrize(
    ("version", "option", "branch"),
    [(12, None, "PuppiMET"), (12, "pf", "MET"), (15, None, "PuppiMET"), (15, "pf", "PFMET")],
)
def test_nanoaod_met(tt, version, option, branch):
    metadata = nano(met=option)
    record = nanoaod.read(tt(version, metadata), metadata, (), collections=TOPS).record
    there = tt(version)[branch]
    assert record.met.pt.tolist() == there.pt.tolist()
    assert record.met.phi.tolist() == there.phi.tolist()
    assert record.sum_et.tolist() == there.sumEt.tolist()


def test_nanoaod_version_9_has_its_own_names(tt):
    """The same file under the names of version 9, which its documentation tells."""
    events = tt(12)
    electrons = events.Electron
    renamed = {"mvaFall17V2Iso_WP90": electrons.mvaIso_WP90}
    plain = {name: electrons[name] for name in ("pt", "eta", "phi", "mass", "charge", "pfRelIso03_all")}
    events["Electron"] = ak.zip(plain | renamed)
    metadata = nano(version=9, leptons={"electron_id": "mva_wp90"})
    record = nanoaod.read(events, metadata, (), collections=("leptons", "met")).record
    newer = nano(version=12, leptons={"electron_id": "mva_wp90"})
    assert record.leptons.tolist() == nanoaod.read(tt(12), newer, (), collections=("leptons",)).record.leptons.tolist()
    assert record.met.pt.tolist() == events.MET.pt.tolist()  # CHS jets: the particle-flow MET
    with pytest.raises(KeyError, match=r"Electron_cutBased .metadata field 'nanoaod\.leptons'"):
        nanoaod.read(events, nano(version=9), (), collections=("leptons",))


def test_nanoaod_names_the_missing_met(tt):
    events = tt(15, nano(), ("leptons",))
    with pytest.raises(KeyError, match=r"PuppiMET_pt .metadata field 'nanoaod\.met'"):
        nanoaod.read(events, nano(), (), collections=("met",))


def test_met_is_moved_by_what_jets_gain():
    """By hand: a jet along x gains 10 GeV, one along y of the second event loses 5."""
    pt, phi, jet_phi = np.array([30.0, 0.0, 7.0]), np.array([0.0, 0.0, 1.0]), np.array([0.0, np.pi / 2, np.pi / 2])
    result = moved(pt, phi, np.array([1, 2, 0]), jet_phi, np.array([10.0, -5.0, 0.0]))
    np.testing.assert_allclose(result["pt"], [20, 5, 7], atol=1e-12)
    np.testing.assert_allclose(result["phi"], [0, np.pi / 2, 1], atol=1e-12)


def test_variations_of_jets_move_met(tt, tmp_path):
    """What the jets above 15 GeV of the file gain, MET loses; a regression of jets does not move MET."""
    path = write_jet_corrections(tmp_path / "jets.json")
    jets = {"file": str(path), "uncertainties": {"jes": "Total"}}

    def met(variation, **options):
        metadata = nano(**options)
        return nanoaod.read(tt(12, metadata), metadata, (), variation, collections=("met",)).record.met

    plain, base = met("nominal"), met("nominal", corrections={"jets": jets})
    np.testing.assert_allclose(base.pt, plain.pt, rtol=1e-6)
    assert met("nominal", use_regressed_pt=True).tolist() == plain.tolist()
    raw = tt(12).Jet
    light = raw.neEmEF + raw.chEmEF < 0.9
    assert not ak.all(light)
    for way, sign in (("up", 1), ("down", -1)):
        moved_met = met(f"jes_{way}", corrections={"jets": jets})
        use = raw[light & (raw.pt * (1 + max(sign, 0) * TOTAL) > 15)]
        for axis in (np.cos, np.sin):
            change = np.asarray(moved_met.pt * axis(moved_met.phi) - plain.pt * axis(plain.phi))
            np.testing.assert_allclose(change, -sign * TOTAL * ak.sum(use.pt * axis(use.phi), axis=1), atol=2e-3)
            assert change.std() > 1


def test_options_are_checked():
    with pytest.raises(ValueError, match="electron_id"):
        nano(leptons={"electron_id": "superb"})
    with pytest.raises(FilesetError, match=r"do not have the features .* of large-radius jets"):
        delphes.branches(DELPHES, ("nothing",), TOPS)
