"""The shipped networks of semi-leptonic tops on the bundled sample: whole assignments, their columns, beside χ²."""

import awkward as ak
import numpy as np
import pytest
from conftest import DEMO

torch = pytest.importorskip("torch")

from hhh_coffea.analyses import load_analysis  # noqa: E402
from hhh_coffea.base.arrays import counts_of, flat  # noqa: E402
from hhh_coffea.datasets.fileset import DatasetMetadata  # noqa: E402
from hhh_coffea.methods import method_options, reconstruct  # noqa: E402
from hhh_coffea.reconstruction.prepare import prepare  # noqa: E402
from hhh_coffea.results.assignment_efficiency import efficiencies, of_method  # noqa: E402

METHODS = ("chi2", "spanet", "spanet:greedy")


@pytest.fixture(scope="module", params=["ttbar", "tth"])
def run(request):
    """Analysis, selected events, candidates by method."""
    from conftest import open_file

    from hhh_coffea.events import delphes

    analysis = load_analysis(f"{request.param}_semileptonic")
    metadata = DatasetMetadata(format="delphes", analysis=analysis.name)
    events = open_file("Delphes", delphes.SCHEMA, DEMO / f"{request.param}.root")
    prepared = prepare(events, metadata, analysis, ("default",))
    options = method_options(METHODS, device="cpu")
    return analysis, prepared, reconstruct({"default": METHODS}, prepared.record, analysis, options)["default"], options


def test_every_particle_gets_jets_and_no_jet_is_taken_twice(run):
    analysis, prepared, found, _ = run
    n_jets = counts_of(prepared.record.jets.pt)
    for name in ("spanet", "spanet:greedy"):
        candidates = found[name]
        assert (counts_of(candidates.kind) == len(analysis.kinds)).all()
        jets = flat(candidates.objects).reshape(len(n_jets), -1)
        taken = np.sort(jets, axis=1)
        assert (taken[:, -analysis.jets_needed :] >= 0).all()  # others are −1: daughters that a target does not have
        assert (taken.max(axis=1) < n_jets).all()
        assert not ((taken[:, 1:] == taken[:, :-1]) & (taken[:, 1:] >= 0)).any()


def test_it_is_right_more_often_than_chi2(run):
    analysis, prepared, found, _ = run
    share = {}
    for name, candidates in found.items():
        result = analysis.evaluate(candidates, prepared.targets["default"], "default")
        share[name] = efficiencies(of_method(analysis, prepared.record, result))["full"]["all"]["event"]["value"]
    assert share["spanet"] > share["chi2"] + 0.03


def test_what_the_network_says_besides(run):
    """One value for all candidates of an event, but for the entropy; χ² has none of them."""
    analysis, prepared, found, _ = run
    candidates = found["spanet"]
    marginal = candidates.assignment_probability * candidates.detection_probability
    np.testing.assert_allclose(candidates.event_score[:, 0], ak.sum(np.log(marginal), axis=1), rtol=1e-4)
    entropy = flat(candidates.assignment_entropy)
    assert entropy.min() >= 0
    n = counts_of(prepared.record.jets.pt)
    most = {"ht": np.log(n * (n - 1) * (n - 2) / 2), "lt": np.log(n), "h": np.log(n * (n - 1) / 2)}
    for kind in analysis.kinds.values():
        own = candidates[candidates.kind == kind.number]
        assert (flat(own.assignment_entropy) <= most[kind.name] + 1e-4).all()
    eta = candidates.neutrino_eta
    assert ak.all(eta == eta[:, 0])
    assert np.isfinite(flat(eta)).all()
    assert ("signal" in candidates.fields) == ("h" in analysis.kinds)
    if "signal" in candidates.fields:
        assert ak.all((candidates.signal >= 0) & (candidates.signal <= 1))
    for name in (n for n in analysis.outputs if n != "score"):
        assert np.isnan(flat(found["chi2"][name])).all()
    assert np.isfinite(flat(found["chi2"]["score"])).all()  # −χ²


def test_regressed_neutrino_is_nearer_than_that_of_the_w_mass(run):
    from hhh_coffea.analyses.tops_kinematics import leptonic_w
    from hhh_coffea.analyses.tops_truth import truth
    from hhh_coffea.base.kinematics import polar

    _, prepared, found, _ = run
    generated = truth(prepared.record)
    true = generated.particles["neutrino"]["eta"]
    by_mass = polar(leptonic_w(prepared.record)[1])[1]
    regressed = ak.to_numpy(found["spanet"].neutrino_eta[:, 0])
    use = ~generated.tau
    spread = {name: np.sqrt(np.mean((x - true)[use] ** 2)) for name, x in (("w", by_mass), ("network", regressed))}
    assert spread["network"] < 0.9 * spread["w"]


def test_an_event_alone_gets_the_same(run):
    analysis, prepared, found, options = run
    part = reconstruct({"default": ["spanet"]}, prepared.record[100:130], analysis, options)["default"]["spanet"]
    whole = found["spanet"][100:130]
    assert part.objects.tolist() == whole.objects.tolist()
    for name in ("assignment_probability", "neutrino_eta", "assignment_entropy"):
        np.testing.assert_allclose(flat(part[name]), flat(whole[name]), atol=1e-4)


def test_the_assigner_takes_leptons_and_met(run):
    from hhh_coffea.assigner import Assigner
    from hhh_coffea.base.errors import UserError

    analysis, prepared, found, _ = run
    record = prepared.record[:50]
    assign = Assigner("spanet_tth" if "h" in analysis.kinds else "spanet_ttbar", device="cpu")
    assigned = assign(record.jets, leptons=record.leptons, met=record.met)
    for target, name in enumerate(assign.targets):
        own = found["spanet"][:50]
        own = own[own.kind == analysis.kinds[name].number]
        expected = [[i for i in event[0] if i >= 0] for event in own.objects.tolist()]
        assert [sorted(event[target]) for event in assigned.objects.tolist()] == [sorted(e) for e in expected]
    with pytest.raises(UserError, match="takes leptons: call it with leptons="):
        assign(record.jets)
