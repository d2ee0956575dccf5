"""Maps of b-tag efficiencies: counted by hand, loaded by the correction that needs them, and closed on themselves."""

import json

import correctionlib
import numpy as np
import pytest
from correction_files import write_btag_corrections

from hhh_coffea.base.arrays import records, unflatten
from hhh_coffea.datasets.nanoaod_options import BTagWeights
from hhh_coffea.events.nanoaod import btag_efficiencies as maps
from hhh_coffea.events.nanoaod.btag_weights import btag_weights
from hhh_coffea.run import main as run
from hhh_coffea.train import main as train

CUTS = {"L": 0.1, "M": 0.5}


def record_of(n, seed=1):
    """One jet an event, tagged more often the harder it is."""
    rng = np.random.default_rng(seed)
    columns = {
        "pt": rng.exponential(80, n) + 20,
        "eta": rng.uniform(-2.8, 2.8, n),
        "flavor": rng.choice([5, 4, 21, 0, -5], n).astype(np.int32),
        "btag_score": rng.uniform(0, 1, n),
    }
    jets = unflatten(columns, np.ones(n, dtype=np.int64))
    return records({"jets": jets, "weight": rng.uniform(0.5, 1.5, n)}), columns


def made(record, tmp_path, min_jets=1e-6):
    jets = maps.book()
    maps.fill(jets, "TT", record, CUTS)
    jets = jets[{"dataset": "TT"}]
    found = maps.efficiencies(jets, min_jets)
    path = tmp_path / "map.json"
    path.write_text(maps.correction_file(found, jets, "a test"))
    return found, correctionlib.CorrectionSet.from_file(str(path)), path


def test_a_bin_by_hand(tmp_path):
    record, jets = record_of(20_000)
    weight = np.asarray(record.weight)
    _, file, _ = made(record, tmp_path)
    inside = (np.abs(jets["flavor"]) == 5) & (jets["pt"] >= 50) & (jets["pt"] < 70) & (np.abs(jets["eta"]) < 0.8)
    tagged = inside & (jets["btag_score"] > 0.5)
    expected = weight[tagged].sum() / weight[inside].sum()
    assert file["btag_efficiency"].evaluate("M", 5, 0.3, 60.0) == pytest.approx(expected, rel=1e-9)
    n = weight[inside].sum() ** 2 / (weight[inside] ** 2).sum()
    error = file["btag_efficiency_error"].evaluate("M", 5, 0.3, 60.0)
    assert error == pytest.approx(np.sqrt(expected * (1 - expected) / n), rel=0.01)
    # above the last edge counts in the last bin, and is read from it
    hard = (jets["flavor"] == 4) & (jets["pt"] >= 600) & (np.abs(jets["eta"]) < 0.8)
    assert hard.sum() < 3
    assert file["btag_efficiency"].evaluate("L", 4, 0.3, 5000.0) == file["btag_efficiency"].evaluate("L", 4, 0.3, 900.0)


def test_weights_with_the_map_keep_the_number_of_jets(tmp_path):
    """Jet by jet s ε + (1 − ε)(1 − sε)/(1 − ε) = 1: in every bin of the map the weights add up to those without it."""
    record, jets = record_of(20_000)
    _, _, path = made(record, tmp_path)
    factors = write_btag_corrections(tmp_path / "factors.json")
    options = BTagWeights(
        file=str(factors), heavy="heavy", light="light", efficiency_file=str(path), efficiency="btag_efficiency"
    )
    use = np.abs(jets["eta"]) < 2.5
    columns = {**jets, "btag": (jets["btag_score"] > 0.5).astype(np.int8)}
    found = btag_weights(columns, np.ones(len(use), dtype=np.int64), use, "medium", options)
    weight = np.asarray(record.weight)
    for variation in ("central", "up", "down"):
        for low, high in ((20, 30), (100, 140), (200, 300)):
            inside = use & (jets["pt"] >= low) & (jets["pt"] < high)
            assert (weight * found[variation])[inside].sum() == pytest.approx(weight[inside].sum(), rel=1e-9)


def test_bins_with_few_jets_take_the_mean_of_wider_ones(tmp_path):
    record, jets = record_of(3000)
    weight = np.asarray(record.weight)
    found, file, _ = made(record, tmp_path, min_jets=40)
    charm = (jets["flavor"] == 4) & (np.abs(jets["eta"]) < 2.5)
    tagged = jets["btag_score"] > 0.1
    assert found["L", 4].filled_in > 0
    # 20 to 30 GeV: 75 jets, 25 in a bin of |η|; 600 to 1000: none
    wide = charm & (jets["pt"] < 30)
    assert 40 < wide.sum() < 120
    expected = weight[wide & tagged].sum() / weight[wide].sum()
    assert file["btag_efficiency"].evaluate("L", 4, 1.0, 25.0) == pytest.approx(expected, rel=1e-9)
    whole = weight[charm & tagged].sum() / weight[charm].sum()
    assert file["btag_efficiency"].evaluate("L", 4, 1.0, 800.0) == pytest.approx(whole, rel=1e-9)
    assert found["L", 4].mean == pytest.approx(whole, rel=1e-9)
    with pytest.raises(maps.EfficiencyError, match=r"working point L: .* b jets are fewer than min_jets = 5000"):
        maps.efficiencies(_jets(record), 5000)


def _jets(record):
    jets = maps.book()
    maps.fill(jets, "TT", record, CUTS)
    return jets[{"dataset": "TT"}]


def fileset(tmp_path, **datasets):
    content = {
        name: {"files": [str(file)], "metadata": {"format": "nanoaod", "n_higgs": 2, "is_signal": False, **metadata}}
        for name, (file, metadata) in datasets.items()
    }
    path = tmp_path / "nano.json"
    path.write_text(json.dumps(content))
    return str(path)


@pytest.mark.parametrize("version", [12, 15])
def test_real_files_of_cms(shared_dir, tmp_path, version, capsys):
    """Make the map with the command, and correct the same events with it."""
    import uproot

    file = shared_dir / "data" / "nanoaod" / f"tt_v{version}.root"
    output = tmp_path / "efficiency.json"
    options = ["btag-efficiencies", "--fileset", fileset(tmp_path, TT=(file, {})), "--output", str(output)]
    assert train([*options, "--pt-bins", "20,50,100,500", "--eta-bins", "0,2.5", "--min-jets", "10"]) == 0
    assert "bins" in capsys.readouterr().err
    found = correctionlib.CorrectionSet.from_file(str(output))["btag_efficiency"]
    tagger, cut = {12: ("PNetB", 0.2450), 15: ("UParTAK4B", 0.1272)}[version]
    with uproot.open(file) as opened:
        names = [f"Jet_{leaf}" for leaf in ("pt", "eta", "hadronFlavour", f"btag{tagger}")]
        pt, eta, flavor, score = (np.concatenate(opened["Events"][name].array(library="np")) for name in names)
    b = (flavor == 5) & (pt >= 50) & (pt < 100) & (np.abs(eta) < 2.5)
    # of all jets here, of those that pass the tight ID there: nearly all b jets do
    assert found.evaluate("M", 5, 1.0, 70.0) == pytest.approx((b & (score > cut)).sum() / b.sum(), abs=0.01)

    factors = str(write_btag_corrections(tmp_path / "factors.json"))
    btag = {"file": factors, "heavy": "heavy", "light": "light", "efficiency_file": str(output)}
    section = {"corrections": {"btag": {**btag, "efficiency": "btag_efficiency"}}}
    again = fileset(tmp_path, TT=(file, {"nanoaod": section}))
    assert run(["--fileset", again, "--output", str(tmp_path / "r"), "--no-plots"]) == 0
    rows = json.loads((tmp_path / "r" / "cutflow.json").read_text())["datasets"]["TT"]["cuts"]
    weights = {row["cut"]: row["weighted"] for row in rows}
    assert 0.7 < weights["weight: b tag"] / weights["≥ 4 jets"] < 1.3
    assert weights["weight: b tag"] != weights["≥ 4 jets"]


@pytest.mark.parametrize(
    ("metadata", "options", "message"),
    [
        ({}, ["--min-jets", "1e9"], "jets are fewer than min_jets"),
        ({"is_data": True}, [], "dataset 'TT': b-tag efficiencies are those of simulated NanoAOD"),
        ({"nanoaod": {"year": "2017", "tagger": "PNetB"}}, [], "working point"),
    ],
)
def test_mistakes_are_named(relaid, tmp_path, capsys, metadata, options, message):
    arguments = ["--fileset", fileset(tmp_path, TT=(relaid[12], metadata)), "--output", str(tmp_path / "e.json")]
    assert train(["btag-efficiencies", *arguments, *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "e.json").exists()


def test_edges_must_rise(capsys):
    with pytest.raises(SystemExit):
        train(["btag-efficiencies", "--fileset", "x.json", "--output", "e.json", "--pt-bins", "30,20"])
    assert "not a list of increasing edges" in capsys.readouterr().err


def test_datasets_are_added_by_their_cross_sections(relaid, tmp_path, capsys):
    """Two files of the same events count as one whatever their rates; different taggers are refused."""
    from shutil import copy

    copy(relaid[12], tmp_path / "other.root")
    base = ["--output", str(tmp_path / "e.json"), "--min-jets", "1"]
    both = {"A": (relaid[12], {"cross_section": 1.0}), "B": (tmp_path / "other.root", {"cross_section": 9.0})}
    assert train(["btag-efficiencies", "--fileset", fileset(tmp_path, **both), *base]) == 0
    assert "in proportion to their cross sections" in " ".join(capsys.readouterr().err.split())
    together = correctionlib.CorrectionSet.from_file(str(tmp_path / "e.json"))["btag_efficiency"]
    alone = ["--fileset", fileset(tmp_path, A=both["A"]), "--output", str(tmp_path / "one.json"), "--min-jets", "1"]
    assert train(["btag-efficiencies", *alone]) == 0
    one = correctionlib.CorrectionSet.from_file(str(tmp_path / "one.json"))["btag_efficiency"]
    assert together.evaluate("M", 5, 0.5, 80.0) == pytest.approx(one.evaluate("M", 5, 0.5, 80.0), rel=1e-9)
    mixed = fileset(tmp_path, A=(relaid[12], {}), B=(relaid[15], {}))
    assert train(["btag-efficiencies", "--fileset", mixed, *base]) == 2
    assert "the datasets are tagged in different ways" in capsys.readouterr().err
