"""Chunks, merging, executors and faults: the same bytes however a run is cut up, and nothing lost without a word."""

import json
import os
import signal
import threading
import time

import pyarrow.dataset as ds
import pytest
from coffea.nanoevents import DelphesSchema
from coffea.processor import IterativeExecutor as CoffeaIterative
from coffea.processor import Runner
from conftest import DEMO, REPOSITORY
from hypothesis import given
from hypothesis import strategies as st

from hhh_coffea.engine.chunks import (
    Failure,
    FileInfo,
    Job,
    Partial,
    SourceFile,
    inspect_file,
    plan_chunks,
    run_chunk,
)
from hhh_coffea.engine.executors import make_executor
from hhh_coffea.engine.merging import MergeTree, merge
from hhh_coffea.engine.processors import ProcessorSource, load_processor
from hhh_coffea.results.directory import histogram_file
from hhh_coffea.run import main

HHH = {"format": "delphes", "n_higgs": 3}


def info(entries, path="f.root", dataset="A", uuid="u", bytes_per_event=100.0):
    return FileInfo(SourceFile(dataset, path, "Delphes"), uuid, entries, bytes_per_event)


@given(st.lists(st.integers(0, 50), max_size=6), st.integers(1, 20))
def test_chunks_cover_every_event_once(entries, chunksize):
    files = [info(n, f"{i}.root", uuid=str(i)) for i, n in enumerate(entries)]
    plan = plan_chunks(files, chunksize)
    assert plan.events == sum(entries)
    for i, n in enumerate(entries):
        ranges = [(c.start, c.stop) for c in plan.chunks if c.path == f"{i}.root"]
        assert [e for a, b in ranges for e in range(a, b)] == list(range(n))
        assert all(0 < b - a <= chunksize for a, b in ranges)


def test_default_chunks_shrink_for_large_events():
    assert len(plan_chunks([info(1000)]).chunks) == 1
    assert len(plan_chunks([info(1000, bytes_per_event=2.0**20)]).chunks) == 4  # 256 events of 1 MiB at a time
    assert len(plan_chunks([info(1000, bytes_per_event=2.0**20)], chunksize=1000).chunks) == 1  # the user decides


def test_max_chunks_counts_per_dataset_and_twins_are_reported():
    plan = plan_chunks([info(10), info(10, "copy.root"), info(10, "g.root", "B", "v")], 2, max_chunks=3)
    assert [c.dataset for c in plan.chunks] == ["A"] * 3 + ["B"] * 3
    assert "copy.root has the content of f.root (same" in plan.warnings[0]
    plan = plan_chunks([info(10), info(10, "copy.root", "B")])
    assert "copy.root has the content of f.root in dataset 'A'" in plan.warnings[0]


@given(st.integers(1, 200), st.randoms(use_true_random=False))
def test_merge_tree_depends_on_positions_only(total, random):
    """Floating-point sums in the order of the tree, whatever the order of arrival."""

    def merged(order):
        tree = MergeTree(total, lambda parts: [sum(p[0] for p in parts), sum(p[1] for p in parts)])
        for position in order:
            tree.add(position, [0.1 * position, 1])
        return tree.result

    order = list(range(total))
    first = merged(order)
    random.shuffle(order)
    assert merged(order) == first
    assert first[1] == total


def test_merge_does_not_touch_its_parts():
    parts = [
        Partial({"n": {"a": 1}}, 1, 5),
        Partial({"n": {"a": 2, "b": 1}}, 1, 6),
        Partial(None, failures=[Failure("A", "f", "r", 0, 4)]),
    ]
    total = merge(parts)
    assert (total.output, total.chunks, total.events, len(total.failures)) == ({"n": {"a": 3, "b": 1}}, 2, 11, 1)
    assert parts[0].output == {"n": {"a": 1}}


def run(tmp_path, name, *options, fileset="demo"):
    output = tmp_path / name
    code = main(["--fileset", str(fileset), "--output", str(output), "--no-plots", "--candidates", *options])
    rows = ds.dataset(output / "candidates").to_table().to_pandas()
    order = ["dataset", "file", "entry", "method", "jet1", "jet2", "fatjet"]
    for column in ("dataset", "file", "method", "kind"):
        rows[column] = rows[column].astype(str)
    return code, (output / "histograms.json").read_bytes(), rows.sort_values(order, ignore_index=True)


@pytest.mark.slow
def test_same_bytes_whatever_the_executor_and_chunk_size(tmp_path):
    """Iterative, futures and dask (2 workers); 1,200, 3,333 and one chunk a file."""
    code, histograms, rows = run(tmp_path, "whole", "--chunksize", "1000000")
    assert code == 0
    assert len(rows) == 3 * (4225 + 2176) + 2 * 3583
    for kind in ("iterative", "futures", "dask"):
        workers = () if kind == "iterative" else ("--workers", "2")
        for chunksize in ("1200", "3333"):
            code, other, other_rows = run(
                tmp_path, kind + chunksize, "--executor", kind, *workers, "--chunksize", chunksize
            )
            assert code == 0
            assert other == histograms
            assert other_rows.equals(rows)
            ledger = json.loads((tmp_path / (kind + chunksize) / "provenance.json").read_text())["ledger"]
            assert ledger["chunks"]["processed"] == ledger["chunks"]["planned"] > 3
            assert ledger["events"] == {"planned": 14000, "processed": 14000, "failed": 0}


@pytest.fixture
def bad_files(tmp_path, write_fileset):
    """One good file and one of each kind of bad file."""
    whole = (DEMO / "hhh.root").read_bytes()
    data = REPOSITORY / "tests" / "data"
    files = {
        "good": DEMO / "hhh.root",
        "truncated": tmp_path / "truncated.root",
        "missing": tmp_path / "missing.root",
        "empty": tmp_path / "empty.root",
        "text": tmp_path / "text.root",
        "no_tree": tmp_path / "no_tree.root",
        "no_fatjet": data / "no_fatjet.root",
        "no_events": data / "no_events.root",
    }
    files["truncated"].write_bytes(whole[: len(whole) * 6 // 10])
    files["empty"].touch()
    files["text"].write_text("this is no ROOT file\n" * 20)
    import uproot

    with uproot.recreate(files["no_tree"]) as file:
        file.mktree("Other", {"x": "float32"}).extend({"x": [1.0, 2.0]})
    return files, write_fileset(HHH=(list(files.values()), HHH))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["iterative", "futures", "dask"])
def test_bad_files_are_set_aside_by_name(tmp_path, bad_files, kind, capsys):
    files, fileset = bad_files
    workers = () if kind == "iterative" else ("--workers", "2")
    code, _, rows = run(tmp_path, "results", "--chunksize", "1000", "--executor", kind, *workers, fileset=fileset)
    assert code == 3
    assert len(rows) == 3 * 4225
    provenance = json.loads((tmp_path / "results" / "provenance.json").read_text())
    reasons = {f["file"]: f["reason"] for f in provenance["failures"]}
    assert set(reasons) == {str(files[k]) for k in ("truncated", "missing", "empty", "text", "no_tree", "no_fatjet")}
    assert reasons[str(files["missing"])] == "file not found: correct its path, or take it out of the fileset"
    again = ": copy it again from its source, or take it out of the fileset"
    assert reasons[str(files["empty"])] == f"the file is empty (0 bytes){again}"
    assert reasons[str(files["truncated"])] == f"the file is truncated or damaged{again}"
    assert reasons[str(files["text"])] == "not a ROOT file: correct its path, or take it out of the fileset"
    assert "no tree 'Delphes'; the file has Other" in reasons[str(files["no_tree"])]
    assert "no collection 'FatJet'" in reasons[str(files["no_fatjet"])]
    assert any(str(files["no_events"]) in warning for warning in provenance["warnings"])
    assert provenance["ledger"] == {
        "files": {"planned": 8, "readable": 3, "failed": 5},
        "chunks": {"planned": 6, "processed": 5, "failed": 1},
        "events": {"planned": 5020, "processed": 5000, "failed": 20},
    }
    printed = capsys.readouterr().out
    for path, reason in reasons.items():
        assert path in printed
        assert reason in printed


@pytest.mark.parametrize("damage", [b"\x00", b"\xff"])
def test_a_file_damaged_in_the_middle(tmp_path, write_fileset, damage):
    """It opens and counts its events, but some of them cannot be read: that range is named, the rest is there."""
    content = bytearray((DEMO / "hhh.root").read_bytes())
    middle = len(content) // 2
    content[middle : middle + 20_000] = damage * 20_000
    (tmp_path / "damaged.root").write_bytes(content)
    path = write_fileset(HHH=([str(tmp_path / "damaged.root"), str(DEMO / "hhh.root")], HHH))
    assert main(["--fileset", str(path), "--output", str(tmp_path / "r"), "--no-plots", "--chunksize", "5000"]) == 3
    provenance = json.loads((tmp_path / "r" / "provenance.json").read_text())
    assert provenance["ledger"]["events"] == {"planned": 10000, "processed": 5000, "failed": 5000}
    assert [(f["start"], f["stop"]) for f in provenance["failures"]] == [(0, 5000)]


def test_nothing_readable_and_stop(tmp_path, write_fileset, capsys):
    fileset = write_fileset(HHH=([str(tmp_path / "gone.root")], HHH))
    assert main(["--fileset", str(fileset), "--output", str(tmp_path / "a"), "--no-plots"]) == 1
    mixed = write_fileset(HHH=([str(DEMO / "hhh.root"), str(REPOSITORY / "tests/data/no_fatjet.root")], HHH))
    options = ["--fileset", str(mixed), "--output", str(tmp_path / "b"), "--no-plots", "--on-error", "stop"]
    assert main(options) == 1
    assert "no_fatjet.root entries 0–20" in capsys.readouterr().out
    assert not (tmp_path / "b" / "summary.json").exists()


def test_a_misnamed_collection_is_told_from_all_of_the_file(tmp_path, write_fileset, capsys):
    """The run describes only the branches it reads; the message lists those of the file, the right name among them."""
    fileset = write_fileset(HHH=([str(DEMO / "hhh.root")], {**HHH, "jets": "Jets"}))
    assert main(["--fileset", str(fileset), "--output", str(tmp_path / "a"), "--no-plots"]) == 1
    printed = " ".join(capsys.readouterr().out.split())
    assert (
        "events): no collection 'Jets' (metadata field 'jets'); the file has Event, FatJet, Jet, MissingET" in printed
    )
    assert "(assignment.py:" not in printed  # the fault is not in the code


def test_transient_read_errors_are_retried(monkeypatch):
    from hhh_coffea.engine import chunks as engine
    from hhh_coffea.engine import retry

    job, chunk = demo_job()
    real, failures = engine.open_file, iter([OSError("storage hiccup"), OSError("again")])

    def flaky(path):
        for error in failures:
            raise error
        return real(path)

    monkeypatch.setattr(engine, "open_file", flaky)
    monkeypatch.setattr(retry, "BACKOFF_SECONDS", 0.0)
    assert run_chunk(job, chunk).events == 5000
    monkeypatch.setattr(engine, "open_file", lambda path: (_ for _ in ()).throw(OSError("storage is gone")))
    lost = run_chunk(job, chunk)
    assert (lost.chunks, lost.events) == (0, 0)
    assert "storage is gone" in lost.failures[0].reason


def demo_job(chunksize=None):
    source = ProcessorSource.of(load_processor("assignment", {}))
    plan = plan_chunks([inspect_file(SourceFile("HHH", str(DEMO / "hhh.root"), "Delphes"))], chunksize)
    return Job(source, {"HHH": HHH}), plan.chunks[0] if chunksize is None else plan.chunks


@pytest.mark.slow
def test_killing_a_dask_worker_changes_nothing():
    job, chunks = demo_job(chunksize=250)
    with make_executor("iterative") as where:
        expected = where.reduce(job, chunks, lambda partial: None)
    done = []
    with make_executor("dask", workers=2) as where:
        processes = where.client.run(os.getpid)

        def kill_one():
            while len(done) < 4:
                time.sleep(0.01)
            os.kill(next(iter(processes.values())), signal.SIGKILL)

        killer = threading.Thread(target=kill_one)
        killer.start()
        total = where.reduce(job, chunks, done.append)
        killer.join()
        survivors = where.client.run(os.getpid)
    assert set(survivors.values()) != set(processes.values())
    assert (total.chunks, total.events, total.failures) == (20, 5000, [])
    assert json.dumps(histogram_file(total.output["histograms"], {}), default=_plain) == json.dumps(
        histogram_file(expected.output["histograms"], {}), default=_plain
    )


def _plain(value):
    import uhi.io.json

    return uhi.io.json.default(value)


KILLER = """
import os
from coffea.processor import ProcessorABC

class Killer(ProcessorABC):
    def process(self, events):
        if events.metadata["entrystart"] == 1000:
            os._exit(1)
        return {"n": len(events)}

    def postprocess(self, accumulator):
        return accumulator
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["futures", "dask"])
def test_a_chunk_that_kills_its_worker_is_set_aside(tmp_path, kind):
    (tmp_path / "killer.py").write_text(KILLER)
    source = ProcessorSource.of(load_processor(str(tmp_path / "killer.py"), {}))
    _, chunks = demo_job(chunksize=500)
    with make_executor(kind, workers=2) as where:
        total = where.reduce(Job(source, {"HHH": HHH}), chunks, lambda partial: None)
    assert (total.chunks, total.events) == (9, 4500)
    assert total.output == {"n": 4500}
    assert [(f.start, f.stop) for f in total.failures] == [(1000, 1500)]
    assert "worker died" in total.failures[0].reason


def test_a_stock_coffea_runner_runs_our_processors():
    job, chunk = demo_job()
    ours = run_chunk(job, chunk).output
    runner = Runner(executor=CoffeaIterative(status=False), schema=DelphesSchema, chunksize=2000, metadata_cache={})
    fileset = {"HHH": {"files": {str(DEMO / "hhh.root"): "Delphes"}, "metadata": HHH}}
    theirs = runner(fileset, processor_instance=load_processor("assignment", {}))
    assert theirs["cutflow"] == ours["cutflow"]
    for name in ("candidates", "targets", "candidate_mass", "confusion"):
        assert theirs["histograms"][name] == ours["histograms"][name]


def test_executor_names():
    with pytest.raises(ValueError, match="no executor 'slurm'"), make_executor("slurm"):
        pass
