"""The study of the top-quark mass: roles of events, counts of templates, and the whole measurement of generated masses."""

from __future__ import annotations

import json

import numpy as np
import pytest
from conftest import REPOSITORY
from scipy.stats import landau

from hhh_coffea.base.errors import UserError
from hhh_coffea.base.hashing import split_number
from hhh_coffea.datasets.fileset import DatasetMetadata
from hhh_coffea.study import main
from hhh_coffea.study.top_mass import events, measurement, templates, tuning
from hhh_coffea.study.top_mass.events import JSF, ROLES

METHOD = "pdnn"
DEMO = REPOSITORY / "fileset" / "demo"
SHAPES = {0: (0.75, 15.0, 8.0), 1: (0.5, 24.0, 16.0), 2: (0.4, 28.0, 18.0)}  # fraction, σ of Gaussian and Landau


def generated(n, masses, jsf, rng):
    """Rows of a table: masses of t_H and W, smeared about the generated ones; the same events at each JSF."""
    category = rng.choice(3, size=n, p=[0.5, 0.2, 0.3])
    fraction, wide, tail = np.array([SHAPES[c] for c in category]).T
    smearing = np.where(
        rng.random(n) < fraction, wide * rng.normal(size=n), tail * landau.rvs(size=n, random_state=rng)
    )
    w_smearing = np.where(rng.random(n) < 0.6, 1.0, 0.0) * (9 + 5 * category) * rng.normal(size=n)
    w_smearing = np.where(w_smearing == 0, 6 * landau.rvs(size=n, random_state=rng), w_smearing)
    split = split_number("a file", np.arange(n))
    by_jsf = {}
    for value in jsf:
        by_jsf[value] = {
            f"{METHOD}.top": value * (masses + smearing - 2),
            f"{METHOD}.w": value * (81 + w_smearing),
            f"{METHOD}.category": category,
            f"{METHOD}.quality": rng.random(n),
            "split": split,
            "scale": masses,
        }
    return by_jsf, dict.fromkeys(jsf, masses)


@pytest.fixture(scope="module")
def sample():
    rng = np.random.default_rng(5)
    return generated(40_000, rng.integers(1660, 1761, size=40_000) / 10, JSF, rng)


@pytest.fixture(scope="module")
def selected(sample):
    return events.in_window(*sample, METHOD)


def test_an_event_has_one_role_at_every_jsf():
    split = split_number("a file", np.arange(50_000))
    masks = events.roles(split)
    assert set(masks) == {"templates", "tuning", "pseudo"}
    np.testing.assert_array_equal(sum(mask.astype(int) for mask in masks.values()), 1)
    for name, mask in masks.items():
        assert mask.mean() == pytest.approx(ROLES[name], abs=0.01)
        # events that trainings keep for validation are as frequent in every role
        assert (split[mask] < 0.05).mean() == pytest.approx(0.05, abs=0.005)


def test_roles_depend_on_the_event_alone(selected):
    roles = events.roles(selected.split)
    for split in np.unique(selected.split)[:200]:
        rows = selected.split == split  # of one event, at all JSF
        assert sum(bool(mask[rows].any()) for mask in roles.values()) == 1


def test_blocks_are_independent_of_roles():
    split = split_number("a file", np.arange(100_000))
    block = events.blocks(split, 10)
    templates_ = events.roles(split)["templates"]
    shares = np.bincount(block[templates_], minlength=10) / templates_.sum()
    np.testing.assert_allclose(shares, 0.1, atol=0.01)


def test_counts_are_those_of_a_loop(selected):
    some = selected[np.arange(len(selected.mass)) % 50 == 0]
    steps = templates.MassSteps.of(some.mass)
    found = templates.samples(some, steps)
    expected = np.zeros_like(found.counts["incorrect"]["top"])
    for i in range(len(some.mass)):
        if some.category[i] == 1:
            step = min(int(np.floor(some.mass[i] - steps.low + 1e-4)), steps.number - 1)
            expected[some.jsf[i] * steps.number + step, some.top_bin[i]] += 1
    np.testing.assert_array_equal(found.counts["incorrect"]["top"], expected)
    total = sum(own["w"].sum() for own in found.counts.values())
    assert total == len(some.mass)


def test_steps_of_the_mass_hold_what_is_stored_in_single_precision():
    masses = (np.arange(1660, 1761) / 10).astype(np.float32).astype(float)
    steps = templates.MassSteps.of(masses)
    assert (steps.low, steps.number) == (166.0, 10)
    np.testing.assert_array_equal(np.bincount(steps.index(masses)), [10] * 9 + [11])
    assert steps.mean[0] == pytest.approx(166.45)


def test_the_window_and_the_events_without_assignment():
    rows = {
        f"{METHOD}.top": np.array([119.9, 120.0, 229.9, 230.0, 170.0, np.nan]),
        f"{METHOD}.w": np.array([80.0, 40.0, 119.9, 80.0, 120.0, 80.0]),
        f"{METHOD}.category": np.zeros(6, dtype=np.int8),
        f"{METHOD}.quality": np.zeros(6),
        "split": np.zeros(6),
    }
    found = events.in_window({1.0: rows}, {1.0: np.full(6, 173.0)}, METHOD)
    np.testing.assert_array_equal(found.top_bin, [0, 109])
    np.testing.assert_array_equal(found.w_bin, [0, 79])


def test_resampled_events_keep_both_masses_together(selected):
    one = selected[:1]
    found = templates.resampled(one, 100.0, 50, np.random.default_rng(1))
    number = found["top"].sum(axis=1)
    np.testing.assert_array_equal(found["top"][:, one.top_bin[0]], number)
    np.testing.assert_array_equal(found["w"][:, one.w_bin[0]], number)
    assert number.mean() == pytest.approx(100, abs=6)


def test_the_jackknife_is_that_of_the_mean():
    values = np.random.default_rng(2).normal(size=200)
    blocks = values.reshape(10, 20)
    without = [np.delete(blocks, b, axis=0).mean() for b in range(10)]
    assert templates.jackknife_error(without) == pytest.approx(blocks.mean(axis=1).std(ddof=1) / np.sqrt(10))


def test_a_generated_mass_is_measured(selected):
    """Templates, calibration and fit of an independent sample, whose mass and JSF must come back."""
    roles = events.roles(selected.split)
    steps = templates.MassSteps.of(selected.mass)
    made = measurement.Templates(selected[roles["templates"]], steps, ROLES["templates"], (), 4)
    for own in made.described()["shapes"].values():
        assert own["top"]["chi2"] / own["top"]["ndf"] == pytest.approx(1, abs=0.15)
    pools = measurement.pools(selected[roles["pseudo"]], steps)
    line = measurement.calibration(made.model, pools, 5000, 60, seed=1)
    assert line["b"] == pytest.approx(1, abs=4 * line["covariance"][1][1] ** 0.5)
    for width in line["pull_width"]:
        assert width == pytest.approx(1, abs=0.15)
    rng = np.random.default_rng(9)
    data = events.in_window(*generated(20_000, np.full(20_000, 171.0), (1.0, 1.02), rng), METHOD)
    found = measurement.measured(made, line, pools, data[templates.rows_at(data, 1.0)])
    assert abs(found["top_mass"] - 171.0) < 3.5 * found["total"]
    assert found["total"] < 1.5
    scaled = measurement.measured(made, line, pools, data[templates.rows_at(data, 1.02)])
    assert scaled["jsf"][0] - found["jsf"][0] == pytest.approx(0.02, abs=0.003)


def test_the_cut_of_the_smallest_error_is_chosen(selected):
    tuned = events.roles(selected.split)["tuning"]
    own = selected[tuned]
    # a quality that knows what is right: cutting on it helps
    own = events.replace(own, quality=np.where(own.category == 0, 0.6, 0.4) + 0.1 * (own.split * 1000 % 1))
    steps = templates.MassSteps.of(selected.mass)
    found = tuning.tune(own, steps, ROLES["tuning"], (), quantiles=5)
    errors = np.array(found["errors"])
    assert len(errors) == 5
    smooth = np.convolve(np.pad(errors, 1, mode="edge"), np.ones(3) / 3, mode="valid")
    best = int(np.argmin(smooth))
    assert found["cut"] == (found["cuts"][best] if best else None)
    # with as many wrong assignments left out as there are, the error is less than with as many events at random
    half = tuning.passing(own, found["cuts"][2])
    assert (half.category == 0).mean() > 0.75
    assert errors[2] < errors[0] / np.sqrt(1 - found["quantiles"][2])
    assert len(tuning.passing(own, None).mass) == len(own.mass)


@pytest.mark.parametrize(
    ("given", "message"),
    [({}, "must have 'top_mass'"), ({"top_mass": True}, "must have"), ({"top_mass": 1.7}, "from 1.7 to 1.7")],
)
def test_a_mass_that_is_not_told_is_an_error(given, message):
    metadata = DatasetMetadata(format="delphes", analysis="ttbar_semileptonic", user=given)
    with pytest.raises(UserError, match=message):
        events.top_mass(metadata, "templates", {"scale": np.ones(3)})


def test_masses_from_the_metadata():
    rows = {"scale": np.array([170.0, 171.0])}
    told = {
        value: DatasetMetadata(format="delphes", analysis="hh", user={"top_mass": value}) for value in ("scale", 173)
    }
    np.testing.assert_array_equal(events.top_mass(told["scale"], "templates", rows), rows["scale"])
    np.testing.assert_array_equal(events.top_mass(told[173], "data", rows), [173.0, 173.0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--methods", "chi2,sapnet"], "no method 'sapnet' in this study"),
        (["--datasets", "data"], "needs all of templates, closure and data"),
    ],
)
def test_mistakes_are_told_before_events_are_read(options, message, tmp_path, capsys):
    assert main(["top-mass", "--output", str(tmp_path), *options]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("user", "message"),
    [({}, "dataset 'closure': metadata 'user' must have 'top_mass'"), ({"top_mass": 173}, "set 'cross_section'")],
)
def test_metadata_are_checked_before_events_are_read(user, message, tmp_path, capsys):
    common = {"format": "delphes", "analysis": "ttbar_semileptonic"}
    fileset = {
        name: {"files": [str(DEMO / file)], "metadata": {**common, "user": given}}
        for name, file, given in (
            ("templates", "ttbar.root", {"top_mass": "scale"}),
            ("closure", "tth.root", user),
            ("data", "ttbb.root", {"top_mass": 173}),
        )
    }
    path = tmp_path / "fileset.json"
    path.write_text(json.dumps(fileset))
    assert main(["top-mass", "--fileset", str(path), "--output", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out" / "stages").exists()
