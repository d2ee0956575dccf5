"""What the study keeps of an event: variables, and scores of each method; and for fine-tuning the network's event vector."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt

from hhh_coffea.analyses import tops_objects
from hhh_coffea.methods import spanet
from hhh_coffea.methods.spanet_model import SpanetModel, load_model
from hhh_coffea.reconstruction.analysis import Analysis, Masks
from hhh_coffea.study.columns import PER_EVENT, PER_KIND, truth_columns
from hhh_coffea.study.event_table import Columns
from hhh_coffea.study.reconstructed import Reconstructed
from hhh_coffea.study.tth.variables import LeptonPair, event_variables, method_variables

MIN_BTAGS = 4
VECTOR = "vector"


def four_btags(analysis: Analysis) -> Analysis:
    """The analysis with the selection of the study: at least four b-tagged jets."""
    return replace(analysis, late_cuts=_four_btags)


def _four_btags(record: ak.Array, _: bool) -> Masks:
    return {f"≥ {MIN_BTAGS} b tags": tops_objects.count_btags(record) >= MIN_BTAGS}


def study_columns(event: Reconstructed, lepton_pair: LeptonPair, model: str, device: str) -> Columns:
    """Of events to be classified: ``VARIABLE``, ``METHOD.VARIABLE``, ``METHOD.KIND.ap`` and so on, ``METHOD.score``.

    ``vector`` is the event vector of the network ``model``, where this is not empty.
    """
    found = truth_columns(event) | event_variables(event.record, lepton_pair)
    for method, candidates in event.candidates.items():
        for name, values in method_variables(event.record, event.positions(method)).items():
            found[f"{method}.{name}"] = values
        for kind in event.analysis.kinds:
            found[f"{method}.{kind}.correct"] = event.correct(method, kind)
            for short, name in PER_KIND.items():
                if name in candidates.fields:
                    found[f"{method}.{kind}.{short}"] = event.of(method, kind, name)
        for name in PER_EVENT:
            if name in candidates.fields:
                found[f"{method}.{name}"] = event.of_event(method, name)
    return found | (vector_columns(event, model, device) if model else {})


def vector_columns(event: Reconstructed, model: str, device: str) -> Columns:
    """Of events to fine-tune with: ``vector (N, D)`` and ``n_btags``."""
    return {"n_btags": tops_objects.count_btags(event.record), VECTOR: vectors(event.record, _loaded(model, device))}


def vectors(record: ak.Array, model: SpanetModel) -> npt.NDArray[np.float32]:
    """``(N, D)``: the network's event vector, of which its regressions and classes are made."""

    def way(outputs: Any, *_: Any) -> list[Any]:
        return [outputs.vectors["EVENT"]]

    result: npt.NDArray[np.float32] = spanet.evaluate(record, model, {VECTOR: way})[VECTOR][0]
    return result


@lru_cache(maxsize=2)
def _loaded(model: str, device: str) -> SpanetModel:
    return load_model(model, device)
