"""Event files of the shapes that CMS analyses of HH → 4b and ttH(bb) use: each reads, and means what it says."""

import pytest
from conftest import REPOSITORY

from hhh_coffea.topology.topology import Topology, TopologyError

JET = "{ptPnetRegNeutrino: log_normalize, eta: normalize, phi: normalize, btagPNetB_5wp: normalize}"
H1_H2 = "h1: [{b1: Jet}, {b2: Jet}]\n  h2: [{b3: Jet}, {b4: Jet}]"
SYMMETRIC = "h1: [[b1, b2]]\n  h2: [[b3, b4]]\n  EVENT: [[h1, h2]]"


def text(inputs, event, permutations, more=""):
    return f"INPUTS:\n{inputs}\nEVENT:\n  {event}\nPERMUTATIONS:\n  {permutations}\n{more}"


SHAPES = {
    # name: (event file, number of elements of the group of the event, targets)
    "pairing of five jets": (text(f"  SEQUENTIAL:\n    Jet: {JET}", H1_H2, SYMMETRIC), 2, 2),
    "booleans, the older spelling": (
        text("  SEQUENTIAL:\n    Jet: {pt: true, eta: true, phi: false}", H1_H2, SYMMETRIC),
        2,
        2,
    ),
    "daughters without an input": (
        text(f"  SEQUENTIAL:\n    Jet: {JET}", "h1: [b1, b2]\n  h2: [b3, b4]", SYMMETRIC),
        2,
        2,
    ),
    "empty sections": (
        text(f"  SEQUENTIAL:\n    Jet: {JET}\n  GLOBAL:", H1_H2, SYMMETRIC, "REGRESSIONS:\nCLASSIFICATIONS:\n"),
        2,
        2,
    ),
    "differences of ordinals, ratios of scores": (
        text(
            "  SEQUENTIAL:\n    Jet: {pt: log_normalize, eta: normalize, phi: normalize, btag12_ratio: normalize, "
            "btag34_delta: normalize}",
            H1_H2,
            SYMMETRIC,
        ),
        2,
        2,
    ),
    "exchangeable Higgs bosons of different inputs": (
        text(
            f"  SEQUENTIAL:\n    JetH1: {JET}\n    JetH2: {JET}",
            "h1: [{b1: JetH1}, {b2: JetH1}]\n  h2: [{b3: JetH2}, {b4: JetH2}]",
            SYMMETRIC,
        ),
        1,
        2,
    ),
    "VBF in one list of nine jets": (
        text(
            f"  SEQUENTIAL:\n    Jet: {JET}",
            f"{H1_H2}\n  vbf: [{{q1: Jet}}, {{q2: Jet}}]",
            f"{SYMMETRIC}\n  vbf: [[q1, q2]]",
        ),
        2,
        3,
    ),
    "VBF alone, Higgs quantities as GLOBAL": (
        text(
            f"  SEQUENTIAL:\n    JetVBF: {JET}\n  GLOBAL:\n    Higgs: {{HH_mass: log_normalize, H1_pt: log_normalize}}",
            "vbf: [{q1: JetVBF}, {q2: JetVBF}]",
            "vbf: [[q1, q2]]",
        ),
        1,
        1,
    ),
    "signal against background in candidate order": (
        text(
            f"  SEQUENTIAL:\n    Jet: {JET}\n  GLOBAL:\n    Event: {{HT: log_normalize, dR_min: normalize}}",
            H1_H2,
            SYMMETRIC,
            "CLASSIFICATIONS:\n  EVENT: [class]\n",
        ),
        2,
        2,
    ),
    "ttHbb, semileptonic": (
        text(
            "  SEQUENTIAL:\n    JetGood: {pt: log_normalize, eta: normalize, sin_phi: none, cos_phi: none, btag_L: none, "
            "btag_M: none, CvL: none, CvB: none, qgl: none}\n    LeptonGood: {pt: log_normalize, eta: normalize, "
            "is_electron: none}\n  GLOBAL:\n    MET: {pt: log_normalize, sin_phi: none, cos_phi: none}",
            "t1: [{q1: JetGood}, {q2: JetGood}, {b: JetGood}]\n  t2: [{l: LeptonGood}, {b: JetGood}]\n"
            "  h: [{b1: JetGood}, {b2: JetGood}]",
            "t1: [[q1, q2]]\n  h: [[b1, b2]]",
            "CLASSIFICATIONS:\n  EVENT: [process]\n",
        ),
        1,
        3,
    ),
    "ttHbb, fully hadronic": (
        text(
            f"  SEQUENTIAL:\n    Jet: {JET}",
            "t1: [{q1: Jet}, {q2: Jet}, {b: Jet}]\n  t2: [{q1: Jet}, {q2: Jet}, {b: Jet}]\n  h: [{b1: Jet}, {b2: Jet}]",
            "t1: [[q1, q2]]\n  t2: [[q1, q2]]\n  h: [[b1, b2]]\n  EVENT: [[t1, t2]]",
            "REGRESSIONS:\n  EVENT: [[m_tt, log_gaussian]]\n  h: {PARTICLE: [mass, [pt, laplacian]]}\n",
        ),
        2,
        3,
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_it_reads(name):
    content, order, targets = SHAPES[name]
    found = Topology.from_text(content, "event.yaml")
    assert len(found.event_group) == order
    assert len(found.targets) == targets
    assert all(target.group for target in found.targets)
    # what is read in another way than the file says is told
    assert [note for note in found.notes if "draw from different inputs" in note] == list(found.notes)
    assert bool(found.notes) == (name == "exchangeable Higgs bosons of different inputs")


def test_the_example_of_the_page():
    found = Topology.from_file(REPOSITORY / "docs" / "examples" / "hh4b_vbf.yaml")
    assert found.target_names == ("h1", "h2", "vbf")
    assert found.symmetric_classes == ((0, 1), (2,))
    assert found.targets[2].sources == ("JetVBF", "JetVBF")
    assert found.alternatives == ((0,), (1,), (2,))


def test_without_objects_nothing_can_be_assigned():
    """The one shape that is refused: event quantities alone, with targets that have no objects to be made of."""
    content = text("  GLOBAL:\n    Event: {HT: log_normalize}", "h1: [b1, b2]", "h1: [[b1, b2]]")
    with pytest.raises(TopologyError, match=r"event\.yaml, line 2, INPUTS/SEQUENTIAL: at least one sequential input"):
        Topology.from_text(content, "event.yaml")
