"""What all commands share: exit codes, errors without tracebacks, and the list of commands."""

from __future__ import annotations

import argparse
import importlib
import io
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from hhh_coffea.base.errors import UserError, did_you_mean
from hhh_coffea.base.strict import comma_separated
from hhh_coffea.base.terminal import wrapped
from hhh_coffea.base.user_files import expanded

EXIT_OK, EXIT_NOTHING_READ, EXIT_USAGE, EXIT_SKIPPED, EXIT_UNFINISHED, EXIT_INTERRUPTED = 0, 1, 2, 3, 4, 130

EXIT_CODES = """\
exit codes:
  0    everything was processed
  1    nothing could be read, or a failure with --on-error stop
  2    a mistake in the options or the fileset
  3    files or chunks were skipped, or a signal has other decays than its
       analysis
  4    the run could not be completed (cluster lost, disk full)
  130  interrupted
After 4 and 130, repeat the command to continue.
"""

# command → what it does; each is a module of this package with parser() and main(arguments)
COMMANDS = {
    "run": "make candidates with every method; count how many are correct",
    "fit": "statistical fit to results: significance, limits, couplings",
    "plot": "draw the figures of results again, or compare several results",
    "display": "draw one event: jets, truth, and the candidates of each method",
    "tradeoff": "compare models in correctness and mass sculpting",
    "train": "make training data; train, import and export models",
    "study": "reproduce a published analysis of semi-leptonic tops",
}


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Descriptions and examples keep their lines; what is wider than the terminal is wrapped."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return wrapped(textwrap.indent(text, indent), width, hang="")


class CommandParser(argparse.ArgumentParser):
    """A parser whose errors are one message on stderr, with a suggestion where an option is misspelt."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **{"formatter_class": _HelpFormatter, **options})

    def error(self, message: str) -> NoReturn:
        """Print the line and exit with 2."""
        _, unknown, words = message.partition("unrecognized arguments: ")
        option = words.split(" ")[0].split("=")[0] if unknown else ""
        hint = did_you_mean(option, sorted(_options(self))) if option.startswith("-") else ""
        self.exit(EXIT_USAGE, wrapped(f"error: {message}{hint}; --help explains every option") + "\n")


def _options(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Option strings of a parser and of its subcommands."""
    for action in parser._actions:
        yield from action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            for sub in action.choices.values():
                yield from _options(sub)


def path_of(text: str) -> Path:
    """The type of an option that names a file or folder: ``~`` and ``~user`` are understood."""
    try:
        return expanded(text)
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def names_of(text: str) -> tuple[str, ...]:
    """The type of an option that takes names, ``a,b``."""
    names: tuple[str, ...] = comma_separated(text)
    return names


def add_debug(parser: argparse.ArgumentParser) -> None:
    """Add ``--debug``."""
    parser.add_argument("--debug", action="store_true", help="print a traceback for a mistake")


def add_definitions(group: argparse._ActionsContainer, choices: Sequence[str], explained: str, earlier: str) -> None:
    """Add ``--definitions``, and without help the ``earlier`` name of this option."""
    for name, text in (("--definitions", explained), (earlier, argparse.SUPPRESS)):
        group.add_argument(name, dest="definitions", choices=choices, default=argparse.SUPPRESS, help=text)


LABELS = ("label", "label_text", "sqrt_s")


def add_labels(group: argparse._ArgumentGroup) -> None:
    """Add what figures say above their axes, in the conventions of mplhep."""
    group.add_argument(
        "--label", metavar="NAME", help="name of the experiment above every figure, in bold: CMS, ATLAS, FCC …"
    )
    group.add_argument(
        "--label-text",
        metavar="TEXT",
        help='text in italics after --label (default: "Simulation", or nothing if a dataset is data)',
    )
    group.add_argument("--sqrt-s", type=float, metavar="TEV", help="centre-of-mass energy above every figure, in TeV")


def guarded(
    action: Callable[[], int], debug: bool = False, mistakes: tuple[type[Exception], ...] = (UserError,), lost: str = ""
) -> int:
    """Run a command: mistakes become one line on stderr and exit code 2, with ``debug`` the full traceback.

    ``lost`` says what an interrupt costs. Anything else is a fault of ours and keeps its traceback.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a ± that the terminal cannot show is no reason to lose a run
    try:
        return action()
    except KeyboardInterrupt:
        sys.stderr.write(wrapped(f"interrupted{lost and ': ' + lost}") + "\n")
        return EXIT_INTERRUPTED
    except mistakes as error:
        if debug:
            raise
        sys.stderr.write(wrapped(f"error: {error}") + "\n")
        return EXIT_USAGE


def parser() -> argparse.ArgumentParser:
    """All commands in one parser: what shell completion is made of."""
    whole = argparse.ArgumentParser(
        prog="hhh", description="Find out which jets came from which particle.", add_help=True
    )
    commands = whole.add_subparsers(dest="command", metavar="COMMAND")
    for name, help_ in COMMANDS.items():
        own: argparse.ArgumentParser = importlib.import_module(f"hhh_coffea.{name}").parser()
        commands.add_parser(name, help=help_, description=own.description, parents=[own], add_help=False)
        _complete_paths(own)
    commands.add_parser("completion", help="print a completion script for bash, zsh or tcsh").add_argument(
        "shell", choices=["bash", "zsh", "tcsh"]
    )
    return whole


def _complete_paths(parser: argparse.ArgumentParser) -> None:
    """Tell shtab which options take files and folders, by their metavars; subcommands too."""
    import shtab

    for action in parser._actions:
        words = set(action.metavar.upper().replace("|", " ").split()) if isinstance(action.metavar, str) else set()
        if words & {"JSON", "YAML", "PATH", "FILE", "FILE.ONNX", "FILE.H5", "PEM", "NAME"}:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
        elif words & {"DIR", "MODEL", "MODEL_DIR", "CHECKPOINT_DIR"} or action.dest == "results":
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
        if isinstance(action, argparse._SubParsersAction):
            for sub in action.choices.values():
                _complete_paths(sub)
