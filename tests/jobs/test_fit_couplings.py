"""Warnings of scans: where few simulated events are left."""

import numpy as np

from hhh_coffea.jobs.fit.couplings import _ranges


def test_ranges_of_neighbouring_values():
    values = np.array([-2.0, -1.0, 0.0, 1.0, 2.0, 3.0])
    assert _ranges(values, np.array([True, True, False, False, True, True])) == "-2 to -1, 2 to 3"
    assert _ranges(values, np.array([False, True, False, True, True, False])) == "-1, 1 to 2"
    assert _ranges(values, np.ones(6, dtype=bool)) == "-2 to 3"
