"""Semi-leptonic tops with all jet energies multiplied by one factor: the jet energy scale factor (JSF) of mass measurements.

The factor acts on the event record before any cut, so selection, truth matching and every method see the scaled jets.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import awkward as ak
import numpy as np

from hhh_coffea.analyses.tops_objects import PT_MIN, central
from hhh_coffea.base.arrays import counts_of, event_index, flat, records, unflatten
from hhh_coffea.base.kinematics import FloatArray
from hhh_coffea.reconstruction.analysis import Analysis


def scaled_jets(record: ak.Array, factor: float) -> ak.Array:
    """The record with the four-vector of every jet multiplied by ``factor``.

    Missing transverse momentum changes by −Σ Δp⃗_T over the jets, the scalar sum of transverse energies by Σ ΔpT. The order
    of the jets (b-tagged first, then by pT) stays.
    """
    fields = {name: record[name] for name in record.fields}
    jets = record.jets
    counts = counts_of(jets.pt)
    columns = {name: flat(jets[name]) for name in jets.fields}
    pt, phi = (columns[name].astype(np.float64) for name in ("pt", "phi"))
    columns |= {name: (columns[name].astype(np.float64) * factor).astype(np.float32) for name in ("pt", "mass")}
    fields["jets"] = unflatten(columns, counts)
    event = event_index(counts)

    def per_event(values: FloatArray) -> FloatArray:
        total: FloatArray = np.bincount(event, weights=values, minlength=len(counts)).astype(np.float64)
        return total * (factor - 1)

    met_pt, met_phi = (ak.to_numpy(record.met[name]).astype(np.float64) for name in ("pt", "phi"))
    px = met_pt * np.cos(met_phi) - per_event(pt * np.cos(phi))
    py = met_pt * np.sin(met_phi) - per_event(pt * np.sin(phi))
    fields["met"] = records({"pt": np.hypot(px, py), "phi": np.arctan2(py, px)})
    fields["sum_et"] = ak.to_numpy(record.sum_et) + per_event(pt)
    return records(fields)


def with_jet_scale(analysis: Analysis, factor: float, jet_pt_min: float = PT_MIN) -> Analysis:
    """The analysis of events whose jets are scaled by ``factor`` before its selection, with jets above ``jet_pt_min`` (GeV).

    Samples that were written with a cut on jets miss events that a factor above 1 lets in. Above ``factor`` times that
    cut they are complete again.
    """
    return replace(analysis, refine=partial(_refined, factor=factor, jet_pt_min=jet_pt_min))


def _refined(record: ak.Array, factor: float, jet_pt_min: float) -> ak.Array:
    chosen = central(record if factor == 1 else scaled_jets(record, factor))
    jets = chosen.jets
    keep = flat(jets.pt) > jet_pt_min
    if keep.all():
        return chosen
    counts = counts_of(jets.pt)
    fields = {name: chosen[name] for name in chosen.fields}
    left = np.bincount(event_index(counts)[keep], minlength=len(counts))
    fields["jets"] = unflatten({name: flat(jets[name])[keep] for name in jets.fields}, left)
    return records(fields)
