"""Where the numbers of a run come from: contents of ``provenance.json``."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hhh_coffea import __version__
from hhh_coffea.analyses import Analyses
from hhh_coffea.config import RunConfig
from hhh_coffea.datasets.fileset import Dataset
from hhh_coffea.engine.chunks import Partial, Plan
from hhh_coffea.results import directory as results

RECORDED_PACKAGES = (
    "coffea",
    "awkward",
    "uproot",
    "numpy",
    "dask",
    "distributed",
    "hist",
    "boost-histogram",
    "correctionlib",
    "xgboost",
)


def provenance(
    config: RunConfig,
    datasets: dict[str, Dataset],
    plan: Plan,
    total: Partial,
    wall: float,
    models: dict[str, dict[str, Any]],
) -> dict[str, Any]:
    """Where the numbers come from, and the ledger of every chunk."""
    failures = [*plan.failures, *total.failures]
    lost = sum(failure.events or 0 for failure in total.failures)
    return {
        "schema_version": results.SCHEMA_VERSION,
        "package": {"version": __version__, "git_commit": _git_commit()},
        "python": platform.python_version(),
        "packages": {name: version(name) for name in RECORDED_PACKAGES},
        "config": config.model_dump(mode="json"),
        "options_set": list(config.model_dump(exclude_defaults=True)),
        "models": models,
        "datasets": {name: d.metadata.model_dump(mode="json") for name, d in datasets.items()},
        "files": [
            {"dataset": f.source.dataset, "file": f.source.path, "uuid": f.uuid, "events": f.entries}
            for f in plan.files
        ],
        "ledger": {
            "files": {
                "planned": len(plan.files) + len(plan.failures),
                "readable": len(plan.files),
                "failed": len(plan.failures),
            },
            "chunks": {"planned": len(plan.chunks), "processed": total.chunks, "failed": len(total.failures)},
            "events": {"planned": plan.events, "processed": total.events, "failed": lost},
        },
        "resumed_chunks": total.resumed,
        "failures": [
            {
                "dataset": f.dataset,
                "file": f.file,
                "start": f.start,
                "stop": f.stop,
                "events": f.events,
                "reason": f.reason,
            }
            for f in failures
        ],
        "warnings": list(plan.warnings),
        "timing": {
            "wall_seconds": round(wall, 3),
            "worker_seconds": round(total.seconds, 3),
            "events_per_second": round(total.events / wall, 1),
        },
    }


def user_files(analyses: Analyses) -> dict[str, dict[str, Any]]:
    """Files of the user's own analyses, for the record of a run."""
    return {
        f"analysis {analysis.name}": dict(zip(("file", "sha256"), analysis.made_from, strict=True))
        for analysis in analyses.values()
        if analysis.made_from is not None
    }


def foreign_models(datasets: dict[str, Dataset], processor: Any) -> list[str]:
    """A warning if a model in use was trained on no events of a format that is read (``--accept-foreign-model``)."""
    described = {name: {"format": dataset.metadata.format} for name, dataset in datasets.items()}
    foreign = results.foreign_models({"datasets": described, "models": getattr(processor, "models", {})})
    text = "trained on events of another format; how well it does here was not measured"
    return [f"{', '.join(foreign)}: {text}"] if foreign else []


def _git_commit() -> str | None:
    """Commit of the checkout the package runs from; None when it is installed."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40"],
            cwd=root,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()
