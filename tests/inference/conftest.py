"""Templates of the closed-form checks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from hhh_coffea.inference.templates import Region, Template, Templates


def template(values: object, variances: object = None) -> Template:
    values = np.asarray(values, dtype=float)
    return Template(values, values.copy() if variances is None else np.asarray(variances, dtype=float))


@pytest.fixture
def one_region() -> Callable[..., Templates]:
    """Signal and background of one region with bins of width 1."""

    def make(signal: list[float], background: list[float], data: list[float] | None = None) -> Templates:
        samples = {"qcd": {"nominal": template(background)}, "hhh": {"nominal": template(signal)}}
        observed = None if data is None else np.asarray(data, dtype=float)
        return Templates((Region("sr", np.arange(len(signal) + 1.0), samples, observed),), ("hhh",))

    return make


@pytest.fixture
def two_regions() -> Templates:
    """Two regions, two backgrounds, one source of shapes, observed events that are not the expected ones."""
    x = np.arange(6)
    qcd, tt, hhh = 400 * np.exp(-x / 3), 60 * np.exp(-x / 4), 12 * np.exp(-((x - 4) ** 2) / 3)
    samples = {
        "qcd": {
            "nominal": template(qcd),
            "jer_up": template(qcd * (1 + 0.03 * x)),
            "jer_down": template(qcd * (1 - 0.02 * x)),
        },
        "tt": {"nominal": template(tt, 0.4 * tt)},
        "hhh": {
            "nominal": template(hhh),
            "jer_up": template(np.roll(hhh, 1) * 0.98),
            "jer_down": template(hhh * 1.03),
        },
    }
    control = {
        "qcd": {name: t.scaled(8) for name, t in samples["qcd"].items()},
        "hhh": {"nominal": template(hhh * 0.1)},
    }
    data = np.round((qcd + tt) * 1.04 + 1.5 * hhh), np.round(8 * qcd * 1.04)
    regions = (
        Region("4b", 50.0 * np.arange(7), samples, data[0], "mass [GeV]"),
        Region("3b", 50.0 * np.arange(7), control, data[1], "mass [GeV]"),
    )
    return Templates(regions, ("hhh",), 300.0)
