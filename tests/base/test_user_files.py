"""Mistakes in the files and paths of users: one line that names the place, never a traceback or a silent choice."""

import gzip
import json

import pytest
import yaml

from hhh_coffea.base.errors import UserError
from hhh_coffea.base.user_files import expanded, load_yaml
from hhh_coffea.config import ConfigError, make_config
from hhh_coffea.datasets.fileset import FilesetError, load_fileset

METADATA = {"format": "delphes", "n_higgs": 3}


def test_damaged_and_deep_filesets(tmp_path):
    content = json.dumps({"A": {"files": [f"{n}.root" for n in range(999)], "metadata": METADATA}}).encode()
    packed = bytearray(gzip.compress(content))
    packed[40:60] = b"\xff" * 20
    (tmp_path / "a.json.gz").write_bytes(packed)
    with pytest.raises(FilesetError, match=r"a\.json\.gz: cannot be read as a fileset"):
        load_fileset(tmp_path / "a.json.gz")
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with pytest.raises(FilesetError, match=r"deep\.json: cannot be read as a fileset: nested too deeply"):
        load_fileset(tmp_path / "deep.json")


@pytest.mark.parametrize("path", ["~nosuchuser/x.root", "a\0b.root"])
def test_odd_paths(tmp_path, path):
    with pytest.raises(UserError, match=r"no such user|no path has a NUL"):
        expanded(path)
    (tmp_path / "a.json").write_text(json.dumps({"A": {"files": [path], "metadata": METADATA}}))
    with pytest.raises(FilesetError, match=r"dataset 'A': .*(no such user|no path has a NUL)"):
        load_fileset(tmp_path / "a.json")
    with pytest.raises(UserError, match=r"no such user|no path has a NUL"):
        load_fileset(path)


def test_yaml_is_strict(tmp_path):
    assert load_yaml("base: &b {x: 1}\nmore: {<<: *b, y: 2}") == {"base": {"x": 1}, "more": {"x": 1, "y": 2}}
    with pytest.raises(yaml.YAMLError, match="'x' is listed twice"):
        load_yaml("a: {x: 1, y: 2, x: 3}")
    with pytest.raises(yaml.YAMLError, match="nested too deeply"):
        load_yaml("[" * 5000)
    path = tmp_path / "run.yaml"
    for text, message in (
        ("fileset: a\nfileset: b", r"run.yaml: cannot be read as YAML: 'fileset' is listed twice \(line 2, column 1\)"),
        ("fileset: a\nchi2-jets: 6\nchi2_jets: 8", "run.yaml: option 'chi2-jets' is listed twice, with - and with _"),
    ):
        path.write_text(text)
        with pytest.raises(ConfigError, match=message):
            make_config({}, str(path))
