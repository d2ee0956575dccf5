"""Redraw the figures of a results directory: ``python -m hhh_coffea.plot RESULTS``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from hhh_coffea.results import ResultsError

EXAMPLES = """\
examples:
  python -m hhh_coffea.plot results
  python -m hhh_coffea.plot results --overlay-published --formats pdf
"""


def parser() -> argparse.ArgumentParser:
    """Command-line options."""
    p = argparse.ArgumentParser(
        prog="python -m hhh_coffea.plot",
        description="Draw every figure of a results directory from its histograms.json, into its plots/ folder.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("results", type=Path, help="results directory of python -m hhh_coffea.run")
    p.add_argument("--overlay-published", action="store_true", help="draw the curves of arXiv:2412.03819 over ours")
    p.add_argument("--formats", default="png,pdf", metavar="A[,B]", help="png, pdf, svg (default: png,pdf)")
    return p


def main(arguments: list[str] | None = None) -> int:
    """Parse, draw, and return the exit code."""
    options = parser().parse_args(arguments)
    formats = tuple(f.strip() for f in options.formats.split(","))
    if unknown := set(formats) - {"png", "pdf", "svg"}:
        print(f"error: option --formats: no format {sorted(unknown)[0]!r}; there are png, pdf, svg", file=sys.stderr)  # noqa: T201
        return 2
    try:
        from hhh_coffea.figures import draw_all

        drawn = draw_all(options.results, options.overlay_published, formats)
    except ResultsError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return 2
    print(f"{len(drawn)} figures in {(options.results / 'plots').resolve()}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
