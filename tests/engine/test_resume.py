"""Finished chunks: kept without pickle, found again under the same conditions, never under others."""

import errno
import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict

import hist
import numpy as np
import pytest
from conftest import DEMO, REPOSITORY
from hypothesis import given
from hypothesis import strategies as st

from hhh_coffea.engine import fingerprint, retry
from hhh_coffea.engine import store as resume
from hhh_coffea.engine.chunks import FileInfo, SourceFile, inspect_file
from hhh_coffea.engine.processors import load_processor
from hhh_coffea.engine.storable import UnstorableError, decode, encode, json_default, json_hook
from hhh_coffea.run import main

HHH = {"format": "delphes", "n_higgs": 3}
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
KEYS = st.text() | st.integers() | st.tuples(st.text(), st.integers())
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(KEYS, inner) | st.sets(st.integers() | st.text())
    ),
    max_leaves=10,
)


def stored(value):
    return decode(json.loads(json.dumps(encode(value), default=json_default), object_hook=json_hook))


@given(VALUES)
def test_what_is_stored_comes_back_the_same(value):
    assert stored(value) == value
    assert type(stored(value)) is type(value)


def test_histograms_and_arrays_come_back_bit_for_bit():
    h = hist.Hist(
        hist.axis.StrCategory([], growth=True, name="dataset", label="Dataset"),
        hist.axis.Variable([0, 0.1, 7], name="x"),
        hist.axis.Boolean(name="ok"),
        storage=hist.storage.Weight(),
    )
    random = np.random.default_rng(1)
    for name in ("b", "a"):
        h.fill(dataset=name, x=random.normal(1, 3, 50), ok=random.random(50) < 0.5, weight=random.normal(size=50))
    value = {"h": {"nested": h}, "n": np.float32(0.1), "a": np.arange(6, dtype="<i2").reshape(2, 3)}
    value |= {"nan": float("inf"), "d": defaultdict(int, {"x": 1}), "c": Counter("aab")}
    back = stored(value)
    assert back["h"]["nested"] == h
    assert list(back["h"]["nested"].axes[0]) == ["b", "a"]
    assert back["h"]["nested"].axes[0].label == "Dataset"
    assert back["h"]["nested"].view(flow=True).tobytes() == h.view(flow=True).tobytes()
    assert (back["n"].dtype, back["a"].dtype, back["a"].tolist()) == (np.float32, "<i2", [[0, 1, 2], [3, 4, 5]])
    assert back["d"]["missing"] == 0
    assert (back["c"], back["nan"]) == (value["c"], float("inf"))
    with pytest.raises(UnstorableError, match=r"output\['f'\] is a builtins.function"):
        encode({"f": stored})


def test_the_state_of_a_processor_is_the_same_in_every_process_and_holds_its_models():
    options = {"methods": ("chi2", "chi2+bdt"), "bdt_wp": 0.5}
    here = fingerprint.state_of(load_processor("assignment", options))
    assert here != fingerprint.state_of(load_processor("assignment", {**options, "bdt_wp": 0.6}))
    changed = load_processor("assignment", options)
    weights = changed.options.bdt.weights
    object.__setattr__(changed.options.bdt, "weights", weights[:-1] + bytes([weights[-1] ^ 1]))
    assert here != fingerprint.state_of(changed)
    code = (
        "from hhh_coffea.engine import fingerprint; from hhh_coffea.engine.processors import load_processor; "
        f"print(fingerprint.state_of(load_processor('assignment', {options})))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": str(REPOSITORY)}
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert there.stdout.strip() == here
    with pytest.raises(fingerprint.UnknownStateError, match="generator"):
        fingerprint.state_of({"x": (i for i in range(3))})


def test_files_of_a_processor_are_those_of_the_user(tmp_path, monkeypatch):
    (tmp_path / "my_helper.py").write_text("def helped():\n    return 1\n")
    (tmp_path / "mine.py").write_text(
        "import numpy as np\nfrom coffea.processor import ProcessorABC\nfrom my_helper import helped\n"
        "from hhh_coffea.results import histograms\n\nclass Mine(ProcessorABC):\n"
        "    def process(self, events):\n        return helped()\n    def postprocess(self, a):\n        return a\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    processor = load_processor(str(tmp_path / "mine.py"), {})
    module = sys.modules[type(processor).__module__]
    assert {p.name for p in fingerprint.source_files(module)} == {"mine.py", "my_helper.py"}


@pytest.fixture(scope="module")
def two_files(tmp_path_factory):
    """A fileset of a good file and a missing one."""
    folder = tmp_path_factory.mktemp("files")
    content = {"HHH": {"files": [str(DEMO / "hhh.root"), str(folder / "late.root")], "metadata": HHH}}
    (folder / "fileset.json").write_text(json.dumps(content))
    return folder


def command(fileset, output, *options):
    base = ["--fileset", str(fileset), "--output", str(output), "--no-plots", "--chunksize", "1000"]
    return [*base, "--candidates", "--metrics", "default", *options]


def resumed(output):
    return json.loads((output / "provenance.json").read_text())["resumed_chunks"]


def contents(output):
    """Everything a run gives that must not depend on how it came about."""
    import pyarrow.dataset as ds

    rows = ds.dataset(output / "candidates").to_table().to_pandas().sort_values(["file", "entry", "jet1"])
    names = ("histograms.json", "summary.json", "cutflow.json")
    return [(output / name).read_bytes() for name in names], rows.to_csv(index=False)


def test_killed_and_run_again(two_files, tmp_path, capsys):
    """SIGKILL in the middle, a file that comes late, other options, a damaged chunk: never a wrong byte, never lost work."""
    fileset, output = two_files / "fileset.json", tmp_path / "r"
    (two_files / "late.root").unlink(missing_ok=True)
    run = [sys.executable, "-m", "hhh_coffea.run", *command(fileset, output)]
    process = subprocess.Popen(run, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, stdout=subprocess.DEVNULL)
    chunks = output / ".resume" / "chunks"
    while len(list(chunks.glob("*/*.gz"))) < 2:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = sorted(chunks.glob("*/*.gz"))
    assert 2 <= len(finished) < 5
    assert not (output / "provenance.json").exists()
    finished[0].write_bytes(finished[0].read_bytes()[:-20])

    assert main(command(fileset, output)) == 3  # late.root is missing
    assert resumed(output) == len(finished) - 1
    content = (DEMO / "hhh.root").read_bytes()
    (two_files / "late.root").write_bytes(content)
    assert main(command(fileset, output)) == 0
    assert resumed(output) == 5
    assert not (output / ".resume").exists()

    assert main(command(fileset, tmp_path / "straight", "--no-resume")) == 0
    assert contents(output) == contents(tmp_path / "straight")
    capsys.readouterr()


@pytest.mark.parametrize(
    ("option", "named"), [(("--chi2-mass", "120"), "option chi2_mass"), (("--btagging", "csv"), "btag")]
)
def test_other_options_take_nothing(two_files, tmp_path, option, named, capsys):
    (two_files / "late.root").unlink(missing_ok=True)
    fileset, output = two_files / "fileset.json", tmp_path / "r"
    assert main(command(fileset, output, "--chunksize", "5000")) == 3
    assert main(command(fileset, output, "--chunksize", "5000", *option)) == 3
    assert resumed(output) == 0
    printed = capsys.readouterr().out
    assert "1 chunk of an earlier run cannot be reused" in printed
    assert named in printed


def test_changed_metadata_takes_nothing(two_files, tmp_path):
    (two_files / "late.root").unlink(missing_ok=True)
    fileset, output = two_files / "fileset.json", tmp_path / "r"
    assert main(command(fileset, output, "--chunksize", "5000")) == 3
    content = json.loads(fileset.read_text())
    content["HHH"]["metadata"]["selection"] = {"jet_pt_min": 30.0}
    (tmp_path / "other.json").write_text(json.dumps(content))
    assert main(command(tmp_path / "other.json", output, "--chunksize", "5000")) == 3
    assert resumed(output) == 0
    assert main(command(tmp_path / "other.json", output, "--chunksize", "5000")) == 3
    assert resumed(output) == 1
    assert (
        main(command(tmp_path / "other.json", output, "--chunksize", "2500")) == 3
    )  # other chunks, no candidate twice
    assert resumed(output) == 0
    stems = {p.name.rsplit("-", 1)[0][-25:] for p in (output / "candidates").iterdir()}
    assert stems == {"000000000000-000000002500", "000000002500-000000005000"}


def test_candidates_of_other_options_stay_away_from_a_run_cut_short_before_its_first_chunk(two_files, tmp_path):
    """Results of two methods; then one of them with other options, killed at its start, and run again."""
    (two_files / "late.root").unlink(missing_ok=True)
    fileset, output = two_files / "fileset.json", tmp_path / "r"
    assert main(command(fileset, output, "--methods", "chi2,chi2_as_published")) == 3
    assert {p.stem.split("-")[-1] for p in (output / "candidates").iterdir()} == {"chi2", "chi2_as_published"}
    killed = (
        "from hhh_coffea import run; from hhh_coffea.engine import chunks; import os; "
        "chunks.process = lambda *_: os._exit(9); run.main()"
    )
    own = [*command(fileset, output), "--chi2-mass", "120", "--executor", "iterative"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    assert subprocess.run([sys.executable, "-c", killed, *own], env=environment, check=False).returncode == 9
    assert not resume.holds_chunks(output)
    assert main(own) == 3
    assert {p.stem.split("-")[-1] for p in (output / "candidates").iterdir()} == {"chi2"}


ODD = """
from coffea.processor import ProcessorABC

class Odd(ProcessorABC):
    def process(self, events):
        return {"n": len(events), "odd": OddSum()}
    def postprocess(self, accumulator):
        return {"n": accumulator["n"]}

class OddSum:
    def __add__(self, other):
        return self
    def identity(self):
        return OddSum()
"""


def test_what_cannot_be_kept_is_said(tmp_path, capsys):
    (tmp_path / "odd.py").write_text(ODD)
    base = ["--fileset", "demo", "--datasets", "HHH", "--processor", str(tmp_path / "odd.py"), "--no-plots"]
    assert main([*base, "--output", str(tmp_path / "r")]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "1 finished chunk could not be kept" in printed
    assert "output['odd'] is a hhh_user_odd" in printed


def test_a_full_disk_leaves_earlier_results_whole(tmp_path, monkeypatch, capsys):
    """And costs no computing time: the next run finds every chunk finished."""
    from hhh_coffea.results import directory as results

    base = ["--fileset", "demo", "--datasets", "HHH", "--output", str(tmp_path / "r"), "--no-plots"]
    assert main([*base, "--metrics", "default"]) == 0
    before = {p.name: p.read_bytes() for p in (tmp_path / "r").iterdir()}

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    real = results.os.fsync
    monkeypatch.setattr(results, "_write_partial", lambda path, content: full(0) if "summary" in path.name else path)
    assert main(base) == 4
    monkeypatch.undo()
    assert real is os.fsync
    assert "No space left on device" in capsys.readouterr().out
    assert before == {p.name: p.read_bytes() for p in (tmp_path / "r").iterdir() if p.is_file()}
    assert main(base) == 0
    assert resumed(tmp_path / "r") == 1


def test_no_room_for_candidates_ends_the_run_and_leaves_earlier_results_whole(tmp_path):
    """Files limited in size by the system, as by a quota: no chunk is set aside for what is no fault of its file."""
    output = tmp_path / "r"
    base = ["--fileset", "demo", "--datasets", "HHH", "--no-plots", "--chunksize", "2500", "--executor", "iterative"]
    base += ["--output", str(output), "--metrics", "default", "--candidates"]
    assert main(base) == 0
    before = {p: p.read_bytes() for p in output.rglob("*") if p.is_file()}
    largest = max(p.stat().st_size for p in (output / "candidates").iterdir())
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({largest // 2},) * 2); "
    code = limit + "import sys; from hhh_coffea.run import main; sys.exit(main())"
    run = [sys.executable, "-c", code, *base]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    limited = subprocess.run(run, env=environment, check=False, capture_output=True, text=True)
    assert limited.returncode == 4
    assert "File too large" in limited.stdout
    assert before == {p: p.read_bytes() for p in output.rglob("*") if p.is_file()}


def test_known_files_are_not_opened_again(tmp_path):
    path = tmp_path / "a.root"
    path.write_bytes((DEMO / "hhh.root").read_bytes())
    source = SourceFile("HHH", str(path), "Delphes", ("Event/Event.Weight",))
    found = inspect_file(source)
    assert isinstance(found, FileInfo)
    known = resume.KnownFiles(tmp_path)
    (tmp_path / resume.FOLDER).mkdir()
    known.keep([found])
    assert resume.KnownFiles(tmp_path).get(source) == found
    other_branches = SourceFile("HHH", str(path), "Delphes", ("Jet/Jet.PT",))
    assert resume.KnownFiles(tmp_path).get(other_branches) is None
    os.utime(path, ns=(0, 0))
    assert resume.KnownFiles(tmp_path).get(source) is None


def test_a_file_that_is_exchanged_after_planning_is_not_read(tmp_path):
    from hhh_coffea.engine.chunks import Job, plan_chunks, run_chunk
    from hhh_coffea.engine.processors import ProcessorSource

    path = tmp_path / "a.root"
    path.write_bytes((DEMO / "hhh.root").read_bytes())
    chunk = plan_chunks([inspect_file(SourceFile("HHH", str(path), "Delphes"))]).chunks[0]
    path.write_bytes((DEMO / "qcd.root").read_bytes())
    lost = run_chunk(Job(ProcessorSource.of(load_processor("assignment", {})), {"HHH": HHH}), chunk)
    assert "the file has changed since the run was planned (it has another uuid)" in lost.failures[0].reason


def test_what_is_tried_again(monkeypatch):
    monkeypatch.setattr(retry, "BACKOFF_SECONDS", 0.001)

    def failing(*errors):
        calls = iter(errors)
        count = []

        def function():
            count.append(1)
            error = next(calls, None)
            if error is not None:
                raise error
            return len(count)

        return function

    assert retry.with_retries(failing(OSError("a"), ConnectionResetError("b"))) == 3
    for error in (FileNotFoundError("x"), OSError(errno.ENOSPC, "full"), ValueError("bug")):
        with pytest.raises(type(error)):
            retry.with_retries(failing(error))
    with pytest.raises(OSError, match="third"):
        retry.with_retries(failing(OSError("first"), OSError("second"), OSError("third")))


def test_what_hangs_is_left_behind(monkeypatch):
    monkeypatch.setattr(retry, "BACKOFF_SECONDS", 0.001)
    tries = []

    def hang():
        tries.append(time.sleep(1.0))

    begin = time.monotonic()
    with pytest.raises(retry.ChunkTimeoutError, match=r"not done after 0.1 s .--chunk-timeout"):
        retry.with_retries(hang, timeout=0.1)
    assert time.monotonic() - begin < 0.9
    assert retry.stuck_threads() == retry.TIMEOUTS
    assert retry.within(lambda: 5, 1.0) == 5
    with pytest.raises(KeyError):
        retry.within(lambda: {}["x"], 1.0)


def test_kept_chunks_are_text(two_files, tmp_path):
    (two_files / "late.root").unlink(missing_ok=True)
    assert main(command(two_files / "fileset.json", tmp_path / "r", "--chunksize", "5000")) == 3
    (file,) = (tmp_path / "r" / ".resume" / "chunks").glob("*/*.json.gz")
    entry = json.loads(gzip.decompress(file.read_bytes()))
    assert entry["events"] == 5000
    (name, size), *_ = entry["written"]
    assert (tmp_path / "r" / name).stat().st_size == size
