"""Exclusive matching of quarks to jets against a plain loop, by hand, and under changes of order."""

import awkward as ak
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hhh_coffea.reconstruction.matching import match_nearest, match_quarks


def jets_of(events, index=None):
    """Jets from (η, φ) lists; ``index`` is the order in the file."""
    counts = [len(event) for event in events]
    rows = np.array([row for event in events for row in event], dtype=float).reshape(-1, 2)
    number = np.concatenate([np.arange(n) for n in counts]) if index is None else np.concatenate(index)
    columns = {"eta": rows[:, 0], "phi": rows[:, 1], "index": number.astype(np.int64)}
    return ak.unflatten(ak.zip(columns), counts)


def quarks_of(events):
    rows = np.array(events, dtype=float)
    return rows[..., 0], rows[..., 1]


def by_loop(jets, quarks, radius):
    """Take the nearest pair, strike both, repeat."""
    pairs = []
    for q, (eta, phi) in enumerate(quarks):
        for j, (jet_eta, jet_phi) in enumerate(jets):
            delta_phi = abs(phi - jet_phi)
            delta_phi = min(delta_phi, 2 * np.pi - delta_phi)
            if (distance := (eta - jet_eta) ** 2 + delta_phi**2) < radius**2:
                pairs.append((distance, q, j))
    found = [-1] * len(quarks)
    for _, q, j in sorted(pairs):
        if found[q] == -1 and j not in found:
            found[q] = j
    return found


def test_a_jet_goes_to_the_nearer_quark_and_the_other_takes_its_next():
    """Jet 1 is the nearest jet of quarks 0 and 1; quark 2 is matched across φ = π; quark 3 is too far."""
    jets = jets_of([[(0.3, 0.0), (0.0, 0.0), (2.0, -3.1), (-2.0, 1.0)]])
    eta, phi = quarks_of([[(0.1, 0.0), (0.05, 0.0), (2.0, 3.1), (-2.0, 1.5)]])
    assert match_quarks(jets, eta, phi, 0.4).tolist() == [[0, 1, 2, -1]]


def test_the_radius_itself_is_not_matched():
    jets = jets_of([[(0.5, 0.0)], [(0.5, 0.0)]])
    eta, phi = quarks_of([[(0.0, 0.0)], [(0.0000001, 0.0)]])
    assert match_quarks(jets, eta, phi, 0.5).tolist() == [[-1], [0]]


def test_ties_go_to_the_first_quark_and_the_first_jet_of_the_file():
    jets = jets_of([[(0.25, 0.0), (-0.25, 0.0)]], index=[[1, 0]])
    assert match_quarks(jets, *quarks_of([[(0.0, 0.0), (5.0, 0.0)]]), 0.4).tolist() == [[1, -1]]
    jets = jets_of([[(0.0, 0.0)]])
    assert match_quarks(jets, *quarks_of([[(0.25, 0.0), (-0.25, 0.0)]]), 0.4).tolist() == [[0, -1]]


def test_absent_quarks_and_empty_events():
    jets = jets_of([[], [(0.0, 0.0)]])
    eta, phi = quarks_of([[(0.0, 0.0), (0.1, 0.0)], [(np.nan, np.nan), (0.1, 0.0)]])
    assert match_quarks(jets, eta, phi, 0.4).tolist() == [[-1, -1], [-1, 0]]
    assert match_quarks(jets[:0], eta[:0], phi[:0], 0.4).shape == (0, 2)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_equals_the_loop_and_does_not_depend_on_order(seed, n_quarks):
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 9, 30)
    events = [np.column_stack([rng.uniform(-1, 1, n), rng.uniform(-np.pi, np.pi, n) / 4]) for n in counts]
    directions = np.stack([rng.uniform(-1, 1, (30, n_quarks)), rng.uniform(-np.pi, np.pi, (30, n_quarks)) / 4], axis=2)
    found = match_quarks(jets_of(events), *quarks_of(directions), 0.4)
    assert found.tolist() == [by_loop(*event, 0.4) for event in zip(events, directions, strict=True)]

    shuffles = [rng.permutation(n) for n in counts]
    shuffled = [event[order] for event, order in zip(events, shuffles, strict=True)]
    again = match_quarks(jets_of(shuffled, shuffles), *quarks_of(directions), 0.4)
    back = [[order[p] if p >= 0 else -1 for p in row] for order, row in zip(shuffles, again, strict=True)]
    assert back == found.tolist()
    order = rng.permutation(n_quarks)
    assert match_quarks(jets_of(events), *quarks_of(directions[:, order]), 0.4).tolist() == found[:, order].tolist()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(-8, 8), max_size=7), st.lists(st.integers(-8, 8), max_size=6))
def test_nearest_first_is_one_pair_at_a_time_and_settles_ties(eta, of_eta):
    """Directions on a grid: many pairs are equally near."""
    square = {(p, i): (a - b) ** 2 / 64 for i, a in enumerate(eta) for p, b in enumerate(of_eta)}
    expected = [-1] * len(of_eta)
    for p, i in sorted(square, key=lambda pair: (square[pair], pair)):
        if expected[p] == -1 and i not in expected and square[p, i] < 0.5**2:
            expected[p] = i
    grid = np.array(eta) / 8
    objects = (grid, np.zeros(len(eta)), np.array([len(eta)]), np.ones(len(eta), dtype=bool))
    of_eta = np.reshape(of_eta, (1, -1, 1)) / 8
    found = match_nearest(objects, np.arange(len(eta)), (of_eta, np.zeros_like(of_eta)), 0.5)
    assert found.tolist() == [expected]
