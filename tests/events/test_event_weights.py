"""Weights of pile-up, leptons and theory by hand: nominal values, variations, and mistakes by name."""

from __future__ import annotations

import numpy as np
import pytest
from correction_files import MUON, write_event_weights

from hhh_coffea.base.arrays import counts_of, flat
from hhh_coffea.datasets.fileset import DatasetMetadata, FilesetError, load_fileset
from hhh_coffea.events.formats import branches_of, variations
from hhh_coffea.events.nanoaod import reader as nanoaod
from hhh_coffea.events.record import weights_of


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return str(write_event_weights(tmp_path_factory.mktemp("weights") / "weights.json"))


def metadata(**corrections):
    return DatasetMetadata(format="nanoaod", n_higgs=3, is_signal=False, nanoaod={"corrections": corrections})


def pileup(file, **more):
    given = {"file": file, "correction": "pileup", "systematic": "weights"}
    return {**given, "inputs": {"NumTrueInteractions": "Pileup_nTrueInt"}, **more}


def muons(file):
    given = {"file": file, "correction": "muon", "over": "muons", "systematic": "scale_factors"}
    inputs = {"abseta": "abseta", "pt": "pt"}
    return {**given, "inputs": inputs, "constants": {"year": "2022"}, "variations": ["nominal", "systup", "systdown"]}


def read(relaid, open_nanoaod, given, collections=()):
    needed = set(branches_of(given, collections=collections))
    record, _ = nanoaod.read(open_nanoaod(relaid[12], stop=300, only=needed), given, collections=collections)
    return record


def test_pileup(relaid, open_nanoaod, file):
    record = read(relaid, open_nanoaod, metadata(weights={"pileup": pileup(file)}))
    number = 20 + np.arange(300) % 30
    np.testing.assert_allclose(weights_of(record)["pileup"], number / 35)
    np.testing.assert_allclose(record.shifts.pileup_up, 35 / 30)
    np.testing.assert_allclose(record.shifts.pileup_down, 35 / 40)


@pytest.mark.parametrize("collections", [(), ("leptons",)])
def test_product_over_muons(relaid, open_nanoaod, file, collections):
    """Events without a muon weigh 1, whether or not the analysis reads leptons."""
    section = {"leptons": {"muon_id": "loose"}, "corrections": {"weights": {"muon_id": muons(file)}}}
    given = DatasetMetadata(format="nanoaod", n_higgs=3, is_signal=False, nanoaod=section)
    record = read(relaid, open_nanoaod, given, collections)
    with_leptons = read(relaid, open_nanoaod, given, ("leptons",))
    is_muon = flat(with_leptons.leptons.flavor) == 1
    event = np.repeat(np.arange(300), counts_of(with_leptons.leptons.pt))
    number = np.bincount(event[is_muon], minlength=300)
    assert set(number) == {0, 1}
    np.testing.assert_allclose(weights_of(record)["muon_id"], MUON["nominal"] ** number)
    np.testing.assert_allclose(record.shifts.muon_id_up, (MUON["systup"] / MUON["nominal"]) ** number)
    np.testing.assert_allclose(record.shifts.muon_id_down, (MUON["systdown"] / MUON["nominal"]) ** number)


def test_theory(relaid, open_nanoaod):
    """The k-th weight is 1 + k/100: envelope of six scales, root of the sum of squares of 100 members, radiation."""
    given = metadata(theory=["scale", "pdf", "parton_shower"])
    record = read(relaid, open_nanoaod, given)
    assert "weights" not in record.fields, "the nominal weight is that of the generator"
    hessian = np.sqrt(sum((k / 100) ** 2 for k in range(1, 101)))
    expected = {"scale": (1.08, 1.0), "pdf": (1 + hessian, 0.0), "isr": (1.0, 1.02), "fsr": (1.01, 1.03)}
    for name, (up, down) in expected.items():
        np.testing.assert_allclose(record.shifts[f"{name}_up"], up, rtol=1e-6)
        np.testing.assert_allclose(record.shifts[f"{name}_down"], down, rtol=1e-6, atol=1e-6)


def test_variations_are_known_before_anything_is_read(file):
    given = metadata(weights={"pileup": pileup(file)}, theory=["parton_shower"])
    ways = ("up", "down")
    assert variations(given) == {
        "nominal": ("nominal", *(f"{name}_{way}" for name in ("pileup", "isr", "fsr") for way in ways))
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"correction": "pile"}, r"corrections\.weights\.pileup': .* has no 'pile'; it has"),
        ({"inputs": {}}, r"weights\.pileup': pileup takes 'NumTrueInteractions': give it in 'inputs'"),
        ({"systematic": "syst", "inputs": {"NumTrueInteractions": "Pileup_nTrueInt"}}, "takes 'weights'"),
        ({"variations": ["central", "up", "down"]}, "corrections.weights.pileup': pileup"),
        ({"correction": "narrow"}, "corrections.weights.pileup': narrow"),
        ({"inputs": {"NumTrueInteractions": "Pileup_nPU"}}, "Pileup_nPU"),
    ],
)
def test_mistakes_name_the_weight(relaid, open_nanoaod, file, change, message):
    with pytest.raises((FilesetError, KeyError), match=message):
        read(relaid, open_nanoaod, metadata(weights={"pileup": pileup(file, **change)}))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"jer": {}}, "the name 'jer' is taken"),
        ({"scale": {}}, "the name 'scale' is taken"),
        ({"a": {"over": "muons", "inputs": {"x": "charge"}}}, "leptons have no 'charge'; they have pt"),
        ({"a": {"inputs": {"x": "no branch"}}}, "'no branch' is no name of a branch"),
        ({"a": {"inputs": {"x": "pt"}, "constants": {"x": 1}}}, "the input 'x' is given twice"),
        ({"a": {"variations": ["nominal"]}}, "variations"),
    ],
)
def test_metadata_that_make_no_sense(tmp_path, weights, message):
    import json

    file = {"file": "w.json", "correction": "c"}
    given = {name: {**file, **fields} for name, fields in weights.items()}
    section = {"format": "nanoaod", "n_higgs": 3, "nanoaod": {"corrections": {"weights": given}}}
    (tmp_path / "w.json").touch()
    (tmp_path / "f.json").write_text(json.dumps({"A": {"files": ["a.root"], "metadata": section}}))
    with pytest.raises(FilesetError, match=message):
        load_fileset(tmp_path / "f.json")


def test_data_have_no_such_weights(relaid, open_nanoaod, file):
    for given in ({"weights": {"pileup": pileup(file)}}, {"theory": ["pdf"]}):
        with pytest.raises(FilesetError, match=r"nanoaod\.corrections\.(weights|theory)' is for simulated events"):
            nanoaod.read(open_nanoaod(relaid["data"], stop=10), metadata(**given))
