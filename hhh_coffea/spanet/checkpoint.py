"""The model directory, and reading checkpoints of the original SPANet.

A model directory holds ``model.yaml`` (what the network is), ``weights.safetensors`` (its numbers) and ``README.md``
(the model card). Nothing in it is executable: no pickle anywhere.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from .blocks import OriginalOptions
from .network import DefaultOptions, DefaultSPANet
from .original import OriginalSPANet
from .topology import Topology

SCHEMA_VERSION = 1
SPANet = OriginalSPANet | DefaultSPANet


class CheckpointError(ValueError):
    """A model directory or checkpoint that does not hold what it should; the message says what."""


def build(
    topology: Topology, architecture: str, options: Mapping[str, Any], classes: Mapping[str, int] | None = None
) -> SPANet:
    """Make an untrained network of an architecture, ``original`` or ``default``."""
    if architecture == "original":
        return OriginalSPANet(topology, OriginalOptions.from_mapping(options), classes)
    if architecture == "default":
        return DefaultSPANet(topology, DefaultOptions.from_mapping(options), classes)
    raise CheckpointError(f"unknown architecture {architecture!r}; there are: original, default")


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- our model directory ----------------------------------------------------------------------------------------------
def save(model: SPANet, directory: str | Path, *, training: Mapping[str, Any] | None = None, card: str = "") -> Path:
    """Write ``model`` as a model directory and return its path.

    ``training`` is provenance (data, epochs, command …) and must be plain YAML; ``card`` the text of README.md.
    """
    from safetensors.torch import save_file

    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    weights = directory / "weights.safetensors"
    save_file({k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}, weights)
    normalisation = {
        i.name: {f: [float(m), float(s)] for f, m, s in zip(i.feature_names, n.mean, n.std, strict=True)}
        for i, n in zip(model.topology.inputs, model.normalisers, strict=True)
    }
    description = {
        "schema_version": SCHEMA_VERSION,
        "architecture": model.architecture,
        "options": asdict(model.options),
        "classes": model.classes,
        "weights": {"file": weights.name, "sha256": sha256(weights)},
        # for the reader; the numbers the network uses are in the weights file
        "normalisation": normalisation,
        "training": dict(training or {}),
        "event": _Literal(model.topology.text),
    }
    (directory / "model.yaml").write_text(
        yaml.dump(description, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110), encoding="utf-8"
    )
    (directory / "README.md").write_text(card or _card(directory.name, model), encoding="utf-8")
    return directory


def load(directory: str | Path, device: str | torch.device = "cpu") -> SPANet:
    """Read a model directory; the network comes in evaluation mode.

    :class:`CheckpointError` where a file is missing, the schema is not ours, or weights and description disagree.
    """
    from safetensors.torch import load_file

    directory = Path(directory)
    description = describe(directory)
    weights = directory / description["weights"]["file"]
    if not weights.is_file():
        raise CheckpointError(f"{directory}: no {weights.name}")
    if (found := sha256(weights)) != (expected := description["weights"]["sha256"]):
        raise CheckpointError(f"{weights}: sha256 is {found}, model.yaml says {expected}: not the weights it describes")
    topology = Topology.from_text(description["event"], name=f"{directory / 'model.yaml'} (event)")
    model = build(topology, description["architecture"], description["options"], description.get("classes"))
    _load_state(model, load_file(weights), str(weights))
    return model.to(device).eval()


def describe(directory: str | Path) -> dict[str, Any]:
    """Read and check ``model.yaml`` of a model directory."""
    path = Path(directory) / "model.yaml"
    if not path.is_file():
        raise CheckpointError(f"{directory}: not a model directory (no model.yaml)")
    description = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(description, dict) or "schema_version" not in description:
        raise CheckpointError(f"{path}: no schema_version, so not one of our model files")
    if (version := description["schema_version"]) != SCHEMA_VERSION:
        raise CheckpointError(f"{path}: schema_version {version}, this package reads {SCHEMA_VERSION}")
    for key in ("architecture", "options", "weights", "event"):
        if key not in description:
            raise CheckpointError(f"{path}: key {key!r} is missing")
    return description


def _load_state(model: SPANet, state: Mapping[str, Tensor], name: str) -> None:
    own = model.state_dict()
    problems = [f"missing {key}" for key in own if key not in state]
    problems += [f"unexpected {key}" for key in state if key not in own]
    problems += [
        f"{key} is {tuple(state[key].shape)}, expected {tuple(own[key].shape)}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    if problems:
        more = f" … and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise CheckpointError(f"{name}: weights do not fit the network described: {'; '.join(problems[:5])}{more}")
    model.load_state_dict(dict(state))


class _Literal(str):
    """A string written as a YAML block, so that the event topology stays readable."""


class _Dumper(yaml.SafeDumper):
    pass


_Dumper.add_representer(
    _Literal, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style="|")
)


def _card(name: str, model: SPANet) -> str:
    parameters = sum(p.numel() for p in model.parameters())
    targets = ", ".join(model.topology.target_names)
    return (
        f"# {name}\n\nSPANet, architecture `{model.architecture}`, {parameters:,} parameters; targets {targets}.\n\n"
        "Data, performance and intended use are not documented yet: see `training` in model.yaml.\n"
    )


# --- checkpoints of the original code ---------------------------------------------------------------------------------
def import_original(directory: str | Path) -> OriginalSPANet:
    """Read a checkpoint folder of the original SPANet: options.json, event.yaml, checkpoints/\\*.ckpt.

    Weights are read with ``weights_only=True``: a checkpoint cannot run code. Of several, ``last.ckpt`` or else the
    most recently written is taken. :class:`CheckpointError` says what is missing or does not fit.
    """
    directory = Path(directory)
    for needed in ("options.json", "event.yaml"):
        if not (directory / needed).is_file():
            raise CheckpointError(f"{directory}: no {needed}; expected a checkpoint folder of the original SPANet")
    files = sorted((directory / "checkpoints").glob("*.ckpt"), key=lambda p: (p.stem == "last", p.stat().st_mtime))
    if not files:
        raise CheckpointError(f"{directory}: no checkpoints/*.ckpt")
    options = OriginalOptions.from_mapping(json.loads((directory / "options.json").read_text(encoding="utf-8")))
    topology = Topology.from_file(directory / "event.yaml")
    state: dict[str, Tensor] = torch.load(files[-1], map_location="cpu", weights_only=True)["state_dict"]
    renamed, scales = _rename(state, topology)
    classes = {
        key: renamed[f"classification.{i}.linear.bias"].shape[0]
        for i, key in enumerate(topology.classifications)
        if f"classification.{i}.linear.bias" in renamed
    }
    if missing := set(topology.classifications) - set(classes):
        raise CheckpointError(f"{files[-1]}: no classification head for {', '.join(sorted(missing))}")
    model = OriginalSPANet(topology, options, classes)
    renamed["regression_scale"] = torch.tensor(scales).view(-1, 2)
    own = model.state_dict()
    for key in own:  # one PReLU slope for all features is the same as one for each
        if re.search(r"act(_\d)?\.weight$", key) and key in renamed and renamed[key].shape == (1,):
            renamed[key] = renamed[key].expand(own[key].shape).clone()
    _load_state(model, renamed, str(files[-1]))
    return model.eval()


# Names of the original's state_dict → ours; the rest is the packing of the gates in _pack_gates.
_RENAMES = [
    (r"^embedding\.vector_embedding_layers\.(\d+)\.normalizer\.", r"inputs.\1.normaliser."),
    (r"^embedding\.vector_embedding_layers\.(\d+)\.position_embedding\.position_embedding$", r"inputs.\1.kind"),
    (
        r"^embedding\.vector_embedding_layers\.(\d+)\.vector_embeddings(?:\.embedding)?"
        r"\.embedding_stack\.embedding_layers\.",
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
    r"^(particle_index_tensor|particle_weights_tensor|event_permutation_tensor|jet_weights_tensor|classification_weights\b.*)"
)


def _rename(state: Mapping[str, Tensor], topology: Topology) -> tuple[dict[str, Tensor], list[list[float]]]:
    """Rename and pack the original's tensors; also mean and std of every regression."""
    names = [i.name for i in topology.inputs]
    regressions = [r.key for r in topology.regressions]
    scales = [[0.0, 1.0] for _ in regressions]
    renamed: dict[str, Tensor] = {}
    for old, value in state.items():
        if _BOOKKEEPING.match(old):  # class-balancing tables and the event group: made anew from the topology
            continue
        if head := re.match(r"^(regression|classification)_decoder\.networks\.(.+?)\.(mean|std|(?:linear\.)?\w+\..+)$", old):
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
        renamed[new] = value.reshape(-1) if new.endswith((".kind", ".token", "normaliser.mean", "normaliser.std")) else value
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
