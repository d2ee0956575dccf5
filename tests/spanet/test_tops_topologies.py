"""The event topologies of semi-leptonic tops: they read, MET and lepton are never assigned, background trains heads alone."""

import pytest
import torch

from hhh_coffea.spanet.checkpoint import build
from hhh_coffea.spanet.decoding.decode import greedy
from hhh_coffea.spanet.training.loss import LossOptions, symmetric_loss
from hhh_coffea.topology.kinds import collection_of, same_targets
from hhh_coffea.topology.topology import Topology

from .test_loss import B, random_outputs, random_truth

SMALL = {
    "original": {"hidden_dim": 16, "num_attention_heads": 2},
    "default": {"hidden_dim": 16, "num_encoder_layers": 1, "pair_dim": 8},
}


def test_they_read():
    """Two top quarks, of which one has light quarks that may be exchanged; a Higgs boson in ttH."""
    ttbar, tth, original = (
        Topology.bundled(name) for name in ("ttbar_semileptonic", "tth_semileptonic", "semi_leptonic_ttH")
    )
    for topology, names in ((ttbar, ["lt", "ht"]), (tth, ["lt", "ht", "h"]), (original, ["lt", "ht", "h"])):
        assert [target.name for target in topology.targets] == names
        assert topology.targets[1].group == ((0, 1, 2), (0, 2, 1))
        assert len(topology.event_group) == 1
        assert [i.name for i in topology.inputs if i.kind == "global"] == ["Met"]
    for topology in (ttbar, tth):
        assert [collection_of(i) for i in topology.inputs] == ["jets", "leptons", "met"]
        assert {source for target in topology.targets for source in target.sources} == {"Jets"}
        assert [r.key for r in topology.regressions] == ["EVENT/neutrino_eta", "EVENT/log_mtt"]
    assert tth.classifications == original.classifications == ("EVENT/signal",)


def test_the_analyses_have_their_targets():
    from hhh_coffea.analyses import load_analysis
    from hhh_coffea.topology.kinds import kinds_of

    for name in ("ttbar_semileptonic", "tth_semileptonic"):
        topology, analysis = Topology.bundled(name), load_analysis(name)
        assert same_targets(kinds_of(topology), analysis.kinds)
        assert {r.key for r in topology.regressions} <= set(analysis.regressions)
        assert set(topology.classifications) <= set(analysis.classifications)


@pytest.mark.parametrize("architecture", ["original", "default"])
@pytest.mark.parametrize(
    ("name", "lengths"),
    [("ttbar_semileptonic", [9, 1]), ("tth_semileptonic", [7, 1]), ("semi_leptonic_ttH", [8])],
)
def test_met_and_lepton_are_never_assigned(architecture, name, lengths):
    """With any weights: every assigned object is one of the sequential input of the daughter; MET comes after those."""
    topology = Topology.bundled(name)
    torch.manual_seed(5)
    model = build(topology, architecture, SMALL[architecture], dict.fromkeys(topology.classifications, 2)).eval()
    g = torch.Generator().manual_seed(1)
    inputs, masks = [], []
    for one, m in zip(topology.inputs, [*lengths, 1], strict=True):
        inputs.append(torch.rand(64, m, len(one.feature_names), generator=g) * 3 + 0.5)
        masks.append(torch.ones(64, m, dtype=torch.bool))
    with torch.inference_mode():
        found = greedy(model(inputs, masks), topology, lengths, own_input=True)
    assert bool(found.objects.max() < lengths[0])
    assert bool((found.objects[:, 1] >= 0).all())  # t_H always has its three jets


def test_background_contributes_to_its_class_and_regressions_only():
    """Rows without any target: no loss of assignment, the same as if they were not there, but a class to learn."""
    topology = Topology.bundled("semi_leptonic_ttH")
    lengths = [7]
    outputs, truth = random_outputs(topology, lengths), random_truth(topology, lengths)
    for target in topology.targets:
        truth.present[target.name][:] = False
        truth.objects[target.name][:] = -1
        outputs.assignment[target.name].requires_grad_()
    for r in topology.regressions:
        outputs.regression[r.key] = torch.ones(B, requires_grad=True)
        truth.regression[r.key] = torch.zeros(B)
    outputs.classification["EVENT/signal"] = torch.zeros(B, 2, requires_grad=True)
    truth.classification["EVENT/signal"] = torch.zeros(B, dtype=torch.int64)
    options = LossOptions(regression=1.0, classification=1.0)
    loss = symmetric_loss(outputs, truth, topology, lengths, options)
    loss.total.backward()
    assignment = [float(value.detach()) for key, value in loss.terms.items() if key.startswith("assignment")]
    assert assignment == [0.0] * len(topology.targets)
    for target in topology.targets:
        gradient = outputs.assignment[target.name].grad
        assert gradient is None or not gradient.any()
    assert outputs.classification["EVENT/signal"].grad.any()
    assert all(outputs.regression[r.key].grad.any() for r in topology.regressions)
