"""Selection and truth of semi-leptonic tops: equal to an independent slow implementation, and by hand."""

import awkward as ak
import numpy as np
import pytest

from hhh_coffea.analyses import load_analysis, tops_objects, tops_truth
from hhh_coffea.base.arrays import counts_of, flat, padded
from hhh_coffea.reconstruction.analysis import jet_cut, jet_mask


def test_selection_equals_the_reference(sample):
    n_jets, n_btags = counts_of(sample.record.jets.pt), tops_objects.count_btags(sample.record)
    counts = sample.reference["counts"]
    assert len(sample.record) == counts["passing"]
    assert sample.truth.semileptonic.sum() == counts["passing_semileptonic"]
    for values, expected in ((n_jets, "njets_passing"), (n_btags, "nbtags_passing")):
        assert dict(zip(*np.unique(values.astype(str), return_counts=True), strict=True)) == sample.reference[expected]


def test_reconstructable_particles_equal_the_reference(sample):
    n_jets = counts_of(sample.record.jets.pt)
    masks = {name: sample.targets.exists(name)[:, 0] for name in sample.targets.objects}
    every = list(masks.values())
    masks |= {"full": np.logical_and.reduce(every), "any": np.logical_or.reduce(every)}
    masks["selected"] = sample.truth.semileptonic
    for pair in ("ht&lt", "ht&h", "lt&h"):
        if pair in sample.reference["reconstructable_by_njets"]["6"]:
            masks[pair] = np.logical_and(*(masks[name] for name in pair.split("&")))
    for jets, expected in sample.reference["reconstructable_by_njets"].items():
        assert {name: (mask & (n_jets == int(jets))).sum() for name, mask in masks.items()} == expected


def test_matched_jets_of_every_event_equal_the_reference(sample):
    jets = sample.record.jets
    index = padded(flat(jets.index), counts_of(jets.pt), 32, -1)
    matched = np.concatenate([objects[:, 0] for objects in sample.targets.objects.values()], axis=1)
    in_file = np.where(matched >= 0, np.take_along_axis(index, np.maximum(matched, 0), axis=1), -1)
    row_of = {entry: row for row, entry in enumerate(ak.to_numpy(sample.record.id).tolist())}
    for entry, n_jets, expected, *_ in sample.reference["rows"]:
        assert in_file[row_of[entry]].tolist() == expected
        assert len(jets[row_of[entry]]) == n_jets


def make(jets, leptons, met=(30.0,), n=1):
    def objects(events, **more):
        rows = [row for event in events for row in event]
        columns = {name: np.array([row[k] for row in rows], dtype=float) for k, name in enumerate(("pt", "eta"))} | {
            name: np.array([row[2] for row in rows], dtype=int) for name in more
        }
        return ak.unflatten(ak.zip(columns), [len(event) for event in events])

    record = {"jets": objects(jets, btag=True), "leptons": objects(leptons, flavor=True)}
    record["met"] = ak.zip({"pt": np.array(met), "phi": np.zeros(len(met))})
    return ak.zip(record, depth_limit=1)


def all_cuts(record):
    """Masks of the cuts of the analysis of tt̄ on background, by name."""
    analysis = load_analysis("ttbar_semileptonic")
    record = analysis.refine(record)
    jets = {jet_cut(4): jet_mask(record, 4)}
    return {**analysis.cuts(record, False), **jets, **analysis.late_cuts(record, False)}


def test_selection_by_hand():
    """Objects on a threshold are not taken; soft or forward leptons do not veto."""
    good = [(60.0, 0.1, 1), (50.0, -2.4, 1), (40.0, 1.0, 0), (25.1, 2.0, 0)]
    on_threshold = [*good[:3], (25.0, 2.0, 0)]
    forward = [*good[:3], (60.0, 2.5, 0)]
    lepton, soft, muon = (30.0, 0.2, 0), (25.0, 0.2, 1), (26.0, -1.0, 1)
    record = make(
        [good, on_threshold, forward, good, good, [(*j[:2], 0) for j in good], [], good],
        [[lepton], [lepton], [lepton], [lepton, soft], [lepton, muon], [lepton], [lepton], [lepton]],
        (30.0,) * 7 + (np.nan,),
    )
    cuts = all_cuts(record)
    assert {name: np.flatnonzero(~mask).tolist() for name, mask in cuts.items()} == {
        "finite MET": [7],
        "1 lepton": [4],
        "≥ 4 jets": [1, 2, 6],
        "≥ 2 b tags": [5, 6],
    }
    kept = tops_objects.central(record)[[0, 3]]
    assert tops_objects.selected_leptons(kept)["pt"].tolist() == [30, 30]
    with pytest.raises(ValueError, match="several"):
        tops_objects.selected_leptons(record)


@pytest.mark.parametrize("missing", ["leptons", "met"])
def test_a_record_without_leptons_or_met_is_refused_by_name(missing):
    record = make([[]], [[]])
    record = ak.zip({name: record[name] for name in record.fields if name != missing}, depth_limit=1)
    with pytest.raises(KeyError, match=f"needs '{missing}'"):
        all_cuts(record)
    with pytest.raises(KeyError, match="needs 'tops'"):
        tops_truth.truth(record)


def top(decay, number):
    part = {"pt": 1.0 * number, "eta": 0.0, "phi": 0.0, "mass": 0.0}
    return {**part, "decay": decay, **dict.fromkeys(("b", "w", "d1", "d2", "nu_sum"), part)}


def test_semileptonic_by_hand():
    """Exactly two tops, one W to leptons and one to quarks; the order in the record does not matter."""
    events = [
        [top(0, 1), top(11, 2)],
        [top(15, 3), top(0, 4)],
        [top(0, 5), top(0, 6)],
        [top(13, 7), top(11, 8)],
        [top(0, 9), top(-1, 10)],
        [top(0, 11)],
        [top(0, 12), top(13, 13), top(0, 14)],
        [],
    ]
    generated = tops_truth.truth(ak.Array({"tops": events}))
    assert generated.semileptonic.tolist() == [True, True, *[False] * 6]
    assert generated.tau.tolist() == [False, True, *[False] * 6]
    assert generated.flavor.tolist() == [11, 15, *[0] * 6]
    assert generated.particles["ht"]["pt"][:2].tolist() == [1, 4]
    assert generated.particles["lepton"]["pt"][:2].tolist() == [2, 3]
    assert np.isnan(generated.particles["q1"]["pt"][2:]).all()
    assert "h" not in generated.particles
