"""What is printed fits a terminal of 80 columns; only a word that is longer than a line, such as a path, may stick out."""

import argparse
import importlib
import io

import pytest
from rich.console import Console

from hhh_coffea import cli
from hhh_coffea.__main__ import main, usage
from hhh_coffea.base.terminal import contents, plural, wrapped
from hhh_coffea.results.console.layout import show, table_of

WIDTH = 80


def too_wide(text):
    """Lines that are too long although they have a space to be broken at."""
    return [line for line in text.splitlines() if len(line.rstrip()) > WIDTH and len(line.split()) > 1]


def parsers(parser):
    yield parser.prog, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for sub in action.choices.values():
                yield from parsers(sub)


ALL = {n: p for c in cli.COMMANDS for n, p in parsers(importlib.import_module(f"hhh_coffea.{c}").parser())}


@pytest.mark.parametrize("name", ALL)
def test_help(name, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    assert len(ALL) > 20
    assert [line for line in ALL[name].format_help().splitlines() if len(line) > WIDTH] == []


def test_the_list_of_commands():
    assert [line for line in usage().splitlines() if len(line) > WIDTH] == []


def test_long_lines_are_broken_at_spaces_and_paths_are_not_broken():
    path = "/data/" + "x" * 100 + "/report.html"
    text = wrapped(f"  written to {path}: summary.json, provenance.json, plots/", 40)
    assert text.splitlines() == ["  written to", f"    {path}:", "    summary.json, provenance.json,", "    plots/"]
    assert wrapped("a b\n\n  c d", 3, hang="") == "a b\n\n  c\n  d"


def test_contents_of_a_folder(tmp_path):
    for name in ("b.json", "a.yaml", ".lock"):
        (tmp_path / name).touch()
    (tmp_path / "plots").mkdir()
    assert contents(tmp_path) == f"{tmp_path}: a.yaml, b.json, plots/"


def test_plurals():
    assert [plural(n, "file") for n in (0, 1, 2000)] == ["0 files", "1 file", "2,000 files"]


# Lines of one entry build on each other: the tests of one module may run in different processes.
@pytest.mark.slow
@pytest.mark.parametrize(
    "lines",
    [
        ["run --fileset demo --methods chi2,spanet --dry-run"],
        ["run --fileset demo_hh4b --methods chi2,dhh --no-plots --candidates --region many=sum(jets.btag)>=4"],
        ["run --fileset demo_tops --no-plots --output tops --overlay-published --verbose"],
        ["run --fileset demo --no-plots --output sculpting --processor sculpting --methods chi2,chi2+bdt"],
        [
            "run --fileset demo_hhh --methods chi2,chi2+bdt,spanet --no-plots --verbose --luminosity 3000",
            "fit results --no-plots",
        ],
        [
            "run --fileset demo --datasets HH --processor bdt_scan --no-plots --output scan",
            "plot scan --formats png",
        ],
        ["display --fileset demo --event 5 --methods chi2"],
        [
            "train data --fileset demo --datasets HH --topology hh --output data",
            "train spanet --data data --config hh --output model --set epochs=1 --set max_events=300 --device cpu",
        ],
    ],
    ids=lambda lines: lines[-1],
)
def test_everything_printed(lines, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for line in lines:
        words = line.split()
        if words[0] == "run":
            words += ["--max-chunks", "1", "--chunksize", "400"]
        assert printed_by(words, monkeypatch, capsys) == 0


@pytest.mark.parametrize(
    "line", ["train spanet --data data --config nowhere.yaml --output model", "run --fileset nowhere.json"]
)
def test_mistakes_fit_too(line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert printed_by(line.split(), monkeypatch, capsys) == 2


def printed_by(words, monkeypatch, capsys):
    """Exit code of a command; what it prints fits."""
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    code = main(words)
    printed = capsys.readouterr()
    assert printed.out + printed.err
    assert too_wide(printed.out) == too_wide(printed.err) == []
    return code


def test_wide_tables_are_printed_in_parts():
    """Each part repeats the title and the columns of text; no cell is shortened."""
    out = io.StringIO()
    table = table_of("a title " * 20, ("dataset", "method"), tuple(f"number {k}" for k in range(9)))
    for name in ("HHH", "HH"):
        table.add_row(name, "spanet", *(f"{name}{k} ± 0.5" for k in range(9)))
    show(Console(file=out, width=WIDTH), table)
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= WIDTH
    assert sum("dataset" in line for line in lines) == 2
    assert all(f"{name}{k} ± 0.5" in out.getvalue() for name in ("HHH", "HH") for k in range(9))
    assert "…" not in out.getvalue()
