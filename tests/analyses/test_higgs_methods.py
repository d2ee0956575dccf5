"""The published pairing of two Higgs bosons, its fault included."""

from itertools import combinations

import numpy as np

from hhh_coffea.analyses import higgs_methods
from hhh_coffea.analyses.higgs import higgs
from hhh_coffea.methods import chi2


def test_published_hh_pairing_shares_jets():
    """Spec §3: 16 triples of different pairs cover four jets; the first two pairs of the best triple may share a jet."""
    pairs = list(combinations(range(4), 2))
    table = np.full((6, 1), 1000.0)
    for pair in ((0, 1), (0, 2), (0, 3)):  # a star around jet 0 is cheapest
        table[pairs.index(pair)] = 0.0
    assert higgs_methods._first_two_of_three(table).tolist() == [[[0, 1], [0, 2]]]


def test_three_higgs_bosons_are_published_as_chi2(demo_record):
    record, kind = demo_record("hhh", 3, 200), higgs(3).kinds["resolved"]
    published = higgs_methods.pairs_as_published(record, kind)
    assert published.to_list() == chi2.reconstruct(record, kind).to_list()


def test_the_published_pairs_are_the_first_two_of_the_best_triple(demo_record):
    """Against the loops of spec §3: a sum over three pairs of the first four jets that together cover them."""
    record, kind = demo_record("hh", 2, 60), higgs(2).kinds["resolved"]
    found = higgs(2).with_columns(higgs_methods.pairs_as_published(record, kind))
    pairs = list(combinations(range(4), 2))
    for jets, event in zip(record.jets.to_list(), found.to_list(), strict=True):
        px, py = (np.array([j["pt"] * f(j["phi"]) for j in jets[:4]]) for f in (np.cos, np.sin))
        pz = np.array([j["pt"] * np.sinh(j["eta"]) for j in jets[:4]])
        energy = np.sqrt(px**2 + py**2 + pz**2 + np.array([j["mass"] for j in jets[:4]]) ** 2)

        def chi2_of(pair, sums=(energy, px, py, pz)):
            e, *p = (component[list(pair)].sum() for component in sums)
            return (np.sqrt(e**2 - sum(x**2 for x in p)) - 125) ** 2

        triples = [t for t in combinations(pairs, 3) if set().union(*t) == set(range(4))]
        assert len(triples) == 16
        best = min(triples, key=lambda t: sum(chi2_of(pair) for pair in t))
        assert [(c["jet1"], c["jet2"]) for c in event] == list(best[:2])
