"""ttH against ttbb, as in M. Fenton et al., Commun. Phys. 7, 139 (2024), arXiv:2309.01886 (docs/tops_studies.md)."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hhh_coffea.study.study import Study


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this study alone."""
    parser.add_argument(
        "--model",
        default="spanet_tth",
        metavar="DIR|NAME",
        help="SPANet model with a class signal (default: spanet_tth)",
    )
    parser.add_argument(
        "--training-fileset",
        default="training_tth",
        metavar="JSON",
        help="events for fine-tuning: those that the model was trained on (default: training_tth)",
    )
    parser.add_argument(
        "--unfreeze",
        type=int,
        default=0,
        metavar="EPOCHS",
        help="also fine-tune all weights of the network for so many epochs: minutes each on a CPU (default: 0, not done)",
    )
    parser.add_argument(
        "--bootstrap", type=_positive, metavar="N", help="bootstrap samples (default: 100; --quick: 20)"
    )
    parser.add_argument(
        "--z-signal", type=float, default=2.5, metavar="Z", help="share of signal in the bins (default: 2.5)"
    )
    parser.add_argument(
        "--z-background", type=float, default=2.5, metavar="Z", help="share of background (default: 2.5)"
    )
    parser.add_argument(
        "--lepton-pair",
        choices=["nearest_lepton", "nearest_jets"],
        default="nearest_lepton",
        help="whose ΔR to the lepton is a variable: the pair of b jets nearest to it (default), or that with the smallest ΔR",
    )


def _positive(text: str) -> int:
    value = int(text)
    if value < 2:
        raise argparse.ArgumentTypeError(f"{text} is not 2 or more")
    return value


def run(study: Study) -> int:
    """Run the study; returns the exit code."""
    from hhh_coffea.study.tth.program import run as program

    return program(study)
