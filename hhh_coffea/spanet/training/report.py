"""What a training leaves behind for people: history, lines of progress, provenance and a card stub."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from hhh_coffea.spanet.training.start import provenance_of_start
from hhh_coffea.spanet.training.state import Progress
from hhh_coffea.spanet.training.validation import Validation

if TYPE_CHECKING:
    from hhh_coffea.spanet.training.preparation import Trainer


def provenance(trainer: Trainer, progress: Progress) -> dict[str, Any]:
    """What ``model.yaml`` says of the training: settings, data, and the epoch kept."""
    extra: dict[str, Any] = {}
    if trainer.config.start_from:
        extra["start_from"] = provenance_of_start(trainer.config.start_from)
    if trainer.config.fine_tune:
        extra["fine_tune"] = provenance_of_start(trainer.config.fine_tune)
    return extra | {
        "configuration": asdict(trainer.config),
        "data": {
            **trainer.data.provenance(),
            "training_events": len(trainer.train),
            "validation_events": len(trainer.validation),
        },
        "torch": str(torch.__version__),
        "device": str(trainer.device),
        "processes": trainer.workers.size,
        "epoch": progress.best_epoch,
        "validation": progress.history[-1],
    }


def entry(
    trainer: Trainer, epoch: int, loss: float, found: Validation, trained: float, whole: float
) -> dict[str, float]:
    """An epoch's numbers; ``trained`` and ``whole`` are seconds without and with validation."""
    return {
        "epoch": epoch,
        "learning_rate": trainer.optimisers[0].param_groups[0]["lr"],
        "training_loss": loss,
        "validation_loss": found.loss,
        "purity": found.purity,
        "efficiency": found.efficiency,
        "product": found.product,
        **found.more,
        "training_seconds": round(trained, 2),
        "seconds": round(whole, 2),
    }


def line(entry: dict[str, float], epochs: int) -> str:
    """An epoch in a line."""
    return (
        f"epoch {entry['epoch']}/{epochs}  loss {entry['training_loss']:.4f}  validation {entry['validation_loss']:.4f}"
        f"  purity {entry['purity']:.4f}  efficiency {entry['efficiency']:.4f}  product {entry['product']:.4f}"
        + "".join(f"  {name} {value:.4f}" for name, value in entry.items() if name == "full" or "/" in name)
        + f"  {entry['seconds']:.0f} s"
    )


def write_history(folder: Path, progress: Progress) -> None:
    """Write ``history.json``."""
    content = {"schema_version": 1, "best_epoch": progress.best_epoch, "epochs": progress.history}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "history.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def write_scores(folder: Path, found: Validation) -> None:
    """Write ``class_scores.json``: how many validation events of class 0 and of class 1 have which probability of class 1."""
    if found.scores:
        content = {"schema_version": 1, "class_0_and_1": found.scores}
        (folder / "class_scores.json").write_text(json.dumps(content) + "\n", encoding="utf-8")


def card(name: str, trainer: Trainer) -> str:
    """A stub: numbers on a test sample are for whoever measures them."""
    parameters = sum(p.numel() for p in trainer.model.parameters())
    return (
        f"# {name}\n\nSPANet, architecture `{trainer.config.architecture}`, {parameters:,} parameters; targets "
        f"{', '.join(trainer.data.topology.target_names)}.\n\n`training` in model.yaml and history.json have the settings "
        "of the training and the results of the validation. It has not been measured on a test sample.\n"
    )
