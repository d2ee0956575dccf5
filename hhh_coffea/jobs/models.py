"""Commands of ``hhh train`` that make a model of a model: import, price on masses, export."""

from __future__ import annotations

import argparse

from hhh_coffea.base.terminal import say
from hhh_coffea.cli import path_of

WINDOWS = ("30-225", "75-175")  # of base/mass_measures.py, which needs numpy; the help does not wait for it


def import_spanet_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``import-spanet``."""
    parser.add_argument(
        "checkpoint",
        type=path_of,
        metavar="CHECKPOINT_DIR",
        help="folder with options.json, event.yaml, checkpoints/*.ckpt",
    )
    parser.add_argument("--output", type=path_of, required=True, metavar="DIR", help="model directory to write")
    parser.add_argument("--overwrite", action="store_true", help="replace the model in --output")
    parser.add_argument(
        "--checkpoint", dest="which", default="last", metavar="best|last|FILE",
        help="which of checkpoints/*.ckpt: best by the metric in the names, or a file (default: last)",
    )  # fmt: skip


def import_spanet(arguments: argparse.Namespace) -> None:
    """Turn a checkpoint of the original SPANet into a model directory."""
    from hhh_coffea.spanet.checkpoint import save
    from hhh_coffea.spanet.original.lightning_checkpoint import (
        choose_checkpoint,
        compare_with_reference,
        import_original,
    )

    if (arguments.output / "model.yaml").exists() and not arguments.overwrite:
        raise ValueError(f"{arguments.output}: already contains a model; name another --output, or add --overwrite")
    model = import_original(arguments.checkpoint, arguments.which, say)
    say(f"read {choose_checkpoint(arguments.checkpoint, arguments.which)}")
    say(f"wrote {save(model, arguments.output, training={'imported_from': 'checkpoint of the original SPANet'})}")
    if (reference := arguments.checkpoint / "reference.npz").is_file():
        for name, difference in compare_with_reference(model, reference).items():
            say(f"  {name}: largest difference from {reference.name} {difference:.1e}")


def mass_price_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``mass-price``."""
    parser.add_argument(
        "--model", required=True, metavar="DIR|NAME", help="trained model with resolved and boosted targets"
    )
    parser.add_argument(
        "--background", type=path_of, required=True, metavar="DIR", help="training data directory with only background"
    )
    parser.add_argument(
        "--slope", type=float, required=True, metavar="S",
        help="largest slope of the price, in 1/GeV: 0.02 reduces the peak a little, 0.06 by much",
    )  # fmt: skip
    parser.add_argument(
        "--window", choices=WINDOWS, default=WINDOWS[0],
        help=f"GeV: where the masses of candidates become like those of random pairs (default: {WINDOWS[0]}); beyond it "
        "the price is constant",
    )  # fmt: skip
    parser.add_argument("--output", type=path_of, required=True, metavar="DIR", help="model directory to write")


def mass_price(arguments: argparse.Namespace) -> None:
    """Give a trained model a price on candidate masses."""
    from hhh_coffea.base.bundled import find_bundled
    from hhh_coffea.base.user_files import expanded
    from hhh_coffea.spanet.checkpoint import describe, load, price_of, save
    from hhh_coffea.spanet.training.dataset import TrainingData
    from hhh_coffea.spanet.training.mass_price_fit import fit

    path = find_bundled("models", arguments.model) or expanded(arguments.model)
    if (arguments.output / "model.yaml").exists():
        raise ValueError(f"{arguments.output}: already contains a model; name another --output")
    model, description, data = load(path), describe(path), TrainingData.open(arguments.background)
    if price_of(description, model.topology, str(path)) is not None:
        raise ValueError(f"{path}: already has a price on masses; start from the model without it")
    price, report = fit(model, data, arguments.slope, say, arguments.window)
    made = {**report, "of_model": path.name, "background": data.provenance()}
    training = description.get("training")
    folder = save(model, arguments.output, training=training, price=price.description() | {"made": made})
    say(f"wrote {folder}: model.yaml, weights.safetensors, README.md")
    say(
        f"{report['emd_before_gev']:.2f} → {report['emd_gev']:.2f} GeV from random pairing in this background; measure the "
        f"cost in signal with hhh tradeoff {arguments.model} {arguments.output} --fileset JSON (a signal and a background)"
    )


def export_onnx_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``export-onnx``."""
    from hhh_coffea.base.bundled import SPANETS, list_bundled

    parser.add_argument(
        "model", metavar="DIR|NAME", help=f"model directory, or bundled: {', '.join(list_bundled('models', SPANETS))}"
    )
    parser.add_argument("--output", type=path_of, required=True, metavar="FILE.onnx", help="file to write")
    parser.add_argument(
        "--length", action="append", default=[], metavar="INPUT=N",
        help="padded number of objects of an input; with --interface original the largest (default: 10, and 3 for "
        "BoostedJets)",
    )  # fmt: skip
    parser.add_argument(
        "--interface", choices=["decoded", "original"], default="decoded",
        help="decoded (default): raw GeV in, jets out (tops: decoded greedily). original: the inputs and outputs of the "
        "original SPANet, data and mask interleaved, logarithms taken by the caller, any number of objects, no decoding",
    )  # fmt: skip


def export_onnx(arguments: argparse.Namespace) -> None:
    """Write a model as ONNX, with its decoding or with the interface of the original."""
    from hhh_coffea.base.bundled import find_bundled
    from hhh_coffea.base.user_files import expanded
    from hhh_coffea.spanet.checkpoint import describe, load, price_of
    from hhh_coffea.spanet.export import export_onnx, parse_lengths

    path = find_bundled("models", arguments.model) or expanded(arguments.model)
    model = load(path)
    price = price_of(describe(path), model.topology, str(path))
    lengths = parse_lengths(model.topology, arguments.length)
    say("writing the graph, which takes from one to a few minutes")
    say(f"wrote {export_onnx(model, arguments.output, lengths, price, arguments.interface)}")
