"""The D_HH pairing against plain loops over the three pairings, and its choice at the edge of the window."""

import math

import numpy as np
import pytest

from hhh_coffea.base.arrays import counts_of
from hhh_coffea.base.kinematics import Cartesian
from hhh_coffea.events.record import momentum
from hhh_coffea.methods.mass_line import MassLineOptions, in_rest_frame, pairs


def vector(jet):
    px, py, pz = jet["pt"] * math.cos(jet["phi"]), jet["pt"] * math.sin(jet["phi"]), jet["pt"] * math.sinh(jet["eta"])
    return np.array([math.sqrt(px * px + py * py + pz * pz + jet["mass"] ** 2), px, py, pz])


def mass(p):
    return math.sqrt(max(0.0, p[0] ** 2 - (p[1:] ** 2).sum()))


def boosted(p, total):
    """Lorentz boost by a matrix: another way than the formula of the module."""
    beta = total[1:] / total[0]
    gamma, square = 1 / math.sqrt(1 - beta @ beta), beta @ beta
    matrix = np.eye(4)
    matrix[0, 0], matrix[0, 1:], matrix[1:, 0] = gamma, -gamma * beta, -gamma * beta
    matrix[1:, 1:] += (gamma - 1) * np.outer(beta, beta) / square
    return matrix @ p


def slow(jets, options):
    """One event in loops."""
    four = [vector(jet) for jet in jets[:4]]
    found = []
    for pairing in (((0, 1), (2, 3)), ((0, 2), (1, 3)), ((0, 3), (1, 2))):
        a, b = (four[i] + four[j] for i, j in pairing)
        first, second = (mass(a), mass(b))
        if options.leading == "pt" and math.hypot(*b[1:3]) > math.hypot(*a[1:3]):
            first, second = second, first
        distance = abs(first - options.slope * second) / math.sqrt(1 + options.slope**2)
        if options.frame == "four_jets":
            a, b = (boosted(p, sum(four)) for p in (a, b))
        found.append((distance, max(math.hypot(*a[1:3]), math.hypot(*b[1:3])), pairing))
    ranked = sorted(found, key=lambda entry: entry[0])
    if ranked[1][0] - ranked[0][0] > options.window:
        return ranked[0][2]
    return max(ranked[:2] if options.fallback == "two" else ranked, key=lambda entry: entry[1])[2]


@pytest.mark.parametrize(
    "given",
    [{}, {"leading": "first_jet"}, {"fallback": "two", "frame": "four_jets"}, {"slope": 1.0, "window": 10.0}],
)
def test_real_events_agree_with_plain_loops(demo_record, given):
    record, options = demo_record("hh", 2, 600), MassLineOptions(**given)
    found = pairs(momentum(record.jets), counts_of(record.jets.pt), options)
    for chosen, jets in zip(found.tolist(), record.jets.tolist(), strict=True):
        assert tuple(map(tuple, chosen)) == slow(jets, options)


@pytest.mark.parametrize(("gap", "nearest"), [(29.9, False), (30.1, True)])
def test_the_window_of_30_gev(demo_record, make_record, gap, nearest):
    """Distances scale with all momenta: the second best pairing is put ``gap`` behind the best, which pT would not choose."""
    pairings = ([[0, 1], [2, 3]], [[0, 2], [1, 3]], [[0, 3], [1, 2]])
    tried = 0
    for jets in demo_record("hh", 2, 100).jets.tolist():
        four = [vector(jet) for jet in jets[:4]]
        found = []
        for pairing in pairings:
            a, b = sorted((four[i] + four[j] for i, j in pairing), key=lambda p: -math.hypot(*p[1:3]))
            found.append((abs(mass(a) - 1.04 * mass(b)) / math.hypot(1, 1.04), math.hypot(*a[1:3]), pairing))
        best, second, _ = sorted(found, key=lambda entry: entry[0])
        by_pt = max(found, key=lambda entry: entry[1])
        if best[2] == by_pt[2]:
            continue
        scale = gap / (second[0] - best[0])
        scaled = [{**jet, "pt": jet["pt"] * scale, "mass": jet["mass"] * scale} for jet in jets]
        record = make_record([scaled])
        chosen = pairs(momentum(record.jets), counts_of(record.jets.pt))[0].tolist()
        assert chosen == (best[2] if nearest else by_pt[2])
        tried += 1
    assert tried > 5


def test_too_few_jets_and_the_order_of_events(make_record):
    jet = {"pt": 50.0, "eta": 0.1, "phi": 0.2, "mass": 5.0}
    record = make_record([[jet] * 3, [{**jet, "phi": 0.3 * k} for k in range(5)], []])
    found = pairs(momentum(record.jets), counts_of(record.jets.pt))
    assert found[0].tolist() == found[2].tolist() == [[-1, -1], [-1, -1]]
    assert sorted(found[1].ravel().tolist()) == [0, 1, 2, 3]


def test_the_rest_frame_has_no_momentum():
    random = np.random.default_rng(1)
    p = random.normal(0, 100, (20, 4, 3))
    parts = Cartesian(np.sqrt((p**2).sum(-1) + 25.0), *np.moveaxis(p, -1, 0))
    rest = in_rest_frame(parts, parts)
    for name in ("px", "py", "pz"):
        np.testing.assert_allclose(getattr(rest, name).sum(axis=1), 0, atol=1e-9)
    np.testing.assert_allclose(rest.energy**2 - rest.px**2 - rest.py**2 - rest.pz**2, 25.0, rtol=1e-7)


def test_as_a_method_of_the_main_job(tmp_path, capsys):
    """Of HH alone, with settings; HHH refuses it by name."""
    import json

    from hhh_coffea.run import main

    options = ["--fileset", "demo", "--metrics", "default", "--no-plots", "--output", str(tmp_path / "r")]
    assert main([*options, "--datasets", "HH", "--methods", "chi2,dhh", "--set", "settings={dhh: {window: 0}}"]) == 0
    summary = json.loads((tmp_path / "r" / "summary.json").read_text())["results"]["HH"]["default"]
    own, chi2 = (summary[name]["categories"]["merged"] for name in ("dhh", "chi2"))
    assert own["targets"] == chi2["targets"]
    assert 0.5 * chi2["correct"] < own["correct"] < 1.5 * chi2["correct"]
    assert main([*options, "--datasets", "HHH", "--methods", "dhh", "--overwrite"]) == 2
    assert "no method 'dhh' for analysis 'hhh'" in capsys.readouterr().err
    wrong = ["--datasets", "HH", "--methods", "dhh", "--set", "settings={dhh: {windw: 3}}"]
    assert main([*options, *wrong]) == 2
    assert "settings of method 'dhh', 'windw'" in capsys.readouterr().err
