"""Efficiencies of b tagging in simulation as a correctionlib file: what the ``btag`` correction needs beside scale factors.

By working point, flavour (5 b, 4 c, 0 others), pT and |η| of the jets; an event weight is the generator's times the
corrections' own. A bin with few jets takes the mean of a wider one, and the map says how many do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import awkward as ak
import correctionlib.schemav2 as schema
import hist
import numpy as np
import numpy.typing as npt
from hist import Hist

from hhh_coffea.base.arrays import counts_of, event_index, flat
from hhh_coffea.base.errors import UserError
from hhh_coffea.base.kinematics import FloatArray
from hhh_coffea.datasets.nanoaod_options import NanoAODOptions
from hhh_coffea.events.nanoaod.btag_weights import LETTERS
from hhh_coffea.events.nanoaod.names import LEVELS, WORKING_POINTS, Names
from hhh_coffea.events.record import weights_of

PT = (20.0, 30.0, 50.0, 70.0, 100.0, 140.0, 200.0, 300.0, 600.0, 1000.0)  # GeV
ABS_ETA = (0.0, 0.8, 1.6, 2.5)
FLAVORS = {5: "b", 4: "c", 0: "light"}
NAME, ERROR = "btag_efficiency", "btag_efficiency_error"
OWN_WEIGHT = "b tag"  # what this is for does not weigh it


class EfficiencyError(UserError):
    """No map can be made; the message names the working point, flavour or dataset."""


class Efficiencies(NamedTuple):
    """Of one working point and flavour, in bins ``(pT, |η|)``."""

    value: FloatArray
    error: FloatArray
    filled_in: int  # bins that take the mean of a wider one
    jets: float  # effective number, in all bins
    mean: float


def book(pt: tuple[float, ...] = PT, abs_eta: tuple[float, ...] = ABS_ETA) -> Hist:
    """Empty histogram of jets: dataset × working point × flavour × tagged × pT × |η|."""
    return Hist(
        hist.axis.StrCategory([], growth=True, name="dataset"),
        hist.axis.StrCategory([], growth=True, name="working_point"),
        hist.axis.IntCategory(list(FLAVORS), name="flavor"),
        hist.axis.Boolean(name="tagged"),
        hist.axis.Variable(pt, name="pt", label="pT [GeV]"),
        hist.axis.Variable(abs_eta, name="abseta", label="|η|", underflow=False),
        storage=hist.storage.Weight(),
    )


def cuts_of(names: Names, options: NanoAODOptions) -> dict[str, float]:
    """Working point → score above which a jet is tagged: all that are known, or the one whose cut the metadata state."""
    if options.btag_cut is not None:
        return {LETTERS[options.working_point]: options.btag_cut}
    known = WORKING_POINTS[names.tagger.removeprefix("Jet_btag")][names.year]
    return {LETTERS[level]: cut for level, cut in zip(LEVELS, known, strict=True)}


def fill(histogram: Hist, dataset: str, record: ak.Array, cuts: Mapping[str, float]) -> None:
    """Add the small-radius jets of a record; those beyond the last |η| edge are left out, pT counts in the outer bins."""
    jets = record.jets
    weight = np.array(ak.to_numpy(record.weight), dtype=np.float64)
    for name, factor in weights_of(record).items():
        weight *= factor if name != OWN_WEIGHT else 1.0
    low, high = histogram.axes["pt"].edges[[0, -1]]
    flavor = np.abs(flat(jets.flavor))
    for name, cut in cuts.items():
        histogram.fill(
            dataset=dataset,
            working_point=name,
            flavor=np.where((flavor == 5) | (flavor == 4), flavor, 0),
            tagged=flat(jets.btag_score) > cut,
            pt=np.clip(flat(jets.pt), low, np.nextafter(high, low)),
            abseta=np.abs(flat(jets.eta)),
            weight=weight[event_index(counts_of(jets.pt))],
        )


def efficiencies(jets: Hist, min_jets: float) -> dict[tuple[str, int], Efficiencies]:
    """By working point and flavour, from a histogram without the axis of datasets.

    A bin with fewer than ``min_jets`` effective jets, (Σw)²/Σw², takes the mean of all |η| at its pT, and where these are too
    few, that of all jets of the flavour. Errors are half the Wilson interval of 68%, with the effective number.

    Raises
    ------
    EfficiencyError
        for a flavour with fewer jets than that in all.
    """
    found = {}
    for point in jets.axes["working_point"]:
        for flavor, noun in FLAVORS.items():
            counted = jets[{"working_point": hist.loc(point), "flavor": hist.loc(flavor)}]  # (tagged, pT, |η|)
            sums = (np.asarray(counted.values()), np.asarray(counted.variances()))
            value, error, known = _ratio(*sums)
            filled = np.zeros(value.shape, dtype=bool)
            for axes in ((2,), (1, 2)):
                wide_value, wide_error, wide_known = _ratio(*(s.sum(axis=axes, keepdims=True) for s in sums))
                few = known < min_jets
                filled |= few
                value = np.where(few, wide_value, value)
                error = np.where(few, wide_error, error)
                known = np.where(few, wide_known, known)
            if wide_known.item() < min_jets:
                raise EfficiencyError(
                    f"working point {point}: {wide_known.item():.1f} {noun} jets are fewer than min_jets = {min_jets:g}; "
                    "read more events, or set --min-jets"
                )
            found[str(point), flavor] = Efficiencies(
                value, error, int(filled.sum()), wide_known.item(), wide_value.item()
            )
    return found


def _ratio(sums: FloatArray, squares: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Efficiency, error and effective number of jets; the first axis is not tagged, tagged. Negative sums count as 0."""
    failed, passed = np.maximum(sums, 0.0)
    total = failed + passed
    some = total > 0
    value = np.divide(passed, total, out=np.zeros_like(total), where=some)
    variance = squares.sum(axis=0)
    known = np.divide(total**2, variance, out=np.zeros_like(total), where=some & (variance > 0))
    n = np.maximum(known, 1e-9)
    error = np.sqrt(value * (1 - value) / n + 1 / (4 * n**2)) / (1 + 1 / n)
    return value, error, known


def correction_file(found: Mapping[tuple[str, int], Efficiencies], jets: Hist, description: str) -> str:
    """The map as JSON of correctionlib: corrections ``btag_efficiency`` and ``btag_efficiency_error``."""
    edges = [jets.axes[name].edges.tolist() for name in ("pt", "abseta")]
    points = list(dict.fromkeys(point for point, _ in found))

    def binned(values: npt.NDArray[Any]) -> dict[str, Any]:
        return {
            "nodetype": "multibinning",
            "inputs": ["pt", "abseta"],
            "edges": edges,
            "content": values.ravel().tolist(),
            "flow": "clamp",
        }

    def by(name: str, content: dict[Any, Any]) -> dict[str, Any]:
        return {"nodetype": "category", "input": name, "content": [{"key": k, "value": v} for k, v in content.items()]}

    inputs = {"working_point": "string", "flavor": "int", "abseta": "real", "pt": "real"}
    corrections = [
        schema.Correction(
            name=name,
            version=1,
            description=description,
            inputs=[schema.Variable(name=n, type=kind) for n, kind in inputs.items()],
            output=schema.Variable(name="efficiency", type="real"),
            data=by(
                "working_point",
                {p: by("flavor", {f: binned(getattr(found[p, f], field)) for f in FLAVORS}) for p in points},
            ),
        )
        for name, field in ((NAME, "value"), (ERROR, "error"))
    ]
    content = schema.CorrectionSet(schema_version=2, description=description, corrections=corrections)
    text: str = content.model_dump_json(exclude_unset=True, indent=1)
    return text + "\n"
