"""The sum over interpretations against their list, written out; the loss and the decoding of networks that use it."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from hhh_coffea.spanet.checkpoint import build
from hhh_coffea.spanet.decoding.candidates import candidates, spans
from hhh_coffea.spanet.decoding.decode import expected, joint
from hhh_coffea.spanet.network.interpretations import gains_of, log_sum, overlaps_of, sums
from hhh_coffea.spanet.network.packed import Packed
from hhh_coffea.spanet.training.loss import LossOptions, Truth, symmetric_loss
from hhh_coffea.topology.topology import Topology

SMALL = {"hidden_dim": 16, "num_encoder_layers": 1, "interpretations": True}


def written_out(pairs, singles, overlaps):
    """All interpretations of one event: their choices, ``(particle → ("pair" or "single", number))``, and weights."""
    n, n_jets, n_fat = len(pairs), overlaps.shape[0], overlaps.shape[1]
    jets = list(itertools.combinations(range(n_jets), 2))
    options = [None, *(("pair", q) for q in range(len(jets))), *(("single", f) for f in range(n_fat))]
    for choice in itertools.product(options, repeat=n):
        used = [jet for c in choice if c and c[0] == "pair" for jet in jets[c[1]]]
        fats = [c[1] for c in choice if c and c[0] == "single"]
        if len(set(used)) < len(used) or len(set(fats)) < len(fats) or overlaps[used][:, fats].any():
            continue
        gains = [(pairs if c[0] == "pair" else singles)[i, c[1]] for i, c in enumerate(choice) if c]
        yield choice, math.exp(sum(gains))


@pytest.mark.parametrize(
    ("n", "n_jets", "n_fat"), [(3, 7, 2), (2, 5, 1), (3, 4, 0), (3, 3, 3), (1, 3, 1), (2, 0, 2), (4, 4, 1)]
)
def test_sums_equal_the_list_of_interpretations(n, n_jets, n_fat):
    torch.manual_seed(n + n_jets)
    batch = 3
    pairs, singles = torch.randn(n, n_jets * (n_jets - 1) // 2, batch), torch.randn(n, n_fat, batch)
    singles[:, -1:, 0] = -torch.inf
    pairs[:, :1, 1] = -torch.inf
    near = torch.rand(batch, n_jets, n_fat) < 0.3
    log_z, of_pairs, of_singles, alone = sums(pairs, singles, near)
    for b in range(batch):
        found = {"pair": np.zeros(pairs.shape[:2]), "single": np.zeros(singles.shape[:2])}
        z = 0.0
        for choice, weight in written_out(pairs[..., b].numpy(), singles[..., b].numpy(), near[b].numpy()):
            z += weight
            for i, c in enumerate(choice):
                if c:
                    found[c[0]][i, c[1]] += weight
        assert float(log_z[b]) == pytest.approx(math.log(z), abs=1e-5)
        np.testing.assert_allclose(of_pairs[..., b], found["pair"] / z, atol=1e-5)
        np.testing.assert_allclose(of_singles[..., b], found["single"] / z, atol=1e-5)
    torch.testing.assert_close(alone, sums(pairs, singles[:, :0], None).pairs, atol=1e-6, rtol=1e-5)


def test_the_gradient_of_the_logarithm_is_the_probability():
    torch.manual_seed(0)
    pairs, singles = torch.randn(3, 28, 4, requires_grad=True), torch.randn(3, 2, 4, requires_grad=True)
    near = torch.rand(4, 8, 2) < 0.3
    weight = torch.tensor([1.0, 2.0, 0.0, -1.0])
    (log_sum(pairs, singles, near) * weight).sum().backward()
    with torch.no_grad():
        step = 1e-2 * torch.randn(3, 28, 4)
        change = log_sum(pairs + step, singles, near) - log_sum(pairs - step, singles, near)
        torch.testing.assert_close(change * weight, 2 * (pairs.grad * step).sum((0, 1)), atol=1e-4, rtol=1e-3)
        step = 1e-2 * torch.randn(3, 2, 4)
        change = log_sum(pairs, singles + step, near) - log_sum(pairs, singles - step, near)
        torch.testing.assert_close(change * weight, 2 * (singles.grad * step).sum((0, 1)), atol=1e-4, rtol=1e-3)


def sharp(name):
    """A network with opinions, and its topology."""
    topology = Topology.bundled(name)
    torch.manual_seed(0)
    model = build(topology, "default", SMALL).eval()
    with torch.no_grad():
        for detection in model.detection:
            detection.second.bias += 2
        for query in model.score_queries:
            query.weight *= 20
    return model, topology


@pytest.mark.parametrize("name", ["hhh", "hh_resolved"])
def test_probabilities_of_the_network(events, lengths, name):
    model, topology = sharp(name)
    inputs, masks = events(topology, 100)
    with torch.no_grad():
        out, packed = model(inputs, masks), Packed(model)(inputs, masks)
    pairs, singles = gains_of(out, topology)
    sizes = lengths(topology)
    # of pairs if no large-radius jet is chosen, and the other way round; targets are in this order
    each = sums(pairs, singles[:, :0], None)[1], sums(pairs[:, :0], singles, None)[2]
    found = [p for part in each if part.shape[1] for p in part.transpose(1, 2)]
    for target, p in zip(topology.targets, found, strict=True):
        log_ap, _, _ = candidates(target, out.assignment[target.name], spans(topology, sizes), own=True)
        probability = log_ap.exp() * out.detection[target.name].sigmoid().unsqueeze(1)
        torch.testing.assert_close(probability, p, atol=3e-6, rtol=1e-4)
        for kind in ("assignment", "gain", "marginal"):
            torch.testing.assert_close(
                getattr(packed, kind)[target.name], getattr(out, kind)[target.name], atol=2e-4, rtol=1e-4
            )
    # no jet is in two candidates: the probabilities of all of its pairs add up to 1 at most
    of_pairs = [t.name for t in topology.targets if t.degree == 2]
    jets = sum(2 * out.assignment[t].exp().sum(2) * out.detection[t].sigmoid().unsqueeze(1) for t in of_pairs)
    assert float(jets.max()) <= 1 + 1e-4
    assert float(jets.max()) > 0.3


def test_joint_decoding_takes_the_most_probable_interpretation(events):
    model, topology = sharp("hh")
    inputs, masks = events(topology, 40)
    shorter = [6 if m.shape[1] > 6 else m.shape[1] for m in masks]
    inputs = [x[:, :n] for x, n in zip(inputs, shorter, strict=True)]
    masks = [m[:, :n] for m, n in zip(masks, shorter, strict=True)]
    with torch.no_grad():
        out = model(inputs, masks)
    near = overlaps_of(topology, inputs, masks)
    pairs, singles = gains_of(out, topology)
    found = joint(out, topology, shorter, near)
    jets = list(itertools.combinations(range(6), 2))
    for b in range(40):
        ways = written_out(pairs[..., b].numpy(), singles[..., b].numpy(), near[b].numpy())
        best = max(ways, key=lambda way: way[1])[0]
        used = {jets[c[1]] if c[0] == "pair" else (6 + c[1], -1) for c in best if c}
        chosen = {tuple(o) for o, s in zip(found.objects[b].tolist(), found.selected[b].tolist(), strict=True) if s}
        assert chosen == used
    assert bool(found.selected.any())


def test_expected_decoding_uses_the_probabilities_of_all_interpretations(events):
    """Σ (p − 0.3) is largest, p from all interpretations written out; by kind: from those of one kind."""
    model, topology = sharp("hh")
    inputs, masks = events(topology, 30)
    sizes = [5, masks[1].shape[1]]
    inputs, masks = ([x[:, :n] for x, n in zip(part, sizes, strict=True)] for part in (inputs, masks))
    with torch.no_grad():
        out = model(inputs, masks)
    near = overlaps_of(topology, inputs, masks)
    pairs, singles = gains_of(out, topology)
    jets, some = list(itertools.combinations(range(5), 2)), 0
    for by_kind in (False, True):
        found = expected(out, topology, sizes, near, by_kind=by_kind)
        parts = [(pairs[:, :, :], singles)] if not by_kind else [(pairs, singles[:, :0]), (pairs[:, :0], singles)]
        for b in range(30):
            best = 0.0
            worth = {}
            for p, s in parts:
                close = near[b].numpy()[: 5 if p.shape[1] else 0, : s.shape[1]]
                ways = list(written_out(p[..., b].numpy(), s[..., b].numpy(), close))
                z, chance = sum(weight for _, weight in ways), {}
                for choice, weight in ways:
                    for c in choice:
                        if c:
                            chance[c] = chance.get(c, 0.0) + weight / z
                best += max(sum(chance[c] - 0.3 for c in choice if c) for choice, _ in ways)
                worth |= chance
            chosen = [tuple(o) for o, s in zip(found.objects[b].tolist(), found.selected[b].tolist(), strict=True) if s]
            each = [("pair", jets.index(c)) if c[1] >= 0 else ("single", c[0] - 5) for c in chosen]
            assert sum(worth[c] - 0.3 for c in each) == pytest.approx(best, abs=1e-4)
            some += len(each)
    assert some > 10


def test_expected_decoding_by_kind_where_there_is_one(events, lengths):
    model, topology = sharp("hh_resolved")
    inputs, masks = events(topology, 20)
    with torch.no_grad():
        out = model(inputs, masks)
    found, again = (expected(out, topology, lengths(topology), by_kind=by_kind) for by_kind in (False, True))
    assert bool(found.selected.any())
    assert torch.equal(found.objects, again.objects)


def truth_of(topology, batch, generator):
    """h1 = jets 0, 1; h2 = jets 2, 3, half of them absent; bh1 beside h1 in some events."""
    present = {name: torch.zeros(batch, dtype=torch.bool) for name in topology.target_names}
    objects = {t.name: torch.zeros(batch, t.degree, dtype=torch.int64) for t in topology.targets}
    present["h1"][:] = True
    present["h2"] = torch.rand(batch, generator=generator) < 0.5
    objects["h1"][:], objects["h2"][:] = torch.tensor([0, 1]), torch.tensor([3, 2])
    if "bh1" in present:
        present["bh1"] = torch.rand(batch, generator=generator) < 0.3
    return Truth(objects, present)


@pytest.mark.parametrize("name", ["hh", "hhh", "hh_resolved"])
def test_the_loss_is_minus_the_logarithm_of_the_probability(events, lengths, name):
    model, topology = sharp(name)
    inputs, masks = events(topology, 30, minimum=4)
    with torch.no_grad():
        out = model(inputs, masks)
    near = overlaps_of(topology, inputs, masks)
    truth = truth_of(topology, 30, torch.Generator().manual_seed(1))
    if near is not None:
        near[:] = False  # or the true interpretation may be none
    n = len(topology.alternatives)
    pairs, singles = gains_of(out, topology)
    gains = {"pair": pairs, "single": singles}
    # both ways of seeing a Higgs boson, pairs alone, large-radius jets alone
    asked = [(("pair", "single"), pairs, singles)]
    if singles.shape[1]:
        asked += [(("pair",), pairs, singles[:, :0]), (("single",), pairs[:, :0], singles)]
    total = 0.0
    for kinds, *candidates_of in asked:
        log_z = sums(*candidates_of, near if len(kinds) > 1 else None)[0]
        for b in range(30):
            # each particle that is there may be any output, in any of the ways in which it is seen
            true = [[("pair", 0)] + [("single", 0)] * bool(truth.present.get("bh1", torch.zeros(30))[b])]
            if truth.present["h2"][b]:
                number = list(itertools.combinations(range(masks[0].shape[1]), 2)).index((2, 3))
                true.append([("pair", number)])
            true = [some for ways in true if (some := [way for way in ways if way[0] in kinds])]
            weight = sum(
                math.exp(sum(float(gains[kind][i, number, b]) for i, (kind, number) in zip(outputs, ways, strict=True)))
                for outputs in itertools.permutations(range(n), len(true))
                for ways in itertools.product(*true)
            )
            total += float(log_z[b]) - math.log(weight)
    loss = symmetric_loss(out, truth, topology, lengths(topology), LossOptions(), overlaps=near)
    assert list(loss.terms) == ["interpretation"]
    assert float(loss.total) == pytest.approx(total / 30 / len(topology.targets), rel=1e-4)


def test_impossible_truth_costs_nothing(events, lengths):
    """A true pair beside a true large-radius jet that it overlaps with is in no interpretation: it must not be −∞."""
    model, topology = sharp("hh")
    inputs, masks = events(topology, 20, minimum=4)
    model.train()
    out = model(inputs, masks)
    truth = truth_of(topology, 20, torch.Generator().manual_seed(1))
    truth.present["h1"][:], truth.present["bh1"][:], truth.present["h2"][:] = False, True, True
    near = torch.ones_like(overlaps_of(topology, inputs, masks))
    loss = symmetric_loss(out, truth, topology, lengths(topology), overlaps=near)
    loss.total.backward()
    assert float(loss.total.detach()) >= 0
    assert all(bool(torch.isfinite(p.grad).all()) for p in model.parameters() if p.grad is not None)


def test_events_without_objects(events, lengths):
    model, topology = sharp("hhh")
    inputs, masks = events(topology, 5)
    masks = [torch.zeros_like(m) for m in masks]
    with torch.no_grad():
        out = model([torch.zeros_like(x) for x in inputs], masks)
    assert all(float(out.detection[name].sigmoid().max()) < 1e-5 for name in topology.target_names)
    assert not bool(expected(out, topology, lengths(topology), overlaps_of(topology, inputs, masks)).selected.any())


def test_other_targets_are_refused():
    with pytest.raises(ValueError, match="symmetric pairs of jets"):
        build(Topology.bundled("semi_leptonic_ttH"), "default", SMALL)
