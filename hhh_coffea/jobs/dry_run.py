"""What ``--dry-run`` finds out beyond the plan: which branches files have, and which triggers they lack."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from uproot.exceptions import KeyInFileError

from hhh_coffea.datasets.fileset import Dataset
from hhh_coffea.engine.chunks import FileInfo
from hhh_coffea.engine.root_file import open_file


def branches_there(files: Iterable[FileInfo]) -> dict[str, frozenset[str]]:
    """Dataset → the branches to read that its first file has; versions differ, and of alternatives not all are there.

    A dataset is left out if its first file cannot be opened here, where the workers may see more.
    """
    first: dict[str, FileInfo] = {}
    for info in files:
        first.setdefault(info.source.dataset, info)
    found = {}
    for name, info in first.items():
        try:
            with open_file(info.source.path) as file:
                tree: Any = file[info.source.tree]
                found[name] = frozenset(branch for branch in info.source.branches if branch in tree)
        except (OSError, KeyInFileError):
            continue
    return found


def missing_cuts(datasets: Mapping[str, Dataset], there: Mapping[str, frozenset[str]]) -> list[str]:
    """A warning for each trigger and filter that a dataset asks for and its first file lacks: its events would be lost."""
    warnings = []
    for name, branches in there.items():
        options = datasets[name].metadata.nanoaod
        if options is None:
            continue
        filters = [] if isinstance(options.met_filters, str) else options.met_filters
        for field, wanted in (("triggers", options.triggers), ("met_filters", filters)):
            warnings += [
                f"dataset {name!r}: no branch {branch!r} (metadata field 'nanoaod.{field}') in its first file; the events of "
                "files without it will be lost"
                for branch in wanted
                if branch not in branches
            ]
    return warnings
