"""The permutation network: the first layer without gathering, counts by hand, invariances, and what it sees of real events."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import torch
from tops_samples import load

from hhh_coffea.analyses import load_analysis
from hhh_coffea.base.arrays import counts_of
from hhh_coffea.methods.pdnn import PdnnModel, assign, load_model, reconstruct
from hhh_coffea.methods.pdnn.inputs import EVENT, JET, Events, Layout, events_of
from hhh_coffea.methods.pdnn.model import save_model
from hhh_coffea.methods.pdnn.network import NetworkOptions, PermutationNetwork, table
from hhh_coffea.topology.topology import Topology

TTBAR, TTH = (load_analysis(f"{name}_semileptonic").topology for name in ("ttbar", "tth"))
HADRONIC = Topology.bundled("ttbar")  # two equal top quarks: an event symmetry
EVENTS = 300


def network_of(topology: Topology, masses: bool, seed: int = 1, hidden: int = 16) -> PermutationNetwork:
    """An untrained network, with a standardisation that is not the identity."""
    torch.manual_seed(seed)
    network = PermutationNetwork(Layout.of(topology, masses), NetworkOptions(hidden=hidden, layers=3, masses=masses))
    network.mean.uniform_(-1, 1)
    network.std.uniform_(0.5, 2)
    return network.eval().requires_grad_(False)


def model_of(topology: Topology, folder: Path, masses: bool = True) -> PdnnModel:
    save_model(folder, network_of(topology, masses), topology.text, 8, {}, "# untrained\n")
    return load_model(folder, "cpu")


def random_events(n: int, jets: int, seed: int = 3) -> Events:
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=g)

    p, lepton = normal(n, jets, 3) * 50, normal(n, 2, 3) * 50
    return Events(
        normal(n, jets, len(JET)),
        torch.cat([(p.square().sum(-1, keepdim=True) + 25).sqrt(), p], -1),
        normal(n, len(EVENT)),
        torch.cat([lepton.norm(dim=-1, keepdim=True), lepton], -1),
        torch.full((n,), jets),
        torch.arange(jets).expand(n, -1),
    )


def double(events: Events) -> Events:
    floats = {name: getattr(events, name).double() for name in ("jets", "momenta", "event", "lepton")}
    return replace(events, **floats)


@pytest.fixture(scope="module")
def record(shared_dir: Path) -> ak.Array:
    return load(shared_dir, "tt_test").record[:EVENTS]


@pytest.mark.parametrize("masses", [False, True])
@pytest.mark.parametrize(("topology", "jets"), [(TTBAR, 4), (TTBAR, 6), (TTH, 6), (TTH, 7), (HADRONIC, 7)])
def test_first_layer_equals_the_gathered_form(topology: Topology, jets: int, masses: bool) -> None:
    """Sums of projections against the inputs of every permutation written out: to the last digits, in both precisions."""
    network, events = network_of(topology, masses), random_events(5, jets)
    objects = table(network.layout, jets, torch.device("cpu")).objects.expand(5, -1, -1)
    for precision, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        network = network.to(precision)
        here = double(events) if precision == torch.float64 else events
        inputs = network.layout.gathered(here, objects)
        assert inputs.shape[2] == network.layout.n_inputs
        first = network.layers[0]((inputs - network.mean) / network.std)
        found = network.first_layer(here, table(network.layout, jets, torch.device("cpu")))
        torch.testing.assert_close(found, first, rtol=tolerance, atol=10 * tolerance)
        torch.testing.assert_close(network.scores(here, jets), network(inputs), rtol=tolerance, atol=10 * tolerance)


def test_inputs_counted_by_hand() -> None:
    """Six numbers a jet, three of the lepton, three of MET; masses m_qqb, m_qq, m_bℓ, m_bℓν and m_bb."""
    assert [Layout.of(t, False).n_inputs for t in (TTBAR, TTH)] == [30, 42]
    assert [Layout.of(t, True).n_inputs for t in (TTBAR, TTH)] == [34, 47]
    assert Layout.of(TTH, True).mass_sets == (
        (((0, 1, 2), None), ((1, 2), None)),
        (((0,), 0), ((0,), 1)),
        (((0, 1), None),),
    )


def test_masses_by_hand() -> None:
    """Two massless jets back to back of 40 GeV: 80 GeV; a b jet of 30 GeV along the lepton of 20 GeV: 0; opposite: √(4·30·20)."""
    layout = Layout.of(TTBAR, True)
    jets = torch.tensor([[30.0, 0, 30, 0], [40, 40, 0, 0], [40, -40, 0, 0]])
    lepton = torch.tensor([[20.0, 0, 20, 0], [60, 0, 20, 0]])
    triple, pair = layout.target_masses(0, jets, lepton).expm1().tolist()
    assert (triple, pair) == pytest.approx((math.sqrt(110**2 - 30**2), 80), rel=1e-5)
    found = layout.target_masses(1, jets[:1], lepton).expm1().tolist()
    assert found == pytest.approx([0, math.sqrt(90**2 - 50**2)], abs=1e-3)
    found = layout.target_masses(1, jets[:1], lepton * torch.tensor([1, 1, -1, 1])).expm1().tolist()
    assert found == pytest.approx([math.sqrt(4 * 30 * 20), math.sqrt(90**2 - 10**2)], rel=1e-5)


def test_blocks_do_not_change_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    network, events = network_of(TTBAR, True), random_events(40, 6)
    whole = network.scores(events, 6)
    monkeypatch.setattr("hhh_coffea.methods.pdnn.network.CPU_BLOCK", 400)  # two events of 180 permutations
    torch.testing.assert_close(network.scores(events, 6), whole, rtol=1e-5, atol=1e-6)
    assert network.scores(events.rows(slice(0, 0)), 6).shape == (0, 180)


def test_number_of_permutations_by_hand(record: ak.Array, shared_dir: Path, tmp_path: Path) -> None:
    """n!/(2(n − 4)!) and n!/(4(n − 6)!) of at most 8 jets: 12, 60, 180, 420, 840, and 180, 1,260, 5,040."""
    by_hand = {4: 12, 5: 60, 6: 180, 7: 420, 8: 840}
    found = assign(record, model_of(TTBAR, tmp_path / "a"), permutations=True)
    jets = np.minimum(counts_of(record.jets.pt), 8)
    assert found.n_permutations.tolist() == [by_hand[n] for n in jets.tolist()]
    assert {part.jets.shape for part in found.permutations} == {(by_hand[n], 4) for n in np.unique(jets).tolist()}
    tth = load(shared_dir, "tth_test").record[:60]
    of_higgs = {6: 180, 7: 1260, 8: 5040}
    jets = np.minimum(counts_of(tth.jets.pt), 8)
    assert assign(tth, model_of(TTH, tmp_path / "b")).n_permutations.tolist() == [of_higgs[n] for n in jets.tolist()]


def test_the_best_of_all_permutations_is_taken(record: ak.Array, tmp_path: Path) -> None:
    found = assign(record, model_of(TTBAR, tmp_path), permutations=True)
    seen = 0
    for part in found.permutations:
        for event, logits, offered in zip(part.events, part.logits, part.offered, strict=True):
            best = int(np.argmax(logits))
            chosen = offered[part.jets[best]].tolist()
            assert chosen == [*found.objects["ht"][event], *found.objects["lt"][event]]
            assert found.score[event] == pytest.approx(1 / (1 + math.exp(-logits[best])))
            assert found.probability[event] == pytest.approx(1 / np.exp(logits - logits[best]).sum())
            seen += 1
    assert seen == len(record)


def test_order_of_jets_does_not_matter(record: ak.Array, tmp_path: Path) -> None:
    """Not to the last bit; and exchangeable jets stand by pT, so q1 ↔ q2 and b1 ↔ b2 are the same assignment."""
    model = model_of(TTBAR, tmp_path)
    back = ak.with_field(record, record.jets[:, ::-1], "jets")
    one, other = assign(record, model), assign(back, model)
    assert one.score.tobytes() == other.score.tobytes()
    assert one.probability.tobytes() == other.probability.tobytes()
    last = counts_of(record.jets.pt)[:, None] - 1
    for target in ("ht", "lt"):
        assert (one.objects[target] == last - other.objects[target]).all()
    pt = ak.to_numpy(ak.flatten(record.jets.pt))
    starts = (np.cumsum(last[:, 0] + 1) - last[:, 0] - 1)[:, None]
    light = pt[starts + one.objects["ht"][:, 1:]]
    assert (light[:, 0] >= light[:, 1]).all()


def test_rotation_about_the_beam_does_not_matter(record: ak.Array, tmp_path: Path) -> None:
    model = model_of(TTBAR, tmp_path)
    turned = record
    for name in ("jets", "leptons", "met"):
        own = ak.with_field(record[name], (record[name].phi + 1 + np.pi) % (2 * np.pi) - np.pi, "phi")
        turned = ak.with_field(turned, own, name)
    one, other = assign(record, model), assign(turned, model)
    np.testing.assert_allclose(one.score, other.score, atol=1e-5)


def test_mirrored_inputs_are_those_of_the_mirrored_event(record: ak.Array) -> None:
    """The signs by which training mirrors events: y → −y, z → −z."""
    layout = Layout.of(TTBAR, True)
    objects = torch.arange(4).expand(len(record), 1, -1)
    plain = layout.gathered(events_of(record, 8).to("cpu"), objects)
    for axis, sign in zip(("phi", "eta"), torch.as_tensor(layout.signs), strict=True):
        mirrored = record
        for name in ("jets", "leptons", "met"):
            if axis in record[name].fields:
                mirrored = ak.with_field(mirrored, ak.with_field(record[name], -record[name][axis], axis), name)
        found = layout.gathered(events_of(mirrored, 8).to("cpu"), objects)
        torch.testing.assert_close(found, plain * sign, rtol=1e-4, atol=1e-4)


def test_inputs_of_an_event_by_hand(make_record) -> None:  # type: ignore[no-untyped-def]
    """Nine jets, eight are offered: the untagged one of least pT is left out, though one with a tag is softer."""
    pt = [90.0, 80, 70, 60, 50, 40, 35, 30, 27]
    jets = [
        {"pt": p, "eta": 0.1 * k, "phi": 0.2 * k, "mass": 5.0, "btag": float(k in (3, 8))} for k, p in enumerate(pt)
    ]
    lepton = {"pt": 40.0, "eta": -0.5, "phi": 0.3, "mass": 0.1, "flavor": 1}
    record = ak.with_field(make_record([jets]), ak.Array([[lepton]]), "leptons")
    record = ak.with_field(record, ak.zip({"pt": np.array([55.0]), "phi": np.array([-1.0])}), "met")
    events = events_of(record, 8)
    assert events.order.tolist() == [[0, 1, 2, 3, 4, 5, 6, 8]]
    expected = [math.log(61), math.log(6), 0.3, math.cos(0.3), math.sin(0.3), 1]
    assert events.jets[0, 3].tolist() == pytest.approx(expected, rel=1e-6)
    expected = [math.log(41), -0.5, 1, math.log(56), math.cos(-1.3), math.sin(-1.3)]
    assert events.event[0].tolist() == pytest.approx(expected, rel=1e-6)
    assert events.momenta[0, 3, 0] == pytest.approx(math.hypot(60 * math.cosh(0.3), 5), rel=1e-6)
    with pytest.raises(ValueError, match="without or with several leptons"):
        events_of(ak.with_field(record, ak.Array([[lepton, lepton]]), "leptons"), 8)
    bad = ak.with_field(record, ak.zip({"pt": np.array([np.nan]), "phi": np.array([-1.0])}), "met")
    with pytest.raises(ValueError, match="not finite"):
        events_of(bad, 8)


def test_too_few_jets_and_no_events(record: ak.Array, tmp_path: Path) -> None:
    model = model_of(TTBAR, tmp_path)
    few = ak.with_field(record, record.jets[:, :3], "jets")
    found = assign(few, model)
    assert (found.objects["ht"] == -1).all()
    assert np.isnan(found.score).all()
    assert ak.num(reconstruct(few, model, load_analysis("ttbar_semileptonic"))).tolist() == [0] * len(few)
    none = assign(record[:0], model)
    assert none.objects["lt"].shape == (0, 1)
    assert len(reconstruct(record[:0], model, load_analysis("ttbar_semileptonic"))) == 0


def test_candidates_carry_probability_and_score(record: ak.Array, tmp_path: Path) -> None:
    model, analysis = model_of(TTBAR, tmp_path), load_analysis("ttbar_semileptonic")
    found, candidates = assign(record, model), reconstruct(record, model, analysis)
    assert ak.num(candidates).tolist() == [2] * len(record)
    for k in range(2):
        assert candidates.score[:, k].tolist() == found.score.tolist()
        assert candidates.assignment_probability[:, k].tolist() == found.probability.tolist()
