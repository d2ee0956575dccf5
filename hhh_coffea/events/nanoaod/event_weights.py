"""Weights of simulated events beside b tagging: pile-up, leptons, triggers from correctionlib files, and theory from the file.

Each has a nominal value and two variations. Those of theory, which NanoAOD holds relative to the generated event, leave the
nominal weight as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from hhh_coffea.base.arrays import counts_of, event_index, flat
from hhh_coffea.base.kinematics import FloatArray
from hhh_coffea.datasets.fileset import FilesetError
from hhh_coffea.datasets.nanoaod_options import (
    BTAG,
    DIRECTIONS,
    LEPTON_INPUTS,
    THEORY_SOURCES,
    Corrections,
    EventWeight,
    LeptonOptions,
)
from hhh_coffea.events.leptons import ELECTRON, MUON
from hhh_coffea.events.nanoaod import leptons as nanoaod_leptons
from hhh_coffea.events.nanoaod.columns import column, values
from hhh_coffea.events.nanoaod.corrections import correction, evaluate

Varied = tuple[FloatArray, FloatArray, FloatArray]  # nominal, up, down of each event ``(N,)``
FLAVOR = {"electrons": ELECTRON, "muons": MUON}
SCALE_PAIRS = {
    9: (0, 1, 3, 5, 7, 8),
    8: (0, 1, 3, 4, 6, 7),
}  # without the nominal one, and (μR, μF) = (½, 2) and (2, ½)
SHOWER = {"isr": (0, 2), "fsr": (1, 3)}  # PSWeight: ISR ×2, FSR ×2, ISR ×½, FSR ×½
REPLICAS = 100
LABELS = {BTAG: "b tag"}  # rows of the cutflow


def branches(given: Corrections, leptons: LeptonOptions) -> list[str]:
    """Branches that the weights are made of.

    Raises
    ------
    FilesetError
        naming the metadata field for a correction that is not in its file or that takes an input nobody gives.
    """
    found = []
    for name, weight in given.weights.items():
        _check(name, weight)
        if weight.over is None:
            found += list(weight.inputs.values())
        else:
            found += nanoaod_leptons.lepton_branches(leptons)
    for kind in given.theory:
        found += [THEORY[kind][0], f"n{THEORY[kind][0]}"]
    return found


def event_weights(events: Any, given: Corrections, leptons: LeptonOptions) -> dict[str, Varied]:
    """Weights by name, in the order of the metadata; those of theory last.

    Raises
    ------
    KeyError
        naming the branch that is missing.
    FilesetError
        naming the metadata field, where the file has too few weights of theory, or a correction refuses its inputs.
    """
    found = {name: _of_file(events, name, weight, leptons) for name, weight in given.weights.items()}
    for kind in given.theory:
        branch, make = THEORY[kind]
        stored = column(events, branch, f"nanoaod.corrections.theory ({kind})")
        counts = counts_of(stored)
        if len(counts) and counts.min() != counts.max():
            raise FilesetError(f"metadata field 'nanoaod.corrections.theory': {branch} is not as long in every event")
        length = int(counts[0]) if len(counts) else 0
        found |= make(np.asarray(flat(stored), dtype=np.float64).reshape(len(counts), length), branch)
    return found


def _check(name: str, weight: EventWeight) -> None:
    field = f"weights.{name}"
    known = {weight.systematic, *weight.inputs, *weight.constants}
    for item in correction(weight.file, weight.correction, field).inputs:
        if item.name not in known:
            raise FilesetError(
                f"metadata field 'nanoaod.corrections.{field}': {weight.correction} takes {item.name!r}: give it in 'inputs' "
                "or 'constants', or name it as 'systematic'"
            )


def _of_file(events: Any, name: str, weight: EventWeight, leptons: LeptonOptions) -> Varied:
    named = correction(weight.file, weight.correction, f"weights.{name}")
    wanted_by = f"nanoaod.corrections.weights.{name}"
    given: dict[str, Any] = dict(weight.constants)
    if weight.over is None:
        given |= {key: values(events, branch, wanted_by) for key, branch in weight.inputs.items()}
        event = np.arange(len(events))
    else:
        objects = nanoaod_leptons.leptons(events, leptons, {})
        own = flat(objects.flavor) == FLAVOR[weight.over]
        event = event_index(counts_of(objects.pt))[own]
        columns = {key: flat(objects[key])[own] for key in LEPTON_INPUTS if key in objects.fields}
        columns["abseta"] = np.abs(columns["eta"])
        given |= {key: columns[column_] for key, column_ in weight.inputs.items()}

    def product(variation: str) -> FloatArray:
        result = np.ones(len(events))
        try:
            factors = evaluate(named, {**given, weight.systematic: variation})
        except (IndexError, RuntimeError, ValueError) as error:
            raise FilesetError(f"metadata field '{wanted_by}': {weight.correction}: {error}") from None
        np.multiply.at(result, event, np.broadcast_to(factors, event.shape))
        return result

    nominal, up, down = (product(variation) for variation in weight.variations)
    return nominal, up, down


def _scale(stored: FloatArray, branch: str) -> dict[str, Varied]:
    """Envelope of the variations of μR and μF by a factor 2, without those in opposite directions, in each event."""
    if stored.shape[1] not in SCALE_PAIRS and len(stored):
        raise FilesetError(
            f"metadata field 'nanoaod.corrections.theory': {branch} has {stored.shape[1]} weights, not 8 or 9"
        )
    chosen = stored[:, SCALE_PAIRS.get(stored.shape[1], ())]
    return {"scale": (np.ones(len(stored)), chosen.max(axis=1, initial=0.0), chosen.min(axis=1, initial=np.inf))}


def _pdf(stored: FloatArray, branch: str) -> dict[str, Varied]:
    """Hessian members, PDF4LHC15 (arXiv:1510.03865, equation 20): δ = √Σ(w_i − w_0)² over the 100 members; not α_s."""
    if stored.shape[1] <= REPLICAS and len(stored):
        raise FilesetError(
            f"metadata field 'nanoaod.corrections.theory': {branch} has {stored.shape[1]} weights, not 101 or more"
        )
    members = stored[:, 1 : REPLICAS + 1]
    central = np.where(stored[:, :1] != 0, stored[:, :1], 1.0) if len(stored) else np.ones((0, 1))
    relative = np.sqrt(((members / central - 1) ** 2).sum(axis=1))
    return {"pdf": (np.ones(len(stored)), 1 + relative, np.maximum(1 - relative, 0.0))}


def _shower(stored: FloatArray, branch: str) -> dict[str, Varied]:
    """Scale of α_s in initial and in final state radiation, by a factor 2 up and down."""
    if stored.shape[1] < 4 and len(stored):
        raise FilesetError(
            f"metadata field 'nanoaod.corrections.theory': {branch} has {stored.shape[1]} weights, not 4"
        )
    ones = np.ones(len(stored))
    if not len(stored):
        return dict.fromkeys(SHOWER, (ones, ones, ones))
    return {name: (ones, stored[:, up], stored[:, down]) for name, (up, down) in SHOWER.items()}


THEORY: dict[str, tuple[str, Callable[[FloatArray, str], dict[str, Varied]]]] = {
    "scale": ("LHEScaleWeight", _scale),
    "pdf": ("LHEPdfWeight", _pdf),
    "parton_shower": ("PSWeight", _shower),
}
SOURCES = {"scale": ("scale",), "pdf": ("pdf",), "parton_shower": tuple(SHOWER)}


def sources(given: Corrections) -> list[str]:
    """Variations of weights, as ``pileup_up``, in the order of :func:`event_weights`."""
    names = [*given.weights, *(source for kind in given.theory for source in SOURCES[kind])]
    return [f"{name}_{way}" for name in names for way in DIRECTIONS]


def applied(found: dict[str, Varied]) -> tuple[dict[str, FloatArray], dict[str, FloatArray]]:
    """Factors of the nominal weight by name, and what varies it relative to them: ``record.weights`` and ``record.shifts``."""
    weights: dict[str, FloatArray] = {}
    shifts: dict[str, FloatArray] = {}
    for name, (nominal, *varied) in found.items():
        if name not in THEORY_SOURCES:
            weights[LABELS.get(name, name)] = nominal
        safe = np.where(nominal != 0, nominal, 1.0)
        shifts |= {f"{name}_{way}": values_ / safe for way, values_ in zip(DIRECTIONS, varied, strict=True)}
    return weights, shifts
