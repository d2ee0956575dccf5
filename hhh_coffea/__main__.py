"""``python -m hhh_coffea`` and ``hhh``: list the commands, run one, or print a shell completion script."""

from __future__ import annotations

import importlib
import sys

from hhh_coffea import __version__
from hhh_coffea.base.errors import did_you_mean
from hhh_coffea.base.terminal import wrapped
from hhh_coffea.cli import COMMANDS, EXIT_CODES, EXIT_USAGE

SHELLS = ("bash", "zsh", "tcsh")


def usage() -> str:
    """What ``hhh`` says without arguments."""
    lines = [f"  {name:<11} {help_}" for name, help_ in COMMANDS.items()]
    return (
        f"hhh_coffea {__version__}: which jets came from which particle?\n\n"
        "usage: hhh COMMAND [OPTIONS]    (python -m hhh_coffea COMMAND is the same)\n\n"
        "commands:\n" + "\n".join(lines) + "\n"
        f"  {'completion':<11} print a completion script for {', '.join(SHELLS)};\n"
        f"  {'':<11} for bash: "
        'eval "$(hhh completion bash)"\n\n'
        "To begin: hhh run --fileset demo\n"
        "hhh COMMAND --help explains every option, with examples.\n\n" + EXIT_CODES
    )


def main(arguments: list[str] | None = None) -> int:
    """Hand the arguments to the command named first, and return its exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    if not words or words[0] in ("-h", "--help", "help"):
        sys.stdout.write(usage())
        return 0
    command, rest = words[0], words[1:]
    if command == "--version":
        sys.stdout.write(f"hhh_coffea {__version__}\n")
        return 0
    if command == "completion":
        return _completion(rest)
    if command not in COMMANDS:
        hint = did_you_mean(command, [*COMMANDS, "completion"])
        known = ", ".join([*COMMANDS, "completion"])
        sys.stderr.write(wrapped(f"error: no command {command!r}{hint}; the commands are {known}") + "\n")
        return EXIT_USAGE
    code: int = importlib.import_module(f"hhh_coffea.{command}").main(rest)
    return code


def _completion(rest: list[str]) -> int:
    import shtab

    from hhh_coffea.cli import parser

    if len(rest) != 1 or rest[0] not in SHELLS:
        sys.stderr.write(f"error: hhh completion takes one of {', '.join(SHELLS)}\n")
        return EXIT_USAGE
    sys.stdout.write(shtab.complete(parser(), rest[0]) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
