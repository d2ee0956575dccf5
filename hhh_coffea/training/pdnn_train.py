"""Training of the permutation network: the correct permutation of each event against wrong ones.

Every epoch draws its order, its wrong permutations and its mirrored events from (seed, epoch) alone, and everything else
that it starts from is in the state written at the end of the last one. So a training that is killed and resumed ends as
one that was not.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hhh_coffea.base.atomic import replacing
from hhh_coffea.methods.pdnn.inputs import Events, Layout
from hhh_coffea.methods.pdnn.network import PermutationNetwork, table
from hhh_coffea.spanet.training.state import Progress, TrainingError, read_state, write_state
from hhh_coffea.topology.topology import Topology
from hhh_coffea.training.pdnn_data import correct_rows, digest, events_from
from hhh_coffea.training.pdnn_loss import draw, loss_of
from hhh_coffea.training.pdnn_options import PdnnTraining

STATE_FOLDER = "training_state"
STANDARDISED_ON = 100_000  # events at most
VALIDATED_TOGETHER = 1024  # events
Step = Callable[[int, int, float], None]  # epoch, steps of it done, mean loss so far
Save = Callable[[PermutationNetwork, Progress], None]


@dataclass(frozen=True)
class Sample:
    """Full events on a device, and which row of the table of their number of jets is correct."""

    events: Events
    correct: Tensor  # (N,)
    n_rows: Tensor  # (N,): permutations of each event

    def __len__(self) -> int:
        return len(self.correct)


@dataclass
class Trainer:
    """What a training works with. ``average`` holds the moving average of the weights: what is kept."""

    settings: PdnnTraining
    model: PermutationNetwork
    average: PermutationNetwork
    optimiser: torch.optim.Optimizer
    train: Sample
    validation: Sample
    tables: Tensor  # (P of all numbers of jets, K)
    offsets: Tensor  # by number of jets: where its table starts
    device: torch.device

    @property
    def events_per_batch(self) -> int:
        """Events whose permutations fill a batch."""
        return max(1, self.settings.batch_size // (self.settings.wrong + 1))

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch; what does not fill one is left for the next epoch's shuffle."""
        return max(1, len(self.train) // self.events_per_batch)


def prepare(
    columns: Mapping[str, npt.NDArray[Any]], topology: Topology, settings: PdnnTraining, device: torch.device
) -> Trainer:
    """Split the events, initialise the network from the seed and fit its standardisation.

    Raises
    ------
    TrainingError
        if there are too few events.
    """
    layout = Layout.of(topology, settings.masses)
    validation = columns["split"] < settings.validation_fraction
    if validation.all() or not validation.any():
        raise TrainingError(
            f"{len(validation):,} full events: {int((~validation).sum()):,} for training and {int(validation.sum()):,} for "
            "validation; both are needed"
        )
    kept, held_out = (
        _sample({name: values[use] for name, values in columns.items()}, layout, device)
        for use in (~validation, validation)
    )
    numbers = range(settings.max_jets + 1)
    sizes = [len(table(layout, n, device).objects) for n in numbers]
    tables = torch.cat([table(layout, n, device).objects for n in numbers])
    offsets = torch.tensor(np.cumsum([0, *sizes[:-1]]), device=device)
    torch.manual_seed(settings.seed)
    model = PermutationNetwork(layout, settings.network, settings.dropout).to(device)
    optimiser = torch.optim.AdamW(
        [
            {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": settings.weight_decay},
            {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=settings.learning_rate,
        fused=True,
    )
    average = copy.deepcopy(model).requires_grad_(False).eval()
    trainer = Trainer(settings, model, average, optimiser, kept, held_out, tables, offsets, device)
    _standardise(trainer)
    return trainer


def _sample(columns: Mapping[str, npt.NDArray[Any]], layout: Layout, device: torch.device) -> Sample:
    events = events_from(columns)
    correct, n_rows = np.zeros(len(events), dtype=np.int64), np.zeros(len(events), dtype=np.int64)
    for n in np.unique(events.counts).tolist():
        here = events.counts == n
        correct[here] = correct_rows(columns["truth"][here].astype(np.int64), layout, n)
        n_rows[here] = len(table(layout, n, torch.device("cpu")).objects)
    return Sample(events.to(device), *(torch.tensor(c, device=device) for c in (correct, n_rows)))


def _standardise(trainer: Trainer) -> None:
    """Mean and standard deviation of each input over the permutations that one epoch would draw."""
    some = torch.arange(min(len(trainer.train), STANDARDISED_ON), device=trainer.device)
    rows, there = draw(
        trainer.train.n_rows[some], trainer.train.correct[some], trainer.settings.wrong, _rng(0, "start")
    )
    inputs = inputs_of(trainer, some, rows)[there]
    spread = inputs.std(0)
    for module in (trainer.model, trainer.average):
        module.mean.copy_(inputs.mean(0))
        module.std.copy_(torch.where(spread > 0, spread, 1.0))


def inputs_of(trainer: Trainer, events: Tensor, rows: Tensor) -> Tensor:
    """Inputs of the permutations ``rows (B, P)`` of training events, ``(B, P, columns)``."""
    chosen = trainer.train.events.rows(events)
    objects = trainer.tables[trainer.offsets[chosen.counts][:, None] + rows]
    return trainer.model.layout.gathered(chosen, objects)


def train(
    trainer: Trainer,
    folder: Path,
    identity: Mapping[str, Any],
    save: Save,
    *,
    resume: bool = False,
    say: Callable[[str], None] = lambda _: None,
    step: Step = lambda *_: None,
    stop_after: int | None = None,
) -> Progress:
    """Train; ``save`` gets the network at each better epoch. ``stop_after`` ends after that many epochs, as a kill would.

    Raises
    ------
    TrainingError
        if ``folder`` already holds a training and ``resume`` is not set, or if it is set and there is none that fits.
    """
    settings, state = trainer.settings, folder / STATE_FOLDER
    progress = Progress(dict(identity))
    parts = trainer.model, trainer.average, [trainer.optimiser]
    if resume:
        progress = read_state(state, *parts, progress.identity)
        say(f"resuming after epoch {progress.epoch}")
    elif state.exists() or (folder / "pdnn.json").exists():
        raise TrainingError(f"{folder}: already contains a model; use --resume, or another --output")
    else:
        write_state(state, *parts, progress)
    last = min(settings.epochs, stop_after or settings.epochs)
    while progress.epoch < last and not (
        settings.patience and progress.epoch - progress.best_epoch >= settings.patience
    ):
        epoch, begin = progress.epoch + 1, time.perf_counter()
        loss = run_epoch(trainer, epoch, step)
        accuracy, validation_loss = validate(trainer.average, trainer.validation)
        progress.epoch = epoch
        better = accuracy > progress.best_product
        if better:
            progress.best_epoch, progress.best_product = epoch, accuracy
        progress.history.append(
            {
                "epoch": epoch,
                "training_loss": loss,
                "validation_loss": validation_loss,
                "accuracy": accuracy,
                "seconds": round(time.perf_counter() - begin, 1),
            }
        )
        say(
            f"epoch {epoch}/{settings.epochs}  loss {loss:.4f}  validation {validation_loss:.4f}  events right "
            f"{accuracy:.4f}  {progress.history[-1]['seconds']:.0f} s" + " *" * better
        )
        if better:  # before the state: killed in between, this epoch is run again and ends the same
            save(trainer.average, progress)
        write_state(state, *parts, progress)
        with replacing(folder / "history.json") as partial:
            content = {"schema_version": 1, "best_epoch": progress.best_epoch, "epochs": progress.history}
            partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return progress


def run_epoch(trainer: Trainer, epoch: int, step: Step = lambda *_: None) -> float:
    """Train for one epoch (counted from 1) and return its mean loss."""
    settings, model, size = trainer.settings, trainer.model, trainer.events_per_batch
    generator = _rng(settings.seed, "epoch", epoch)
    torch.manual_seed(int(generator.integers(2**62)))  # dropout
    n = len(trainer.train)
    order = torch.as_tensor(generator.permutation(n), device=trainer.device)
    rows, there = draw(trainer.train.n_rows, trainer.train.correct, settings.wrong, generator)
    signs = torch.as_tensor(model.layout.signs, device=trainer.device)
    mirrored = torch.as_tensor(generator.random((2, n)) < 0.5, device=trainer.device)
    model.train()
    total = torch.zeros((), device=trainer.device)
    for number in range(trainer.steps_per_epoch):
        chosen = order[number * size : (number + 1) * size]
        inputs = inputs_of(trainer, chosen, rows[chosen])
        if settings.mirror:
            for flip, sign in zip(mirrored[:, chosen], signs, strict=True):
                inputs = torch.where(flip[:, None, None], inputs * sign, inputs)
        done = (epoch - 1) * trainer.steps_per_epoch + number
        whole = settings.epochs * trainer.steps_per_epoch
        for group in trainer.optimiser.param_groups:
            group["lr"] = settings.learning_rate * 0.5 * (1 + math.cos(math.pi * done / whole))
        loss = loss_of(model(inputs), there[chosen], settings.loss)
        trainer.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        trainer.optimiser.step()
        decay = min(settings.ema_decay, (1 + done) / (10 + done))
        with torch.no_grad():
            torch._foreach_lerp_(list(trainer.average.parameters()), list(model.parameters()), 1 - decay)
        total += loss.detach()
        step(epoch, number + 1, float(total) / (number + 1))
    return float(total) / trainer.steps_per_epoch


@torch.inference_mode()
def validate(network: PermutationNetwork, sample: Sample) -> tuple[float, float]:
    """Share of full events with every jet right, all permutations tried, and mean −ln of the correct one's share."""
    right, loss = 0, 0.0
    counts = sample.events.counts
    for n in torch.unique(counts).tolist():
        here = torch.nonzero(counts == n)[:, 0]
        for some in torch.split(here, VALIDATED_TOGETHER):
            logits = network.scores(sample.events.rows(some), n).double()
            correct = sample.correct[some]
            right += int((logits.argmax(1) == correct).sum())
            loss += float((logits.logsumexp(1) - logits.gather(1, correct[:, None])[:, 0]).sum())
    return right / len(sample), loss / len(sample)


def identity_of(columns: Mapping[str, npt.NDArray[Any]], topology: Topology, settings: PdnnTraining) -> dict[str, Any]:
    """Settings and data that determine the result: they must be the same when a training is resumed."""
    return {**settings.model_dump(), "event": topology.text, "data": digest(columns)}


def _rng(*parts: Any) -> np.random.Generator:
    number = hashlib.sha256(repr(parts).encode()).digest()
    return np.random.default_rng(int.from_bytes(number[:8], "little"))


def parameters(network: PermutationNetwork) -> int:
    """How many there are."""
    return sum(p.numel() for p in network.parameters())
