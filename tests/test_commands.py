"""The command line as a whole: its list of commands, completion, and help."""

import subprocess
import sys

import pytest
from conftest import REPOSITORY

from hhh_coffea import cli
from hhh_coffea.__main__ import main


def test_without_arguments_the_commands_are_listed(capsys):
    for arguments in ([], ["--help"]):
        assert main(arguments) == 0
        printed = capsys.readouterr().out
        assert all(f"  {name} " in printed for name in cli.COMMANDS)
        assert "exit codes:" in printed


def test_mistakes(capsys):
    assert main(["rum"]) == 2
    assert "did you mean 'run'" in capsys.readouterr().err
    assert main(["completion", "fish"]) == 2
    assert main(["run", "--fileset", "nowhere.json"]) == 2
    assert "error: nowhere.json: no such fileset" in capsys.readouterr().err
    assert main(["display", "--fileset", "demo", "--event", "0", "--methods", "chi3"]) == 2
    assert "no method 'chi3'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("run --method chi2", "unrecognized arguments: --method chi2 (did you mean '--methods'?)"),
        ("run --chi2jets=8", "unrecognized arguments: --chi2jets=8 (did you mean '--chi2-jets'?)"),
        ("run demo", "unrecognized arguments: demo"),
        ("run --executor dsk", "argument --executor: invalid choice: 'dsk'"),
        ("plot results --outptu both", "unrecognized arguments: --outptu both (did you mean '--output'?)"),
        ("train mass-price --model m", "the following arguments are required: --background, --slope, --output"),
        ("train data --fileset demo --output data --topolgy hh", "--topolgy hh (did you mean '--topology'?)"),
    ],
)
def test_a_mistake_in_the_options_is_one_line(line, said, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(line.split())
    printed = capsys.readouterr().err
    assert printed.startswith("error: ")
    assert said in printed
    assert printed.count("\n") == 1


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"])
    assert "example" in capsys.readouterr().out


def test_completion_knows_commands_and_options(tmp_path, capsys):
    """The script is loaded by a real bash, which then completes a command and an option."""
    assert main(["completion", "bash"]) == 0
    script = tmp_path / "hhh.bash"
    script.write_text(capsys.readouterr().out)
    ask = 'source "$1"; COMP_WORDS=("${@:2}"); COMP_CWORD=$(($#-2)); "$(complete -p hhh | sed "s/.*-F \\([^ ]*\\).*/\\1/")"'
    (tmp_path / "mine.json").touch()
    cases = (
        *(("hhh di", "display"), ("hhh run --file", "--fileset"), ("hhh train sp", "spanet")),
        *(("hhh run --executor fut", "futures"), ("hhh run --fileset mi", "mine.json")),
    )
    for line, expected in cases:
        found = subprocess.run(
            ["bash", "-c", ask + '; printf "%s\\n" "${COMPREPLY[@]}"', "bash", str(script), *line.split()],
            capture_output=True, text=True, check=True, cwd=tmp_path,
        )  # fmt: skip
        assert expected in found.stdout.split()


def test_python_m_hhh_coffea():
    found = subprocess.run(
        [sys.executable, "-m", "hhh_coffea", "--version"], cwd=REPOSITORY, capture_output=True, check=True
    )
    assert found.stdout.startswith(b"hhh_coffea ")
