"""Self-couplings from several samples, from weights in the file and from generated momenta: the same scans."""

import json

import awkward as ak
import numpy as np
import pytest
from conftest import DEMO
from nanoaod_writer import write_nanoaod

from hhh_coffea.analyses.higgs import higgs
from hhh_coffea.datasets.fileset import DatasetMetadata
from hhh_coffea.events import delphes
from hhh_coffea.fit import main as fit
from hhh_coffea.inference.couplings.polynomial import Polynomial
from hhh_coffea.run import main as run

EVENTS = 1500
POINTS = (0.0, 1.0, 5.0)
IN_FILE = (-3.0, 0.5, 1.0, 4.0)  # where the weights in the file are
SIGMA = 0.0124  # pb, at κ3 = 1
METADATA = {"format": "nanoaod", "n_higgs": 2}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """HH of the demo: as generated with weights at four points, and as if it had been generated at three; and QCD."""
    folder = tmp_path_factory.mktemp("couplings")
    from conftest import open_file

    events = open_file("Delphes", delphes.SCHEMA, DEMO / "hh.root", stop=EVENTS)
    record = delphes.read(events, DatasetMetadata(format="delphes", n_higgs=2), collections=("hard_higgs",)).record
    couplings = higgs(2).couplings
    coefficients = couplings.coefficients(record)
    assert isinstance(couplings.polynomial, Polynomial)

    def weights(points):
        return coefficients @ couplings.polynomial.monomials(np.array(points)[:, None]).T

    in_file = ak.values_astype(ak.from_regular(np.concatenate([np.ones((EVENTS, 2)), weights(IN_FILE)], axis=1)), "f4")
    paths, rates = {}, {}
    for point, weight in zip(POINTS, weights(POINTS).T, strict=True):
        paths[point] = folder / f"hh_{point:g}.root"
        more = {"LHEReweightingWeight": in_file} if point == 1 else None
        write_nanoaod(DEMO / "hh.root", paths[point], 12, EVENTS, weight=weight, more=more)
        rates[point] = SIGMA * float(weight.mean())
    paths["QCD"] = write_nanoaod(DEMO / "qcd.root", folder / "qcd.root", 12, 4000, signal=False)
    return paths, rates


def background(files):
    metadata = {**METADATA, "is_signal": False, "cross_section": 40.0}
    return {"QCD": {"files": [str(files["QCD"])], "metadata": metadata}}


def dataset(file, rate, **couplings):
    metadata = {**METADATA, "cross_section": rate, **({"couplings": couplings} if couplings else {})}
    return {"files": [str(file)], "metadata": metadata}


def scans(folder, fileset, *options):
    folder.mkdir()
    (folder / "f.json").write_text(json.dumps(fileset))
    base = ["--fileset", str(folder / "f.json"), "--luminosity", "3000", "--metrics", "default", "--no-plots"]
    observable = ["--observable", "lead=candidates.mass[0]@40,30,230"]
    assert run([*base, *observable, *options, "--output", str(folder / "r")]) == 0
    assert fit([str(folder / "r"), "--no-plots", "--background-model", "normsys", "--scan", "kappa3=-2:6:5"]) == 0
    return json.loads((folder / "r" / "fit" / "fit.json").read_text())["methods"]["chi2"]


@pytest.fixture(scope="module")
def from_momenta(files, tmp_path_factory):
    paths, rates = files
    fileset = {"HH": dataset(paths[1.0], rates[1.0]), **background(paths)}
    return scans(tmp_path_factory.mktemp("momenta") / "f", fileset, "--couplings")


def assert_same(found, expected, name):
    one, other = found["couplings"]["kappa3"], expected["couplings"]["kappa3"]
    np.testing.assert_allclose(one["yields"][name], other["yields"]["HH"], rtol=1e-4)
    np.testing.assert_allclose(one["limits"], other["limits"], rtol=1e-3)
    np.testing.assert_allclose(one["twice_delta_nll"], other["twice_delta_nll"], rtol=1e-3, atol=1e-4)
    assert found["significance"]["expected"] == pytest.approx(expected["significance"]["expected"], rel=1e-3)


def test_three_samples(files, from_momenta, tmp_path):
    """As many samples as coefficients, no weights anywhere: they are one process, at κ = 1 in the tables."""
    paths, rates = files
    fileset = {f"HH{p:g}": dataset(paths[p], rates[p], point={"kappa3": p}) for p in POINTS}
    found = scans(tmp_path / "f", {**fileset, **background(paths)})
    assert_same(found, from_momenta, "hh_combined")
    assert set(found["yields"]["prefit"]["all"]["processes"]) == {"QCD", "hh_combined"}


def test_weights_in_the_file(files, from_momenta, tmp_path):
    """Four points for three coefficients, after two other weights in the branch."""
    paths, rates = files
    points = [{"kappa3": value} for value in IN_FILE]
    given = {"branch": "LHEReweightingWeight", "points": points, "first": 2}
    fileset = {"HH": dataset(paths[1.0], rates[1.0], **given), **background(paths)}
    assert_same(scans(tmp_path / "f", fileset, "--couplings"), from_momenta, "HH")


def test_weights_in_a_skim(files, from_momenta, tmp_path):
    paths, rates = files
    given = {"branch": "LHEReweightingWeight", "points": [{"kappa3": v} for v in IN_FILE], "first": 2}
    fileset = {"HH": dataset(paths[1.0], rates[1.0], **given), **background(paths)}
    (tmp_path / "f.json").write_text(json.dumps(fileset))
    first = [
        "--fileset",
        str(tmp_path / "f.json"),
        "--couplings",
        "--skim",
        "--no-plots",
        "--output",
        str(tmp_path / "s"),
    ]
    assert run(first) == 0
    content = json.loads((tmp_path / "s" / "skim" / "fileset.json").read_text())
    for entry in content.values():
        entry["files"] = [str(tmp_path / "s" / "skim" / name) for name in entry["files"]]
    assert_same(scans(tmp_path / "f", content, "--couplings"), from_momenta, "HH")


@pytest.mark.parametrize(
    ("couplings", "message"),
    [
        (
            {"point": {"kapa3": 1}},
            "dataset 'HH', metadata field 'couplings': no coupling 'kapa3' (did you mean 'kappa3'?)",
        ),
        ({"point": {"kappa4": 1}}, "no coupling 'kappa4'"),
        ({"branch": "X", "points": [{"kappa3": 0}, {}]}, "2 points determine 2 of 3 coefficients of kappa3"),
        ({"branch": "X"}, "'branch' and 'points' belong together"),
        ({}, "give one of 'point' (the whole sample) and 'branch'"),
    ],
)
def test_mistakes_are_named_before_anything_is_read(files, tmp_path, capsys, couplings, message):
    fileset = {"HH": {"files": [str(files[0][1.0])], "metadata": {**METADATA, "couplings": couplings}}}
    (tmp_path / "f.json").write_text(json.dumps(fileset))
    assert run(["--fileset", str(tmp_path / "f.json"), "--output", str(tmp_path / "r"), "--couplings"]) == 2
    assert message in capsys.readouterr().err


def test_a_branch_with_too_few_weights_is_named(files, tmp_path, capsys):
    given = {"branch": "LHEReweightingWeight", "points": [{"kappa3": v} for v in IN_FILE], "first": 3}
    fileset = {"HH": {"files": [str(files[0][1.0])], "metadata": {**METADATA, "couplings": given}}}
    (tmp_path / "f.json").write_text(json.dumps(fileset))
    options = ["--fileset", str(tmp_path / "f.json"), "--no-plots", "--output", str(tmp_path / "r")]
    assert run([*options, "--couplings"]) == 1
    assert "4 points from position 3 on, and an event has 6 weights" in " ".join(capsys.readouterr().out.split())
    assert run(options) == 0  # without --couplings they are not read


@pytest.mark.parametrize(
    ("points", "message"),
    [((0.0, 1.0), "2 samples for 3 coefficients"), ((0.0, 1.0, 1.0), "3 points determine 2 of 3 coefficients")],
)
def test_samples_that_determine_nothing(files, tmp_path, capsys, points, message):
    from shutil import copy

    paths, rates = files
    fileset = {}
    for i, p in enumerate(points):
        copy(paths[p], tmp_path / f"{i}.root")
        fileset[f"HH{i}"] = dataset(tmp_path / f"{i}.root", rates[p], point={"kappa3": p})
    (tmp_path / "f.json").write_text(json.dumps({**fileset, **background(paths)}))
    options = ["--luminosity", "3000", "--no-plots", "--output", str(tmp_path / "r")]
    assert run(["--fileset", str(tmp_path / "f.json"), *options]) == 0
    assert fit([str(tmp_path / "r"), "--no-plots"]) == 2
    assert message in capsys.readouterr().err


def test_samples_are_not_stacked_on_each_other():
    from hhh_coffea.figures.measurement.stack import selected_alike

    polynomial = {"parameters": ["kappa3"], "reference": [1.0]}
    info = {"analysis": "hh", "couplings": polynomial}
    datasets = {"QCD": {"analysis": "hh"}, **{f"HH{p}": {**info, "coupling_point": {"kappa3": p}} for p in (0.0, 1.0)}}
    assert selected_alike(datasets) == {"hh": ["QCD", "HH1.0"]}
