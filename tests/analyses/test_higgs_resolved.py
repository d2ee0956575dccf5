"""ε, f and ε_tot of resolved HH → 4b: against plain loops over uproot's columns, and with one |F| and |A| for all methods."""

import json
from itertools import permutations

import numpy as np
import pytest
import uproot
from conftest import DEMO

from hhh_coffea.results.directory import read_histograms
from hhh_coffea.run import main

METHODS = ("dhh", "chi2", "spanet")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hh_resolved")
    metadata = {"format": "delphes", "analysis": "hh_resolved"}
    (folder / "f.json").write_text(json.dumps({"HH": {"files": [str(DEMO / "hh.root")], "metadata": metadata}}))
    options = [
        "--fileset",
        str(folder / "f.json"),
        "--methods",
        ",".join(METHODS),
        "--chunksize",
        "1500",
        "--candidates",
    ]
    assert main([*options, "--no-plots", "--output", str(folder / "r")]) == 0
    return folder / "r"


def four_vectors(event):
    pt, eta, phi, mass = (event[f"Jet/Jet.{leaf}"].astype(float) for leaf in ("PT", "Eta", "Phi", "Mass"))
    px, py, pz = pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)
    return np.stack([np.sqrt(px**2 + py**2 + pz**2 + mass**2), px, py, pz], axis=1)


def mass_of(p):
    return np.sqrt(max(p[0] ** 2 - p[1] ** 2 - p[2] ** 2 - p[3] ** 2, 0))


def run_2_pairing(jets):
    """The pairing by its definition: D = |m₁ − 1.04 m₂| / √(1 + 1.04²), m₁ of the pair of larger pT."""
    found = []
    for pairs in (((0, 1), (2, 3)), ((0, 2), (1, 3)), ((0, 3), (1, 2))):
        sums = sorted((jets[list(pair)].sum(axis=0) for pair in pairs), key=lambda p: -np.hypot(p[1], p[2]))
        distance = abs(mass_of(sums[0]) - 1.04 * mass_of(sums[1])) / np.sqrt(1 + 1.04**2)
        found.append((distance, -np.hypot(sums[0][1], sums[0][2]), pairs))
    found.sort()
    chosen = found[0] if found[1][0] - found[0][0] > 30 else min(found, key=lambda f: f[1])
    return {frozenset(pair) for pair in chosen[2]}


def truth(event, chosen):
    """Pairs of jets of the Higgs bosons, as positions in ``chosen``; None where a quark has no jet."""
    pid, mother = event["Particle/Particle.PID"], event["Particle/Particle.M1"]
    quarks = [i for i in range(len(pid)) if abs(pid[i]) == 5 and mother[i] >= 0 and pid[mother[i]] == 25]
    eta, phi = event["Particle/Particle.Eta"].astype(float), event["Particle/Particle.Phi"].astype(float)
    near = []
    for q in quarks:
        for position, jet in enumerate(chosen):
            delta = abs(phi[q] - float(event["Jet/Jet.Phi"][jet]))
            square = (eta[q] - float(event["Jet/Jet.Eta"][jet])) ** 2 + min(delta, 2 * np.pi - delta) ** 2
            near.append((square, q, position))
    matched = {}
    for square, q, position in sorted(near):
        if square < 0.4**2 and q not in matched and position not in matched.values():
            matched[q] = position
    if len(matched) < 4:
        return None
    by_higgs = {}
    for q in quarks:
        by_higgs.setdefault(mother[q], set()).add(matched[q])
    return {frozenset(pair) for pair in by_higgs.values()}


def selected_events(limit=4000):
    """(entry, columns, jets in the order of the record) of every selected event."""
    leaves = [f"Jet/Jet.{n}" for n in ("PT", "Eta", "Phi", "Mass", "BTag")]
    leaves += [f"Particle/Particle.{n}" for n in ("PID", "M1", "Eta", "Phi")]
    with uproot.open(DEMO / "hh.root") as file:
        table = file["Delphes"].arrays(leaves, library="np", entry_stop=limit)
    for entry in range(len(table[leaves[0]])):
        event = {leaf: np.asarray(table[leaf][entry]) for leaf in leaves}
        pt, tag = event["Jet/Jet.PT"], event["Jet/Jet.BTag"].astype(int) & 1
        chosen = [j for j in range(len(pt)) if pt[j] >= 20]
        chosen.sort(key=lambda j: (-tag[j], -pt[j]))
        if len(chosen) >= 4:
            yield entry, event, chosen


def counted_by_loops():
    """(|A|, |F|, |C|) of the Run 2 pairing."""
    selected = full = right = 0
    for _, event, chosen in selected_events():
        selected += 1
        pairs = truth(event, chosen)
        if pairs is None or max(max(pair) for pair in pairs) >= 10:
            continue
        full += 1
        right += run_2_pairing(four_vectors(event)[chosen]) == pairs
    return selected, full, right


def test_counts_of_the_run_2_pairing(results):
    table = json.loads((results / "summary.json").read_text())["assignments"]["HH"]["default"]["dhh"]
    epsilon, total = table["full"]["all"]["event"], table["selected"]["all"]["event"]
    ours = total["denominator"], epsilon["denominator"], epsilon["numerator"]
    assert ours == counted_by_loops()
    assert total["numerator"] == epsilon["numerator"]


def test_every_pairing_is_that_of_loops(results):
    """Brute force over the three pairings of the first four jets, in every event."""
    import pandas as pd

    rows = pd.read_parquet(results / "candidates").query("method == 'dhh'")
    pairs = {
        e: {frozenset(pair) for pair in own[["jet1", "jet2"]].to_numpy().tolist()} for e, own in rows.groupby("entry")
    }
    seen = 0
    for entry, event, chosen in selected_events():
        want = {frozenset(chosen[j] for j in pair) for pair in run_2_pairing(four_vectors(event)[chosen])}
        assert pairs[entry] == want
        seen += 1
    assert seen == len(pairs)


def test_one_denominator_for_all_methods(results):
    """ε·f = ε_tot, inclusively and in every number of jets, with the same |F| and |A|."""
    table = json.loads((results / "summary.json").read_text())["assignments"]["HH"]["default"]
    for jets in ("4", "5", "≥ 6", "all"):
        counts = set()
        for method in METHODS:
            epsilon, total = (table[method][kind][jets]["event"] for kind in ("full", "selected"))
            share = table[method]["shares"][jets]["full"]
            assert epsilon["value"] * share["value"] == pytest.approx(total["value"], abs=1e-12)
            counts.add((epsilon["denominator"], total["denominator"], share["numerator"]))
        assert len(counts) == 1


def test_in_the_mass_of_the_pair(results):
    """ε in the true mass of full events, ε_tot in the generated mass of all: with under- and overflow nothing is lost."""
    histograms, _ = read_histograms(results)
    table = json.loads((results / "summary.json").read_text())["assignments"]["HH"]["default"]
    for name, kind in (("hh_mass", "full"), ("generated_hh_mass", "selected")):
        found = histograms[f"quantity_{name}"]
        for method in METHODS:
            values = found[{"dataset": "HH", "definition": "default", "method": method, "of": sum}].values(flow=True)
            event = table[method][kind]["all"]["event"]
            assert values.sum() == event["denominator"]
            assert values[:, 1].sum() == event["numerator"]


def test_every_event_gets_two_disjoint_pairs(results):
    import pandas as pd

    rows = pd.read_parquet(results / "candidates")
    for _, event in rows.groupby(["method", "entry"]):
        jets = event[["jet1", "jet2"]].to_numpy().ravel()
        assert len(event) == 2
        assert len(set(jets)) == 4


def test_regions_of_the_mass_plane(results):
    """Yields by region equal those counted from the candidate table."""
    import pandas as pd

    rows = pd.read_parquet(results / "candidates")
    events = read_histograms(results)[0]["region_events"]
    for method in METHODS:
        own = rows[rows.method == method].sort_values(["entry", "pt"], ascending=[True, False], kind="stable")
        m1, m2 = own.mass.to_numpy().reshape(-1, 2).T
        for name, low, high, center in (
            ("signal", 0, 30, (125, 120)),
            ("control", 30, 55, (125, 120)),
            ("validation_signal", 0, 30, (185, 180)),
            ("validation_control", 30, 55, (185, 180)),
        ):
            r = np.hypot(m1 - center[0], m2 - center[1])
            found = events[{"dataset": "HH", "method": method, "region": name}].value
            assert found == ((r >= low) & (r < high)).sum() > 0


def test_d_of_every_order():
    """The loop that the package is compared with does not depend on the order of the four jets but for ties."""
    rng = np.random.default_rng(3)
    p = rng.normal(0, 50, (4, 3))
    jets = np.column_stack([np.sqrt((p**2).sum(axis=1) + 25), p])
    first = {frozenset(map(frozenset, run_2_pairing(jets)))}
    for order in permutations(range(4)):
        found = run_2_pairing(jets[list(order)])
        assert {frozenset(frozenset(order[i] for i in pair) for pair in found)} == first
