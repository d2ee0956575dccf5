"""What the study of the top-quark mass keeps of an event, at five jet energy scale factors, and which event does what.

Datasets of its fileset: ``templates`` (metadata ``user: {"top_mass": "scale"}``: each event's generated mass is
``Event.Scale``), ``closure`` and ``data`` (``user: {"top_mass": 173.0}``). Of ``templates`` each event has one of three parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from hhh_coffea.analyses.tops_jet_scale import with_jet_scale
from hhh_coffea.base.arrays import IntArray
from hhh_coffea.base.errors import UserError
from hhh_coffea.base.kinematics import FloatArray, invariant_mass
from hhh_coffea.datasets.fileset import DatasetMetadata
from hhh_coffea.events.record import SCALE
from hhh_coffea.inference.top_mass.mass_model import EDGES
from hhh_coffea.reconstruction.analysis import Analysis
from hhh_coffea.reconstruction.composites import assigned_momentum
from hhh_coffea.study.event_table import Columns
from hhh_coffea.study.quality import quality
from hhh_coffea.study.reconstructed import PERFECT, Reconstructed
from hhh_coffea.study.split import BoolArray, parts

TEMPLATES, CLOSURE, DATA = "templates", "closure", "data"
JSF = (0.96, 0.98, 1.0, 1.02, 1.04)
# jets above it after scaling: a sample written with jets above 25 GeV is complete up to a JSF of 1.04
JET_PT_MIN = 26.0
# templates, choice of the quality cuts, pseudo-experiments
ROLES = {"templates": 0.5, "tuning": 0.2, "pseudo": 0.3}
CORRECT, INCORRECT, UNMATCHED = range(3)
METHODS = ("chi2", "likelihood", "pdnn", "spanet")
ROWS = ("top_bin", "w_bin", "category", "jsf", "mass", "quality", "split")


def changed(analysis: Analysis, jsf: float) -> Analysis:
    """The analysis at a JSF, with the generated scale in its record."""
    found = with_jet_scale(analysis, jsf, JET_PT_MIN)
    return replace(found, collections=(*found.collections, SCALE))


def change_at(jsf: float) -> partial[Analysis]:
    """:func:`changed` at one JSF, for a pass over events."""
    return partial(changed, jsf=jsf)


def columns(event: Reconstructed) -> Columns:
    """``scale``, and for each method ``METHOD.top``, ``.w`` (GeV), ``.category`` and ``.quality``.

    The method :data:`PERFECT` has the matched jets of the truth; its masses are NaN in unmatched events.
    """
    exists = event.exists("ht")
    found: Columns = {"scale": np.asarray(event.record[SCALE], dtype=np.float64)}
    for method in (*event.candidates, PERFECT):
        objects = event.positions(method)["ht"]
        top, w = _masses(event, objects)
        category = np.where(exists, INCORRECT, UNMATCHED)
        right = exists if method == PERFECT else event.correct(method, "ht")
        category[right] = CORRECT
        found |= {f"{method}.top": top, f"{method}.w": w, f"{method}.category": category.astype(np.int8)}
        if method != PERFECT:
            found[f"{method}.quality"] = quality(event, method)
    return found


def _masses(event: Reconstructed, objects: Any) -> tuple[FloatArray, FloatArray]:
    jets = event.record.jets
    top, w = (invariant_mass(assigned_momentum(jets, objects[:, first:])) for first in (0, 1))
    return top, w


def roles(split: FloatArray) -> dict[str, BoolArray]:
    """Masks by :data:`ROLES`, from the number of each event in [0, 1).

    Trainings take the events of the smallest numbers for validation. The number is scaled first, so that every role has
    the same share of these.
    """
    return parts(np.asarray(split, dtype=np.float64) * 64 % 1, ROLES)


def blocks(split: FloatArray, number: int) -> IntArray:
    """Which of ``number`` blocks an event is in, ``(N,)``: alike at every JSF, and independent of its role."""
    return (np.asarray(split, dtype=np.float64) * 8192 % 1 * number).astype(np.int64)


def told_mass(metadata: DatasetMetadata, dataset: str) -> float | None:
    """Generated top-quark mass of a dataset (GeV); None where ``Event.Scale`` holds that of each event.

    Raises
    ------
    UserError
        if the metadata do not tell it.
    """
    given = metadata.user.get("top_mass")
    if given == "scale":
        return None
    if not isinstance(given, int | float) or isinstance(given, bool):
        raise UserError(
            f"dataset {dataset!r}: metadata 'user' must have 'top_mass': a mass in GeV, or \"scale\" where Event.Scale holds it"
        )
    return float(given)


def top_mass(metadata: DatasetMetadata, dataset: str, rows: Columns) -> FloatArray:
    """Generated top-quark mass of each row (GeV).

    Raises
    ------
    UserError
        if the metadata do not tell it, or if it is no mass of a top quark.
    """
    told = told_mass(metadata, dataset)
    mass: FloatArray = rows["scale"] if told is None else np.full(len(rows["scale"]), told)
    if len(mass) and not ((mass > 100) & (mass < 250)).all():
        raise UserError(f"dataset {dataset!r}: generated top-quark masses from {mass.min():g} to {mass.max():g} GeV")
    return mass


@dataclass(frozen=True)
class Selected:
    """Events of one method in the mass window, at all JSF, one row per event and JSF; bins of the histograms."""

    top_bin: Any  # (N,) of EDGES["top"]
    w_bin: Any
    category: Any
    jsf: Any  # index in ``jsf_values``
    mass: FloatArray  # generated, GeV
    quality: FloatArray
    split: FloatArray
    jsf_values: tuple[float, ...]

    def __getitem__(self, keep: BoolArray) -> Selected:
        """The rows in ``keep``."""
        return replace(self, **{name: getattr(self, name)[keep] for name in ROWS})


def in_window(tables: Mapping[float, Columns], masses: Mapping[float, FloatArray], method: str) -> Selected:
    """Rows of a method with 120 ≤ m_t < 230 GeV and 40 ≤ m_W < 120 GeV, from the tables by JSF."""
    found: list[dict[str, Any]] = []
    for number, (jsf, rows) in enumerate(tables.items()):
        top, w = rows[f"{method}.top"], rows[f"{method}.w"]
        quality = rows.get(f"{method}.quality", np.zeros(len(top)))
        inside = (top >= EDGES["top"][0]) & (top < EDGES["top"][-1]) & (w >= EDGES["w"][0]) & (w < EDGES["w"][-1])
        inside &= np.isfinite(quality)
        found.append(
            {
                "top_bin": np.floor(top[inside] - EDGES["top"][0]).astype(np.int64),
                "w_bin": np.floor(w[inside] - EDGES["w"][0]).astype(np.int64),
                "category": rows[f"{method}.category"][inside],
                "jsf": np.full(int(inside.sum()), number),
                "mass": masses[jsf][inside],
                "quality": quality[inside],
                "split": rows["split"][inside],
            }
        )
    return Selected(**{name: np.concatenate([part[name] for part in found]) for name in ROWS}, jsf_values=tuple(tables))
