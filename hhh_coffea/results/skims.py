"""The fileset of a skim: its files with the metadata of their originals, so that ``hhh run --fileset`` goes on from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hhh_coffea.base.terminal import plural
from hhh_coffea.datasets.fileset import DELPHES_ONLY, Dataset
from hhh_coffea.engine.chunks import Chunk
from hhh_coffea.engine.store import SKIM
from hhh_coffea.reconstruction.candidate_table import stem
from hhh_coffea.reconstruction.skim_file import SUFFIX
from hhh_coffea.results.directory import write_json

FILESET = "fileset.json"
DONE = {*DELPHES_ONLY, "nanoaod"}  # what was read, cut and corrected is in the records


def write_fileset(
    folder: Path, datasets: Mapping[str, Dataset], finished: Iterable[Chunk], sums: Mapping[str, float]
) -> list[str]:
    """Write ``fileset.json`` for the files in ``folder``; returns warnings that name datasets without events.

    ``sums``: of the generator weights of all events by dataset, before any cut; expected events are relative to these.

    Raises
    ------
    OSError
        if it cannot be written.
    """
    files: dict[str, list[str]] = {name: [] for name in datasets}
    for chunk in finished:
        name = stem(chunk.dataset, chunk.path, chunk.start, chunk.stop) + SUFFIX
        if (folder / name).is_file():
            files[chunk.dataset].append(name)
    content: dict[str, Any] = {}
    for name, dataset in datasets.items():
        if not files[name]:
            continue
        metadata = dataset.metadata.model_dump(mode="json", exclude_unset=True, exclude=DONE)
        if not dataset.metadata.is_data and name in sums:
            metadata["sum_of_weights"] = sums[name]
        content[name] = {"files": files[name], "metadata": {**metadata, "skim": True}}
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / FILESET, content)
    return [f"no event of {name} is selected: it is not in the skim" for name in datasets if not files[name]]


def size_of(folder: Path) -> str:
    """How many files a folder holds, and how large they are."""
    files = [file for file in folder.iterdir() if file.name != FILESET]
    size = sum(file.stat().st_size for file in files)
    also = f"; hhh run --fileset {folder / FILESET}" if folder.name == SKIM else ""
    return f"{folder.name}/ ({plural(len(files), 'file')}, {size / 1e6:,.1f} MB{also})"
