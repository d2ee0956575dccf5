"""Decoding ``all`` against every choice of disjoint pairs, and its margin."""

import itertools
import math

import pytest

torch = pytest.importorskip("torch")

from hhh_coffea.spanet.decoding.complete import complete, margin  # noqa: E402
from hhh_coffea.spanet.network.outputs import Outputs  # noqa: E402
from hhh_coffea.topology.topology import Topology  # noqa: E402


def outputs_of(topology, n_jets, n_fat, events, seed=3):
    """Random symmetric probabilities over pairs of distinct jets, and over fat jets."""
    generator = torch.Generator().manual_seed(seed)
    assignment, detection = {}, {}
    for target in topology.targets:
        if target.degree == 2:
            score = torch.randn(events, n_jets, n_jets, generator=generator)
            score = score + score.transpose(1, 2)
            score[:, range(n_jets), range(n_jets)] = -torch.inf
        else:
            score = torch.randn(events, n_fat, generator=generator)
        assignment[target.name] = score.flatten(1).log_softmax(1).view_as(score)
        detection[target.name] = 5 * torch.randn(events, generator=generator)
    return Outputs(assignment, detection)


def every_choice(outputs, names, n_jets, event, without=()):
    """(Σ ln AP, Σ P, pairs) of every way to give each target a pair of jets."""
    pairs = [p for p in itertools.combinations(range(n_jets), 2) if p not in without]
    for chosen in itertools.permutations(pairs, len(names)):
        if len({j for pair in chosen for j in pair}) == 2 * len(names):
            one = [float(outputs.assignment[n][event, a, b]) for n, (a, b) in zip(names, chosen, strict=True)]
            yield sum(math.log(2) + x for x in one), sum(math.exp(x) for x in one), chosen


@pytest.mark.parametrize(("name", "n_jets"), [("hh", 5), ("hh", 4), ("hh_resolved", 6), ("hhh", 6)])
def test_it_is_the_best_of_all_choices(name, n_jets):
    topology = Topology.bundled(name)
    names = [t.name for t in topology.targets if t.degree == 2]
    fat = list(topology.sequential)[1:]
    lengths = [n_jets, *(3 for _ in fat)]
    outputs = outputs_of(topology, n_jets, 3, 12)
    found = complete(outputs, topology, lengths)
    margins = margin(outputs, topology, lengths, found)
    for event in range(12):
        best = max(every_choice(outputs, names, n_jets, event))
        chosen = tuple(tuple(sorted(found.objects[event, i].tolist())) for i in range(len(names)))
        assert chosen == best[2]
        assert found.selected[event].tolist() == [t.degree == 2 for t in topology.targets]
        ap = [2 * math.exp(float(outputs.assignment[n][event, a, b])) for n, (a, b) in zip(names, chosen, strict=True)]
        assert found.assignment_probability[event, : len(names)].tolist() == pytest.approx(ap, rel=1e-5)
        others = list(every_choice(outputs, names, n_jets, event, without=chosen))
        if others:  # with too few jets the second best has fewer pairs
            assert float(margins[event]) == pytest.approx(best[1] - max(others)[1], abs=1e-5)
    dp = torch.stack([outputs.detection[t.name] for t in topology.targets], dim=1).sigmoid()
    assert torch.equal(found.detection_probability, dp)


def test_padding_is_never_taken():
    topology = Topology.bundled("hh_resolved")
    outputs = outputs_of(topology, 6, 0, 3)
    for value in outputs.assignment.values():  # jets 4 and 5 are not there; in the last event neither are 2 and 3
        value[:, 4:], value[:, :, 4:] = -torch.inf, -torch.inf
        value[2, 2:], value[2, :, 2:] = -torch.inf, -torch.inf
    found = complete(outputs, topology, [6])
    assert found.selected.tolist() == [[True, True], [True, True], [True, False]] or found.selected[2].sum() == 1
    assert int(found.objects.max()) < 4
