"""The table of events against plain loops over the jets of each event, and against the other results of the run."""

import json
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from conftest import DEMO

from hhh_coffea.lazy import event_record, open_events
from hhh_coffea.run import main

METHODS = ("dhh", "chi2")


def run(folder, name, *options):
    metadata = {"format": "delphes", "analysis": "hh_resolved"}
    content = {
        "HH": {"files": [str(DEMO / "hh.root")], "metadata": metadata},
        "QCD": {"files": [str(DEMO / "qcd.root")], "metadata": {**metadata, "is_signal": False}},
    }
    (folder / "f.json").write_text(json.dumps(content))
    base = ["--fileset", str(folder / "f.json"), "--methods", ",".join(METHODS), "--no-plots", "--events"]
    assert main([*base, "--candidates", *options, "--output", str(folder / name)]) == 0
    return folder / name


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return run(tmp_path_factory.mktemp("events"), "r", "--chunksize", "1700", "--observable", "ht=sum(jets.pt)@4,0,9")


def vector(pt, eta, phi, mass):
    p = np.array([0, pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)])
    p[0] = np.sqrt((p**2).sum() + mass**2)
    return p


def mass(p):
    return np.sqrt(max(p[0] ** 2 - (p[1:] ** 2).sum(), 0))


def boosted(p, of):
    """Boost by a matrix to where ``of`` is at rest."""
    beta = of[1:] / of[0]
    gamma, square = 1 / np.sqrt(1 - beta @ beta), beta @ beta
    matrix = np.eye(4)
    matrix[0, 0], matrix[0, 1:], matrix[1:, 0] = gamma, -gamma * beta, -gamma * beta
    matrix[1:, 1:] += (gamma - 1) * np.outer(beta, beta) / square
    return matrix @ p


def cos(a, b):
    return a @ b / np.sqrt((a @ a) * (b @ b))


BEAM = np.array([0.0, 0.0, 1.0])


def distance(a, b):
    delta = abs(a["phi"] - b["phi"])
    return np.hypot(a["eta"] - b["eta"], min(delta, 2 * np.pi - delta))


def slow(jets, pairs):
    """The columns of one event, from its jets and the positions in the file of its two pairs."""
    four = {jet["index"]: vector(*(jet[name] for name in ("pt", "eta", "phi", "mass"))) for jet in jets}
    found = sorted(((sum(four[j] for j in pair), pair) for pair in pairs), key=lambda h: -np.hypot(*h[0][1:3]))
    total = found[0][0] + found[1][0]
    row = {"total_mass": mass(total), "jets": len(jets), "ht": sum(jet["pt"] for jet in jets)}
    row["r_hh"] = np.hypot(mass(found[0][0]) - 125, mass(found[1][0]) - 120)
    for i, (h, pair) in enumerate(found, start=1):
        leading = max((four[j] for j in pair), key=lambda p: np.hypot(*p[1:3]))
        in_h = boosted(leading, h)[1:]
        # flight direction of H in the frame of both, seen from H: away from the other
        row[f"candidate{i}_mass"], row[f"candidate{i}_pt"] = mass(h), np.hypot(*h[1:3])
        row[f"candidate{i}_cos_theta_beam"] = abs(cos(in_h, BEAM))
        row[f"candidate{i}_cos_helicity"] = abs(cos(in_h, -boosted(total, h)[1:]))
        row[f"candidate{i}_cos_theta_star"] = abs(cos(boosted(h, total)[1:], BEAM))
    used = {j for pair in pairs for j in pair}
    extra = [jet for jet in jets if jet["index"] not in used]
    row["extra_jets"] = len(extra)
    row["extra1_pt"] = extra[0]["pt"] if extra else np.nan
    apart = [distance(a, b) for a, b in combinations(jets[:4], 2)]
    return row | {"min_delta_r": min(apart), "max_delta_r": max(apart)}


def test_columns_are_those_of_plain_loops(results):
    table = pd.read_parquet(results / "events")
    candidates = pd.read_parquet(results / "candidates")
    record = event_record(open_events(str(results.parent / "f.json"), "HH", mode="virtual"), ["dhh"])[:250]
    for method in METHODS:
        own = table[(table.method == method) & (table.dataset == "HH")].set_index("entry")
        pairs = candidates[(candidates.method == method) & (candidates.dataset == "HH")].groupby("entry")
        for event in record.tolist():
            rows = pairs.get_group(event["id"])
            want = slow(event["jets"], rows[["jet1", "jet2"]].to_numpy().tolist())
            got = own.loc[event["id"], list(want)].astype(float)
            np.testing.assert_allclose(got, list(want.values()), rtol=1e-4, atol=1e-4)


def test_truth_and_regions_are_those_of_the_run(results):
    table = pd.read_parquet(results / "events")
    whole = json.loads((results / "summary.json").read_text())["assignments"]["HH"]["default"]
    for method in METHODS:
        own = table[(table.method == method) & (table.dataset == "HH")]
        epsilon = whole[method]["full"]["all"]["event"]
        assert (own.full.sum(), own.right.sum()) == (epsilon["denominator"], epsilon["numerator"])
    assert table[table.dataset == "QCD"].full.isna().all()
    np.testing.assert_array_equal(table.region_signal, table.r_hh < 30)
    np.testing.assert_array_equal(table.observable_ht, table.ht)
    counted = json.loads((results / "cutflow.json").read_text())["datasets"]
    for dataset, content in counted.items():
        for row in content["regions"]:
            own = table[(table.method == row["method"]) & (table.dataset == dataset)]
            assert own[f"region_{row['region']}"].sum() == row["events"]


def test_chunks_change_nothing(results):
    keys = ["dataset", "method", "entry"]
    other = run(results.parent, "other", "--chunksize", "900", "--observable", "ht=sum(jets.pt)@4,0,9")
    one, two = (pd.read_parquet(f / "events").sort_values(keys).reset_index(drop=True) for f in (results, other))
    pd.testing.assert_frame_equal(one, two)


def test_several_analyses_share_their_columns(tmp_path):
    """A run with HHH and HH: one table that any tool reads."""
    content = {
        "HHH": {"files": [str(DEMO / "hhh.root")], "metadata": {"format": "delphes", "analysis": "hhh_resolved"}},
        "HH": {"files": [str(DEMO / "hh.root")], "metadata": {"format": "delphes", "analysis": "hh_resolved"}},
    }
    (tmp_path / "f.json").write_text(json.dumps(content))
    options = ["--fileset", str(tmp_path / "f.json"), "--no-plots", "--events", "--output", str(tmp_path / "r")]
    assert main(options) == 0
    files = sorted((tmp_path / "r" / "events").iterdir())
    assert len({tuple(pd.read_parquet(file).columns) for file in files}) == 1
    table = pd.read_parquet(tmp_path / "r" / "events").set_index("dataset")
    assert table.loc["HH", "candidate3_mass"].isna().all()
    assert table.loc["HHH", ["region_signal", "r_hh"]].isna().all(axis=None)
    assert table.loc["HHH", "candidate3_mass"].notna().any()


def test_large_radius_jets_have_no_daughters(tmp_path):
    options = ["--fileset", "demo", "--datasets", "HHH", "--methods", "chi2+bdt", "--no-plots", "--events"]
    assert main([*options, "--metrics", "default", "--candidates", "--output", str(tmp_path / "r")]) == 0
    table = pd.read_parquet(tmp_path / "r" / "events").set_index("entry")
    leading = pd.read_parquet(tmp_path / "r" / "candidates").query("not overlaps")
    leading = leading.sort_values("pt", ascending=False, kind="stable").drop_duplicates("entry").set_index("entry")
    kind = leading.kind.reindex(table.index)
    assert (table.candidate1_cos_helicity.isna() == (kind != "resolved")).all()
    assert (table.candidate1_cos_theta_star.isna() == kind.isna()).all()
