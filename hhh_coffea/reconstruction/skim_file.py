"""What ``hhh run --skim`` writes: the event records of a chunk that pass the selection, with the candidates of every method.

One ROOT file for each chunk with selected events. :mod:`hhh_coffea.events.skim` has the layout and reads it back.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt
import uproot

from hhh_coffea.base.arrays import counts_of, flat, unflatten
from hhh_coffea.base.atomic import replacing
from hhh_coffea.base.errors import UserError
from hhh_coffea.events.skim import TREE, columns_of
from hhh_coffea.reconstruction.analysis import Analysis
from hhh_coffea.reconstruction.candidate_table import stem
from hhh_coffea.reconstruction.candidates import FIELDS

SUFFIX = "-skim.root"
MADE_FROM = "made_from"  # beside the tree: JSON with file, uuid, tree and entries
Found = Mapping[str, tuple[ak.Array, npt.NDArray[np.bool_] | None]]


def write_skim(
    folder: str | Path,
    chunk: Mapping[str, Any],
    analysis: Analysis,
    record: ak.Array,
    found: Found,
    identity: Mapping[str, npt.NDArray[Any]],
) -> dict[str, int]:
    """Write the selected events of a chunk into ``folder``; returns the file's name, with the folder's, and its bytes.

    Parameters
    ----------
    chunk
        ``events.metadata``
    record
        selected events with all their objects, those beyond the kept ones too
    found
        method → candidates, and which of them (flat) are correct; None without truth
    identity
        of these events: :func:`hhh_coffea.events.formats.identity_of`

    Raises
    ------
    UserError
        for two methods whose names differ in signs alone.
    """
    if not len(record):
        return {}
    columns = {**identity, **columns_of(record)}
    for method, (candidates, correct) in found.items():
        name = re.sub(r"[\W_]", "", method.rpartition(".py:")[2]) + "Candidates"
        if name in columns:
            raise UserError(f"option 'skim': two methods would be called {name!r}: {', '.join(found)}")
        columns[name] = _plain(analysis.with_columns(candidates), correct)
    path = (
        Path(folder) / f"{stem(chunk['dataset'], chunk['filename'], chunk['entrystart'], chunk['entrystop'])}{SUFFIX}"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    origin = {key: chunk[key] for key in ("treename", "entrystart", "entrystop")}
    origin |= {"file": os.fsencode(chunk["filename"]).decode(errors="replace"), "uuid": chunk["fileuuid"]}
    with replacing(path) as partial:
        with uproot.recreate(partial, compression=uproot.ZSTD(5)) as file:
            file.mktree(TREE, {name: _type(values) for name, values in columns.items()}).extend(columns)
            file[MADE_FROM] = json.dumps(origin)
        return {f"{path.parent.name}/{path.name}": partial.stat().st_size}


def _plain(candidates: ak.Array, correct: npt.NDArray[np.bool_] | None) -> ak.Array:
    """Numbers and positions in the lists of the skim; ``correct`` is −1 without truth."""
    names = [name for name in candidates.fields if name != "objects"]
    columns: dict[str, Any] = {name: flat(candidates[name]) for name in names}
    # positions; what an analysis declares as outputs are real numbers
    columns = {
        n: v.astype(np.int32) if n not in FIELDS and np.issubdtype(v.dtype, np.integer) else v
        for n, v in columns.items()
    }
    counts = counts_of(candidates.kind)
    columns["correct"] = np.full(counts.sum(), -1, dtype=np.int8) if correct is None else correct.astype(np.int8)
    return unflatten(columns, counts)


def _type(values: Any) -> Any:
    return np.dtype((values.dtype, values.shape[1:])) if isinstance(values, np.ndarray) else ak.type(values).content
