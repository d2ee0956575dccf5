"""Commands of ``hhh train`` that make a pass over events of a fileset: BDT, transfer functions, b-tag efficiencies, pdnn."""

from __future__ import annotations

import argparse
from itertools import pairwise
from typing import Any

from hhh_coffea.base.terminal import contents, say
from hhh_coffea.cli import names_of, path_of


def bdt_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``bdt``."""
    from hhh_coffea.base.bundled import list_bundled

    parser.argument_default = argparse.SUPPRESS  # what is not given is left to the library's own defaults
    data = parser.add_argument_group("data")
    data.add_argument(
        "--fileset",
        required=True,
        metavar="JSON",
        help=f"training events, signal and background (bundled: {', '.join(list_bundled('fileset'))})",
    )
    data.add_argument("--test", metavar="JSON", help="test events, used only at the end, for the model card")
    data.add_argument("--datasets", metavar="A[,B]", help="only these datasets of the training fileset")
    data.add_argument("--max-files", type=int, metavar="N", help="at most N files per dataset")
    data.add_argument("--chunksize", type=int, metavar="N", help="events per chunk")
    what = parser.add_argument_group("training")
    what.add_argument(
        "--features", type=names_of, metavar="A[,B]", help="features of large-radius jets (default: the nine published)"
    )
    what.add_argument(
        "--validation-fraction", type=float, metavar="F", help="share of the events for validation (default: 0.2)"
    )
    what.add_argument("--seed", type=int, metavar="N", help="seed of the boosting and the bootstrap (default: 42)")
    what.add_argument(
        "--no-search", dest="search", action="store_false", help="try only the published hyper-parameters"
    )
    what.add_argument("--threads", type=int, metavar="N", help="threads of xgboost on one machine (default: 1)")
    what.add_argument("--compare", metavar="PATH|NAME", help="also measure this model, on the same events")
    where = parser.add_argument_group("where to run")
    where.add_argument("--executor", choices=["iterative", "futures", "dask"], help="as for hhh run")
    where.add_argument("--workers", type=int, metavar="N", help="local worker processes")
    where.add_argument("--scheduler", metavar="tcp://…", help="join this dask scheduler")
    out = parser.add_argument_group("what to write")
    out.add_argument(
        "--output", type=path_of, required=True, metavar="DIR", help="model directory; its name is the model's name"
    )
    out.add_argument("--keep-table", action="store_true", help="keep the table of jets (parquet, in --output)")


def bdt(arguments: argparse.Namespace) -> None:
    """Train the BDT of large-radius jets."""
    from hhh_coffea.config import make_config
    from hhh_coffea.jobs.train_bdt import TrainingOptions, train_bdt

    given = _given(arguments)
    own = {key: given.pop(key) for key in list(given) if key in TrainingOptions.__dataclass_fields__}
    train_bdt(make_config({**given, "processor": "bdt_table"}), TrainingOptions(**own))


def add_job(parser: argparse.ArgumentParser, of_chunks: str = "events per chunk") -> None:
    """Options of the pass over the events that a command makes; ``of_chunks`` is the help of their size."""
    parser.add_argument("--executor", choices=["iterative", "futures", "dask"], help="as for hhh run")
    parser.add_argument("--workers", type=int, metavar="N", help="local worker processes")
    parser.add_argument("--scheduler", metavar="tcp://…", help="join this dask scheduler")
    parser.add_argument("--chunksize", type=int, metavar="N", help=of_chunks)
    parser.add_argument("--max-chunks", type=int, metavar="N", help="at most N chunks per dataset")
    parser.add_argument(
        "--on-error",
        choices=["stop", "skip"],
        default="stop",
        help="stop at a failed chunk, or skip it (default: stop)",
    )


def _given(arguments: argparse.Namespace, *own: str) -> dict[str, Any]:
    """What was given of the options of a run; ``own`` are those of the command itself."""
    given = {key: value for key, value in vars(arguments).items() if key not in ("command", "run", "debug", *own)}
    return {**given, "output": str(arguments.output)}


def transfer_functions_arguments(parser: argparse.ArgumentParser, events: str = "simulated semi-leptonic tt̄") -> None:
    """Declare the arguments of ``transfer-functions``."""
    parser.argument_default = argparse.SUPPRESS  # what is not given is left to the library's own defaults
    parser.add_argument("--fileset", required=True, metavar="JSON", help=events)
    parser.add_argument("--datasets", metavar="A[,B]", help="only these datasets of the fileset")
    parser.add_argument("--output", type=path_of, required=True, metavar="DIR", help="model directory to write")
    add_job(parser)


def transfer_functions(arguments: argparse.Namespace) -> None:
    """Derive transfer functions."""
    from hhh_coffea.config import make_config
    from hhh_coffea.jobs.train_transfer_functions import train_transfer_functions

    train_transfer_functions(make_config(_given(arguments)))
    say(f"wrote {contents(arguments.output)}")


def btag_efficiencies_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``btag-efficiencies``."""
    parser.argument_default = argparse.SUPPRESS
    parser.add_argument("--fileset", required=True, metavar="JSON", help="simulated NanoAOD")
    parser.add_argument("--datasets", metavar="A[,B]", help="only these datasets of the fileset")
    parser.add_argument("--output", type=path_of, required=True, metavar="FILE", help="correctionlib JSON to write")
    parser.add_argument(
        "--pt-bins", type=_edges, metavar="GEV,GEV,…", help="edges in pT (default: 20 to 1000 in 9 bins)"
    )
    parser.add_argument("--eta-bins", type=_edges, metavar="ETA,ETA,…", help="edges in |η| (default: 0,0.8,1.6,2.5)")
    parser.add_argument(
        "--min-jets", type=float, metavar="N", help="bins with fewer jets take the mean of a wider bin (default: 20)"
    )
    add_job(parser)


def btag_efficiencies(arguments: argparse.Namespace) -> None:
    """Make the map of b-tag efficiencies."""
    from hhh_coffea.config import make_config
    from hhh_coffea.jobs.btag_efficiencies import make_btag_efficiencies

    given = _given(arguments)
    own = {
        new: given.pop(old)
        for old, new in (("pt_bins", "pt"), ("eta_bins", "abs_eta"), ("min_jets", "min_jets"))
        if old in given
    }
    say(f"wrote {make_btag_efficiencies(make_config(given), **own)}")


def _edges(text: str) -> tuple[float, ...]:
    """Increasing numbers; at least two."""
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = ()
    if len(found) < 2 or any(not a < b for a, b in pairwise(found)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of increasing edges")
    return found


def pdnn_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``pdnn``."""
    transfer_functions_arguments(parser, "simulated signal of one analysis with jets, a lepton and MET: tt̄ or ttH")
    parser.add_argument("--resume", action="store_true", help="continue after the last finished epoch")
    parser.add_argument("--device", metavar="auto|cpu|cuda", help="device (default: a GPU if there is one)")
    parser.add_argument(
        "--set", action="append", metavar="KEY=VALUE", help="change a setting: epochs=60, masses=true … (docs/pdnn.md)"
    )


def pdnn(arguments: argparse.Namespace) -> None:
    """Train a permutation network."""
    from hhh_coffea.config import make_config
    from hhh_coffea.jobs.train_pdnn import train_pdnn
    from hhh_coffea.training.pdnn_options import read_settings

    given = {**_given(arguments, "set", "resume"), "methods": "pdnn"}  # a device is for methods with networks
    progress = train_pdnn(
        make_config(given), read_settings(getattr(arguments, "set", [])), resume=getattr(arguments, "resume", False)
    )
    say(f"kept epoch {progress.best_epoch}: {100 * progress.best_product:.2f}% of the validation events correct")
    say(f"wrote {contents(arguments.output)}; training_state/ may be deleted")
