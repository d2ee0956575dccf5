"""Everything needed to go on after a kill, in one safetensors file that is replaced as a whole."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hhh_coffea.base.atomic import replacing
from hhh_coffea.base.errors import UserError

STATE_FILE = "last.safetensors"


class TrainingError(UserError):
    """A training that cannot start or go on; the message says why."""


@dataclass
class Progress:
    """How far a training is. ``identity``: what must not change between its parts."""

    identity: dict[str, Any]
    epoch: int = 0
    best_epoch: int = 0
    best_product: float = -1.0
    history: list[dict[str, float]] = field(default_factory=list)


def write_state(
    folder: Path, model: nn.Module, average: nn.Module, optimisers: Sequence[torch.optim.Optimizer], progress: Progress
) -> None:
    """Write weights, averaged weights, the optimisers' moments and the progress (JSON in the file's header)."""
    from safetensors.torch import save as serialised

    tensors: dict[str, Tensor] = {}
    for prefix, module in (("model", model), ("average", average)):
        tensors |= {f"{prefix}/{k}": v.detach().cpu().contiguous() for k, v in module.state_dict().items()}
    for number, optimiser in enumerate(optimisers):
        for index, moments in optimiser.state_dict()["state"].items():
            name = f"{_prefix(number)}/{index}"
            tensors |= {f"{name}/{k}": torch.as_tensor(v).cpu().contiguous() for k, v in moments.items()}
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / STATE_FILE) as partial:
        partial.write_bytes(serialised(tensors, metadata={"progress": json.dumps(asdict(progress))}))


def read_state(
    folder: Path,
    model: nn.Module,
    average: nn.Module,
    optimisers: Sequence[torch.optim.Optimizer],
    identity: Mapping[str, Any],
) -> Progress:
    """Put a written state back and return its progress.

    Raises
    ------
    TrainingError
        if there is none, or it was made with other settings or data: names the key.
    """
    from safetensors import SafetensorError, safe_open

    path = folder / STATE_FILE
    if not path.is_file():
        raise TrainingError(f"{folder}: nothing to resume (no {STATE_FILE})")
    try:
        with safe_open(path, framework="pt") as file:
            progress = Progress(**json.loads(file.metadata()["progress"]))
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise TrainingError(f"{path}: is not a training state: {error}") from error
    wanted = json.loads(json.dumps(identity))
    for key in sorted({*wanted, *progress.identity}):
        value = wanted.get(key)
        if progress.identity.get(key) != value:
            raise TrainingError(
                f"{path}: was made with {key} = {progress.identity.get(key)!r}, not {value!r}: a resumed training "
                "needs the same configuration and data"
            )
    for prefix, module in (("model", model), ("average", average)):
        module.load_state_dict(
            {k.removeprefix(f"{prefix}/"): v for k, v in tensors.items() if k.startswith(f"{prefix}/")}
        )
    for number, optimiser in enumerate(optimisers):
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            prefix, index, name = (*key.split("/", 2), "")[:3]
            if prefix == _prefix(number):
                moments.setdefault(int(index), {})[name] = value
        optimiser.load_state_dict({"state": moments, "param_groups": optimiser.state_dict()["param_groups"]})
    return progress


def _prefix(number: int) -> str:
    """Of the tensors of an optimiser; the first has no number, as in states from before there were several."""
    return f"optimiser{number or ''}"
