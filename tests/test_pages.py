"""Pages: their commands run in a fresh clone and give what the page shows, their options exist, and so do linked files.

A block ```sh runs in a fresh clone (docs/developers/index.md). README and the quick start are followed in every run of the
tests, the other pages by make exhaustive.
"""

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
    """(language, text, name of a file that the text before it names last) of the code blocks of a page, in order."""
    text, end = (REPOSITORY / page).read_text(encoding="utf-8"), 0
    for block in re.finditer(r"^( *)```(\w+)\n(.*?)^\1```", text, re.MULTILINE | re.DOTALL):
        names = re.findall(r"`([\w.]+\.(?:json|yaml))`", text[end : block.start()])
        yield block[2], block[3], names[-1] if names else None
        end = block.end()


def lines_of(text):
    """Commands of a block; a backslash at the end of a line continues it."""
    return [line.strip() for line in text.replace("\\\n", " ").splitlines() if line.strip()]


def run(words, folder):
    environment = {**os.environ, "MPLBACKEND": "agg", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, f"{shlex.join(map(str, words))}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


def by_a_process(words, folder):
    """A command of the shell, in a process of its own."""
    return run([sys.executable, *(words[1:] if words[0] == "python" else ["-m", "hhh_coffea", *words[1:]])], folder)


def follow(page, folder, languages=("sh", "python"), command=by_a_process):
    """Do what a page says, in order; JSON and YAML blocks are the files that the text before them names."""
    printed = []
    for language, text, name in blocks(page):
        if language in ("json", "yaml"):
            if name:
                (folder / name).write_text(text, encoding="utf-8")
        elif language == "python" and language in languages:
            printed.append(run([sys.executable, "-c", text], folder))
        elif language == "sh":
            for line in lines_of(text):
                words = shlex.split(line, comments=True)
                if words and not line.startswith(INSTALLING):
                    assert words[0] in ("hhh", "python"), line
                    printed.append(command(words, folder))
    return printed


@pytest.fixture
def clone(tmp_path):
    """A folder with what README and the quick start name: events of one's own, and the examples of the repository."""
    for folder, file in (("hhh", "hhh.root"), ("qcd", "qcd.root")):
        (tmp_path / folder).mkdir()
        shutil.copy(DEMO / file, tmp_path / folder)
    (tmp_path / "docs").symlink_to(REPOSITORY / "docs")
    return tmp_path


@pytest.fixture
def here(monkeypatch, capsys):
    """Commands of ``hhh`` without the seconds in which a new process imports everything."""
    from hhh_coffea.__main__ import main

    def command(words, folder):
        if words[0] != "hhh":
            return by_a_process(words, folder)
        monkeypatch.chdir(folder)
        assert main(words[1:]) == 0, shlex.join(words)
        return capsys.readouterr().out

    return command


@pytest.fixture
def fresh_clone(tmp_path):
    """Every file of the repository and nothing else, the package included: python -m takes it from this folder."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout
    for name in filter(None, listed.split("\0")):
        target = tmp_path / "clone" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(REPOSITORY / name, target)
    return tmp_path / "clone"


def test_readme(clone, here):
    follow("README.md", clone, command=here)
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


def test_quick_start(clone, here):
    printed = follow("docs/quick_start.md", clone, command=here)
    assert any(re.search(r"^863 ", text, re.MULTILINE) for text in printed)
    assert (clone / "HHH_863_event.png").stat().st_size > 10_000


PAGES = sorted(
    str(path.relative_to(REPOSITORY))
    for pattern in ("README.md", "docs/**/*.md", "models/**/*.md")
    for path in REPOSITORY.glob(pattern)
)
QUICK = ("docs/nanoaod.md",)  # takes seconds: followed in every run of the tests
FOLLOWED = [
    page
    for page in PAGES
    if page not in ("README.md", "docs/quick_start.md")  # they have tests of their own
    and any(language == "sh" for language, _, _ in blocks(page))
]


@pytest.mark.parametrize(
    "page", [pytest.param(page, marks=[] if page in QUICK else pytest.mark.exhaustive) for page in FOLLOWED]
)
def test_every_command_of_a_page_runs_in_a_fresh_clone(page, fresh_clone):
    assert follow(page, fresh_clone, languages=("sh",))


@pytest.mark.parametrize("page", PAGES)
def test_files_that_a_page_links_or_names_exist(page):
    """make docs checks the links of the site, and this those of README and of the models' cards, and paths in the text."""
    text = re.sub(r"^```.*?^```", "", (REPOSITORY / page).read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    linked = [
        link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if not link.startswith(("http", "#"))
    ]
    missing = [link for link in linked if link and not (REPOSITORY / page).parent.joinpath(link).exists()]
    named = re.findall(r"`((?:hhh_coffea|tests|benchmarks|processors|fileset|docs)/[\w/.-]+)`", text)
    missing += [path for path in named if not (REPOSITORY / path).exists()]
    assert not missing


def commands(page):
    """Every `hhh …` of a page, in words: of its blocks, and of its text if they name a fileset. An ellipsis is no command."""
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    lines = [line.strip() for _, block, _ in blocks(page) for line in lines_of(block)]
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
def test_coming_from_other_frameworks(clone, here):
    """Every command of the page, in order, in a folder of one's own: from the comparison to the fit and the ONNX file."""
    pytest.importorskip("onnxscript")

    def without_figures(words, folder):
        return here([*words, *(["--no-plots"] if words[1] in ("run", "fit") else [])], folder)

    follow("docs/coming_from.md", clone, languages=("sh",), command=without_figures)
    assert json.loads((clone / "models" / "my_hh" / "seeds.json").read_text())["seeds"] == [1, 2]
    assert any((clone / "results_hh" / "events").iterdir())
    assert (clone / "my_hh.onnx").is_file()
    assert (clone / "fit_hh" / "fit.json").is_file()
    assert "other" in json.loads((clone / "results_sculpting" / "summary.json").read_text())
