"""Re-run b tagging: the published check values, rates, and independence of chunks."""

import awkward as ak
import numpy as np
import pytest
from conftest import DEMO

from hhh_coffea.base.arrays import flat
from hhh_coffea.datasets.fileset import DatasetMetadata
from hhh_coffea.events.btagging import efficiency, retag, uniform
from hhh_coffea.events.delphes import read

UUID = "e86fc322-8b0a-4d78-8092-5d56e4e668f7"


@pytest.mark.parametrize(
    ("tagger", "flavor", "pt", "expected"),
    [("upart", 5, 20, 0.749), ("upart", 5, 50, 0.825), ("csv", 5, 100, 0.713), ("csv", 0, 100, 0.0138)],
)
def test_published_check_values(tagger, flavor, pt, expected):
    """Spec §1; the last by hand: 0.01 + 3.8e-5 · 100."""
    assert efficiency(tagger, np.array([flavor]), np.array([float(pt)]))[0] == pytest.approx(expected, abs=6e-4)


def test_flavors_by_hand():
    flavor = np.array([5, -5, 4, 21, 0, 3])
    found = efficiency("upart", flavor, np.full(6, 50.0))
    charm, light = 0.12 / (1 + np.exp(-3.5)), 0.006 / (1 - np.exp(-60 / 80)) + 1.5e-5 * 50
    assert found == pytest.approx([0.85 / (1 + np.exp(-3.5))] * 2 + [charm] + [light] * 3)


def test_stream_is_uniform_and_depends_on_all_three():
    entry, jet = np.repeat(np.arange(20_000), 5), np.tile(np.arange(5), 20_000)
    u = uniform(UUID, entry, jet)
    assert u.min() >= 0
    assert u.max() < 1
    counts, _ = np.histogram(u, 50, (0, 1))
    chi2 = ((counts - 2000) ** 2 / 2000).sum()
    assert 20 < chi2 < 100  # 49 degrees of freedom
    assert abs(np.corrcoef(u[:-1], u[1:])[0, 1]) < 0.02
    other = uniform("e86fc322-8b0a-4d78-8092-5d56e4e668f8", entry, jet)
    assert (other != u).mean() > 0.999
    assert len(np.unique(u)) > 0.999 * len(u)


def test_rate_matches_the_efficiency():
    entry, jet = np.arange(100_000), np.zeros(100_000, dtype=np.int64)
    tags = retag("csv", np.full(100_000, 5), np.full(100_000, 100.0), UUID, entry, jet)
    assert tags.mean() == pytest.approx(0.713, abs=0.006)


def test_tags_do_not_depend_on_chunks(open_delphes):
    metadata = DatasetMetadata(format="delphes", n_higgs=3, btagging="upart")
    whole = read(open_delphes(DEMO / "hhh.root", stop=600), metadata).record
    parts = [read(open_delphes(DEMO / "hhh.root", start=a, stop=b), metadata).record for a, b in ((0, 7), (7, 600))]
    for name in ("btag", "index"):
        assert flat(whole.jets[name]).tolist() == [x for p in parts for x in flat(p.jets[name]).tolist()]
    stored = read(open_delphes(DEMO / "hhh.root", stop=600), metadata.model_copy(update={"btagging": "stored"})).record
    assert flat(stored.jets.btag).mean() == pytest.approx(flat(whole.jets.btag).mean(), abs=0.03)
    assert flat(stored.jets.btag).tolist() != flat(whole.jets.btag).tolist()


def test_another_seed_gives_other_tags_at_the_same_rate(open_delphes):
    tags = []
    for seed in (0, 1, 2):
        metadata = DatasetMetadata(format="delphes", n_higgs=3, btagging="upart", btag_seed=seed)
        jets = read(open_delphes(DEMO / "hhh.root", stop=2000), metadata).record.jets
        tags.append(flat(jets[ak.argsort(jets.index)].btag))
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert tags[a].mean() == pytest.approx(tags[b].mean(), abs=0.01)
        # as different as two throws: of jets with efficiency e, 2 e (1 − e)
        assert 0.15 < (tags[a] != tags[b]).mean() < 0.35
