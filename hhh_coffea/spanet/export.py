"""ONNX export of a trained network: with its decoding (what leaves the graph are jets), or with the original's interface."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hhh_coffea.spanet.decoding.candidates import Decoded
from hhh_coffea.spanet.decoding.decode import expected, greedy
from hhh_coffea.spanet.decoding.mass_price import MassPrice
from hhh_coffea.spanet.network.interpretations import overlaps_of
from hhh_coffea.spanet.network.outputs import Outputs
from hhh_coffea.topology.topology import Topology, is_of_pairs_and_singles

if TYPE_CHECKING:
    from hhh_coffea.spanet.checkpoint import SPANet

OPSET = 18
INTERFACES = ("decoded", "original")
EXPORTERS = ("torch.onnx", "onnxscript")  # loggers; they warn of torchvision and of constants that stay as they are


class Exported(nn.Module):
    """The network with flat inputs and outputs, and the expected decoding (of pairs and single objects; greedy of other targets).

    Greedy: the graph of a network for tops may choose other jets than the main job, which decodes ``all``; the
    assignment probabilities in the graph are the same.

    Inputs, for every input of the topology: ``<name>_data (B, M, F)`` raw features in GeV, ``<name>_mask (B, M)``.
    Outputs, for every target: ``<target>_assignment_probability`` (one ordering), ``<target>_detection_probability``;
    then ``objects (B, P, K)``, ``selected``, ``assignment_probability``, ``detection_probability (B, P)`` of
    :class:`~hhh_coffea.spanet.decoding.decode.Decoded`, then regressions and classification probabilities by key.
    """

    def __init__(self, model: SPANet, price: MassPrice | None = None):
        super().__init__()
        self.model, self.price = model, price
        topology = model.topology
        self.pairs_and_singles = is_of_pairs_and_singles(topology)
        self.input_names = [f"{i.name}_{kind}" for kind in ("data", "mask") for i in topology.inputs]
        self.output_names = [
            f"{name}_{kind}_probability" for kind in ("assignment", "detection") for name in topology.target_names
        ]
        self.output_names += list(Decoded._fields)
        heads = [*(r.key for r in topology.regressions), *topology.classifications]
        self.output_names += [key.replace("/", "_") for key in heads]

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """All ``data`` tensors, then all ``masks``; outputs in the order of ``output_names``."""
        inputs, masks = tensors[: len(tensors) // 2], tensors[len(tensors) // 2 :]
        out: Outputs = self.model(inputs, masks)
        topology = self.model.topology
        lengths = [m.shape[1] for m, i in zip(masks, topology.inputs, strict=True) if i.kind == "sequential"]
        if self.pairs_and_singles:
            near = overlaps_of(topology, inputs, masks)
            prices = self.price.of_assignments(out, inputs, topology) if self.price else None
            decoded = expected(out, topology, lengths, near, prices=prices)
        else:
            decoded = greedy(out, topology, lengths, own_input=True)
        names = topology.target_names
        return (
            *(out.assignment[name].exp() for name in names),
            *(out.detection[name].sigmoid() for name in names),
            *decoded,
            *out.regression.values(),
            *(logits.softmax(-1) for logits in out.classification.values()),
        )


class OriginalInterface(nn.Module):
    """The network with the inputs and outputs that callers of the original's ONNX files know; no decoding.

    Inputs, interleaved: ``<name>_data (B, M, F)``, in which the caller has taken ln(1 + x) of features that are
    logarithmic in the event YAML, ``<name>_mask (B, M)``. M may be any number up to ``lengths[name]``: the graph pads to
    that, and objects beyond it would be left out. Outputs: ``<target>_assignment_probability`` of every ordered choice of
    objects, ``<target>_detection_probability``, regressions and classification probabilities by key (``EVENT/class``).
    """

    def __init__(self, model: SPANet, lengths: dict[str, int]):
        super().__init__()
        self.model, self.lengths = model, lengths
        topology = model.topology
        self.input_names = [f"{i.name}_{kind}" for i in topology.inputs for kind in ("data", "mask")]
        self.output_names = [
            f"{name}_{kind}_probability" for kind in ("assignment", "detection") for name in topology.target_names
        ]
        self.output_names += [*(r.key for r in topology.regressions), *topology.classifications]

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """``data, mask, data, mask, …`` in the topology's order of inputs; outputs in the order of ``output_names``."""
        topology, inputs, masks, sizes = self.model.topology, [], [], {}
        for event_input, x, mask in zip(topology.inputs, tensors[::2], tensors[1::2], strict=True):
            log = torch.tensor([f.log for f in event_input.features])
            x = torch.where(mask.unsqueeze(-1), x, 0.0)  # noqa: PLW2901 - padding of callers may be anything
            x = torch.where(log, torch.expm1(x), x)  # noqa: PLW2901 - GeV, which masses of pairs are made of
            if event_input.kind == "sequential":
                length, sizes[event_input.name] = self.lengths[event_input.name], x.shape[1]
                x = F.pad(x, (0, 0, 0, length))[:, :length]  # noqa: PLW2901
                mask = F.pad(mask, (0, length))[:, :length]  # noqa: PLW2901
            inputs.append(x)
            masks.append(mask)
        out: Outputs = self.model(inputs, masks)
        assignments = []
        for target in topology.targets:
            p = out.assignment[target.name].exp()
            for axis, source in enumerate(target.sources, start=1):
                p = self._without_padding(p, axis, source, sizes)
            assignments.append(p)
        return (
            *assignments,
            *(out.detection[name].sigmoid() for name in topology.target_names),
            *out.regression.values(),
            *(logits.softmax(-1) for logits in out.classification.values()),
        )

    def _without_padding(self, p: Tensor, axis: int, source: str | None, sizes: dict[str, int]) -> Tensor:
        """An axis cut to the objects given: of the daughter's own input, or of all (architecture ``original``)."""
        if source is not None and (self.model.architecture == "default" or len(sizes) == 1):
            return p.narrow(axis, 0, sizes[source])
        start, parts = 0, []
        for name, size in sizes.items():
            parts.append(p.narrow(axis, start, size))
            start += self.lengths[name]
        return torch.cat(parts, dim=axis)


def export_onnx(
    model: SPANet,
    path: str | Path,
    lengths: dict[str, int],
    price: MassPrice | None = None,
    interface: str = "decoded",
) -> Path:
    """Write ``model`` as an ONNX file; the number of events is free.

    ``interface``: ``decoded`` (:class:`Exported`), in which the ``lengths`` of the sequential inputs, their padded numbers of
    objects, are fixed, or ``original`` (:class:`OriginalInterface`), in which they are the largest. ``price`` is that of
    expected decoding. ImportError without onnxscript.
    """
    try:
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError("ONNX export needs the packages onnx and onnxscript: pip install onnx onnxscript") from error
    model = model.eval()
    topology, batch = model.topology, torch.export.Dim("batch", min=1)
    data = [torch.zeros(3, lengths.get(i.name, 1), len(i.features)) for i in topology.inputs]
    masks = [torch.ones(x.shape[:2], dtype=torch.bool) for x in data]
    wrapped: Exported | OriginalInterface
    shapes: list[dict[int, torch.export.Dim]]
    if interface == "original":
        wrapped = OriginalInterface(model, lengths).eval()
        tensors = [x for pair in zip(data, masks, strict=True) for x in pair]
        objects = {i.name: torch.export.Dim(f"N_{i.name}", min=1, max=lengths[i.name]) for i in topology.sequential}
        each = [{0: batch} | ({1: objects[i.name]} if i.name in objects else {}) for i in topology.inputs]
        shapes = [shape for shape in each for _ in range(2)]
    else:
        wrapped = Exported(model, price).eval()
        tensors, shapes = [*data, *masks], [{0: batch}] * (2 * len(data))
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings(), _errors_only(*EXPORTERS), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        torch.onnx.export(
            wrapped,
            tuple(tensors),
            str(path),
            input_names=wrapped.input_names,
            output_names=wrapped.output_names,
            opset_version=OPSET,
            dynamo=True,
            dynamic_shapes=(tuple(shapes),),
            external_data=False,
            verbose=False,
        )
    return path


@contextmanager
def _errors_only(*names: str) -> Iterator[None]:
    """These loggers, and those below them, say nothing but errors within."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def parse_lengths(topology: Topology, arguments: Sequence[str]) -> dict[str, int]:
    """Read padded lengths of the sequential inputs from ``NAME=N`` strings; 10 (BoostedJets: 3) where not given.

    ValueError for anything that is not such a string or names no sequential input.
    """
    names = [i.name for i in topology.sequential]
    lengths = {name: 3 if name == "BoostedJets" else 10 for name in names}
    for argument in arguments:
        name, _, number = argument.partition("=")
        if name not in names or not number.isdecimal() or int(number) < 1:
            raise ValueError(f"{argument!r}: expected INPUT=N with INPUT one of {', '.join(names)}")
        lengths[name] = int(number)
    return lengths
