"""Datasets that cannot be scaled to expected events: a run ends with its results and a warning, a fit refuses them by name."""

import json

import pytest
from conftest import DEMO
from nanoaod_writer import write_nanoaod

from hhh_coffea.fit import main as fit
from hhh_coffea.run import main as run


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    return {
        "HHH": write_nanoaod(DEMO / "hhh.root", folder / "s.root", 12, 600),
        "QCD": write_nanoaod(DEMO / "qcd.root", folder / "b.root", 12, 1500, signal=False, weight=-1.0),
    }


def fileset(folder, files, **of_background):
    metadata = {"format": "nanoaod", "n_higgs": 3, "cross_section": 1.0}
    background = {**metadata, "is_signal": False, **of_background}
    content = {
        "HHH": {"files": [str(files["HHH"])], "metadata": metadata},
        "QCD": {"files": [str(files["QCD"])], "metadata": background},
    }
    (folder / "f.json").write_text(json.dumps(content))
    return ["--fileset", str(folder / "f.json"), "--luminosity", "10", "--metrics", "default"]


def test_negative_sum_of_generator_weights(files, tmp_path, capsys):
    """Not a cross section with the wrong sign, and no run that is lost: figures are drawn but for the stacks."""
    assert run([*fileset(tmp_path, files), "--output", str(tmp_path / "r")]) == 0
    warning = "dataset 'QCD': the generator weights of all events add up to -1500: expected events cannot be computed"
    assert warning in capsys.readouterr().out
    rows = json.loads((tmp_path / "r" / "cutflow.json").read_text())["datasets"]
    assert all("expected_events" not in row and row["cross_section_pb"] is None for row in rows["QCD"]["cuts"])
    assert all(row["expected_events"] > 0 for row in rows["HHH"]["cuts"])
    names = {path.stem for path in (tmp_path / "r" / "plots").rglob("*.png")}
    assert "multiplicity" in names
    assert not any(name.startswith("stack") for name in names)
    assert fit([str(tmp_path / "r"), "--no-plots"]) == 2
    assert "process 'QCD': the generator weights of all events add up to -1500" in capsys.readouterr().err


def test_negative_template(files, tmp_path, capsys):
    """The sum over all events is stated and positive, that over the selected ones is not."""
    options = fileset(tmp_path, files, sum_of_weights=2000.0)
    assert run([*options, "--no-plots", "--output", str(tmp_path / "r")]) == 0
    capsys.readouterr()
    for binning, message in (("automatic", "the background adds up to -"), ("stored", "the total of all bins is -")):
        assert fit([str(tmp_path / "r"), "--no-plots", "--binning", binning]) == 2
        error = capsys.readouterr().err
        assert "method 'chi2': region 'all'" in error
        assert message in error


def test_a_dataset_that_could_not_be_read(files, tmp_path, capsys):
    options = fileset(tmp_path, {**files, "QCD": tmp_path / "lost.root"})
    assert run([*options, "--output", str(tmp_path / "r")]) == 3
    assert "dataset 'QCD': the generator weights of all events add up to 0" in capsys.readouterr().out
    assert (tmp_path / "r" / "report.html").exists()
    assert fit([str(tmp_path / "r"), "--no-plots"]) == 2
    assert "'QCD'" in capsys.readouterr().err
