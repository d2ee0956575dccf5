"""Jets scaled before the selection: momentum is conserved, and selection and methods see the scaled jets."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest
from conftest import REPOSITORY, open_file

from hhh_coffea.analyses import load_analysis
from hhh_coffea.analyses.tops_jet_scale import scaled_jets, with_jet_scale
from hhh_coffea.base.arrays import flat
from hhh_coffea.datasets.fileset import DatasetMetadata
from hhh_coffea.events import delphes
from hhh_coffea.reconstruction.prepare import prepare

METADATA = DatasetMetadata(format="delphes", analysis="ttbar_semileptonic")


@pytest.fixture(scope="module")
def events():
    return open_file("Delphes", delphes.SCHEMA, REPOSITORY / "fileset" / "demo" / "ttbar.root")


@pytest.fixture(scope="module")
def record(events):
    return delphes.read(events, METADATA, collections=load_analysis("ttbar_semileptonic").collections).record


def components(pt, phi):
    return ak.to_numpy(pt * np.cos(phi)), ak.to_numpy(pt * np.sin(phi))


@pytest.mark.parametrize("factor", [0.96, 1.04])
def test_jets_are_scaled_and_the_transverse_momentum_stays(record, factor):
    scaled = scaled_jets(record, factor)
    for name in ("pt", "mass"):
        np.testing.assert_allclose(flat(scaled.jets[name]), factor * flat(record.jets[name]), rtol=1e-6)
    for name in ("eta", "phi", "btag", "index"):
        np.testing.assert_array_equal(flat(scaled.jets[name]), flat(record.jets[name]))
    before, after = (
        np.array(components(r.met.pt, r.met.phi))
        + np.array(
            [
                ak.to_numpy(ak.sum(part, axis=1))
                for part in (r.jets.pt * np.cos(r.jets.phi), r.jets.pt * np.sin(r.jets.phi))
            ]
        )
        for r in (record, scaled)
    )
    np.testing.assert_allclose(after, before, atol=1e-3)
    added = (factor - 1) * ak.to_numpy(ak.sum(record.jets.pt, axis=1))
    np.testing.assert_allclose(scaled.sum_et - record.sum_et, added, rtol=1e-4, atol=1e-3)


def test_scaling_back_gives_the_record(record):
    back = scaled_jets(scaled_jets(record, 1.04), 1 / 1.04)
    np.testing.assert_allclose(ak.to_numpy(back.met.pt), ak.to_numpy(record.met.pt), atol=1e-3)
    np.testing.assert_allclose(flat(back.jets.pt), flat(record.jets.pt), rtol=1e-6)


def test_the_selection_sees_the_scaled_jets(events):
    analysis = load_analysis("ttbar_semileptonic")

    def chosen(factor, threshold):
        return prepare(events, METADATA, with_jet_scale(analysis, factor, threshold), ["default"]).record

    low, one, high = (chosen(factor, 26.0) for factor in (0.96, 1.0, 1.04))
    assert len(low) < len(one) < len(high)
    for record in (low, one, high):
        assert (np.asarray(flat(record.jets.pt)) > 26).all()
    # 26 / 1.04 is the cut of the sample: no event is lost
    assert len(high) == len(prepare(events, METADATA, analysis, ["default"]).record)
    # a jet is selected at 0.96 if it is at 1 above 26 / 0.96
    both = np.isin(ak.to_numpy(low.id), ak.to_numpy(one.id))
    assert np.asarray(both).all()


def test_without_a_factor_nothing_changes(events):
    analysis = load_analysis("ttbar_semileptonic")
    plain, scaled = (
        prepare(events, METADATA, a, ["default"]).record for a in (analysis, with_jet_scale(analysis, 1.0))
    )
    assert ak.to_list(plain.jets.pt) == ak.to_list(scaled.jets.pt)
    assert ak.to_list(plain.met.pt) == ak.to_list(scaled.met.pt)
