"""Reading checkpoints of the original SPANet (PyTorch Lightning) into :class:`~.original.OriginalSPANet`."""

from __future__ import annotations

import json
import pickle  # for the name of an error
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hhh_coffea.spanet.checkpoint import CheckpointError, load_state
from hhh_coffea.spanet.original.blocks import OriginalOptions
from hhh_coffea.spanet.original.original import OriginalSPANet
from hhh_coffea.topology.topology import Topology

LAST, BEST = "last", "best"
_NUMBER = re.compile(r"([A-Za-z]\w*)=(-?\d+(?:\.\d+)?(?:e-?\d+)?)")


def import_original(
    directory: str | Path, checkpoint: str = LAST, say: Callable[[str], None] = lambda _: None
) -> OriginalSPANet:
    """Read a checkpoint folder of the original SPANet: options.json, event.yaml, checkpoints/\\*.ckpt.

    Weights are read with ``weights_only=True``: a checkpoint cannot run code. ``checkpoint`` is one of
    :func:`choose_checkpoint`; ``say`` is told what was left out or read in another way. :class:`CheckpointError` says what is
    missing or does not fit.
    """
    directory = Path(directory)
    for needed in ("options.json", "event.yaml"):
        if not (directory / needed).is_file():
            raise CheckpointError(f"{directory}: no {needed}; expected a checkpoint folder of the original SPANet")
    file = choose_checkpoint(directory, checkpoint)
    try:
        content = json.loads((directory / "options.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{directory / 'options.json'}: cannot be read as JSON: {error}") from error
    options = OriginalOptions.from_mapping(content)
    topology = Topology.from_file(directory / "event.yaml")
    try:
        state: dict[str, Tensor] = torch.load(file, map_location="cpu", weights_only=True)["state_dict"]
    except (OSError, RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{file}: cannot be read as a checkpoint: {error}") from error
    for note in topology.notes:
        say(note)
    if unread := sorted(name for name in state if _MULTIPLIERS.search(name)):
        say(f"{file}: not read, they belong to the training: {', '.join(unread)}")
    renamed, scales = _rename(state, topology)
    classes = {
        key: renamed[f"classification.{i}.linear.bias"].shape[0]
        for i, key in enumerate(topology.classifications)
        if f"classification.{i}.linear.bias" in renamed
    }
    if missing := set(topology.classifications) - set(classes):
        raise CheckpointError(f"{file}: no classification head for {', '.join(sorted(missing))}")
    model = OriginalSPANet(topology, options, classes)
    renamed["regression_scale"] = torch.tensor(scales).view(-1, 2)
    own = model.state_dict()
    for key in own:  # one PReLU slope for all features is the same as one for each
        if re.search(r"act(_\d)?\.weight$", key) and key in renamed and renamed[key].shape == (1,):
            renamed[key] = renamed[key].expand(own[key].shape).clone()
    load_state(model, renamed, str(file))
    return model.eval()


def choose_checkpoint(directory: str | Path, which: str = LAST) -> Path:
    """The checkpoint to read out of ``checkpoints/``.

    ``last`` is ``last.ckpt``, or else the one written last. ``best`` is the one with the largest metric in its name
    (``epoch=12-validation_accuracy=0.83.ckpt``), of equal ones that of the first epoch, and ``last.ckpt`` only if there is no
    other. Anything else is the name of a file there, or a path.

    Raises
    ------
    CheckpointError
        if there is no such file, or if no name holds a metric.
    """
    folder = Path(directory) / "checkpoints"
    if which not in (LAST, BEST):
        found = next((p for p in (folder / which, folder / f"{which}.ckpt", Path(which)) if p.is_file()), None)
        if found is None:
            raise CheckpointError(f"option 'checkpoint': {which!r} is not best, not last, and no file in {folder}")
        return found
    files = sorted(folder.glob("*.ckpt"), key=lambda p: (p.stem == LAST, p.stat().st_mtime))
    if not files:
        raise CheckpointError(f"{directory}: no checkpoints/*.ckpt")
    others = [file for file in files if file.stem != LAST]
    if which == LAST or not others:
        return files[-1]
    named = {file: {key: float(value) for key, value in _NUMBER.findall(file.stem)} for file in others}
    metrics = {
        file: [v for key, v in numbers.items() if key not in ("epoch", "step")] for file, numbers in named.items()
    }
    if not any(metrics.values()):
        raise CheckpointError(f"{folder}: no name of a checkpoint holds a metric; name the file: --checkpoint FILE")
    with_metric = [file for file in others if metrics[file]]
    return max(with_metric, key=lambda file: (metrics[file][-1], -named[file].get("epoch", 0.0)))


def compare_with_reference(model: OriginalSPANet, path: str | Path) -> dict[str, float]:
    """Largest absolute difference between the model's outputs and those stored in an .npz file, by kind of output.

    The file holds ``INPUTS/<name>/{data,mask}`` (logarithms already taken) and ``OUTPUTS/<target>/
    {assignment_log_probability,detection_logit}``, ``OUTPUTS/VECTORS/EVENT``, and regression and classification heads
    by key. Infinite where one is finite and the other is not, and for every output that one side lacks: the key then
    names it and the side. ``VECTORS`` of targets are compared where the file has them.
    """
    with np.load(path) as file:
        stored = {key: torch.from_numpy(file[key]) for key in file.files}
    inputs, masks = [], []
    for event_input in model.topology.inputs:
        x = stored[f"INPUTS/{event_input.name}/data"].float()
        x = x.reshape(len(x), -1, len(event_input.features))  # GLOBAL inputs may come without their middle axis
        mask = stored.get(f"INPUTS/{event_input.name}/mask", torch.ones(x.shape[:2]))
        inputs.append(x)
        masks.append(mask.bool().reshape(x.shape[:2]))
    with torch.inference_mode():
        out = model.eval()(inputs, masks, log_applied=True)
    ours = {f"{name}/assignment_log_probability": x for name, x in out.assignment.items()}
    ours |= {f"{name}/detection_logit": x for name, x in out.detection.items()}
    ours |= {f"VECTORS/{name}": x for name, x in out.vectors.items()}
    ours |= dict(out.regression) | dict(out.classification)
    optional = {f"VECTORS/{name}" for name in model.topology.target_names}
    # heads may stand with their kind before the key, or without
    there = {
        re.sub("^(OUTPUTS/)((REGRESSIONS|CLASSIFICATIONS)/)?", "", key): x
        for key, x in stored.items()
        if key.startswith("OUTPUTS/")
    }
    worst = {f"{key} (the model has no such output)": float("inf") for key in there if key not in ours}
    for key, value in ours.items():
        if (theirs := there.get(key)) is None:
            if key not in optional:
                worst[f"{key} (missing in {Path(path).name})"] = float("inf")
            continue
        theirs = theirs.reshape(value.shape)
        # the original's log-probabilities are NaN where nothing can be assigned; ours are −inf
        finite = torch.isfinite(theirs)
        difference = float((value - theirs)[finite].abs().max()) if finite.any() else 0.0
        kind = key.split("/")[-1] if "logit" in key or "assignment" in key else key
        agree = bool((torch.isfinite(value) == finite).all())
        worst[kind] = max(worst.get(kind, 0.0), difference if agree else float("inf"))
    return worst


# Names of the original's state_dict → ours; the rest is the packing of the gates in _pack_gates.
_RENAMES = [
    (r"^embedding\.vector_embedding_layers\.(\d+)\.normalizer\.", r"inputs.\1.normaliser."),
    (r"^embedding\.vector_embedding_layers\.(\d+)\.position_embedding\.position_embedding$", r"inputs.\1.kind"),
    (
        r"^embedding\.vector_embedding_layers\.(\d+)\.vector_embeddings(?:\.embedding)?\.embedding_stack\.embedding_layers\.",
        r"inputs.\1.blocks.",
    ),
    (r"^embedding\.final_embedding_layer\.", "embedding."),
    (r"^branch_decoders\.(\d+)\.attention\.encoders\.", r"branches.\1.daughters."),
    (r"^branch_decoders\.(\d+)\.attention\.linear_layers\.", r"branches.\1.projections."),
    (r"^branch_decoders\.(\d+)\.detection_classifier\.", r"branches.\1.detection."),
    (r"^branch_decoders\.", "branches."),
    (r"\.hidden_layers\.layers\.", ".blocks."),
    (r"\.output_norm\.", ".norm."),
    (r"\.output_layer\.", ".linear."),
    (r"\.particle_vector$", ".token"),
    (r"\.embedding\.layers\.", ".embedding."),
    # torch's own transformer sits one or two levels deep; the gated one directly in .encoder
    (r"\.encoder(?:\.(?!encoder\b)\w+)*?\.layers\.(\d+)\.", r".layers.\1."),
    (r"\.normalization\.normalization\.", ".norm."),
    (r"\.normalization\.", ".norm."),
    (r"\.attention_norm\.", ".norm."),
    (r"\.attention_gate\.", ".gate."),
    (r"\.gru\.", ".gate."),
    (r"\.gate_bias$", ".bias"),
    (r"\.(?:attention|self_attn)\.in_proj_", ".attention.qkv."),
    (r"\.(?:attention|self_attn)\.out_proj\.", ".attention.out."),
    (r"\.linear_(\d)\.0\.", r".linear_\1."),
    (r"\.linear_(\d)\.1\.", r".act_\1."),
    (r"\.linear1\.", ".linear_1."),
    (r"\.linear2\.", ".linear_2."),
    (r"\.norm(\d)\.", r".norm_\1."),
]
_BOOKKEEPING = re.compile(
    "^(particle_index_tensor|particle_weights_tensor|event_permutation_tensor|jet_weights_tensor|classification_weights)"
)
_MULTIPLIERS = re.compile("(?i:mdmm)")  # of constrained losses, which some trainings carry along


def _rename(state: Mapping[str, Tensor], topology: Topology) -> tuple[dict[str, Tensor], list[list[float]]]:
    """Rename and pack the original's tensors; also mean and std of every regression."""
    names = [i.name for i in topology.inputs]
    regressions = [r.key for r in topology.regressions]
    scales = [[0.0, 1.0] for _ in regressions]
    renamed: dict[str, Tensor] = {}
    for old, value in state.items():
        if _BOOKKEEPING.match(old) or _MULTIPLIERS.search(
            old
        ):  # class-balancing tables and the event group: made anew from the topology
            continue
        if head := re.match(
            r"^(regression|classification)_decoder\.networks\.(.+?)\.(mean|std|(?:linear\.)?\w+\..+)$", old
        ):
            kind, key, rest = head.groups()
            keys = regressions if kind == "regression" else list(topology.classifications)
            if key not in keys:
                raise CheckpointError(f"{kind} head {key!r} is not in event.yaml ({', '.join(keys)})")
            if rest in ("mean", "std"):
                scales[keys.index(key)][rest == "std"] = float(value)
                continue
            new = f"{kind}.{keys.index(key)}.{rest.removeprefix('linear.')}"
        else:
            new = re.sub(
                r"^(embedding\.vector_embedding_layers\.)(\w+)",
                lambda m: m[1] + (str(names.index(m[2])) if m[2] in names else m[2]),
                old,
            )
        for pattern, replacement in _RENAMES:
            new = re.sub(pattern, replacement, new)
        renamed[new] = (
            value.reshape(-1) if new.endswith((".kind", ".token", "normaliser.mean", "normaliser.std")) else value
        )
    return _pack_gates(renamed), scales


def _pack_gates(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    packed = {k: v for k, v in state.items() if not re.search(r"\.gate\.linear_[WU]_[rzg]\.", k)}
    prefixes = {k.split(".linear_W_r.")[0] for k in state if k.endswith(".gate.linear_W_r.weight")}
    for p in prefixes:
        packed[f"{p}.update.weight"] = torch.cat([state[f"{p}.linear_W_{g}.weight"] for g in "rzg"])
        packed[f"{p}.update.bias"] = torch.cat([state[f"{p}.linear_W_{g}.bias"] for g in "rzg"])
        packed[f"{p}.state.weight"] = torch.cat([state[f"{p}.linear_U_{g}.weight"] for g in "rz"])
        packed[f"{p}.candidate.weight"] = state[f"{p}.linear_U_g.weight"]
    return packed
