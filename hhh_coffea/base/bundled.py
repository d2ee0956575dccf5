"""Where the processors, models and filesets that ship with the package are: beside it in a checkout, inside it when
installed. Nothing else in the package knows the difference."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

Kind = Literal["processors", "models", "fileset"]
_PACKAGE = Path(__file__).resolve().parents[1]
SUFFIXES = {"processors": (".py",), "models": ("",), "fileset": (".json", ".json.gz")}
SAMPLES = "shared/data/"  # where bundled filesets expect the large samples of the project, beside the repository
OF_THE_PROJECT = " (the large samples are not part of the repository: docs/training.md#larger-samples)"


def bundled_folder(kind: Kind) -> Path:
    """Folder of the bundled processors, models or filesets."""
    checkout = _PACKAGE.parent / kind
    # a checkout has pyproject.toml beside the package; site-packages may hold an unrelated folder of that name
    return checkout if (_PACKAGE.parent / "pyproject.toml").is_file() else _PACKAGE / "_bundled" / kind


def find_bundled(kind: Kind, name: str) -> Path | None:
    """Path of a bundled item by its bare name, with or without suffix; None if there is none."""
    for suffix in ("", *SUFFIXES[kind]):
        path = bundled_folder(kind) / f"{name}{suffix}"
        if name and (path.is_dir() if kind == "models" else path.is_file()):
            return path
    return None


BDTS, SPANETS, PDNNS = "*.ubj", "weights.safetensors", "pdnn.safetensors"  # files that tell models of a kind


def list_bundled(kind: Kind, weights: str = "model.yaml") -> list[str]:
    """Names of all bundled items of a kind, for help texts and error messages; of models, those with such a file."""
    folder = bundled_folder(kind)
    if not folder.is_dir():
        return []
    if kind == "models":
        return sorted(p.name for p in folder.iterdir() if any(p.glob(weights)))
    suffix = SUFFIXES[kind][0]
    return sorted(p.name.removesuffix(suffix) for p in folder.glob(f"*{suffix}") if not p.name.startswith("_"))
