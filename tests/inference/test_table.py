"""Numbers as the tables of a fit show them."""

import pytest

from hhh_coffea.inference.table import number


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.0026034, "0.00260"),
        (0.99999, "1.00"),
        (99.96, "100"),
        (123.4, "123"),
        (77_979.4, "77,979"),
        (2.43e-5, "2.43e-05"),
        (5.14e7, "5.14e+07"),
        (-3.4, "-3.40"),
        (float("inf"), "inf"),
    ],
)
def test_three_significant_digits(value, text):
    assert number(value) == text
