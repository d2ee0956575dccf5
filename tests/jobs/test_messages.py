"""What a new user reads who mistypes: every message says what is wrong and what there is instead."""

import json

import pytest
from conftest import DEMO

from hhh_coffea.base.errors import did_you_mean
from hhh_coffea.datasets.fileset import FilesetError, load_fileset
from hhh_coffea.events.missing import MissingBranchError
from hhh_coffea.run import main


def error_of(capsys, *arguments):
    assert main([*map(str, arguments), "--dry-run"]) == 2
    return " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            '{"A": {"files": ["a.root"], "metadata": {"n_higgs": 3,}}}',
            "there is a comma before '}', and JSON allows none (line 1",
        ),
        ('{"A": {"files": ["a.root",], "metadata": {}}}', "there is a comma before ']', and JSON allows none"),
        ("{'A': {}}", "JSON needs double quotes (line 1, column 2)"),
        ("", "it is empty"),
        ('{"A": ', "cannot be read as a fileset: Expecting value (line 1"),
    ],
)
def test_json_by_hand(tmp_path, capsys, text, says):
    (tmp_path / "f.json").write_text(text)
    assert says in error_of(capsys, "--fileset", tmp_path / "f.json")


def test_a_whole_mapping_is_not_repeated(tmp_path, capsys):
    metadata = {"format": "delphes", "analysis": "hhh", "selection": {"jet_pt_min": {"a": "b" * 100}}, "label": 3}
    (tmp_path / "f.json").write_text(json.dumps({"A": {"files": ["a.root"], "metadata": metadata}}))
    told = error_of(capsys, "--fileset", tmp_path / "f.json")
    assert "bbbb" not in told
    assert "field 'selection.jet_pt_min': must be a number" in told
    assert "field 'label': must be a text, in quotes: \"…\" (got 3)" in told


def test_capitals(capsys):
    assert "no dataset 'hhh' (did you mean 'HHH'?); it has" in error_of(
        capsys, "--fileset", "demo", "--datasets", "hhh"
    )
    assert did_you_mean("Spanett", ["chi2", "spanet"]) == " (did you mean 'spanet'?)"
    assert did_you_mean("SPANET", ["chi2", "spanet"]) == " (did you mean 'spanet'?)"
    assert did_you_mean("xyz", ["chi2"]) == ""
    assert did_you_mean("trian", ["skim", "train"]) == " (did you mean 'train'?)"
    assert did_you_mean("sigma", ["skim", "train"]) == ""
    assert did_you_mean("rum", ["run", "train"]) == " (did you mean 'run'?)"


def test_a_recipe_that_does_not_exist(tmp_path, capsys):
    from hhh_coffea.train import main as train

    assert train(["spanet", "--config", "hhhh", "--data", str(tmp_path), "--output", str(tmp_path / "m")]) == 2
    told = capsys.readouterr().err
    assert "hhhh: there is no such file and no such recipe (did you mean 'hhh'?); bundled recipes: hh, hhh" in told


def test_branches_that_are_nothing_like_it():
    many = [f"HLT_Path{i}" for i in range(20)]
    assert "the file has 20 branches HLT_…, none like it" in str(MissingBranchError("HLT_zzz", "", many))
    assert "the file has HLT_Path1, HLT_Path1" in str(MissingBranchError("HLT_Path1x", "", many))


def test_nothing_to_process_is_no_success(tmp_path, capsys):
    import uproot

    with uproot.recreate(tmp_path / "empty.root") as file:
        file.mktree("Delphes", {"Event_size": "int32"})
    metadata = {"format": "delphes", "analysis": "hh"}
    (tmp_path / "f.json").write_text(json.dumps({"A": {"files": [str(tmp_path / "empty.root")], "metadata": metadata}}))
    main(["--fileset", str(tmp_path / "f.json"), "--no-plots", "--output", str(tmp_path / "r")])
    assert "there was nothing to process: the files have no events" in " ".join(capsys.readouterr().out.split())


def test_systematics_without_a_variation(tmp_path, capsys):
    arguments = ["--fileset", "demo", "--datasets", "HH", "--processor", "systematics", "--no-plots"]
    assert main([*arguments, "--output", str(tmp_path / "r")]) == 0
    assert "dataset 'HH': nothing was varied; name corrections under 'nanoaod'" in " ".join(
        capsys.readouterr().out.split()
    )


@pytest.mark.parametrize(
    ("metadata", "says"),
    [
        ({"nanoaod": {"year": 2024}}, "field 'nanoaod.year': must be a text, in quotes: \"2024\" (got 2024)"),
        ({"nanoaod": {"year": "2019"}}, "field 'nanoaod.year': must be '2016preVFP', '2016', '2017'"),
        ({"cross_section": "1.5"}, "field 'cross_section': must be a number, without quotes (got \"1.5\")"),
        ({"analysis": "", "n_higgs": 9}, "field 'n_higgs': must be at most 4 (got 9)"),
        ({"analysis": ""}, 'field \'analysis\' is missing: set what is looked for, as "analysis": "hhh"'),
        ({"format": "root"}, "field 'format': must be 'delphes' or 'nanoaod' (got \"root\")"),
        ({"user": 3}, "field 'user': must be a mapping: {…} (got 3)"),
        ({"nanoaod": {"lepton_veto": True}}, "field 'nanoaod.lepton_veto': must be a mapping: {…} (got true)"),
        ({"selection": [20]}, "field 'selection': must be a mapping: {…} (got [20])"),
    ],
)
def test_values_of_another_kind(tmp_path, capsys, metadata, says):
    metadata = {"format": "nanoaod", "analysis": "hhh", **metadata}
    (tmp_path / "f.json").write_text(json.dumps({"A": {"files": ["a.root"], "metadata": metadata}}))
    assert says in error_of(capsys, "--fileset", tmp_path / "f.json")


def test_b_tags_of_nanoaod_are_not_sampled(tmp_path, capsys):
    metadata = {"format": "nanoaod", "analysis": "hh"}
    (tmp_path / "f.json").write_text(json.dumps({"A": {"files": ["a.root"], "metadata": metadata}}))
    says = error_of(capsys, "--fileset", tmp_path / "f.json", "--btagging", "upart")
    assert "option 'btagging' has no effect on nanoaod datasets" in says


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"A": {"files": ["a.root"], "metadata": {"analysis": "hh"}}}, "dataset 'A', field 'format' is missing"),
        ({"A": {"files": "a.root", "metadata": {}}}, "must be {path: tree} or a list of paths, not a text"),
        ({"A": {"files": {"a.root": ["x"]}, "metadata": {}}}, "a.root: the name of a tree must be a text, not a list"),
        (
            {"A b": {"files": ["a.root"], "metadata": {}}},
            "dataset 'A b': the name of a dataset has letters, digits and",
        ),
        ([1], 'a fileset is a mapping of datasets: {"NAME": {"files": […], "metadata": {…}}}'),
    ],
)
def test_filesets_of_another_form(tmp_path, capsys, content, says):
    if isinstance(content, dict) and not (own := next(iter(content.values())))["metadata"]:
        own["metadata"] = {"format": "delphes", "analysis": "hh"}
    (tmp_path / "f.json").write_text(json.dumps(content))
    assert says in error_of(capsys, "--fileset", tmp_path / "f.json")


@pytest.mark.parametrize("tree", [None, "its own"])
@pytest.mark.parametrize("wrong", ["delphes", "nanoaod"])
def test_a_file_of_the_other_format(tmp_path, capsys, relaid, wrong, tree):
    file, own, right = {
        "delphes": (relaid[15], "Events", "nanoaod"),
        "nanoaod": (DEMO / "hh.root", "Delphes", "delphes"),
    }[wrong]
    files = {str(file): own} if tree else [str(file)]
    content = {"A": {"files": files, "metadata": {"format": wrong, "analysis": "hh"}}}
    (tmp_path / "f.json").write_text(json.dumps(content))
    assert main(["--fileset", str(tmp_path / "f.json"), "--no-plots", "--output", str(tmp_path / "r")]) == 1
    assert f'; set "format": "{right}" in the metadata of this dataset' in capsys.readouterr().out


def test_skipped_files_and_datasets_stay_in_sight(tmp_path, capsys):
    """A dataset of which nothing could be read keeps its row; files that could not be opened are not in the plan."""
    whole = (DEMO / "hhh.root").read_bytes()
    (tmp_path / "half.root").write_bytes(whole[: len(whole) // 2])
    metadata = {"format": "delphes", "n_higgs": 3}
    content = {
        "HHH": {"files": [str(DEMO / "hhh.root"), "gone.root"], "metadata": metadata},
        "QCD": {"files": ["half.root"], "metadata": {**metadata, "is_signal": False}},
        "other": {"files": ["gone_too.root"], "metadata": metadata},
    }
    (tmp_path / "f.json").write_text(json.dumps(content))
    assert main(["--fileset", str(tmp_path / "f.json"), "--no-plots", "--output", str(tmp_path / "r")]) == 3
    printed = capsys.readouterr().out
    rows = [line.split()[:4] for line in printed.splitlines() if line.startswith(" ")]
    assert ["other", "–", "0", "0"] in rows
    assert ["QCD", "–", "0"] in rows
    assert "dataset 'QCD': no event was read, because all its files or chunks were skipped" in printed
    assert "half.root: the file is truncated or damaged: copy it again from its source" in printed
    assert "processed 5,000 events in 1 of 4 files (" in printed
    assert "the number of events in the skipped files is unknown" in " ".join(printed.split())
    assert "planned" not in printed
    assert "skipped: 3 files\n" in printed


def test_options_of_another_kind(capsys):
    assert "option 'chi2_jets': must be at most 10 (got 11)" in error_of(
        capsys, "--fileset", "demo", "--chi2-jets", "11"
    )
    assert "'x' is not NAME=VALUE" in error_of(capsys, "--fileset", "demo", "--set", "x")
    assert "'a' is given twice" in error_of(capsys, "--fileset", "demo", "--set", "a=1", "--set", "a=2")


@pytest.mark.parametrize(("field", "place"), [("year", "nanoaod"), ("max_jets", "selection")])
def test_a_field_at_the_wrong_level_is_told_its_place(field, place, tmp_path):
    fileset = tmp_path / "f.json"
    content = {"HHH": {"files": ["a.root"], "metadata": {"format": "delphes", "n_higgs": 3, field: 2024}}}
    fileset.write_text(json.dumps(content))
    with pytest.raises(FilesetError, match=f"field '{field}': belongs inside '{place}'"):
        load_fileset(fileset)
