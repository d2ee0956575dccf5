"""Intervals of purity and efficiency where several candidates of one event are right or wrong together."""

import json

import numpy as np
import pytest
from hist.intervals import clopper_pearson_interval

from hhh_coffea.results.summary import COVERAGE, ratio
from hhh_coffea.run import main


def sums_of(n, k):
    return {"nn": int(n @ n), "nk": int(n @ k), "kk": int(k @ k)}


def test_by_hand():
    """Two events with two candidates each, one all right, one all wrong: half the counts, for each pair is one trial."""
    n, k = np.array([2, 2]), np.array([2, 0])
    found = ratio(2, 4, sums_of(n, k))
    assert found["design_effect"] == 2  # (2 − 1)² + (0 − 1)² = 2 over 4 · ½ · ½ = 1
    assert [found["low"], found["high"]] == pytest.approx(
        clopper_pearson_interval(np.array([1]), np.array([2]), coverage=COVERAGE).ravel()
    )
    assert (found["numerator"], found["denominator"], found["value"]) == (2, 4, 0.5)


def test_independent_candidates_keep_the_binomial_interval():
    n = np.ones(50, dtype=int)
    k = (np.arange(50) < 15).astype(int)
    plain, ours = ratio(15, 50), ratio(15, 50, sums_of(n, k))
    assert ours["design_effect"] == pytest.approx(1)
    assert (ours["low"], ours["high"]) == pytest.approx((plain["low"], plain["high"]))


@pytest.mark.parametrize("k", [0, 6])
def test_nothing_or_everything_right(k):
    n = np.array([3, 3])
    ours = ratio(k, 6, sums_of(n, np.full(2, k // 2)))
    assert (ours["low"], ours["high"]) == (ratio(k, 6)["low"], ratio(k, 6)["high"])


def test_coverage():
    """Three candidates an event, right together in half of the events: binomial intervals miss the truth too often."""
    rng, events, toys, p = np.random.default_rng(1), 400, 3000, 0.4
    together = rng.random((toys, events)) < 0.5
    k = np.where(together, 3 * (rng.random((toys, events)) < p), rng.binomial(3, p, (toys, events)))
    n = np.full(events, 3)
    ours = [ratio(int(x.sum()), 3 * events, sums_of(n, x)) for x in k]
    plain = [ratio(int(x.sum()), 3 * events) for x in k]
    covered, naive = (np.mean([r["low"] <= p <= r["high"] for r in rs]) for rs in (ours, plain))
    assert covered == pytest.approx(COVERAGE, abs=0.03)
    assert naive < 0.58


def test_summary_of_a_run_does_not_depend_on_chunks(tmp_path):
    arguments = ["--fileset", "demo", "--datasets", "HH", "--metrics", "default", "--no-plots"]
    for name, size in (("one", "100000"), ("many", "700")):
        assert main([*arguments, "--chunksize", size, "--output", str(tmp_path / name)]) == 0
    one, many = (json.loads((tmp_path / name / "summary.json").read_text())["results"] for name in ("one", "many"))
    assert one == many
    merged = one["HH"]["default"]["chi2"]["categories"]["merged"]
    assert merged["purity"]["design_effect"] > 1.2
    assert "event_sums" not in json.loads((tmp_path / "one" / "summary.json").read_text())["other"]
