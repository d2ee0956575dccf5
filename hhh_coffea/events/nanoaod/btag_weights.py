"""Event weights that bring b tagging in simulation to that in data, from correctionlib files.

For a working point, with efficiency ε in simulation and scale factor s of each jet (CMS BTV group, "method 1a"):
w = Π_tagged s · Π_untagged (1 − s ε)/(1 − ε).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt

from hhh_coffea.base.arrays import IntArray, product_in_event
from hhh_coffea.base.kinematics import FloatArray
from hhh_coffea.datasets.fileset import FilesetError
from hhh_coffea.datasets.nanoaod_options import DIRECTIONS, BTagWeights
from hhh_coffea.events.nanoaod.corrections import correction, evaluate
from hhh_coffea.events.record import Columns

CENTRAL = "central"
SYSTEMATICS = (CENTRAL, *DIRECTIONS)
LETTERS = {"loose": "L", "medium": "M", "tight": "T"}
INPUTS = ("systematic", "working_point", "flavor", "abseta", "eta", "pt")


def check(options: BTagWeights) -> None:
    """Raise FilesetError for a correction that is not in its file or takes an unknown input."""
    for field, path, name in (
        ("heavy", options.file, options.heavy),
        ("light", options.file, options.light),
        ("efficiency", options.efficiency_file, options.efficiency),
    ):
        for item in correction(path, name, f"btag.{field}").inputs:
            if item.name not in INPUTS:
                raise FilesetError(
                    f"metadata field 'nanoaod.corrections.btag.{field}': {name} takes {item.name!r}; known are {INPUTS}"
                )


def btag_weights(
    columns: Columns,
    counts: IntArray,
    use: npt.NDArray[np.bool_],
    working_point: str,
    options: BTagWeights,
    systematics: Collection[str] = SYSTEMATICS,
) -> dict[str, FloatArray]:
    """Weight of each event by systematic: ``central``, ``up`` and ``down``.

    ``columns`` are flat: ``pt eta`` (GeV), ``btag`` 0 or 1 and ``flavor`` 5 (b), 4 (c) or else; ``use`` marks the jets that
    count.
    """
    use = use & (np.abs(columns["eta"]) < options.abs_eta_max)
    event = np.repeat(np.arange(len(counts)), counts)[use]
    tagged = columns["btag"][use] != 0
    flavor = np.abs(columns["flavor"][use])
    jets: dict[str, Any] = {
        "pt": columns["pt"][use],
        "eta": columns["eta"][use],
        "abseta": np.abs(columns["eta"][use]),
        "flavor": np.where((flavor == 5) | (flavor == 4), flavor, 0),
        "working_point": LETTERS[working_point],
    }
    efficiency = evaluate(correction(options.efficiency_file, options.efficiency, "btag.efficiency"), jets)
    efficiency = np.clip(efficiency, 1e-6, 1 - 1e-6)  # 0 and 1 come of bins with few jets
    heavy = jets["flavor"] != 0
    weights = {}
    for name in systematics:
        factor = np.ones(len(event))
        for chosen, field in ((heavy, "heavy"), (~heavy, "light")):
            named = correction(options.file, getattr(options, field), f"btag.{field}")
            wanted = {item.name for item in named.inputs}
            some = {k: v if isinstance(v, str) else v[chosen] for k, v in jets.items() if k in wanted}
            factor[chosen] = evaluate(named, {**some, "systematic": name})
        factor = np.where(tagged, factor, np.maximum(1 - factor * efficiency, 0) / (1 - efficiency))
        weights[name] = product_in_event(factor, event, len(counts))
    return weights
