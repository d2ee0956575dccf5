"""χ² + BDT of the published analysis on real events, number by number, and the scan against the main job."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from coffea.nanoevents import DelphesSchema
from coffea.processor import IterativeExecutor, Runner
from conftest import DEMO

from hhh_coffea.engine.processors import load_processor
from hhh_coffea.results import directory as results
from hhh_coffea.results.histograms import canonical
from hhh_coffea.results.summary import by_pt
from hhh_coffea.run import main

LOOSE = 0.911348  # working point of the published comparison


@pytest.fixture(scope="module")
def published_run(shared_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """Reference numbers, and a results directory of chi2+bdt with the published model on the same files."""
    folder = tmp_path_factory.mktemp("published")
    fileset = {
        f"{name}_test": {
            "files": [str(shared_dir / "data" / "delphes" / f"{name}_test.root")],
            "metadata": {"format": "delphes", "n_higgs": n},
        }
        for name, n in (("hhh", 3), ("hh", 2))
    }
    (folder / "fileset.json").write_text(json.dumps(fileset))
    model = shared_dir / "reference" / "hbb_bdt_published.json"
    options = ["--methods", "chi2+bdt", "--bdt", str(model), "--bdt-wp", str(LOOSE), "--metrics", "reference"]
    output = folder / "results"
    assert main(["--fileset", str(folder / "fileset.json"), *options, "--no-plots", "--output", str(output)]) == 0
    reference = json.loads((shared_dir / "reference" / "original_code.json").read_text())
    return reference, output


@pytest.mark.parametrize(
    ("dataset", "method", "row"),
    [
        ("hhh_test", "chi2+bdt", "chi2+bdt_loose"),
        ("hh_test", "chi2+bdt", "chi2+bdt_loose"),
        ("hh_test", "chi2+bdt_as_published", "chi2+bdt_loose_as_published"),
    ],
)
def test_every_published_number(
    published_run: tuple[dict[str, Any], Path], dataset: str, method: str, row: str
) -> None:
    reference, output = published_run
    expected = reference[dataset][row]
    summary = json.loads((output / "summary.json").read_text())["results"][dataset]["reference"][method]
    categories = summary["categories"]
    kinds = ("merged", "boosted", "resolved")
    assert {k: categories[k]["targets"] for k in kinds} == expected["targets"]
    assert {k: categories[k]["correct"] for k in kinds} == expected["correct"]
    assert {k: categories[k]["purity"]["value"] for k in kinds} == expected["purity"]
    assert {k: categories[k]["efficiency"]["value"] for k in kinds} == expected["efficiency"]
    assert {
        "resolved_before_overlap_removal": categories["resolved"]["candidates"],
        "resolved_after": categories["resolved_after_overlap_removal"]["candidates"],
        "boosted": categories["boosted"]["candidates"],
    } == expected["candidates"]
    histograms, _ = results.read_histograms(output)
    key = {"dataset": dataset, "definition": "reference", "method": method, "category": "merged"}
    per_bin = {}
    for what in ("purity", "efficiency"):
        total, passed = by_pt(histograms, key, what)
        per_bin |= {f"{what}_num": passed.tolist(), f"{what}_den": total.tolist()}
    assert per_bin == expected["merged_by_pt"]
    assert set(expected) == {"targets", "candidates", "correct", "purity", "efficiency", "merged_by_pt"}  # nothing left


def test_provenance_names_the_weights(published_run: tuple[dict[str, Any], Path]) -> None:
    model = json.loads((published_run[1] / "provenance.json").read_text())["models"]["bdt"]
    assert model["name"] == "hbb_bdt_published"
    assert model["cut"] == LOOSE
    assert len(model["sha256"]) == 64


def test_scan_agrees_with_the_main_job(write_fileset: Callable[..., Path], tmp_path: Path) -> None:
    fileset = write_fileset(HHH=([str(DEMO / "hhh.root")], {}), QCD=([str(DEMO / "qcd.root")], {"is_signal": False}))
    common = ["--fileset", str(fileset), "--chunksize", "2500"]
    assert main([*common, "--processor", "bdt_scan", "--output", str(tmp_path / "scan")]) == 0
    assert main([*common, "--methods", "chi2,chi2+bdt", "--no-plots", "--output", str(tmp_path / "main")]) == 0
    scan = results.read_histograms(tmp_path / "scan")[0]["bdt_scan"]
    summary = json.loads((tmp_path / "main" / "summary.json").read_text())["results"]["HHH"]
    for definition, methods in summary.items():
        for point, method in (("loose", "chi2+bdt"), ("1.00000", "chi2")):
            for category, expected in methods[method]["categories"].items():
                place = {"dataset": "HHH", "definition": definition, "category": category, "working_point": point}
                found = {
                    name: int(scan[{**place, "count": name}])
                    for name in ("candidates", "correct", "targets", "retrieved")
                }
                assert found == {name: expected[name] for name in found}, (definition, point, category)
    drawn = {path.name for path in (tmp_path / "scan" / "plots" / "HHH").glob("*.png")}
    assert drawn == {f"{d}_bdt_{what}.png" for d in ("default", "reference") for what in ("scan", "trade_off")}


def test_a_wrong_model_or_working_point_ends_before_reading(
    write_fileset: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fileset = write_fileset(HHH=([str(DEMO / "hhh.root")], {}))
    common = ["--fileset", str(fileset), "--methods", "chi2+bdt", "--output", str(tmp_path / "out")]
    assert main([*common, "--bdt-wp", "lose"]) == 2
    assert "no working point 'lose'; it has loose, medium, tight" in capsys.readouterr().err
    assert main([*common, "--bdt", "absent"]) == 2
    assert "absent: no such BDT model" in capsys.readouterr().err


def test_executors_chunks_and_a_stock_runner_agree(write_fileset: Callable[..., Path], tmp_path: Path) -> None:
    fileset = write_fileset(HHH=([str(DEMO / "hhh.root")], {}))
    common = ["--fileset", str(fileset), "--methods", "chi2+bdt", "--no-plots"]
    for name, more in (("one", []), ("many", ["--chunksize", "1700", "--executor", "futures", "--workers", "2"])):
        assert main([*common, *more, "--output", str(tmp_path / name)]) == 0
    one, many = ((tmp_path / name / "histograms.json").read_bytes() for name in ("one", "many"))
    assert one == many

    runner = Runner(executor=IterativeExecutor(status=False), schema=DelphesSchema, chunksize=2500, metadata_cache={})
    metadata = {"format": "delphes", "n_higgs": 3}
    files = {"HHH": {"files": {str(DEMO / "hhh.root"): "Delphes"}, "metadata": metadata}}
    output = runner(files, processor_instance=load_processor("assignment", {"methods": ("chi2+bdt",)}))
    stored, _ = results.read_histograms(tmp_path / "one")
    assert canonical(output["histograms"]["candidates"]) == stored["candidates"]
