"""Z′ → tt̄ on tt̄, as in M. Fenton et al., Commun. Phys. 7, 139 (2024), arXiv:2309.01886."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hhh_coffea.study.study import Study


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this study alone."""


def run(study: Study) -> int:
    """Run the study; returns the exit code."""
    from hhh_coffea.study.zprime.program import run as program

    return program(study)
