"""Figures of merit along a parameter of datasets, as κ_λ of samples that were generated at several values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Fractions = dict[str, Any]


def along_parameters(
    datasets: Mapping[str, Mapping[str, Any]], assignments: Mapping[str, Any], summary: Mapping[str, Any]
) -> dict[str, Any]:
    """parameter → definition → method → rows ``{value, dataset, NAME: fraction}``, by rising value.

    ``datasets`` as ``histograms.json`` describes them, ``assignments`` and ``results`` of ``summary.json``. NAME is ``full`` (ε),
    ``share`` (f) and ``selected`` (ε_tot) of whole assignments where the analysis counts them, otherwise ``purity`` and
    ``efficiency`` of its first category. Datasets without truth have no row.
    """
    found: dict[str, Any] = {}
    for name, info in datasets.items():
        for parameter, value in info.get("parameters", {}).items():
            counted = assignments.get(name)
            for definition, methods in (counted or summary.get(name, {})).items():
                for method, entry in methods.items():
                    merit = _of_assignments(entry) if counted else _of_candidates(entry)
                    if any(fraction is not None and fraction["value"] is not None for fraction in merit.values()):
                        rows = found.setdefault(parameter, {}).setdefault(definition, {}).setdefault(method, [])
                        rows.append({"value": value, "dataset": name, **merit})
    for definitions in found.values():
        for methods in definitions.values():
            for rows in methods.values():
                rows.sort(key=lambda row: (row["value"], row["dataset"]))
    return found


def _of_assignments(entry: Mapping[str, Any]) -> Fractions:
    merit = {kind: entry[kind]["all"]["event"] for kind in ("full", "selected")}
    return {"full": merit["full"], "share": entry["shares"]["all"]["full"], "selected": merit["selected"]}


def _of_candidates(entry: Mapping[str, Any]) -> Fractions:
    first = next(iter(entry["categories"].values()))
    return {name: first[name] for name in ("purity", "efficiency")}
