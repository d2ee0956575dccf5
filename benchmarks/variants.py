"""Train variants of the network on the same events for the same number of samples seen, and print their validation.

    hhh train data --fileset training_hhh --topology hhh --output data/hhh
    python benchmarks/variants.py --data data/hhh --output variants                    # architectures
    python benchmarks/variants.py --data data/hhh --output variants --learning-curve   # numbers of training events

Variants that are there already, whole, are not trained again. Everything else is the recipe ``hhh``.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import torch
from spanet import PUBLISHED  # benchmarks/spanet.py

from hhh_coffea.spanet.checkpoint import load
from hhh_coffea.spanet.training.config import TrainingConfig
from hhh_coffea.spanet.training.dataset import TrainingData
from hhh_coffea.spanet.training.trainer import train

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "default": {},
    "no_pairwise": {"pairwise_attention": False, "pairwise_score": False},
    "separate_branches": {"shared_decoder": False},
    "original": PUBLISHED,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="one model directory a variant")
    parser.add_argument("--events", type=int, default=60_000, help="training events")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--only", nargs="+", choices=ARCHITECTURES, default=list(ARCHITECTURES))
    parser.add_argument("--learning-curve", action="store_true", help="16ths, 4ths and all of the events instead")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data, recipe = TrainingData.open(arguments.data), TrainingConfig.read("hhh")
    variants: dict[str, TrainingConfig] = {}
    for seed in arguments.seeds:
        if arguments.learning_curve:
            for parts in (16, 4, 1):
                events, epochs = arguments.events // parts, arguments.epochs * parts
                variants[f"events_{events}_seed_{seed}"] = dataclasses.replace(
                    recipe, max_events=events, epochs=epochs, seed=seed
                )
            continue
        for name in arguments.only:
            network = ARCHITECTURES[name] if name == "original" else {**recipe.network, **ARCHITECTURES[name]}
            config = dataclasses.replace(
                recipe, network=network, max_events=arguments.events, epochs=arguments.epochs, seed=seed
            )
            if name == "original":  # with its own learning rate
                config = dataclasses.replace(config, architecture="original", learning_rate=1.5e-3)
            variants[f"{name}_seed_{seed}"] = config
    for name, config in variants.items():
        folder = arguments.output / name
        if not (folder / "history.json").is_file() or len(_epochs(folder)) < config.epochs:
            train(
                config,
                data,
                folder,
                device="cpu",
                resume=folder.exists(),
                say=lambda line, name=name: print(name, line, flush=True),
            )
    print("\n| variant | parameters | samples seen | validation loss | purity | efficiency | product | training |")
    print("|---|---|---|---|---|---|---|---|")
    for name, config in variants.items():
        folder = arguments.output / name
        last, seen = _epochs(folder)[-1], config.epochs * (config.max_events // config.batch_size) * config.batch_size
        numbers = " | ".join(f"{last[key]:.4f}" for key in ("validation_loss", "purity", "efficiency", "product"))
        seconds = sum(e["training_seconds"] for e in _epochs(folder))
        parameters = sum(p.numel() for p in load(folder).parameters())
        print(f"| {name} | {parameters:,} | {seen:,} | {numbers} | {seconds:.0f} s |")


def _epochs(folder: Path) -> list[dict[str, Any]]:
    epochs: list[dict[str, Any]] = json.loads((folder / "history.json").read_text(encoding="utf-8"))["epochs"]
    return epochs


if __name__ == "__main__":
    main()
