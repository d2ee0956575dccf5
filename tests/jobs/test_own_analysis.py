"""An analysis of a user's own, as docs/bring_your_own.md shows it: hadronic tt̄ on NanoAOD, and HHH → 4b2τ."""

import itertools
import json
import math
import re
import shutil

import numpy as np
import pyarrow.dataset as ds
import pytest
from conftest import REPOSITORY

from hhh_coffea.analyses import load_analysis
from hhh_coffea.engine.fingerprint import state_of
from hhh_coffea.lazy import event_record, open_events, reconstruct
from hhh_coffea.run import main

EXAMPLES = REPOSITORY / "docs" / "examples"
FILESET = str(EXAMPLES / "hadronic_tops.json")


@pytest.fixture(scope="module")
def in_this_process(tmp_path_factory):
    output = tmp_path_factory.mktemp("tops") / "results"
    assert main(["--fileset", FILESET, "--no-plots", "--candidates", "--output", str(output)]) == 0
    return output


def events_by_hand():
    """Selected events as plain Python: entry, jets kept, and the quarks of both tops."""
    events = open_events(FILESET, "tt", mode="virtual")
    record = event_record(events, ["chi2"])
    for event in record.tolist():
        quarks = [[top[name] for name in ("d1", "d2", "b")] for top in event["tops"]]
        yield event["id"], event["jets"], quarks


def dr(a, b):
    dphi = abs(a["phi"] - b["phi"]) % (2 * math.pi)
    return math.hypot(a["eta"] - b["eta"], min(dphi, 2 * math.pi - dphi))


def mass(*jets):
    e, px, py, pz = (sum(jet[name] for jet in jets) for name in ("energy", "px", "py", "pz"))
    return math.sqrt(max(0.0, e * e - px * px - py * py - pz * pz))


def test_targets_and_candidates_are_those_of_plain_loops(in_this_process):
    rows = ds.dataset(in_this_process / "candidates").to_table().to_pandas().groupby("entry")
    n_targets = n_correct = 0
    for entry, jets, quarks in events_by_hand():
        pairs = sorted(
            (dr(quark, jet), t, d, j)
            for t, top in enumerate(quarks)
            for d, quark in enumerate(top)
            for j, jet in enumerate(jets)
            if dr(quark, jet) < 0.4
        )
        owner, taken = {}, set()
        for _, t, d, j in pairs:
            if (t, d) not in owner and j not in taken:
                owner[t, d] = jets[j]["index"]
                taken.add(j)
        targets = [[owner.get((t, d), -1) for d in range(3)] for t in range(2)]
        targets = {(frozenset(t[:2]), t[2]) for t in targets if -1 not in t}
        n_targets += len(targets)

        own = rows.get_group(entry)
        made = {(frozenset((row.q1, row.q2)), row.b) for row in own.itertuples()}
        n_correct += len(made & targets)
        assert own.correct.sum() == len(made & targets)
        if entry < 40:  # all 90 ways, in loops
            six, best = jets[:6], (math.inf, None)
            for b1, b2 in itertools.combinations(range(6), 2):
                rest = [j for j in range(6) if j not in (b1, b2)]
                for pair in itertools.combinations(rest, 2):
                    other = tuple(j for j in rest if j not in pair)
                    chi2 = sum(
                        ((mass(*(six[j] for j in qq)) - 80.4) / 10) ** 2
                        + ((mass(six[b], *(six[j] for j in qq)) - 172.5) / 15) ** 2
                        for b, qq in ((b1, pair), (b2, other))
                    )
                    best = min(best, (chi2, ((pair, b1), (other, b2))))
            expected = {(frozenset(six[j]["index"] for j in qq), six[b]["index"]) for qq, b in best[1]}
            assert made == expected
    # the loops see the ten kept jets alone; a jet beyond them may take a quark, but none did in these events
    entry = json.loads((in_this_process / "summary.json").read_text())["results"]["tt"]["default"]["chi2"]["categories"]
    assert (entry["all"]["targets"], entry["all"]["correct"]) == (n_targets, n_correct)


@pytest.mark.parametrize("executor", ["futures", "dask"])
def test_it_runs_on_all_executors_and_its_file_is_needed_on_the_driver_only(executor, in_this_process, tmp_path):
    content = json.loads((EXAMPLES / "hadronic_tops.json").read_text())
    content["tt"]["files"] = [str(REPOSITORY / "fileset" / "demo" / "tt_nanoaod.root")]
    content["tt"]["metadata"]["analysis"] = "mine.py"  # the only one in the file
    shutil.copy(EXAMPLES / "hadronic_tops.py", tmp_path / "mine.py")
    (tmp_path / "fileset.json").write_text(json.dumps(content))
    arguments = ["--fileset", str(tmp_path / "fileset.json"), "--no-plots", "--output", str(tmp_path / "results")]
    assert main([*arguments, "--executor", executor, "--workers", "2", "--chunksize", "60"]) == 0
    assert (tmp_path / "results" / "histograms.json").read_bytes() == (in_this_process / "histograms.json").read_bytes()
    used = json.loads((tmp_path / "results" / "provenance.json").read_text())["models"]["analysis hadronic_tops"]
    assert used["file"].endswith("mine.py")


def test_interactively(in_this_process):
    candidates = reconstruct(open_events(FILESET, "tt"), "chi2").compute()
    batch = ds.dataset(in_this_process / "candidates").to_table().to_pandas()
    assert {"q1", "q2", "b", "correct"} <= set(candidates.fields)
    assert np.sort(batch.mass) == pytest.approx(np.sort(np.concatenate(candidates.mass.tolist())), rel=1e-12)


def test_the_topology_of_4b2tau_is_shown_by_the_dry_run(capsys):
    assert main(["--fileset", str(EXAMPLES / "hhh_4b2tau.json"), "--dry-run"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "targets h1, h2 → b1 b2 (jets; b1 and b2 in any order); htautau → tau1 tau2" in shown


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("import numpy\nANALYSIS = Analysis(\n", "mine.py:2: cannot be imported: SyntaxError"),
        ("import numpy\nimport not_there\n", "mine.py:2: cannot be imported: ModuleNotFoundError"),
        ("ANALYSIS = 3\n", "no analysis 'ANALYSIS'; it has nothing"),
    ],
)
def test_mistakes_in_the_file_are_named(text, says, tmp_path, capsys):
    (tmp_path / "mine.py").write_text(text)
    metadata = {"format": "delphes", "analysis": "mine.py:ANALYSIS"}
    files = [str(REPOSITORY / "fileset" / "demo" / "hh.root")]
    (tmp_path / "f.json").write_text(json.dumps({"A": {"files": files, "metadata": metadata}}))
    assert main(["--fileset", str(tmp_path / "f.json"), "--dry-run"]) == 2
    assert says in " ".join(capsys.readouterr().err.split())


def test_a_mistake_in_a_function_names_its_line(tmp_path, capsys):
    text = (EXAMPLES / "hadronic_tops.py").read_text()
    (tmp_path / "mine.py").write_text(text.replace("tops = record.tops", "tops = record.toops"))
    line = 1 + (tmp_path / "mine.py").read_text().split("record.toops")[0].count("\n")
    content = json.loads((EXAMPLES / "hadronic_tops.json").read_text())
    content["tt"]["files"] = [str(REPOSITORY / "fileset" / "demo" / "tt_nanoaod.root")]
    content["tt"]["metadata"]["analysis"] = "mine.py:ANALYSIS"
    (tmp_path / "f.json").write_text(json.dumps(content))
    assert main(["--fileset", str(tmp_path / "f.json"), "--no-plots", "--output", str(tmp_path / "r")]) == 1
    assert f"(mine.py:{line} in match)" in " ".join(capsys.readouterr().out.split())


def test_an_edited_analysis_takes_nothing_from_an_earlier_run(tmp_path):
    text = (EXAMPLES / "hadronic_tops.py").read_text()
    states = []
    for name, content in (("a", text), ("b", text.replace("radius=0.4", "radius=0.3"))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine.py").write_text(content)
        states.append(state_of(load_analysis(f"{tmp_path / name / 'mine.py'}:ANALYSIS")))
    assert states[0] != states[1]


def test_the_docs_show_the_files_that_are_tested():
    text = (REPOSITORY / "docs" / "bring_your_own.md").read_text()
    shown = re.findall(r'^--8<-- "(.+)"$', text, flags=re.M)
    assert len(shown) >= 4
    assert "--8 <" not in text  # as a formatter of Python would write the mark
    assert all((REPOSITORY / path).is_file() for path in shown)


GOOD = (EXAMPLES / "hadronic_tops.py").read_text()


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("method_of(chi2)", "chi2", "method 'chi2' is a bare function: wrap it, method_of(function)"),
        ('collections=("tops",)', 'collections=("topps",)', "no collection 'topps' (did you mean 'tops'?)"),
        (
            '{"chi2": method',
            '{"best": method',
            "analysis 'hadronic_tops' has no 'chi2', the default; set --methods best",
        ),
    ],
)
def test_mistakes_that_the_start_finds(old, new, says, tmp_path, capsys):
    assert run_edited(tmp_path, old, new) == 2
    assert says in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("return dict.fromkeys(definitions, Targets(", "return (Targets(", "match() must return Targets for each of"),
        ('Targets({"t": jets}', 'Targets({"v": jets}', "match() returned targets of the kinds v; the topology has t"),
        ('Targets({"t": jets}', 'Targets({"t": jets[..., :2]}', "objects['t'] of shape (146, 2, 2), not (146, 2, 3)"),
        ("jets}, pt, mass", "jets}, pt.ravel(), mass", "Targets with pt of shape (292,), not (146, 2)"),
        ('analysis.candidates(record, "t", objects)', "objects", "chi2() (mine.py:"),
        ("(len(record), 2, 3), -1)", "(len(record), 2, 3), -1.0)", "are integer positions (events, candidates, 3), not float64"),
        ("objects[enough] = table[best]", "objects[enough] = 99", "has position 99 in jets, of which event"),
        ("objects[enough] = table[best]", "objects[enough] = 0", "has the same object of jets twice"),
        ("cuts=cuts", "cuts=lambda record, is_signal: 3", "cuts() must return a dict of masks by name, not int"),
    ],
)  # fmt: skip
def test_what_functions_return_is_checked(old, new, says, tmp_path, capsys):
    assert run_edited(tmp_path, old, new) == 1
    assert says in " ".join(capsys.readouterr().out.split())


def run_edited(folder, old, new):
    assert old in GOOD
    (folder / "mine.py").write_text(GOOD.replace(old, new))
    content = json.loads((EXAMPLES / "hadronic_tops.json").read_text())
    content["tt"]["files"] = [str(REPOSITORY / "fileset" / "demo" / "tt_nanoaod.root")]
    content["tt"]["metadata"]["analysis"] = "mine.py:ANALYSIS"
    (folder / "f.json").write_text(json.dumps(content))
    return main(["--fileset", str(folder / "f.json"), "--no-plots", "--output", str(folder / "r")])


def test_a_chunk_in_which_nothing_is_selected(tmp_path):
    """Functions of the user's are called with no events, and the run goes on."""
    assert run_edited(tmp_path, "== 2)", "== 3)") == 0
