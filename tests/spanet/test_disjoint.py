"""Joint decoding of targets with any number of daughters, against every choice there is."""

import itertools
import math

import pytest

torch = pytest.importorskip("torch")

from hhh_coffea.spanet.decoding import any_targets  # noqa: E402
from hhh_coffea.spanet.decoding import disjoint as module  # noqa: E402
from hhh_coffea.spanet.decoding.complete import complete  # noqa: E402
from hhh_coffea.spanet.decoding.decode import greedy, joint  # noqa: E402
from hhh_coffea.topology.topology import Topology  # noqa: E402

from .test_decode import random_masks, random_outputs  # noqa: E402

CASES = [("ttbar_semileptonic", [6, 1]), ("tth_semileptonic", [7, 1]), ("ttbar", [6]), ("semi_leptonic_ttH", [6])]


def choices(outputs, topology, event, most):
    """Every assignment of each target (or none), none of them sharing an object: ((objects or None) of each target)."""
    tables = []
    for target in topology.targets:
        logp = outputs.assignment[target.name][event]
        found = {tuple(at) for at in itertools.permutations(range(most), target.degree) if logp[at] > -math.inf}
        tables.append([None, *sorted({min(tuple(at[i] for i in g) for g in target.group) for at in found})])
    for chosen in itertools.product(*tables):
        used = [i for at in chosen if at for i in at]
        if len(set(used)) == len(used):
            yield chosen


def log_ap(outputs, topology, event, chosen):
    return [
        math.log(len(t.group)) + float(outputs.assignment[t.name][event][at]) if at else None
        for t, at in zip(topology.targets, chosen, strict=True)
    ]


@pytest.mark.parametrize(("name", "lengths"), CASES)
@pytest.mark.parametrize("sharpness", [0.5, 3.0])
def test_it_is_the_best_of_all_choices(name, lengths, sharpness):
    topology, events = Topology.bundled(name), 30
    masks = random_masks(lengths, events, minimum=3)
    outputs = random_outputs(topology, lengths, masks, sharpness=sharpness)
    for way, decoded in (("all", complete(outputs, topology, lengths)), ("joint", joint(outputs, topology, lengths))):
        for b in range(events):
            dp = [float(outputs.detection[n][b]) for n in topology.target_names]

            def gain(chosen, b=b, dp=dp, way=way):
                logs = log_ap(outputs, topology, b, chosen)
                if way == "all":  # first as many targets as possible
                    return sum(x is not None for x in logs), sum(x or 0.0 for x in logs)
                return (sum(x + d for x, d in zip(logs, dp, strict=True) if x is not None),)

            found = [
                tuple(decoded.objects[b, i, : t.degree].tolist()) if decoded.selected[b, i] else None
                for i, t in enumerate(topology.targets)
            ]
            used = [i for at in found if at for i in at]
            assert len(set(used)) == len(used)
            best = max(gain(c) for c in choices(outputs, topology, b, int(masks[0][b].sum())))
            assert gain(tuple(found)) == pytest.approx(best, abs=1e-4)
            ap = [math.exp(x) if x is not None else 0.0 for x in log_ap(outputs, topology, b, tuple(found))]
            assert decoded.assignment_probability[b].tolist() == pytest.approx(ap, rel=1e-4)


def test_parts_of_similar_multiplicity_change_nothing(monkeypatch):
    topology, lengths = Topology.bundled("tth_semileptonic"), [9, 1]
    outputs = random_outputs(topology, lengths, random_masks(lengths, 200, minimum=2))
    found = {}
    for lot in (1, 10**6):
        monkeypatch.setattr(any_targets, "LOT", lot)
        found[lot] = [*complete(outputs, topology, lengths), *joint(outputs, topology, lengths, presence=0.3)]
    for one, other in zip(*found.values(), strict=True):
        assert torch.equal(one, other)


def test_the_best_ones_are_taken_where_they_do_not_clash():
    """Greedy finds the same wherever no object is wanted twice, and nothing better elsewhere."""
    topology, lengths = Topology.bundled("tth_semileptonic"), [10, 1]
    outputs = random_outputs(topology, lengths, random_masks(lengths, 300, minimum=6), sharpness=4.0)
    exact, simple = complete(outputs, topology, lengths), greedy(outputs, topology, lengths, own_input=True)
    sums = [found.assignment_probability.log().sum(1) for found in (exact, simple)]
    assert bool((sums[0] >= sums[1] - 1e-4).all())
    assert bool((sums[0] > sums[1] + 1e-3).any())
    assert bool(exact.selected.all())
    assert int(exact.objects.max()) < 10  # neither the lepton nor MET


def test_alternatives_of_a_particle_exclude_each_other():
    """A top quark as three jets or as one large-radius jet, never both; ``all`` takes the three jets."""
    topology = Topology.from_text(
        """
INPUTS: {SEQUENTIAL: {Jets: {pt: none}, Fat: {fj_pt: none}}}
EVENT: {t: [{b: Jets}, {q1: Jets}, {q2: Jets}], bt: [{fat: Fat}]}
PERMUTATIONS: {t: [[q1, q2]]}
"""
    )
    outputs = random_outputs(topology, [5, 2], random_masks([5, 2], 200, minimum=3), detection=(2.0, 1.5))
    decoded = joint(outputs, topology, [5, 2])
    assert not bool(decoded.selected.all(1).any())
    assert bool(decoded.selected.any(0).all())
    assert complete(outputs, topology, [5, 2]).selected.tolist() == [[True, False]] * 200


def test_no_more_objects_than_bits():
    topology = Topology.bundled("hh_resolved")
    with pytest.raises(ValueError, match="at most 62"):
        module.best_disjoint_choice([torch.zeros(1, 1)], [torch.tensor([[61]]).numpy()], 0.0)
    assert len(topology.targets) == 2
