"""Flat and jagged arrays, by hand and against loops."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hhh_coffea.base.arrays import event_of, flat, product_in_event, rank_in_event, records, taken, unflatten


def test_products_by_hand():
    event = np.array([0, 0, 2, 2, 2, 4])
    values = np.array([2.0, 3.0, 1.0, 5.0, 2.0, 7.0])
    assert product_in_event(values, event, 6).tolist() == [6.0, 1.0, 10.0, 1.0, 7.0, 1.0]
    assert product_in_event(values[:0], event[:0], 2).tolist() == [1.0, 1.0]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(st.integers(0, 3), max_size=5), max_size=8), st.data())
def test_events_and_ranks_equal_those_of_python(events, data):
    counts = np.array([len(event) for event in events], dtype=np.int64)
    values = np.array([value for event in events for value in event], dtype=float)
    ranks = [sorted(range(len(e)), key=lambda k: (-e[k], k)).index(i) for e in events for i in range(len(e))]
    assert rank_in_event(values, counts).tolist() == ranks
    index = np.array([i for i in range(len(values)) if data.draw(st.booleans())], dtype=np.int64)
    assert event_of(index, counts).tolist() == [[n for n, e in enumerate(events) for _ in e][i] for i in index]


def test_taken_columns_are_those_of_the_chosen_objects():
    lists = unflatten({"x": np.arange(5.0), "p": records({"y": np.arange(5)})}, np.array([2, 0, 3]))
    chosen = taken(lists, np.array([1, 4, 2]), np.array([1, 0, 2]))
    assert chosen.x.tolist() == [[1.0], [], [4.0, 2.0]]
    again = taken(chosen[1:], np.array([1]), np.array([0, 1]))
    assert (again.tolist(), flat(again.p.y).tolist()) == ([[], [{"x": 2.0, "p": {"y": 2}}]], [2])
