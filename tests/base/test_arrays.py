"""Products in events, by hand."""

import numpy as np

from hhh_coffea.base.arrays import product_in_event


def test_products_by_hand():
    event = np.array([0, 0, 2, 2, 2, 4])
    values = np.array([2.0, 3.0, 1.0, 5.0, 2.0, 7.0])
    assert product_in_event(values, event, 6).tolist() == [6.0, 1.0, 10.0, 1.0, 7.0, 1.0]
    assert product_in_event(values[:0], event[:0], 2).tolist() == [1.0, 1.0]
