"""Train, import and export models: ``hhh train COMMAND``.

Only arguments are read here; each command delegates to the library and is added by a pair of functions in
``COMMANDS``: one that declares its arguments and one that runs it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

from hhh_coffea.base.lock import owned
from hhh_coffea.cli import CommandParser, add_debug, guarded
from hhh_coffea.jobs import event_commands, spanet_commands
from hhh_coffea.jobs import models as model_commands

Declare = Callable[[argparse.ArgumentParser], None]
Run = Callable[[argparse.Namespace], None]

COMMANDS: dict[str, tuple[str, str, Declare, Run]] = {
    "data": (
        "turn the events of a fileset into training data",
        "hhh train data --fileset training_hhh --topology hhh --output data/hhh",
        spanet_commands.data_arguments,
        spanet_commands.data,
    ),
    "spanet": (
        "train a SPANet",
        "hhh train spanet --data data/hhh --config hhh --output models/spanet_mine",
        spanet_commands.spanet_arguments,
        spanet_commands.spanet,
    ),
    "bdt": (
        "train the BDT of large-radius jets for chi2+bdt, and write a model directory with its model card",
        "hhh train bdt --fileset bdt_training --test bdt_test --output models/my_bdt",
        event_commands.bdt_arguments,
        event_commands.bdt,
    ),
    "transfer-functions": (
        "derive the transfer functions of the kinematic likelihood fit from simulated semi-leptonic tt̄",
        "hhh train transfer-functions --fileset training_ttbar --output models/my_transfer_functions",
        event_commands.transfer_functions_arguments,
        event_commands.transfer_functions,
    ),
    "btag-efficiencies": (
        "make the map of b-tag efficiencies that the b-tag correction of NanoAOD needs (docs/nanoaod.md)",
        "hhh train btag-efficiencies --fileset nano.json --datasets TT --output btag_efficiency.json",
        event_commands.btag_efficiencies_arguments,
        event_commands.btag_efficiencies,
    ),
    "pdnn": (
        "train the permutation network of the method pdnn",
        "hhh train pdnn --fileset training_ttbar --output models/my_pdnn",
        event_commands.pdnn_arguments,
        event_commands.pdnn,
    ),
    "import-hdf5": (
        "import a training file of the original SPANet as a training data directory",
        "hhh train import-hdf5 ttbar.h5 --topology ttbar.yaml --output data/ttbar",
        spanet_commands.import_hdf5_arguments,
        spanet_commands.import_hdf5,
    ),
    "import-spanet": (
        "import a checkpoint of the original SPANet as a model directory",
        "hhh train import-spanet runs/version_0 --output models/spanet_v0",
        model_commands.import_spanet_arguments,
        model_commands.import_spanet,
    ),
    "mass-price": (
        "add a price on candidate masses to a trained model, to reduce mass sculpting in background",
        "hhh train mass-price --model spanet_hhh --background data/qcd --slope 0.06 --output models/mine",
        model_commands.mass_price_arguments,
        model_commands.mass_price,
    ),
    "embeddings": (
        "write the event vectors of a trained network as a table, to train another model on them",
        "hhh train embeddings --data data/tth --model spanet_tth --output tth.parquet",
        spanet_commands.embeddings_arguments,
        spanet_commands.embeddings,
    ),
    "export-onnx": (
        "write a model as ONNX, including its decoding",
        "hhh train export-onnx models/spanet_v0 --output spanet.onnx --length Jets=10",
        model_commands.export_onnx_arguments,
        model_commands.export_onnx,
    ),
}


def parser() -> argparse.ArgumentParser:
    """Make the command-line parser with every command of ``COMMANDS``."""
    examples = "\n".join(f"  {example}" for _, example, _, _ in COMMANDS.values())
    p = CommandParser(
        prog="hhh train",
        description="Train, import and export models.",
        epilog=f"examples:\n{examples}",
    )
    commands = p.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (help_, example, declare, run) in COMMANDS.items():
        sub = commands.add_parser(
            name,
            help=help_,
            description=help_[0].upper() + help_[1:] + ".",
            epilog=f"example:\n  {example}",
        )
        declare(sub)
        add_debug(sub)
        sub.set_defaults(run=run)
    return p


def _owned(arguments: argparse.Namespace) -> AbstractContextManager[None]:
    """The lock on what a command writes; of the processes that torchrun starts the first has it."""
    if not spanet_commands.is_first():
        return nullcontext()
    writes_file = (
        arguments.command in ("export-onnx", "btag-efficiencies", "embeddings")
        or getattr(arguments, "format", "directory") != "directory"
    )
    return owned(arguments.output, writes_file)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; 0 if it succeeded, 2 with a message on stderr for what the user can correct."""
    arguments = parser().parse_args(argv)

    def run() -> int:
        with _owned(arguments):
            arguments.run(arguments)
        return 0

    return guarded(run, getattr(arguments, "debug", False), mistakes=(ValueError, OSError, ImportError))


if __name__ == "__main__":
    sys.exit(main())
