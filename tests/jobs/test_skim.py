"""Skims: run on again they give the results of their originals, to the last bit."""

import json

import numpy as np
import pyarrow.dataset as ds
import pytest
import uproot
from coffea.nanoevents import NanoAODSchema, NanoEventsFactory
from conftest import DEMO
from correction_files import write_btag_corrections, write_jet_corrections

from hhh_coffea.results import directory as results
from hhh_coffea.run import main

OPTIONS = ("--no-plots", "--candidates")


class Quiet(NanoAODSchema):
    """Silent about links to collections that are not there."""

    warn_missing_crossrefs = False


ACCOUNTS = ("multiplicity",)  # histograms of events before the cuts: a skim has none


def run(fileset, output, *options):
    assert main(["--fileset", str(fileset), "--output", str(output), *OPTIONS, *options]) == 0
    return output


def again(output, *options):
    return run(output / "skim" / "fileset.json", output.with_name("again"), *options)


def candidates(output):
    rows = ds.dataset(output / "candidates").to_table().to_pandas().drop(columns="file")
    return rows.sort_values([name for name in rows.columns if name != "correct"], kind="stable").to_csv(index=False)


def assert_same(first, second):
    assert candidates(first) == candidates(second)
    before, after = (json.loads((folder / "summary.json").read_text()) for folder in (first, second))
    assert before["results"] == after["results"]
    assert before["assignments"] == after["assignments"]
    (one, _), (other, _) = (results.read_histograms(folder) for folder in (first, second))
    different = [name for name, histogram in one.items() if histogram != other[name]]
    assert all(any(word in name for word in ACCOUNTS) for name in different), different
    for dataset, entry in json.loads((second / "cutflow.json").read_text())["datasets"].items():
        whole = json.loads((first / "cutflow.json").read_text())["datasets"][dataset]["cuts"]
        assert [row["events"] for row in entry["cuts"]] == [whole[-1]["events"]] * len(entry["cuts"])
        assert entry["cuts"][-1].get("expected_events") == whole[-1].get("expected_events")


def test_higgs_bosons_of_delphes(tmp_path):
    options = ("--methods", "chi2,chi2+bdt,spanet", "--device", "cpu", "--luminosity", "3000", "--couplings")
    first = run("demo", tmp_path / "first", *options, "--skim", "--chunksize", "3000")
    assert len(list((first / "skim").glob("*.root"))) == 6
    assert_same(first, again(first, *options))


def test_tops_of_delphes(tmp_path):
    first = run("demo_tops", tmp_path / "first", "--methods", "chi2", "--skim")
    assert_same(first, again(first, "--methods", "chi2"))


def test_corrected_events_of_nanoaod(relaid, tmp_path):
    """Smeared jets, moved tags and weights are in the records: nothing is corrected twice."""
    jets, btag = (
        str(write(tmp_path / name))
        for write, name in ((write_jet_corrections, "j.json"), (write_btag_corrections, "b.json"))
    )
    section = {
        "corrections": {
            "jets": {"file": jets, "jec": "JEC", "resolution": "Resolution", "resolution_scale": "Ratio"},
            "btag": {
                "file": btag,
                "heavy": "heavy",
                "light": "light",
                "efficiency_file": btag,
                "efficiency": "efficiency",
            },
        }
    }
    metadata = {"format": "nanoaod", "n_higgs": 3, "cross_section": 0.5}
    fileset = {
        "HHH": {"files": [str(relaid[15])], "metadata": {**metadata, "nanoaod": section}},
        "data": {"files": [str(relaid["data"])], "metadata": {"format": "nanoaod", "n_higgs": 3, "is_data": True}},
    }  # fmt: skip
    (tmp_path / "f.json").write_text(json.dumps(fileset))
    first = run(tmp_path / "f.json", tmp_path / "first", "--luminosity", "10", "--skim")
    assert_same(first, again(first, "--luminosity", "10"))
    (file,) = (first / "skim").glob("HHH*.root")
    with uproot.open(file) as opened, uproot.open(relaid[15]) as original:
        entries = opened["Events/entry"].array(library="np")
        np.testing.assert_array_equal(
            opened["Events/event"].array(library="np"), original["Events/event"].array(library="np")[entries]
        )
        assert json.loads(str(opened["made_from"]))["file"] == str(relaid[15])


def test_coffea_reads_objects_and_candidates(tmp_path):
    """With the schema of NanoAOD: candidates beside the jets that they are made of, as in the table of candidates."""
    first = run("demo", tmp_path / "first", "--datasets", "HH", "--methods", "chi2,chi2+bdt", "--skim")
    (file,) = (first / "skim").glob("*.root")
    events = NanoEventsFactory.from_root({str(file): "Events"}, schemaclass=Quiet, mode="eager").events()
    table = ds.dataset(first / "candidates").to_table().to_pandas()
    for method in ("chi2", "chi2+bdt"):
        own, rows = events[f"{method.replace('+', '')}Candidates"], table[table.method == method]
        for name in ("pt", "mass", "assignment_probability", "overlaps", "correct"):
            np.testing.assert_array_equal(np.concatenate([list(x) for x in own[name]]), rows[name].to_numpy(), name)
    chosen = events.chi2Candidates.jet1  # positions in the skim
    index = np.concatenate([list(x) for x in events.jets.index[chosen]])
    np.testing.assert_array_equal(index, table[table.method == "chi2"].jet1)


def test_what_a_skim_does_not_hold(tmp_path, capsys):
    first = run("demo", tmp_path / "first", "--datasets", "HHH", "--skim")
    fileset = str(first / "skim" / "fileset.json")
    options = ["--fileset", fileset, "--output", str(tmp_path / "again"), "--no-plots"]
    assert main([*options, "--methods", "chi2+bdt"]) == 1
    assert "no branch fatjets_" in (printed := " ".join(capsys.readouterr().out.split()))
    assert "the run that made the skim did not read it" in printed
    assert main([*options, "--btagging", "upart"]) == 1
    assert "the b tags of a skim cannot be re-sampled" in " ".join(capsys.readouterr().out.split())
    content = json.loads((first / "skim" / "fileset.json").read_text())
    content["HHH"]["metadata"]["btag_bit"] = 1
    (first / "skim" / "fileset.json").write_text(json.dumps(content))
    assert main(options) == 2
    assert "a skim has no field 'btag_bit'" in capsys.readouterr().err


def test_a_skim_is_not_replaced_by_what_is_made_of_it(tmp_path, capsys):
    first = run("demo", tmp_path / "first", "--datasets", "HHH", "--skim")
    files = sorted((first / "skim").iterdir())
    assert main(["--fileset", str(first / "skim" / "fileset.json"), "--output", str(first), "--no-plots"]) == 2
    assert "dataset 'HHH' is read from there; choose another --output" in capsys.readouterr().err
    assert sorted((first / "skim").iterdir()) == files
    run("demo", first, "--datasets", "HHH")
    assert "and deletes skim/, which it does not make again" in " ".join(capsys.readouterr().out.split())
    assert not (first / "skim").exists()


def test_tighter_thresholds_apply(tmp_path, write_fileset):
    first = run("demo", tmp_path / "first", "--datasets", "HH", "--skim")
    fileset = first / "skim" / "fileset.json"
    content = json.loads(fileset.read_text())
    tight = {"jet_pt_min": 40.0, "jet_abs_eta_max": 2.5}
    content["HH"]["metadata"]["selection"] = tight
    fileset.write_text(json.dumps(content))
    whole = write_fileset(HH=([DEMO / "hh.root"], {"n_higgs": 2, "selection": tight}))
    direct, skimmed = run(whole, tmp_path / "direct"), again(first)
    assert candidates(direct) == candidates(skimmed)


def test_a_dataset_of_which_nothing_is_selected_is_named(tmp_path, write_fileset, capsys):
    none = {"is_signal": False, "selection": {"jet_pt_min": 5000.0}}
    fileset = write_fileset(HHH=([DEMO / "hhh.root"], {}), QCD=([DEMO / "qcd.root"], none))
    first = run(fileset, tmp_path / "first", "--skim")
    assert "no event of QCD is selected: it is not in the skim" in capsys.readouterr().out
    assert list(json.loads((first / "skim" / "fileset.json").read_text())) == ["HHH"]


@pytest.mark.parametrize("damage", [False, True])
def test_a_resumed_run_keeps_what_was_written(tmp_path, damage):
    """A file is missing, then it is there: the skim is whole; what was damaged meanwhile is made again."""
    late = tmp_path / "late.root"
    metadata = {"format": "delphes", "n_higgs": 3}
    fileset = {"HHH": {"files": [str(DEMO / "hhh.root"), str(late)], "metadata": metadata}}
    (tmp_path / "f.json").write_text(json.dumps(fileset))
    options = ["--fileset", str(tmp_path / "f.json"), "--output", str(tmp_path / "r"), *OPTIONS, "--skim"]
    assert main([*options, "--chunksize", "2500"]) == 3
    written = sorted((tmp_path / "r" / "skim").glob("*.root"))
    assert len(written) == 2
    if damage:
        written[0].write_bytes(written[0].read_bytes()[:-100])
    late.write_bytes((DEMO / "hhh.root").read_bytes())
    assert main([*options, "--chunksize", "2500"]) == 0
    provenance = json.loads((tmp_path / "r" / "provenance.json").read_text())
    assert provenance["resumed_chunks"] == (1 if damage else 2)
    assert len(list((tmp_path / "r" / "skim").glob("*.root"))) == 4
    assert_same(tmp_path / "r", again(tmp_path / "r"))
