"""`reference` mode gives, count for count, what the published code gives on the same files."""

import json

import pytest

from hhh_coffea.results.directory import read_histograms
from hhh_coffea.results.histograms import CORRECT, UNKNOWN
from hhh_coffea.results.summary import by_pt, counts
from hhh_coffea.run import main


@pytest.fixture(scope="module")
def results(shared_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("published")
    fileset = folder / "fileset.json"
    delphes = shared_dir / "data" / "delphes"
    fileset.write_text(
        json.dumps(
            {
                name: {"files": [str(delphes / f"{name}.root")], "metadata": {"format": "delphes", "n_higgs": n}}
                for name, n in (("hhh_test", 3), ("hh_test", 2))
            }
        )
    )
    output = folder / "results"
    assert main(["--fileset", str(fileset), "--output", str(output), "--no-plots", "--metrics", "reference"]) == 0
    published = json.loads((shared_dir / "reference" / "original_code.json").read_text())
    return output, published


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dataset", "ours", "theirs"),
    [("hhh_test", "chi2", "chi2"), ("hh_test", "chi2", "chi2"), ("hh_test", "chi2_as_published", "chi2_as_published")],
)
def test_counts_are_those_of_the_published_code(results, dataset, ours, theirs):
    output, published = results
    expected = published[dataset][theirs]
    entry = json.loads((output / "summary.json").read_text())["results"][dataset]["reference"][ours]["categories"]
    cuts = json.loads((output / "cutflow.json").read_text())["datasets"][dataset]["cuts"]
    assert cuts[0]["events"] == published[dataset]["events"]
    assert cuts[-1]["events"] == published[dataset]["events_selected"]
    for kind in ("resolved", "boosted", "merged"):
        assert entry[kind]["targets"] == expected["targets"][kind]
        assert entry[kind]["correct"] == expected["correct"][kind]
        assert entry[kind]["efficiency"]["value"] == pytest.approx(expected["efficiency"][kind], abs=1e-15)
        assert entry[kind]["purity"]["value"] == (expected["purity"][kind] and pytest.approx(expected["purity"][kind]))
    assert entry["resolved"]["candidates"] == expected["candidates"]["resolved_before_overlap_removal"]
    assert entry["resolved_after_overlap_removal"]["candidates"] == expected["candidates"]["resolved_after"]
    assert entry["boosted"]["candidates"] == expected["candidates"]["boosted"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dataset", "method"), [("hhh_test", "chi2"), ("hh_test", "chi2"), ("hh_test", "chi2_as_published")]
)
def test_counts_per_pt_bin(results, dataset, method):
    output, published = results
    histograms, _ = read_histograms(output)
    expected = published[dataset][method]["merged_by_pt"]
    key = {"dataset": dataset, "method": method, "definition": "reference", "category": "merged"}
    for what in ("purity", "efficiency"):
        total, passed = by_pt(histograms, key, what)
        assert total.astype(int).tolist() == expected[f"{what}_den"]
        assert passed.astype(int).tolist() == expected[f"{what}_num"]
    assert counts(histograms["candidates"], key)[:, UNKNOWN - UNKNOWN].sum() == 0
    assert counts(histograms["candidates"], key)[:, CORRECT - UNKNOWN].sum() > 0
