"""The list of jets of a resolved CMS analysis, against plain loops over the columns of the file."""

import awkward as ak
import numpy as np
import pytest
import uproot
from nanoaod_writer import write_nanoaod

from hhh_coffea.datasets.fileset import DatasetMetadata
from hhh_coffea.datasets.nanoaod_options import JetList
from hhh_coffea.events.nanoaod import reader
from hhh_coffea.reconstruction.observables import in_regions

PNET = {"2022": (0.0470, 0.2450, 0.6734, 0.7862, 0.961), "2022EE": (0.0499, 0.2605, 0.6915, 0.8033, 0.9664)}
LADDER, MEAN = [80.0, 60.0, 45.0, 35.0], 0.65


def metadata(year):
    return DatasetMetadata.model_validate(
        {
            "format": "nanoaod",
            "analysis": "hh_resolved",
            "is_signal": False,
            "selection": {"jet_pt_min": 25, "jet_abs_eta_max": 2.5, "max_jets": 5},
            "nanoaod": {
                "version": 12,
                "year": year,
                "tagger": "PNetB",
                "use_regressed_pt": True,
                "jet_id": "none",
                "jets": {
                    "threshold_pt": "unregressed",
                    "by_score": 4,
                    "pt_ladder": LADDER,
                    "mean_score": {"jets": 2, "above": MEAN},
                },
            },
        }
    )


@pytest.fixture(scope="module", params=["tt", "hh"])
def file(request, tmp_path_factory, shared_dir):
    if request.param == "tt":
        return shared_dir / "data/nanoaod/tt_v12.root", 200
    return write_nanoaod(
        shared_dir / "data/delphes/hh_train_00.root", tmp_path_factory.mktemp("nano") / "hh.root", 12, 2000
    ), 2000


@pytest.mark.parametrize("year", PNET)
def test_the_list_is_that_of_plain_loops(file, year, open_nanoaod):
    path, n = file
    record = reader.read(open_nanoaod(path, stop=n), metadata(year), collections=()).record
    with uproot.open(path) as opened:
        leaves = ("pt", "eta", "btagPNetB", "rawFactor", "PNetRegPtRawCorr", "PNetRegPtRawCorrNeutrino")
        table = opened["Events"].arrays([f"Jet_{leaf}" for leaf in leaves], entry_stop=n)
    assert len(record) == len(table) == n
    cuts = {name: ak.to_numpy(record.cuts[name]) for name in record.cuts.fields}
    for event in range(n):
        pt, eta, score, raw, factor, neutrino = (np.asarray(table[f"Jet_{leaf}"][event]) for leaf in leaves)
        kept = [j for j in range(len(pt)) if pt[j] >= 25 and abs(eta[j]) <= 2.5]
        regression = factor.astype(float) * neutrino * (1 - raw)
        regressed = (pt * np.where(regression > 0, regression, 1)).astype(pt.dtype)
        by_score = sorted(kept, key=lambda j: -score[j])
        expected = by_score[:4] + sorted(by_score[4:], key=lambda j: -regressed[j])
        jets = record.jets[event]
        assert jets.index.tolist() == expected
        assert jets.pt.tolist() == pytest.approx(regressed[expected], rel=1e-5)
        assert jets.btag_wp5.tolist() == [sum(score[j] > point for point in PNET[year]) for j in expected]
        assert jets.btag_wp3.tolist() == [sum(score[j] > point for point in PNET[year][:3]) for j in expected]
        highest = sorted((pt[j] for j in kept), reverse=True)
        ladder = len(highest) >= 4 and all(value > limit for value, limit in zip(highest, LADDER, strict=False))
        assert cuts["jets above 80, 60, 45, 35 GeV"][event] == ladder
        best = sorted((float(score[j]) for j in kept), reverse=True)[:2]
        assert cuts["mean of 2 b scores > 0.65"][event] == (len(best) == 2 and sum(best) / 2 > MEAN)


def test_categories_of_b_tags(file, open_nanoaod):
    """4b: third and fourth score above medium; 2b: both below; as regions, against the scores of the file."""
    path, n = file
    record = reader.read(open_nanoaod(path, stop=n), metadata("2022EE"), collections=()).record
    record = record[ak.num(record.jets) >= 4]
    medium = PNET["2022EE"][1]
    with uproot.open(path) as opened:
        scores = opened["Events"]["Jet_btagPNetB"].array(entry_stop=n)[ak.to_numpy(record.id)]
    third, fourth = (ak.to_numpy(scores[record.jets.index][:, place]) for place in (2, 3))
    tags = {
        "4b": "jets.btag_wp3[2] >= 2 and jets.btag_wp3[3] >= 2",
        "2b": "jets.btag_wp3[2] < 2 and jets.btag_wp3[3] < 2",
    }
    found = in_regions(tags, {"candidates": np.zeros(len(record)), "jets": record.jets})
    np.testing.assert_array_equal(found["4b"], (third > medium) & (fourth > medium))
    np.testing.assert_array_equal(found["2b"], (third <= medium) & (fourth <= medium))
    assert found["4b"].any()
    assert found["2b"].any()


def test_ordinals_follow_the_year(shared_dir, open_nanoaod):
    path = shared_dir / "data/nanoaod/tt_v12.root"
    one, other = (reader.read(open_nanoaod(path), metadata(year), collections=()).record.jets for year in PNET)
    assert ak.all(one.index == other.index)
    assert not ak.all(one.btag_wp5 == other.btag_wp5)


def test_a_ladder_falls():
    with pytest.raises(ValueError, match="must fall"):
        JetList.model_validate({"pt_ladder": [35, 45]})
