"""Terminals and files that know fewer letters than we print."""

import json
import os
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
from conftest import DEMO, REPOSITORY


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_what_a_terminal_cannot_show_is_replaced(tmp_path, encoding):
    command = [
        sys.executable,
        "-m",
        "hhh_coffea.run",
        "--fileset",
        "demo",
        "--datasets",
        "HHH",
        "--no-plots",
        "--metrics",
        "default",
    ]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONIOENCODING": encoding}
    done = subprocess.run(
        [*command, "--output", str(tmp_path / "r")], env=environment, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    "locale", [{"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"LC_ALL": "C.UTF-8"}]
)
def test_names_of_files_need_not_be_utf_8(tmp_path, locale):
    """In a locale without any letters but ASCII's, and where a file was named elsewhere: chunks, report, candidates."""
    folder = tmp_path / "ü"
    folder.mkdir()
    (folder / os.fsdecode(b"h\xff.root")).write_bytes((DEMO / "hhh.root").read_bytes())
    content = {"HHH": {"files": ["*.root"], "metadata": {"format": "delphes", "n_higgs": 3, "label": "HHH → 6b"}}}
    (folder / "f.json").write_text(json.dumps(content))
    command = [sys.executable, "-m", "hhh_coffea.run", "--fileset", folder / "f.json", "--output", folder / "r"]
    command += ["--candidates", "--no-plots", "--metrics", "default", "--chunksize", "500", "--max-chunks", "2"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), **locale}
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    provenance = json.loads((folder / "r" / "provenance.json").read_text())
    assert provenance["ledger"]["chunks"]["processed"] == 2
    assert len(list((folder / "r" / "candidates").iterdir())) == 2
    assert "ü" in pq.read_table(next((folder / "r" / "candidates").iterdir()))["file"][0].as_py()
    assert "h\ufffd.root" in pq.read_table(next((folder / "r" / "candidates").iterdir()))["file"][0].as_py()
