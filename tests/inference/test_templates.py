"""Templates of histograms, what is checked before a model is made of them, and the normalisation."""

from __future__ import annotations

from dataclasses import replace

import hist
import numpy as np
import pytest
from hist import Hist

from hhh_coffea.datasets.normalisation import Normalisation, NormalisationError, event_scales, expected_events
from hhh_coffea.inference.checks import usable
from hhh_coffea.inference.templates import Template, TemplateError, Templates, from_histogram


def histogram() -> Hist:
    names = [hist.axis.StrCategory([], growth=True, name=n) for n in ("region", "dataset", "variation")]
    result = Hist(*names, hist.axis.Regular(4, 0, 4, name="mass", label="m [GeV]"), storage=hist.storage.Weight())
    result.fill("sr", "hh", "nominal", [1.5, 2.5, 9], weight=2)  # 9 is overflow
    result.fill("sr", "qcd", "nominal", [-1, 0.5, 1.5, 2.5, 3.5])  # −1 is underflow
    result.fill("sr", "qcd", "jer_up", [0.5, 1.5, 2.5, 3.5, 3.5])
    result.fill("sr", "qcd", "jer_down", [0.5, 0.5, 1.5, 2.5, 3.5])
    result.fill("sr", "data", "nominal", [0.5, 1.5])
    return result


def changed(templates: Templates, process: str, **variations: object) -> Templates:
    """The same with other templates of one process in the first region."""
    first = templates.regions[0]
    made = {n: Template(np.asarray(v, float), np.abs(np.asarray(v, float))) for n, v in variations.items()}
    samples = {**first.samples, process: {**first.samples.get(process, {}), **made}}
    return replace(templates, regions=(replace(first, samples=samples), *templates.regions[1:]))


def test_templates_of_a_histogram():
    found = from_histogram(histogram(), ["hh"], data=["data"], luminosity=140)
    (region,) = found.regions
    assert (found.processes, found.backgrounds, found.sources) == (("qcd", "hh"), ("qcd",), ("jer",))
    assert region.label == "m [GeV]"
    assert region.nominal("hh").values.tolist() == [0, 2, 2, 2]
    assert region.nominal("hh").variances.tolist() == [0, 4, 4, 4]
    assert region.nominal("qcd").values.tolist() == [2, 1, 1, 1]
    assert set(region.samples["hh"]) == {"nominal"}, "what a variation never filled has no such variation"
    assert region.samples["qcd"]["jer_up"].values.tolist() == [1, 1, 1, 2]
    assert region.data.tolist() == [1, 1, 0, 0]


def test_histogram_without_regions_and_variations():
    small = histogram()[{"region": hist.loc("sr"), "variation": hist.loc("nominal")}]
    found = from_histogram(small, ["hh"])
    assert [region.name for region in found.regions] == ["all"]


@pytest.mark.parametrize(
    ("make", "signals", "message"),
    [
        (lambda h: h, ["hhh"], "process 'hhh' is not in the histogram"),
        (lambda h: h[{"dataset": sum}], ["hh"], "no axis 'dataset'"),
        (lambda h: h[{"mass": sum}], ["hh"], "one numeric axis"),
    ],
)
def test_histogram_of_another_kind(make, signals, message):
    with pytest.raises(TemplateError, match=message):
        from_histogram(make(histogram()), signals)


def test_scaling(two_regions):
    scaled = two_regions.scaled({"tt": 3.0})
    before, after = two_regions.regions[0].nominal("tt"), scaled.regions[0].nominal("tt")
    assert after.values == pytest.approx(3 * before.values)
    assert after.variances == pytest.approx(9 * before.variances)
    assert scaled.regions[0].nominal("qcd").values == pytest.approx(two_regions.regions[0].nominal("qcd").values)


def test_rebinning_keeps_every_event(two_regions):
    region = two_regions.regions[0].rebinned(np.array([0, 1, 4, 6]))
    assert region.edges.tolist() == [0, 50, 200, 300]
    for process, variations in two_regions.regions[0].samples.items():
        for name, template in variations.items():
            assert region.samples[process][name].total == pytest.approx(template.total)
    assert region.data.sum() == two_regions.regions[0].data.sum()


def test_good_templates_pass_without_a_word(two_regions):
    # tt is in one region and hhh has the variation in one: neither is a fault
    found, warnings = usable(two_regions)
    assert warnings == ()
    assert found.processes == two_regions.processes


def test_empty_process_is_left_out_by_name(two_regions):
    found, warnings = usable(changed(two_regions, "tt", nominal=np.zeros(6)))
    assert "tt" not in found.regions[0].samples
    assert warnings == ("region '4b', process 'tt': no events; the process is left out of this region",)


def test_region_that_nobody_passes(two_regions):
    empty = Template(np.zeros(6), np.zeros(6))
    nobody = replace(two_regions.regions[1], samples={name: {"nominal": empty} for name in ("qcd", "hhh")})
    found, warnings = usable(replace(two_regions, regions=(two_regions.regions[0], nobody)))
    assert [region.name for region in found.regions] == ["4b"]
    assert "region '3b': no event passes; the region is left out" in warnings
    with pytest.raises(TemplateError, match=r"no event passes any region \(3b\)"):
        usable(replace(two_regions, regions=(nobody,)))


@pytest.mark.parametrize(
    ("process", "variations", "message"),
    [
        ("qcd", {"nominal": [1, 2, np.nan, 1, 1, 1]}, "region '4b', process 'qcd', variation 'nominal': not every bin"),
        ("qcd", {"jer_up": [np.inf, 2, 1, 1, 1, 1]}, "variation 'jer_up': not every bin"),
        ("tt", {"nominal": [-5, 1, 1, 1, 0, 0]}, "process 'tt', variation 'nominal': the total of all bins is -2"),
        ("qcd", {"jer_down": [0, 0, 0, 0, 0, 0]}, "variation 'jer_down': the total of all bins is 0"),
        ("tt", {"pileup": [1, 1, 1, 1, 1, 1]}, "variation 'pileup' must end in '_up' or '_down'"),
    ],
)
def test_templates_that_cannot_be_used(two_regions, process, variations, message):
    with pytest.raises(TemplateError, match=message):
        usable(changed(two_regions, process, **variations))


def test_signal_without_events(one_region):
    with pytest.raises(TemplateError, match="signal 'hhh' has no events in any region"):
        usable(one_region([0, 0], [10, 10]))
    with pytest.raises(TemplateError, match="signal 'hh' is in no region"):
        usable(replace(one_region([1, 1], [10, 10]), signals=("hh",)))
    with pytest.raises(TemplateError, match="no process is a signal"):
        usable(replace(one_region([1, 1], [10, 10]), signals=()))


def test_bins_without_background(one_region):
    with pytest.raises(TemplateError, match=r"no background in 1 bins \(first: 1 to 2\)"):
        usable(one_region([1, 1, 1], [10, 0, 10]))
    with pytest.raises(TemplateError, match="no process is a background"):
        usable(replace(one_region([1, 1], [10, 10]), signals=("qcd", "hhh")))


def test_empty_ends_are_left_out_by_name(one_region):
    found, warnings = usable(one_region([0, 1, 1, 0], [0, 10, 10, 0], [0, 9, 11, 0]))
    assert found.regions[0].edges.tolist() == [1, 2, 3]
    assert found.regions[0].data.tolist() == [9, 11]
    assert warnings == ("region 'sr': no events outside 1 to 3; those bins are left out",)
    with pytest.raises(TemplateError, match="2 observed events where no event is expected"):
        usable(one_region([0, 1, 1, 0], [0, 10, 10, 0], [0, 9, 11, 2]))


def test_negative_bins_count_as_nothing_by_name(two_regions):
    found, warnings = usable(changed(two_regions, "tt", nominal=[50, 40, 30, -2, 10, 5]))
    assert found.regions[0].nominal("tt").values.tolist() == [50, 40, 30, 0, 10, 5]
    assert "bins [3] are negative (0.015 of the total) and count as 0" in warnings[0]


def test_one_direction_is_mirrored_by_name(two_regions):
    values = two_regions.regions[0].nominal("tt").values
    found, warnings = usable(changed(two_regions, "tt", scale_up=values * 1.2))
    assert found.regions[0].samples["tt"]["scale_down"].values == pytest.approx(values * 0.8)
    assert "'scale_up' has no 'scale_down'; it is mirrored" in warnings[0]


def test_expected_events():
    """148 pb, 26.6% of it in the file, 300 fb⁻¹: 148 · 0.266 · 300,000."""
    qcd = Normalisation(cross_section=148.0, filter_efficiency=0.266)
    assert expected_events(qcd, 300) == pytest.approx(11_810_400)
    hh = Normalisation(cross_section=0.03669, branching=0.5824**2)
    assert expected_events(hh, 3000) == pytest.approx(36.69 * 3000 * 0.5824**2)


def test_scales():
    scales = event_scales({"hh": Normalisation(cross_section=0.5, branching=0.25)}, {"hh": 2500.0}, 100)
    assert scales == {"hh": pytest.approx(5.0)}


@pytest.mark.parametrize(
    ("generated", "luminosity", "message"),
    [
        ({"hh": 1.0, "qcd": 1.0}, 1, "process 'qcd' has no cross section: set 'cross_section'"),
        ({"hh": -3.0}, 1, "process 'hh': the generator weights of all events add up to -3"),
        ({"hh": 1.0}, 0, "luminosity = 0"),
    ],
)
def test_normalisation_that_is_not_there(generated, luminosity, message):
    with pytest.raises(NormalisationError, match=message):
        event_scales({"hh": Normalisation(cross_section=1.0)}, generated, luminosity)
