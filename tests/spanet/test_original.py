"""Agreement with the original SPANet, and reading its checkpoints."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

from hhh_coffea.spanet.checkpoint import CheckpointError, build, load, save
from hhh_coffea.spanet.original.blocks import OriginalOptions
from hhh_coffea.spanet.original.lightning_checkpoint import choose_checkpoint, compare_with_reference, import_original
from hhh_coffea.spanet.original.original import OriginalSPANet
from hhh_coffea.topology.topology import Topology

CHECKPOINTS = ["hhh_boosted", "ttbar"]


@pytest.fixture(params=CHECKPOINTS)
def checkpoint(request, shared_dir):
    return shared_dir / "reference/spanet_checkpoints" / request.param


def test_outputs_agree_with_the_original(checkpoint):
    model = import_original(checkpoint)
    with np.load(checkpoint / "reference.npz") as file:
        inputs = [torch.from_numpy(file[f"INPUTS/{i.name}/data"]) for i in model.topology.inputs]
        masks = [torch.from_numpy(file[f"INPUTS/{i.name}/mask"]) for i in model.topology.inputs]
        with torch.inference_mode():
            out = model(inputs, masks, log_applied=True)
        for name in model.topology.target_names:
            want = torch.from_numpy(file[f"OUTPUTS/{name}/assignment_log_probability"])
            assert torch.equal(torch.isfinite(out.assignment[name]), torch.isfinite(want))
            finite = torch.isfinite(want)
            torch.testing.assert_close(out.assignment[name][finite], want[finite], atol=1e-4, rtol=0)
            want = torch.from_numpy(file[f"OUTPUTS/{name}/detection_logit"])
            torch.testing.assert_close(out.detection[name], want, atol=1e-4, rtol=0)
        want = torch.from_numpy(file["OUTPUTS/VECTORS/EVENT"])
        torch.testing.assert_close(out.vectors["EVENT"], want, atol=1e-4, rtol=0)
    assert max(compare_with_reference(model, checkpoint / "reference.npz").values()) < 1e-4


def test_outputs_that_one_side_lacks_are_reported(checkpoint, tmp_path):
    """An output that is missing is no agreement: each is named, and infinitely different."""
    with np.load(checkpoint / "reference.npz") as file:
        stored = {key: file[key][:8] for key in file.files}
    model = import_original(checkpoint)
    first, last = model.topology.target_names[0], model.topology.target_names[-1]
    del stored[f"OUTPUTS/{first}/assignment_log_probability"]
    stored["OUTPUTS/REGRESSIONS/EVENT/mass"] = stored[f"OUTPUTS/{last}/detection_logit"]
    np.savez(tmp_path / "partly.npz", **stored)
    found = compare_with_reference(model, tmp_path / "partly.npz")
    assert {key for key, difference in found.items() if difference == float("inf")} == {
        f"{first}/assignment_log_probability (missing in partly.npz)",
        "EVENT/mass (the model has no such output)",
    }
    assert found["assignment_log_probability"] < 1e-4  # of the other targets


def test_raw_features_give_what_logarithms_give(checkpoint):
    model = import_original(checkpoint)
    with np.load(checkpoint / "reference.npz") as file:
        logged = [torch.from_numpy(file[f"INPUTS/{i.name}/data"]) for i in model.topology.inputs]
        masks = [torch.from_numpy(file[f"INPUTS/{i.name}/mask"]) for i in model.topology.inputs]
    raw = [torch.where(torch.tensor([f.log for f in i.features]), torch.expm1(x.double()), x.double()).float()
           for i, x in zip(model.topology.inputs, logged, strict=True)]  # fmt: skip
    with torch.inference_mode():
        a, b = model(raw, masks), model(logged, masks, log_applied=True)
    for name in model.topology.target_names:
        torch.testing.assert_close(a.detection[name], b.detection[name], atol=1e-4, rtol=0)


def test_imported_model_survives_saving(checkpoint, tmp_path):
    model = import_original(checkpoint)
    again = load(save(model, tmp_path / "model"))
    assert isinstance(again, OriginalSPANet)
    assert max(compare_with_reference(again, checkpoint / "reference.npz").values()) < 1e-4


# --- other networks: written under the original's names, then imported ------------------------------------------------
def original_names(model: OriginalSPANet) -> dict[str, torch.Tensor]:
    """Make the state_dict the original has for such a network (GRU blocks, gated transformer)."""
    state = {"particle_index_tensor": torch.tensor([1])}

    def gate(to, module):
        d = module.bias.shape[0]
        for n, letter in enumerate("rzg"):
            state[f"{to}.linear_W_{letter}.weight"] = module.update.weight[n * d : (n + 1) * d]
            state[f"{to}.linear_W_{letter}.bias"] = module.update.bias[n * d : (n + 1) * d]
        state[f"{to}.linear_U_r.weight"], state[f"{to}.linear_U_z.weight"] = module.state.weight.chunk(2)
        state[f"{to}.linear_U_g.weight"] = module.candidate.weight
        state[f"{to}.gate_bias"] = module.bias

    def put(to, module):
        state.update({f"{to}.{k}": v for k, v in module.state_dict().items()})

    def block(to, module):
        put(f"{to}.normalization.normalization", module.norm)
        put(f"{to}.linear_1.0", module.linear_1)
        put(f"{to}.linear_2.0", module.linear_2)
        gate(f"{to}.gru", module.gate)
        put(f"{to}.residual", module.residual)

    def stack(to, module):
        state[f"{to}.particle_vector"] = module.token.view(1, 1, -1)
        for n, b in enumerate(module.embedding):
            block(f"{to}.embedding.layers.{n}", b)
        for n, layer in enumerate(module.layers):
            at = f"{to}.encoder.layers.{n}"
            put(f"{at}.attention_norm", layer.norm)
            gate(f"{at}.attention_gate", layer.gate)
            state[f"{at}.attention.in_proj_weight"] = layer.attention.qkv.weight
            state[f"{at}.attention.in_proj_bias"] = layer.attention.qkv.bias
            put(f"{at}.attention.out_proj", layer.attention.out)
            block(f"{at}.feed_forward", layer.feed_forward)

    def head(to, module):
        for n, b in enumerate(module.blocks):
            block(f"{to}.hidden_layers.layers.{n}", b)
        put(f"{to}.output_norm", module.norm)
        put(f"{to}.output_layer", module.linear)

    for n, module in enumerate(model.inputs):
        at = f"embedding.vector_embedding_layers.{n}"
        put(f"{at}.normalizer", module.normaliser)
        state[f"{at}.position_embedding.position_embedding"] = module.kind.view(1, 1, -1)
        extra = ".embedding" if model.topology.inputs[n].kind == "global" else ""
        for m, b in enumerate(module.blocks):
            block(f"{at}.vector_embeddings{extra}.embedding_stack.embedding_layers.{m}", b)
    block("embedding.final_embedding_layer", model.embedding)
    stack("encoder", model.encoder)
    for n, branch in enumerate(model.branches):
        stack(f"branch_decoders.{n}.encoder", branch.encoder)
        for m, (encoder, projection) in enumerate(zip(branch.daughters, branch.projections, strict=True)):
            stack(f"branch_decoders.{n}.attention.encoders.{m}", encoder)
            put(f"branch_decoders.{n}.attention.linear_layers.{m}", projection)
        head(f"branch_decoders.{n}.detection_classifier", branch.detection)
    for r, module, scale in zip(model.topology.regressions, model.regression, model.regression_scale, strict=True):
        at = f"regression_decoder.networks.{r.key}"
        state[f"{at}.mean"], state[f"{at}.std"] = scale
        head(f"{at}.linear", module)
    for key, module in zip(model.topology.classifications, model.classification, strict=True):
        head(f"classification_decoder.networks.{key}.linear", module)
    return {k: v.detach().clone() for k, v in state.items()}


def write_folder(path, topology, options, state):
    (path / "checkpoints").mkdir(parents=True)
    (path / "options.json").write_text(json.dumps({**options, "epochs": 3, "optimizer": "AdamW"}))
    (path / "event.yaml").write_text(topology.text)
    torch.save({"epoch": 0, "state_dict": state, "hyper_parameters": options}, path / "checkpoints/epoch=0.ckpt")
    return path


OPTIONS = {
    "hidden_dim": 16,
    "initial_embedding_dim": 8,
    "position_embedding_dim": 4,
    "num_encoder_layers": 1,
    "num_branch_embedding_layers": 2,
    "num_branch_encoder_layers": 1,
    "num_jet_embedding_layers": 1,
    "num_jet_encoder_layers": 1,
    "num_detector_layers": 2,
    "num_regression_layers": 2,
    "num_classification_layers": 1,
}


@pytest.fixture
def semileptonic():
    torch.manual_seed(0)
    topology = Topology.bundled("semi_leptonic_ttH")
    model = build(topology, "original", OPTIONS, {"EVENT/signal": 3}).eval()
    model.regression_scale[:] = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0], [9.0, 10.0]])
    return model


def test_globals_regressions_and_classifications_are_imported(semileptonic, tmp_path, events):
    model = semileptonic
    folder = write_folder(tmp_path / "ttH", model.topology, OPTIONS, original_names(model))
    again = import_original(folder)
    assert again.classes == {"EVENT/signal": 3}
    inputs, masks = events(model.topology, 10, minimum=4)
    with torch.inference_mode():
        a, b = model(inputs, masks), again(inputs, masks)
    for kind in ("assignment", "detection", "regression", "classification", "vectors"):
        want, got = getattr(a, kind), getattr(b, kind)
        assert want.keys() == got.keys()
        assert want
        for key, value in want.items():
            assert torch.equal(value, got[key]), key


def test_regressions_are_denormalised(semileptonic, events):
    inputs, masks = events(semileptonic.topology, 4)
    with torch.inference_mode():
        y = semileptonic(inputs, masks).regression["EVENT/neutrino_px"]
        semileptonic.regression_scale[1] = torch.tensor([0.0, 1.0])
        raw = semileptonic(inputs, masks).regression["EVENT/neutrino_px"]
    torch.testing.assert_close(y, 4 * raw + 3)


def test_global_input_matters_and_takes_no_assignment(semileptonic, events):
    inputs, masks = events(semileptonic.topology, 4, minimum=4)
    with torch.inference_mode():
        a = semileptonic(inputs, masks)
        inputs[1] = inputs[1] + 50
        b = semileptonic(inputs, masks)
    assert a.assignment["h"].shape == (4, 8, 8)
    assert not torch.equal(a.detection["h"], b.detection["h"])


@pytest.mark.parametrize(
    "change",
    [
        {"linear_block_type": "Basic"},
        {"linear_block_type": "Gated"},
        {"transformer_type": "Standard"},
        {"transformer_type": "NormFirst"},
        {"normalization": "BatchNorm"},
        {"normalization": "None"},
        {"masking": "Multiplicative"},
        {"masking": "None"},
        {"linear_activation": "prelu"},
        {"linear_activation": "elu"},
        {"skip_connections": False},
        {"initial_embedding_skip_connections": False},
        {"num_encoder_layers": 0},
        {"num_branch_encoder_layers": 0},
        {"num_jet_encoder_layers": 0},
        {"num_detector_layers": 0},
        {"hidden_dim": 64},
        {"num_embedding_layers": 0},
    ],
)
def test_other_options_work(change, events):
    topology = Topology.bundled("hh")
    model = build(topology, "original", {**OPTIONS, **change}).eval()
    inputs, masks = events(topology, 5, minimum=5)
    with torch.inference_mode():
        out = model(inputs, masks)
    p = out.assignment["h1"].exp().flatten(1).sum(1)
    torch.testing.assert_close(p, torch.ones(5))
    model.train()(inputs, masks).detection["bh1"].sum().backward()


@pytest.mark.parametrize(("name", "value"), [
    ("linear_block_type", "Resnet"), ("normalization", "MaskedBatchNorm"), ("linear_activation", "swish"),
    ("transformer_type", "Performer"), ("split_symmetric_attention", 0), ("normalize_features", False),
])  # fmt: skip
def test_unsupported_options_are_named(name, value):
    with pytest.raises(ValueError, match=f"{name}={value!r}"):
        OriginalOptions.from_mapping({name: value})


def test_embedding_widths_double_up_to_the_hidden_width():
    model = build(Topology.bundled("hh_resolved"), "original", {"hidden_dim": 64, "initial_embedding_dim": 16})
    assert [b.linear_2.out_features for b in model.inputs[0].blocks] == [16, 32, 64]


def test_import_says_what_is_missing(semileptonic, tmp_path):
    state = original_names(semileptonic)
    folder = write_folder(tmp_path / "a", semileptonic.topology, OPTIONS, state)
    (folder / "options.json").unlink()
    with pytest.raises(CheckpointError, match=r"options\.json"):
        import_original(folder)
    deeper = write_folder(tmp_path / "b", semileptonic.topology, {**OPTIONS, "num_encoder_layers": 2}, state)
    with pytest.raises(CheckpointError, match=r"missing encoder\.layers\.1"):
        import_original(deeper)
    wider = write_folder(tmp_path / "c", semileptonic.topology, {**OPTIONS, "position_embedding_dim": 5}, state)
    with pytest.raises(CheckpointError, match=r"kind is \(4,\), expected \(5,\)"):
        import_original(wider)
    shutil.rmtree(wider / "checkpoints")
    with pytest.raises(CheckpointError, match=r"no checkpoints"):
        import_original(wider)


def test_what_is_left_out_is_told(semileptonic, tmp_path):
    """Multipliers of constrained losses, and exchanges of targets of different inputs; what is unknown is refused."""
    state = original_names(semileptonic)
    folder = write_folder(
        tmp_path / "a", semileptonic.topology, OPTIONS, {**state, "mdmm_module.0.lmbda": torch.ones(1)}
    )
    told = []
    model = import_original(folder, say=told.append)
    assert told == [
        f"{folder / 'checkpoints' / 'epoch=0.ckpt'}: not read, they belong to the training: mdmm_module.0.lmbda"
    ]
    plain = import_original(write_folder(tmp_path / "b", semileptonic.topology, OPTIONS, state), say=told.append)
    assert len(told) == 1
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), plain.parameters(), strict=True))
    unknown = write_folder(tmp_path / "c", semileptonic.topology, OPTIONS, {**state, "vbf_head.weight": torch.ones(1)})
    with pytest.raises(CheckpointError, match=r"unexpected vbf_head\.weight"):
        import_original(unknown)


class Trap:
    def __reduce__(self):
        return (print, ("code ran",))


def test_checkpoints_cannot_run_code(semileptonic, tmp_path, capsys):
    state = original_names(semileptonic)
    folder = write_folder(tmp_path / "trap", semileptonic.topology, OPTIONS, {**state, "x": Trap()})
    with pytest.raises(Exception, match=r"(?i)weights.only"):
        import_original(folder)
    assert "code ran" not in capsys.readouterr().out


def test_which_checkpoint_is_read(tmp_path):
    """The best by the number in the name, the first of equals; last.ckpt; or one by name."""
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    with pytest.raises(CheckpointError, match="no checkpoints"):
        choose_checkpoint(tmp_path)
    (folder / "last.ckpt").touch()
    assert choose_checkpoint(tmp_path, "best").stem == "last"
    (folder / "epoch=3-step=99.ckpt").touch()
    with pytest.raises(CheckpointError, match="holds a metric"):
        choose_checkpoint(tmp_path, "best")
    for epoch, value in ((10, 0.81), (7, 0.83), (12, 0.83)):
        (folder / f"epoch={epoch}-step=5-validation_accuracy={value}.ckpt").touch()
    assert choose_checkpoint(tmp_path, "best").stem == "epoch=7-step=5-validation_accuracy=0.83"
    assert choose_checkpoint(tmp_path).stem == "last"
    assert choose_checkpoint(tmp_path, "epoch=3-step=99").stem == "epoch=3-step=99"
    with pytest.raises(CheckpointError, match="not best, not last, and no file"):
        choose_checkpoint(tmp_path, "worst")
