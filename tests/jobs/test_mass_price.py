"""Prices on candidate masses: the tables, the ascent that finds them, and a priced model from command to candidates."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hhh_coffea.base.mass_measures import RANGES
from hhh_coffea.jobs.models import WINDOWS
from hhh_coffea.results import sculpting_spectra
from hhh_coffea.spanet.checkpoint import CheckpointError, describe, load, price_of, save
from hhh_coffea.spanet.decoding.decode import expected
from hhh_coffea.spanet.decoding.mass_price import MassPrice
from hhh_coffea.spanet.decoding.masses import NODE_MASSES, NODE_WIDTH, NODES
from hhh_coffea.spanet.training import mass_price_fit
from hhh_coffea.spanet.training.batches import make_batch
from hhh_coffea.spanet.training.dataset import TrainingData
from hhh_coffea.spanet.training.mass_price_fit import distance, stepped
from hhh_coffea.train import main

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Training data of the demo's QCD and HHH, and the shipped model with a price made from the QCD."""
    folder = tmp_path_factory.mktemp("price")
    for name in ("QCD", "HHH"):
        given = ["--fileset", "demo", "--datasets", name, "--chunksize", "2000", "--max-chunks", "1"]
        assert main(["data", *given, "--output", str(folder / name)]) == 0
    given = ["--model", "spanet_hhh", "--slope", "0.06", "--background", str(folder / "QCD")]
    assert main(["mass-price", *given, "--output", str(folder / "priced")]) == 0
    return folder


def mass_of(features):
    """Invariant mass of objects ``(k, (pt, eta, sinphi, cosphi, mass))``, one at a time."""
    p = np.zeros(4)
    for pt, eta, sin, cos, mass in features:
        z = pt * np.sinh(eta)
        p += [np.sqrt(pt**2 + z**2 + mass**2), pt * cos, pt * sin, z]
    return np.sqrt(max(0.0, p[0] ** 2 - p[1:] @ p[1:]))


def test_price_is_that_of_the_mass(folders):
    model, data = load(folders / "priced"), TrainingData.open(folders / "HHH")
    batch = make_batch(data.rows(np.arange(20)), data.topology, torch.device("cpu"))
    with torch.inference_mode():
        outputs = model(batch.inputs, batch.masks)
    table = tuple(float(x) for x in 0.01 * NODE_MASSES)
    other = tuple(float(x) for x in 1 + 0.02 * NODE_MASSES)
    names = data.topology.target_names
    price = MassPrice({n: other if n.startswith("b") else table for n in names})
    found = price.of_assignments(outputs, batch.inputs, data.topology)
    jets, fats = ([i.feature_names.index(n) for n in names] for i, names in zip(
        data.topology.inputs,
        [("pt", "eta", "sinphi", "cosphi", "mass"), ("fj_pt", "fj_eta", "fj_sinphi", "fj_cosphi", "fj_mass")],
        strict=True,
    ))  # fmt: skip
    for b in range(20):
        n, m = int(batch.masks[0][b].sum()), int(batch.masks[1][b].sum())
        x, y = batch.inputs[0][b].double().numpy()[:, jets], batch.inputs[1][b].double().numpy()[:, fats]
        for i, j in itertools.combinations(range(n), 2):
            assert float(found["h2"][b, i, j]) == pytest.approx(0.01 * min(mass_of(x[[i, j]]), 400), abs=1e-3)
        for f in range(m):
            assert float(found["bh3"][b, f]) == pytest.approx(1 + 0.02 * min(mass_of(y[[f]]), 400), abs=1e-3)
    assert found["h1"] is found["h3"]


@settings(suppress_health_check=[HealthCheck.too_slow])  # on a machine with other work
@given(
    st.lists(st.floats(0, 1e3), min_size=NODES, max_size=NODES),
    st.lists(st.floats(0, 1e3), min_size=NODES, max_size=NODES),
    st.floats(1e-3, 0.2),
)
def test_slope_stays_within_its_bound(found, random, slope):
    price = np.zeros(NODES)
    for _ in range(3):
        price = stepped(price, np.array(found), np.array(random), slope, 5.0)
    assert np.abs(np.diff(price)).max() <= slope * 5 * (1 + 1e-9)
    outside = (NODE_MASSES < 30) | (NODE_MASSES > 225)
    assert np.ptp(price[NODE_MASSES < 30]) == 0
    assert np.ptp(price[NODE_MASSES > 225]) == pytest.approx(0, abs=1e-9)
    assert outside.any()


def test_step_by_hand():
    """All found at 100 GeV, all wanted at 120 GeV: price falls with mass between them, and 20 GeV are moved."""
    found, random = np.zeros(NODES), np.zeros(NODES)
    found[20], random[24] = 7.0, 3.0
    assert distance(found, random) == pytest.approx(20)
    price = stepped(np.zeros(NODES), found, random, 0.01, 0.5)
    assert price[:21].tolist() == [0.0] * 21
    assert price[20:26] == pytest.approx([0, -0.025, -0.05, -0.075, -0.1, -0.1])
    assert distance(random, random) == 0
    # within 75-175 GeV the same; a peak at 200 GeV is seen in the wide window only
    found[40] = 7.0
    assert distance(found, random, "75-175") == pytest.approx(20)
    assert distance(found, random) == pytest.approx((20 + 80) / 2)
    price = stepped(np.zeros(NODES), found, random, 0.01, 0.5, "75-175")
    assert np.ptp(price[35:]) == pytest.approx(0)


def test_the_windows_of_the_command_are_those_measured():
    assert tuple(RANGES) == WINDOWS


def test_price_brings_background_nearer_to_random(folders):
    priced, plain = describe(folders / "priced"), load(folders / "priced")
    made = priced["mass_price"]["made"]
    assert made["emd_gev"] < 0.6 * made["emd_before_gev"]
    assert made["of_model"] == "spanet_hhh"
    assert made["background"]["files"][0]["file"].endswith(".root")
    price = price_of(priced, plain.topology, "priced")
    table = np.array(price.table["h1"])
    assert 90 <= NODE_MASSES[table.argmax()] <= 140  # dearest where the network peaks
    assert np.abs(np.diff(table)).max() <= 0.06 * 5 + 1e-4


def test_priced_model_in_the_main_job(folders, tmp_path):
    """Same scores, other candidates: fewer of them at the peak in QCD; only expected decoding knows the price."""
    from hhh_coffea.results import directory as results
    from hhh_coffea.run import main as run

    shapes = {}
    for name in ("spanet_hhh", str(folders / "priced")):
        out = tmp_path / "out" / str(len(shapes))
        options = ["--fileset", "demo", "--datasets", "QCD", "--max-chunks", "1", "--no-plots"]
        options += ["--methods", "spanet,spanet:joint"]
        assert run([*options, "--model", name, "--output", str(out)]) == 0
        masses = results.read_histograms(out)[0]["candidate_mass"].project("definition", "method", "mass")
        shapes[name] = {
            (d, m): masses[d, m, :].values() for d in ("default", "reference") for m in ("spanet", "spanet:joint")
        }
        edges = masses.axes["mass"].edges
    plain, priced = shapes.values()
    peak = (edges[:-1] >= 110) & (edges[1:] <= 140)
    for definition in ("default", "reference"):
        share = [s[definition, "spanet"][peak].sum() / s[definition, "spanet"].sum() for s in (plain, priced)]
        assert share[1] < 0.75 * share[0]
        assert np.array_equal(plain[definition, "spanet:joint"], priced[definition, "spanet:joint"])


def test_mistakes(folders, tmp_path, capsys):
    def fails(*arguments):
        code = main(["mass-price", *arguments, "--output", str(tmp_path / "new")])
        return code == 2 and capsys.readouterr().err

    qcd, hhh = str(folders / "QCD"), str(folders / "HHH")
    assert "true targets" in fails("--model", "spanet_hhh", "--slope", "0.05", "--background", hhh)
    assert "slope must be positive" in fails("--model", "spanet_hhh", "--slope", "0", "--background", qcd)
    assert "already has a price on masses" in fails(
        "--model", str(folders / "priced"), "--slope", "1", "--background", qcd
    )
    assert "topology" in fails("--model", "spanet_hh", "--slope", "0.05", "--background", qcd)
    assert not (tmp_path / "new").exists()


def test_says_what_it_did_and_how_to_see_its_cost(folders, tmp_path, capsys):
    given = ["--model", "spanet_hhh", "--slope", "0.06", "--background", str(folders / "QCD")]
    assert main(["mass-price", *given, "--output", str(tmp_path / "new")]) == 0
    made = describe(folders / "priced")["mass_price"]["made"]
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith(f"{made['emd_before_gev']:.2f} → {made['emd_gev']:.2f} GeV from random pairing")
    assert f"hhh tradeoff spanet_hhh {tmp_path / 'new'}" in last


def test_table_that_does_not_fit_is_named(folders, tmp_path):
    model = load(folders / "priced")
    price = dict(describe(folders / "priced")["mass_price"])
    ((names, numbers),) = price["targets"].items()
    for targets, message in (({"h1": numbers}, "h2"), ({names: numbers[:3]}, "81"), ({names: "x" * NODES}, "finite")):
        folder = save(model, tmp_path / "broken", price={**price, "targets": targets})
        assert yaml.safe_load((folder / "model.yaml").read_text())["mass_price"]["targets"] == targets
        with pytest.raises(CheckpointError, match=message):
            price_of(describe(folder), model.topology, "broken")


def weighted(source, target):
    """Training data with the same events and weights from 0 to 3, drawn once."""
    target.mkdir()
    schema = json.loads((source / "schema.json").read_text())
    for shard in schema["shards"]:
        rows = np.load(source / shard["file"])
        rows["weight"] = np.random.default_rng(5).uniform(0, 3, len(rows))
        (target / shard["file"]).parent.mkdir(exist_ok=True)
        np.save(target / shard["file"], rows)
    (target / "schema.json").write_text(json.dumps(schema))
    return TrainingData.open(target)


def with_leading_fatjets(part, topology, member):
    """The choice of expected decoding, but the first large-radius jet of every event that has one is a candidate."""
    decoded = expected(part.outputs, topology, part.lengths, part.near)
    objects, selected = decoded.objects.clone(), decoded.selected.clone()
    selected[:, member] = part.masks[1].any(dim=1)
    objects[:, member, 0] = part.lengths[0]
    return decoded._replace(objects=objects, selected=selected)


def test_random_masses_are_those_of_the_sculpting_job_in_any_batches(folders, tmp_path, monkeypatch):
    """Boosted candidates stand against all large-radius jets of the background, by weight, in the job's bins of pT."""
    model, data = load(folders / "priced"), weighted(folders / "QCD", tmp_path / "weighted")
    topology = model.topology
    free = mass_price_fit._price(np.zeros(NODES), topology)
    boosted = next(list(m) for m in topology.symmetric_classes if topology.targets[m[0]].degree == 1)
    everything, singles = [], []
    for size in (2048, 100):
        monkeypatch.setattr(mass_price_fit, "BATCH", size)
        parts = mass_price_fit._evaluate(model, data)
        chosen = [with_leading_fatjets(part, topology, boosted[0]) for part in parts]
        everything.append(mass_price_fit._spectra(parts, free, topology))
        singles.append(mass_price_fit._class_spectra(parts, chosen, boosted, topology))
    assert len(parts) > 3
    np.testing.assert_allclose(*everything, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(*singles, rtol=1e-6, atol=1e-6)

    # one jet at a time, in the bins of the job and one on each side beyond them
    edges = np.linspace(sculpting_spectra.PT_MIN, sculpting_spectra.PT_MAX, sculpting_spectra.PT_BINS + 1)
    names = [topology.inputs[1].feature_names.index(n) for n in ("fj_pt", "fj_mass")]
    there, taken, found = np.zeros((len(edges) + 1, NODES)), np.zeros(len(edges) + 1), np.zeros(NODES)
    for part, decoded in zip(parts, chosen, strict=True):
        for b, weight in enumerate(part.weight):
            jets = part.inputs[1][b].double().numpy()[:, names]
            for pt, mass in jets[part.masks[1][b].numpy()]:
                there[np.searchsorted(edges, pt, side="right"), min(round(mass / NODE_WIDTH), NODES - 1)] += weight
            for member in boosted:
                if decoded.selected[b, member]:
                    pt, mass = jets[int(decoded.objects[b, member, 0]) - part.lengths[0]]
                    taken[np.searchsorted(edges, pt, side="right")] += weight
                    found[min(round(mass / NODE_WIDTH), NODES - 1)] += weight
    total = there.sum(axis=1)
    expected = np.divide(taken, total, out=np.zeros_like(total), where=total > 0) @ there
    assert expected.sum() == pytest.approx(found.sum())
    assert found.sum() > 50
    np.testing.assert_allclose(singles[0], (found, expected), rtol=1e-5, atol=1e-5)
