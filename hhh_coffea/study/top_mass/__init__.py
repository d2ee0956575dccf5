"""Mass of the top quark with templates, as in M. Fenton et al., Commun. Phys. 7, 139 (2024), arXiv:2309.01886."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hhh_coffea.study.study import Study


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this study alone."""
    parser.add_argument(
        "--luminosity", type=float, default=140.0, metavar="FB", help="of the expected ellipses, in fb⁻¹ (default: 140)"
    )
    parser.add_argument(
        "--events", type=int, metavar="N", help="draw the ellipses for so many events before quality cuts instead"
    )
    parser.add_argument(
        "--pseudo-experiments", type=int, metavar="N", help="of each template mass (default: 500; with --quick 100)"
    )


def run(study: Study) -> int:
    """Run the study; returns the exit code."""
    from hhh_coffea.study.top_mass.program import run as program

    return program(study)
