"""What a result depends on: kept chunks and open files are used again only while all of it is the same."""

import json
import os
import subprocess
import sys

import pytest
from conftest import DEMO, REPOSITORY
from correction_files import write_btag_corrections

from hhh_coffea.datasets.fileset import load_fileset
from hhh_coffea.engine import fingerprint
from hhh_coffea.engine.chunks import Job, SourceFile, inspect_file, plan_chunks, run_chunk
from hhh_coffea.engine.processors import ProcessorSource, load_processor
from hhh_coffea.run import main


def run(fileset, output, *options, code=3):
    base = ["--fileset", str(fileset), "--output", str(output), "--no-plots", "--metrics", "default"]
    assert main([*base, *options]) == code
    cutflow = json.loads((output / "cutflow.json").read_text())["datasets"]
    rows = {name: entry["cuts"] for name, entry in cutflow.items()}
    return rows, json.loads((output / "provenance.json").read_text())["resumed_chunks"]


@pytest.fixture
def golden(relaid, tmp_path):
    """A fileset of data with a golden JSON, and of a missing file, for which chunks are kept."""
    (tmp_path / "golden.json").write_text(json.dumps({"370000": [[1, 3]]}))
    metadata = {"format": "nanoaod", "n_higgs": 3, "is_signal": False, "nanoaod": {"golden_json": "golden.json"}}
    content = {"A": {"files": [str(relaid["data"]), "missing.root"], "metadata": metadata}}
    (tmp_path / "fileset.json").write_text(json.dumps(content))
    return tmp_path


@pytest.mark.parametrize("option", [(), ("--no-resume",)])
def test_an_auxiliary_file_that_changed_is_read_again(golden, option):
    """A run that goes on, and a run of its own in a process that has the file open; sections have 100 events."""
    rows, _ = run(golden / "fileset.json", golden / "r")
    assert rows["A"][2]["cut"] == "golden JSON"
    assert rows["A"][2]["events"] == 300
    assert run(golden / "fileset.json", golden / "r", *option) == (rows, 0 if option else 1)
    (golden / "golden.json").write_text(json.dumps({"370000": [[1, 4]]}))
    rows, resumed = run(golden / "fileset.json", golden / "r", *option)
    assert (rows["A"][2]["events"], resumed) == (400, 0)


def test_scale_factors_that_changed_are_read_again(relaid, tmp_path):
    path = write_btag_corrections(tmp_path / "btag.json")
    names = {"heavy": "heavy", "light": "light", "efficiency": "efficiency"}
    section = {"corrections": {"btag": {"file": "btag.json", "efficiency_file": "btag.json", **names}}}
    metadata = {"format": "nanoaod", "n_higgs": 3, "nanoaod": section}
    content = {"A": {"files": [str(relaid[12]), "missing.root"], "metadata": metadata}}
    (tmp_path / "fileset.json").write_text(json.dumps(content))
    before, _ = run(tmp_path / "fileset.json", tmp_path / "r")
    path.write_text(path.read_text().replace("0.95", "0.85"))
    after, resumed = run(tmp_path / "fileset.json", tmp_path / "r")
    assert resumed == 0
    assert after["A"][-1]["cut"] == "weight: b tag"
    assert abs(after["A"][-1]["weighted"] / before["A"][-1]["weighted"] - 1) > 0.01


def test_an_auxiliary_file_that_changes_during_a_run_is_a_failure_with_its_name(golden, relaid):
    datasets = load_fileset(golden / "fileset.json")
    job = Job.of(ProcessorSource.of(load_processor("assignment", {})), datasets)
    chunk = plan_chunks([inspect_file(SourceFile("A", str(relaid["data"]), "Events"))]).chunks[0]
    assert not run_chunk(job, chunk).failures
    (golden / "golden.json").write_text(json.dumps({"370000": [[1, 4]]}))
    assert "golden.json has changed since the run was planned" in run_chunk(job, chunk).failures[0].reason
    (golden / "golden.json").unlink()
    assert "golden.json cannot be read on this worker: No such file" in run_chunk(job, chunk).failures[0].reason


def test_a_file_that_is_updated_in_place_is_read_again(tmp_path):
    """It keeps its uuid; here even its size."""
    (tmp_path / "a.root").write_bytes((DEMO / "hhh.root").read_bytes())
    content = {"A": {"files": ["a.root", "missing.root"], "metadata": {"format": "delphes", "n_higgs": 3}}}
    (tmp_path / "fileset.json").write_text(json.dumps(content))
    assert run(tmp_path / "fileset.json", tmp_path / "r")[1] == 0
    assert run(tmp_path / "fileset.json", tmp_path / "r")[1] == 1
    os.utime(tmp_path / "a.root", ns=(0, 0))
    assert run(tmp_path / "fileset.json", tmp_path / "r")[1] == 0


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"jet": {"pt": 30, "eta": 1}}, {"jet": {"pt": 30}, "eta": 1}),
        ([[1], 2], [[1, 2]]),
        ([(), 1], [(1,)]),
        (lambda x: x > 30, lambda x: x > 40),
        (lambda x: x.pt, lambda x: x.eta),
        (lambda x: [y > 30 for y in x], lambda x: [y > 40 for y in x]),
        ([b"a", b"bc"], [b"ab", b"c"]),
    ],
)
def test_contents_that_differ_have_different_sums(one, other):
    assert fingerprint.state_of(one) != fingerprint.state_of(other)


def test_files_of_a_processor_are_all_that_it_imports(tmp_path, monkeypatch):
    """A constant, a module that only a function imports, and a package."""
    (tmp_path / "only_cuts.py").write_text("from only_numbers import PT\nCUT = PT + 1\n")
    (tmp_path / "only_numbers.py").write_text("PT = 30\n")
    (tmp_path / "only_late.py").write_text("ETA = 1\n")
    (tmp_path / "only_package").mkdir()
    (tmp_path / "only_package" / "__init__.py").write_text("from .inner import X\n")
    (tmp_path / "only_package" / "inner.py").write_text("X = 1\n")
    (tmp_path / "mine_too.py").write_text(
        "import numpy as np, only_package\nfrom coffea.processor import ProcessorABC\nfrom only_cuts import CUT\n"
        "class Mine(ProcessorABC):\n    def process(self, events):\n        from only_late import ETA\n"
        "        return {'n': CUT + ETA}\n    def postprocess(self, a):\n        return a\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    processor = load_processor(str(tmp_path / "mine_too.py"), {})
    found = fingerprint.source_files(sys.modules[type(processor).__module__])
    names = {"mine_too.py", "only_cuts.py", "only_numbers.py", "only_late.py", "__init__.py", "inner.py"}
    assert {file.name for file in found} == names
    assert "only_late" not in sys.modules


def test_the_state_holds_the_code_of_classes_and_functions_in_it(tmp_path):
    """As that of a method or an analysis of the user's own, with a module that only it imports."""
    (tmp_path / "held_helper.py").write_text("CUT = 30\n")
    (tmp_path / "held.py").write_text(
        "from held_helper import CUT\nclass Held:\n    x = 1\ndef cut(x):\n    return x > CUT\n"
    )
    code = "from hhh_coffea.engine.fingerprint import state_of as s; import held; "
    code += "print(s([held.Held()]), s(held.Held), s([held.cut]))"
    environment = {**os.environ, "PYTHONPATH": f"{REPOSITORY}:{tmp_path}"}

    def state():
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        return done.stdout.split()

    before = state()
    assert state() == before
    (tmp_path / "held_helper.py").write_text("CUT = 40\n")
    assert all(one != other for one, other in zip(before, state(), strict=True))


@pytest.mark.parametrize("text", ["[[1]]", '{"a": 1}', "[" * 100_000, "\xff"])
def test_a_damaged_description_of_what_is_kept_counts_as_not_there(tmp_path, text):
    """The list of opened files, and what the kept chunks depend on."""
    (tmp_path / "fileset.json").write_text(
        json.dumps(
            {
                "A": {
                    "files": [str(DEMO / "hhh.root"), "missing.root"],
                    "metadata": {"format": "delphes", "n_higgs": 3},
                }
            }
        )
    )
    rows, _ = run(tmp_path / "fileset.json", tmp_path / "r")
    for name, resumed in (("files.json", 1), ("run.json", 0)):
        (tmp_path / "r" / ".resume" / name).write_text(text, encoding="latin-1")
        assert run(tmp_path / "fileset.json", tmp_path / "r") == (rows, resumed)


def test_entries_of_another_kind_are_opened_again(tmp_path):
    from hhh_coffea.engine.store import FOLDER, KnownFiles

    known, source = KnownFiles(tmp_path), SourceFile("A", str(DEMO / "hhh.root"), "Delphes")
    (tmp_path / FOLDER).mkdir()
    known.keep([inspect_file(source)])
    path = tmp_path / FOLDER / "files.json"
    ((key, entry),) = json.loads(path.read_text()).items()
    assert KnownFiles(tmp_path).get(source) == inspect_file(source)
    for damaged in ([1, *entry[1:]], [entry[0], "x", *entry[2:]], [*entry[:2], "x", *entry[3:]], {"a": 1}, None):
        path.write_text(json.dumps({key: damaged}))
        assert KnownFiles(tmp_path).get(source) is None


def test_an_analysis_that_changed_is_read_again(tmp_path):
    """A constant of its module, which its functions find by name."""
    text = (REPOSITORY / "docs" / "examples" / "hadronic_tops.py").read_text()
    text = text.replace("radius=0.4", "radius=RADIUS").replace("TOPOLOGY = ", "RADIUS = 0.4\nTOPOLOGY = ")
    (tmp_path / "mine.py").write_text(text)
    metadata = {"format": "nanoaod", "analysis": "mine.py:ANALYSIS"}
    files = [str(DEMO / "tt_nanoaod.root"), "missing.root"]
    (tmp_path / "fileset.json").write_text(json.dumps({"tt": {"files": files, "metadata": metadata}}))
    command = [sys.executable, "-m", "hhh_coffea.run", "--fileset", str(tmp_path / "fileset.json"), "--no-plots"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}

    def found(output):
        done = subprocess.run([*command, "--output", str(output)], env=environment, capture_output=True, check=False)
        assert done.returncode == 3, done.stderr
        provenance = json.loads((output / "provenance.json").read_text())
        return (output / "histograms.json").read_bytes(), provenance["resumed_chunks"]

    before, resumed = found(tmp_path / "r")
    assert (found(tmp_path / "r"), resumed) == ((before, 1), 0)
    (tmp_path / "mine.py").write_text(text.replace("RADIUS = 0.4", "RADIUS = 0.1"))
    after, resumed = found(tmp_path / "r")
    assert resumed == 0
    assert after == found(tmp_path / "alone")[0] != before
