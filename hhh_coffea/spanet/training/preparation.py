"""Before the first step of a training: its events, and the network with what it starts from."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hhh_coffea.spanet.checkpoint import SPANet, build, normalisers_of
from hhh_coffea.spanet.training.batches import (
    EVEN,
    ODD,
    fit_normalisers,
    fit_regressions,
    presence_codes,
    under_reflection,
)
from hhh_coffea.spanet.training.config import TrainingConfig
from hhh_coffea.spanet.training.dataset import TrainingData
from hhh_coffea.spanet.training.loss import effective_number_weights, presence_table
from hhh_coffea.spanet.training.optimiser import optimisers
from hhh_coffea.spanet.training.parallel import ALONE, Workers
from hhh_coffea.spanet.training.start import load_start, load_trunk
from hhh_coffea.spanet.training.state import TrainingError

Rows = npt.NDArray[np.int32]


@dataclass
class Trainer:
    """What a training works with. ``average`` holds the moving average of ``model``'s weights: what is kept."""

    config: TrainingConfig
    data: TrainingData
    device: torch.device
    model: SPANet
    average: SPANet
    optimisers: list[torch.optim.Optimizer]
    train: Rows  # rows to train on
    validation: Rows
    balance: Tensor | None  # event weight by presence code, (2^P)
    regression_scale: dict[str, float]  # standard deviation of each regression in the training events
    class_weight: dict[str, Tensor]  # of each class, by classification; empty where classes count by their events
    workers: Workers = ALONE

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch; what does not fill one is left for the next epoch's shuffle."""
        return max(1, len(self.train) // self.config.batch_size)


def prepare(
    config: TrainingConfig, data: TrainingData, device: str | torch.device = "cpu", workers: Workers = ALONE
) -> Trainer:
    """Split the data, build and initialise the network from the seed, fit its normalisation."""
    chosen, topology = torch.device(device), data.topology
    augments = config.rotate_phi or config.reflect_eta or config.reflect_phi or config.scale_range
    unknown = [r.key for r in topology.regressions if under_reflection(r.key) is None]
    if unknown and config.loss_options().regression and augments:
        raise TrainingError(
            f"the name of {', '.join(unknown)} does not define how it changes under rotations and reflections: it must end in "
            f"{', '.join((*ODD, *EVEN[:-1]))} or begin with log: set rotate_phi, reflect_eta and reflect_phi to false and "
            "leave out scale_range, or loss.regression to 0"
        )
    if config.batch_size % workers.size:
        raise TrainingError(f"batch_size = {config.batch_size} is not a multiple of the {workers.size} processes")
    train_rows, validation = split(config, data)
    torch.manual_seed(config.seed)
    model = build(topology, config.architecture, config.network, data.classes)
    chosen_rows = np.zeros(len(data), dtype=bool)
    chosen_rows[train_rows] = True
    if config.start_from:
        load_start(model, config.start_from)
    elif config.fine_tune:
        new = load_trunk(model, config.fine_tune)
        fit_regressions(model, data, chosen_rows, [key for key in new if key in {r.key for r in topology.regressions}])
    else:
        fit_normalisers(normalisers_of(model), data, chosen_rows)
        fit_regressions(model, data, chosen_rows)
    scale = {r.key: float(s) for r, s in zip(topology.regressions, model.regression_scale[:, 1], strict=True)}
    model = model.to(chosen)
    if config.freezes:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.startswith("heads."))
    return Trainer(
        config=config,
        data=data,
        device=chosen,
        model=model,
        average=copy.deepcopy(model).requires_grad_(False).eval(),
        optimisers=optimisers(model, config.optimiser, config.learning_rate, config.weight_decay),
        train=train_rows,
        validation=validation,
        balance=_balance(config, data, train_rows).to(chosen) if config.balance_presence else None,
        regression_scale=scale,
        class_weight=_class_weights(data, chosen_rows, chosen) if config.class_weights == "balanced" else {},
        workers=workers,
    )


def split(config: TrainingConfig, data: TrainingData) -> tuple[Rows, Rows]:
    """Rows to train on, and rows to validate on in the order of their hashes."""
    hashes = data.column("split")
    use = hashes >= config.validation_fraction
    if not config.partial_events:  # every particle seen in some way
        codes = presence_codes(data)
        for alternative in data.topology.alternatives:
            use &= (codes & sum(1 << i for i in alternative)) != 0
    train_rows = np.flatnonzero(use).astype(np.int32)
    if config.max_events:
        # the smallest hashes: a sample of a sample, whatever the size
        order = np.argsort(hashes[train_rows], kind="stable")
        train_rows = np.sort(train_rows[order[: config.max_events]])
    validation = np.flatnonzero(hashes < config.validation_fraction).astype(np.int32)
    # by their hashes, not by file: a batch of one dataset alone would have another mean loss than one of all
    validation = validation[np.argsort(hashes[validation], kind="stable")]
    if len(train_rows) < config.batch_size:
        raise TrainingError(
            f"{data.path}: {len(train_rows)} training events are fewer than batch_size = {config.batch_size}"
        )
    return train_rows, validation


def _balance(config: TrainingConfig, data: TrainingData, rows: Rows) -> Tensor:
    """Event weight by presence code: the table of the loss to a power, averaging 1 over the training events."""
    codes = presence_codes(data)[rows]
    bits = torch.from_numpy((codes[:, None] >> np.arange(len(data.topology.targets))) & 1)
    table = presence_table(data.topology, bits) ** config.balance_presence
    return table / table[torch.from_numpy(codes).long()].mean()


def _class_weights(data: TrainingData, use: npt.NDArray[np.bool_], device: torch.device) -> dict[str, Tensor]:
    """Weights of the classes from the sums of event weights in each, in units of the mean weight."""
    weight, found = data.column("weight").astype(np.float64), {}
    for key, number in data.classes.items():
        target = data.column(f"classifications/{key}")
        known = use & (target >= 0)
        sums = np.bincount(target[known], weights=weight[known], minlength=number)
        if (sums <= 0).any():
            raise TrainingError(
                f"{data.path}: class {int(np.argmin(sums))} of {key} has events of weight {sums.min():g} together: "
                "class_weights: balanced needs events of every class"
            )
        found[key] = effective_number_weights(torch.from_numpy(sums * known.sum() / sums.sum())).to(device)
    return found
