"""Published analyses of semi-leptonic tops, reproduced: ``hhh study STUDY``. Only arguments are read here."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from typing import Any

from hhh_coffea.base.errors import UserError
from hhh_coffea.base.lock import owned
from hhh_coffea.cli import CommandParser, add_debug, guarded, names_of, path_of

# study → what it does; each is a package of this room with add_arguments(parser) and run(study)
STUDIES = {
    "tth": "ttH against ttbb: a BDT on each reconstruction method, and SPANet's own classes (docs/tops_studies.md)",
    "top-mass": "mass of the top quark: templates, expected ellipses, calibration, one fit to a sample of known mass",
    "zprime": "Z′ → tt̄: significance with each method, sculpting of m(tt̄), the neutrino",
}
EXAMPLES = """\
examples:
  hhh study tth --quick --output studies/tth
          a few minutes: fewer events, larger errors
  hhh study tth --output studies/tth
          all events of the bundled fileset
  hhh study tth --methods spanet --workers 2
          one method, two processes
  hhh study tth --fileset my_tops.json
          your own events

A study works in stages. A stage that was done before with the same options,
files and models is not repeated. To continue a study that was interrupted,
repeat its command.
"""


def parser() -> argparse.ArgumentParser:
    """Command-line options of all studies."""
    p = CommandParser(
        prog="hhh study",
        description="Reproduce a published analysis of semi-leptonic tops; write summary.json, figures and report.html.",
        epilog=EXAMPLES,
    )
    studies = p.add_subparsers(dest="study", required=True, metavar="STUDY")
    for name, help_ in STUDIES.items():
        sub = studies.add_parser(name, help=help_, description=help_)
        _add_common(sub, name)
        _module(name).add_arguments(sub)
        add_debug(sub)
    return p


def _add_common(sub: argparse.ArgumentParser, name: str) -> None:
    sub.add_argument(
        "--output",
        type=path_of,
        default=Path("studies") / name,
        metavar="DIR",
        help=f"where everything goes (default: studies/{name})",
    )
    sub.add_argument("--quick", action="store_true", help="fewer events and fewer bootstrap samples: minutes")
    sub.add_argument("--fileset", metavar="JSON", help="other events (default: the bundled fileset of the study)")
    sub.add_argument("--datasets", type=names_of, metavar="A[,B]", help="only these datasets of the fileset")
    sub.add_argument(
        "--methods", type=names_of, metavar="A[,B]", help="reconstruction methods (default: all of the study)"
    )
    sub.add_argument("--overwrite", action="store_true", help="repeat every stage, also those that were done before")
    sub.add_argument(
        "--workers", type=int, default=1, metavar="N", help="local processes that read events (default: 1)"
    )
    sub.add_argument("--device", default="auto", metavar="auto|cpu|cuda[:i]", help="where networks run")


def _module(name: str) -> Any:
    return importlib.import_module(f"hhh_coffea.study.{name.replace('-', '_')}")


def main(arguments: list[str] | None = None) -> int:
    """Parse, run the study, and return the exit code."""
    options = parser().parse_args(arguments)
    lost = "the same command continues after the last stage that was done"
    return guarded(lambda: _run(options), options.debug, mistakes=(UserError, OSError), lost=lost)


def _run(options: argparse.Namespace) -> int:
    from hhh_coffea.study.stages import FOLDER
    from hhh_coffea.study.study import Study  # heavy: only once the options are known to be good

    if options.output.is_dir() and any(options.output.iterdir()) and not (options.output / FOLDER).is_dir():
        raise UserError(f"{options.output}: is not empty and contains no study; choose another --output")
    with owned(options.output):
        code: int = _module(options.study).run(Study.of(options))
    return code
