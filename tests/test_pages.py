"""Every shell and Python line of README.md and of the quick start runs, in order, and gives what the page shows."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest
from conftest import DEMO, REPOSITORY

# the environment: CI follows these in a fresh clone, with make
INSTALLING = ("make ", "python3 -m venv ", ". .venv/", "pip install ", "eval ")


def blocks(page):
    """(language, text) of the code blocks of a page, in order."""
    return re.findall(
        r"^```(\w+)\n(.*?)^```", (REPOSITORY / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )


def run(words, folder):
    environment = {**os.environ, "MPLBACKEND": "agg", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, f"{shlex.join(map(str, words))}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


def follow(page, folder):
    """Do what a page says; a JSON block is the fileset that the commands after it name."""
    printed = []
    for language, text in blocks(page):
        if language == "json":
            (folder / "hhh.json").write_text(text, encoding="utf-8")
        elif language == "python":
            printed.append(run([sys.executable, "-c", text], folder))
        else:
            assert language == "sh"
            for line in text.splitlines():
                words = shlex.split(line, comments=True)
                if words and not line.startswith(INSTALLING):
                    assert words[0] in ("hhh", "python"), line
                    rest = words[1:] if words[0] == "python" else ["-m", "hhh_coffea", *words[1:]]
                    printed.append(run([sys.executable, *rest], folder))
    return printed


@pytest.fixture
def clone(tmp_path):
    """A folder with what pages name: events of one's own, and the examples of the repository."""
    for folder, file in (("hhh", "hhh.root"), ("qcd", "qcd.root")):
        (tmp_path / folder).mkdir()
        shutil.copy(DEMO / file, tmp_path / folder)
    (tmp_path / "docs").symlink_to(REPOSITORY / "docs")
    return tmp_path


def test_readme(clone):
    follow("README.md", clone)
    results = json.loads((clone / "results" / "summary.json").read_text())["results"]
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    for dataset in ("HHH", "HH"):
        for method in ("chi2", "chi2+bdt", "spanet"):
            merged = results[dataset]["default"][method]["categories"]["merged"]
            cells = [
                f"{100 * r['value']:.1f} ± {100 * max(r['high'] - r['value'], r['value'] - r['low']):.1f}"
                for r in (merged["purity"], merged["efficiency"])
            ]
            assert f"| `{method}` | {' | '.join(cells)} |" in text
    assert len(text.splitlines()) <= 120


def test_quick_start(clone):
    printed = follow("docs/quick_start.md", clone)
    assert any(re.search(r"^863 ", text, re.MULTILINE) for text in printed)
    assert (clone / "HHH_863_event.png").stat().st_size > 10_000


PAGES = sorted(
    str(path.relative_to(REPOSITORY))
    for pattern in ("README.md", "docs/*.md", "docs/developers/*.md", "models/**/*.md")
    for path in REPOSITORY.glob(pattern)
)


def commands(page):
    """Every `hhh …` of a page, in words: of its blocks, and of its text if they name a fileset. An ellipsis is no command."""
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    lines = [line.strip() for _, block in blocks(page) for line in block.replace("\\\n", " ").splitlines()]
    lines += [line.strip() for line in text.replace("\\\n", " ").splitlines() if line.startswith("    hhh ")]
    lines += re.findall(r"`(hhh [^`]*--fileset[^`]*)`", text.replace("\n", " "))
    for line in lines:
        if line.startswith("hhh ") and not any(mark in line for mark in ("…", "<", "\\|", ">")):
            yield shlex.split(line, comments=True)[1:]


def test_every_command_of_every_page_is_understood(capsys):
    """The options exist, and so do bundled filesets, models and processors that are named without a folder."""
    from hhh_coffea.base.bundled import list_bundled
    from hhh_coffea.cli import COMMANDS, parser

    understood, bundled = parser(), list_bundled("fileset")
    # pages say how to make these
    own = ("hhh.json", "nano.json", "my_ttbar.json", "skimmed/skim/fileset.json", "more_tops.json")
    seen, wrong = 0, []
    for page in PAGES:
        for words in commands(page):
            if words[0] not in COMMANDS:
                continue  # completion
            try:
                given = vars(understood.parse_args(words))
            except SystemExit:
                wrong.append(f"{page}: hhh {shlex.join(words)}: {capsys.readouterr().err.splitlines()[-1]}")
                continue
            fileset = given.get("fileset")
            if not (fileset is None or fileset in (*bundled, *own) or (REPOSITORY / fileset).is_file()):
                wrong.append(f"{page}: no fileset {fileset}")
            seen += 1
    assert not wrong, "\n".join(wrong)
    assert seen > 60


@pytest.mark.slow
def test_coming_from_other_frameworks(clone, monkeypatch):
    """Every command of the page, in order, in a folder of one's own: from the comparison to the fit and the ONNX file."""
    from hhh_coffea.__main__ import main

    pytest.importorskip("onnxscript")
    monkeypatch.chdir(clone)
    for language, text in blocks("docs/coming_from.md"):
        for line in text.splitlines() if language == "sh" else ():
            words = shlex.split(line)
            assert words[0] == "hhh"
            assert main([*words[1:], *(["--no-plots"] if words[1] in ("run", "fit") else [])]) == 0, line
    assert json.loads((clone / "models" / "my_hh" / "seeds.json").read_text())["seeds"] == [1, 2]
    assert any((clone / "results_hh" / "events").iterdir())
    assert (clone / "my_hh.onnx").is_file()
    assert (clone / "fit_hh" / "fit.json").is_file()
    assert "other" in json.loads((clone / "results_sculpting" / "summary.json").read_text())
