"""Columns that several studies keep of semi-leptonic tops, by method: what was right, masses (GeV), scores."""

from __future__ import annotations

from hhh_coffea.analyses.tops_kinematics import systems
from hhh_coffea.base.kinematics import invariant_mass
from hhh_coffea.study.event_table import Columns
from hhh_coffea.study.reconstructed import PERFECT, Reconstructed

MASSES = ("ht", "lt", "w_had", "ttbar", "h")  # of systems()
PER_EVENT = ("score", "event_score", "neutrino_eta", "log_mtt", "signal")
PER_KIND = {"ap": "assignment_probability", "dp": "detection_probability", "entropy": "assignment_entropy"}


def truth_columns(event: Reconstructed) -> Columns:
    """``n_jets``, and ``KIND.exists``: every quark of that particle has a jet; False without truth."""
    return {"n_jets": event.n_jets, **{f"{kind}.exists": event.exists(kind) for kind in event.analysis.kinds}}


def method_columns(event: Reconstructed, method: str) -> Columns:
    """``METHOD.KIND.correct``, ``METHOD.SYSTEM.mass`` of :data:`MASSES`, and the scores that the method gives.

    ``METHOD.KIND.ap``, ``.dp``, ``.entropy`` and ``METHOD.NAME`` of :data:`PER_EVENT`, NaN where it does not give them. Of
    ``method`` :data:`PERFECT`, the assignment of the truth, there are masses alone, NaN where a target does not exist.
    """
    found = systems(event.record, event.positions(method))
    columns: Columns = {f"{method}.{name}.mass": invariant_mass(found[name]) for name in MASSES if name in found}
    if method == PERFECT:
        return columns
    for kind in event.analysis.kinds:
        columns[f"{method}.{kind}.correct"] = event.correct(method, kind)
        for short, name in PER_KIND.items():
            if name in event.candidates[method].fields:
                columns[f"{method}.{kind}.{short}"] = event.of(method, kind, name)
    for name in PER_EVENT:
        if name in event.candidates[method].fields:
            columns[f"{method}.{name}"] = event.of_event(method, name)
    return columns
