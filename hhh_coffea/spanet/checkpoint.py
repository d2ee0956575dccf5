"""The model directory: writing and reading it.

A model directory holds ``model.yaml`` (what the network is), ``weights.safetensors`` (its numbers) and ``README.md``
(the model card). Nothing in it is executable: no pickle anywhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from hhh_coffea.base.errors import UserError, why_unreadable
from hhh_coffea.base.user_files import load_yaml
from hhh_coffea.spanet.decoding.mass_price import MassPrice
from hhh_coffea.spanet.network.features import Normaliser
from hhh_coffea.spanet.network.network import DefaultSPANet
from hhh_coffea.spanet.network.options import DefaultOptions
from hhh_coffea.spanet.original.blocks import OriginalOptions
from hhh_coffea.spanet.original.original import OriginalSPANet
from hhh_coffea.topology.topology import Topology

SCHEMA_VERSION = 1
SPANet = OriginalSPANet | DefaultSPANet


class CheckpointError(UserError):
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


def normalisers_of(model: SPANet) -> list[Normaliser]:
    """Return the normalisation of each input, in the topology's order."""
    return [module for module in model.modules() if isinstance(module, Normaliser)]


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- our model directory ----------------------------------------------------------------------------------------------
def save(
    model: SPANet,
    directory: str | Path,
    *,
    training: Mapping[str, Any] | None = None,
    card: str = "",
    price: Mapping[str, Any] | None = None,
) -> Path:
    """Write ``model`` as a model directory and return its path.

    ``training`` is provenance (data, epochs, command …) and must be plain YAML; ``card`` the text of README.md; ``price``
    what :meth:`~.mass_price.MassPrice.description` gives, with its own provenance.
    """
    from safetensors.torch import save as serialised

    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    weights = directory / "weights.safetensors"
    # written by us: save_file makes files that only their owner may read, whatever the umask
    weights.write_bytes(serialised({k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}))
    normalisation = {
        i.name: {f: [float(m), float(s)] for f, m, s in zip(i.feature_names, n.mean, n.std, strict=True)}
        for i, n in zip(model.topology.inputs, normalisers_of(model), strict=True)
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
        **({"mass_price": dict(price)} if price else {}),
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
    directory = Path(directory)
    weights = directory / describe(directory)["weights"]["file"]
    if not weights.is_file():
        raise CheckpointError(f"{directory}: no {weights.name}")
    return load_bytes((directory / "model.yaml").read_bytes(), weights.read_bytes(), str(directory), device)


def load_bytes(description: bytes, weights: bytes, name: str, device: str | torch.device = "cpu") -> SPANet:
    """Make the network of a ``model.yaml`` and its weights file, both by value: as :func:`load`."""
    from safetensors.torch import load

    known = parse(description, name)
    found, expected = hashlib.sha256(weights).hexdigest(), known["weights"]["sha256"]
    if found != expected:
        raise CheckpointError(
            f"{name}: sha256 of the weights is {found}, model.yaml says {expected}: not those it describes"
        )
    topology = Topology.from_text(known["event"], name=f"{name}: model.yaml (event)")
    model = build(topology, known["architecture"], known["options"], known.get("classes"))
    load_state(model, load(weights), f"{name}: weights")
    return model.to(device).eval()


def describe(directory: str | Path) -> dict[str, Any]:
    """Read and check ``model.yaml`` of a model directory."""
    path = Path(directory) / "model.yaml"
    if not path.is_file():
        raise CheckpointError(f"{directory}: not a model directory (no model.yaml)")
    return parse(path.read_bytes(), str(path))


def price_of(description: bytes | Mapping[str, Any], topology: Topology, name: str) -> MassPrice | None:
    """The price on masses that a ``model.yaml`` asks its decoding to take, None without; CheckpointError if it is none."""
    known = parse(description, name) if isinstance(description, bytes) else description
    if (price := known.get("mass_price")) is None:
        return None
    try:
        return MassPrice.parse(price, topology)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise CheckpointError(f"{name}: model.yaml: mass_price: {error}") from error


def parse(content: bytes, path: str) -> dict[str, Any]:
    """Check the contents of a ``model.yaml``; ``path`` names it in errors."""
    try:
        description = load_yaml(content)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path}: cannot be read as YAML: {why_unreadable(error)}") from error
    if not isinstance(description, dict) or "schema_version" not in description:
        raise CheckpointError(f"{path}: no schema_version, so it is not a model file of this package")
    if (version := description["schema_version"]) != SCHEMA_VERSION:
        raise CheckpointError(f"{path}: schema_version {version}, this package reads {SCHEMA_VERSION}")
    for key in ("architecture", "options", "weights", "event"):
        if key not in description:
            raise CheckpointError(f"{path}: key {key!r} is missing")
    return description


def load_state(model: SPANet, state: Mapping[str, Tensor], name: str) -> None:
    """Load weights that must fit exactly; CheckpointError names the first that do not."""
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
