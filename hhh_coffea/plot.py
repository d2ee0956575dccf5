"""Redraw the figures of a results directory, or compare several: ``hhh plot RESULTS [RESULTS2 …]``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from hhh_coffea.base.errors import UserError
from hhh_coffea.base.terminal import plural, say
from hhh_coffea.cli import LABELS, CommandParser, add_debug, add_labels, guarded, names_of, path_of

EXAMPLES = """\
examples:
  hhh plot results                        draw the figures again
  hhh plot results --overlay-published --formats pdf
  hhh plot results --label CMS --label-text "Work in Progress" --sqrt-s 14
  hhh plot results_a results_b --output both
                                          both in the same figures
"""
FORMATS = ("png", "pdf", "svg")


def parser() -> argparse.ArgumentParser:
    """Command-line options."""
    p = CommandParser(
        prog="hhh plot",
        description="Draw every figure of a results directory from its histograms.json, into its plots/ folder. With several "
        "directories, draw purity, efficiency and mass shapes of all their methods in the same figures.",
        epilog=EXAMPLES,
    )
    p.add_argument("results", type=path_of, nargs="+", help="results directories of hhh run")
    p.add_argument("--output", type=path_of, metavar="DIR", help="folder for a comparison (default: comparison)")
    p.add_argument(
        "--overlay-published",
        action="store_true",
        help="draw the published curves over ours, and add the published rows to the tables in the report",
    )
    p.add_argument(
        "--formats", type=names_of, default=("png", "pdf"), metavar="A[,B]", help="png, pdf, svg (default: png,pdf)"
    )
    add_labels(p.add_argument_group("above every figure"))
    add_debug(p)
    return p


def main(arguments: list[str] | None = None) -> int:
    """Parse, draw, and return the exit code."""
    options = parser().parse_args(arguments)
    return guarded(lambda: _plot(options), options.debug)


def _plot(options: argparse.Namespace) -> int:
    formats = options.formats
    if unknown := set(formats) - set(FORMATS):
        raise UserError(f"option --formats: no format {sorted(unknown)[0]!r}; the formats are {', '.join(FORMATS)}")
    if len(options.results) == 1 and options.output is not None:
        raise UserError("option --output is for comparisons; the figures of one results directory are written into it")
    labels = {name: value for name in LABELS if (value := getattr(options, name)) is not None}
    from rich.console import Console

    from hhh_coffea.figures.results_figures import (  # heavy: only once the options are known to be good
        draw_all,
        draw_comparison,
    )
    from hhh_coffea.jobs.progress import drawing

    if len(options.results) == 1:
        folder = options.results[0]
        where = folder / "plots"
        with drawing(Console(), where):
            drawn = draw_all(folder, options.overlay_published, formats, labels)
        if (folder / "provenance.json").is_file():
            from hhh_coffea.figures.report.html_report import write_report

            say(f"wrote {write_report(folder, options.overlay_published or None).resolve()}")
    else:
        from hhh_coffea.figures.compare import read_runs

        histograms, datasets = read_runs(options.results)
        where = options.output or Path("comparison")
        with drawing(Console(), where):
            drawn = draw_comparison(where, histograms, datasets, options.overlay_published, formats, labels)
    say(f"wrote {plural(len(drawn), 'figure')} into {where.resolve()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
