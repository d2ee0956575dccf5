"""Results along a parameter of datasets: the rows are those of each dataset, in the order of its value."""

import json
import shutil

import pytest
from conftest import DEMO

from hhh_coffea.results.directory import read_histograms
from hhh_coffea.run import main


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parameters")
    files = {1.0: "hh.root", -2.0: "copy.root"}
    shutil.copy(DEMO / "hh.root", folder / "copy.root")
    content = {}
    for value, file in files.items():
        metadata = {"format": "delphes", "analysis": "hh_resolved", "parameters": {"kl": value}}
        metadata["selection"] = {"max_jets": 5 if value < 0 else 10}
        path = DEMO / file if value > 0 else folder / file
        content[f"kl_{'m' * (value < 0)}{abs(value):g}"] = {"files": [str(path)], "metadata": metadata}
    background = {"format": "delphes", "analysis": "hh_resolved", "is_signal": False, "parameters": {"kl": 0.0}}
    content["QCD"] = {"files": [str(DEMO / "qcd.root")], "metadata": background}
    (folder / "f.json").write_text(json.dumps(content))
    options = ["--fileset", str(folder / "f.json"), "--methods", "dhh,chi2", "--output", str(folder / "r")]
    assert main(options) == 0
    return folder


def test_rows_are_those_of_the_datasets(results):
    summary = json.loads((results / "r" / "summary.json").read_text())
    rows = summary["parameters"]["kl"]["default"]
    assert set(rows) == {"dhh", "chi2"}
    for method, found in rows.items():
        assert [(row["value"], row["dataset"]) for row in found] == [(-2.0, "kl_m2"), (1.0, "kl_1")]
        for row in found:
            table = summary["assignments"][row["dataset"]]["default"][method]
            assert row["full"] == table["full"]["all"]["event"]
            assert row["selected"] == table["selected"]["all"]["event"]
            assert row["full"]["value"] * row["share"]["value"] == pytest.approx(row["selected"]["value"])
    assert read_histograms(results / "r")[1]["kl_1"]["parameters"] == {"kl": 1.0}


def test_report_and_figure(results):
    assert (results / "r" / "plots" / "along_kl.png").stat().st_size > 10_000
    report = (results / "r" / "report.html").read_text()
    assert "Along kl, in %" in report
    assert "Against the parameter kl of the datasets" in report


def test_purity_and_efficiency_of_other_analyses(tmp_path, write_fileset):
    path = write_fileset(A=([DEMO / "hhh.root"], {"parameters": {"kappa": 1}}))
    assert main(["--fileset", str(path), "--no-plots", "--metrics", "default", "--output", str(tmp_path / "r")]) == 0
    summary = json.loads((tmp_path / "r" / "summary.json").read_text())
    [row] = summary["parameters"]["kappa"]["default"]["chi2"]
    merged = summary["results"]["A"]["default"]["chi2"]["categories"]["merged"]
    assert {name: row[name] for name in ("purity", "efficiency")} == {n: merged[n] for n in ("purity", "efficiency")}


@pytest.mark.parametrize(("wrong", "says"), [({"k l": 1}, "parameters"), ({"kl": "two"}, "parameters.kl")])
def test_mistakes_are_named(tmp_path, write_fileset, capsys, wrong, says):
    path = write_fileset(A=([DEMO / "hhh.root"], {"parameters": wrong}))
    assert main(["--fileset", str(path), "--output", str(tmp_path / "r")]) == 2
    assert says in capsys.readouterr().err
