"""Several samples as one process: at each point the sample that was generated there, elsewhere Lagrange's sum."""

import numpy as np
import pytest

from hhh_coffea.analyses.self_couplings import HH, HHH
from hhh_coffea.inference.couplings.samples import SampleSet, combine
from hhh_coffea.inference.templates import NOMINAL, Region, Template, Templates

RNG = np.random.default_rng(5)
HHH_POINTS = HHH.best_points(np.stack([RNG.uniform(-5, 5, 200), RNG.uniform(-50, 50, 200)], axis=1))


def template():
    return Template(RNG.uniform(1, 9, 4), RNG.uniform(0.1, 0.9, 4))


def of(polynomial, points):
    """Samples with a systematic variation in the first one alone, and a background."""
    names = tuple(f"s{i}" for i in range(len(points)))
    samples = {name: {NOMINAL: template()} for name in names}
    samples["s0"]["jes_up"], samples["s0"]["jes_down"] = template(), template()
    samples["qcd"] = {NOMINAL: template()}
    region = Region("all", np.arange(5.0), samples)
    return Templates((region,), names), SampleSet("both", names, polynomial, np.asarray(points))


@pytest.mark.parametrize(("polynomial", "points"), [(HH, [[0.0], [1.0], [5.0]]), (HHH, HHH_POINTS)])
def test_each_sample_at_its_point(polynomial, points):
    templates, together = of(polynomial, points)
    combined, moments = combine(templates, together)
    assert combined.signals == ("both",)
    assert combined.processes == ("qcd", "both")
    assert set(moments) == {("all", "both", name) for name in (NOMINAL, "jes_up", "jes_down")}
    before = templates.regions[0].samples
    for i, point in enumerate(points):
        found = moments["all", "both", NOMINAL].at(point)
        assert found.values == pytest.approx(before[f"s{i}"][NOMINAL].values, rel=1e-9)
        assert found.variances == pytest.approx(before[f"s{i}"][NOMINAL].variances, rel=1e-6)
        varied = before[f"s{i}"].get("jes_up", before[f"s{i}"][NOMINAL])
        assert moments["all", "both", "jes_up"].at(point).values == pytest.approx(varied.values, rel=1e-9)


def test_at_the_reference_it_is_the_template():
    templates, together = of(HH, [[0.0], [2.0], [5.0]])
    combined, _ = combine(templates, together)
    factors = [(1 - 2) * (1 - 5) / 10, (1 - 0) * (1 - 5) / (2 * -3), (1 - 0) * (1 - 2) / 15]  # by hand
    before = templates.regions[0].samples
    values = sum(f * before[f"s{i}"][NOMINAL].values for i, f in enumerate(factors))
    variances = sum(f**2 * before[f"s{i}"][NOMINAL].variances for i, f in enumerate(factors))
    found = combined.regions[0].nominal("both")
    assert found.values == pytest.approx(values)
    assert found.variances == pytest.approx(variances)
    assert combined.regions[0].nominal("qcd") is before["qcd"][NOMINAL]


def test_a_region_without_one_of_the_samples():
    """A sample of which nobody passes counts as 0; a region without any has no such process."""
    templates, together = of(HH, [[0.0], [1.0], [5.0]])
    region = templates.regions[0]
    few = Region("few", region.edges, {n: s for n, s in region.samples.items() if n != "s1"})
    none = Region("none", region.edges, {"qcd": region.samples["qcd"]})
    combined, moments = combine(Templates((few, none), templates.signals), together)
    assert moments["few", "both", NOMINAL].at([1.0]).values == pytest.approx(np.zeros(4), abs=1e-12)
    assert list(combined.regions[1].samples) == ["qcd"]
