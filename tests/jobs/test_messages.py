"""What a new user reads who mistypes: every message says what is wrong and what there is instead."""

import json

import pytest

from hhh_coffea.base.errors import did_you_mean
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


def test_a_recipe_that_does_not_exist(tmp_path, capsys):
    from hhh_coffea.train import main as train

    assert train(["spanet", "--config", "hhhh", "--data", str(tmp_path), "--output", str(tmp_path / "m")]) == 2
    told = capsys.readouterr().err
    assert "hhhh: there is no such file and no such recipe (did you mean 'hhh'?); bundled recipes: hh, hhh" in told


def test_branches_that_are_nothing_like_it():
    many = [f"HLT_Path{i}" for i in range(20)]
    assert "HLT has 20 others, none like it" in str(MissingBranchError("HLT_zzz", "", many))
    assert "HLT has Path1, Path1" in str(MissingBranchError("HLT_Path1x", "", many))


def test_nothing_to_process_is_no_success(tmp_path, capsys):
    import uproot

    with uproot.recreate(tmp_path / "empty.root") as file:
        file.mktree("Delphes", {"Event_size": "int32"})
    metadata = {"format": "delphes", "analysis": "hh"}
    (tmp_path / "f.json").write_text(json.dumps({"A": {"files": [str(tmp_path / "empty.root")], "metadata": metadata}}))
    main(["--fileset", str(tmp_path / "f.json"), "--no-plots", "--output", str(tmp_path / "r")])
    assert "there was nothing to process: no event was planned" in " ".join(capsys.readouterr().out.split())


def test_systematics_without_a_variation(tmp_path, capsys):
    arguments = ["--fileset", "demo", "--datasets", "HH", "--processor", "systematics", "--no-plots"]
    assert main([*arguments, "--output", str(tmp_path / "r")]) == 0
    assert "dataset 'HH': nothing was varied; name corrections under 'nanoaod'" in " ".join(
        capsys.readouterr().out.split()
    )
