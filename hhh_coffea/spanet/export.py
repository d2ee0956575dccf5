"""ONNX export of a trained network, decoding included: what leaves the graph are jets, not tensors to interpret."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from hhh_coffea.spanet.decoding.candidates import Decoded, overlap_matrix
from hhh_coffea.spanet.decoding.decode import greedy, joint, pairs_and_singles
from hhh_coffea.spanet.decoding.mass_price import MassPrice
from hhh_coffea.spanet.network.outputs import Outputs
from hhh_coffea.topology.topology import Topology

if TYPE_CHECKING:
    from hhh_coffea.spanet.checkpoint import SPANet

OPSET = 18


class Exported(nn.Module):
    """The network with flat inputs and outputs, and the joint decoding (of pairs and single objects; greedy of other targets).

    Inputs, for every input of the topology: ``<name>_data (B, M, F)`` raw features in GeV, ``<name>_mask (B, M)``.
    Outputs, for every target: ``<target>_assignment_probability`` (one ordering), ``<target>_detection_probability``;
    then ``objects (B, P, K)``, ``selected``, ``assignment_probability``, ``detection_probability (B, P)`` of
    :class:`~hhh_coffea.spanet.decoding.decode.Decoded`, then regressions and classification probabilities by key.
    """

    def __init__(self, model: SPANet, price: MassPrice | None = None):
        super().__init__()
        self.model, self.price = model, price
        topology = model.topology
        try:
            self.resolved, self.boosted = pairs_and_singles(topology)
            self.joint = True
        except ValueError:
            self.joint = False
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
        if self.joint:
            near = overlap_matrix(topology, inputs, masks) if self.resolved and self.boosted else None
            prices = self.price.of_assignments(out, inputs, topology) if self.price else None
            decoded = joint(out, topology, lengths, near, prices=prices)
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


def export_onnx(model: SPANet, path: str | Path, lengths: dict[str, int], price: MassPrice | None = None) -> Path:
    """Write ``model`` with decoding as an ONNX file; the number of events is free, ``lengths`` of inputs are fixed.

    ``lengths[name]`` is the padded number of objects of each sequential input, ``price`` that of joint decoding.
    ImportError without onnxscript.
    """
    try:
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError("ONNX export needs the packages onnx and onnxscript: pip install onnx onnxscript") from error
    model = model.eval()
    wrapped = Exported(model, price).eval()
    data = [torch.zeros(3, lengths.get(i.name, 1), len(i.features)) for i in model.topology.inputs]
    masks = [torch.ones(x.shape[:2], dtype=torch.bool) for x in data]
    batch = torch.export.Dim("batch", min=1)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        torch.onnx.export(
            wrapped,
            (*data, *masks),
            str(path),
            input_names=wrapped.input_names,
            output_names=wrapped.output_names,
            opset_version=OPSET,
            dynamo=True,
            dynamic_shapes=(tuple({0: batch} for _ in (*data, *masks)),),
            external_data=False,
            verbose=False,
        )
    return path


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
