"""ONNX: same probabilities and the same jets as in torch, for any number of events."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hhh_coffea.spanet.checkpoint import build
from hhh_coffea.spanet.decoding.decode import expected
from hhh_coffea.spanet.decoding.mass_price import MassPrice
from hhh_coffea.spanet.decoding.masses import NODES
from hhh_coffea.spanet.export import Exported, export_onnx, parse_lengths
from hhh_coffea.spanet.network.features import overlap_matrix
from hhh_coffea.topology.topology import Topology


@pytest.fixture
def session(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")

    def make(model, lengths, price=None, interface="decoded"):
        path = export_onnx(model, tmp_path / "model.onnx", lengths, price, interface)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    return make


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "architecture", "options"),
    [
        ("hh", "default", {}),
        ("hh", "default", {"interpretations": True}),
        ("semi_leptonic_ttH", "default", {}),
        ("hh_resolved", "original", {}),
    ],
)
def test_onnx_decodes_as_torch_does(session, events, capfd, name, architecture, options):
    topology = Topology.bundled(name)
    torch.manual_seed(0)
    small = {"hidden_dim": 16, "num_encoder_layers": 1, **options}
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
    shorter = [4 if m.shape[1] > 4 else m.shape[1] for m in masks]
    inputs = [x[:, :n] for x, n in zip(inputs, shorter, strict=True)]
    masks = [m[:, :n] for m, n in zip(masks, shorter, strict=True)]
    lengths = {i.name: m.shape[1] for i, m in zip(topology.inputs, masks, strict=True)}
    table = tuple(np.linspace(-2.0, 6.0, NODES).tolist())  # candidates of large mass are dear
    price = MassPrice(dict.fromkeys(topology.target_names, table)) if name == "hh" else None
    wrapped = Exported(model, price)
    run = session(model, lengths, price)
    assert "Skipping" not in capfd.readouterr().err  # warnings of the exporters' loggers
    with torch.inference_mode():
        want = wrapped(*inputs, *masks)
        if price is not None:
            at = wrapped.output_names.index("objects")
            assert not torch.equal(want[at], Exported(model)(*inputs, *masks)[at])
    for batch in (50, 7):  # traced with 3 events
        feed = {n: x[:batch].numpy() for n, x in zip(wrapped.input_names, [*inputs, *masks], strict=True)}
        got = dict(zip(wrapped.output_names, run.run(None, feed), strict=True))
        expected_of = dict(zip(wrapped.output_names, (value[:batch].numpy() for value in want), strict=True))
        # of an untrained network: which of the targets that are exchanged a candidate is, rounding may decide
        assert choices(got, topology) == choices(expected_of, topology)
        for output in set(wrapped.output_names) - {"objects", "selected", "assignment_probability"}:
            np.testing.assert_allclose(got[output], expected_of[output], atol=1e-5, err_msg=output)
    assert bool(got["selected"].any()) or architecture == "original"


def choices(outputs, topology):
    """Objects of the candidates of each event and class of targets, in any order."""
    return [
        [sorted(objects[i].tolist() for i in members if selected[i]) for members in topology.symmetric_classes]
        for objects, selected in zip(outputs["objects"], outputs["selected"], strict=True)
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "architecture"), [("hhh", "default"), ("semi_leptonic_ttH", "default"), ("hh_resolved", "original")]
)
def test_the_interface_of_the_original(session, events, name, architecture):
    """Interleaved inputs, ln(1 + x) taken by the caller, any padding and any number of objects; read by name."""
    topology = Topology.bundled(name)
    torch.manual_seed(0)
    small = {"hidden_dim": 16, "num_encoder_layers": 1}
    if architecture == "original":
        small |= {"num_branch_embedding_layers": 1, "num_branch_encoder_layers": 1}
    model = build(topology, architecture, small, {"EVENT/signal": 2}).eval()
    longest = 8 if name == "semi_leptonic_ttH" else 9
    run = session(
        model, {i.name: 3 if i.name == "BoostedJets" else longest for i in topology.sequential}, None, "original"
    )
    assert [i.name for i in run.get_inputs()] == [f"{i.name}_{k}" for i in topology.inputs for k in ("data", "mask")]
    inputs, masks = events(topology, 20, minimum=2)
    names = [output.name for output in run.get_outputs()]
    for n in (4, 5, longest):
        shorter = [n if i.kind == "sequential" else 1 for i in topology.inputs]
        x = [x[:, :m] for x, m in zip(inputs, shorter, strict=True)]
        masked = [x[:, :m] for x, m in zip(masks, shorter, strict=True)]
        feed = {}
        for event_input, values, mask in zip(topology.inputs, x, masked, strict=True):
            data = np.where(mask.numpy()[..., None], values.numpy(), 9999)
            log = [feature.log for feature in event_input.features]
            data[..., log] = np.log1p(data[..., log])
            feed |= {f"{event_input.name}_data": data.astype(np.float32), f"{event_input.name}_mask": mask.numpy()}
        got = dict(zip(names, run.run(names, feed), strict=True))
        with torch.inference_mode():
            out = model(x, masked)
        want = {f"{t}_assignment_probability": p.exp() for t, p in out.assignment.items()}
        want |= {f"{t}_detection_probability": logit.sigmoid() for t, logit in out.detection.items()}
        want |= out.regression | {key: logits.softmax(-1) for key, logits in out.classification.items()}
        assert list(got) == list(want)
        for key, value in want.items():
            np.testing.assert_allclose(got[key], value.numpy(), atol=1e-5, rtol=1e-5, err_msg=key)


def test_wrapped_decoding_is_expected_decoding(events):
    """What is exported avoids shapes that depend on the data; the choice is the same."""
    topology = Topology.bundled("hh")
    model = build(topology, "default", {"hidden_dim": 16, "num_encoder_layers": 1}).eval()
    inputs, masks = events(topology, 20)
    wrapped = Exported(model)
    with torch.inference_mode():
        out = dict(zip(wrapped.output_names, wrapped(*inputs, *masks), strict=True))
        direct = expected(model(inputs, masks), topology, [10, 3], overlap_matrix(topology, inputs, masks))
    assert torch.equal(out["objects"], direct.objects)
    assert out["h1_assignment_probability"].shape == (20, 10, 10)


def test_lengths():
    topology = Topology.bundled("hhh")
    assert parse_lengths(topology, []) == {"Jets": 10, "BoostedJets": 3}
    assert parse_lengths(topology, ["Jets=8"]) == {"Jets": 8, "BoostedJets": 3}
    for wrong in ("Jets", "Jets=x", "Jets=0", "Leptons=3"):
        with pytest.raises(ValueError, match="INPUT=N"):
            parse_lengths(topology, [wrong])
