"""HH → 4b and HHH → 6b with small-radius jets alone, as the resolved CMS analyses count them.

Every Higgs boson is one pair of jets, and every method gives every event all of its pairs. A quark belongs to the nearest
jet within ΔR < 0.4, whatever the flavor of the jet; nearest first, each quark and each jet once, over all jets. An event
is *full* (fully matched) if all its quarks have a jet among those kept.

Of |A| selected events |F| are full and in |C| of these every pair is right: ε = |C|/|F|, f = |F|/|A| and ε_tot = |C|/|A| =
ε·f, with the same |F| and |A| for all methods. In the tables these are "full", "can be found: every target" and "selected".
"""

from __future__ import annotations

import itertools
from collections.abc import Collection
from functools import cache, partial

import awkward as ak
import numpy as np
import numpy.typing as npt

from hhh_coffea.analyses.higgs_methods import METHODS, ONLY_TWO
from hhh_coffea.base.arrays import counts_of, flat
from hhh_coffea.base.kinematics import Cartesian, FloatArray, cartesian, invariant_mass
from hhh_coffea.methods.method import spanet_method
from hhh_coffea.reconstruction.analysis import Analysis, Generated, Kept, MassPlane
from hhh_coffea.reconstruction.composites import assigned_momentum
from hhh_coffea.reconstruction.matching import match_quarks
from hhh_coffea.reconstruction.quantities import FULL, SELECTED, Quantity, Reconstruction, evenly
from hhh_coffea.reconstruction.targets import Targets
from hhh_coffea.topology.topology import Topology

MATCHING_RADIUS = 0.4
KIND = "resolved"
MOST = 3  # Higgs bosons of these analyses
# R_HH, the distance from (125, 120) GeV in the plane of the two masses, the first of the pair of larger pT: the regions of the
# CMS search for HH → 4b, and those of the same size about (185, 180) GeV
_R = "sqrt((candidates.mass[0] - {0}) ** 2 + (candidates.mass[1] - {1}) ** 2)"
_SIGNAL, _VALIDATION = _R.format(125, 120), _R.format(185, 180)
MASS_PLANE = {
    "signal": f"{_SIGNAL} < 30",
    "control": f"{_SIGNAL} >= 30 and {_SIGNAL} < 55",
    "validation_signal": f"{_VALIDATION} < 30",
    "validation_control": f"{_VALIDATION} >= 30 and {_VALIDATION} < 55",
}
PLANE = MassPlane(
    30,
    50.0,
    200.0,
    tuple(
        (*center, radius, name)
        for (center, radius), name in zip(
            itertools.product(((125.0, 120.0), (185.0, 180.0)), (30.0, 55.0)), MASS_PLANE, strict=True
        )
    ),
)


@cache
def resolved(n: int) -> Analysis:
    """The analysis ``hh_resolved`` or ``hhh_resolved``."""
    asked = f"{n} Higgs → bb"

    def cuts(record: ak.Array, is_signal: bool) -> dict[str, npt.NDArray[np.bool_]]:
        """In signal every Higgs boson of the event decays to b quarks."""
        return {asked: _decays(record) == n} if is_signal else {}

    return Analysis(
        name=f"{'h' * n}_resolved",
        topology=Topology.bundled(f"{'h' * n}_resolved"),
        kind_names=(KIND,),
        daughter_names={KIND: ("jet1", "jet2")},
        match=partial(_match, n),
        methods={
            "chi2": METHODS["chi2"],
            # all pairs, whatever the detection probability
            **{name: spanet_method("all", "all") for name in ("spanet", "spanet:all")},
            **(ONLY_TWO if n == 2 else {}),
        },
        collections=("higgs",),
        cuts=cuts,
        particle="Higgs",
        symbol="H",
        most=(MOST, MOST),
        mass_range=(40, 30.0, 230.0),
        jet_bins=(2 * n, 2 * n + 1, 2 * n + 2),
        quantities=_quantities(n),
        regions=MASS_PLANE if n == 2 else {},
        mass_plane=PLANE if n == 2 else None,
        event_columns={"r_hh": _SIGNAL} if n == 2 else {},
        labels={FULL: "full events", SELECTED: "selected events"},
        classifications={"EVENT/signal": _is_signal},
        outputs=("margin", "signal"),
        generated=Generated(asked, _decays, lambda number: f"set analysis: {'h' * number}_resolved"),
    )


def _is_signal(record: ak.Array, is_signal: bool) -> npt.NDArray[np.int64]:
    return np.full(len(record), int(is_signal), dtype=np.int64)


def _decays(record: ak.Array) -> npt.NDArray[np.int64]:
    return counts_of(record.higgs.pt)


def _match(n: int, record: ak.Array, definitions: Collection[str], _: Kept) -> dict[str, Targets]:
    higgs = record.higgs

    def shaped(values: ak.Array) -> FloatArray:
        return flat(values).astype(np.float64).reshape(len(record), n)

    eta, phi = (
        np.stack([shaped(higgs[b][name]) for b in ("b1", "b2")], axis=2).reshape(-1, 2 * n) for name in ("eta", "phi")
    )
    pairs = match_quarks(record.jets, eta, phi, MATCHING_RADIUS).reshape(-1, n, 2)
    return dict.fromkeys(definitions, Targets({KIND: pairs}, shaped(higgs.pt), shaped(higgs.mass)))


def _quantities(n: int) -> tuple[Quantity, ...]:
    """ε against the mass of the jets truly of Higgs bosons, ε_tot against the generated mass, which every event has."""
    name, label = f"{'h' * n}_mass", f"$m_{{{'H' * n}}}$ [GeV]"
    low, high = (250.0, 700.0) if n == 2 else (375.0, 1275.0)

    def true_mass(found: Reconstruction) -> dict[str, FloatArray]:
        jets = found.targets.objects[KIND].reshape(-1, 2 * n)
        return {FULL: invariant_mass(assigned_momentum(found.record.jets, jets))}

    def generated_mass(found: Reconstruction) -> dict[str, FloatArray]:
        higgs = found.record.higgs
        each = cartesian(*(flat(higgs[part]).reshape(-1, n) for part in ("pt", "eta", "phi", "mass")))
        return {SELECTED: invariant_mass(Cartesian(*(component.sum(axis=1) for component in each)))}

    edges = evenly(9, low, high)
    return (
        Quantity(name, f"True pairing {label}", edges, true_mass, form="efficiency"),
        Quantity(f"generated_{name}", f"Generated {label}", edges, generated_mass, form="efficiency"),
    )


ANALYSES = {f"{'h' * n}_resolved": partial(resolved, n) for n in range(2, MOST + 1)}
