"""Which files are opened before a run, and what happens where a fileset states something wrong."""

import json

import pytest
import uproot
from conftest import DEMO
from rich.console import Console

from hhh_coffea.config import make_config
from hhh_coffea.datasets.fileset import load_fileset
from hhh_coffea.engine.executors import IterativeExecutor
from hhh_coffea.engine.processors import ProcessorSource, load_processor
from hhh_coffea.engine.store import FOLDER, KnownFiles
from hhh_coffea.jobs.planning import make_plan
from hhh_coffea.run import main


class Recorder(IterativeExecutor):
    """Notes the names of the files that are opened."""

    def __init__(self):
        self.opened = []

    def map(self, function, items):
        self.opened += [item.path.rsplit("/", 1)[-1] for item in items]
        return super().map(function, items)


@pytest.fixture
def fileset(tmp_path):
    """Two files of which uuid and events are stated, and one of which nothing is; the stated ones are ``a`` and ``b``."""
    specs = {}
    for name in ("a.root", "b.root", "c.root"):
        (tmp_path / name).write_bytes((DEMO / "hhh.root").read_bytes())
        with uproot.open(tmp_path / name) as file:
            spec = {"object_path": "Delphes", "num_entries": file["Delphes"].num_entries, "uuid": str(file.file.uuid)}
        specs[name] = spec if name != "c.root" else "Delphes"

    def write(change=None, leave_out=(), **metadata):
        files = {name: spec for name, spec in specs.items() if name not in leave_out}
        if change:
            files["a.root"] = {**files["a.root"], **change}
        content = {"HHH": {"files": files, "metadata": {"format": "delphes", "n_higgs": 3, **metadata}}}
        (tmp_path / "fileset.json").write_text(json.dumps(content))
        return tmp_path / "fileset.json"

    return write


def planned(path, known=None, **options):
    where = Recorder()
    config = make_config({"fileset": str(path), **options})
    source = ProcessorSource.of(load_processor("assignment", {}))
    plan = make_plan(config, load_fileset(path), source, where, Console(quiet=True), known)
    return plan, where.opened


def test_files_of_which_enough_is_stated_are_not_opened(fileset, tmp_path):
    """Without a chunk size the size of events is taken from another file of the dataset: from one of them if need be."""
    plan, opened = planned(fileset(), chunksize=1000)
    assert opened == ["c.root"]
    content = {"HHH": {"files": ["?.root"], "metadata": {"format": "delphes", "n_higgs": 3}}}
    (tmp_path / "unstated.json").write_text(json.dumps(content))
    assert planned(tmp_path / "unstated.json", chunksize=1000)[0].chunks == plan.chunks
    assert (len(plan.chunks), plan.events) == (15, 15000)
    assert planned(fileset(leave_out=["c.root"]), chunksize=1000)[1] == []
    plan, opened = planned(fileset())
    assert opened == ["c.root"]
    assert len({info.bytes_per_event for info in plan.files}) == 1
    assert plan.files[0].bytes_per_event > 0
    assert planned(fileset(leave_out=["c.root"]))[1] == ["a.root"]
    (tmp_path / "c.root").unlink()
    plan, opened = planned(fileset())
    assert opened == ["c.root", "a.root", "b.root"]
    assert (len(plan.files), len(plan.failures)) == (2, 1)


def test_what_a_fileset_states_is_not_remembered_as_seen(fileset, tmp_path):
    (tmp_path / FOLDER).mkdir()
    planned(fileset(), known=KnownFiles(tmp_path), chunksize=1000)
    _, opened = planned(fileset({"uuid": None}), known=KnownFiles(tmp_path), chunksize=1000)
    assert opened == ["a.root"]


@pytest.mark.parametrize("wrong", [{"num_entries": 4000}, {"num_entries": 6000}, {"uuid": "another"}])
def test_a_fileset_that_is_wrong_about_a_file_loses_it_by_name(fileset, tmp_path, wrong):
    """Never a part of its events without a word."""
    base = ["--output", str(tmp_path / "r"), "--no-plots", "--chunksize", "2500", "--executor", "iterative"]
    assert main(["--fileset", str(fileset(wrong, ["b.root"])), *base, "--metrics", "default"]) == 3
    provenance = json.loads((tmp_path / "r" / "provenance.json").read_text())
    assert {f["file"].rsplit("/", 1)[-1] for f in provenance["failures"]} == {"a.root"}
    assert provenance["ledger"]["events"]["processed"] == 5000
