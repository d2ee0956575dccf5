"""Results on disk and the figures made of them."""

import json

import hist
import numpy as np
import pytest
from hist import Hist

from hhh_coffea.figures import published
from hhh_coffea.figures.ratios import joined, side_by_side
from hhh_coffea.figures.spectra import between, coarseness, coarser, counted
from hhh_coffea.figures.style import METHOD_STYLES, PT_EDGES, styles_of
from hhh_coffea.plot import main as plot
from hhh_coffea.results.directory import ResultsError, read_histograms, split_output, write_json
from hhh_coffea.results.histograms import canonical
from hhh_coffea.results.summary import confusion_matrix, ratio
from hhh_coffea.run import main as run


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    output = tmp_path_factory.mktemp("figures") / "results"
    assert run(["--fileset", "demo", "--output", str(output), "--no-plots"]) == 0
    return output


@pytest.mark.slow
def test_every_figure_is_drawn_from_the_histograms_alone(results, tmp_path):
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "histograms.json").write_bytes((results / "histograms.json").read_bytes())
    assert plot([str(alone), "--overlay-published", "--formats", "png"]) == 0
    drawn = {str(p.relative_to(alone / "plots")) for p in (alone / "plots").rglob("*.png")}
    for name in (
        "HHH/reference_purity_efficiency_merged",
        "HHH/reference_purity_efficiency_merged_without_overlap_removal",
        "HHH/reference_purity_efficiency_resolved",
        "HHH/reference_purity_efficiency_resolved_after_overlap_removal",
        "HH/default_purity_efficiency_merged",
        "HHH/default_generated_pt",
        "HHH/default_target_mass",
        "HHH/candidate_mass_chi2",
        "HHH/multiplicity",
        "QCD/mass_sculpting_merged",
        "QCD/mass_sculpting_resolved",
    ):
        assert f"{name}.png" in drawn
    assert all((alone / "plots" / name).stat().st_size > 10_000 for name in drawn)
    assert not any("confusion" in name for name in drawn)  # χ² makes candidates of one kind: nothing to confuse


def test_plot_mistakes(tmp_path, capsys):
    assert plot([str(tmp_path)]) == 2
    assert "no results here" in capsys.readouterr().err
    (tmp_path / "histograms.json").write_text("{")
    assert plot([str(tmp_path)]) == 2
    assert "cannot be read" in capsys.readouterr().err
    assert plot([str(tmp_path), "--formats", "gif"]) == 2
    (tmp_path / "histograms.json").write_text('{"schema_version": 99}')
    with pytest.raises(ResultsError, match="schema version 2"):
        read_histograms(tmp_path)


def test_histograms_survive_the_disk(results):
    """UHI JSON both ways, bit for bit; categories sorted."""
    histograms, datasets = read_histograms(results)
    ours = ["merged", "boosted", "resolved"]
    published = ["merged", "merged_without_overlap_removal", *ours[1:], "resolved_after_overlap_removal"]
    assert datasets["QCD"] == {
        "label": "QCD 4b",
        "format": "delphes",
        "is_signal": False,
        "analysis": "hhh",
        "particle": "Higgs",
        "symbol": "H",
        "particles": 3,
        "kinds": {"resolved": 3, "boosted": 3},
        "targets": ["H1", "H2", "H3"],
        "jet_bins": [],
        "categories": {"default": ours, "reference": published},
    }
    raw = json.loads((results / "histograms.json").read_text())["histograms"]
    for name, histogram in histograms.items():
        assert canonical(histogram) == histogram
        write_json(results / "again.json", histogram)
        assert json.loads((results / "again.json").read_text()) == raw[name]


def test_canonical_order_forgets_the_order_of_filling():
    def make(names):
        h = Hist(
            hist.axis.StrCategory([], growth=True, name="x"),
            hist.axis.Regular(3, 0, 3, name="y"),
            storage=hist.storage.Weight(),
        )
        for name in names:
            h.fill(x=name, y=np.arange(ord(name)) % 4, weight=np.full(ord(name), 0.5))
        return h

    assert make("abc") != make("cab")
    assert canonical(make("abc")) == canonical(make("cab"))
    assert canonical(make("cab"))["a", :].sum() == make("abc")["a", :].sum()


def test_any_output_is_split():
    h = Hist(hist.axis.Regular(2, 0, 1, name="x"))
    histograms, rest = split_output(
        {"histograms": {"a": h}, "deep": {"b": h, "n": np.int64(3)}, "s": {"y", "x"}, "v": np.arange(2)}
    )
    assert set(histograms) == {"a", "deep/b"}
    assert rest == {"deep": {"n": 3}, "s": ["x", "y"], "v": [0, 1]}
    assert split_output({}) == ({}, {})


def test_ratio_edges():
    assert ratio(0, 0)["value"] is None
    assert ratio(0, 4)["low"] == 0
    assert ratio(0, 4)["high"] == pytest.approx(1 - ((1 - 0.6827) / 2) ** (1 / 4))  # solved by hand
    assert ratio(5, 5)["high"] == 1


def test_published_curves_are_those_of_the_paper():
    """Spec §6: HHH merged at 200–250 GeV."""
    (_, spanet), (_, baseline) = published.curves("hhh", "merged", "purity")
    assert spanet.shape == (21, 3)
    assert spanet[4, 0] == pytest.approx(0.457)
    assert baseline[4, 0] == pytest.approx(0.318)
    assert np.isnan(published.curves("hhh", "boosted", "purity")[0][1][1, 0])
    assert published.curves("hhhh", "merged", "purity") == []
    assert published.curves("ttbar", "all", "purity") == []


CLASSES = ("target_boosted", "target_resolved", "candidate_boosted", "candidate_resolved")


def test_confusion_matrix_by_hand():
    h = Hist(
        hist.axis.StrCategory(["d"], growth=True, name="dataset"),
        *(hist.axis.Integer(0, 5, underflow=False, name=n) for n in CLASSES),
        storage=hist.storage.Int64(),
    )
    numbers = ([0, 0, 1, 0], [2, 2, 1, 1], [0, 1, 1, 0], [2, 1, 1, 2])  # the last event is partial
    h.fill(dataset="d", **dict(zip(CLASSES, numbers, strict=True)))
    classes, matrix = confusion_matrix(h, {"dataset": "d"}, {"resolved": 2, "boosted": 2}, 2)
    assert classes == [(0, 2), (1, 1), (2, 0)]
    assert matrix.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]


def test_methods_look_different_and_always_the_same():
    methods = [*METHOD_STYLES, "mine", "chi2 @ a", "chi2 @ b", "spanet @ a"]
    styles = styles_of(methods)
    assert len({(s["color"], s["marker"]) for s in styles.values()}) == len(methods)
    for method, style in METHOD_STYLES.items():
        assert (styles[method]["color"], styles[method]["marker"]) == style
    runs = styles_of(["chi2", "spanet @ a", "spanet @ b"])
    assert runs["spanet @ a"]["color"] == METHOD_STYLES["spanet"][0] != runs["spanet @ b"]["color"]


def test_points_side_by_side_stay_together():
    """Around the middle of the bin, as far apart in wide bins as in narrow ones, and within the narrowest."""
    assert np.allclose(side_by_side(1, PT_EDGES), 0)
    edges = np.array([0.0, 50.0, 100.0, 600.0])
    three = side_by_side(3, edges)
    np.testing.assert_allclose(three, [-7.2, 0.0, 7.2])  # 0.012 of the axis
    assert np.abs(side_by_side(20, edges)).max() < 25  # half of the narrowest bin


def test_bins_of_a_spectrum_follow_its_entries():
    """By hand: 8 entries in each of 40 bins become 16 in each of 20; the axis is what is filled."""
    axis = hist.axis.Regular(80, 0.0, 400.0, name="mass")
    spectrum = Hist(axis, storage=hist.storage.Weight())
    spectrum.fill(np.tile(axis.centers[20:60], 8))  # 8 entries in each bin from 100 to 300
    assert between(spectrum) == (100.0, 300.0)
    assert coarseness([spectrum]) == 2
    many = Hist(axis, storage=hist.storage.Weight())
    many.fill(np.tile(axis.centers[20:60], 100))
    assert coarseness([many]) == 1
    assert coarseness([many, spectrum]) == 2
    (drawn,) = coarser([spectrum])
    assert drawn.axes[0].size == 40
    assert drawn.values().sum() == spectrum.values().sum()
    weighted = Hist(axis, storage=hist.storage.Weight())
    weighted.fill(axis.centers, weight=0.5)
    assert [counted("Events", h) for h in (many, weighted)] == ["Events", "Weighted events"]
    empty = Hist(axis, storage=hist.storage.Weight())
    assert (coarseness([empty]), between(empty)) == (1, (0.0, 400.0))


def test_bins_are_joined_until_every_method_has_five_entries():
    """From the right, by hand; what is left on the left goes to its neighbour; a method with few entries has no say."""
    assert joined([np.array([9, 9, 9, 9])]).tolist() == [0, 1, 2, 3]
    assert joined([np.array([9, 9, 3, 1, 1])]).tolist() == [0, 1, 2]
    assert joined([np.array([2, 9, 9, 4])]).tolist() == [0, 2]
    assert joined([np.array([9, 9, 9, 9]), np.array([9, 4, 4, 9])]).tolist() == [0, 1, 3]
    assert joined([np.array([9, 9, 9, 9]), np.array([0, 1, 0, 0])]).tolist() == [0, 1, 2, 3]
    assert joined([np.array([1, 0, 0, 0])]).tolist() == [0]
