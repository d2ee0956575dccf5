"""Transfer functions: pairs against a loop over events, known parameters recovered, and the command as a whole."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tops_samples import load

from hhh_coffea.methods.likelihood import read_transfer_functions
from hhh_coffea.methods.likelihood.shapes import double_gaussian
from hhh_coffea.methods.likelihood.transfer_file import TransferFileError, TransferFunctions
from hhh_coffea.train import main
from hhh_coffea.training.transfer_fit import (
    SCALE,
    Pairs,
    TransferFitError,
    _Loss,
    fit_double_gaussians,
    fit_met,
    pulls,
    tagging_rates,
)
from hhh_coffea.training.transfer_pairs import pairs_of

# E4: constants, and coefficients of 1/x, 1/√x, 1/x, 1/√x and x; in GeV
TRUE = np.array([-0.02, 2.0, 0.04, 0.6, 0.15, 6.0, 0.2, -1.0, 0.3, -0.0002])
POWERS = np.array([0, -1, 0, -0.5, 0, -1, 0, -0.5, 0, 1])


def generate(n: int, threshold: float, seed: int = 4) -> Pairs:
    """Pairs of the double Gaussian with the parameters :data:`TRUE`, of which those above a threshold are measured."""
    g = np.random.default_rng(seed)
    x = np.exp(g.uniform(np.log(25), np.log(400), 4 * n))
    mu1, s1, a, mu2, s2 = (TRUE[2 * k] + TRUE[2 * k + 1] * x ** POWERS[2 * k + 1] for k in range(5))
    second = g.uniform(size=len(x)) < a * s2 / (s1 + a * s2)
    d = np.where(second, g.normal(mu2, s2), g.normal(mu1, s1))
    measured = x * (1 - d)
    seen = np.flatnonzero((measured > threshold) & (d > -1))[:n]
    return Pairs(x[seen], measured[seen], np.full(len(seen), threshold))


@pytest.mark.parametrize("n", [10_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_known_parameters_are_recovered(n: int) -> None:
    """Within three standard deviations, which come from the second derivatives of the likelihood at the truth."""
    pairs = generate(n, threshold=30.0)
    (found,) = fit_double_gaussians({(0.0, 2.5): pairs}, ("E4",))
    scaled = torch.tensor(TRUE * SCALE**POWERS)
    loss = _Loss(pairs.within(*found.range), "E4", found.range, 0.005)
    covariance = torch.linalg.inv(torch.autograd.functional.hessian(loss.value, scaled))
    pull = (torch.tensor(found.parameters) * SCALE ** torch.tensor(POWERS) - scaled) / covariance.diagonal().sqrt()
    assert pull.abs().max() < 3
    assert found.n == len(pairs.within(*found.range).generated) > 0.99 * n
    assert found.chi2_ndf is not None
    assert found.chi2_ndf < 2
    # the pulls are a standard normal distribution
    values = pulls(found, pairs.within(*found.range))
    assert abs(values.mean()) < 4 / math.sqrt(n)
    assert abs(values.std() - 1) < 4 / math.sqrt(2 * n)


def test_pairs_equal_those_of_a_loop(shared_dir: Path) -> None:
    sample = load(shared_dir, "tt_test")
    record, truth = sample.record[:300], sample.truth
    cut = truth._replace(
        semileptonic=truth.semileptonic[:300],
        tau=truth.tau[:300],
        flavor=truth.flavor[:300],
        particles={k: {f: v[:300] for f, v in p.items()} for k, p in truth.particles.items()},
    )
    objects = {name: positions[:300] for name, positions in sample.targets.objects.items()}
    targets = replace(sample.targets, objects=objects)
    rows = pairs_of(record, cut, targets)
    expected: dict[str, list[tuple[float, ...]]] = {name: [] for name in ("light", "bottom", "electron", "muon", "met")}
    for e, event in enumerate(record.to_list()):
        p = {name: {k: float(v[e]) for k, v in parts.items()} for name, parts in cut.particles.items()}
        slots = {"ht_b": objects["ht"][e, 0, 0], "lt_b": objects["lt"][e, 0, 0]}
        slots |= {f"q{k}": objects["ht"][e, 0, k] for k in (1, 2)}
        if all(j >= 0 for j in slots.values()):
            for quark, j in slots.items():
                jet, q = event["jets"][j], p[quark]
                energy = math.hypot(jet["pt"] * math.cosh(jet["eta"]), jet["mass"])
                generated = math.hypot(q["pt"] * math.cosh(q["eta"]), q["mass"])
                kind = "light" if quark in ("q1", "q2") else "bottom"
                expected[kind].append((generated, energy, 25 * energy / jet["pt"], jet["eta"]))
        (lepton,) = event["leptons"]
        dphi = (lepton["phi"] - p["lepton"]["phi"] + math.pi) % (2 * math.pi) - math.pi
        name = ("electron", "muon")[lepton["flavor"]]
        if cut.flavor[e] == (11, 13)[lepton["flavor"]] and math.hypot(lepton["eta"] - p["lepton"]["eta"], dphi) < 0.1:
            grow = 1.0 if name == "muon" else math.cosh(lepton["eta"])
            grown = p["lepton"]["pt"] * (1.0 if name == "muon" else math.cosh(p["lepton"]["eta"]))
            expected[name].append((grown, lepton["pt"] * grow, 25 * grow, lepton["eta"]))
        nu, met = p["neutrino"], event["met"]
        difference = [met["pt"] * f(met["phi"]) - nu["pt"] * f(nu["phi"]) for f in (math.cos, math.sin)]
        expected["met"].append((*difference, event["sum_et"]))
    for name, wanted in expected.items():
        assert len(wanted) > 50
        order = np.lexsort(np.array(wanted).T)
        np.testing.assert_allclose(rows[name][np.lexsort(rows[name].T)], np.array(wanted)[order], rtol=1e-6)
    jets = [jet for event in record.to_list() for jet in event["jets"]]
    assert rows["tag"][:, 0].tolist() == [jet["pt"] for jet in jets]
    assert rows["tag"][:, 1].sum() == sum(jet["btag"] > 0 for jet in jets)
    assert rows["tag"][:, 2].sum() == sum(abs(jet["flavor"]) == 5 for jet in jets)


def test_missing_momentum_and_tagging() -> None:
    g = np.random.default_rng(2)
    sum_et = g.uniform(100, 900, 40_000)
    found = fit_met(g.normal(0, 12 + 0.02 * sum_et, (2, 40_000)), sum_et)
    assert found.p0 == pytest.approx(12, abs=0.3)
    assert found.p1 == pytest.approx(0.02, abs=0.0006)
    pt = np.array([26.0, 28.0, 29.0, 60.0, 300.0, 300.0, 90.0])
    tagged, bottom = np.array([1.0, 0, 1, 1, 0, 1, 0]), np.array([1.0, 1, 0, 1, 0, 1, 0])
    rates = tagging_rates(pt, tagged, bottom, edges=(25.0, 50.0))
    assert rates.efficiency == (1.5 / 3, 2.5 / 3)  # with half a jet on both sides
    assert rates.mistag == (1.5 / 2, 0.5 / 3)
    with pytest.raises(TransferFitError, match="no other jets in the bin that starts at pT = 50 GeV"):
        tagging_rates(pt[:4], tagged[:4], bottom[:4], edges=(25.0, 50.0))


def test_too_few_pairs() -> None:
    few = generate(400, threshold=30.0)
    with pytest.raises(TransferFitError, match=r"\|η\| 0.0 to 2.5: .* pairs, 500 are needed"):
        fit_double_gaussians({(0.0, 2.5): few})
    with pytest.raises(TransferFitError, match=r"\|η\| 0.0 to 2.5: 0 pairs"):
        fit_double_gaussians({(0.0, 2.5): Pairs(*np.empty((3, 0)))})


def test_shipped_functions_are_found_by_name(tmp_path: Path) -> None:
    shipped = read_transfer_functions()
    assert shipped == read_transfer_functions("transfer_functions_delphes")
    assert [b.eta for b in shipped.light] == [(0.0, 0.8), (0.8, 1.5), (1.5, 2.0), (2.0, 2.5)]
    with pytest.raises(TransferFileError, match="no_such_model: cannot be read"):
        read_transfer_functions("no_such_model")
    content = json.loads(shipped.model_dump_json())
    content["bottom"][1]["parameters"][2] = -1.0
    (tmp_path / "transfer_functions.json").write_text(json.dumps(content))
    with pytest.raises(TransferFileError, match=r"bottom\.1.*σ1 > 0"):
        read_transfer_functions(tmp_path)


@pytest.mark.slow
def test_the_whole_command(shared_dir: Path, tmp_path: Path) -> None:
    """From half of the training events: nearly the shipped functions."""
    files = [str(shared_dir / "data" / "tops" / f"ttflat_train_0{k}.root") for k in (0, 1)]
    fileset = tmp_path / "ttbar.json"
    fileset.write_text(
        json.dumps({"tt": {"files": files, "metadata": {"format": "delphes", "analysis": "ttbar_semileptonic"}}})
    )
    output = tmp_path / "mine"
    assert main(["transfer-functions", "--fileset", str(fileset), "--output", str(output)]) == 0
    mine, shipped = read_transfer_functions(output), read_transfer_functions()
    assert sorted(path.name for path in output.iterdir()) == ["README.md", "pulls.png", "transfer_functions.json"]
    assert "31,999 selected events" in (output / "README.md").read_text()
    x = torch.tensor([50.0, 100.0, 200.0], dtype=torch.float64)
    for particle in ("light", "bottom"):
        for one, other in zip(getattr(mine, particle), getattr(shipped, particle), strict=True):
            assert one.n == pytest.approx(other.n / 2, rel=0.1)
            for measured in (0.9 * x, 1.1 * x):
                values = [
                    double_gaussian(
                        b.shape, torch.tensor([*b.parameters, *b.range]).unsqueeze(1).double(), x, measured
                    ).f
                    for b in (one, other)
                ]
                torch.testing.assert_close(*values, rtol=0, atol=0.25)
    assert isinstance(mine, TransferFunctions)
    assert mine.met.p0 == pytest.approx(shipped.met.p0, rel=0.1)


def test_a_command_without_enough_events_says_so(
    shared_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fileset = tmp_path / "ttbar.json"
    file = str(shared_dir / "data" / "tops" / "tt_test.root")
    fileset.write_text(
        json.dumps({"tt": {"files": [file], "metadata": {"format": "delphes", "analysis": "ttbar_semileptonic"}}})
    )
    arguments = [
        "--fileset",
        str(fileset),
        "--output",
        str(tmp_path / "mine"),
        "--chunksize",
        "500",
        "--max-chunks",
        "1",
    ]
    assert main(["transfer-functions", *arguments]) != 0
    assert "light quark, |η| 0.0 to 0.8: 223 pairs, 500 are needed" in capsys.readouterr().err
    assert not (tmp_path / "mine").exists()
