"""Jet corrections and b-tag weights against numbers made by hand from small correctionlib files."""

import json

import awkward as ak
import numpy as np
import pytest
from correction_files import (
    EFFICIENCY,
    FORWARD,
    HEAVY,
    LIGHT,
    OFFSET,
    RATIOS,
    RESOLUTION,
    SCALE,
    TOTAL,
    write_btag_corrections,
    write_jet_corrections,
)
from nanoaod_writer import RAW_FACTOR

from hhh_coffea.base.arrays import event_index, flat
from hhh_coffea.datasets.fileset import DatasetMetadata, FilesetError, load_fileset
from hhh_coffea.events.formats import variations
from hhh_coffea.events.nanoaod import reader as nanoaod
from hhh_coffea.events.record import weights_of


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corrections")
    return {
        "jets": str(write_jet_corrections(folder / "jets.json")),
        "btag": str(write_btag_corrections(folder / "btag.json")),
    }


def metadata(**corrections):
    return DatasetMetadata(
        format="nanoaod",
        n_higgs=3,
        is_signal=False,
        nanoaod={"corrections": corrections, "jet_id": "none"},
        selection={"jet_pt_min": 0.0},
    )


def in_file_order(jets):
    return jets[ak.argsort(jets.index)]


def test_energy_scale_by_hand(relaid, open_nanoaod, files):
    """Raw pT, then the compound correction; pT and mass by the same factor; nothing more is read than is needed."""
    log = []
    wanted = metadata(jets={"file": files["jets"], "jec": "JEC"})
    events = open_nanoaod(relaid[12], stop=200, log=log, only=set(nanoaod.branches(wanted)))
    jets = in_file_order(nanoaod.read(events, wanted).record.jets)
    assert {"Jet_rawFactor", "Jet_area", "Rho_fixedGridRhoFastjetAll"} <= {access.branch for access in log}
    assert not {"GenJet_pt", "Jet_genJetIdx"} & {access.branch for access in log}
    stored, rho = events.Jet, events.Rho.fixedGridRhoFastjetAll
    raw = stored.pt * (1 - RAW_FACTOR)
    expected = (raw - OFFSET * 0.5 * rho) * SCALE
    np.testing.assert_allclose(flat(jets.pt), flat(expected), rtol=1e-5)
    np.testing.assert_allclose(flat(jets.mass), flat(stored.mass * expected / stored.pt), rtol=1e-5)


@pytest.mark.parametrize(("variation", "sign"), [("jes_up", 1), ("jes_down", -1)])
def test_scale_variations_by_hand(relaid, open_nanoaod, files, variation, sign):
    events = open_nanoaod(relaid[12], stop=200)
    given = {"file": files["jets"], "uncertainties": {"jes": "Total", "forward": "Forward"}}
    wanted = metadata(jets=given)
    jets = in_file_order(nanoaod.read(events, wanted, variation=variation).record.jets)
    np.testing.assert_allclose(flat(jets.pt), flat(events.Jet.pt) * (1 + sign * TOTAL), rtol=1e-6)
    jets = in_file_order(nanoaod.read(events, wanted, variation="forward_up").record.jets)
    factor = np.where(np.abs(flat(events.Jet.eta)) > 2, 1 + FORWARD, 1.0)
    np.testing.assert_allclose(flat(jets.pt), flat(events.Jet.pt) * factor, rtol=1e-6)
    fat = metadata(fatjets={"file": files["jets"], "uncertainties": {"jes": "Total"}}, jets=given)
    both = nanoaod.read(events, fat, ["softdrop_mass"], variation).record.fatjets
    plain = nanoaod.read(events, fat, ["softdrop_mass"]).record.fatjets
    kept = both.index[ak.num(both) == ak.num(plain)], plain.index[ak.num(both) == ak.num(plain)]
    assert kept[0].tolist() == kept[1].tolist()
    for name in ("pt", "mass", "softdrop_mass"):
        ratio = flat(both[name][ak.num(both) == ak.num(plain)]) / np.maximum(
            flat(plain[name][ak.num(both) == ak.num(plain)]), 1
        )
        some = flat(plain[name][ak.num(both) == ak.num(plain)]) > 1
        np.testing.assert_allclose(ratio[some], 1 + sign * TOTAL, rtol=1e-5)
    assert list(variations(fat)) == ["nominal", "jes_up", "jes_down", "forward_up", "forward_down"]


JER = {"resolution": "Resolution", "resolution_scale": "Ratio"}


@pytest.mark.parametrize("variation", ["nominal", "jer_up", "jer_down"])
def test_smearing(relaid, open_nanoaod, files, variation):
    """Jets with a generated one by the formula; the others at random with the right width, the same in any chunk."""
    wanted = metadata(jets={"file": files["jets"], **JER})
    events = open_nanoaod(relaid[12], stop=1500)
    jets = in_file_order(nanoaod.read(events, wanted, variation=variation).record.jets)
    factor = flat(jets.pt) / flat(events.Jet.pt)
    matched = flat(events.Jet.genJetIdx) >= 0
    ratio = RATIOS[{"nominal": "nom"}.get(variation, variation.removeprefix("jer_"))]
    np.testing.assert_allclose(factor[matched], 1 + (ratio - 1) * 0.1, rtol=1e-5)  # (pT − 0.9 pT)/pT = 0.1 < 3σ
    width = RESOLUTION * np.sqrt(ratio**2 - 1)
    thrown = factor[~matched] - 1
    assert abs(thrown.mean()) < 4 * width / np.sqrt(len(thrown)) + 1e-7
    assert thrown.std() == pytest.approx(width, rel=0.05, abs=1e-6)
    part = nanoaod.read(open_nanoaod(relaid[12], start=700, stop=900), wanted, variation=variation).record.jets
    assert in_file_order(part).pt.tolist() == jets.pt[700:900].tolist()


def test_generated_jets_that_are_far_do_not_count(relaid, open_nanoaod, files):
    wanted = metadata(jets={"file": files["jets"], **JER})
    events = open_nanoaod(relaid[12], stop=300)
    near = in_file_order(nanoaod.read(events, wanted).record.jets)
    events["GenJet"] = ak.with_field(events.GenJet, events.GenJet.phi + 0.3, "phi")
    far = in_file_order(nanoaod.read(events, wanted).record.jets)
    matched = flat(events.Jet.genJetIdx) >= 0
    factor = flat(far.pt)[matched] / flat(events.Jet.pt)[matched]
    assert np.std(factor) == pytest.approx(RESOLUTION * np.sqrt(RATIOS["nom"] ** 2 - 1), rel=0.1)
    assert flat(far.pt)[~matched].tolist() == flat(near.pt)[~matched].tolist()


BTAG = {"heavy": "heavy", "light": "light", "efficiency": "efficiency"}


def test_btag_weights_by_hand(relaid, open_nanoaod, files):
    """Event by event, with the formula of the docstring in plain Python."""
    given = {"file": files["btag"], "efficiency_file": files["btag"], **BTAG}
    wanted = metadata(btag=given).model_copy(
        update={"selection": metadata().selection.model_copy(update={"jet_pt_min": 40.0})}
    )
    record = nanoaod.read(open_nanoaod(relaid[15], stop=100), wanted).record
    weight = weights_of(record)["b tag"]
    expected = {name: [] for name in HEAVY}
    for event in record.jets.tolist():
        for name, products in expected.items():
            product = 1.0
            for jet in event:
                if abs(jet["eta"]) < 2.5:
                    factor = (HEAVY if jet["flavor"] in (4, 5) else LIGHT)[name]
                    efficiency = EFFICIENCY[jet["flavor"]]
                    product *= factor if jet["btag"] else (1 - factor * efficiency) / (1 - efficiency)
            products.append(product)
    np.testing.assert_allclose(weight, expected["central"], rtol=1e-9)
    assert np.std(weight) > 0.05
    for way in ("up", "down"):
        ratio = np.array(expected[way]) / np.array(expected["central"])
        np.testing.assert_allclose(record.shifts[f"btag_{way}"], ratio, rtol=1e-9)
    assert variations(wanted) == {"nominal": ("nominal", "btag_up", "btag_down")}
    assert event_index(ak.num(record.jets))[-1] <= 99


@pytest.mark.parametrize(
    ("corrections", "message"),
    [
        (
            {"jets": {"file": "J", "jec": "L1L2L3"}},
            r"'nanoaod.corrections.jets.jec': .*has no 'L1L2L3'; it has \['Forward'",
        ),
        ({"jets": {"file": "J", "uncertainties": {"jes": "Odd"}}}, r"jets.uncertainties.jes': Odd takes 'JetColour'"),
        (
            {"fatjets": {"file": "B", "resolution": "Resolution", "resolution_scale": "Ratio"}},
            "fatjets.resolution': .*no 'Res",
        ),
        ({"btag": {"file": "B", "efficiency_file": "B", **BTAG, "light": "lihgt"}}, "btag.light': .*no 'lihgt'"),
        (
            {"btag": {"file": "J", "efficiency_file": "B", **BTAG, "heavy": "Total"}},
            "btag.heavy': Total takes 'JetEta'",
        ),
    ],
)
def test_corrections_that_are_not_there_are_named_before_anything_is_read(files, corrections, message):
    paths = {"J": files["jets"], "B": files["btag"]}
    given = {k: {a: paths.get(b, b) if isinstance(b, str) else b for a, b in v.items()} for k, v in corrections.items()}
    with pytest.raises(FilesetError, match=message):
        nanoaod.branches(metadata(**given))


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"taggr": "PNetB"}, "field 'nanoaod.taggr': unknown field .*did you mean 'tagger'"),
        ({"tagger": "CSV"}, "field 'nanoaod.tagger': "),
        ({"version": 10}, "field 'nanoaod.version': "),
        ({"year": "2022preEE"}, "field 'nanoaod.year': "),
        ({"use_regressed_pt": "yes"}, "field 'nanoaod.use_regressed_pt': "),
        ({"triggers": ["PFHT1050"]}, "field 'nanoaod.triggers.0': "),
        ({"met_filters": "all"}, "field 'nanoaod.met_filters"),
        ({"golden_json": "nowhere.json"}, "field 'nanoaod.golden_json': no such file 'nowhere.json'"),
        ({"corrections": {"jets": {"file": "gone.json"}}}, "field 'nanoaod.corrections.jets.file': no such file"),
        (
            {"corrections": {"jets": {"file": "J", "resolution": "R"}}},
            "resolution and resolution_scale belong together",
        ),
        ({"corrections": {"jets": {"file": "J", "uncertainties": {"jer": "R"}}}}, "the name 'jer' is taken"),
        ({"use_regressed_pt": True, "corrections": {"jets": {"file": "J", "jec": "J"}}}, "exclude each other"),
        ({"lepton_veto": {"electron_pt": 10}}, "field 'nanoaod.lepton_veto.electron_pt': unknown"),
    ],
)
def test_errors_of_the_metadata_name_the_field(tmp_path, section, message):
    content = {"X": {"files": ["a.root"], "metadata": {"format": "nanoaod", "n_higgs": 3, "nanoaod": section}}}
    (tmp_path / "f.json").write_text(json.dumps(content))
    with pytest.raises(FilesetError, match=message) as error:
        load_fileset(tmp_path / "f.json")
    assert "dataset 'X'" in str(error.value)


def test_fields_of_the_other_format_are_refused(tmp_path):
    for form, field, value in (("nanoaod", "btag_bit", 1), ("nanoaod", "jets", "Jet"), ("delphes", "nanoaod", {})):
        content = {"X": {"files": ["a.root"], "metadata": {"format": form, "n_higgs": 3, field: value}}}
        (tmp_path / "f.json").write_text(json.dumps(content))
        with pytest.raises(FilesetError, match=f"format '{form}' has no field '{field}'"):
            load_fileset(tmp_path / "f.json")


def test_files_are_found_beside_the_fileset(tmp_path, monkeypatch):
    write_jet_corrections(tmp_path / "jets.json")
    (tmp_path / "certified.json").write_text('{"1": [[1, 2]]}')
    section = {"golden_json": "certified.json", "corrections": {"jets": {"file": "jets.json", "jec": "JEC"}}}
    content = {"X": {"files": ["a.root"], "metadata": {"format": "nanoaod", "n_higgs": 3, "nanoaod": section}}}
    (tmp_path / "f.json").write_text(json.dumps(content))
    monkeypatch.chdir("/")
    loaded = load_fileset(tmp_path / "f.json")["X"].metadata
    assert loaded.nanoaod.golden_json == str(tmp_path / "certified.json")
    again = DatasetMetadata.model_validate(loaded.model_dump(exclude_unset=True))  # as it travels to a worker
    assert again.nanoaod.corrections.jets.file == str(tmp_path / "jets.json")
    assert again.nanoaod.corrections.jets.jec == "JEC"
