"""Training in several processes: ``torchrun --nproc-per-node N`` starts them, each works on its share of every batch.

Gradients are averaged by hand, in one message: the networks are small, and whatever the step runs, however often it
calls the network, nothing needs to be wrapped.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn


@dataclass(frozen=True)
class Workers:
    """One process, number ``rank``, among ``size``; number 0 writes and speaks."""

    rank: int = 0
    size: int = 1

    def total(self, numbers: Sequence[float]) -> list[float]:
        """Each number added over all processes, in double precision."""
        if self.size == 1:
            return list(numbers)
        device = "cuda" if dist.get_backend() == "nccl" else "cpu"
        tensor = torch.tensor(numbers, dtype=torch.float64, device=device)
        dist.all_reduce(tensor)
        return [float(x) for x in tensor]

    def average_gradients(self, model: nn.Module) -> None:
        """Replace every gradient by its mean over the processes."""
        if self.size > 1:
            self._average([p.grad for p in model.parameters() if p.grad is not None])

    def average_buffers(self, model: nn.Module) -> None:
        """The same for what a network keeps besides its parameters: running statistics of batch normalisation."""
        if self.size > 1:
            self._average([b for b in model.buffers() if b.is_floating_point()])

    def _average(self, tensors: list[Tensor]) -> None:
        if not tensors:
            return
        flat = torch.cat([t.flatten() for t in tensors])
        dist.all_reduce(flat)
        flat /= self.size
        parts = torch.split(flat, [t.numel() for t in tensors])
        for tensor, mean in zip(tensors, parts, strict=True):
            tensor.copy_(mean.view_as(tensor))


ALONE = Workers()


@contextmanager
def joined(device: str) -> Iterator[tuple[Workers, torch.device]]:
    """Join the processes that torchrun started, if it did, and choose this one's device.

    ``device`` is ``auto`` (a GPU where there is one), ``cpu`` or a torch device; each process of a machine takes a GPU of
    its own. NCCL between GPUs, gloo between CPUs.
    """
    has_gpu = torch.cuda.is_available()
    chosen = torch.device("cuda" if has_gpu else "cpu") if device == "auto" else torch.device(device)
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ALONE, chosen
        return
    if chosen.type == "cuda":
        chosen = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(chosen)
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield Workers(dist.get_rank(), dist.get_world_size()), chosen
    finally:
        dist.destroy_process_group()
