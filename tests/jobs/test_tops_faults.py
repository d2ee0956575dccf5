"""Faults in events of tops: every one is named or cut, the other datasets are processed, and the ledger closes."""

import json
import shutil

import awkward as ak
import numpy as np
import pytest
import uproot
from conftest import DEMO

from hhh_coffea.analyses import load_analysis
from hhh_coffea.datasets.fileset import DatasetMetadata
from hhh_coffea.events.formats import branches_of
from hhh_coffea.run import main

ANALYSIS = "ttbar_semileptonic"


def fileset(path, **datasets):
    content = {
        name: {"files": [str(file)], "metadata": {"format": "delphes", "analysis": ANALYSIS, **metadata}}
        for name, (file, metadata) in datasets.items()
    }
    path.write_text(json.dumps(content))
    return str(path)


def run(tmp_path, **datasets):
    """Exit code, ledger, failures by dataset and cutflow of a run over these datasets, with every chunk accounted for."""
    events = fileset(tmp_path / "f.json", **datasets)
    code = main(["--fileset", events, "--no-plots", "--output", str(tmp_path / "r"), "--candidates"])
    provenance, cutflow, summary = (
        json.loads((tmp_path / "r" / f"{name}.json").read_text()) for name in ("provenance", "cutflow", "summary")
    )
    ledger = provenance["ledger"]
    for what in ("chunks", "events"):
        assert ledger[what]["planned"] == ledger[what]["processed"] + ledger[what]["failed"]
    failures = {failure["dataset"]: failure["reason"] for failure in provenance["failures"]}
    cuts = {name: {r["cut"]: r["events"] for r in entry["cuts"]} for name, entry in cutflow["datasets"].items()}
    return code, failures, cuts, summary


GOOD = (DEMO / "ttbar.root", {})


@pytest.mark.parametrize(
    ("file", "metadata", "says"),
    [
        ("hhh.root", {}, "no collection 'Electron' (metadata field 'electrons')"),
        ("ttbar.root", {"muons": "MuonTight"}, "no collection 'MuonTight' (metadata field 'muons')"),
        ("ttbar.root", {"met": "PuppiMissingET"}, "no collection 'PuppiMissingET' (metadata field 'met')"),
        ("ttbar.root", {"sum_et": "HT"}, "no collection 'HT' (metadata field 'sum_et')"),
        ("tt_nanoaod.root", {"format": "nanoaod"}, "no branch PuppiMET_pt (metadata field 'nanoaod.met')"),
    ],
)
def test_a_missing_collection_is_named(tmp_path, file, metadata, says):
    shutil.copy(DEMO / file, tmp_path / "bad")  # the same file in two datasets would be refused
    code, failures, cuts, _ = run(tmp_path, BAD=(tmp_path / "bad", metadata), GOOD=GOOD)
    assert code == 3
    assert list(failures) == ["BAD"]
    assert says in failures["BAD"]
    assert cuts["GOOD"]["≥ 2 b tags"] == 1000


@pytest.mark.parametrize(("threshold", "left"), [(150, 3), (1e4, 0)])
def test_events_without_jets_are_cut(tmp_path, threshold, left):
    """Above 150 GeV most events have no jet at all, above 10 TeV none has: what is left is reconstructed."""
    code, failures, cuts, summary = run(tmp_path, A=(DEMO / "ttbar.root", {"selection": {"jet_pt_min": threshold}}))
    assert (code, failures) == (0, {})
    before = ("all events", "finite weight", "semi-leptonic tt̄", "finite MET", "1 lepton")
    assert cuts["A"] == {**dict.fromkeys(before, 1000), "≥ 4 jets": left, "≥ 2 b tags": left}
    if left:
        row = summary["results"]["A"]["default"]["chi2"]["categories"]["ht"]
        assert row["candidates"] == left
    else:
        assert summary["assignments"] == {}


@pytest.fixture(scope="module")
def tables(shared_dir):
    """Columns of the shared CMS file, semi-leptonic tt̄ in NanoAOD v12, as the analysis reads them."""
    metadata = DatasetMetadata(format="nanoaod", analysis=ANALYSIS)
    wanted = branches_of(metadata, (), load_analysis(ANALYSIS).collections)
    tree = uproot.open(shared_dir / "data" / "nanoaod" / "tt_v12.root")["Events"]
    return {name: tree[name].array() for name in sorted(set(tree.keys()) & set(wanted))}


def write(path, columns):
    """NanoAOD of flat and jagged columns by name."""
    content = {name: array for name, array in columns.items() if array.ndim == 1}
    jagged = {name: array for name, array in columns.items() if array.ndim == 2}
    for collection in {name.split("_")[0] for name in jagged}:
        own = {n.removeprefix(f"{collection}_"): a for n, a in jagged.items() if n.startswith(f"{collection}_")}
        content[collection] = ak.zip(own)
    with uproot.recreate(path) as file:
        types = {name: array.type for name, array in content.items()}
        file.mktree("Events", types, counter_name=lambda name: f"n{name}")
        file["Events"].extend(content)
    return path


NANOAOD = {"format": "nanoaod"}


def test_copied_columns_give_the_numbers_of_the_file(tmp_path, tables, shared_dir):
    copy = write(tmp_path / "copy.root", tables)
    original = shared_dir / "data" / "nanoaod" / "tt_v12.root"
    code, failures, cuts, summary = run(tmp_path, A=(copy, NANOAOD), B=(original, NANOAOD))
    assert (code, failures) == (0, {})
    assert cuts["A"] == cuts["B"]
    assert cuts["A"]["≥ 2 b tags"] == 51
    assert summary["assignments"]["A"] == summary["assignments"]["B"]
    assert summary["assignments"]["A"]["default"]["chi2"]["all"]["all"]["event"]["denominator"] == 49


def test_what_is_not_a_number_is_cut_or_dropped(tmp_path, tables):
    """NaN in MET cuts the event; in a jet or a lepton it drops the object, and is counted; elsewhere nothing changes."""
    met = ak.to_numpy(tables["PuppiMET_pt"]).copy()
    met[:40] = np.nan
    pt = tables["Jet_pt"]
    first = ak.local_index(pt) == 0
    jets = ak.values_astype(ak.where(first & (np.arange(len(pt)) < 100), np.nan, pt), np.float32)
    muons = ak.values_astype(ak.full_like(tables["Muon_pt"], np.nan), np.float32)
    files = {
        "MET": write(tmp_path / "met.root", tables | {"PuppiMET_pt": ak.Array(met)}),
        "JETS": write(tmp_path / "jets.root", tables | {"Jet_pt": jets}),
        "MUONS": write(tmp_path / "muons.root", tables | {"Muon_pt": muons}),
        "GOOD": write(tmp_path / "good.root", tables),
    }
    code, failures, cuts, summary = run(tmp_path, **{name: (file, NANOAOD) for name, file in files.items()})
    assert (code, failures) == (0, {})
    assert cuts["MET"]["semi-leptonic tt̄"] - cuts["MET"]["finite MET"] == 40
    assert cuts["JETS"]["≥ 4 jets"] < cuts["GOOD"]["≥ 4 jets"]
    assert cuts["MUONS"]["1 lepton"] < cuts["GOOD"]["1 lepton"]
    dropped = json.loads((tmp_path / "r" / "cutflow.json").read_text())["datasets"]
    assert any("jets" in reason and "finite" in reason for reason in dropped["JETS"]["dropped_objects"])
    assert any("lepton" in reason and "finite" in reason for reason in dropped["MUONS"]["dropped_objects"])
    for name in files:
        selected = cuts[name]["≥ 2 b tags"]
        assert summary["results"][name]["default"]["chi2"]["categories"]["ht"]["candidates"] == selected > 0


def test_missing_met_and_leptons_of_nanoaod_are_named(tmp_path, tables):
    def without(prefix):
        return {name: array for name, array in tables.items() if not name.startswith(prefix)}

    files = {p: write(tmp_path / f"{p}.root", without(p)) for p in ("PuppiMET", "Electron", "Muon", "GenPart")}
    code, failures, cuts, _ = run(tmp_path, **{name: (file, NANOAOD) for name, file in files.items()})
    assert code == 1  # nothing was read
    for name in files:
        assert name in failures[name]
    assert cuts == {}


def test_versions_side_by_side(tmp_path, shared_dir, capsys):
    """Both CMS files: v15 is all-hadronic, so as signal it leaves no event and says so; as background neither does it."""
    files = {v: shared_dir / "data" / "nanoaod" / f"tt_{v}.root" for v in ("v12", "v15")}
    code, failures, cuts, summary = run(tmp_path, **{v: (file, NANOAOD) for v, file in files.items()})
    assert (code, failures) == (0, {})
    assert [cuts[v]["semi-leptonic tt̄"] for v in files] == [200, 0]
    said = " ".join(capsys.readouterr().out.split())
    assert "no event of v15 has semi-leptonic tt̄" in said
    assert "set is_signal: false in its metadata; none of its first 200 has any" in said
    assert list(summary["assignments"]) == ["v12"]
    code, failures, cuts, summary = run(tmp_path, **{v: (f, {**NANOAOD, "is_signal": False}) for v, f in files.items()})
    assert (code, failures) == (0, {})
    assert summary["assignments"] == {}
    assert "semi-leptonic tt̄" not in cuts["v12"]
    assert [cuts[v]["≥ 2 b tags"] for v in files] == [51, 0]
