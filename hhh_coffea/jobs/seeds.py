"""Trainings that differ in their seed alone, and the spread of what they reach."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hhh_coffea.base.errors import UserError

SEEDS_FILE = "seeds.json"
NUMBERS = (
    "validation_loss",
    "purity",
    "efficiency",
    "product",
    "all",
    "full",
)  # of the epoch kept; and auc/…, rms/…, …


def parse_seeds(text: str) -> tuple[int, ...]:
    """``1-5`` and ``3,7,20-22`` → seeds in their order; UserError for anything else, or a seed twice."""
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()) or (dash and int(last) < int(first)):
            raise UserError(f"option 'seeds': {part.strip()!r} is no seed and no range of seeds: 1-5, or 3,7,20-22")
        seeds += range(int(first), int(last if dash else first) + 1)
    if len(set(seeds)) != len(seeds):
        raise UserError(f"option 'seeds': {text!r} names a seed twice")
    return tuple(seeds)


def spread(epochs: Mapping[int, Mapping[str, float]]) -> dict[str, Any]:
    """Of the epoch kept for each seed: by number its value for each seed, their mean and standard deviation (of one)."""
    first = next(iter(epochs.values()))
    found = {}
    for name in (name for name in first if name in NUMBERS or "/" in name):
        values = [entry[name] for entry in epochs.values()]
        deviation = statistics.stdev(values) if len(values) > 1 else None
        found[name] = {"values": values, "mean": statistics.fmean(values), "standard_deviation": deviation}
    return found


def write_spread(folder: Path, epochs: Mapping[int, Mapping[str, float]]) -> dict[str, Any]:
    """Write ``seeds.json`` into the folder of the trainings; returns :func:`spread`."""
    found = spread(epochs)
    content = {"schema_version": 1, "seeds": list(epochs), "numbers": found}
    (folder / SEEDS_FILE).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return found


def in_words(found: Mapping[str, Any], criterion: str) -> str:
    """The spread of the criterion in a line."""
    one = found[criterion]
    error = "" if one["standard_deviation"] is None else f" ± {one['standard_deviation']:.4f}"
    values = ", ".join(f"{value:.4f}" for value in one["values"])
    return f"{criterion} of the validation: {one['mean']:.4f}{error} (standard deviation of one training; {values})"
