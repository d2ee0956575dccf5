"""Training, validation and fit: which events of a study do what, decided by a hash of (file uuid, entry) alone.

The same event is in the same part for every option, chunk size and number of workers.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from hhh_coffea.base.bundled import find_bundled
from hhh_coffea.base.errors import UserError
from hhh_coffea.base.user_files import expanded
from hhh_coffea.study.event_table import EventTable

BoolArray = npt.NDArray[np.bool_]
FRACTIONS: Mapping[str, float] = {"train": 0.4, "validation": 0.1, "fit": 0.5}  # M. Fenton et al., section on ttH


def parts(number: npt.NDArray[np.floating[Any]], fractions: Mapping[str, float] = FRACTIONS) -> dict[str, BoolArray]:
    """Masks ``(N,)`` by part, disjoint and together everything, from each event's number in [0, 1) (column ``split``).

    Raises
    ------
    ValueError
        if the fractions do not add up to 1.
    """
    edges = np.cumsum([0.0, *fractions.values()])
    if not np.isclose(edges[-1], 1):
        raise ValueError(f"fractions {dict(fractions)} add up to {edges[-1]}, not 1")
    place = np.clip(np.searchsorted(edges, number, side="right") - 1, 0, len(fractions) - 1)
    return {name: place == i for i, name in enumerate(fractions)}


def refuse_trained_on(table: EventTable, models: Iterable[str | Path]) -> None:
    """UserError if a file of the table was among those a model was trained on.

    ``models`` are SPANet, permutation network and transfer-function directories, or bundled names. A model that names its
    training files without their uuid is compared by name.
    """
    for name in models:
        names, uuids = training_files(name)
        for dataset, totals in table.totals.items():
            for file, uuid in totals.files:
                if uuid in uuids or (not uuids and file in names):
                    raise UserError(
                        f"dataset {dataset!r}: {file} was used to train model {name}: a study needs events that no model has seen"
                    )


def training_files(model: str | Path) -> tuple[set[str], set[str]]:
    """Names and uuids of the files that a model was trained on, as its card says."""
    folder = expanded(str(model))
    folder = folder if folder.is_dir() else find_bundled("models", str(model)) or folder
    cards = [folder / name for name in ("model.yaml", "pdnn.json", "transfer_functions.json")]
    card = next((path for path in cards if path.is_file()), None)
    if card is None:
        raise UserError(f"{model}: holds no model")
    text = card.read_text(encoding="utf-8")
    content = yaml.safe_load(text) if card.suffix == ".yaml" else json.loads(text)
    names, uuids = set(), set()
    for file in _files(content.get("training") or content):
        names.add(Path(file if isinstance(file, str) else str(file.get("file"))).name)
        uuids |= {str(file["uuid"])} if isinstance(file, dict) and "uuid" in file else set()
    return names, uuids


def _files(content: Any) -> list[Any]:
    """What stands under ``files``, however deep."""
    if not isinstance(content, dict):
        return []
    own = content["files"] if isinstance(content.get("files"), list) else []
    return own + [file for value in content.values() for file in _files(value)]
