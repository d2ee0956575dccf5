"""Commands of ``hhh train`` that make training data, train a SPANet on them, and write its event vectors."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hhh_coffea.base.errors import UserError
from hhh_coffea.base.terminal import contents, plural, say
from hhh_coffea.cli import add_definitions, path_of
from hhh_coffea.jobs.event_commands import add_job


def is_first() -> bool:
    """Whether this is the first of the processes that torchrun starts, or the only one."""
    return os.environ.get("RANK", "0") == "0"


def data_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``data``."""
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
    add_definitions(
        parser,
        ["default", "reference"],
        "truth by our definitions (default) or the published definitions (reference)",
        earlier="--truth",
    )
    parser.set_defaults(definitions="default")
    parser.add_argument("--datasets", metavar="A[,B]", help="only these datasets of the fileset")
    parser.add_argument("--btagging", choices=["upart", "csv"], help="re-sample the b tags of Delphes jets")
    add_job(parser, "events per shard before the selection")


def data(arguments: argparse.Namespace) -> None:
    """Turn the events of a fileset into training data."""
    from hhh_coffea.config import make_config
    from hhh_coffea.jobs.training_data import make_training_data

    names = ("fileset", "output", "datasets", "btagging", "executor", "workers", "scheduler", "chunksize", "max_chunks")
    given = {name: getattr(arguments, name) for name in (*names, "on_error")}
    given["output"] = str(arguments.output)
    given = {"processor": "training_data"} | {k: v for k, v in given.items() if v is not None}
    if arguments.format == "directory":
        data = make_training_data(make_config(given), arguments.topology, arguments.definitions)
        say(f"wrote {plural(len(data), 'event')} into {contents(data.path)}")
        return
    from hhh_coffea.training.spanet_hdf5 import h5py, write_hdf5

    h5py()  # before the work, not after it
    output = arguments.output
    event = output.with_suffix(".yaml")
    if event.exists() and not output.exists():
        raise UserError(
            f"{event} exists, and the event YAML of {output.name} would replace it: choose another --output"
        )
    with TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as folder:
        data = make_training_data(make_config({**given, "output": folder}), arguments.topology, arguments.definitions)
        say(f"wrote {write_hdf5(data, output)}: {plural(len(data), 'event')}, and {event}")


def import_hdf5_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``import-hdf5``."""
    parser.add_argument("file", type=path_of, metavar="FILE.h5", help="training file of the original SPANet")
    parser.add_argument("--topology", metavar="NAME|YAML", help="event YAML (default: FILE.yaml in the same folder)")
    parser.add_argument("--output", type=path_of, required=True, metavar="DIR", help="training data directory to write")
    parser.add_argument(
        "--dummy-targets",
        action="store_true",
        help="leave out the targets, which are dummies in files for classification",
    )


def import_hdf5(arguments: argparse.Namespace) -> None:
    """Import a training file of the original SPANet."""
    from hhh_coffea.training.spanet_hdf5 import read_hdf5

    data = read_hdf5(arguments.file, arguments.topology, arguments.output, arguments.dummy_targets, say)
    say(f"wrote {data.path}: {plural(len(data), 'event')} in {plural(len(data.shards), 'shard')}")


def spanet_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``spanet``."""
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


def spanet(arguments: argparse.Namespace) -> None:
    """Train a SPANet, or one per seed."""
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
    if is_first():
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
        record=_tensorboard(folder) if arguments.tensorboard and is_first() else lambda _: None,
        compile_network=arguments.compile,
    )
    if is_first():
        kept = "the last one" if config.keep == "last" else f"the best one by {config.criterion} of the validation"
        say(f"kept epoch {progress.best_epoch}, {kept}: {abs(progress.best_product):.4f}")
        drawn = [draw_history(folder), draw_roc(folder)]
        files = [
            "model.yaml",
            "weights.safetensors",
            "history.json",
            "README.md",
            *(path.name for path in drawn if path),
        ]
        say(f"wrote {folder}: {', '.join(files)}; training_state/ may be deleted")
        say(f"use it with: hhh run --fileset JSON --methods spanet --model {folder}")
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


def embeddings_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``embeddings``."""
    parser.add_argument("--data", type=path_of, required=True, metavar="DIR", help="training data directory")
    parser.add_argument("--model", required=True, metavar="DIR|NAME", help="model directory, or a bundled model")
    parser.add_argument("--output", type=path_of, required=True, metavar="FILE.parquet", help="table to write")


def embeddings(arguments: argparse.Namespace) -> None:
    """Write the event vectors of a trained network."""
    from hhh_coffea.base.bundled import find_bundled
    from hhh_coffea.jobs.embeddings import write_embeddings
    from hhh_coffea.spanet.training.dataset import TrainingData

    model = path_of(arguments.model)
    model = model if model.is_dir() else find_bundled("models", arguments.model) or model
    events = write_embeddings(model, TrainingData.open(arguments.data), arguments.output)
    say(f"wrote {arguments.output}: {plural(events, 'event')}")
