"""Analyses by name: those that the package declares, and a user's own, ``"analysis": "my_analysis.py:ANALYSIS"``."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache

from hhh_coffea.analyses import higgs, higgs_resolved, tops
from hhh_coffea.base.errors import UserError, did_you_mean
from hhh_coffea.base.user_code import choose_value, split_name
from hhh_coffea.datasets.fileset import Dataset, DatasetMetadata, FilesetError
from hhh_coffea.methods.method import Method
from hhh_coffea.reconstruction.analysis import Analysis

DECLARED: dict[str, Callable[[], Analysis]] = {**higgs.ANALYSES, **higgs_resolved.ANALYSES, **tops.ANALYSES}
Analyses = Mapping[str, Analysis]  # by their names in the metadata


@cache
def all_methods() -> dict[str, Method]:
    """Every method of the declared analyses by name."""
    found: dict[str, Method] = {}
    for declare in DECLARED.values():
        found |= {name: method for name, method in declare().methods.items() if name not in found}
    return found


def load_analysis(name: str) -> Analysis:
    """A declared analysis by its name, or that of ``PATH.py:NAME``. Such a file is Python code and is executed.

    Raises
    ------
    UserError
        if there is none of this name, or if the file cannot be used.
    """
    if name in DECLARED:
        return DECLARED[name]()
    file, wanted = split_name(name)
    if file.suffix != ".py":
        hint = did_you_mean(name, DECLARED)
        raise UserError(
            f"no analysis {name!r}{hint}; there are {', '.join(DECLARED)}, and your own files: my_analysis.py:ANALYSIS"
        )
    if not file.is_file():
        raise UserError(f"analysis {name!r}: no such file {file}")
    found: Analysis = choose_value(file, wanted, Analysis, "analysis")
    return replace(found, made_from=(str(file), hashlib.sha256(file.read_bytes()).hexdigest()))


def load_analyses(datasets: Mapping[str, Dataset]) -> dict[str, Analysis]:
    """The analyses of these datasets, checked against their selections.

    Raises
    ------
    FilesetError
        naming the dataset whose analysis cannot be used.
    """
    found: dict[str, Analysis] = {}
    for name, dataset in datasets.items():
        wanted = dataset.metadata.analysis
        try:
            if wanted not in found:
                found[wanted] = load_analysis(wanted)
            found[wanted].check(dataset.metadata)
        except FilesetError:
            raise
        except UserError as error:
            raise FilesetError(f"dataset {name!r}: {error}") from error
    return found


def analysis_of(metadata: DatasetMetadata, analyses: Analyses | None = None) -> Analysis:
    """The analysis of a dataset: out of ``analyses``, which a processor brings along, or a declared one."""
    found = (analyses or {}).get(metadata.analysis)
    return load_analysis(metadata.analysis) if found is None else found
