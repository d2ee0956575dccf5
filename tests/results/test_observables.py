"""One observable out of a histogram with many axes."""

from __future__ import annotations

import hist
import pytest
from hist import Hist

from hhh_coffea.results.observables import ObservableError, observable


def histogram() -> Hist:
    names = [hist.axis.StrCategory([], growth=True, name=n) for n in ("region", "dataset", "method", "definition")]
    result = Hist(
        *names,
        hist.axis.Integer(0, 3, underflow=False, name="rank"),
        hist.axis.Regular(4, 0, 4, name="mass", label="m [GeV]"),
        hist.axis.Integer(-1, 2, flow=False, name="correct"),
        hist.axis.Boolean(name="tagged"),
        storage=hist.storage.Weight(),
    )
    for definition, rank, weight in (("default", 0, 1), ("default", 1, 10), ("reference", 0, 100)):
        for correct, tagged in ((0, True), (1, False)):
            place = {"region": "sr", "dataset": "hhh", "method": "chi2", "definition": definition, "rank": rank}
            result.fill(**place, mass=[0.5, 9.0], correct=correct, tagged=tagged, weight=weight)
    return result


def test_what_is_summed_and_what_is_chosen():
    """Right and wrong candidates of the first rank in the default definitions; overflow stays."""
    found = observable(histogram(), {})
    assert [axis.name for axis in found.axes] == ["region", "dataset", "mass"]
    assert found.values(flow=True).ravel().tolist() == [0, 2, 0, 0, 0, 2]
    second = observable(histogram(), {"rank": "1", "region": "sr"})
    assert [axis.name for axis in second.axes] == ["dataset", "mass"]
    assert second.values().sum() == 20
    assert observable(histogram(), {"definition": "reference", "tagged": 1}).values().sum() == 100


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"colour": 1}, "histogram has no axis 'colour'; it has region, dataset"),
        ({"method": "spanet"}, "has no 'spanet' on its axis 'method': choose one of chi2"),
        ({"rank": 7}, "rank=7 is outside the axis, 0 to 3"),
        ({"rank": "first"}, "must be a number"),
        ({"mass": 1.0}, r"numeric axes \(none\)"),
    ],
)
def test_what_cannot_be_chosen(chosen, message):
    with pytest.raises(ObservableError, match=message):
        observable(histogram(), chosen)


def test_an_open_axis_is_named():
    two = histogram()
    two.fill("sr", "hhh", "spanet", "default", 0, [1.0], 0, True)
    with pytest.raises(ObservableError, match="several values on its axis 'method': choose one of chi2, spanet"):
        observable(two, {})
