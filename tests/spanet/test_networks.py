"""What must hold for either architecture on any topology."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from hhh_coffea.spanet.checkpoint import build
from hhh_coffea.spanet.network import packed
from hhh_coffea.spanet.network.features import Normaliser, features_of_pairs, fit_normalisers
from hhh_coffea.spanet.network.outputs import masked_log_softmax
from hhh_coffea.spanet.training.loss import LossOptions, Truth, symmetric_loss
from hhh_coffea.topology.topology import Topology

SMALL = {
    "original": {"hidden_dim": 16, "initial_embedding_dim": 8, "position_embedding_dim": 8, "num_encoder_layers": 2,
                     "num_branch_embedding_layers": 1, "num_branch_encoder_layers": 1, "num_jet_encoder_layers": 1},
    "default": {"hidden_dim": 16, "num_encoder_layers": 2, "pair_dim": 8},
}  # fmt: skip
TOPOLOGIES = ["hhh", "hh_resolved", "ttbar", "semi_leptonic_ttH", "tth_semileptonic"]


def make(architecture: str, name: str, **options):
    topology = Topology.bundled(name)
    if architecture == "default" and name == "semi_leptonic_ttH":
        options = {"pairwise_attention": True, **options}
    if architecture == "default" and name == "tth_semileptonic":
        options = {"spectators": True, "combination_score": True, **options}
    torch.manual_seed(3)
    classes = dict.fromkeys(topology.classifications, 2)
    return topology, build(topology, architecture, {**SMALL[architecture], **options}, classes).eval()


both = pytest.mark.parametrize("architecture", ["original", "default"])
all_topologies = pytest.mark.parametrize("name", TOPOLOGIES)


@both
@all_topologies
def test_probabilities_are_normalised_over_valid_assignments(architecture, name, events, lengths):
    topology, model = make(architecture, name)
    inputs, masks = events(topology, 16, minimum=4)
    with torch.inference_mode():
        out = model(inputs, masks)
    for target in topology.targets:
        logp = out.assignment[target.name]
        p = logp.exp()
        torch.testing.assert_close(p.flatten(1).sum(1), (p > 0).flatten(1).any(1).float())
        for g in target.group:  # symmetric in the daughters
            torch.testing.assert_close(logp, logp.permute(0, *(1 + i for i in g)), atol=1e-5, rtol=0)
        for i, j in itertools.combinations(range(target.degree), 2):  # no object twice
            assert bool((torch.diagonal(p, dim1=1 + i, dim2=1 + j) == 0).all())
    for logits in out.detection.values():
        assert logits.shape == (16,)
    assert set(out.regression) == {r.key for r in topology.regressions}
    assert set(out.classification) == set(topology.classifications)


@both
@all_topologies
def test_scores_do_not_depend_on_the_order_of_objects(architecture, name, events):
    topology, model = make(architecture, name)
    inputs, masks = events(topology, 8, minimum=4)
    orders = [torch.randperm(m.shape[1], generator=torch.Generator().manual_seed(1)) for m in masks]
    with torch.inference_mode():
        a = model(inputs, masks)
        b = model(
            [x[:, o] for x, o in zip(inputs, orders, strict=True)],
            [m[:, o] for m, o in zip(masks, orders, strict=True)],
        )
    sequential = [o for o, i in zip(orders, topology.inputs, strict=True) if i.kind == "sequential"]
    sizes = [len(o) for o in sequential]
    everything = torch.cat([o + sum(sizes[:n]) for n, o in enumerate(sequential)])
    by_name = {i.name: o for i, o in zip(topology.sequential, sequential, strict=True)}
    for target in topology.targets:
        expected = a.assignment[target.name]
        for axis, source in enumerate(target.sources):
            size = expected.shape[1 + axis]
            expected = expected.index_select(
                1 + axis, by_name[source] if size == len(by_name.get(source, ())) else everything
            )
        torch.testing.assert_close(b.assignment[target.name], expected, atol=2e-5, rtol=0)
        torch.testing.assert_close(b.detection[target.name], a.detection[target.name], atol=1e-5, rtol=0)


@both
def test_scores_depend_on_nothing_but_the_event(architecture, events):
    topology, model = make(architecture, "hhh")
    inputs, masks = events(topology, 33)
    with torch.inference_mode():
        whole = model(inputs, masks)
        parts = [
            model([x[s] for x in inputs], [m[s] for m in masks]) for s in (slice(0, 1), slice(1, 20), slice(20, 33))
        ]
    for name, logp in whole.assignment.items():
        pieces = torch.cat([p.assignment[name] for p in parts])
        torch.testing.assert_close(pieces.exp(), logp.exp(), atol=1e-5, rtol=0)
        torch.testing.assert_close(
            torch.cat([p.detection[name] for p in parts]), whole.detection[name], atol=1e-5, rtol=0
        )


@both
@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("name", [*TOPOLOGIES, "hhh_resolved"])
def test_packing_changes_nothing(architecture, name, gaps, events, monkeypatch):
    monkeypatch.setattr(packed, "SMALLEST", 20)
    monkeypatch.setattr(packed, "LARGEST", 30)
    topology, model = make(architecture, name)
    inputs, masks = events(topology, 300)
    g = torch.Generator().manual_seed(1)
    for m, event_input in zip(masks, topology.inputs, strict=True):
        if event_input.kind == "sequential":
            m[:3] = False
            if gaps:  # real objects need not come first
                m.logical_and_(torch.rand(m.shape, generator=g) < 0.8)
    objects = [m for m, i in zip(masks, topology.inputs, strict=True) if i.kind == "sequential"]
    lots = packed.sorted_lots(objects)[1]
    assert len(lots) > 8
    assert any(sum(sizes) < sum(m.shape[1] for m in objects) for _, sizes in lots)
    for some in (slice(0, 0), slice(0, 3), slice(0, 300)):
        x, m = [x[some] for x in inputs], [m[some] for m in masks]
        with torch.inference_mode():
            want = model(x, m)
        got = packed.Packed(model)(x, m)
        for kind in ("assignment", "detection", "regression", "classification", "vectors"):
            assert getattr(want, kind).keys() == getattr(got, kind).keys()
            for key, value in getattr(want, kind).items():
                torch.testing.assert_close(getattr(got, kind)[key], value, atol=1e-5, rtol=1e-5)


@both
def test_content_of_padding_is_irrelevant(architecture, events):
    topology, model = make(architecture, "hhh")
    inputs, masks = events(topology, 16)
    spoiled = [torch.where(m.unsqueeze(-1), x, float("nan")) for x, m in zip(inputs, masks, strict=True)]
    with torch.inference_mode():
        a, b = model(inputs, masks), model(spoiled, masks)
    for name in topology.target_names:
        assert torch.equal(a.assignment[name], b.assignment[name])
        assert torch.equal(a.detection[name], b.detection[name])


@both
@all_topologies
@pytest.mark.parametrize("objects", [0, 1, 2, 3])
def test_few_objects_give_no_nan_in_forward_loss_or_gradient(architecture, name, objects, events, lengths):
    topology, model = make(architecture, name)
    model.train()
    inputs, masks = events(topology, 6)
    for m, i in zip(masks, topology.inputs, strict=True):
        if i.kind == "sequential":
            m[:] = torch.arange(m.shape[1]) < objects
    out = model(inputs, masks)
    n_objects = sum(m.shape[1] for m, i in zip(masks, topology.inputs, strict=True) if i.kind == "sequential")
    for target in topology.targets:
        logp = out.assignment[target.name]
        assert not torch.isnan(logp).any()
        real = objects * (len(topology.sequential) if logp.shape[1] == n_objects else 1)
        assert bool(torch.isfinite(logp).flatten(1).any(1).all()) == (real >= target.degree)
    present = {t.name: torch.full((6,), objects >= 3) for t in topology.targets}
    truth = Truth({t.name: torch.arange(t.degree).expand(6, -1) for t in topology.targets}, present)
    options = LossOptions(kl=1.0, focal_gamma=0.5)
    loss = symmetric_loss(out, truth, topology, lengths(topology), options).total
    loss.backward()
    assert torch.isfinite(loss)
    for key, parameter in model.named_parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all(), key


@pytest.mark.parametrize("attention", [True, False])
@pytest.mark.parametrize("score", [True, False])
def test_pairwise_features_can_be_switched_off(attention, score, events):
    topology, model = make("default", "hhh", pairwise_attention=attention, pairwise_score=score)
    with torch.inference_mode():
        out = model(*events(topology, 4, minimum=6))
    assert torch.isfinite(out.assignment["h1"]).any()
    assert any("pair" in k for k, _ in model.named_parameters()) == (attention or score)


def test_pairwise_features_need_kinematics():
    text = "INPUTS: {SEQUENTIAL: {J: {pt: none}}}\nEVENT: {p: [x, y]}"
    with pytest.raises(ValueError, match="pt, eta, phi"):
        build(Topology.from_text(text), "default", {})
    build(Topology.from_text(text), "default", {"pairwise_attention": False, "pairwise_score": False})


def test_default_scores_only_objects_of_the_own_input(events):
    topology, model = make("default", "hhh")
    with torch.inference_mode():
        out = model(*events(topology, 2))
    assert out.assignment["h1"].shape == (2, 10, 10)
    assert out.assignment["bh1"].shape == (2, 3)


def test_pair_mass_and_distance():
    # two massless jets of 50 and 40 GeV, Δη = 0.6, Δφ = 0.8: ΔR = 1, m² = 2 pT1 pT2 (cosh Δη − cos Δφ)
    phi = torch.tensor([3.0, 3.8])
    p = {
        "pt": torch.tensor([50.0, 40.0]),
        "eta": torch.tensor([0.2, 0.8]),
        "sinphi": phi.sin(),
        "cosphi": phi.cos(),
        "mass": torch.zeros(2),
    }
    a, b = ({k: v[i] for k, v in p.items()} for i in (0, 1))
    f = features_of_pairs(a, b)
    mass2 = 2 * 50 * 40 * (torch.cosh(torch.tensor(0.6)) - torch.cos(torch.tensor(0.8)))
    assert f[0] == pytest.approx(0, abs=1e-5)
    assert 2 * f[1] + 3.5 == pytest.approx(torch.log(torch.tensor(40.0)).item(), abs=1e-5)
    assert f[2] - 1 == pytest.approx(torch.log(torch.tensor(4 / 9)).item(), abs=1e-5)
    assert 2 * f[3] + 9.5 == pytest.approx(torch.log(mass2).item(), abs=1e-4)
    torch.testing.assert_close(f, features_of_pairs(b, a))


def test_normalisation_is_fitted_to_real_objects_only(events):
    topology = Topology.bundled("hhh")
    inputs, masks = events(topology, 500)
    normalisers = [Normaliser(i) for i in topology.inputs]
    fit_normalisers(normalisers, topology, inputs, masks)
    y = normalisers[0](inputs[0], masks[0])[masks[0]]
    torch.testing.assert_close(y[:, 0].mean(), torch.tensor(0.0), atol=1e-4, rtol=0)
    torch.testing.assert_close(y[:, 0].std(), torch.tensor(1.0), atol=1e-4, rtol=0)
    real = torch.log(1 + inputs[0][masks[0]][:, 0].double())
    assert float(normalisers[0].mean[0]) == pytest.approx(real.mean().item(), rel=1e-6)
    assert float(normalisers[0].std[0]) == pytest.approx(real.std().item(), rel=1e-6)  # unbiased
    assert normalisers[0].mean[4] == 0  # btag is not normalised
    assert normalisers[0].std[4] == 1


def test_log_of_nonsense_is_finite():
    normaliser = Normaliser(Topology.bundled("hhh").inputs[0])
    x = torch.full((1, 2, 8), -999.0)
    assert torch.isfinite(normaliser(x, torch.ones(1, 2, dtype=torch.bool))).all()


def test_softmax_without_valid_entries_has_zero_gradient():
    scores = torch.randn(2, 3, requires_grad=True)
    logp = masked_log_softmax(scores, torch.tensor([[True, False, True], [False, False, False]]))
    assert logp[1].tolist() == [-float("inf")] * 3
    torch.where(torch.isfinite(logp), logp, 0).sum().backward()
    assert torch.isfinite(scores.grad).all()
    assert scores.grad[1].abs().max() == 0


def test_separate_branches_share_nothing_after_the_encoder(events):
    topology, model = make("default", "hhh", shared_decoder=False)
    _, shared = make("default", "hhh")
    assert len(model.decoder) == 6 * len(shared.decoder)
    assert len(model.projections) == 6
    assert len(model.detection) == 6
    out = model(*events(topology, 8))
    (out.assignment["h2"][out.assignment["h2"].isfinite()].sum() + out.detection["h2"].sum()).backward()
    moved = [
        name.split(".") for name, p in model.named_parameters() if "." in name and p.grad is not None and p.grad.any()
    ]
    assert {place for module, place, *_ in moved if module == "decoder"} == {"2", "3"}  # two layers a branch
    assert {place for module, place, *_ in moved if module == "projections"} == {"1_0"}


def turned(topology, inputs, angle, mirror_phi, mirror_eta):
    """The inputs with every direction turned by ``angle`` about the beam, after mirroring."""
    found = []
    for event_input, x in zip(topology.inputs, inputs, strict=True):
        column = {name: k for k, name in enumerate(event_input.feature_names)}
        x = x.clone()  # noqa: PLW2901
        sin, cos = x[..., column["sinphi"]] * (-1 if mirror_phi else 1), x[..., column["cosphi"]].clone()
        x[..., column["sinphi"]] = sin * math.cos(angle) + cos * math.sin(angle)
        x[..., column["cosphi"]] = cos * math.cos(angle) - sin * math.sin(angle)
        if mirror_eta and "eta" in column:
            x[..., column["eta"]] *= -1
        found.append(x)
    return found


@pytest.mark.parametrize(("mirror_phi", "mirror_eta"), [*itertools.product([False, True], repeat=2)])
def test_invariant_network_does_not_see_the_orientation_of_an_event(mirror_phi, mirror_eta, events):
    topology, model = make("default", "tth_semileptonic", invariant=True)
    _, plain = make("default", "tth_semileptonic")
    inputs, masks = events(topology, 32, minimum=4)
    other = turned(topology, inputs, 1.234, mirror_phi, mirror_eta)
    for network, same in ((model, True), (plain, False)):
        with torch.inference_mode():
            a, b = network(inputs, masks), network(other, masks)
        changes = [(a.assignment[t].exp() - b.assignment[t].exp()).abs().max() for t in a.assignment]
        changes += [(a.detection[t] - b.detection[t]).abs().max() for t in a.detection]
        changes += [(a.regression[k] - b.regression[k]).abs().max() for k in a.regression]
        assert bool(max(changes) < 1e-5) is same


def test_invariance_needs_pairs():
    with pytest.raises(ValueError, match="invariant: without pairwise_attention or pairwise_score"):
        make("default", "hhh", invariant=True, pairwise_attention=False, pairwise_score=False)
