"""SPANet fine-tuned in all its weights: a second training with the classification loss alone, from the trained network.

The paper does not say whether its second training changes the network below the head. This one does, and takes minutes an epoch
on a CPU; :mod:`.fine_tuning` is what the study does by default.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hhh_coffea.base.bundled import find_bundled
from hhh_coffea.base.user_files import expanded
from hhh_coffea.config import RunConfig
from hhh_coffea.jobs.training_data import make_training_data
from hhh_coffea.methods import spanet
from hhh_coffea.methods.spanet_model import load_model
from hhh_coffea.study.event_table import Columns
from hhh_coffea.study.reconstructed import Reconstructed

MODEL = "model"
CLASS = "EVENT/signal"
CHUNK = 2000  # events
RECIPE: dict[str, Any] = {
    "trunk": "free",
    "loss": {"assignment": 0.0, "detection": 0.0, "regression": 0.0, "classification": 1.0},
    "criterion": f"auc/{CLASS}",
    "learning_rate": 3e-4,  # an eighth of that of the network's own training
    "batch_size": 256,
    "weight_decay": 0.03,
    "reflect_phi": True,
    "groups": 3,
}


def train(
    folder: Path, fileset: str, model: str, epochs: int, max_events: int | None, device: str, say: Callable[[str], None]
) -> None:
    """Make training data of the fileset, train, and leave the model directory ``folder/model``."""
    from hhh_coffea.spanet.checkpoint import describe
    from hhh_coffea.spanet.training.config import TrainingConfig
    from hhh_coffea.spanet.training.trainer import train as train_network

    start = expanded(model)
    start = start if start.is_dir() else find_bundled("models", model) or start
    events = folder / "events.yaml"
    events.write_text(load_model(model, "cpu").topology.text, encoding="utf-8")
    config = RunConfig(
        fileset=fileset,
        output=str(folder / "data"),
        processor="training_data",
        chunksize=CHUNK,
        max_chunks=None if max_events is None else -(-max_events // CHUNK),
        on_error="stop",
    )
    data = make_training_data(config, str(events), "default")
    recipe = {**RECIPE, "network": dict(describe(start)["options"]), "epochs": epochs, "fine_tune": str(start)}
    train_network(TrainingConfig.from_mapping(recipe), data, folder / MODEL, device=device, say=say)
    shutil.rmtree(folder / "data")


def signal_column(event: Reconstructed, model: str, device: str) -> Columns:
    """``signal``: probability of the last class by the network ``model``."""

    def way(outputs: Any, *_: Any) -> list[Any]:
        return [outputs.classification[CLASS].softmax(-1)[:, -1]]

    found = spanet.evaluate(event.record, load_model(model, device), {CLASS: way})[CLASS][0]
    return {"signal": found.astype(np.float64)}
