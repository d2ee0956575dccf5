"""The run command as a user meets it: options, errors, outputs, own processors."""

import gc
import json
import subprocess
import sys

import numpy as np
import pyarrow.dataset as ds
import pytest
import uproot
from conftest import DEMO, REPOSITORY

from hhh_coffea.config import ConfigError, make_config
from hhh_coffea.run import main, parser

HHH = {"format": "delphes", "n_higgs": 3}


@pytest.fixture(scope="module")
def demo_results(tmp_path_factory):
    output = tmp_path_factory.mktemp("demo") / "results"
    assert main(["--fileset", "demo", "--output", str(output), "--candidates", "--no-plots"]) == 0
    return output


def test_summary_holds_together(demo_results):
    """Counts add up: summary against the candidate table, which knows nothing of histograms."""
    summary = json.loads((demo_results / "summary.json").read_text())
    assert summary["schema_version"] == 2
    table = ds.dataset(demo_results / "candidates").to_table().to_pandas()
    for dataset in ("HHH", "HH", "QCD"):
        rows = table[table.dataset == dataset]
        entry = summary["results"][dataset]["default"]["chi2"]["categories"]["merged"]
        assert entry["candidates"] == len(rows) == int((~rows.overlaps).sum())
        if dataset == "QCD":
            assert rows.correct.isna().all()
            assert entry["purity"] is None
            continue
        assert entry["correct"] == rows.correct.sum()
        assert entry["purity"]["value"] == pytest.approx(rows.correct.mean())
        assert entry["purity"]["low"] < entry["purity"]["value"] < entry["purity"]["high"]
        assert entry["retrieved"] == entry["correct"]  # χ² never proposes a Higgs twice
    events = summary["results"]["HHH"]["default"]["chi2"]["events"]
    assert events["events"] == 4225
    by_number = events["efficiency_by_targets"]
    assert sum(v["denominator"] for v in by_number.values()) == 4225
    assert sum(v["numerator"] for n, v in by_number.items() if n != "0") == events["efficiency"]["numerator"]


def test_interval_is_clopper_pearson(demo_results):
    """By the definition: each end is where the tail probability is half of 1 − 0.6827 (scipy's binomial)."""
    from scipy.stats import binom

    entry = json.loads((demo_results / "summary.json").read_text())["results"]["HHH"]["default"]["chi2"]
    purity = entry["events"]["efficiency"]  # of events: independent of each other
    k, n = purity["numerator"], purity["denominator"]
    tail = (1 - 0.6827) / 2
    assert binom.sf(k - 1, n, purity["low"]) == pytest.approx(tail, rel=1e-6)
    assert binom.cdf(k, n, purity["high"]) == pytest.approx(tail, rel=1e-6)


def test_candidates_lead_back_to_the_file(demo_results):
    """jet1 and jet2 are positions in the file: the mass of those two jets is the candidate's."""
    table = ds.dataset(demo_results / "candidates").to_table().to_pandas()
    rows = table[table.dataset == "HH"].head(200)
    with uproot.open(DEMO / "hh.root") as file:
        jets = file["Delphes"].arrays(["Jet.PT", "Jet.Eta", "Jet.Phi", "Jet.Mass"], entry_stop=400)
    import vector

    for row in rows.itertuples():
        total = sum(
            (vector.obj(**{k.lower(): float(jets[f"Jet.{k}"][row.entry, j]) for k in ("PT", "Eta", "Phi", "Mass")})
             for j in (row.jet1, row.jet2)),
            start=vector.obj(px=0, py=0, pz=0, E=0),
        )  # fmt: skip
        assert row.mass == pytest.approx(total.mass, rel=1e-5)
        assert row.pt == pytest.approx(total.pt, rel=1e-5)
    assert (table.fatjet == -1).all()
    assert set(table.kind) == {"resolved"}


def test_provenance(demo_results):
    provenance = json.loads((demo_results / "provenance.json").read_text())
    assert provenance["ledger"]["chunks"] == {"planned": 3, "processed": 3, "failed": 0}
    with uproot.open(DEMO / "hhh.root") as file:
        uuid = str(file.file.uuid)
    assert {f["uuid"] for f in provenance["files"] if f["dataset"] == "HHH"} == {uuid}
    assert provenance["config"]["methods"] == ["chi2"]
    assert provenance["packages"]["coffea"]


def test_more_chi2_jets_find_more(tmp_path, demo_results):
    output = tmp_path / "eight"
    options = ["--fileset", "demo", "--datasets", "HHH", "--chi2-jets", "8", "--metrics", "default", "--no-plots"]
    assert main([*options, "--output", str(output)]) == 0
    few, more = (json.loads((d / "summary.json").read_text())["results"] for d in (demo_results, output))
    assert set(more) == {"HHH"}
    assert set(more["HHH"]) == {"default"}
    merged = [r["HHH"]["default"]["chi2"]["categories"]["merged"] for r in (few, more)]
    assert merged[0]["targets"] == merged[1]["targets"]
    assert merged[0]["correct"] != merged[1]["correct"]


def test_dry_run_reads_no_events_and_writes_nothing(tmp_path, capsys):
    assert main(["--fileset", "demo", "--dry-run", "--output", str(tmp_path / "r"), "--chunksize", "2000"]) == 0
    printed = capsys.readouterr().out
    assert "5,000" in printed
    assert "Jet.BTag" in printed
    assert "Tau" not in printed
    assert not (tmp_path / "r").exists()


def test_dry_run_notices_missing_collections(tmp_path, write_fileset, capsys, relaid):
    """Exit 3 as the run would have it, with the file and the metadata field; nothing is amiss in good files."""
    command = ["--dry-run", "--output", str(tmp_path / "r")]
    lacking = str(REPOSITORY / "tests/data/no_fatjet.root")
    path = write_fileset(
        A=([str(DEMO / "hhh.root"), lacking], {}), B=([str(DEMO / "hh.root")], {"n_higgs": 2, "event": "Evt"})
    )
    assert main(["--fileset", str(path), *command]) == 3
    printed = " ".join(capsys.readouterr().out.split())
    assert f"{lacking}: no collection 'FatJet' (metadata field 'fatjets'); its events will be lost" in printed
    assert f"{DEMO / 'hh.root'}: no collection 'Evt' (metadata field 'event')" in printed
    assert f"{DEMO / 'hhh.root'}: no collection" not in printed
    nano = {"format": "nanoaod"}
    path = write_fileset(A=([str(relaid[12])], nano), B=([str(relaid[15])], nano))
    assert main(["--fileset", str(path), *command]) == 0
    assert "no collection" not in capsys.readouterr().out
    assert not (tmp_path / "r").exists()


def test_dry_run_notices_missing_triggers_and_lists_what_is_there(tmp_path, write_fileset, capsys, relaid):
    """Branches of other versions of NanoAOD are not listed; a trigger that the file lacks is named, with exit 3."""
    nano = {"format": "nanoaod", "nanoaod": {"triggers": ["HLT_Even", "HLT_Nowhere"]}}
    path = write_fileset(A=([str(relaid[12])], nano))
    assert main(["--fileset", str(path), "--dry-run", "--output", str(tmp_path / "r")]) == 3
    printed = " ".join(capsys.readouterr().out.split())
    assert "dataset 'A': no branch 'HLT_Nowhere' (metadata field 'nanoaod.triggers') in its first file" in printed
    assert "no branch 'HLT_Even'" not in printed
    listed = printed.partition("A: branches ")[2].partition(" warning:")[0].split(", ")
    there = set(uproot.open(f"{relaid[12]}:Events").keys())
    assert "Jet_pt" in listed
    assert set(listed) <= there


def test_the_summary_says_what_its_words_mean(tmp_path, capsys):
    """χ² finds boosted targets without boosted candidates: a reader must not take that for a mistake."""
    options = ["--fileset", "demo", "--max-chunks", "1", "--chunksize", "300", "--no-plots"]
    assert main([*options, "--datasets", "HHH", "--output", str(tmp_path / "a")]) == 0
    assert "efficiency: share of targets" in capsys.readouterr().out
    assert main([*options, "--datasets", "HHH", "--output", str(tmp_path / "v"), "--verbose"]) == 0
    assert "docs/definitions.md" in capsys.readouterr().out
    assert "counts as found if a candidate equals either of them" in (tmp_path / "a" / "report.html").read_text()
    assert main([*options, "--datasets", "QCD", "--output", str(tmp_path / "b")]) == 0
    assert "efficiency: share of targets" not in capsys.readouterr().out  # nothing is right or wrong there


def test_limits(tmp_path, write_fileset):
    path = write_fileset(A=([str(DEMO / "hh.root"), str(DEMO / "hhh.root")], {**HHH, "n_higgs": 2}))
    options = ["--fileset", str(path), "--no-plots", "--chunksize", "1000", "--max-chunks", "2", "--max-files", "1"]
    assert main([*options, "--output", str(tmp_path / "r")]) == 0
    provenance = json.loads((tmp_path / "r" / "provenance.json").read_text())
    assert provenance["ledger"]["events"]["processed"] == 2000
    assert len(provenance["files"]) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--fileset", "nowhere.json"], "nowhere.json: no such fileset"),
        (["--fileset", "demo", "--methods", "chi"], "option 'methods': no method 'chi' .did you mean 'chi2'"),
        (["--fileset", "demo", "--methods", "chi2,chi2"], "each once"),
        (["--fileset", "demo", "--workers", "0"], "option 'workers'"),
        (["--fileset", "demo", "--chi2-jets", "11"], "option 'chi2_jets'"),
        (["--fileset", "demo", "--scheduler", "tcp://h:1"], "scheduler needs executor 'dask'"),
        (["--fileset", "demo", "--processor", "nothing"], "no processor 'nothing'"),
        (["--fileset", "demo", "--processor", "asignment"], "did you mean 'assignment'"),
        (["--fileset", "demo", "--chi2-jets", "4"], "option 'chi2_jets': 4 jets cannot hold the 6 of analysis 'hhh'"),
        (
            ["--fileset", "demo", "--bdt", "hbb_bdt"],
            "option 'bdt' has no effect on the methods chi2: it is for chi2.bdt",
        ),
        (["--fileset", "demo", "--device", "cpu"], "option 'device' has no effect .* it is for spanet"),
        (["--fileset", "demo", "--workers", "2"], "workers need executor 'futures' or 'dask'"),
        (["--fileset", "demo", "--no-plots", "--overlay-published"], "option 'overlay_published': .* needs figures"),
        (["--fileset", "demo", "--metrics", "default", "--overlay-published"], "needs --definitions reference or both"),
        (
            ["--fileset", "demo", "--processor", "bdt_scan", "--candidates"],
            "'candidates' has no effect: BdtScanProcessor",
        ),
        (["--fileset", "demo", "--methods", "chi2+bdt", "--bdt", "absent"], "^error: absent: no such BDT model"),
        (["--fileset", "demo", "--datasets", "QQQ"], "no dataset 'QQQ'"),
        ([], "option 'fileset' is missing"),
        (["--fileset", str(DEMO / "hhh.root")], r"hhh\.root: not a fileset, but a ROOT file: list it in a JSON"),
        (["--fileset", "demo", "--output", str(REPOSITORY / "tests")], "is not empty and contains no earlier results"),
    ],
)
def test_mistakes_are_named_and_exit_with_2(options, message, capsys, tmp_path):
    import re

    if "--output" not in options:
        options = [*options, "--output", str(tmp_path / "r")]
    assert main(options) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "r").exists()


def test_a_file_of_another_format(tmp_path, write_fileset, capsys):
    path = write_fileset(A=([str(DEMO / "hhh.root")], {"format": "nanoaod"}))
    assert main(["--fileset", str(path), "--output", str(tmp_path / "r"), "--no-plots"]) == 1
    printed = " ".join(capsys.readouterr().out.split())
    assert 'no tree \'Events\'; the file has Delphes; set "format": "delphes" in the metadata' in printed


@pytest.mark.slow
def test_an_existing_scheduler_is_joined_and_a_missing_one_named(tmp_path, capsys):
    from distributed import LocalCluster

    options = ["--fileset", "demo", "--no-plots", "--executor", "dask", "--output", str(tmp_path / "r")]
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster:
        assert main([*options, "--scheduler", cluster.scheduler_address, "--chunksize", "2500"]) == 0
    assert json.loads((tmp_path / "r" / "provenance.json").read_text())["ledger"]["events"]["processed"] == 14000
    for address in ("nonsense://", "tcp://", "tcp://127.0.0.1:http"):
        assert main([*options, "--scheduler", address]) == 2
        assert f"option 'scheduler': cannot join '{address}'" in " ".join(capsys.readouterr().err.split())
    gc.collect()
    assert not [
        c for c in gc.get_objects() if type(c).__name__ == "Client"
    ]  # its end would hold up that of the process


def test_config_file_and_command_line(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("fileset: demo\nchi2-jets: 8\nmethods: [chi2, chi2_as_published]\nmetrics: default\n")
    config = make_config({"definitions": "both"}, str(path))
    assert (
        make_config({"metrics": "reference"}, str(path)).definitions == "reference"
    )  # its earlier name, also in the file
    assert (config.chi2_jets, config.methods, config.definitions) == (8, ("chi2", "chi2_as_published"), "both")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("chi2_jet: 8", r"run\.yaml: option 'chi2_jet': there is no such option .did you mean 'chi2_jets'"),
        ("chi2_jets: eight", r"run\.yaml: option 'chi2_jets'"),
        ("executor: 3", r"run\.yaml: option 'executor'"),
        ("plots: maybe", r"run\.yaml: option 'plots'"),
        ("no-plots: true", r"run\.yaml: option 'no_plots': write 'plots: false' instead"),
        ("- a list", "must be a mapping"),
        ("a: [", r"cannot be read as YAML: expected the node content, but found '<stream end>' .line 1, column 5.$"),
        ("x: !!python/object/apply:os.system ['true']", "cannot be read as YAML"),
    ],
)
def test_config_file_errors_name_the_file_and_option(tmp_path, text, message):
    path = tmp_path / "run.yaml"
    path.write_text(f"{text}\nfileset: demo\n" if ":" in text and "[" not in text else text)
    with pytest.raises(ConfigError, match=message):
        make_config({}, str(path))


def test_every_option_can_stand_in_the_config_file():
    from hhh_coffea.config import RunConfig

    on_command_line = {action.dest for action in parser()._actions} - {"help", "version", "config"}
    assert on_command_line == set(RunConfig.model_fields)


OWN = """
import hist
import numpy as np
from coffea.processor import ProcessorABC

FACTOR = 2

class Mine(ProcessorABC):
    def __init__(self, chi2_mass):
        self.chi2_mass = chi2_mass

    def process(self, events):
        met = hist.axis.Regular(10, 0, 500, name="met", label="MET [GeV]")
        h = hist.Hist(hist.axis.StrCategory([], growth=True, name="dataset"), met)
        h.fill(dataset=events.metadata["dataset"], met=np.asarray(events.MissingET.MET))
        return {"met": h, "sum": {events.metadata["dataset"]: FACTOR * len(events)}, "mass": {self.chi2_mass}}

    def postprocess(self, accumulator):
        return accumulator

class Broken(ProcessorABC):
    def process(self, events):
        raise RuntimeError("my own mistake")

    def postprocess(self, accumulator):
        pass
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["iterative", "dask"])
def test_a_processor_of_ones_own(tmp_path, kind, capsys):
    """By path; it travels to dask workers by value, gets the options it asks for, and its histograms are drawn."""
    (tmp_path / "mine.py").write_text(OWN)
    output = tmp_path / "r"
    options = ["--fileset", "demo", "--output", str(output), "--executor", kind, "--chunksize", "2500"]
    if kind == "dask":
        options += ["--workers", "1", "--performance-report"]
    assert main([*options, "--processor", f"{tmp_path / 'mine.py'}:Mine", "--chi2-mass", "120"]) == 0
    other = json.loads((output / "summary.json").read_text())["other"]
    assert other == {"sum": {"HHH": 10000, "HH": 8000, "QCD": 10000}, "mass": ["120.0"]}
    assert (output / "plots" / "met.png").stat().st_size > 0
    assert (output / "dask_report.html").exists() == (kind == "dask")
    assert main([*options[:4], "--processor", str(tmp_path / "mine.py")]) == 2
    assert "2 processor classes (Broken, Mine); name one" in capsys.readouterr().err
    assert main([*options[:4], "--processor", f"{tmp_path / 'mine.py'}:Broken", "--no-plots"]) == 1
    assert "RuntimeError: my own mistake" in capsys.readouterr().out


def test_histograms_added_to_a_copy_are_drawn(tmp_path):
    """A copied processor with one histogram more: it is among the figures and in the report."""
    source = (REPOSITORY / "processors" / "assignment.py").read_text()
    booked = '            "histograms": histograms.book(analysis, bool(in_any)) | quantities.book(analysis),\n'
    added = booked.replace(": histograms.book", ": {'n': N.fill(n=[1, 2, 2])} | histograms.book")
    imports = "import hist\n\nN = hist.Hist(hist.axis.Integer(0, 4, name='n'))\n"
    assert booked in source
    copy = tmp_path / "copy.py"
    copy.write_text(source.replace(booked, added).replace("class Assignment", f"{imports}\n\nclass Assignment", 1))
    options = [
        "--fileset",
        "demo",
        "--datasets",
        "QCD",
        "--metrics",
        "default",
        "--max-chunks",
        "1",
        "--chunksize",
        "500",
    ]
    assert main([*options, "--processor", str(copy), "--output", str(tmp_path / "r")]) == 0
    assert (tmp_path / "r" / "plots" / "n.png").stat().st_size > 0
    assert "<h3>All datasets</h3>" in (tmp_path / "r" / "report.html").read_text()


def test_an_error_in_a_processor_names_its_line(tmp_path, capsys):
    path = tmp_path / "broken.py"
    path.write_text(OWN)
    options = ["--fileset", "demo", "--datasets", "QCD", "--processor", f"{path}:Broken", "--no-plots"]
    assert main([*options, "--output", str(tmp_path / "r")]) == 1
    line = next(i for i, text in enumerate(OWN.splitlines(), 1) if "my own mistake" in text)
    assert f"RuntimeError: my own mistake (broken.py:{line} in process)" in capsys.readouterr().out


def test_an_interrupt_leaves_nothing_behind(tmp_path, monkeypatch, capsys):
    """Ctrl-C while chunks are processed: exit code 130, earlier results whole, nothing beside them."""
    from hhh_coffea.engine import chunks as engine

    output = tmp_path / "r"
    base = ["--fileset", "demo", "--datasets", "QCD", "--output", str(output), "--no-plots", "--candidates"]
    assert main([*base, "--max-chunks", "1", "--chunksize", "500"]) == 0
    before = sorted(p.name for p in output.iterdir())

    def interrupted(job, chunk):
        raise KeyboardInterrupt

    monkeypatch.setattr(engine, "process", interrupted)
    assert main(base) == 130
    assert capsys.readouterr().err.startswith("interrupted: no results were written")
    assert sorted(p.name for p in output.iterdir()) == before
    assert main([*base[:4], "--output", str(tmp_path / "new"), "--no-plots"]) == 130
    assert not (tmp_path / "new").exists()


def test_debug_shows_where(tmp_path):
    from hhh_coffea.base.errors import UserError

    with pytest.raises(UserError, match="no such fileset"):
        main(["--fileset", "nowhere.json", "--debug", "--output", str(tmp_path / "r")])


def test_results_are_replaced_not_mixed(tmp_path, capsys):
    """Those of the same datasets without a question, those of others only where the user says so."""
    output = tmp_path / "r"
    base = ["--fileset", "demo", "--output", str(output), "--no-plots", "--max-chunks", "1", "--chunksize", "500"]
    assert main([*base, "--candidates"]) == 0
    fewer = [*base, "--candidates", "--datasets", "HHH"]
    assert main(fewer) == 2
    assert "holds results (candidates/ too) of HH, QCD, which this run does not read" in capsys.readouterr().err
    assert set(ds.dataset(output / "candidates").to_table().to_pandas().dataset) == {"HHH", "HH", "QCD"}
    assert main([*fewer, "--overwrite"]) == 0
    assert set(ds.dataset(output / "candidates").to_table().to_pandas().dataset) == {"HHH"}
    capsys.readouterr()
    assert main([*base, "--methods", "chi2,random"]) == 2  # a mistake: no such method
    assert main(fewer) == 0
    assert "warning" not in capsys.readouterr().out
    (output / "fit").mkdir()
    assert main([*base, "--methods", "chi2_as_published"]) == 0
    said = "and deletes the results of chi2, candidates/, fit/, which it does not make again"
    assert said in capsys.readouterr().out
    assert not (output / "candidates").exists()
    assert not list(output.glob("*.partial"))


def test_a_run_that_reads_nothing_leaves_earlier_results(tmp_path, write_fileset, capsys):
    """All files gone: exit 1, every reason named, and what an earlier run found is there to the byte."""
    output = tmp_path / "r"
    copy = tmp_path / "hhh.root"
    copy.write_bytes((DEMO / "hhh.root").read_bytes())
    command = ["--fileset", str(write_fileset(HHH=([str(copy)], {}))), "--output", str(output), "--no-plots"]
    copy.rename(tmp_path / "elsewhere.root")
    assert main(command) == 1  # into an empty directory: the failure is on record
    assert json.loads((output / "provenance.json").read_text())["failures"][0]["reason"].startswith("file not found: ")
    (tmp_path / "elsewhere.root").rename(copy)
    command += ["--candidates", "--chunksize", "500", "--max-chunks", "1"]
    assert main(command) == 0
    before = {path.relative_to(output): path.read_bytes() for path in output.rglob("*") if path.is_file()}
    assert any(path.suffix == ".parquet" for path in before)
    for make_unreadable in (copy.unlink, lambda: copy.write_bytes(b"root" + bytes(100))):
        make_unreadable()
        capsys.readouterr()
        assert main(command) == 1
        printed = " ".join(capsys.readouterr().out.split())
        assert str(copy) in printed
        assert f"nothing was read: the earlier results in {output} are kept as they were" in printed
        assert {path.relative_to(output): path.read_bytes() for path in output.rglob("*") if path.is_file()} == before
    copy.write_bytes((DEMO / "hhh.root").read_bytes())
    (tmp_path / "mine.py").write_text(OWN)
    broken = ["--processor", f"{tmp_path / 'mine.py'}:Broken"]  # planned, and no chunk comes through
    assert main([*(word for word in command if word != "--candidates"), *broken]) == 1
    assert {path.relative_to(output): path.read_bytes() for path in output.rglob("*") if path.is_file()} == before


def test_files_without_fat_jets(tmp_path, write_fileset, capsys, demo_results):
    """A card without FatJet: χ² finds what it finds with them; methods that need fat jets are refused before the run."""
    files = [str(REPOSITORY / "tests/data/no_fatjet.root"), str(DEMO / "hhh.root")]
    path = write_fileset(HHH=(files, {"fatjets": None}))
    command = ["--fileset", str(path), "--output", str(tmp_path / "r")]
    assert main([*command, "--dry-run"]) == 0
    assert "FatJet" not in capsys.readouterr().out
    assert main([*command, "--candidates"]) == 0
    table, before = (ds.dataset(d / "candidates").to_table().to_pandas() for d in (tmp_path / "r", demo_results))
    table, before = table[table.file == files[1]], before[before.dataset == "HHH"]
    assert (table.fatjet == -1).all()
    for name in ("entry", "jet1", "jet2", "mass", "correct"):
        np.testing.assert_array_equal(table[name], before[name])
    rows = json.loads((tmp_path / "r" / "summary.json").read_text())["results"]["HHH"]["default"]["chi2"]["categories"]
    assert rows["boosted"]["targets"] == 0
    for method in ("chi2+bdt", "spanet"):
        assert main([*command[:3], str(tmp_path / "s"), "--methods", method]) == 2
        assert "metadata field 'fatjets' is null" in capsys.readouterr().err


def test_weights_and_cross_section(tmp_path, write_fileset):
    """The weighted cutflow and σ: 4225 of 5000 unit weights pass, so σ · 0.845 is left."""
    metadata = {"cross_section_pb": 2.0}
    path = write_fileset(A=([str(DEMO / "hhh.root")], metadata), B=([str(DEMO / "hh.root")], {"n_higgs": 2}))
    assert main(["--fileset", str(path), "--output", str(tmp_path / "r"), "--no-plots"]) == 0
    cuts = json.loads((tmp_path / "r" / "cutflow.json").read_text())["datasets"]
    assert cuts["A"]["cuts"][-1]["cross_section_pb"] == pytest.approx(2.0 * 4225 / 5000)
    assert cuts["A"]["cuts"][-1]["weighted"] == 4225.0
    assert "cross_section_pb" not in cuts["B"]["cuts"][-1]


def test_background_called_signal_is_pointed_out(tmp_path, write_fileset, capsys):
    path = write_fileset(QCD=([str(DEMO / "qcd.root")], {}))
    assert main(["--fileset", str(path), "--output", str(tmp_path / "r"), "--no-plots"]) == 0
    assert "set is_signal: false" in capsys.readouterr().out


@pytest.mark.parametrize("n_higgs", [2, 4])
def test_another_number_of_higgs_bosons_than_the_files_hold(tmp_path, write_fileset, capsys, n_higgs):
    """Results are empty: exit 3, and the warning says which number the generator record holds."""
    path = write_fileset(HHH=([str(DEMO / "hhh.root")], {"n_higgs": n_higgs}), QCD=([str(DEMO / "qcd.root")], {}))
    command = ["--fileset", str(path), "--output", str(tmp_path / "r"), "--no-plots", "--max-chunks", "1"]
    assert main([*command, "--chunksize", "500"]) == 3
    printed = " ".join(capsys.readouterr().out.split())
    told = f"no event of HHH has {n_higgs} Higgs → bb, so its results are empty: 100% of its first 500 events have 3"
    assert f"{told}: set analysis: hhh (n_higgs: 3) in its metadata" in printed
    warnings = json.loads((tmp_path / "r" / "provenance.json").read_text())["warnings"]
    assert [warning.split(":")[0] for warning in warnings] == [
        f"no event of HHH has {n_higgs} Higgs → bb, so its results are empty",
        "no event of QCD has 3 Higgs → bb, so its results are empty",
    ]


def test_events_without_jets(tmp_path, write_fileset):
    """A threshold no jet passes: no candidates, no crash, everything accounted for."""
    path = write_fileset(A=([str(DEMO / "hhh.root")], {"selection": {"jet_pt_min": 1e6, "fatjet_pt_min": 1e6}}))
    assert main(["--fileset", str(path), "--output", str(tmp_path / "r")]) == 0
    cuts = json.loads((tmp_path / "r" / "cutflow.json").read_text())["datasets"]["A"]["cuts"]
    assert [c["events"] for c in cuts] == [5000, 5000, 5000, 0]


def test_module_help_teaches():
    found = subprocess.run(
        [sys.executable, "-m", "hhh_coffea.run", "--help"], capture_output=True, text=True, check=True, cwd=REPOSITORY
    )
    for word in ("examples:", "exit codes:", "--overlay-published", "--on-error"):
        assert word in found.stdout


AWKWARD_ENDS = """
from coffea.processor import ProcessorABC

class Exits(ProcessorABC):
    def process(self, events):
        raise SystemExit(0)

    def postprocess(self, accumulator):
        return accumulator

class NotANumber(ProcessorABC):
    def process(self, events):
        return {"n": len(events), "bad": {events.metadata["dataset"]: float("nan")}}

    def postprocess(self, accumulator):
        return accumulator
"""


def test_processors_that_exit_or_return_nan(tmp_path, capsys):
    """An exit is a failed chunk, not the end of the run; a NaN becomes null instead of costing the results."""
    (tmp_path / "ends.py").write_text(AWKWARD_ENDS)
    base = ["--fileset", "demo", "--datasets", "HHH", "--output", str(tmp_path / "r")]
    assert main([*base, "--processor", f"{tmp_path / 'ends.py'}:Exits"]) == 1
    assert "SystemExit" in capsys.readouterr().out
    assert main([*base, "--processor", f"{tmp_path / 'ends.py'}:NotANumber"]) == 0
    other = json.loads((tmp_path / "r" / "summary.json").read_text())["other"]
    assert other == {"n": 5000, "bad": {"HHH": None}}


def test_old_figures_and_failed_writing(tmp_path, monkeypatch):
    """New results leave no old figure behind; results that cannot be written leave the old ones whole."""
    from hhh_coffea.results import directory as results

    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "old.png").touch()
    contents = {"summary.json": {"a": 1}, "provenance.json": {}}
    results.write(tmp_path, contents)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["provenance.json", "summary.json"]
    with pytest.raises(ValueError, match="JSON"):
        results.write(tmp_path, {"summary.json": {"a": 2}, "provenance.json": {"bad": float("nan")}}, False)
    assert json.loads((tmp_path / "summary.json").read_text()) == {"a": 1}


def test_a_method_without_candidates_is_in_the_summary(demo_results):
    """Targets on record and no candidates: efficiency 0, not silence."""
    from hhh_coffea.results.directory import read_histograms
    from hhh_coffea.results.summary import summarise

    histograms, datasets = read_histograms(demo_results)
    key = {"dataset": "HHH", "method": "nothing", "definition": "default"}
    for category in ("merged", "resolved"):
        histograms["targets"].fill(**key, category=category, pt=np.full(7, 100.0), retrieved=np.zeros(7, dtype=bool))
    histograms["event_efficiency"].fill(**key, n=np.full(3, 2), efficient=np.zeros(3, dtype=bool))
    histograms["event_purity"].fill(**key, n=np.zeros(3, dtype=int), pure=np.ones(3, dtype=bool))
    categories = {name: info["categories"] for name, info in datasets.items()}
    row = summarise(histograms, categories)["HHH"]["default"]["nothing"]["categories"]["merged"]
    assert (row["targets"], row["candidates"], row["efficiency"]["value"]) == (7, 0, 0.0)
    assert row["purity"]["value"] is None


def test_fewer_jets_than_the_pairing_needs_are_refused(tmp_path, write_fileset, capsys):
    path = write_fileset(A=([str(DEMO / "hhh.root")], {"selection": {"min_jets": 4}}))
    assert main(["--fileset", str(path), "--output", str(tmp_path / "r")]) == 2
    assert "min_jets = 4 is below the 6 jets of analysis 'hhh'" in capsys.readouterr().err
