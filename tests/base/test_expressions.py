"""Expressions over the objects of an event: values by hand, and nothing but the language."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hhh_coffea.base.expressions import ExpressionError, parse

KNOWN = ("jets", "met", "candidates")
OBJECTS = {
    "jets": ak.Array(
        [
            [
                {"pt": 100.0, "eta": 0.0, "phi": 0.0, "mass": 0.0, "btag": 1},
                {"pt": 50.0, "eta": 0.0, "phi": np.pi, "mass": 0.0, "btag": 1},
                {"pt": 30.0, "eta": 1.0, "phi": 1.0, "mass": 5.0, "btag": 0},
            ],
            [{"pt": 60.0, "eta": -2.0, "phi": 0.5, "mass": 10.0, "btag": 0}],
            [],
        ]
    ),
    "met": ak.Array([{"pt": 10.0}, {"pt": 20.0}, {"pt": 30.0}]),
}
NAN = np.nan


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sum(jets.btag)", [2, 0, 0]),
        ("count(jets)", [3, 1, 0]),
        ("count(jets.pt > 40)", [2, 1, 0]),
        ("count(jets.pt)", [3, 1, 0]),
        ("jets.pt[0]", [100, 60, NAN]),
        ("jets[1].pt - 1", [49, NAN, NAN]),
        ("jets.pt[0] > 70", [True, False, False]),
        ("sum(jets[:2].pt)", [150, 60, 0]),
        ("sum(jets.pt[1:])", [80, 0, 0]),
        ("sum(jets[jets.btag == 1].pt)", [150, 0, 0]),
        ("max(jets.pt) / met.pt", [10, 3, NAN]),
        ("min(abs(jets.eta))", [0, 2, NAN]),
        ("product(jets.btag + 1)", [4, 1, 1]),
        ("any(jets.pt > 90) or met.pt > 25", [True, False, True]),
        ("all(jets.pt > 40)", [False, True, True]),
        ("not (40 < met.pt ** 2 / 10 <= 90)", [True, True, False]),
        ("mass(jets[:2])", [np.sqrt(4 * 100 * 50), 10, 0]),
        ("pt(jets[:2])", [50, 60, 0]),
        ("sqrt(met.pt + 90) + exp(log(1)) * -met.pt", [10 - 10, np.sqrt(110) - 20, np.sqrt(120) - 30]),
    ],
)
def test_values_by_hand(text, expected):
    np.testing.assert_allclose(parse(text, KNOWN)(OBJECTS), np.array(expected, dtype=float), atol=1e-5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("jet.pt[0]", "there is no 'jet'; there are jets, met, candidates"),
        ("open('x')", "no function 'open'; there are count"),
        ("__import__('os')", "no function '__import__'"),
        ("jets.__class__", "'jets.__class__' is not allowed"),
        ("jets.pt.sum()", "is not allowed"),
        ("(lambda: 1)()", "is not allowed"),
        ("[j for j in jets]", "is not allowed"),
        ("jets if True else met", "is not allowed"),
        ("jets.pt @ jets.pt", "is not allowed"),
        ("'a' + jets.pt", "'a'' is not allowed|\"'a'\" is not allowed"),
        ("jets := 1", "invalid syntax"),
        ("jets.pt >", "invalid syntax"),
        ("1 + 1", "speaks of no object"),
        ("sum(jets.pt, jets.eta)", "sum takes one value"),
        ("jets.pt[-1]", "speaks|allowed|positions|"),
        ("+" * 2000, "longer than"),
        ("(" * 500 + "jets", "cannot be read|never closed|too many"),
    ],
)
def test_what_is_not_in_the_language(text, message):
    with pytest.raises(ExpressionError, match=message):
        parse(text, KNOWN)(OBJECTS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("jets.pt", "is a list of each event"),
        ("met", "is no value of each event"),
        ("candidates.pt[0]", "these events have no 'candidates'; they have jets, met"),
        ("jets.charge[0]", "jets has no 'charge'; it has pt, eta"),
        ("met.pt[0]", "only a list per event has positions"),
        ("sum(met.pt)", "take a list of each event"),
        ("mass(jets.pt)", "objects with pt, eta, phi, mass"),
    ],
)
def test_what_events_do_not_have(text, message):
    with pytest.raises(ExpressionError, match=message):
        parse(text, KNOWN)(OBJECTS)


@given(st.text(alphabet="jets.ptmcou()[]0123456789:<>=+-*/ andornot_'", max_size=40))
def test_any_text_is_refused_or_computed(text):
    """Nothing but an ExpressionError comes out of nonsense."""
    try:
        values = parse(text, KNOWN)(OBJECTS)
    except ExpressionError:
        return
    assert len(values) == 3


def test_large_powers_are_numbers():
    assert parse("met.pt * 9 ** 9 ** 9", KNOWN)(OBJECTS).tolist() == [np.inf] * 3
