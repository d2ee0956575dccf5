"""Compare models in correctness and mass sculpting: ``python -m hhh_coffea.tradeoff MODEL …``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

EXAMPLES = """\
examples:
  python -m hhh_coffea.tradeoff spanet_hhh models/a models/b --output tradeoff        on validation events: to choose
  python -m hhh_coffea.tradeoff spanet_hhh models/b --fileset sculpting_test          on test events: to report
  python -m hhh_coffea.tradeoff --redraw tradeoff                                     the figure again
"""


def parser() -> argparse.ArgumentParser:
    """Command-line options."""
    p = argparse.ArgumentParser(
        prog="python -m hhh_coffea.tradeoff",
        description="Run χ² + BDT and every model on the same signal and background; write tradeoff.json, tradeoff.md "
        "and a figure of purity × efficiency against the sculpting of masses.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("models", nargs="*", metavar="MODEL", help="SPANet models; all are compared with the first")
    p.add_argument(
        "--fileset",
        default="sculpting_validation",
        metavar="JSON",
        help="one signal and one background dataset (default: sculpting_validation)",
    )
    p.add_argument("--output", type=Path, default=Path("tradeoff"), metavar="DIR", help="default: tradeoff")
    p.add_argument("--device", default="auto", metavar="auto|cpu|cuda[:i]", help="where SPANet runs")
    p.add_argument("--redraw", type=Path, metavar="DIR", help="only draw the figure of an earlier comparison")
    return p


def main(arguments: list[str] | None = None) -> int:
    """Parse, compare, draw, and return the exit code."""
    from hhh_coffea import figures_sculpting
    from hhh_coffea.sculpting_tradeoff import compare, markdown, read

    p = parser()
    options = p.parse_args(arguments)
    if not options.models and options.redraw is None:
        p.error("name at least one model")
    try:
        folder = options.redraw or options.output
        if options.redraw is None:
            compare(options.fileset, options.models, folder, options.device)
        content = read(folder)
        drawn = figures_sculpting.draw_tradeoff(folder, content)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write(f"{markdown(content)}\nwritten to {folder.resolve()}: tradeoff.json, tradeoff.md, {drawn}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
