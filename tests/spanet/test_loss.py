"""The loss against its formulas written as slow loops, and its symmetries."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from hhh_coffea.spanet.checkpoint import build
from hhh_coffea.spanet.network.outputs import Outputs
from hhh_coffea.spanet.training.loss import (
    LossOptions,
    Truth,
    classification_loss,
    jensen_shannon,
    presence_code,
    presence_table,
    regression_loss,
    swapped_pairs,
    symmetric_loss,
)
from hhh_coffea.topology.topology import Topology

B = 12


def random_outputs(topology, lengths, all_objects=False, seed=0):
    """Random distributions over distinct objects, symmetric in the daughters."""
    rng = np.random.default_rng(seed)
    own = dict(zip([i.name for i in topology.sequential], lengths, strict=True))
    assignment, detection = {}, {}
    for t in topology.targets:
        shape = [sum(lengths) if all_objects or s is None else own[s] for s in t.sources]
        p = rng.random((B, *shape))
        p = np.mean([p.transpose(0, *(1 + i for i in g)) for g in t.group], axis=0)
        for index in np.ndindex(*shape):
            if len(set(index)) < len(index):
                p[(slice(None), *index)] = 0
        p /= p.reshape(B, -1).sum(1).reshape(-1, *[1] * len(shape))
        with np.errstate(divide="ignore"):
            assignment[t.name] = torch.tensor(np.log(p))
        detection[t.name] = torch.tensor(rng.normal(size=B))
    return Outputs(assignment, detection)


def random_truth(topology, lengths, seed=1):
    rng = np.random.default_rng(seed)
    own = dict(zip([i.name for i in topology.sequential], lengths, strict=True))
    objects, present, weight = {}, {}, {}
    for t in topology.targets:
        objects[t.name] = torch.tensor(np.array([rng.permutation(own[t.sources[0]])[: t.degree] for _ in range(B)]))
        present[t.name] = torch.tensor(rng.random(B) < 0.7)
        objects[t.name][~present[t.name]] = -1
        weight[t.name] = torch.tensor(rng.random(B) + 0.5)
    return Truth(objects, present, weight)


def slow_loss(outputs, truth, topology, lengths, c, *, gamma=0.0, combine="min", over_present=True, all_objects=False):
    """Evaluate the formulas in the docstring of symmetric_loss, one number at a time."""
    names, P = topology.target_names, len(topology.targets)
    start = {i.name: sum(lengths[:n]) if all_objects else 0 for n, i in enumerate(topology.sequential)}
    total = [0.0] * (2 * P)
    counts = [0.0] * P
    for b in range(B):
        options = []
        for g in topology.event_group:
            row = []
            for i in range(P):
                j = g[i]
                m = bool(truth.present[names[j]][b])
                w = float(truth.weight[names[j]][b])
                ce = 0.0
                if m:
                    index = tuple(
                        int(o) + start[s]
                        for o, s in zip(truth.objects[names[j]][b], topology.targets[j].sources, strict=True)
                    )
                    log_ap = float(outputs.assignment[names[i]][(b, *index)]) + math.log(len(topology.targets[i].group))
                    ce = -w * log_ap * max(0.0, 1 - math.exp(log_ap)) ** gamma
                x = float(outputs.detection[names[i]][b])
                det = -w * math.log(1 / (1 + math.exp(-x)) if m else 1 / (1 + math.exp(x)))
                row.append((ce, det))
            options.append(row)
        sums = [sum(ce + det for ce, det in row) for row in options]
        best = int(np.argmin(sums))
        if combine == "min":
            share = [float(k == best) for k in range(len(sums))]
        elif combine == "softmin":
            e = np.exp(-np.array(sums))
            share = list(e / e.sum())
        else:
            share = [1 / len(sums)] * len(sums)
        for i in range(P):
            total[i] += c[b] * sum(s * row[i][0] for s, row in zip(share, options, strict=True))
            total[P + i] += c[b] * sum(s * row[i][1] for s, row in zip(share, options, strict=True))
            counts[i] += bool(truth.present[names[topology.event_group[best][i]]][b])
    counts = [max(1.0, n) for n in counts]
    over = counts if over_present else [B] * P
    return [x / n for x, n in zip(total, counts + list(over), strict=True)]


CASES = [("hhh", [7, 3]), ("hh_resolved", [6]), ("ttbar", [7]), ("semi_leptonic_ttH", [7])]


@pytest.mark.parametrize(("name", "lengths"), CASES)
@pytest.mark.parametrize("all_objects", [False, True])
@pytest.mark.parametrize("combine", ["min", "softmin", "mean"])
@pytest.mark.parametrize(("gamma", "over_present"), [(0.0, True), (1.5, False)])
def test_loss_is_the_slow_loop(name, lengths, all_objects, combine, gamma, over_present):
    topology = Topology.bundled(name)
    outputs, truth = random_outputs(topology, lengths, all_objects), random_truth(topology, lengths)
    c = torch.linspace(0.5, 2, B, dtype=torch.float64)
    options = LossOptions(focal_gamma=gamma, combine=combine, detection_over_present=over_present)
    loss = symmetric_loss(outputs, truth, topology, lengths, options, event_weight=c)
    want = slow_loss(outputs, truth, topology, lengths, c.tolist(), gamma=gamma, combine=combine,
                     over_present=over_present, all_objects=all_objects)  # fmt: skip
    got = [float(x) for x in loss.terms.values()]
    assert got == pytest.approx(want, rel=1e-5)
    assert float(loss.total) == pytest.approx(np.mean(want), rel=1e-5)


@pytest.mark.parametrize("name", ["hhh", "hh", "ttbar"])
def test_relabelling_the_true_targets_changes_nothing(name):
    topology = Topology.bundled(name)
    lengths = [7, 3][: len(topology.sequential)]
    outputs, truth = random_outputs(topology, lengths), random_truth(topology, lengths)
    options = LossOptions(focal_gamma=1.0)
    want = symmetric_loss(outputs, truth, topology, lengths, options).total
    names = topology.target_names
    for g in topology.event_group:
        renamed = Truth(
            *(
                {names[i]: field[names[g[i]]] for i in range(len(names))}
                for field in (truth.objects, truth.present, truth.weight)
            )
        )
        torch.testing.assert_close(symmetric_loss(outputs, renamed, topology, lengths, options).total, want)
    flipped = Truth({k: v.flip(1) if k[0] == "h" else v for k, v in truth.objects.items()}, truth.present, truth.weight)
    if name != "ttbar":  # the two b quarks of a Higgs boson have no order
        torch.testing.assert_close(symmetric_loss(outputs, flipped, topology, lengths, options).total, want)


def test_certain_assignment_costs_nothing():
    """|G|: a pair has two orderings, each with half of the probability; all of it on the truth is loss 0."""
    topology = Topology.bundled("hh_resolved")
    outputs, truth = random_outputs(topology, [6]), random_truth(topology, [6])
    for name in topology.target_names:
        truth.present[name][:] = True
        truth.objects[name][:] = torch.tensor([0, 1] if name == "h1" else [2, 3])
        p = torch.zeros_like(outputs.assignment[name])
        i, j = truth.objects[name][0].tolist()
        p[:, i, j] = p[:, j, i] = 0.5
        outputs.assignment[name] = p.log()
    loss = symmetric_loss(outputs, truth, topology, [6], LossOptions(focal_gamma=0.5, detection=0.0))
    assert float(loss.terms["assignment/h1"]) == pytest.approx(0, abs=1e-12)
    assert len(topology.targets[0].group) == 2


def test_swapped_pairs_and_divergence():
    topology = Topology.bundled("hhh")
    assert swapped_pairs(topology) == [(0, 1), (0, 2), (1, 2), (3, 4), (3, 5), (4, 5)]
    lengths = [6, 3]
    outputs, truth = random_outputs(topology, lengths), random_truth(topology, lengths)
    c = torch.linspace(0.5, 2, B, dtype=torch.float64)
    loss = symmetric_loss(outputs, truth, topology, lengths, LossOptions(kl=0.3), event_weight=c)
    names, want, norm = topology.target_names, 0.0, 0.0
    for b in range(B):
        g = topology.event_group[int(loss.permutation[b])]
        m = [float(truth.present[names[j]][b]) for j in g]
        norm += sum(m)
        pairs = []
        for i, j in swapped_pairs(topology):
            p, q = (outputs.assignment[names[k]][b].exp().flatten().numpy() for k in (i, j))
            js = sum(
                0.5 * x * math.log(x / (0.5 * (y + z)))
                for s in ((p, q), (q, p))
                for x, y, z in zip(s[0], s[0], s[1], strict=True)
                if x > 0
            )
            pairs.append(math.exp(-js * js) * m[i] * m[j])
        want += float(c[b]) * sum(pairs) / len(pairs)
    assert float(loss.terms["kl"]) == pytest.approx(0.3 * 2 * 6 * want / norm, rel=1e-4)


def test_jensen_shannon_limits_and_gradient():
    p = torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]]).log().requires_grad_()
    q = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]).log()
    js = jensen_shannon(p, q)
    assert js.tolist() == pytest.approx([0, math.log(2)], abs=1e-6)
    js.sum().backward()
    assert torch.isfinite(p.grad).all()


def test_regression_and_classification_terms():
    y, t = torch.tensor([1.0, 2.0, 5.0]), torch.tensor([0.0, float("nan"), 1.0])
    assert float(regression_loss(y, t, "gaussian", 2.0)) == pytest.approx((0.25 + 4) / 2)
    assert float(regression_loss(y, t, "laplacian", 2.0)) == pytest.approx((0.5 + 2) / 2)
    assert float(regression_loss(y, t, "log_gaussian", 2.0)) == pytest.approx((1 + 16) / 2)
    assert float(regression_loss(y, torch.full((3,), float("nan")), "gaussian")) == 0
    logits, label = torch.tensor([[0.0, 1.0], [2.0, 0.0], [0.0, 0.0]]), torch.tensor([1, -1, 0])
    want = (math.log(1 + math.exp(-1)) + 3 * math.log(2)) / (1 + 3)
    assert float(classification_loss(logits, label, torch.tensor([3.0, 1.0]))) == pytest.approx(want)
    events = torch.tensor([0.5, 7.0, 2.0])
    want = (0.5 * math.log(1 + math.exp(-1)) + 2 * 3 * math.log(2)) / (0.5 + 2 * 3)
    assert float(classification_loss(logits, label, torch.tensor([3.0, 1.0]), events)) == pytest.approx(want)
    want = (0.5 * math.log(1 + math.exp(-1)) + 2 * math.log(2)) / 2.5
    assert float(classification_loss(logits, label, None, events)) == pytest.approx(want)
    assert float(classification_loss(logits, torch.full((3,), -1))) == 0


def test_heads_enter_the_total(events):
    topology = Topology.bundled("semi_leptonic_ttH")
    lengths = [7]
    outputs, truth = random_outputs(topology, lengths), random_truth(topology, lengths)
    key = "EVENT/neutrino_px"
    for r in topology.regressions:
        outputs.regression[r.key], truth.regression[r.key] = torch.ones(B), torch.zeros(B)
    outputs.classification["EVENT/signal"] = torch.zeros(B, 2)
    truth.classification["EVENT/signal"] = torch.zeros(B, dtype=torch.int64)
    options = LossOptions(regression=2.0, classification=0.5, reduction="sum")
    loss = symmetric_loss(outputs, truth, topology, lengths, options, regression_scale={key: 4.0})
    assert float(loss.terms[f"regression/{key}"]) == pytest.approx(2 / 16)
    assert float(loss.terms["classification/EVENT/signal"]) == pytest.approx(0.5 * math.log(2))
    assert float(loss.total) == pytest.approx(sum(float(x) for x in loss.terms.values()))
    without = symmetric_loss(outputs, truth, topology, lengths, LossOptions())
    assert len(without.terms) == 2 * len(topology.targets)


def test_impossible_truth_and_divergence_are_errors():
    topology = Topology.bundled("hh_resolved")
    outputs, truth = random_outputs(topology, [6]), random_truth(topology, [6])
    truth.present["h1"][0] = True
    truth.objects["h1"][0] = torch.tensor([2, 2])
    with pytest.raises(ValueError, match="assignment/h"):
        symmetric_loss(outputs, truth, topology, [6])
    truth.present["h1"][0] = False
    outputs.detection["h1"][3] = float("nan")
    with pytest.raises(FloatingPointError, match="detection/h"):
        symmetric_loss(outputs, truth, topology, [6])


def test_events_without_any_target_have_a_finite_gradient():
    topology = Topology.bundled("hhh")
    model = build(topology, "default", {"hidden_dim": 16})
    inputs = [torch.zeros(2, 10, 8), torch.zeros(2, 3, 11)]
    masks = [torch.zeros(2, 10, dtype=torch.bool), torch.zeros(2, 3, dtype=torch.bool)]
    truth = Truth(
        {t.name: torch.full((2, t.degree), -1) for t in topology.targets},
        {t.name: torch.zeros(2, dtype=torch.bool) for t in topology.targets},
    )
    loss = symmetric_loss(model(inputs, masks), truth, topology, [10, 3], LossOptions(kl=1.0, focal_gamma=2.0))
    loss.total.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    assert loss.terms["assignment/h1"].item() == 0


def test_presence_weights_are_those_of_the_original(shared_dir):
    """The table in the ttbar checkpoint was made from the first 95% of this file."""
    h5py = pytest.importorskip("h5py")
    topology = Topology.bundled("ttbar")
    with h5py.File(shared_dir / "data/spanet_examples/full_hadronic_ttbar.h5") as file:
        present = torch.stack([
            torch.stack([torch.from_numpy(file[f"TARGETS/{t.name}/{d}"][:9500]) >= 0 for d in t.daughters]).all(0)
            for t in topology.targets
        ], dim=1)  # fmt: skip
    path = next((shared_dir / "reference/spanet_checkpoints/ttbar/checkpoints").glob("*.ckpt"))
    stored = torch.load(path, weights_only=True)["state_dict"]["particle_weights_tensor"]
    torch.testing.assert_close(presence_table(topology, present), stored, atol=1e-5, rtol=1e-5)


def test_presence_classes_of_hhh():
    topology = Topology.bundled("hhh")
    # each of the 20 classes with another number of events, so that each has another weight
    codes = list(range(64))
    classes = sorted({min(sum(1 << g[i] for i in range(6) if c >> i & 1) for g in topology.event_group) for c in codes})
    assert len(classes) == 20
    sample = torch.tensor([[c >> i & 1 for i in range(6)] for n, c in enumerate(classes) for _ in range(3 * n + 1)])
    table = presence_table(topology, sample.bool())
    assert len(table.unique()) == 20
    for pattern in ([1, 0, 0, 1, 0, 0], [0, 0, 1, 0, 0, 1]):
        assert table[presence_code(torch.tensor([pattern]))] == table[presence_code(torch.tensor([[0, 1, 0, 0, 1, 0]]))]
