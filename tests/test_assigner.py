"""The network in a processor that is not ours."""

import awkward as ak
import numpy as np
import pytest
from coffea.nanoevents import DelphesSchema
from coffea.processor import IterativeExecutor, ProcessorABC, Runner
from conftest import DEMO, REPOSITORY

from hhh_coffea.assigner import Assigner
from hhh_coffea.base.errors import UserError
from hhh_coffea.lazy import event_record, open_events, reconstruct

torch = pytest.importorskip("torch")
MODEL = REPOSITORY / "models" / "spanet_hh"


@pytest.fixture(scope="module")
def record():
    return event_record(open_events("demo", "HH", mode="virtual"), ["spanet"], device="cpu")


@pytest.mark.parametrize(("decoding", "method"), [("joint", "spanet:joint"), ("all", "spanet:all")])
def test_it_gives_what_the_main_job_gives(record, decoding, method):
    found = Assigner(MODEL, decoding, device="cpu")(record.jets, record.fatjets)
    candidates = reconstruct(open_events("demo", "HH", mode="virtual"), method, model=str(MODEL), device="cpu")
    for own, theirs in zip(found.objects[:300].tolist(), candidates[:300].tolist(), strict=True):
        expected = {(c["jet1"], c["jet2"]) if c["fatjet"] < 0 else (c["fatjet"],) for c in theirs}
        assert {tuple(sorted(objects)) for objects in own} - {()} == expected
    ap = ak.sort(ak.flatten(candidates.assignment_probability))
    chosen = ak.to_numpy(ak.num(found.objects, axis=2)) > 0
    np.testing.assert_allclose(np.sort(ak.to_numpy(found.assignment_probability)[chosen]), ap, atol=1e-5)


def test_all_gives_two_disjoint_pairs_to_every_event(record):
    found = Assigner(MODEL, device="cpu")(record.jets, record.fatjets)
    pairs = ak.to_numpy(found.objects[:, :2])  # two in each
    assert (np.diff(np.sort(pairs.reshape(len(pairs), 4), axis=1), axis=1) > 0).all()
    assert np.isfinite(ak.to_numpy(found.margin)).all()


def test_order_names_and_number_of_jets_are_the_users(record):
    """Shuffled jets under another name for the tag: the same pairs, at the new positions; 4 and 9 jets work, and none."""
    assign = Assigner(MODEL, device="cpu")
    plain = assign(record.jets, record.fatjets)
    order = ak.argsort(record.jets.phi, axis=1)
    shuffled = record.jets[order]
    shuffled = ak.with_field(ak.without_field(shuffled, "btag"), shuffled.btag, "tag")
    other = Assigner(MODEL, device="cpu", names={"tag": "btag"})(shuffled, record.fatjets)
    for before, after, place in zip(
        plain.objects[:200].tolist(), other.objects[:200].tolist(), order[:200].tolist(), strict=True
    ):
        assert {frozenset(pair) for pair in before[:2]} == {frozenset(place[j] for j in pair) for pair in after[:2]}
    for n in (4, 9):
        few = record.jets[:, :n]
        found = assign(few[:50], record.fatjets[:50])
        assert ak.all(ak.max(ak.flatten(found.objects[:, :2], axis=2), axis=1) < ak.num(few[:50].pt))
    assert len(assign(record.jets[:0], record.fatjets[:0])) == 0


def test_what_is_missing_is_named(record):
    assign = Assigner(MODEL, device="cpu")
    with pytest.raises(UserError, match=r"takes fatjets: call it with fatjets="):
        assign(record.jets)
    with pytest.raises(UserError, match=r"takes 'btag' of jets, and they have no field 'btag'"):
        assign(ak.without_field(record.jets, "btag"), record.fatjets)
    with pytest.raises(UserError, match="no decoding 'best'"):
        Assigner(MODEL, "best")


class Theirs(ProcessorABC):
    """A processor that knows nothing of this package but the assigner."""

    def process(self, events):
        jets = ak.zip(
            {
                n: events.Jet[b]
                for n, b in (("pt", "PT"), ("eta", "Eta"), ("phi", "Phi"), ("mass", "Mass"), ("btag", "BTag"))
            }
        )
        jets = jets[(jets.pt > 25) & (abs(jets.eta) < 2.5)]
        jets = jets[ak.num(jets) >= 4]
        found = Assigner(REPOSITORY / "models" / "spanet_hh_resolved", device="cpu")(jets)
        index = found.objects
        first, second = (jets[index[:, target]] for target in (0, 1))
        return {"events": len(jets), "pairs": int(ak.count(first.pt) + ak.count(second.pt)) // 2}

    def postprocess(self, accumulator):
        return accumulator


def test_inside_a_plain_coffea_runner():
    fileset = {"HH": {"files": {str(DEMO / "hh.root"): "Delphes"}}}
    run = Runner(IterativeExecutor(), schema=DelphesSchema, chunksize=1500, savemetrics=False, metadata_cache={})
    out = run(fileset, Theirs(), treename="Delphes")
    out = out[0] if isinstance(out, tuple) else out
    assert out["events"] > 1000
    assert out["pairs"] == 2 * out["events"]


def test_a_missing_field_is_told_with_those_like_it(record):
    many = ak.zip({f"column{i}": record.jets.pt for i in range(80)} | {"btagPNetB": record.jets.btag})
    jets = ak.without_field(record.jets, "btag")
    for name in many.fields:
        jets = ak.with_field(jets, many[name], name)
    with pytest.raises(UserError, match="btagPNetB") as told:
        Assigner(MODEL, device="cpu")(jets[:5], record.fatjets[:5])
    assert "others" in str(told.value)
    assert len(str(told.value)) < 300
