"""ONNX: same probabilities and the same jets as in torch, for any number of events."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hhh_coffea.spanet.checkpoint import build
from hhh_coffea.spanet.decoding.candidates import overlap_matrix
from hhh_coffea.spanet.decoding.decode import joint
from hhh_coffea.spanet.decoding.mass_price import MassPrice
from hhh_coffea.spanet.decoding.masses import NODES
from hhh_coffea.spanet.export import Exported, export_onnx, parse_lengths
from hhh_coffea.topology.topology import Topology


@pytest.fixture
def session(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")

    def make(model, lengths, price=None):
        path = export_onnx(model, tmp_path / "model.onnx", lengths, price)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    return make


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "architecture"), [("hh", "default"), ("semi_leptonic_ttH", "default"), ("hh_resolved", "original")]
)
def test_onnx_decodes_as_torch_does(session, events, name, architecture):
    topology = Topology.bundled(name)
    torch.manual_seed(0)
    small = {"hidden_dim": 16, "num_encoder_layers": 1}
    if architecture == "original":
        small |= {"num_branch_embedding_layers": 1, "num_branch_encoder_layers": 1}
    model = build(topology, architecture, small, {"EVENT/signal": 2}).eval()
    if architecture == "default":
        with torch.no_grad():  # confident enough for the decoding to find something
            for detection in model.detection:
                detection.second.bias += 3
            for query in model.score_queries:
                query.weight *= 20
    inputs, masks = events(topology, 50)
    # a few objects: what takes the exporter minutes with ten jets takes it seconds, and is the same code
    shorter = [6 if m.shape[1] > 6 else m.shape[1] for m in masks]
    inputs = [x[:, :n] for x, n in zip(inputs, shorter, strict=True)]
    masks = [m[:, :n] for m, n in zip(masks, shorter, strict=True)]
    lengths = {i.name: m.shape[1] for i, m in zip(topology.inputs, masks, strict=True)}
    table = tuple(np.linspace(-2.0, 6.0, NODES).tolist())  # candidates of large mass are dear
    price = MassPrice(dict.fromkeys(topology.target_names, table)) if name == "hh" else None
    wrapped = Exported(model, price)
    run = session(model, lengths, price)
    with torch.inference_mode():
        want = wrapped(*inputs, *masks)
        if price is not None:
            at = wrapped.output_names.index("objects")
            assert not torch.equal(want[at], Exported(model)(*inputs, *masks)[at])
    for batch in (50, 7):  # traced with 3 events
        feed = {n: x[:batch].numpy() for n, x in zip(wrapped.input_names, [*inputs, *masks], strict=True)}
        got = dict(zip(wrapped.output_names, run.run(None, feed), strict=True))
        for output, value in zip(wrapped.output_names, want, strict=True):
            np.testing.assert_allclose(got[output], value[:batch].numpy(), atol=1e-5, err_msg=output)
    assert bool(got["selected"].any()) or architecture == "original"


def test_wrapped_decoding_is_joint_decoding(events):
    """What is exported avoids shapes that depend on the data; the choice is the same."""
    topology = Topology.bundled("hh")
    model = build(topology, "default", {"hidden_dim": 16, "num_encoder_layers": 1}).eval()
    inputs, masks = events(topology, 20)
    wrapped = Exported(model)
    with torch.inference_mode():
        out = dict(zip(wrapped.output_names, wrapped(*inputs, *masks), strict=True))
        direct = joint(model(inputs, masks), topology, [10, 3], overlap_matrix(topology, inputs, masks))
    assert torch.equal(out["objects"], direct.objects)
    assert out["h1_assignment_probability"].shape == (20, 10, 10)


def test_lengths():
    topology = Topology.bundled("hhh")
    assert parse_lengths(topology, []) == {"Jets": 10, "BoostedJets": 3}
    assert parse_lengths(topology, ["Jets=8"]) == {"Jets": 8, "BoostedJets": 3}
    for wrong in ("Jets", "Jets=x", "Jets=0", "Leptons=3"):
        with pytest.raises(ValueError, match="INPUT=N"):
            parse_lengths(topology, [wrong])
