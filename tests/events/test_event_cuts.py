"""Event cuts of NanoAOD, counted by hand and found under their names in the cutflow."""

import json

import awkward as ak
import numpy as np
import pytest
from correction_files import write_btag_corrections

from hhh_coffea.datasets.fileset import DatasetMetadata, FilesetError
from hhh_coffea.datasets.nanoaod_options import LeptonVeto, NanoAODOptions
from hhh_coffea.events.nanoaod import event_cuts
from hhh_coffea.events.nanoaod import reader as nanoaod
from hhh_coffea.events.nanoaod.names import MET_FILTERS, YEAR_MARKS, resolve
from hhh_coffea.events.record import cuts_of, selected, weights_of
from hhh_coffea.run import main

N = 1500  # events of the re-laid file; what fired and what is there follows from the event number
NUMBER = np.arange(N)


def test_every_cut_and_weight_has_its_row(relaid, tmp_path):
    write_btag_corrections(tmp_path / "btag.json")
    section = {
        "met_filters": "recommended",
        "triggers": ["HLT_Even", "HLT_Third"],
        "lepton_veto": {},
        "corrections": {
            "btag": {
                "file": "btag.json",
                "heavy": "heavy",
                "light": "light",
                "efficiency_file": "btag.json",
                "efficiency": "efficiency",
            }
        },
    }
    files = {"A": relaid[12], "B": relaid[15]}
    content = {
        name: {"files": [str(file)], "metadata": {"format": "nanoaod", "n_higgs": 3, "nanoaod": section}}
        for name, file in files.items()
    }
    (tmp_path / "f.json").write_text(json.dumps(content))
    assert main(["--fileset", str(tmp_path / "f.json"), "--output", str(tmp_path / "r"), "--no-plots"]) == 0
    table = json.loads((tmp_path / "r" / "cutflow.json").read_text())["datasets"]
    clean = NUMBER % 5 != 0
    fired = clean & ((NUMBER % 2 == 0) | (NUMBER % 3 == 0))
    no_lepton = fired & (NUMBER % 7 != 0) & (NUMBER % 11 != 0)
    for name in files:
        rows = {row["cut"]: row for row in table[name]["cuts"]}
        assert list(rows) == [
            "all events",
            "finite weight",
            "MET filters",
            "trigger",
            "no lepton",
            "3 Higgs → bb",
            "≥ 6 jets",
            "weight: b tag",
        ]
        for cut, mask in (("MET filters", clean), ("trigger", fired), ("no lepton", no_lepton)):
            assert rows[cut]["events"] == mask.sum()
            assert rows[cut]["weighted"] == mask.sum()
        last = rows["≥ 6 jets"]
        assert 0 < last["events"] < no_lepton.sum()
        assert rows["weight: b tag"]["events"] == last["events"]
        assert rows["weight: b tag"]["weighted"] != pytest.approx(last["weighted"], rel=1e-3)
    histograms = json.loads((tmp_path / "r" / "histograms.json").read_text())
    assert histograms["datasets"]["A"]["format"] == "nanoaod"


def test_weights_go_into_the_event_weight(relaid, open_nanoaod, tmp_path):
    path = str(write_btag_corrections(tmp_path / "btag.json"))
    btag = {"file": path, "heavy": "heavy", "light": "light", "efficiency_file": path, "efficiency": "efficiency"}
    section = {"triggers": ["HLT_Even"], "corrections": {"btag": btag}}
    metadata = DatasetMetadata(format="nanoaod", n_higgs=3, is_signal=False, nanoaod=section)
    record = nanoaod.read(open_nanoaod(relaid[12]), metadata).record
    mask = cuts_of(record)["trigger"]
    kept = selected(record, mask)
    assert set(record.fields) - set(kept.fields) == {"cuts", "weights"}
    np.testing.assert_array_equal(kept.weight, (np.asarray(record.weight) * weights_of(record)["b tag"])[mask])
    np.testing.assert_array_equal(kept.shifts.btag_up, np.asarray(record.shifts.btag_up)[mask])
    everything = selected(record, np.ones(N, dtype=bool))
    np.testing.assert_array_equal(np.asarray(everything.weight)[mask], kept.weight)


def test_lepton_veto_thresholds(relaid, open_nanoaod):
    """Leptons of 30 GeV, electrons of cutBased 3, muons with isolation 0.1 or 0.5."""
    events = open_nanoaod(relaid[12])
    electron, muon, loose = (NUMBER % k == 0 for k in (7, 11, 13))
    for veto, expected in (
        (LeptonVeto(), electron | muon),
        (LeptonVeto(electron_cut_based_min=4), muon),
        (LeptonVeto(electron_pt_min=31.0, muon_isolation_max=0.6), muon | loose),
        (LeptonVeto(electron_abs_eta_max=0.9, muon_abs_eta_max=0.9), np.zeros(N, dtype=bool)),
    ):
        np.testing.assert_array_equal(event_cuts.no_lepton(events, veto), ~expected)


def test_golden_json(relaid, open_nanoaod, tmp_path):
    """coffea's LumiMask on run and luminosity section: 100 events a section, sections 1–3 and 7 of the run are good."""
    path = tmp_path / "golden.json"
    path.write_text(json.dumps({"370000": [[1, 3], [7, 7]], "370001": [[1, 99]]}))
    metadata = DatasetMetadata(format="nanoaod", n_higgs=3, is_signal=False, nanoaod={"golden_json": str(path)})
    cuts = cuts_of(nanoaod.read(open_nanoaod(relaid["data"]), metadata).record)
    section = 1 + NUMBER // 100
    np.testing.assert_array_equal(cuts["golden JSON"], (section <= 3) | (section == 7))
    with pytest.raises(FilesetError, match=r"'nanoaod\.golden_json' is for data; these events are simulated"):
        nanoaod.read(open_nanoaod(relaid[15]), metadata)
    path = tmp_path / "broken.json"
    path.write_text("[")
    broken = DatasetMetadata(format="nanoaod", n_higgs=3, is_signal=False, nanoaod={"golden_json": str(path)})
    with pytest.raises(FilesetError, match=r"golden_json': .*broken\.json cannot be read"):
        nanoaod.read(open_nanoaod(relaid["data"]), broken)


def test_named_filters(relaid, open_nanoaod):
    events = open_nanoaod(relaid[12])
    section = {"met_filters": ["Flag_eeBadScFilter"]}
    metadata = DatasetMetadata(format="nanoaod", n_higgs=3, is_signal=False, nanoaod=section)
    assert cuts_of(nanoaod.read(events, metadata).record)["MET filters"].all()
    section = {"met_filters": ["Flag_goodVertices", "Flag_nothing"]}
    metadata = DatasetMetadata(format="nanoaod", n_higgs=3, is_signal=False, nanoaod=section)
    with pytest.raises(KeyError, match=r"no branch Flag_nothing \(metadata field 'nanoaod.met_filters'\)"):
        nanoaod.read(events, metadata)


def test_recommended_filters_are_those_of_the_year():
    """The table of the JetMET group: HBHE in Run 2, ecalBadCalib from 2017 on, hfNoisyHits recommended in Run 3."""
    filters = {
        year: {name.removeprefix("Flag_").removesuffix("Filter") for name in f} for year, f in MET_FILTERS.items()
    }
    common = {
        "goodVertices",
        "globalSuperTightHalo2016",
        "EcalDeadCellTriggerPrimitive",
        "BadPFMuon",
        "BadPFMuonDz",
        "eeBadSc",
    }
    hbhe = {"HBHENoise", "HBHENoiseIso"}
    assert filters["2016preVFP"] == filters["2016"] == common | hbhe
    assert filters["2017"] == filters["2018"] == common | hbhe | {"ecalBadCalib"}
    for year in ("2022", "2022EE", "2023", "2023BPix", "2024"):
        assert filters[year] == common | {"ecalBadCalib", "hfNoisyHits"}


def test_a_run_2_file_of_version_15_is_one_of_run_2():
    """Seen from its triggers; its filters follow from the year."""
    year, trigger = YEAR_MARKS[9][0]
    events = ak.Array({"Jet_btagUParTAK4B": [0.5], trigger: [True]})
    assert (resolve(events, NanoAODOptions()).year, year) == ("2018", "2018")
    assert resolve(events[["Jet_btagUParTAK4B"]], NanoAODOptions()).year == "2024"
