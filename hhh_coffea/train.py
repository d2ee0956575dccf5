"""Train, import and export models: ``hhh train COMMAND``.

Only arguments are read here; each command delegates to the library and is added by a pair of functions in
``COMMANDS``: one that declares its arguments and one that runs it.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hhh_coffea.base.lock import owned
from hhh_coffea.cli import CommandParser, add_debug, guarded, path_of
from hhh_coffea.jobs import models as train_models
from hhh_coffea.jobs.models import say


def _data_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--fileset", required=True, metavar="JSON", help="datasets and their files")
    parser.add_argument(
        "--topology",
        default="hhh",
        metavar="NAME|YAML",
        help="event YAML: a bundled one by name, or your own file (default: hhh)",
    )
    parser.add_argument(
        "--output", type=path_of, required=True, metavar="DIR", help="training data directory (or FILE.h5) to write"
    )
    parser.add_argument(
        "--format",
        choices=["directory", "spanet-hdf5"],
        default="directory",
        help="spanet-hdf5: a file for the original SPANet, and its event YAML in the same folder",
    )
    parser.add_argument(
        "--truth",
        choices=["default", "reference"],
        default="default",
        help="truth by our matching (default) or the published one (reference)",
    )
    parser.add_argument("--datasets", metavar="A[,B]", help="only these datasets of the fileset")
    parser.add_argument("--btagging", choices=["upart", "csv"], help="re-sample the b tags of Delphes jets")
    parser.add_argument("--executor", choices=["iterative", "futures", "dask"], default="iterative")
    parser.add_argument("--workers", type=int, metavar="N", help="local worker processes")
    parser.add_argument("--scheduler", metavar="tcp://…", help="join this dask scheduler")
    parser.add_argument("--chunksize", type=int, metavar="N", help="events per shard before the selection")
    parser.add_argument("--max-chunks", type=int, metavar="N", help="at most N chunks per dataset")
    parser.add_argument(
        "--on-error",
        choices=["stop", "skip"],
        default="stop",
        help="stop at a failed chunk, or skip it (default: stop)",
    )


def _data(arguments: argparse.Namespace) -> None:
    from hhh_coffea.config import make_config
    from hhh_coffea.jobs.training_data import make_training_data

    names = ("fileset", "output", "datasets", "btagging", "executor", "workers", "scheduler", "chunksize", "max_chunks")
    given = {name: getattr(arguments, name) for name in (*names, "on_error")}
    given["output"] = str(arguments.output)
    given = {"processor": "training_data"} | {k: v for k, v in given.items() if v is not None}
    if arguments.format == "directory":
        data = make_training_data(make_config(given), arguments.topology, arguments.truth)
        say(f"wrote {data.path}: {len(data):,} events in {len(data.shards)} shard{'s' * (len(data.shards) != 1)}")
        return
    from hhh_coffea.training.spanet_hdf5 import h5py, write_hdf5

    h5py()  # before the work, not after it
    output = arguments.output
    with TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as folder:
        data = make_training_data(make_config({**given, "output": folder}), arguments.topology, arguments.truth)
        say(f"wrote {write_hdf5(data, output)}: {len(data):,} events")


def _import_hdf5_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=path_of, metavar="FILE.h5", help="training file of the original SPANet")
    parser.add_argument("--topology", metavar="NAME|YAML", help="event YAML (default: FILE.yaml in the same folder)")
    parser.add_argument("--output", type=path_of, required=True, metavar="DIR", help="training data directory to write")
    parser.add_argument(
        "--dummy-targets",
        action="store_true",
        help="leave out the targets, which are dummies in files for classification",
    )


def _import_hdf5(arguments: argparse.Namespace) -> None:
    from hhh_coffea.training.spanet_hdf5 import read_hdf5

    data = read_hdf5(arguments.file, arguments.topology, arguments.output, arguments.dummy_targets, say)
    say(f"wrote {data.path}: {len(data):,} events in {len(data.shards)} shard{'s' * (len(data.shards) != 1)}")


def _spanet_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=path_of, required=True, metavar="DIR", help="training data directory")
    parser.add_argument(
        "--config", required=True, metavar="YAML", help="recipe: a bundled one by name, or your own file"
    )
    parser.add_argument("--output", type=path_of, required=True, metavar="DIR", help="model directory to write")
    parser.add_argument("--resume", action="store_true", help="continue after the last finished epoch")
    parser.add_argument(
        "--device", default="auto", metavar="auto|cpu|cuda", help="device (default: a GPU if there is one)"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change a key of the recipe: epochs=3 …"
    )  # fmt: skip
    parser.add_argument(
        "--seeds",
        metavar="1-5",
        help="train once per seed, in DIR/seed_1 …, and write the spread of the results to DIR/seeds.json",
    )
    parser.add_argument(
        "--start-from", metavar="DIR|NAME", help="start from the weights of this model (same network, same features)"
    )
    parser.add_argument(
        "--fine-tune",
        metavar="DIR|NAME",
        help="train only regressions and classes on the event vector of this model (--set trunk=free: the whole network)",
    )
    parser.add_argument("--compile", action="store_true", help="use torch.compile (not tested on a GPU)")
    parser.add_argument(
        "--tensorboard", action="store_true", help="also log each epoch for tensorboard, in DIR/tensorboard"
    )


def _spanet(arguments: argparse.Namespace) -> None:
    from dataclasses import replace

    from hhh_coffea.base.bundled import find_bundled
    from hhh_coffea.jobs.seeds import in_words, parse_seeds, write_spread
    from hhh_coffea.spanet.training.config import TrainingConfig
    from hhh_coffea.spanet.training.dataset import TrainingData

    if arguments.data.suffix in (".h5", ".hdf5"):
        raise ValueError(
            f"{arguments.data}: first make a training data directory from it: hhh train import-hdf5 "
            f"{arguments.data} --output {arguments.data.with_suffix('')}"
        )
    config, data = TrainingConfig.read(arguments.config, arguments.set), TrainingData.open(arguments.data)
    if start := arguments.start_from or config.start_from:
        config = replace(config, start_from=str(find_bundled("models", start) or start))
    if start := arguments.fine_tune or config.fine_tune:
        config = replace(config, fine_tune=str(find_bundled("models", start) or start))
    if arguments.seeds is None:
        _train_spanet(arguments, config, data, arguments.output, arguments.resume)
        return
    if any(change.startswith("seed=") for change in arguments.set):
        raise ValueError("options --seeds and --set seed=…: give one of them")
    kept = {}
    for seed in parse_seeds(arguments.seeds):
        folder = arguments.output / f"seed_{seed}"
        say(f"seed {seed}")
        resume = arguments.resume and (folder / "training_state").is_dir()  # else it was not begun
        progress = _train_spanet(arguments, replace(config, seed=seed), data, folder, resume)
        kept[seed] = progress.history[progress.best_epoch - 1]
    if _is_first():
        say(in_words(write_spread(arguments.output, kept), config.criterion))
        say(f"wrote {arguments.output / 'seeds.json'}")


def _train_spanet(arguments: argparse.Namespace, config: Any, data: Any, folder: Path, resume: bool) -> Any:
    """One training, with its figures; returns its progress."""
    from hhh_coffea.figures.models.training import draw_history, draw_roc
    from hhh_coffea.spanet.training.trainer import train

    progress = train(
        config,
        data,
        folder,
        resume=resume,
        device=arguments.device,
        say=say,
        record=_tensorboard(folder) if arguments.tensorboard and _is_first() else lambda _: None,
        compile_network=arguments.compile,
    )
    if _is_first():
        say(f"kept epoch {progress.best_epoch}: {config.criterion} of the validation {abs(progress.best_product):.4f}")
        drawn = [draw_history(folder), draw_roc(folder)]
        say(f"wrote {', '.join(str(path) for path in (folder, *drawn) if path is not None)}")
    return progress


def _tensorboard(folder: Path) -> Callable[[dict[str, float]], None]:
    """Writer of an epoch's numbers; ImportError says how to get tensorboard."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ImportError(
            "--tensorboard needs the package tensorboard: pip install 'hhh-coffea[tensorboard]'"
        ) from None
    writer = SummaryWriter(str(folder / "tensorboard"))

    def record(entry: dict[str, float]) -> None:
        for name, value in entry.items():
            if name != "epoch":
                writer.add_scalar(name, value, int(entry["epoch"]))
        writer.flush()

    return record


def _bdt_arguments(parser: argparse.ArgumentParser) -> None:
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
        "--features", type=_names, metavar="A[,B]", help="features of large-radius jets (default: the nine published)"
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


def _bdt(arguments: argparse.Namespace) -> None:
    from hhh_coffea.config import make_config
    from hhh_coffea.jobs.train_bdt import TrainingOptions, train_bdt

    given = _given(arguments)
    own = {key: given.pop(key) for key in list(given) if key in TrainingOptions.__dataclass_fields__}
    train_bdt(make_config({**given, "processor": "bdt_table"}), TrainingOptions(**own))


def _add_job(parser: argparse.ArgumentParser) -> None:
    """Options of the pass over the events that a command makes."""
    parser.add_argument("--executor", choices=["iterative", "futures", "dask"], help="as for hhh run")
    parser.add_argument("--workers", type=int, metavar="N", help="local worker processes")
    parser.add_argument("--scheduler", metavar="tcp://…", help="join this dask scheduler")
    parser.add_argument("--chunksize", type=int, metavar="N", help="events per chunk")
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


def _transfer_functions_arguments(parser: argparse.ArgumentParser, events: str = "simulated semi-leptonic tt̄") -> None:
    parser.argument_default = argparse.SUPPRESS  # what is not given is left to the library's own defaults
    parser.add_argument("--fileset", required=True, metavar="JSON", help=events)
    parser.add_argument("--datasets", metavar="A[,B]", help="only these datasets of the fileset")
    parser.add_argument("--output", type=path_of, required=True, metavar="DIR", help="model directory to write")
    _add_job(parser)


def _transfer_functions(arguments: argparse.Namespace) -> None:
    from hhh_coffea.config import make_config
    from hhh_coffea.jobs.train_transfer_functions import train_transfer_functions

    train_transfer_functions(make_config(_given(arguments)))
    say(f"wrote {arguments.output}")


def _btag_efficiencies_arguments(parser: argparse.ArgumentParser) -> None:
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
    _add_job(parser)


def _btag_efficiencies(arguments: argparse.Namespace) -> None:
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


def _pdnn_arguments(parser: argparse.ArgumentParser) -> None:
    _transfer_functions_arguments(parser, "simulated signal of one analysis with jets, a lepton and MET: tt̄ or ttH")
    parser.add_argument("--resume", action="store_true", help="continue after the last finished epoch")
    parser.add_argument("--device", metavar="auto|cpu|cuda", help="device (default: a GPU if there is one)")
    parser.add_argument(
        "--set", action="append", metavar="KEY=VALUE", help="change a setting: epochs=60, masses=true … (docs/pdnn.md)"
    )


def _pdnn(arguments: argparse.Namespace) -> None:
    from hhh_coffea.config import make_config
    from hhh_coffea.jobs.train_pdnn import train_pdnn
    from hhh_coffea.training.pdnn_options import read_settings

    given = {**_given(arguments, "set", "resume"), "methods": "pdnn"}  # a device is for methods with networks
    progress = train_pdnn(
        make_config(given), read_settings(getattr(arguments, "set", [])), resume=getattr(arguments, "resume", False)
    )
    say(f"kept epoch {progress.best_epoch}: {100 * progress.best_product:.2f}% of the validation events right")
    say(f"wrote {arguments.output}")


def _embeddings_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=path_of, required=True, metavar="DIR", help="training data directory")
    parser.add_argument("--model", required=True, metavar="DIR|NAME", help="model directory, or a bundled model")
    parser.add_argument("--output", type=path_of, required=True, metavar="FILE.parquet", help="table to write")


def _embeddings(arguments: argparse.Namespace) -> None:
    from hhh_coffea.base.bundled import find_bundled
    from hhh_coffea.jobs.embeddings import write_embeddings
    from hhh_coffea.spanet.training.dataset import TrainingData

    model = path_of(arguments.model)
    model = model if model.is_dir() else find_bundled("models", arguments.model) or model
    events = write_embeddings(model, TrainingData.open(arguments.data), arguments.output)
    say(f"wrote {arguments.output}: {events:,} events")


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))


Declare = Callable[[argparse.ArgumentParser], None]
Run = Callable[[argparse.Namespace], None]

COMMANDS: dict[str, tuple[str, str, Declare, Run]] = {
    "data": (
        "turn the events of a fileset into training data",
        "hhh train data --fileset training_hhh --topology hhh --output data/hhh",
        _data_arguments,
        _data,
    ),
    "spanet": (
        "train a SPANet",
        "hhh train spanet --data data/hhh --config hhh --output models/spanet_mine",
        _spanet_arguments,
        _spanet,
    ),
    "bdt": (
        "train the BDT of large-radius jets for chi2+bdt, and write a model directory with its model card",
        "hhh train bdt --fileset bdt_training --test bdt_test --output models/my_bdt",
        _bdt_arguments,
        _bdt,
    ),
    "transfer-functions": (
        "derive the transfer functions of the kinematic likelihood fit from simulated semi-leptonic tt̄",
        "hhh train transfer-functions --fileset training_ttbar --output models/my_transfer_functions",
        _transfer_functions_arguments,
        _transfer_functions,
    ),
    "btag-efficiencies": (
        "make the map of b-tag efficiencies that the b-tag correction of NanoAOD needs (docs/nanoaod.md)",
        "hhh train btag-efficiencies --fileset nano.json --datasets TT --output btag_efficiency.json",
        _btag_efficiencies_arguments,
        _btag_efficiencies,
    ),
    "pdnn": (
        "train the permutation network of the method pdnn",
        "hhh train pdnn --fileset training_ttbar --output models/my_pdnn",
        _pdnn_arguments,
        _pdnn,
    ),
    "import-hdf5": (
        "import a training file of the original SPANet as a training data directory",
        "hhh train import-hdf5 ttbar.h5 --topology ttbar.yaml --output data/ttbar",
        _import_hdf5_arguments,
        _import_hdf5,
    ),
    "import-spanet": (
        "import a checkpoint of the original SPANet as a model directory",
        "hhh train import-spanet runs/version_0 --output models/spanet_v0",
        train_models.import_spanet_arguments,
        train_models.import_spanet,
    ),
    "mass-price": (
        "add a price on candidate masses to a trained model, to reduce mass sculpting in background",
        "hhh train mass-price --model spanet_hhh --background data/qcd --slope 0.06 --output models/mine",
        train_models.mass_price_arguments,
        train_models.mass_price,
    ),
    "embeddings": (
        "write the event vectors of a trained network as a table, to train another model on them",
        "hhh train embeddings --data data/tth --model spanet_tth --output tth.parquet",
        _embeddings_arguments,
        _embeddings,
    ),
    "export-onnx": (
        "write a model as ONNX, including its decoding",
        "hhh train export-onnx models/spanet_v0 --output spanet.onnx --length Jets=10",
        train_models.export_onnx_arguments,
        train_models.export_onnx,
    ),
}


def parser() -> argparse.ArgumentParser:
    """Make the command-line parser with every command of ``COMMANDS``."""
    examples = "\n".join(f"  {example}" for _, example, _, _ in COMMANDS.values())
    plain = argparse.RawDescriptionHelpFormatter
    p = CommandParser(
        prog="hhh train",
        description="Train, import and export models.",
        epilog=f"examples:\n{examples}",
        formatter_class=plain,
    )
    commands = p.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (help_, example, declare, run) in COMMANDS.items():
        sub = commands.add_parser(
            name,
            help=help_,
            description=help_[0].upper() + help_[1:] + ".",
            epilog=f"example:\n  {example}",
            formatter_class=plain,
        )
        declare(sub)
        add_debug(sub)
        sub.set_defaults(run=run)
    return p


def _owned(arguments: argparse.Namespace) -> AbstractContextManager[None]:
    """The lock on what a command writes; of the processes that torchrun starts the first has it."""
    if not _is_first():
        return nullcontext()
    writes_file = (
        arguments.command in ("export-onnx", "btag-efficiencies", "embeddings")
        or getattr(arguments, "format", "directory") != "directory"
    )
    return owned(arguments.output, writes_file)


def _is_first() -> bool:
    return os.environ.get("RANK", "0") == "0"


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
