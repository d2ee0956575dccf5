"""A network without padding: the same numbers, to rounding, in less time on a CPU.

Events are sorted by how many objects they have and evaluated a few hundred at a time, each lot cut to its own largest
multiplicity. Attention and the kinematics of pairs grow with the square of it; and what a lot touches fits the cache.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hhh_coffea.spanet.network.outputs import Outputs

if TYPE_CHECKING:
    from hhh_coffea.spanet.checkpoint import SPANet

SMALLEST, LARGEST = 128, 384  # events in a lot: what is worth a lot of its own, and what fits the cache
TABLES = ("assignment", "gain", "marginal")  # over the objects
OTHERS = ("detection", "regression", "classification", "vectors")


class Packed:
    """Evaluate a network with the same inputs and outputs, faster on a CPU."""

    def __init__(self, model: SPANet):
        self.model, self.topology = model, model.topology
        self.sequential = [i for i, event_input in enumerate(self.topology.inputs) if event_input.kind == "sequential"]

    @torch.inference_mode()
    def __call__(self, inputs: Sequence[Tensor], masks: Sequence[Tensor]) -> Outputs:
        """As the network's ``forward``; no faster where padding stands before real objects."""
        objects = [masks[i] for i in self.sequential]
        if not len(masks[0]) or any(bool((m[:, 1:] & ~m[:, :-1]).any()) for m in objects):
            return self.model(inputs, masks)  # type: ignore[no-any-return]
        order, lots = sorted_lots(objects)
        inputs, masks = ([x.index_select(0, order) for x in xs] for xs in (inputs, masks))
        out: Outputs | None = None
        for events, sizes in lots:
            x, m = [x[events] for x in inputs], [m[events] for m in masks]
            for i, n in zip(self.sequential, sizes, strict=True):
                x[i], m[i] = x[i][:, :n], m[i][:, :n]
            found = self.model(x, m)
            out = out or self._room(found, objects)
            axes = self._axes(objects, sizes)
            for target in self.topology.targets:
                at = torch.meshgrid(*(axes[source] for source in target.sources), indexing="ij")
                every: tuple[slice | Tensor, ...] = (slice(None), *at)
                for kind in TABLES:
                    for value in (table[target.name] for table in (getattr(found, kind),) if table):
                        getattr(out, kind)[target.name][events][every] = value  # (b, n1, …, nk) into (b, N1, …, Nk)
            for kind in OTHERS:
                for key, values in getattr(found, kind).items():
                    getattr(out, kind)[key][events] = values
        assert out is not None
        back = order.argsort()
        for kind in (*TABLES, *OTHERS):
            for key, values in getattr(out, kind).items():
                getattr(out, kind)[key] = values.index_select(0, back)
        return out

    def _room(self, found: Outputs, objects: Sequence[Tensor]) -> Outputs:
        """Outputs for all events, shaped as ``found``, nothing assigned yet."""
        batch, out = len(objects[0]), Outputs({}, {})
        slots = {source: len(places) for source, places in self._axes(objects, [m.shape[1] for m in objects]).items()}
        for target in self.topology.targets:
            shape = [slots[source] for source in target.sources]
            for kind in TABLES:
                for name, value in getattr(found, kind).items():
                    if name == target.name:
                        getattr(out, kind)[name] = value.new_full((batch, *shape), -torch.inf)
        for kind in OTHERS:
            for key, values in getattr(found, kind).items():
                getattr(out, kind)[key] = values.new_empty((batch, *values.shape[1:]))
        return out

    def _axes(self, objects: Sequence[Tensor], sizes: Sequence[int]) -> dict[str | None, Tensor]:
        """Slots of the first ``sizes`` objects of each input in the list it is scored in; None: of all in the common one.

        That list is the input's own, or with architecture ``original`` the common one.
        """
        names = [self.topology.inputs[i].name for i in self.sequential]
        places = [torch.arange(n, device=objects[0].device) for n in sizes]
        starts = torch.tensor([0, *(m.shape[1] for m in objects)]).cumsum(0).tolist()
        axes: dict[str | None, Tensor] = dict(zip(names, places, strict=True))
        axes[None] = torch.cat([start + place for start, place in zip(starts, places, strict=False)])
        return axes if self.model.architecture == "default" else dict.fromkeys(axes, axes[None])


def sorted_lots(masks: Sequence[Tensor]) -> tuple[Tensor, list[tuple[slice, list[int]]]]:
    """Order events by multiplicity and cut the list into lots, where the multiplicity changes if possible.

    ``masks[i] (B, M_i)`` → the order ``(B)``, and of each lot its part of it and the largest number of objects in
    each input.
    """
    counts = torch.stack([m.sum(1) for m in masks], dim=1)  # (B, inputs)
    code, radix = torch.zeros_like(counts[:, 0]), 1
    for n, m in zip(counts.unbind(1), masks, strict=True):
        code, radix = code + radix * n, radix * (m.shape[1] + 1)
    code, order = code.sort(stable=True)
    lots, start, stop = [], 0, 0
    values, sizes = torch.unique_consecutive(code, return_counts=True)
    for value, n in zip(values.tolist(), sizes.tolist(), strict=True):
        stop += n
        if value == 0:  # an event without any object attends to padding, evenly: there the number of slots matters
            lots.append((slice(0, stop), [m.shape[1] for m in masks]))
            start = stop
        elif stop - start >= SMALLEST or stop == len(code):
            pieces = -(-(stop - start) // LARGEST)
            ends = [start + (stop - start) * i // pieces for i in range(pieces + 1)]
            lots += [(slice(a, b), counts[order[a:b]].amax(0).tolist()) for a, b in itertools.pairwise(ends)]
            start = stop
    return order, lots
