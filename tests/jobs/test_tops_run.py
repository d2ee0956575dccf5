"""Semi-leptonic tops through the main job: the bundled demo, the interactive path, options, and the reference numbers."""

import json

import awkward as ak
import numpy as np
import pandas as pd
import pytest
import uproot

from hhh_coffea.lazy import event_record, open_events, reconstruct
from hhh_coffea.results.directory import read_histograms
from hhh_coffea.run import main

DEMO_EVENTS = {"ttbar": 1000, "tth": 600, "ttbb": 200}
QUARKS = {"ht": ("b", "q1", "q2"), "lt": ("b",), "h": ("b1", "b2")}  # in the order of the reference


def run(output, *options):
    return main(["--output", str(output), "--no-plots", *options])


def read(folder, name="summary"):
    return json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The bundled demo with nothing but its name, and candidates."""
    folder = tmp_path_factory.mktemp("demo") / "r"
    assert run(folder, "--fileset", "demo_tops", "--candidates", "--overlay-published") == 0
    return folder


def test_demo_works_out_of_the_box(demo, capsys):
    """Three analyses' worth of tables that agree with each other; background has candidates, and no truth."""
    summary, cutflow = read(demo), read(demo, "cutflow")["datasets"]
    assert {name: entry["cuts"][-1]["events"] for name, entry in cutflow.items()} == DEMO_EVENTS
    assert list(summary["assignments"]) == ["ttbar", "tth"]
    for name, targets in (("ttbar", ["ht", "lt"]), ("tth", ["ht", "lt", "h"])):
        table = summary["assignments"][name]["default"]["chi2"]
        categories = summary["results"][name]["default"]["chi2"]["categories"]
        for target in targets:
            found = table["all"]["all"][target]
            assert found["denominator"] == categories[target]["targets"]
            assert found["numerator"] == categories[target]["correct"] == table["selected"]["all"][target]["numerator"]
            assert found["low"] < found["value"] < found["high"]
        share = table["shares"]["all"]
        assert share["any"]["denominator"] == DEMO_EVENTS[name]
        assert share["any"]["numerator"] == table["all"]["all"]["event"]["denominator"]
        assert share["full"]["numerator"] == table["full"]["all"]["event"]["denominator"]
        for kind in ("all", "full", "selected"):
            rows = [row["event"]["denominator"] for row in table[kind].values()]
            assert sum(rows[:-1]) == rows[-1]
    background = summary["results"]["ttbb"]["default"]["chi2"]["categories"]["all"]
    assert (background["candidates"], background["correct"]) == (600, None)


def test_published_rows_stand_behind_ours(demo):
    """Table 1 of the paper, in the report because of --overlay-published; spot checks against the printed page."""
    published = read(demo)["published_assignments"]
    assert set(published) == {"ttbar", "tth"}
    methods = published["ttbar"]["methods"]
    assert methods["SPANet"]["full"]["≥ 6"] == {"event": 0.60, "ht": 0.63, "lt": 0.84}
    assert methods["KLFitter"]["all"]["4"] == {"event": 0.60, "ht": 0.66, "lt": 0.65}
    assert published["tth"]["methods"]["PDNN"]["all"]["all"] == {"event": 0.31, "ht": 0.43, "lt": 0.57, "h": 0.43}
    assert published["tth"]["methods"]["KLFitter"]["full"]["≥ 8"]["event"] == 0.05
    ours = read(demo)["assignments"]["tth"]["default"]["chi2"]
    for kinds in published["tth"]["methods"].values():
        for kind, rows in kinds.items():
            assert list(rows) == list(ours[kind])
            assert all(list(row) == list(ours[kind][label]) for label, row in rows.items())
    report = (demo / "report.html").read_text(encoding="utf-8")
    assert "SPANet (published)" in report
    assert "Commun. Phys. 7, 139" in report


def test_published_rows_only_where_asked_for(tmp_path, capsys):
    assert run(tmp_path / "r", "--fileset", "demo_tops", "--datasets", "ttbar", "--verbose") == 0
    printed = capsys.readouterr().out
    assert "targets that are found, in % of the selected events" in printed
    assert "published:" not in printed
    assert "(published)" not in (tmp_path / "r" / "report.html").read_text(encoding="utf-8")
    assert run(tmp_path / "s", "--fileset", "demo_tops", "--datasets", "ttbar", "--overlay-published") == 0
    printed = capsys.readouterr().out
    assert "published:" in printed
    assert "KLFitter" in printed


@pytest.mark.parametrize("dataset", DEMO_EVENTS)
def test_interactive_numbers_are_those_of_the_main_job(demo, dataset):
    """Both modes, to the last bit."""
    rows = pd.read_parquet(demo / "candidates")
    rows = rows[rows.dataset == dataset].sort_values("entry", kind="stable")
    lazy = reconstruct(open_events("demo_tops", dataset, chunksize=300), "chi2").compute(scheduler="sync")
    virtual = reconstruct(open_events("demo_tops", dataset, mode="virtual"), "chi2")
    record = event_record(open_events("demo_tops", dataset, mode="virtual"))
    for found in (lazy, virtual):
        assert len(found) == DEMO_EVENTS[dataset]
        names = ["pt", "eta", "phi", "mass", *(["correct"] if dataset != "ttbb" else [])]
        for name in names:
            np.testing.assert_array_equal(ak.to_numpy(ak.flatten(found[name])), rows[name])
        own = found.b[found.kind == 1][:, 0]  # of t_L
        in_file = record.jets.index[ak.local_index(own), own]
        np.testing.assert_array_equal(ak.to_numpy(in_file), rows[rows.kind == "lt"].b)
        assert ("correct" in found.fields) == (dataset != "ttbb")


def test_quantities_count_what_the_tables_count(demo):
    """Every spectrum and efficiency of the declaration adds up to the numbers of the summary."""
    histograms, datasets = read_histograms(demo)
    summary = read(demo)
    assert datasets["tth"]["labels"]["ht"] == "$t_H$"
    for name in ("ttbar", "tth"):
        table = summary["assignments"][name]["default"]["chi2"]["all"]
        place = {"dataset": name, "method": "chi2", "definition": "default"}
        axes = [a.name for a in histograms["quantity_number_of_jets"].axes]
        assert axes == [*place, "of", "value", "right"]
        for target, entry in table["all"].items():
            jets = histograms["quantity_number_of_jets"][{**{k: _loc(v) for k, v in place.items()}, "of": _loc(target)}]
            values = jets.values(flow=True)
            assert values.sum() == entry["denominator"]
            assert values[:, 1].sum() == entry["numerator"]
            for label, row in table.items():
                if label.isdigit():
                    at = histograms["quantity_number_of_jets"].axes["value"].index(int(label)) + 1
                    assert values[at].tolist() == [
                        row[target]["denominator"] - row[target]["numerator"],
                        row[target]["numerator"],
                    ]
            if target == "event":
                continue
            masses = histograms["quantity_mass"][{**{k: _loc(v) for k, v in place.items()}, "of": _loc(target)}]
            counted = {o: masses[_loc(o), :].values(flow=True) for o in ("right", "wrong", "not reconstructable")}
            if name == "ttbar":  # all of weight 1
                assert counted["right"].sum() == entry["numerator"]
                assert counted["wrong"].sum() == entry["denominator"] - entry["numerator"]
                assert sum(c.sum() for c in counted.values()) == DEMO_EVENTS[name]
        neutrino = histograms["quantity_leptonic_w_mass"][{"dataset": _loc(name), "method": _loc("any")}]
        real = neutrino[_loc("default"), _loc("real"), _loc("all"), :]
        at = real.axes["value"].index(80.37)
        assert real.values()[at] == real.values(flow=True).sum()  # on the mass of the W
    background = histograms["quantity_mass"][{"dataset": _loc("ttbb"), "of": _loc("ht"), "outcome": _loc("no truth")}]
    assert background.values(flow=True).sum() == DEMO_EVENTS["ttbb"]
    for name in ("quantity_number_of_jets", "assignment_confusion"):
        assert "ttbb" not in histograms[name].axes["dataset"]


def test_root_file(tmp_path):
    """Quantities as TH1, split by what became of the target; what has no axis of numbers is left out."""
    assert run(tmp_path / "r", "--fileset", "demo_tops", "--datasets", "ttbar", "--root") == 0
    with uproot.open(tmp_path / "r" / "histograms.root") as file:
        mass = file["quantity_mass/ttbar/chi2/default/ht/right"].to_hist()
        assert mass.sum().value == 358
        jets = file["quantity_number_of_jets/ttbar/chi2/default/ht/right"].to_hist()
        assert jets.sum() == 358
        assert not any(key.startswith("assignment_confusion") for key in file)


def test_confusion_holds_every_assigned_jet(demo):
    histogram = read_histograms(demo)[0]["assignment_confusion"]
    rows = pd.read_parquet(demo / "candidates")
    for name, daughters in (("ttbar", 4), ("tth", 6)):
        own = histogram[{"dataset": _loc(name), "method": _loc("chi2"), "definition": _loc("default")}]
        assert own.values().sum() == DEMO_EVENTS[name] * daughters
        right = rows[(rows.dataset == name) & (rows.kind == "lt") & rows.correct.astype(bool)]
        assert own["lt: b", "lt: b"] == len(right)


def _loc(value):
    import hist

    return hist.loc(value)


def test_options_of_the_method(demo, tmp_path):
    """Both spellings give the same, another result than without, on record; a veto leaves no untagged b jet."""
    results = []
    for number, option in enumerate(("chi2.btag=veto", "settings={chi2: {btag: veto}}")):
        folder = tmp_path / str(number)
        assert run(folder, "--fileset", "demo_tops", "--datasets", "ttbar", "--set", option) == 0
        assert read(folder, "provenance")["config"]["options"] == {"settings": {"chi2": {"btag": "veto"}}}
        results.append(read(folder)["assignments"])
    assert results[0] == results[1]
    assert results[0]["ttbar"] != read(demo)["assignments"]["ttbar"]
    events = open_events("demo_tops", "ttbar", mode="virtual")
    found, record = reconstruct(events, "chi2", settings={"chi2": {"btag": "veto"}}), event_record(events)
    for number in (0, 1):
        b = found.b[found.kind == number][:, 0]
        assert ak.all(record.jets.btag[ak.local_index(b), b] == 1)  # two b tags at least in every event


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["chi2.btag=vetoo"], "settings of method 'chi2', 'btag': must be 'terms', 'veto' or 'none' .got"),
        (["chi2.b_tag=veto"], "settings of method 'chi2', 'b_tag': .*there are w_mass, top_mass"),
        (["chi2.top_mass=-1"], "settings of method 'chi2', 'top_mass'"),
        (["chi3.btag=veto"], "settings of method 'chi3': analysis 'ttbar_semileptonic' has none for it"),
        (["likelihood.jacobian=true"], "settings of method 'likelihood'"),  # not among the methods of the run
        (["chi2.btag=veto", "chi2.btag=none"], "'chi2.btag' is given twice"),
        (["chi2.btag=veto", "settings={chi2: {btag: none}}"], "options of methods are given twice"),
        ([".btag=veto"], "'.btag=veto' is not NAME=VALUE"),
        (["chi2.a.b=1"], "'chi2.a.b=1' is not NAME=VALUE"),
        (["settings=3"], "option 'settings': 3 is no mapping"),
    ],
)
def test_wrong_options_are_named(options, says, tmp_path, capsys):
    given = [part for option in options for part in ("--set", option)]
    assert run(tmp_path / "r", "--fileset", "demo_tops", "--datasets", "ttbar", *given) == 2
    import re

    assert re.search(says, capsys.readouterr().err)


@pytest.fixture(scope="module")
def test_files(shared_dir, tmp_path_factory):
    """The main job on the three shared test files; ttbb as signal, for its reference has the truth of the tops."""
    folder = tmp_path_factory.mktemp("tops")
    content = {
        name: {
            "files": [str(shared_dir / "data" / "tops" / f"{name}.root")],
            "metadata": {"format": "delphes", "analysis": analysis},
        }
        for name, analysis in (
            ("tt_test", "ttbar_semileptonic"),
            ("tth_test", "tth_semileptonic"),
            ("ttbb_test", "tth_semileptonic"),
        )
    }
    (folder / "tops.json").write_text(json.dumps(content))
    assert run(folder / "r", "--fileset", str(folder / "tops.json"), "--candidates", "--chunksize", "3000") == 0
    return folder / "r", json.loads((shared_dir / "reference" / "tops_truth.json").read_text())


@pytest.mark.parametrize("name", ["tt_test", "tth_test", "ttbb_test"])
def test_candidates_equal_the_reference_event_by_event(test_files, name):
    """Chosen jets, whether they are right, and masses of 2,000 events of each file, out of the parquet files."""
    folder, reference = test_files[0], test_files[1][name]
    rows = pd.read_parquet(folder / "candidates")
    rows = rows[rows.dataset == name].set_index(["kind", "entry"]).sort_index()
    kinds = ("ht", "lt", "h") if reference["kind"] == "tth" else ("ht", "lt")
    entries = [row[0] for row in reference["rows"]]
    found = {kind: rows.loc[kind].loc[entries] for kind in kinds}
    place = {"ht": slice(0, 3), "lt": slice(3, 4), "h": slice(4, 6)}
    matched, chosen = (np.array([row[k] for row in reference["rows"]]) for k in (2, 3))
    for kind in kinds:
        objects = found[kind][list(QUARKS[kind])].to_numpy()
        np.testing.assert_array_equal(objects, chosen[:, place[kind]])
        true, given = matched[:, place[kind]].copy(), chosen[:, place[kind]].copy()
        light = slice(1, 3) if kind == "ht" else slice(0, 2)
        true[:, light].sort(axis=1)
        given[:, light].sort(axis=1)
        right = (true == given).all(axis=1) & (true >= 0).all(axis=1)
        np.testing.assert_array_equal(found[kind].correct.astype(bool), right)
        masses = [row[{"ht": 5, "lt": 6, "h": 7}[kind]] for row in reference["rows"]]
        np.testing.assert_allclose(found[kind].mass, masses, atol=6e-7)


@pytest.mark.parametrize("name", ["tt_test", "tth_test", "ttbb_test"])
def test_tables_equal_the_reference(test_files, name):
    """All, Full and Selected, every bin of jets; shares; the cutflow."""
    folder, reference = test_files[0], test_files[1][name]
    assert (
        read(folder, "cutflow")["datasets"][name]["cuts"][-1]["events"] == reference["counts"]["passing_semileptonic"]
    )
    table = read(folder)["assignments"][name]["default"]["chi2"]
    for kind, theirs in (("all", "All"), ("full", "Full"), ("selected", "over_selected")):
        for label, expected in reference["table1"][theirs].items():
            mine = table[kind][label.replace(">=", "≥ ")]
            columns = {"event": "Ev", "ht": "ht", "lt": "lt", "h": "h"}
            assert {columns[k]: [v["numerator"], v["denominator"]] for k, v in mine.items()} == expected
    for label, expected in reference["reconstructable"].items():
        share = table["shares"][label.replace(">=", "≥ ")]
        assert {k: v["numerator"] for k, v in share.items()} == {k: expected[k] for k in share}
