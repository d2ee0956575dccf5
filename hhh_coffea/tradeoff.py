"""Compare models in correctness and mass sculpting: ``hhh tradeoff MODEL …``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from hhh_coffea.base.errors import UserError
from hhh_coffea.base.lock import owned
from hhh_coffea.base.terminal import say
from hhh_coffea.cli import EXIT_OK, CommandParser, add_debug, guarded, path_of

EXAMPLES = """\
examples:
  hhh tradeoff spanet_hhh models/a models/b --output tradeoff
                            on validation events, to choose a model
  hhh tradeoff spanet_hhh models/b --fileset sculpting_test
                            on test events, to report the result
  hhh tradeoff --redraw tradeoff
                            draw the figure again
"""


def parser() -> argparse.ArgumentParser:
    """Command-line options."""
    p = CommandParser(
        prog="hhh tradeoff",
        description="Run χ² + BDT and every model on the same signal and background; write tradeoff.json, tradeoff.md "
        "and a figure of purity × efficiency against the sculpting of masses.",
        epilog=EXAMPLES,
    )
    p.add_argument("models", nargs="*", metavar="MODEL", help="SPANet models; all are compared with the first")
    p.add_argument(
        "--fileset",
        default="sculpting_validation",
        metavar="JSON",
        help="one signal and one background dataset (default: sculpting_validation)",
    )
    p.add_argument(
        "--output",
        type=path_of,
        default=Path("tradeoff"),
        metavar="DIR",
        help="folder for the output (default: tradeoff)",
    )
    p.add_argument(
        "--device",
        default="auto",
        metavar="auto|cpu|cuda[:i]",
        help="where SPANet runs (default: a GPU if there is one)",
    )
    p.add_argument("--redraw", type=path_of, metavar="DIR", help="only draw the figure of an earlier comparison again")
    add_debug(p)
    return p


def main(arguments: list[str] | None = None) -> int:
    """Parse, compare, draw, and return the exit code."""
    options = parser().parse_args(arguments)
    return guarded(lambda: _tradeoff(options), options.debug, mistakes=(UserError, OSError))


def _tradeoff(options: argparse.Namespace) -> int:
    if not options.models and options.redraw is None:
        raise UserError("name at least one model")
    from hhh_coffea.figures import sculpting as figures_sculpting  # heavy: only once the options are known to be good
    from hhh_coffea.jobs.tradeoff import compare, lines, read

    folder = options.redraw or options.output
    if options.redraw is None:
        with owned(folder):
            compare(options.fileset, options.models, folder, options.device)
    content = read(folder)
    drawn = figures_sculpting.draw_tradeoff(folder, content)
    sys.stdout.write("\n".join(["", *lines(content), "", ""]))
    say(f"written to {folder.resolve()}: tradeoff.json, tradeoff.md, {drawn}")
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
