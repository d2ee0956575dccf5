"""Transformation D: by hand, and what holds for any spectrum (spec: tests of automatic binning)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hhh_coffea.inference.binning import TransformationD, rebinned, transformation_d
from hhh_coffea.inference.templates import TemplateError


def test_uniform_spectra_give_equal_bins():
    flat = np.ones(1000)
    found = transformation_d(flat, flat, TransformationD(z_signal=2.5, z_background=2.5))
    assert found.tolist() == [0, 200, 400, 600, 800, 1000]


def test_by_hand_with_overshoot_and_leftover():
    # Z of each fine bin in hundredths, from the background alone: z_background = 4 and totals of 400
    fine = np.array([10, 30, 20, 40, 90, 15, 5, 40, 50, 30, 60, 10], dtype=float)
    # from the right: 10+60 = 70, +30 = 100: not above 1, +50 = 150. Before |1/1.00 − 1| = 0, so bin 9 to 11 (sum 100)
    # then 50+40 = 90, +5 = 95, +15 = 110: |1/1.10 − 1| = 0.091 > |1/0.95 − 1| = 0.053, so 15 goes on: bin 6 to 8 (95)
    # then 15+90 = 105 > 1; before 0.15: |1/1.05 − 1| = 0.048 < 5.7, so it stays: bin 4 to 5 (105)
    # then 40+20+30+10 = 100: never above 1; the leftover is the fourth bin, and four are allowed
    found = transformation_d(np.ones(12), fine, TransformationD(z_signal=0, z_background=4))
    assert found.tolist() == [0, 4, 6, 9, 12]


def test_leftover_that_is_one_bin_too_many_joins_its_neighbour():
    # 400 hundredths; bins of 105, 105, 105 from the right leave 85: with z = 3.5 that is a fourth of at most 3.5
    fine = np.array([85, 105, 105, 105], dtype=float)
    scaled = fine / 400 * 3.5  # Z of each: 0.74, 0.92, 0.92, 0.92
    assert scaled.sum() == pytest.approx(3.5)
    found = transformation_d(np.ones(4), fine, TransformationD(z_signal=0, z_background=3.5))
    # from the right: 0.92, +0.92 = 1.84 > 1, but |1/1.84 − 1| = 0.46 > |1/0.92 − 1| = 0.09: a bin of one, three times;
    # 0.74 is left over: it would be the fourth of 3.5 bins
    assert found.tolist() == [0, 2, 3, 4]


def test_bin_without_background_is_extended():
    signal, background = np.array([0.0, 0.0, 0.0, 10.0]), np.array([6.0, 3.0, 1.0, 0.0])
    found = transformation_d(signal, background, TransformationD(z_signal=2, z_background=2))
    assert all(part.sum() > 0 for part in np.split(background, found[1:-1]))


def test_no_events_are_refused():
    with pytest.raises(TemplateError, match="the signal adds up to 0 events"):
        transformation_d(np.zeros(4), np.ones(4), TransformationD())


def test_region_is_named(one_region):
    with pytest.raises(TemplateError, match="region 'sr': automatic binning: the background adds up to 0"):
        rebinned(one_region([1, 2], [0, 0]), TransformationD())


@given(
    st.lists(st.tuples(st.floats(0, 10), st.floats(0, 100)), min_size=3, max_size=200),
    st.integers(1, 10),
    st.integers(0, 10),
)
def test_any_spectrum(fine, z_signal, z_background):
    signal, background = np.array(fine).T
    if signal.sum() <= 1e-6 or background.sum() <= 1e-6:
        return
    found = transformation_d(signal, background, TransformationD(z_signal=z_signal, z_background=z_background))
    assert found[0] == 0
    assert found[-1] == len(signal)
    assert (np.diff(found) > 0).all()
    # no bound on the number of bins: coarse fine bins may each fall short of 1, see the leftover test
    for part in np.split(background, found[1:-1]):
        assert part.sum() > 0
    assert np.add.reduceat(signal, found[:-1]).sum() == pytest.approx(signal.sum())
