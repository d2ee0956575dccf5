"""Training a network on training data: plain torch, one device a process, the same numbers from the same seed.

Every epoch draws its order, augmentation and dropout from (seed, epoch) alone, and everything else it starts from is
in the state written at the end of the last one. So a training that is killed and resumed is the one that was not.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hhh_coffea.spanet.checkpoint import save
from hhh_coffea.spanet.network.interpretations import overlaps_of
from hhh_coffea.spanet.training import report as training_report
from hhh_coffea.spanet.training.batches import (
    Batch,
    augment,
    forward_in_groups,
    make_batch,
    reordered,
)
from hhh_coffea.spanet.training.config import TrainingConfig
from hhh_coffea.spanet.training.dataset import TrainingData
from hhh_coffea.spanet.training.loss import (
    presence_code,
    symmetric_loss,
)
from hhh_coffea.spanet.training.parallel import ALONE, Workers, joined
from hhh_coffea.spanet.training.preparation import Trainer, prepare
from hhh_coffea.spanet.training.state import Progress, TrainingError, read_state, write_state
from hhh_coffea.spanet.training.validation import Validation, validate

Say = Callable[[str], None]
Record = Callable[[dict[str, float]], None]
STATE_FOLDER = "training_state"
REPORT_SECONDS = 60.0  # between progress lines within an epoch
VALIDATION_BATCH = 1024
LATER = ("class_weights", "optimiser")  # settings that older trainings do not have


def train(
    config: TrainingConfig,
    data: TrainingData,
    output: str | Path,
    *,
    resume: bool = False,
    device: str = "auto",
    say: Say = lambda _: None,
    record: Record = lambda _: None,
    compile_network: bool = False,
    stop_after: int | None = None,
) -> Progress:
    """Train, write ``output`` as a model directory at each better epoch, and return the history.

    ``say`` gets lines for people, ``record`` the numbers of each epoch. ``compile_network`` runs training steps through
    torch.compile. ``stop_after`` ends after that many epochs of the schedule, as a kill would. Started by torchrun, every
    process calls this and works on its share of each batch; the first writes and speaks.

    Raises
    ------
    TrainingError
        if ``output`` already holds a training and ``resume`` is not set, or if it is set and there is none that fits.
    """
    with joined(device) as (workers, chosen):
        trainer = prepare(config, data, chosen, workers)
        if compile_network:
            trainer.model.compile(dynamic=True)  # in place: padding, and so shapes, change from batch to batch
        if workers.rank:
            return _train(trainer, Path(output), resume, _silent, _silent, stop_after)
        return _train(trainer, Path(output), resume, say, record, stop_after)


def _silent(_: Any) -> None:
    pass


def _train(trainer: Trainer, folder: Path, resume: bool, say: Say, record: Record, stop_after: int | None) -> Progress:
    config, workers = trainer.config, trainer.workers
    progress = Progress(identity(config, trainer.data, workers))
    if resume:
        progress = read_state(
            folder / STATE_FOLDER, trainer.model, trainer.average, trainer.optimisers, progress.identity
        )
        say(f"resuming after epoch {progress.epoch}")
    elif (
        not workers.rank
    ):  # the first alone: to others, which may start later, what it writes would look like an older training
        if (folder / STATE_FOLDER).exists() or (folder / "model.yaml").exists():
            raise TrainingError(f"{folder}: already contains a model; use --resume, or another --output")
        # from here on a kill costs an epoch at most, and --resume always finds something
        write_state(folder / STATE_FOLDER, trainer.model, trainer.average, trainer.optimisers, progress)
    parameters = sum(p.numel() for p in trainer.model.parameters())
    say(
        f"network {config.architecture!r}, {parameters:,} parameters, {len(trainer.train):,} training and "
        f"{len(trainer.validation):,} validation events, {trainer.steps_per_epoch} steps per epoch, on {trainer.device}"
        + (f", {workers.size} processes" if workers.size > 1 else "")
    )
    say("losses, then purity, efficiency and their product on validation events; * marks the best epoch so far")
    last = min(config.epochs, stop_after or config.epochs)
    while progress.epoch < last and not _has_stalled(config, progress):
        epoch, begin = progress.epoch + 1, time.perf_counter()
        loss = run_epoch(trainer, epoch, say)
        trained = time.perf_counter() - begin
        workers.average_buffers(trainer.average)
        found = validate(
            trainer.average,
            _validation_batches(trainer),
            config.loss_options(),
            config.groups,
            trainer.regression_scale,
            workers,
        )
        progress.epoch = epoch
        score = criterion(config, found)
        better = config.keep == "last" or progress.best_epoch == 0 or score > progress.best_product
        if better:
            progress.best_epoch, progress.best_product = epoch, score
        progress.history.append(
            training_report.entry(trainer, epoch, loss, found, trained, time.perf_counter() - begin)
        )
        say(training_report.line(progress.history[-1], config.epochs) + (" *" if better else ""))
        record(progress.history[-1])
        if workers.rank:
            continue
        if better:  # before the state: killed in between, this epoch is run again and ends the same
            save(
                trainer.average,
                folder,
                training=training_report.provenance(trainer, progress),
                card=training_report.card(folder.name, trainer),
            )
            training_report.write_scores(folder, found)
        write_state(folder / STATE_FOLDER, trainer.model, trainer.average, trainer.optimisers, progress)
        training_report.write_history(folder, progress)
    return progress


def run_epoch(trainer: Trainer, epoch: int, say: Say) -> float:
    """Train for one epoch (counted from 1) and return its mean loss."""
    config, model, topology = trainer.config, trainer.model, trainer.data.topology
    options, workers = config.loss_options(), trainer.workers
    own = (workers.rank,) if workers.size > 1 else ()  # each process augments its own events
    torch.manual_seed(_seed(config.seed, epoch, "dropout", *own))
    generator = torch.Generator().manual_seed(_seed(config.seed, epoch, "augmentation", *own))
    order = np.random.default_rng(_seed(config.seed, epoch, "order")).permutation(trainer.train)
    model.train(not config.freezes)  # no dropout in what is not trained
    steps, size = trainer.steps_per_epoch, config.batch_size
    total, said = torch.zeros((), device=trainer.device), time.perf_counter()
    for step in range(steps):
        rows = trainer.data.rows(order[step * size + workers.rank : (step + 1) * size : workers.size])
        batch = make_batch(rows, topology, trainer.device)
        batch = augment(
            batch, topology, config.rotate_phi, config.reflect_eta, generator, config.reflect_phi, config.scale_range
        )
        done = (epoch - 1) * steps + step
        for group in (group for optimiser in trainer.optimisers for group in optimiser.param_groups):
            group["lr"] = learning_rate(config, done, steps)
        with _precision(trainer):
            outputs, arrangement = forward_in_groups(model, batch, config.groups)
        batch = reordered(batch, arrangement)
        lengths = [x.shape[1] for x, i in zip(batch.inputs, topology.inputs, strict=True) if i.kind == "sequential"]
        weight = batch.weight if trainer.balance is None else batch.weight * trainer.balance[_codes(batch, trainer)]
        loss = symmetric_loss(
            _single(outputs),
            batch.truth,
            topology,
            lengths,
            options,
            event_weight=weight,
            class_weight=trainer.class_weight,
            class_event_weight=batch.weight if config.class_weights else None,
            regression_scale=trainer.regression_scale,
            overlaps=overlaps_of(topology, batch.inputs, batch.masks) if outputs.gain else None,
        )
        model.zero_grad(set_to_none=True)
        loss.total.backward()  # type: ignore[no-untyped-call]
        workers.average_gradients(model)
        if config.gradient_clip:
            torch.nn.utils.clip_grad_norm_(model.parameters(), config.gradient_clip)
        for optimiser in trainer.optimisers:
            optimiser.step()
        _update_average(trainer, done)
        total += loss.total.detach()
        if time.perf_counter() - said > REPORT_SECONDS:
            said = time.perf_counter()
            say(f"epoch {epoch}: step {step + 1}/{steps}, loss {float(total) / (step + 1):.4f}")
    return workers.total([float(total)])[0] / steps / workers.size


def criterion(config: TrainingConfig, found: Validation) -> float:
    """What the best epoch has most of; TrainingError if the validation has no number of the name asked for."""
    numbers = found.numbers()
    if config.criterion not in numbers:
        raise TrainingError(
            f"criterion: no {config.criterion!r}; the validation of this training has {', '.join(numbers)}"
        )
    sign = -1.0 if config.criterion.startswith(("validation_loss", "rms/")) else 1.0
    return sign * numbers[config.criterion]


def learning_rate(config: TrainingConfig, step: int, steps_per_epoch: int) -> float:
    """Linear from 0 during the warm-up, then half a cosine to ``final_learning_rate`` at the last step."""
    warm, whole = config.warmup_epochs * steps_per_epoch, config.epochs * steps_per_epoch
    if step < warm:
        return config.learning_rate * (step + 1) / (warm + 1)
    done = min(1.0, (step - warm) / max(1.0, whole - warm))
    low = config.final_learning_rate
    return low + (config.learning_rate - low) * 0.5 * (1 + math.cos(math.pi * done))


def identity(config: TrainingConfig, data: TrainingData, workers: Workers = ALONE) -> dict[str, Any]:
    """Settings and data that determine the result: they must be the same when a training is resumed."""
    content = json.dumps(data.schema, sort_keys=True).encode()
    processes = {"processes": workers.size} if workers.size > 1 else {}
    settings = asdict(config)
    for key in LATER:  # left out: trainings from before they existed can be resumed
        if settings[key] == getattr(TrainingConfig, key):
            del settings[key]
    return {**settings, "data": hashlib.sha256(content).hexdigest(), **processes}


def _validation_batches(trainer: Trainer) -> Iterator[Batch]:
    workers = trainer.workers
    for start in range(VALIDATION_BATCH * workers.rank, len(trainer.validation), VALIDATION_BATCH * workers.size):
        rows = trainer.data.rows(trainer.validation[start : start + VALIDATION_BATCH])
        yield make_batch(rows, trainer.data.topology, trainer.device)


def _update_average(trainer: Trainer, step: int) -> None:
    """EMA ← decay·EMA + (1 − decay)·weights, the decay growing at first so that the start is soon forgotten."""
    decay = min(trainer.config.ema_decay, (1 + step) / (10 + step))
    with torch.no_grad():
        torch._foreach_lerp_(list(trainer.average.parameters()), list(trainer.model.parameters()), 1 - decay)
        for mine, theirs in zip(trainer.average.buffers(), trainer.model.buffers(), strict=True):
            mine.copy_(theirs)  # normalisation; running statistics of batch normalisation are averages already


def _codes(batch: Batch, trainer: Trainer) -> Tensor:
    present = torch.stack([batch.truth.present[n] for n in trainer.data.topology.target_names], dim=1).long()
    return presence_code(present)


def _precision(trainer: Trainer) -> AbstractContextManager[Any]:
    """bfloat16 on a GPU: the range of float32, so no loss scaling."""
    if trainer.config.amp and trainer.device.type == "cuda":
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return nullcontext()


def _single(outputs: Any) -> Any:
    """Everything the loss reads in single precision."""
    for part in (outputs.assignment, outputs.gain, outputs.detection, outputs.regression, outputs.classification):
        for key, value in part.items():
            part[key] = value.float()
    return outputs


def _seed(*parts: Any) -> int:
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:7], "little")


def _has_stalled(config: TrainingConfig, progress: Progress) -> bool:
    return bool(config.patience) and progress.epoch - progress.best_epoch >= config.patience
