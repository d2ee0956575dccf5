"""Filesets: what is accepted, and that every error names the dataset and the field."""

import gzip
import json

import pytest

from hhh_coffea.analyses import load_analyses
from hhh_coffea.base.bundled import list_bundled
from hhh_coffea.datasets.fileset import DatasetMetadata, FilesetError, load_fileset

GOOD = {"format": "delphes", "n_higgs": 3}


def write(folder, content, name="fileset.json"):
    path = folder / name
    text = content if isinstance(content, str) else json.dumps(content)
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


def test_bundled_demo_by_bare_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "demo" in list_bundled("fileset")
    datasets = load_fileset("demo")
    assert list(datasets) == ["HHH", "HH", "QCD"]
    assert datasets["QCD"].metadata.is_signal is False
    assert load_fileset("demo.json") == datasets
    with pytest.raises(FilesetError, match="no such fileset"):
        load_fileset("elsewhere/demo.json")
    with pytest.raises(FilesetError, match="did you mean 'demo_tops'"):
        load_fileset("demotops")


def test_paths_are_relative_to_the_json_and_globs_expand(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    for name in ("b.root", "a.root"):
        (tmp_path / "data" / name).touch()
    content = {
        "A": {"files": ["data/*.root", "root://host//x.root", "https://host/y.root"], "metadata": GOOD},
        "B": {"files": {"gone.root": "Other"}, "metadata": GOOD},
    }
    for name in ("f.json", "f.json.gz"):
        path = write(tmp_path, content, name)
        monkeypatch.chdir("/")
        datasets = load_fileset(path)
        assert list(datasets["A"].files) == [
            str(tmp_path / "data/a.root"),
            str(tmp_path / "data/b.root"),
            "root://host//x.root",
            "https://host/y.root",
        ]
        assert set(datasets["A"].files.values()) == {"Delphes"}
        assert datasets["B"].files == {str(tmp_path / "gone.root"): "Other"}  # found missing when opened, by name
    assert list(load_fileset(path, ["B"])) == ["B"]


def test_what_a_preprocessed_fileset_states_of_files(tmp_path):
    (tmp_path / "a.root").touch()
    (tmp_path / "b.root").touch()
    spec = {"object_path": "T", "steps": [[0, 5]], "num_entries": 5, "uuid": "u-u"}
    files = {"a.root": spec, "b.root": {**spec, "num_entries": None}}
    (dataset,) = load_fileset(write(tmp_path, {"A": {"files": files, "metadata": GOOD}})).values()
    assert set(dataset.files.values()) == {"T"}
    assert dataset.known == {str(tmp_path / "a.root"): ("u-u", 5)}
    (several,) = load_fileset(write(tmp_path, {"A": {"files": {"*.root": spec}, "metadata": GOOD}})).values()
    assert several.known == {}  # of which file?
    for wrong in ({"uuid": 3}, {"num_entries": -1}, {"num_entries": "5"}):
        with pytest.raises(FilesetError, match=r"dataset 'A', field 'files': 'a.root': uuid .* and num_entries"):
            load_fileset(write(tmp_path, {"A": {"files": {"a.root": {**spec, **wrong}}, "metadata": GOOD}}))


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ({"files": ["a.root"]}, "dataset 'X': field 'metadata' is missing"),
        ({"metadata": GOOD}, "dataset 'X': field 'files' is missing"),
        ({"files": [], "metadata": GOOD}, "dataset 'X', field 'files'"),
        ({"files": "a.root", "metadata": GOOD}, "field 'files': must be"),
        ({"files": [3], "metadata": GOOD}, "field 'files': a path must be a text, not a number"),
        ({"files": ["a.root", "./a.root"], "metadata": GOOD}, "a.root is listed twice"),
        ({"files": ["*.nothing"], "metadata": GOOD}, "no file matches '\\*.nothing'"),
        (
            {"files": ["a.root"], "metadata": {"format": "delphes"}},
            "dataset 'X': .*field 'analysis' is missing: set what is looked for",
        ),
        ({"files": ["a.root"], "metadata": {**GOOD, "n_higgs": "3"}}, "field 'n_higgs': must be a whole number"),
        ({"files": ["a.root"], "metadata": {**GOOD, "n_higgs": 0}}, "field 'n_higgs'"),
        ({"files": ["a.root"], "metadata": {**GOOD, "format": "pythia"}}, "field 'format': .*delphes"),
        (
            {"files": ["a.root"], "metadata": {**GOOD, "n_higs": 3}},
            "field 'n_higs': unknown field .*did you mean 'n_higgs'",
        ),
        ({"files": ["a.root"], "metadata": {**GOOD, "cross_section_pb": -1.0}}, "field 'cross_section_pb'"),
        (
            {"files": ["a.root"], "metadata": {**GOOD, "selection": {"jet_pt": 30.0}}},
            "field 'selection.jet_pt': unknown",
        ),
        (
            {"files": ["a.root"], "metadata": {**GOOD, "selection": {"max_jets": 4}}},
            "dataset 'X': selection.max_jets = 4 cannot hold the 6 jets of analysis 'hhh'",
        ),
        (
            {"files": ["a.root"], "metadata": {**GOOD, "selection": {"min_jets": 4}}},
            "dataset 'X': selection.min_jets = 4 is below the 6 jets of analysis 'hhh'",
        ),
        (
            {"files": ["a.root"], "metadata": {**GOOD, "analysis": "hh"}},
            "dataset 'X': .*n_higgs: 3 is short for analysis 'hhh', and 'hh' is given",
        ),
        (
            {"files": ["a.root"], "metadata": {"format": "delphes", "analysis": "hhhhh"}},
            "dataset 'X': no analysis 'hhhhh' .did you mean 'hhhh'..; there are h, hh, hhh, hhhh, .*and your own files",
        ),
        ({"files": ["a.root"], "metadata": GOOD, "metdata": {}}, "unknown field 'metdata'"),
        ([1], "dataset 'X': must be a mapping with 'files' and 'metadata', not a list"),
    ],
)
def test_errors_name_dataset_and_field(tmp_path, dataset, message):
    with pytest.raises(FilesetError, match=message) as error:
        load_analyses(load_fileset(write(tmp_path, {"X": dataset})))
    assert "'X'" in str(error.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "3", '{"A": {}, "A": {}}'])
def test_broken_json_is_named(tmp_path, text):
    path = write(tmp_path, text)
    with pytest.raises(FilesetError, match=r"fileset\.json"):
        load_fileset(path)


def test_broken_gzip_is_named(tmp_path):
    path = tmp_path / "f.json.gz"
    path.write_bytes(b"no gzip at all")
    with pytest.raises(FilesetError, match=r"f\.json\.gz"):
        load_fileset(path)


def test_same_file_in_two_datasets(tmp_path):
    path = write(tmp_path, {n: {"files": ["a.root"], "metadata": GOOD} for n in ("A", "B")})
    with pytest.raises(FilesetError, match=r"dataset 'A' and again in 'B'"):
        load_fileset(path)


def test_other_b_tags_make_other_events(tmp_path):
    """The same file may be in datasets whose b tags are thrown with other seeds."""
    content = {
        name: {"files": ["a.root"], "metadata": {**GOOD, "btagging": "upart", "btag_seed": seed}}
        for seed, name in enumerate("AB")
    }
    assert list(load_fileset(write(tmp_path, content))) == ["A", "B"]


def test_unknown_dataset_is_suggested(tmp_path):
    path = write(tmp_path, {"HHH": {"files": ["a.root"], "metadata": GOOD}})
    with pytest.raises(FilesetError, match=r"no dataset 'HHh' .did you mean 'HHH'"):
        load_fileset(path, ["HHh"])


def test_bad_dataset_name(tmp_path):
    with pytest.raises(FilesetError, match="dataset 'a/b': the name of a dataset has letters"):
        load_fileset(write(tmp_path, {"a/b": {"files": ["a.root"], "metadata": GOOD}}))


def test_the_number_of_higgs_bosons_is_short_for_an_analysis(tmp_path):
    """Either way of writing is the same dataset, and what travels to workers is the analysis."""
    metadata = [DatasetMetadata(format="delphes", n_higgs=3), DatasetMetadata(format="delphes", analysis="hhh")]
    dumped = [m.model_dump(exclude_unset=True) for m in metadata]
    assert dumped == [{"format": "delphes", "analysis": "hhh"}] * 2
    both = DatasetMetadata(format="delphes", n_higgs=3, analysis="hhh")
    assert both.model_dump(exclude_unset=True) == dumped[0]


def test_an_analysis_of_ones_own_is_sought_beside_the_fileset(tmp_path):
    metadata = {"format": "delphes", "analysis": "mine.py:ANALYSIS"}
    (dataset,) = load_fileset(write(tmp_path, {"A": {"files": ["a.root"], "metadata": metadata}})).values()
    assert dataset.metadata.analysis == f"{tmp_path / 'mine.py'}:ANALYSIS"
    with pytest.raises(FilesetError, match=r"dataset 'A': analysis '.*mine\.py:ANALYSIS': no such file .*mine\.py"):
        load_analyses({"A": dataset})


def test_rate_of_a_dataset(tmp_path):
    """σ·BR·ε·k; the earlier spelling of the cross section is still read."""
    rate = {"cross_section": 2.0, "branching": 0.5, "filter_efficiency": 0.1, "k_factor": 1.5}
    (dataset,) = load_fileset(write(tmp_path, {"A": {"files": ["a.root"], "metadata": {**GOOD, **rate}}})).values()
    assert dataset.metadata.normalisation.rate == pytest.approx(0.15)
    old = {**GOOD, "cross_section_pb": 3}
    (dataset,) = load_fileset(write(tmp_path, {"A": {"files": ["a.root"], "metadata": old}})).values()
    assert dataset.metadata.cross_section == 3.0
    (dataset,) = load_fileset(write(tmp_path, {"A": {"files": ["a.root"], "metadata": GOOD}})).values()
    assert dataset.metadata.normalisation is None


def test_data_are_no_signal(tmp_path):
    metadata = {**GOOD, "is_data": True}
    (dataset,) = load_fileset(write(tmp_path, {"A": {"files": ["a.root"], "metadata": metadata}})).values()
    assert dataset.metadata.is_data
    assert not dataset.metadata.is_signal


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"is_data": True, "is_signal": True}, "is_data and is_signal are both true"),
        ({"is_data": True, "cross_section": 1.0}, "data have no field 'cross_section'"),
        ({"is_data": True, "sum_of_weights": 1.0}, "data have no field 'sum_of_weights'"),
        ({"branching": 0.5}, "field 'branching' scales the cross section: set 'cross_section'"),
        ({"cross_section": 1.0, "cross_section_pb": 1.0}, "field 'cross_section_pb': unknown field"),
        ({"cross_section": 0.0}, "field 'cross_section'"),
        ({"cross_section": 1.0, "filter_efficiency": 1.2}, "field 'filter_efficiency'"),
        ({"cross_section": "2 pb"}, "field 'cross_section'"),
    ],
)
def test_rates_that_make_no_sense(tmp_path, fields, message):
    with pytest.raises(FilesetError, match=message):
        load_fileset(write(tmp_path, {"X": {"files": ["a.root"], "metadata": {**GOOD, **fields}}}))
