"""Training and model tools: ``python -m hhh_coffea.train bdt --fileset … --output models/NAME``."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from hhh_coffea.bundled import list_bundled

EXIT_OK, EXIT_USAGE = 0, 2


def parser() -> argparse.ArgumentParser:
    """Command-line options, a subcommand a task."""
    p = argparse.ArgumentParser(
        prog="python -m hhh_coffea.train", description="Train models and bring them into shape."
    )
    subparsers = p.add_subparsers(dest="task", required=True, metavar="TASK")
    add_bdt(subparsers)
    return p


BDT_EXAMPLES = """\
examples:
  python -m hhh_coffea.train bdt --fileset my.json --output models/my_bdt
  python -m hhh_coffea.train bdt --fileset my.json --test my_test.json --output models/my_bdt --executor dask --workers 8
the shipped model:
  python -m hhh_coffea.train bdt --fileset bdt_training --test bdt_test --output models/hbb_bdt
"""


def add_bdt(subparsers: Any) -> None:
    """Add ``train bdt``: the fat-jet BDT of chi2+bdt."""
    p = subparsers.add_parser(
        "bdt",
        help="train the fat-jet BDT of chi2+bdt",
        description="Train a BDT that finds H → bb among fat jets; writes a model directory with its model card.",
        epilog=BDT_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
    )
    data = p.add_argument_group("data")
    data.add_argument(
        "--fileset",
        required=True,
        metavar="JSON",
        help=f"training events, signal and background (bundled: {', '.join(list_bundled('fileset'))})",
    )
    data.add_argument("--test", metavar="JSON", help="test events: read once all is decided, for the model card alone")
    data.add_argument("--datasets", metavar="A[,B]", help="only these datasets of the training fileset")
    data.add_argument("--max-files", type=int, metavar="N", help="at most N files a dataset")
    data.add_argument("--chunksize", type=int, metavar="N", help="events at a time")
    what = p.add_argument_group("training")
    what.add_argument("--features", type=_names, metavar="A[,B]", help="fat-jet features (default: the nine published)")
    what.add_argument("--validation-fraction", type=float, metavar="F", help="share of events (default: 0.2)")
    what.add_argument("--seed", type=int, metavar="N", help="of the boosting and the bootstrap (default: 42)")
    what.add_argument("--no-search", dest="search", action="store_false", help="the published hyper-parameters only")
    what.add_argument("--threads", type=int, metavar="N", help="of xgboost on one machine (default: 1)")
    what.add_argument("--compare", metavar="PATH|NAME", help="measure this model too, on the same test events")
    where = p.add_argument_group("where to run")
    where.add_argument("--executor", choices=["iterative", "futures", "dask"], help="as in the main job")
    where.add_argument("--workers", type=int, metavar="N", help="local worker processes")
    where.add_argument("--scheduler", metavar="tcp://…", help="join this dask scheduler")
    out = p.add_argument_group("what to write")
    out.add_argument("--output", required=True, metavar="DIR", help="model directory; its name is the model's name")
    out.add_argument("--keep-table", action="store_true", help="keep the table of fat jets (parquet, below --output)")
    p.set_defaults(run=run_bdt)


def run_bdt(options: dict[str, Any]) -> int:
    """Split what concerns any run from what concerns training, and train."""
    from hhh_coffea.bdt_training import TrainingError, TrainingOptions, train_bdt
    from hhh_coffea.config import ConfigError, make_config
    from hhh_coffea.fileset import FilesetError
    from hhh_coffea.reconstruction.bdt_model import BdtError

    own = {key: options.pop(key) for key in list(options) if key in TrainingOptions.__dataclass_fields__}
    try:
        return train_bdt(make_config({**options, "processor": "bdt_table"}), TrainingOptions(**own))
    except (ConfigError, FilesetError, BdtError, TrainingError) as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return EXIT_USAGE


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))


def main(arguments: list[str] | None = None) -> int:
    """Parse, delegate, and return the exit code."""
    options = vars(parser().parse_args(arguments))
    options.pop("task")
    exit_code: int = options.pop("run")(options)
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
