"""Decoding against brute force, event by event."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hhh_coffea.spanet.decoding import joint as joint_module
from hhh_coffea.spanet.decoding.candidates import spans
from hhh_coffea.spanet.decoding.decode import expected, greedy, joint, most_probable_count, reference
from hhh_coffea.spanet.decoding.joint import best_interpretation
from hhh_coffea.spanet.network.features import overlap_matrix
from hhh_coffea.spanet.network.outputs import Outputs, masked_log_softmax, valid_combinations
from hhh_coffea.topology.topology import Topology


def random_outputs(topology, lengths, masks, *, seed=0, sharpness=3.0, all_objects=False, detection=(0.5, 1.5)):
    """Distributions as a trained network makes them: peaked, symmetric in the daughters, zero for padding."""
    g = torch.Generator().manual_seed(seed)
    batch = len(masks[0])
    by_name = dict(zip([i.name for i in topology.sequential], masks, strict=True))
    out = Outputs({}, {})
    for t in topology.targets:
        m = [torch.cat(masks, 1) if all_objects or s is None else by_name[s] for s in t.sources]
        scores = sharpness * torch.randn(batch, *(x.shape[1] for x in m), generator=g)
        scores = torch.stack([scores.permute(0, *(1 + i for i in p)) for p in t.group]).mean(0)
        out.assignment[t.name] = masked_log_softmax(scores, valid_combinations(m, [0] * t.degree))
        out.detection[t.name] = detection[0] + detection[1] * torch.randn(batch, generator=g)
    return out


def random_masks(lengths, batch, seed=0, minimum=0):
    g = torch.Generator().manual_seed(seed)
    return [torch.arange(n) < torch.randint(min(minimum, n), n + 1, (batch, 1), generator=g) for n in lengths]


# --- greedy -----------------------------------------------------------------------------------------------------------
def slow_greedy(outputs, topology, lengths, b, group_factor):
    places = spans(topology, lengths)
    logs = {}
    for p, t in enumerate(topology.targets):
        logp = outputs.assignment[t.name][b].numpy()
        starts = [
            places[s][0] if n == places[s][1] - places[s][0] else 0 for s, n in zip(t.sources, logp.shape, strict=True)
        ]
        for index in np.ndindex(*logp.shape):
            if np.isfinite(logp[index]):
                logs[p, tuple(i + a for i, a in zip(index, starts, strict=True))] = logp[index] + (
                    math.log(len(t.group)) if group_factor else 0
                )
    result = {}
    while logs:
        p, index = max(logs, key=lambda k: logs[k])
        result[p] = (sorted(index), logs[p, index])
        logs = {k: v for k, v in logs.items() if k[0] != p and not set(k[1]) & set(index)}
    return result


@pytest.mark.parametrize(("name", "lengths"), [("hhh", [7, 3]), ("ttbar", [7]), ("semi_leptonic_ttH", [6])])
@pytest.mark.parametrize("all_objects", [False, True])
@pytest.mark.parametrize("group_factor", [False, True])
def test_greedy_is_the_slow_loop(name, lengths, all_objects, group_factor):
    topology = Topology.bundled(name)
    masks = random_masks(lengths, 40)
    outputs = random_outputs(topology, lengths, masks, all_objects=all_objects)
    decoded = greedy(outputs, topology, lengths, group_factor=group_factor)
    for b in range(40):
        want = slow_greedy(outputs, topology, lengths, b, group_factor)
        for p, t in enumerate(topology.targets):
            assert bool(decoded.selected[b, p]) == (p in want)
            got = decoded.objects[b, p, : t.degree].tolist()
            assert sorted(got) == (want[p][0] if p in want else [-1] * t.degree)
            if p in want:
                log_ap = want[p][1] + (0 if group_factor else math.log(len(t.group)))
                assert float(decoded.assignment_probability[b, p]) == pytest.approx(math.exp(log_ap), rel=1e-4)
            else:
                assert float(decoded.assignment_probability[b, p]) == 0


def test_greedy_counts_the_orderings_of_a_pair():
    """A pair with AP 0.6 (0.3 for each ordering) goes before a single object with 0.5."""
    text = "INPUTS: {SEQUENTIAL: {J: {pt: none}}}\nEVENT: {single: [x], pair: [x, y]}\nPERMUTATIONS: {pair: [[x, y]]}"
    topology = Topology.from_text(text)
    single = torch.tensor([[0.5, 0.3, 0.2]]).log()
    pair = torch.tensor([[[0, 0.3, 0.1], [0.3, 0, 0.1], [0.1, 0.1, 0]]]).log()
    outputs = Outputs({"single": single, "pair": pair}, {"single": torch.zeros(1), "pair": torch.zeros(1)})
    decoded = greedy(outputs, topology, [3])
    assert decoded.objects[0].tolist() == [[2, -1], [0, 1]]
    assert decoded.assignment_probability[0].tolist() == pytest.approx([0.2, 0.6])
    assert greedy(outputs, topology, [3], group_factor=False).objects[0].tolist() == [[0, -1], [1, 2]]


def test_what_cannot_be_assigned_is_not():
    topology = Topology.bundled("hhh")
    masks = [torch.arange(10)[None] < 5, torch.zeros(1, 3, dtype=torch.bool)]  # five jets: two Higgs bosons at most
    outputs = random_outputs(topology, [10, 3], masks, detection=(5, 0))
    for decoded in (greedy(outputs, topology, [10, 3]), joint(outputs, topology, [10, 3])):
        assert int(decoded.selected.sum()) == 2
        assert bool((decoded.objects[~decoded.selected] == -1).all())
        assert int(decoded.objects.max()) < 5
    assert int(reference(outputs, topology, [10, 3]).selected.sum()) == 2


# --- joint ------------------------------------------------------------------------------------------------------------
def consistent_choices(n, n_jets, n_fat, overlap):
    """Every consistent interpretation: one of None, pair index or ('fat', f) for each particle."""
    pairs = list(itertools.combinations(range(n_jets), 2))
    options = [None, *range(len(pairs)), *(("fat", f) for f in range(n_fat))]
    for choice in itertools.product(options, repeat=n):
        jets = [j for c in choice if isinstance(c, int) for j in pairs[c]]
        fats = [c[1] for c in choice if isinstance(c, tuple)]
        if (
            len(set(jets)) == len(jets)
            and len(set(fats)) == len(fats)
            and not any(overlap[j][f] for j in jets for f in fats)
        ):
            yield choice


def gain(choice, pairs, singles):
    return sum(
        0 if c is None else pairs[i][c] if isinstance(c, int) else singles[i][c[1]] for i, c in enumerate(choice)
    )


def check_interpretation(pairs, singles, overlap, n_jets, n_fat):
    n = max(len(pairs), len(singles))
    tensors = (
        [torch.tensor([x], dtype=torch.float32) for x in pairs],
        [torch.tensor([x], dtype=torch.float32) for x in singles],
    )
    near = torch.tensor(overlap, dtype=torch.bool).reshape(1, n_jets, n_fat)
    pair, fat = best_interpretation(*tensors, near if pairs and singles else None)
    choice = tuple(
        ("fat", f) if f >= 0 else p if p >= 0 else None for p, f in zip(pair[0].tolist(), fat[0].tolist(), strict=True)
    )
    assert not any(p >= 0 and f >= 0 for p, f in zip(pair[0].tolist(), fat[0].tolist(), strict=True))
    allowed = list(consistent_choices(n, n_jets if pairs else 0, n_fat if singles else 0, overlap))
    assert choice in allowed
    best = max(gain(c, pairs, singles) for c in allowed)
    assert gain(choice, pairs, singles) == pytest.approx(best, abs=1e-4)


@st.composite
def problems(draw):
    n = draw(st.integers(1, 3))
    n_jets = draw(st.integers(2, 5 if n == 3 else 6))
    n_fat = draw(st.integers(1, 3))
    number = st.floats(-6, 6, width=16)
    pairs = draw(
        st.lists(
            st.lists(number, min_size=n_jets * (n_jets - 1) // 2, max_size=n_jets * (n_jets - 1) // 2),
            min_size=n,
            max_size=n,
        )
    )
    singles = draw(st.lists(st.lists(number, min_size=n_fat, max_size=n_fat), min_size=n, max_size=n))
    overlap = draw(st.lists(st.lists(st.booleans(), min_size=n_fat, max_size=n_fat), min_size=n_jets, max_size=n_jets))
    return pairs, singles, overlap, n_jets, n_fat


@pytest.mark.parametrize("keep", [(3, 8), (1,), ()])  # () and mostly (1,): the full problem is solved every time
@settings(max_examples=60, deadline=None)
@given(problem=problems())
def test_joint_is_brute_force(keep, problem):
    usual, joint_module.KEEP = joint_module.KEEP, keep
    try:
        check_interpretation(*problem)
        pairs, singles, overlap, n_jets, n_fat = problem
        check_interpretation(pairs, [], overlap, n_jets, n_fat)
        check_interpretation([], singles, overlap, n_jets, n_fat)
    finally:
        joint_module.KEEP = usual


@pytest.mark.parametrize("sharpness", [0.5, 3.0])
def test_shortcuts_are_exact_at_full_size(monkeypatch, sharpness):
    """Ten jets, three large-radius jets, thousands of events: the shortcuts lose nothing to the full problem."""
    topology, lengths = Topology.bundled("hhh"), [10, 3]
    outputs = random_outputs(
        topology, lengths, random_masks(lengths, 3000, minimum=3), sharpness=sharpness, detection=(2.0, 2.0)
    )
    overlap = torch.rand(3000, 10, 3, generator=torch.Generator().manual_seed(5)) < 0.2

    def score(decoded):
        logit = torch.stack([outputs.detection[name] for name in topology.target_names], 1)
        return torch.where(decoded.selected, decoded.assignment_probability.log() + logit, 0).sum(1)

    quick = score(joint(outputs, topology, lengths, overlap))
    monkeypatch.setattr(joint_module, "KEEP", ())
    monkeypatch.setattr(joint_module, "_independent", all_clash)
    full = score(joint(outputs, topology, lengths, overlap))
    torch.testing.assert_close(quick, full, atol=1e-4, rtol=0)


def all_clash(keys, uses):
    none = torch.full((len(keys), keys.shape[2]), -1)
    return none, none.clone(), torch.ones(keys.shape[2], dtype=torch.bool)


def test_joint_maximises_the_likelihood_it_claims():
    """Σ ln(AP·DP) over chosen plus Σ ln(1 − DP) over the other targets, event by event."""
    topology, lengths, batch = Topology.bundled("hh"), [5, 2], 25
    masks = random_masks(lengths, batch, minimum=2)
    outputs = random_outputs(topology, lengths, masks)
    overlap = (
        (torch.rand(batch, 5, 2, generator=torch.Generator().manual_seed(2)) < 0.3)
        & masks[0][:, :, None]
        & masks[1][:, None]
    )
    decoded = joint(outputs, topology, lengths, overlap)
    pairs = list(itertools.combinations(range(5), 2))
    for b in range(batch):
        dp = {t: float(outputs.detection[t][b].sigmoid()) for t in topology.target_names}
        ap_pair = [[2 * float(outputs.assignment[f"h{i}"][b, j, k].exp()) for j, k in pairs] for i in (1, 2)]
        ap_fat = [outputs.assignment[f"bh{i}"][b].exp().tolist() for i in (1, 2)]

        def likelihood(choice, b=b, dp=dp, ap_pair=ap_pair, ap_fat=ap_fat):
            total = 0.0
            for i, c in enumerate(choice):
                h, bh = dp[f"h{i + 1}"], dp[f"bh{i + 1}"]
                log = lambda x: math.log(x) if x > 0 else -1e30  # noqa: E731
                total += log(ap_pair[i][c] * h) if isinstance(c, int) else math.log(1 - h)
                total += log(ap_fat[i][c[1]] * bh) if isinstance(c, tuple) else math.log(1 - bh)
            return total

        chosen = []
        for i in range(2):
            jets, fat = decoded.objects[b, i].tolist(), int(decoded.objects[b, 2 + i, 0])
            chosen.append(pairs.index(tuple(sorted(jets))) if jets[0] >= 0 else ("fat", fat - 5) if fat >= 0 else None)
        best = max(likelihood(c) for c in consistent_choices(2, 5, 2, overlap[b].tolist()))
        assert likelihood(tuple(chosen)) == pytest.approx(best, abs=1e-4)
        for p, name in enumerate(topology.target_names):
            if decoded.selected[b, p]:
                at = decoded.objects[b, p, : 2 if p < 2 else 1] - (0 if p < 2 else 5)
                ap = float(outputs.assignment[name][b, *at].exp()) * len(at)
                assert float(decoded.assignment_probability[b, p]) == pytest.approx(ap, rel=1e-5)
            assert float(decoded.detection_probability[b, p]) == pytest.approx(dp[name], rel=1e-5)
            product = float(decoded.assignment_probability[b, p]) * dp[name]
            assert float(decoded.probability[b, p]) == pytest.approx(product, rel=1e-4)


@pytest.mark.parametrize(("least", "priced"), [(0.1, False), (0.3, False), (0.5, False), (0.2, True)])
def test_expected_has_the_largest_sum_of_what_candidates_are_worth(least, priced):
    """Σ (p − least) by hand: p is AP·DP summed over the Higgs bosons that a candidate may be; a price is taken from logit p."""
    topology, lengths, batch = Topology.bundled("hh"), [5, 2], 25
    masks = random_masks(lengths, batch, minimum=2)
    outputs = random_outputs(topology, lengths, masks)
    overlap = torch.rand(batch, 5, 2, generator=torch.Generator().manual_seed(2)) < 0.3
    prices = [4 * (torch.rand(batch, 5, 5) - 0.5) * priced, 8 * (torch.rand(batch, 2) - 0.5) * priced]  # of both signs

    def after(p, price):
        p = min(p, 1 - 1e-6)  # sums of AP·DP of targets that do not exclude each other
        odds = p / (1 - p) * math.exp(-float(price))
        return odds / (1 + odds)

    prices[0] = prices[0] + prices[0].transpose(1, 2)
    price = {name: prices[name.startswith("b")] for name in topology.target_names}
    decoded = expected(outputs, topology, lengths, overlap, least=least, prices=price if priced else None)
    pairs = list(itertools.combinations(range(5), 2))
    some = 0
    for b in range(batch):
        dp = {t: float(outputs.detection[t][b].sigmoid()) for t in topology.target_names}
        of_pair = [
            sum(2 * dp[f"h{i}"] * float(outputs.assignment[f"h{i}"][b, j, k].exp()) for i in (1, 2)) for j, k in pairs
        ]
        of_fat = [sum(dp[f"bh{i}"] * float(outputs.assignment[f"bh{i}"][b, f].exp()) for i in (1, 2)) for f in (0, 1)]
        if priced:  # what is padding is never chosen, whatever it costs
            of_pair = [after(p, prices[0][b, j, k]) if p else -9 for p, (j, k) in zip(of_pair, pairs, strict=True)]
            of_fat = [after(p, prices[1][b, f]) if p else -9 for p, f in zip(of_fat, (0, 1), strict=True)]
        worth = [[p - least for p in of_pair]] * 2, [[p - least for p in of_fat]] * 2
        chosen = []
        for i, name in enumerate(topology.target_names):  # what is stated of a candidate is before any price
            by_hand = 0.0
            if decoded.selected[b, i]:
                at = tuple((decoded.objects[b, i, : 2 if i < 2 else 1] - (0 if i < 2 else 5)).tolist())
                alike = [n for n in topology.target_names if n.startswith(name[:-1])]
                by_hand = sum(len(at) * dp[n] * float(outputs.assignment[n][b][at].exp()) for n in alike)
            assert float(decoded.probability[b, i]) == pytest.approx(min(by_hand, 1), rel=1e-4)
        for i in range(2):
            jets, fat = decoded.objects[b, i].tolist(), int(decoded.objects[b, 2 + i, 0])
            chosen.append(pairs.index(tuple(sorted(jets))) if jets[0] >= 0 else ("fat", fat - 5) if fat >= 0 else None)
        best = max(gain(c, *worth) for c in consistent_choices(2, 5, 2, overlap[b].tolist()))
        assert gain(chosen, *worth) == pytest.approx(best, abs=1e-5)
        for c in (c for c in chosen if c is not None):
            some += 1
            assert (of_pair[c] if isinstance(c, int) else of_fat[c[1]]) > least
    assert some > 10


@pytest.mark.parametrize("by_kind", [False, True])
def test_a_candidate_is_the_target_that_claims_it(by_kind):
    """Of HH, Σ AP·DP is at least that of the same candidates with the two Higgs bosons exchanged, together or by kind."""
    topology, lengths, batch = Topology.bundled("hh"), [6, 2], 60
    masks = random_masks(lengths, batch, minimum=2)
    outputs = random_outputs(topology, lengths, masks)
    decoded = expected(outputs, topology, lengths, least=0.1, by_kind=by_kind)
    exchanged = 0
    for b in range(batch):
        own = {}
        for i, name in enumerate(topology.target_names):
            for j in (0, 1) if i < 2 else (2, 3):  # what target i says of the candidate of target j
                at = decoded.objects[b, j, : 2 if i < 2 else 1]
                chance = 0.0
                if decoded.selected[b, j]:
                    at = tuple((at - (0 if i < 2 else 6)).tolist())
                    chance = len(at) * float(
                        outputs.assignment[name][b][at].exp() * outputs.detection[name][b].sigmoid()
                    )
                own[i, j] = chance
        gains = [own[k, k] + own[k + 1, k + 1] - own[k, k + 1] - own[k + 1, k] for k in (0, 2)]
        for gain in gains if by_kind else [sum(gains)]:
            assert gain >= -1e-6
            exchanged += gain > 1e-3
    assert exchanged > 10


@pytest.mark.parametrize("name", ["ttbar_semileptonic", "ttbar"])
def test_expected_of_other_targets_is_brute_force(name):
    """Disjoint choices of t → bqq and t → b, or of two t → bqq that are exchanged."""
    topology, batch = Topology.bundled(name), 12
    lengths = [6] + [1] * (len(topology.sequential) - 1)
    masks = random_masks(lengths, batch, minimum=3)
    outputs = random_outputs(topology, lengths, masks)
    decoded = expected(outputs, topology, lengths, least=0.2)
    alike = {i: members for members in topology.symmetric_classes for i in members}
    for b in range(batch):
        options: list[dict[tuple[int, ...], float]] = []
        for p, target in enumerate(topology.targets):
            found: dict[tuple[int, ...], float] = {}
            for index in itertools.permutations(range(6), target.degree):
                of = [topology.targets[i].name for i in alike[p]]
                chance = sum(
                    float(outputs.assignment[t][b][index].exp() * outputs.detection[t][b].sigmoid()) for t in of
                )
                found[index] = len(target.group) * chance
            options.append(found)
        every = itertools.product(*([(), *found] for found in options))
        worth = (
            sum(options[p][c] - 0.2 for p, c in enumerate(choice) if c)
            for choice in every
            if len(set(jets := [j for c in choice for j in c])) == len(jets)
        )
        got = sum(
            options[p][tuple(decoded.objects[b, p, : t.degree].tolist())] - 0.2
            for p, t in enumerate(topology.targets)
            if decoded.selected[b, p]
        )
        assert got == pytest.approx(max(worth), abs=1e-5)


def test_the_published_way_needs_pairs_and_joint_moderate_sizes():
    topology = Topology.bundled("ttbar")
    outputs = random_outputs(topology, [6], random_masks([6], 2))
    with pytest.raises(ValueError, match="symmetric pairs"):
        reference(outputs, topology, [6])
    topology = Topology.bundled("hh_resolved")
    with pytest.raises(ValueError, match="12 jets"):
        joint(random_outputs(topology, [13], random_masks([13], 2)), topology, [13])


def test_joint_restricts_the_original_to_own_inputs():
    topology, lengths = Topology.bundled("hhh"), [6, 3]
    masks = random_masks(lengths, 50, minimum=3)
    decoded = joint(random_outputs(topology, lengths, masks, all_objects=True, detection=(4, 1)), topology, lengths)
    assert int(decoded.objects[:, :3].max()) < 6
    fat = decoded.objects[:, 3:, 0]
    assert bool(((fat == -1) | (fat >= 6)).all())
    assert bool(decoded.selected.any())


# --- reference --------------------------------------------------------------------------------------------------------
def test_most_probable_count():
    p = torch.rand(50, 4, generator=torch.Generator().manual_seed(0))
    for row, n in zip(p.tolist(), most_probable_count(p).tolist(), strict=True):
        pmf = [0.0] * 5
        for bits in itertools.product((0, 1), repeat=4):
            pmf[sum(bits)] += math.prod(x if bit else 1 - x for x, bit in zip(row, bits, strict=True))
        assert n == int(np.argmax(pmf))


@pytest.mark.parametrize(("all_objects", "presence"), [(False, 0.0), (True, 0.0), (False, 0.8)])
def test_reference_is_the_published_loop(all_objects, presence):
    topology, lengths, batch = Topology.bundled("hhh"), [10, 3], 200
    masks = random_masks(lengths, batch, minimum=2)
    outputs = random_outputs(topology, lengths, masks, all_objects=all_objects, sharpness=1.5, detection=(0.3, 1.5))
    overlap = torch.rand(batch, 10, 3, generator=torch.Generator().manual_seed(2)) < 0.15
    decoded = reference(outputs, topology, lengths, overlap, presence=presence)
    raw = greedy(outputs, topology, lengths, group_factor=False)
    shifted = (
        1 / (1 + math.exp(-presence) * (1 / raw.detection_probability - 1)) if presence else raw.detection_probability
    )
    for b in range(batch):
        ap, dp = raw.assignment_probability[b].tolist(), shifted[b].tolist()
        objects = raw.objects[b].tolist()
        for p in range(3):
            if ap[p] < 1 / 169:
                dp[p] = 0.0
        kept = []
        for members in ((3, 4, 5), (0, 1, 2)):
            pmf = [0.0] * 4
            for bits in itertools.product((0, 1), repeat=3):
                pmf[sum(bits)] += math.prod(dp[p] if bit else 1 - dp[p] for p, bit in zip(members, bits, strict=True))
            ranked = sorted(members, key=lambda p: -dp[p] * ap[p])[: int(np.argmax(pmf))]
            for p in ranked:
                if p >= 3 and objects[p][0] > 9:
                    kept.append(p)
                if p < 3 and all(0 <= j <= 9 for j in objects[p]):
                    fats = [objects[q][0] - 10 for q in kept if q >= 3]
                    if not any(overlap[b, j, f] for j in objects[p] for f in fats):
                        kept.append(p)
        assert decoded.selected[b].nonzero().squeeze(1).tolist() == sorted(kept)


def test_overlap_matrix(events):
    topology = Topology.bundled("hhh")
    inputs, masks = events(topology, 20)
    near = overlap_matrix(topology, inputs, masks)
    phi = [torch.atan2(x[..., 2], x[..., 3]) for x in inputs]
    for b, j, f in itertools.product(range(20), range(10), range(3)):
        d = abs(float(phi[0][b, j] - phi[1][b, f]))
        d = min(d, 2 * math.pi - d)
        dr = math.hypot(float(inputs[0][b, j, 1] - inputs[1][b, f, 1]), d)
        assert bool(near[b, j, f]) == (dr < 0.5 and bool(masks[0][b, j]) and bool(masks[1][b, f]))
    assert near.any()
