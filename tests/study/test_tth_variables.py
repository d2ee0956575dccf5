"""Event variables of ttH against explicit loops over pairs (spec: exact test 6), and what must not change them."""

from __future__ import annotations

import math

import awkward as ak
import numpy as np
import pytest
from conftest import DEMO, open_file

from hhh_coffea.analyses import load_analysis
from hhh_coffea.datasets.fileset import DatasetMetadata
from hhh_coffea.events import delphes
from hhh_coffea.methods.neutrino import W_MASS
from hhh_coffea.reconstruction.prepare import prepare
from hhh_coffea.study.tth.variables import EVENT_VARIABLES, METHOD_VARIABLES, event_variables, method_variables

EVENTS = 100


@pytest.fixture(scope="module")
def record():
    analysis = load_analysis("tth_semileptonic")
    events = open_file("Delphes", delphes.SCHEMA, DEMO / "tth.root", stop=150)
    metadata = DatasetMetadata(format="delphes", analysis=analysis.name)
    found = prepare(events, metadata, analysis, ("default",)).record[:EVENTS]
    assert len(found) == EVENTS
    return ak.to_packed(found)


@pytest.fixture(scope="module")
def objects(record):
    """Jets by position, different from event to event, all distinct."""
    random = np.random.default_rng(1)
    order = np.array([random.permutation(n)[:6] for n in ak.num(record.jets.pt)])
    return {"ht": order[:, :3], "lt": order[:, 3:4], "h": order[:, 4:6]}


class Vector:
    """A four-vector in plain Python."""

    def __init__(self, e, x, y, z):
        self.e, self.x, self.y, self.z = e, x, y, z

    @classmethod
    def of(cls, one):
        pt, eta, phi, mass = (float(one[name]) for name in ("pt", "eta", "phi", "mass"))
        x, y, z = pt * math.cos(phi), pt * math.sin(phi), pt * math.sinh(eta)
        return cls(math.sqrt(x * x + y * y + z * z + mass * mass), x, y, z)

    def __add__(self, other):
        return Vector(self.e + other.e, self.x + other.x, self.y + other.y, self.z + other.z)

    @property
    def pt(self):
        return math.hypot(self.x, self.y)

    @property
    def eta(self):
        return math.asinh(self.z / self.pt)

    @property
    def mass(self):
        return math.sqrt(max(0.0, self.e**2 - self.x**2 - self.y**2 - self.z**2))

    def delta_r(self, other):
        phi = math.atan2(self.y, self.x) - math.atan2(other.y, other.x)
        return math.hypot(self.eta - other.eta, math.remainder(phi, 2 * math.pi))


def loops(event, lepton_pair):
    """The formulas of the paper's Supplementary Table 2, one event, double loops."""
    jets = [Vector.of(jet) for jet in event.jets]
    tagged = [Vector.of(jet) for jet in event.jets if jet.btag > 0]
    lepton = Vector.of({**{n: event.leptons[0][n] for n in ("pt", "eta", "phi")}, "mass": 0.0})

    def pairs(some):
        return [(some[i], some[j]) for i in range(len(some)) for j in range(i + 1, len(some))]

    found = {"ht_hadronic": sum(jet.pt for jet in jets)}
    bb, jj = pairs(tagged), pairs(jets)
    found["delta_r_bb_average"] = sum(a.delta_r(b) for a, b in bb) / len(bb)
    hardest = max(bb, key=lambda pair: (pair[0] + pair[1]).pt)
    found["delta_r_bb_max_pt"] = hardest[0].delta_r(hardest[1])
    found["delta_eta_jj_max"] = max(abs(a.eta - b.eta) for a, b in jj)
    for name, some in (("bb", bb), ("jj", jj)):
        a, b = min(some, key=lambda pair: pair[0].delta_r(pair[1]))
        found[f"mass_{name}_min_delta_r"] = (a + b).mass
    found["n_bb_higgs_30"] = sum(abs((a + b).mass - 125) < 30 for a, b in bb)
    nearest = min(bb, key=lambda pair: pair[0].delta_r(pair[1]))
    to_lepton = [lepton.delta_r(a + b) for a, b in bb]
    found["delta_r_lepton_bb_min"] = (
        min(to_lepton) if lepton_pair == "nearest_lepton" else lepton.delta_r(nearest[0] + nearest[1])
    )
    return found


def loops_of_method(event, ht, lt, h):
    jets = [Vector.of(jet) for jet in event.jets]
    lepton = Vector.of({**{n: event.leptons[0][n] for n in ("pt", "eta", "phi")}, "mass": 0.0})
    met, phi = float(event.met.pt), float(event.met.phi)
    x, y = met * math.cos(phi), met * math.sin(phi)
    mu = W_MASS**2 / 2 + lepton.x * x + lepton.y * y
    discriminant = mu**2 - lepton.pt**2 * met**2
    spread = lepton.e * math.sqrt(max(discriminant, 0)) / lepton.pt**2
    z = min((mu * lepton.z / lepton.pt**2 + sign * spread for sign in (1, -1)), key=abs)
    neutrino = Vector(math.sqrt(x * x + y * y + z * z), x, y, z)
    higgs, leptonic = jets[h[0]] + jets[h[1]], jets[lt[0]] + lepton + neutrino
    hadronic = jets[ht[0]] + jets[ht[1]] + jets[ht[2]]
    return {
        "mass_bb_higgs": higgs.mass,
        "mass_higgs_b_leptonic_top": (higgs + jets[lt[0]]).mass,
        "delta_r_bb_higgs": jets[h[0]].delta_r(jets[h[1]]),
        "delta_r_higgs_ttbar": higgs.delta_r(hadronic + leptonic),
        "delta_r_higgs_leptonic_top": higgs.delta_r(leptonic),
        "delta_r_higgs_b_hadronic_top": higgs.delta_r(jets[ht[0]]),
    }


@pytest.mark.parametrize("lepton_pair", ["nearest_lepton", "nearest_jets"])
def test_event_variables_are_those_of_loops(record, lepton_pair):
    found = event_variables(record, lepton_pair)
    assert tuple(found) == EVENT_VARIABLES
    expected = [loops(event, lepton_pair) for event in record]
    for name, values in found.items():
        np.testing.assert_allclose(values, [event[name] for event in expected], rtol=1e-6, err_msg=name)


def test_method_variables_are_those_of_loops(record, objects):
    found = method_variables(record, objects)
    assert tuple(found) == METHOD_VARIABLES
    chosen = zip(record, objects["ht"], objects["lt"], objects["h"], strict=True)
    expected = [loops_of_method(*event) for event in chosen]
    for name, values in found.items():
        np.testing.assert_allclose(values, [event[name] for event in expected], rtol=1e-6, err_msg=name)


def turned(record, angle=0.0, reflect_x=False, reflect_z=False):
    """The events rotated about the beam, then mirrored."""

    def azimuth(phi):
        new = np.pi - (phi + angle) if reflect_x else phi + angle
        return np.arctan2(np.sin(new), np.cos(new))

    fields = {name: record[name] for name in record.fields}
    for name in ("jets", "leptons"):
        some = record[name]
        some = some[
            [field for field in some.fields if field not in ("energy", "px", "py", "pz")]
        ]  # of the old directions
        some = ak.with_field(some, azimuth(ak.values_astype(some.phi, np.float64)), "phi")
        fields[name] = ak.with_field(some, -some.eta if reflect_z else some.eta, "eta")
    fields["met"] = ak.with_field(record.met, azimuth(ak.values_astype(record.met.phi, np.float64)), "phi")
    return ak.zip(fields, depth_limit=1)


@pytest.mark.parametrize(
    "change",
    [{"angle": 2.0}, {"reflect_x": True}, {"reflect_z": True}, {"angle": -1.0, "reflect_x": True, "reflect_z": True}],
)
def test_rotations_and_reflections_change_nothing(record, objects, change):
    other = turned(record, **change)
    for before, after in (
        (event_variables(record), event_variables(other)),
        (method_variables(record, objects), method_variables(other, objects)),
    ):
        for name, values in before.items():
            np.testing.assert_allclose(after[name], values, rtol=1e-5, atol=1e-5, err_msg=name)


def test_order_of_jets_changes_nothing(record, objects):
    random = np.random.default_rng(2)
    counts = ak.to_numpy(ak.num(record.jets.pt))
    order = ak.unflatten(np.concatenate([random.permutation(n) for n in counts]), counts)
    place = [np.argsort(np.asarray(event)) for event in order]  # where each jet went
    moved = {k: np.array([p[o] for p, o in zip(place, v, strict=True)]) for k, v in objects.items()}
    other = ak.with_field(record, ak.to_packed(record.jets[order]), "jets")
    for before, after in (
        (event_variables(record), event_variables(other)),
        (method_variables(record, objects), method_variables(other, moved)),
    ):
        for name, values in before.items():
            np.testing.assert_allclose(after[name], values, rtol=1e-9, err_msg=name)


def test_without_pairs_and_candidates(record, objects):
    untagged = ak.with_field(record, ak.with_field(record.jets, ak.zeros_like(record.jets.btag), "btag"), "jets")
    found = event_variables(untagged)
    assert np.isnan(found["delta_r_bb_average"]).all()
    assert np.isnan(found["mass_bb_min_delta_r"]).all()
    assert (found["n_bb_higgs_30"] == 0).all()
    assert np.isfinite(found["mass_jj_min_delta_r"]).all()
    none = {**objects, "h": np.full((EVENTS, 2), -1)}
    assert all(np.isnan(values).all() for values in method_variables(record, none).values())
    empty = method_variables(record[:0], {name: o[:0] for name, o in objects.items()}) | event_variables(record[:0])
    assert all(len(values) == 0 for values in empty.values())


def test_a_tie_goes_to_the_first_pair(record):
    """Four b jets in a square: of the pairs as near as each other the first in the order of the record counts."""
    jets = ak.zip(
        {
            "pt": [[50.0, 60.0, 70.0, 80.0]],
            "eta": [[0.0, 1.0, 1.0, 0.0]],
            "phi": [[0.0, 0.0, 1.0, 1.0]],
            "mass": [[5.0, 5.0, 5.0, 5.0]],
            "btag": [[1, 1, 1, 1]],
        }
    )
    one = ak.zip({"jets": jets, "leptons": record.leptons[:1], "met": record.met[:1]}, depth_limit=1)
    first = Vector.of(jets[0][0]) + Vector.of(jets[0][1])
    assert event_variables(one)["mass_bb_min_delta_r"][0] == pytest.approx(first.mass)
