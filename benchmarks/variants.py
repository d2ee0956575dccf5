"""Train variants of the recipe ``hhh``, on the same events for as many samples seen, and print how good they are.

    hhh train data --fileset training_hhh --topology hhh --output data/hhh
    python benchmarks/variants.py --data data/hhh --output variants            # what the recipe is made of
    python benchmarks/variants.py --data data/hhh --output variants --curve events   # numbers of training events
    python benchmarks/variants.py --data data/hhh --output variants --curve compute  # length of the training, with a power law
    python benchmarks/variants.py --data data/hhh --output variants --only recipe --seeds 1 2 3

Variants that are there already, whole, are not trained again. The product is that of ``expected`` decoding.
"""

from __future__ import annotations

import argparse
import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import curve_fit
from spanet import PUBLISHED  # benchmarks/spanet.py

from hhh_coffea.spanet.checkpoint import load
from hhh_coffea.spanet.training.config import TrainingConfig
from hhh_coffea.spanet.training.dataset import TrainingData
from hhh_coffea.spanet.training.trainer import train

ADAMW = ("optimiser=adamw", "learning_rate=2.5e-3", "weight_decay=0.01")  # as tuned for it
TARGETS = ("network.interpretations=false", "loss.detection_over_present=false")  # the loss of each target by itself
VARIANTS: dict[str, tuple[str, ...]] = {
    "recipe": (),
    "adamw": ADAMW,
    "targets": TARGETS,
    "adamw_targets": (*ADAMW, *TARGETS),
    "six_layers": ("network.num_encoder_layers=6",),
    "no_pairwise": ("network.pairwise_attention=false", "network.pairwise_score=false"),
    "separate_branches": ("network.shared_decoder=false",),
    "original": ("architecture=original", f"network={json.dumps(PUBLISHED)}", *ADAMW, "learning_rate=1.5e-3"),
}
COMPUTE = ((21_600, 1), (72_000, 1), (216_000, 1), (0, 1), (0, 3))  # training events, 0 for all, and epochs
WARM_UP = 0.125  # epochs: where each event is in the data four times, with other b tags


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="one model directory a variant")
    parser.add_argument("--events", type=int, default=60_000, help="training events")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--curve", choices=("events", "compute"), help="the recipe alone, as a learning curve")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data = TrainingData.open(arguments.data)
    variants: dict[str, TrainingConfig] = {}
    sizes = [(arguments.events, arguments.epochs)]
    if arguments.curve == "events":  # 16ths, 4ths and all of the events, as many samples seen
        sizes = [(arguments.events // parts, arguments.epochs * parts) for parts in (16, 4, 1)]
    if arguments.curve == "compute":
        sizes = list(COMPUTE)
    for seed in arguments.seeds:
        for name in ["recipe"] if arguments.curve else arguments.only:
            for events, epochs in sizes:
                changes = [*VARIANTS[name], f"seed={seed}", f"epochs={epochs}", f"max_events={events}"]
                changes += [f"warmup_epochs={WARM_UP}"] if arguments.curve == "compute" else []
                variants[f"{name}_{events}_{epochs}_seed_{seed}"] = TrainingConfig.read("hhh", changes)
    for name, config in variants.items():
        folder = arguments.output / name
        if not (folder / "history.json").is_file() or len(_epochs(folder)) < config.epochs:
            train(
                config,
                data,
                folder,
                device="cpu",
                resume=folder.exists(),
                say=functools.partial(print, name, flush=True),
            )
    print("\n| variant | parameters | samples seen | validation loss | purity | efficiency | product | training |")
    print("|---|---|---|---|---|---|---|---|")
    curve = []
    for name, config in variants.items():
        folder = arguments.output / name
        epochs = _epochs(folder)
        events = config.max_events or int((data.column("split") >= config.validation_fraction).sum())
        seen = config.epochs * (events // config.batch_size) * config.batch_size
        loss, purity, efficiency, product = (
            epochs[-1][x] for x in ("validation_loss", "purity", "efficiency", "product")
        )
        numbers = " | ".join(f"{x:.4f}" for x in (loss, purity, efficiency, product))
        seconds = sum(e["training_seconds"] for e in epochs)
        parameters = sum(p.numel() for p in load(folder).parameters())
        print(f"| {name} | {parameters:,} | {seen:,} | {numbers} | {seconds:.0f} s |", flush=True)
        curve.append((seen, loss, product))
    if arguments.curve == "compute":
        _power_laws(np.array(curve))


def _power_laws(curve: np.ndarray[Any, Any]) -> None:
    """Loss and product as limit + a·n^(−b) of the samples n, in millions, and where that law has a product of 0.42."""
    n = curve[:, 0] / 1e6
    for name, values, start in (
        ("validation loss", curve[:, 1], (0.35, 0.05, 0.3)),
        ("product", curve[:, 2], (0.45, -0.05, 0.3)),
    ):
        try:
            (limit, a, b), _ = curve_fit(_power_law, n, values, p0=start, maxfev=20_000)
        except RuntimeError as error:
            print(f"{name}: no power law: {error}")
            continue
        print(f"{name} = {limit:.4f} {a:+.4f} n^(-{b:.3f}), n in millions of events")
        if name == "product" and (0.42 - limit) / a > 0:
            print(f"product 0.42 at {((0.42 - limit) / a) ** (-1 / b):.3g} million events")


def _power_law(n: Any, limit: float, a: float, b: float) -> Any:
    return limit + a * n**-b


def _epochs(folder: Path) -> list[dict[str, Any]]:
    epochs: list[dict[str, Any]] = json.loads((folder / "history.json").read_text(encoding="utf-8"))["epochs"]
    return epochs


if __name__ == "__main__":
    main()
