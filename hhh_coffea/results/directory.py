"""The results directory: written once, whole or not at all, read by figures and by users. Nothing in it is pickled.

``histograms.json`` (UHI), ``summary.json``, ``cutflow.json``, ``provenance.json``, ``plots/`` and, if asked for,
``candidates/`` (parquet) and ``skim/`` (ROOT). docs/results_directory.md holds the schemas.
"""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import uhi.io.json
from hist import Hist

from hhh_coffea.analyses import Analyses, Analysis, analysis_of
from hhh_coffea.base.errors import UserError
from hhh_coffea.base.lock import LOCK, TakenError, locked, remove_if_empty
from hhh_coffea.base.user_code import split_name
from hhh_coffea.datasets.fileset import Dataset
from hhh_coffea.engine import store as resume
from hhh_coffea.engine.outputs import split
from hhh_coffea.reconstruction.couplings import described as generated_at
from hhh_coffea.results.event_observables import is_of_couplings
from hhh_coffea.results.histograms import canonical, usual

SCHEMA_VERSION = 2
OURS = ("provenance.json", "histograms.json", "summary.json", "cutflow.json")
MADE_FROM_THEM = ("report.html", "histograms.root")
FIT = "fit"  # what hhh fit makes of the histograms


class ResultsError(UserError):
    """The results directory cannot be used; the message names it and says why."""


class WritingError(OSError):
    """Results could not be written, for want of space say; the message names the folder. Earlier ones are whole."""


@contextmanager
def owned(folder: Path, datasets: Collection[str] | None = None) -> Iterator[None]:
    """Own ``folder`` for a run: make it if need be, and let no other run in.

    On leaving, by an error or an interrupt too, what a later run can build on is kept. A folder that was made here and is
    empty is removed. ``datasets`` are those of the run; None where the user allows results of other datasets to be deleted.

    Raises
    ------
    ResultsError
        if another run is writing there, if the folder holds something other than earlier results, or results of datasets
        that are not in ``datasets``, or cannot be made.
    WritingError
        if there is no space left to note that the folder is in use.
    """
    was_there = folder.is_dir()
    with ExitStack() as stack:
        if not was_there:
            stack.callback(remove_if_empty, folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not _is_ours(folder):
                raise ResultsError(f"{folder}: is not empty and contains no earlier results; choose another --output")
            stack.enter_context(locked(folder / LOCK))
        except TakenError as error:
            raise ResultsError(f"{folder}: another run is writing there ({error}); choose another --output") from None
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise WritingError(f"{folder}: the results cannot be written: {error.strerror}") from error
            raise ResultsError(f"{folder}: cannot be used for results: {error.strerror}") from error
        try:
            _refuse_others(folder, datasets)
            yield
        finally:
            if not resume.holds_chunks(folder):
                resume.clear(folder)


def _refuse_others(folder: Path, datasets: Collection[str] | None) -> None:
    if datasets is None or not of_events(folder):
        return
    if others := [name for name in read_json(folder / "provenance.json").get("datasets", {}) if name not in datasets]:
        parts = [f"{name}/" for name in (*resume.PARTS, "plots") if (folder / name).exists()]
        what = f"results ({', '.join(parts)} too)" if parts else "results"
        raise ResultsError(
            f"{folder}: holds {what} of {', '.join(others)}, which this run does not read and would delete; choose "
            "another --output, or add --overwrite"
        )


def deleted(folder: Path, methods: Collection[str], parts: Collection[str]) -> list[str]:
    """Warning of what a run of these methods, which writes these parts, deletes of the results in ``folder`` for good."""
    if not of_events(folder):
        return []
    earlier = read_provenance(folder).get("config", {}).get("methods", [])
    lost = [f"the results of {method}" for method in earlier if method not in methods]
    lost += [f"{name}/" for name in (*resume.PARTS, "plots", FIT) if name not in parts and (folder / name).exists()]
    what = f"this run replaces the earlier results in {folder}, and deletes {', '.join(lost)}, which it does not make again"
    return [f"{what}; to keep them, interrupt it and choose another --output"] if lost else []


def of_events(folder: Path) -> bool:
    """Whether ``folder`` holds results of a run that read something."""
    try:
        return bool(read_json(folder / "provenance.json")["ledger"]["chunks"]["processed"])
    except (ResultsError, KeyError, TypeError):
        return False


def _is_ours(folder: Path) -> bool:
    """Whether a folder is empty, or holds the results of a run, whole or cut short; a file of the same name is not enough."""
    present = {path.name for path in folder.iterdir()}
    if not present or present & {LOCK, resume.FOLDER}:
        return True
    try:
        content = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and {"schema_version", "ledger", "config"} <= set(content)


def write(folder: Path, contents: Mapping[str, Any], parts: Collection[str] = ()) -> None:
    """Write ``{name: JSON-able}`` files and put in their place the ``parts``, folders that chunks wrote into.

    Everything is written under temporary names first, so that a full disk leaves earlier results whole; then the old
    results, their figures included, make room. ``provenance.json`` comes last: where it is, the rest is whole.
    """
    names = sorted(contents, key=lambda n: n == "provenance.json")
    partials: dict[str, Path] = {}
    try:
        for name in names:
            partials[name] = _write_partial(folder / name, contents[name])
    except OSError as error:
        for name in names:
            (folder / f"{name}.partial").unlink(missing_ok=True)
        raise WritingError(f"{folder}: the results cannot be written: {error.strerror or error}") from error
    for name in (*OURS, *MADE_FROM_THEM):
        (folder / name).unlink(missing_ok=True)
    for old in (*resume.PARTS, "plots", FIT):
        shutil.rmtree(folder / old, ignore_errors=True)
    for part in parts:
        in_progress = folder / resume.FOLDER / part
        in_progress.mkdir(parents=True, exist_ok=True)
        in_progress.rename(folder / part)
    for name in names:
        partials[name].replace(folder / name)


def write_json(path: Path, content: Any) -> None:
    """Write JSON (histograms in UHI form, null for NaN in bins) atomically; bin contents are not spread over a line each."""
    _write_partial(path, content).replace(path)


def _default(value: Any) -> Any:
    """UHI's form of histograms; JSON has no NaN, which the mean of an empty bin is."""
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        plain = value.astype(object)
        plain[~np.isfinite(value)] = None
        return plain.tolist()
    return uhi.io.json.default(value)


def _object_hook(content: dict[str, Any]) -> dict[str, Any]:
    for key, value in uhi.io.json.object_hook(content).items():
        if isinstance(value, np.ndarray) and value.dtype == object:
            content[key] = value.astype(np.float64)
    return content


def _write_partial(path: Path, content: Any) -> Path:
    indent = None if path.name == "histograms.json" else 1
    text = json.dumps(content, default=_default, allow_nan=False, indent=indent, ensure_ascii=False)
    partial = path.with_name(path.name + ".partial")
    # names of files need not be UTF-8: what of them is not becomes \\udcxx, which JSON reads back as it was
    with partial.open("w", encoding="utf-8", errors="backslashreplace") as stream:
        stream.write(text + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    return partial


def histogram_file(
    histograms: Mapping[str, Hist],
    datasets: Mapping[str, Dataset],
    analyses: Analyses | None = None,
) -> dict[str, Any]:
    """Contents of ``histograms.json``: every histogram in canonical order, and what figures need of the datasets."""
    return {
        "schema_version": SCHEMA_VERSION,
        "datasets": {
            name: _described(d, analysis_of(d.metadata, analyses), any(is_of_couplings(n) for n in histograms))
            for name, d in datasets.items()
        },
        "histograms": {name: canonical(histograms[name]) for name in sorted(histograms)},
    }


def _described(dataset: Dataset, analysis: Analysis, with_couplings: bool) -> dict[str, Any]:
    point = generated_at(dataset.metadata, analysis.couplings)
    couplings = analysis.couplings if with_couplings or point is not None else None
    return {
        "label": dataset.label,
        "format": dataset.metadata.format,
        "is_signal": dataset.metadata.is_signal,
        **({"is_data": True} if dataset.metadata.is_data else {}),
        "analysis": analysis.name,
        "particle": analysis.particle,
        "symbol": analysis.symbol or analysis.particle,
        "particles": analysis.n_particles,
        "kinds": {kind.name: len(kind.members) for kind in analysis.kinds.values()},
        "targets": analysis.particle_names(),
        "jet_bins": list(analysis.jet_bins),
        "categories": {name: list(analysis.categories_of(name)) for name in analysis.definitions},
        **({"parameters": dict(dataset.metadata.parameters)} if dataset.metadata.parameters else {}),
        **({"labels": dict(analysis.labels)} if analysis.labels else {}),
        **({"regions": list(analysis.regions)} if analysis.regions else {}),
        **({"mass_plane": list(analysis.mass_plane.circles)} if analysis.mass_plane else {}),
        **({"couplings": asdict(couplings.polynomial)} if couplings is not None else {}),
        **({"coupling_point": dict(point)} if point is not None else {}),
    }


def read_histograms(folder: Path, every: bool = False) -> tuple[dict[str, Hist], dict[str, dict[str, Any]]]:
    """The histograms of a results directory, and what figures need to know of each dataset (:func:`histogram_file`).

    They are nominal and of all events (:func:`hhh_coffea.results.histograms.usual`); with ``every`` they keep their axes of
    variations and of regions. Methods are in the order in which the run was asked for them.

    Raises
    ------
    ResultsError
        if the directory holds none, or of a version this package does not know.
    """
    content = read_json(folder / "histograms.json")
    if not isinstance(content, dict) or content.get("schema_version") != SCHEMA_VERSION:
        raise ResultsError(
            f"{folder / 'histograms.json'}: written by another release (schema version {SCHEMA_VERSION} is needed): run again"
        )
    methods = asked_for(read_provenance(folder).get("config", {}).get("methods", ()))
    histograms = {name: canonical(Hist(raw), methods) for name, raw in content["histograms"].items()}
    return histograms if every else usual(histograms), content["datasets"]


def asked_for(methods: Iterable[str]) -> list[str]:
    """Names of methods as results have them: one of a file is called as its class."""
    return [split_name(method)[1] or method for method in methods]


def read_provenance(folder: Path) -> dict[str, Any]:
    """Contents of ``provenance.json``; nothing where there is none, as while a run is being put together."""
    content = read_json(folder / "provenance.json") if (folder / "provenance.json").is_file() else {}
    return content if isinstance(content, dict) else {}


def read_json(path: Path) -> Any:
    """Read a JSON file of a results directory, histograms included.

    Raises
    ------
    ResultsError
        if it is missing or broken.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"), object_hook=_object_hook)
    except FileNotFoundError:
        raise ResultsError(f"{path.parent}: no results here ({path.name} is missing)") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ResultsError(f"{path}: cannot be read: {error}") from error


def split_output(output: Any) -> tuple[dict[str, Hist], dict[str, Any]]:
    """Any processor's output → its histograms by name, and the rest as JSON-able values.

    The names of histograms are those of :func:`hhh_coffea.engine.outputs.split`.
    """
    histograms, values = split(output)
    rest: dict[str, Any] = {}
    for path, value in values.items():
        if value is None and not path:  # nothing was processed
            continue
        place = rest
        for part in path[:-1]:
            place = place.setdefault(part, {})
        place[path[-1] if path else "output"] = _plain(value)
    return histograms, rest


def _plain(value: Any) -> Any:
    if isinstance(value, set | frozenset):
        return sorted(map(str, value))
    if isinstance(value, np.longdouble):
        value = float(value)  # its tolist() is itself
    if hasattr(value, "tolist"):  # numpy and awkward
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON has no NaN and no infinity
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return value if isinstance(value, str | int | float | bool | None) else repr(value)


def chosen_models(provenance: Mapping[str, Any]) -> dict[str, str]:
    """Names by kind (``spanet``) of the models that ``--model`` named, where it named one of the kind."""
    given = [Path(model).name for model in provenance.get("config", {}).get("model") or ()]
    found: dict[str, list[str]] = {}
    for kind, model in provenance.get("models", {}).items():
        found.setdefault(kind.partition(" ")[0], []).append(str(model.get("name")))
    return {kind: names[0] for kind, names in found.items() if len(names) == 1 and names[0] in given}


def foreign_models(provenance: Mapping[str, Any]) -> list[str]:
    """Models of a run that were trained on no events of a format that it read; of ``provenance.json``."""
    return [str(model["name"]) for model in _foreign(provenance).values()]


def foreign_by_kind(provenance: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Kind, such as ``spanet`` and ``bdt``, and name of the :func:`foreign_models`."""
    return [(kind.partition(" ")[0], str(model["name"])) for kind, model in _foreign(provenance).items()]


def _foreign(provenance: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    formats = {str(data["format"]) for data in provenance.get("datasets", {}).values()}
    return {
        kind: model
        for kind, model in provenance.get("models", {}).items()
        if model.get("trained_on") and not formats <= {*model["trained_on"]}
    }
