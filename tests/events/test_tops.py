"""Top quarks of the generator record: copies, decays through τ leptons, records with gaps."""

import awkward as ak
import numpy as np
import pytest
from conftest import DEMO

from hhh_coffea.datasets.fileset import DatasetMetadata
from hhh_coffea.events import delphes
from hhh_coffea.events.nanoaod import reader as nanoaod
from hhh_coffea.events.tops import top_decays


def decays(*events):
    """(pid, mother) lists → decays; pT of a particle is 10 + its position, η its position / 10."""
    counts = np.array([len(event) for event in events])
    rows = [row for event in events for row in event]
    pid, mother = (np.array([row[k] for row in rows], dtype=np.int32) for k in (0, 1))
    position = np.array([k for event in events for k in range(len(event))], dtype=np.float64)
    momenta = {"pt": 10 + position, "eta": position / 10, "phi": position / 100, "mass": 0 * position}
    return top_decays(counts, pid, mother, momenta)


HADRONIC = [(6, -1), (6, 0), (24, 1), (5, 1), (24, 2), (2, 4), (-1, 4)]
LEPTONIC = [(-6, -1), (-24, 0), (-5, 0), (13, 1), (-14, 1)]
TAU = [(6, -1), (24, 0), (5, 0), (-15, 1), (16, 1), (-15, 3), (22, 3), (-11, 5), (12, 5), (-16, 5)]


def test_chain_by_hand():
    """Copies are followed to the last; daughters come in record order."""
    (top,) = decays(HADRONIC)[0].tolist()
    assert (top["pt"], top["pid"], top["decay"]) == (11, 6, 0)
    assert (top["b"]["pt"], top["w"]["pt"], top["d1"]["pt"], top["d2"]["pt"]) == (13, 14, 15, 16)
    assert (top["d1"]["pid"], top["d2"]["pid"]) == (2, -1)
    assert np.isnan(top["nu_sum"]["pt"])
    (top,) = decays(LEPTONIC)[0].tolist()
    assert (top["decay"], top["d1"]["pid"], top["d2"]["pid"]) == (13, 13, -14)
    assert top["nu_sum"] == {name: top["d2"][name] for name in ("pt", "eta", "phi", "mass")}


def test_tau_gives_its_electron_and_the_w_its_neutrino():
    (top,) = decays(TAU)[0].tolist()
    assert (top["decay"], top["d1"]["pid"], top["d2"]["pid"]) == (15, -11, 16)
    assert (top["d1"]["pt"], top["d2"]["pt"]) == (17, 14)
    pt, phi = np.array([14.0, 18, 19]), np.array([0.04, 0.08, 0.09])
    assert top["nu_sum"]["pt"] == pytest.approx(abs((pt * np.exp(1j * phi)).sum()))
    (top,) = decays([row for row in TAU if row[0] not in (-11, 12)])[0].tolist()  # τ → hadrons ν
    assert np.isnan(top["d1"]["pt"])
    assert (top["d1"]["pid"], top["decay"]) == (0, 15)
    pt, phi = np.array([14.0, 17]), np.array([0.04, 0.07])
    assert top["nu_sum"]["pt"] == pytest.approx(abs((pt * np.exp(1j * phi)).sum()))


def test_gaps():
    """No b daughter, no decay, links that lead nowhere, events without particles: nothing is invented."""
    strange = [(3, m) if pid == 5 else (pid, m) for pid, m in HADRONIC]
    result = decays(strange, [], [(6, -1), (5, 99), (24, -1)], [(6, -1), (24, 0)], [(25, -1), (5, 0), (-5, 0)])
    assert ak.num(result).tolist() == [1, 0, 1, 1, 0]
    assert np.isnan(result.b.pt[0, 0])
    assert result.decay[:, :1].tolist() == [[0], [], [-1], [-1], []]
    assert np.isnan(result.w.pt[2, 0])
    assert result.w.pt[3, 0] == 11
    assert np.isnan(result.d1.pt[3, 0])
    assert ak.num(decays([], [])).tolist() == [0, 0]


def test_events_do_not_mix():
    one_by_one = [decays(event)[0].tolist() for event in (HADRONIC, TAU, LEPTONIC, HADRONIC)]
    assert repr(decays(HADRONIC, TAU, LEPTONIC, HADRONIC).tolist()) == repr(one_by_one)


def test_delphes_with_its_whole_record_and_without_truth(open_delphes):
    metadata = DatasetMetadata(format="delphes", n_higgs=1)
    events = open_delphes(DEMO / "hhh.root", stop=20)
    assert ak.sum(ak.num(delphes.read(events, metadata, (), ("tops",)).record.tops)) == 0  # HHH has none
    background = DatasetMetadata(format="delphes", n_higgs=1, is_signal=False)
    assert "tops" not in delphes.read(events, background, (), ("tops",)).record.fields


@pytest.mark.parametrize(("version", "leptonic"), [(12, [1]), (15, [0])])
def test_nanoaod(open_nanoaod, shared_dir, version, leptonic):
    """Simulated tt̄: two tops an event, W bosons on their mass, momentum conserved; v12 is semi-leptonic, v15 hadronic."""
    metadata = DatasetMetadata(format="nanoaod", n_higgs=1)
    only = set(nanoaod.branches(metadata, (), ("tops",)))
    events = open_nanoaod(shared_dir / f"data/nanoaod/tt_v{version}.root", only=only)
    tops = nanoaod.read(events, metadata, (), collections=("tops",)).record.tops
    assert set(ak.num(tops).tolist()) == {2}
    assert set(ak.sum(tops.decay > 0, axis=1).tolist()) == set(leptonic)
    assert ak.mean(abs(tops.w.mass - 80.4) < 10) > 0.9
    whole = ak.flatten(tops[tops.decay == 0])

    def momentum(part):
        return np.stack([part.pt * np.cos(part.phi), part.pt * np.sin(part.phi), part.pt * np.sinh(part.eta)])

    # the last copy of W and its daughters, in the 10 bits of NanoAOD
    miss = np.linalg.norm(momentum(whole.w) - momentum(whole.d1) - momentum(whole.d2), axis=0)
    assert np.median(miss / np.linalg.norm(momentum(whole.w), axis=0)) < 0.01


def test_a_ring_of_copies_in_a_damaged_record_ends():
    """Of two top quarks that are each other's mother, neither is a last copy."""
    assert len(decays([(6, 1), (6, 0), (24, 1), (5, 1)])[0]) == 0
    assert len(decays([(6, 0), (24, 0), (5, 0)])[0]) == 1
    (top,) = decays([(6, -1), (24, 0), (24, 3), (24, 2), (5, 0)])[0].tolist()
    assert (top["b"]["pt"], top["decay"]) == (14, -1)
