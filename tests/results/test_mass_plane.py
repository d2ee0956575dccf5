"""The mass plane of signal, background and data, by b-tag category and variation, against the table of events."""

import json

import hist
import numpy as np
import pandas as pd
import pytest
from conftest import DEMO
from correction_files import write_jet_corrections
from nanoaod_writer import write_nanoaod

from hhh_coffea.plot import main as plot
from hhh_coffea.results.directory import read_histograms
from hhh_coffea.run import main

METHODS = ("dhh", "chi2")
EVENTS = 1500
REGIONS = {  # R < 30, 30 to 55 GeV, and the same rings about (185, 180) GeV
    "signal": (125, 120, 0, 30),
    "control": (125, 120, 30, 55),
    "validation_signal": (185, 180, 0, 30),
    "validation_control": (185, 180, 30, 55),
}
TAGS = {"tags_4b": "jets.btag_wp3[3] >= 2", "tags_2b": "jets.btag_wp3[2] < 2 and jets.btag_wp3[3] < 2"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plane")
    corrections = {"jets": {"file": str(write_jet_corrections(folder / "j.json")), "uncertainties": {"jes": "Total"}}}
    content = {}
    for name, source, more in (
        ("HH", "hh", {}),
        ("QCD", "qcd", {"is_signal": False}),
        ("data", "hhh", {"is_signal": False, "is_data": True}),  # no genWeight, nothing generated
    ):
        file = write_nanoaod(
            DEMO / f"{source}.root", folder / f"{name}.root", 12, EVENTS, data=name == "data", signal=name == "HH"
        )
        section = {"version": 12, "year": "2022EE", "jets": {"by_score": 4}}
        section |= {} if name == "data" else {"corrections": corrections}
        metadata = {"format": "nanoaod", "analysis": "hh_resolved", "nanoaod": section, **more}
        content[name] = {"files": [str(file)], "metadata": metadata}
    (folder / "f.json").write_text(json.dumps(content))

    def made(name, *options):
        base = ["--fileset", str(folder / "f.json"), "--methods", ",".join(METHODS), "--no-plots", "--events"]
        tags = [word for tag, text in TAGS.items() for word in ("--region", f"{tag}={text}")]
        assert main([*base, *tags, *options, "--output", str(folder / name)]) == 0
        return folder / name

    return made


@pytest.fixture(scope="module")
def nominal(run):
    return run("nominal")


def test_plane_and_yields_are_those_of_the_table(nominal):
    table = pd.read_parquet(nominal / "events")
    plane = read_histograms(nominal)[0]["mass_plane"]
    events = read_histograms(nominal)[0]["region_events"]
    assert set(table.dataset) == {"HH", "QCD", "data"}
    for (dataset, method), own in table.groupby(["dataset", "method"]):
        m1, m2 = own.candidate1_mass.to_numpy(), own.candidate2_mass.to_numpy()
        place = {"dataset": dataset, "method": method}
        for region, (x, y, low, high) in REGIONS.items():
            r = np.hypot(m1 - x, m2 - y)
            inside = (r >= low) & (r < high)
            assert events[{**place, "region": region}].value == own.weight[inside].sum()
        counted = 0
        for category in ("all", *TAGS):
            use = np.ones(len(own), bool) if category == "all" else own[f"region_{category}"].to_numpy(dtype=bool)
            found = plane[{**place, "region": hist.loc(category)}].values(flow=True)
            edges = [np.concatenate([[-np.inf], axis.edges, [np.inf]]) for axis in plane.axes[-2:]]
            want = np.histogram2d(m1[use], m2[use], bins=edges, weights=own.weight[use])[0]
            np.testing.assert_allclose(found, want)
            counted += 0 if category == "all" else use.sum()
        assert 0 < counted <= len(own)


def test_chunks_change_nothing(run, nominal):
    other = run("chunks", "--chunksize", "400")
    assert (other / "histograms.json").read_bytes() == (nominal / "histograms.json").read_bytes()


def test_variations_move_the_yields_and_not_the_nominal_ones(run, nominal):
    varied, _ = read_histograms(run("varied", "--processor", "systematics"), every=True)
    plain, _ = read_histograms(nominal, every=True)
    for name in ("mass_plane", "region_events"):
        assert varied[name][{"variation": "nominal"}] == plain[name]
    events = varied["region_events"][{"dataset": "HH", "method": "dhh", "region": "signal"}]
    values = {name: events[{"variation": name}].value for name in ("nominal", "jes_up", "jes_down")}
    assert len(set(values.values())) == 3
    data = varied["region_events"][{"dataset": "data", "method": "dhh", "region": "signal"}]
    assert data[{"variation": "jes_up"}].value in (0, data[{"variation": "nominal"}].value)  # data have no variations


def test_figures(nominal):
    assert plot([str(nominal)]) == 0
    for dataset in ("HH", "QCD", "data"):
        assert (nominal / "plots" / dataset / "mass_plane_dhh.png").stat().st_size > 10_000
    assert "The circles are the borders of the regions" in (nominal / "report.html").read_text()
