"""An analysis of a user's own: measured like a declared one, the same on every executor, and in interactive work."""

import json
import shutil

import numpy as np
import pyarrow.dataset as ds
import pytest
from conftest import DEMO, REPOSITORY

from hhh_coffea.lazy import open_events, reconstruct
from hhh_coffea.results.directory import read_histograms
from hhh_coffea.run import main

# Two Higgs bosons as pairs of jets alone, with words, categories and a method of its own
PAIRS = '''
import awkward as ak

from hhh_coffea.analyses import Analysis, higgs_truth
from hhh_coffea.methods import chi2
from hhh_coffea.methods.method import method_of
from hhh_coffea.reconstruction.targets import Targets
from hhh_coffea.topology.topology import Topology

TOPOLOGY = Topology.from_text("""
INPUTS:
  SEQUENTIAL:
    Jets: {pt: log_normalize, btag: none}
EVENT:
  x1: [{j1: Jets}, {j2: Jets}]
  x2: [{j1: Jets}, {j2: Jets}]
PERMUTATIONS:
  EVENT: [[x1, x2]]
  x1: [[j1, j2]]
  x2: [[j1, j2]]
""")


def match(record, definitions, kept):
    found = higgs_truth.match(record, 2, *kept)
    return dict.fromkeys(definitions, Targets({"pair": found.objects["resolved"]}, found.pt, found.mass))


def cuts(record, is_signal):
    return {"two X": ak.to_numpy(ak.num(record.higgs.pt)) == 2} if is_signal else {}


def by_mass(record, analysis):
    return chi2.reconstruct(record, analysis.kinds["pair"])


ANALYSIS = Analysis(
    "pairs", TOPOLOGY, match, methods={"by_mass": method_of(by_mass)}, kind_names=("pair",),
    collections=("fatjets", "higgs"), cuts=cuts, particle="X boson", symbol="X",
)
'''
RUN = ["--metrics", "default", "--methods", "by_mass", "--no-plots", "--candidates"]


@pytest.fixture(scope="module")
def fileset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    (folder / "pairs.py").write_text(PAIRS)
    metadata = {"format": "delphes", "analysis": "pairs.py:ANALYSIS"}
    content = {"XX": {"files": [str(DEMO / "hh.root")], "metadata": metadata}}
    (folder / "fileset.json").write_text(json.dumps(content))
    return folder / "fileset.json"


@pytest.fixture(scope="module")
def results(fileset):
    output = fileset.parent / "results"
    assert main(["--fileset", str(fileset), "--output", str(output), *RUN]) == 0
    return output


@pytest.fixture(scope="module")
def as_declared(fileset):
    """χ² of the declared analysis on the same events."""
    output = fileset.parent / "declared"
    options = ["--fileset", "demo", "--datasets", "HH", "--metrics", "default", "--no-plots", "--candidates"]
    assert main([*options, "--output", str(output)]) == 0
    return output


def table(folder):
    rows = ds.dataset(folder / "candidates").to_table().to_pandas()
    return rows.sort_values(["file", "entry", "mass"], kind="stable").reset_index(drop=True)


def test_it_counts_as_the_declared_one(results, as_declared):
    """The pairs and their targets are those of HH: candidates, truth and all numbers of resolved ones are the same."""
    own, theirs = (json.loads((f / "summary.json").read_text())["results"] for f in (results, as_declared))
    assert set(own["XX"]["default"]) == {"by_mass"}
    categories = own["XX"]["default"]["by_mass"]["categories"]
    assert set(categories) == {"all"}  # a single kind has no row beside that of all
    expected = theirs["HH"]["default"]["chi2"]["categories"]["resolved"]
    for name in ("candidates", "correct", "targets", "retrieved"):
        assert categories["all"][name] == expected[name]
    ours, declared = table(results), table(as_declared)
    assert set(ours.kind) == {"pair"}
    assert [name for name in ours.columns if name in ("j1", "j2", "jet1", "jet2", "fatjet")] == ["j1", "j2"]
    for name, other in (("entry", "entry"), ("j1", "jet1"), ("j2", "jet2"), ("mass", "mass"), ("correct", "correct")):
        np.testing.assert_array_equal(ours[name], declared[other])
    cuts = json.loads((results / "cutflow.json").read_text())["datasets"]["XX"]["cuts"]
    assert [row["cut"] for row in cuts] == ["all events", "finite weight", "two X", "≥ 4 jets"]


def test_what_is_on_record(results, fileset):
    histograms, datasets = read_histograms(results)
    assert datasets["XX"]["analysis"] == "pairs"
    assert (datasets["XX"]["particle"], datasets["XX"]["symbol"], datasets["XX"]["particles"]) == ("X boson", "X", 2)
    assert (datasets["XX"]["kinds"], datasets["XX"]["categories"]) == ({"pair": 2}, {"default": ["all"]})
    assert histograms["candidates"].axes["pt"].label == "Reconstructed X boson pT [GeV]"
    assert str(fileset.parent / "pairs.py") in (results / "provenance.json").read_text()


@pytest.mark.parametrize("executor", ["futures", "dask"])
def test_it_travels_to_workers_by_value(executor, results, fileset, tmp_path):
    output = tmp_path / "results"
    command = ["--fileset", str(fileset), "--executor", executor, "--workers", "2", "--chunksize", "1500"]
    assert main([*command, "--output", str(output), *RUN]) == 0
    assert (output / "histograms.json").read_bytes() == (results / "histograms.json").read_bytes()
    ours, theirs = table(output), table(results)
    assert ours.equals(theirs[ours.columns])


def test_interactively(results, fileset):
    expected = table(results)
    for mode in ("virtual", "dask"):
        found = reconstruct(open_events(str(fileset), "XX", mode=mode), "by_mass")
        found = found.compute(scheduler="sync") if mode == "dask" else found
        assert {"j1", "j2", "correct"} <= set(found.fields)
        assert sum(map(sum, found.correct.tolist())) == expected.correct.sum()


def test_its_pictures_are_drawn(results, tmp_path):
    from hhh_coffea.plot import main as plot

    shutil.copytree(results, tmp_path / "copy")
    assert plot([str(tmp_path / "copy"), "--formats", "png"]) == 0
    drawn = {path.stem for path in (tmp_path / "copy" / "plots" / "XX").glob("*.png")}
    assert {"default_purity_efficiency_all", "default_generated_pt", "default_target_mass"} <= drawn
    assert "candidate_mass_by_mass" in drawn


def test_a_method_that_it_does_not_have(fileset, tmp_path, capsys):
    def error_of(method):
        options = ["--methods", method, "--no-plots", "--output", str(tmp_path / "r")]
        assert main(["--fileset", str(fileset), *options]) == 2
        return capsys.readouterr().err

    assert "option 'methods': no method 'by_mas' (did you mean 'by_mass'?)" in error_of("by_mas")
    assert "no method 'chi2' for analysis 'pairs'; there are by_mass" in error_of("chi2")
    # a method of one's own for pairs of Higgs bosons asks for a kind that there is not
    own = REPOSITORY / "docs" / "examples" / "nearest_pairs.py"
    output = ["--methods", str(own), "--no-plots", "--output", str(tmp_path / "r")]
    assert main(["--fileset", str(fileset), *output]) == 1
    captured = capsys.readouterr()
    assert "analysis 'pairs' has no kind 'resolved'; there are pair" in " ".join((captured.out + captured.err).split())
