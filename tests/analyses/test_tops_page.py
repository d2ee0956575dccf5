"""The example in docs/tops.md runs and prints what the page shows, and its commands are options that exist."""

import re
import shlex
from pathlib import Path

import pytest

from hhh_coffea import display, run

PAGE = Path(__file__).parents[2] / "docs" / "tops.md"
TEXT = PAGE.read_text(encoding="utf-8")


def test_example_prints_what_the_page_shows(capsys):
    code, shown = (re.search(rf"```{kind}\n(.*?)```", TEXT, re.DOTALL)[1] for kind in ("python", "text"))
    exec(compile(code, str(PAGE), "exec"), {})
    assert capsys.readouterr().out == shown


@pytest.mark.parametrize("line", re.findall(r"^hhh (.*?)(?:\s+#.*)?$", TEXT, re.MULTILINE))
def test_commands_are_understood(line):
    command, *arguments = shlex.split(line)
    parser = {"run": run.parser, "display": display.parser}[command]()
    assert vars(parser.parse_args(arguments))["fileset"] == "demo_tops"


def test_options_of_chi2_are_all_on_the_page():
    from hhh_coffea.methods.chi2_tops import TopChi2Options

    table = TEXT.partition("| option of `chi2` |")[2].partition("\n\n")[0].strip()
    assert set(re.findall(r"`(\w+)`", table)) >= set(TopChi2Options.model_fields)
    for name, field in TopChi2Options.model_fields.items():
        row = next(line for line in table.splitlines()[1:] if f"`{name}`" in line.split("|")[1])
        assert f"{field.default:g}" in row if isinstance(field.default, int | float) else f"`{field.default}`" in row
