"""Terminals and files that know fewer letters than we print."""

import os
import subprocess
import sys

import pytest
from conftest import REPOSITORY


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
