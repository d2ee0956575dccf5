"""Results on disk and the figures made of them."""

import itertools
import json

import hist
import matplotlib as mpl
import numpy as np
import pytest
from hist import Hist
from kept_axes import Kept
from matplotlib.patches import Circle, StepPatch

from hhh_coffea.figures import mass_plane, multiplicity, published
from hhh_coffea.figures.looks import palette
from hhh_coffea.figures.looks.style import METHOD_STYLES, NAMES, PT_EDGES, line_widths, styles_of
from hhh_coffea.figures.masses import draw_candidates
from hhh_coffea.figures.ratios import joined, side_by_side
from hhh_coffea.figures.spectra import between, coarseness, counted, effective, merged, well_filled
from hhh_coffea.plot import main as plot
from hhh_coffea.results.directory import ResultsError, read_histograms, split_output, write_json
from hhh_coffea.results.histograms import canonical, in_order
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


def test_methods_keep_the_order_in_which_they_were_asked_for():
    asked, found = ["spanet", "chi2+bdt", "chi2"], ["chi2", "chi2+bdt", "chi2+bdt_as_published", "mine", "spanet"]
    assert in_order(found, asked) == ["spanet", "chi2+bdt", "chi2+bdt_as_published", "chi2", "mine"]
    h = Hist(hist.axis.StrCategory([], growth=True, name="method"), hist.axis.Regular(3, 0, 3, name="y"))
    for number, name in enumerate(found):
        h.fill(method=name, y=np.full(number + 1, 1.5))
    ordered = canonical(h, asked)
    assert list(ordered.axes["method"]) == in_order(found, asked)
    assert all(ordered[hist.loc(name), :].sum() == number + 1 for number, name in enumerate(found))


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
    methods = [*METHOD_STYLES, "mine", "another"]
    styles = styles_of(methods)
    assert len({(s["color"], s["marker"]) for s in styles.values()}) == len(methods)
    for method, style in METHOD_STYLES.items():
        assert (styles[method]["color"], styles[method]["marker"]) == style


def test_no_two_methods_share_a_colour_or_a_name():
    """But the decodings that are the same as SPANet's own; beside it, the one with its name is called otherwise."""
    methods = [m for m in METHOD_STYLES if m not in ("spanet:expected", "spanet:all")]
    styles = styles_of(methods)
    for of in (styles, {m: {"color": NAMES[m]} for m in methods}):
        assert len({style["color"] for style in of.values()}) == len(methods)
    assert styles_of(["spanet:expected"])["spanet:expected"]["label"] == NAMES["spanet"]
    both = styles_of(["spanet", "spanet:expected"])
    assert [style["label"] for style in both.values()] == ["SPANet", "SPANet, expected"]


def test_runs_differ_by_filling_and_line_never_by_colour():
    """Of the same method; what is the same in both runs says so, and looks like the first of them."""
    runs = styles_of(["chi2 @ a", "chi2 @ b", "mine @ b", "spanet @ a = b"])
    assert runs["chi2 @ a"]["color"] == runs["chi2 @ b"]["color"] == METHOD_STYLES["chi2"][0]
    assert runs["chi2 @ a"]["marker"] == runs["chi2 @ b"]["marker"]
    assert [runs[name]["fillstyle"] for name in runs] == ["full", "none", "none", "full"]
    assert [runs[name]["linestyle"] for name in runs] == ["-", "--", "--", "-"]
    labels = ["χ² (a)", "χ² (b)", "mine (b)", "SPANet (same in a, b)"]
    assert [runs[name]["label"] for name in runs] == labels


def test_lines_that_coincide_stay_seen():
    np.testing.assert_allclose(line_widths(3), [4.4, 3.2, 2])
    np.testing.assert_allclose(line_widths(2, spread=6), [5, 2])  # runs: 1.5 points are seen on both sides
    np.testing.assert_allclose(line_widths(6, spread=6), line_widths(6))


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
    weighted = Hist(axis, storage=hist.storage.Weight())
    weighted.fill(axis.centers, weight=0.5)
    assert [counted("Events", h) for h in (many, weighted)] == ["Events", "Weighted events"]
    empty = Hist(axis, storage=hist.storage.Weight())
    assert (coarseness([empty]), between(empty)) == (1, (0.0, 400.0))


def test_bins_of_few_entries_are_joined_within_what_is_filled():
    """By hand: empty bins at both ends are left out, those in between belong to the next bin on the left."""
    entries = np.array([0, 3, 9, 8, 0, 2, 3, 0], dtype=float)
    borders = well_filled(entries)
    assert borders.tolist() == [1, 3, 5, 7]
    assert merged(entries, borders).tolist() == [12, 8, 5]
    assert well_filled(np.zeros(4)).tolist() == [0, 4]
    assert effective(np.array([6.0, 0.0]), np.array([12.0, 0.0])).tolist() == [3, 0]


# P. Machado et al., IEEE Trans. Vis. Comput. Graph. 15 (2009) 1291, severity 1.0; they act on linear RGB
VISION = {
    "all colours": np.eye(3),
    "no red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
}


def lab(color, vision):
    """CIE L*a*b* of a colour of sRGB as someone sees it."""
    rgb = np.array(mpl.colors.to_rgb(color))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.array(VISION[vision]) @ linear, 0, 1)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ seen / to_xyz.sum(axis=1)
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize(
    "colors",
    [
        [*dict.fromkeys(color for color, _ in METHOD_STYLES.values())],
        palette.SIGNALS[:1] + palette.BACKGROUNDS,
        palette.SIGNALS,
        palette.PARTICLES,
        palette.WRONG_CANDIDATES,
    ],
)
def test_colours_beside_each_other_are_told_apart(colors, vision):
    """A difference of 2.3 is just noticed; areas and lines need more."""
    seen = [lab(color, vision) for color in colors]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 10


def test_kinds_of_events_have_no_colour_of_a_method():
    methods = {color for color, _ in METHOD_STYLES.values()}
    for color in (*palette.SIGNALS, *palette.BACKGROUNDS, *palette.PARTICLES, *palette.WRONG_CANDIDATES, palette.WRONG):
        distance = min(np.linalg.norm(lab(color, "all colours") - lab(other, "all colours")) for other in methods)
        assert distance > 10


def test_candidate_masses_have_the_same_axis_for_all_methods(results, tmp_path):
    """Both spectra by hand: one method is narrow, the other wide; the wide one has entries above the axis."""
    axes = [hist.axis.StrCategory([], growth=True, name=n) for n in ("dataset", "method", "definition", "category")]
    correct = hist.axis.Integer(-1, 2, flow=False, name="correct")
    mass, pt = hist.axis.Regular(40, 30, 230, name="mass"), hist.axis.Regular(2, 0, 1000, underflow=False, name="pt")
    histograms = {
        "candidate_mass": Hist(*axes, mass, correct, storage=hist.storage.Weight()),
        "candidates": Hist(*axes, pt, correct, storage=hist.storage.Int64()),
    }
    place = {"dataset": "d", "definition": "default", "category": "all"}
    for method, low, high in (("chi2", 40, 280), ("spanet", 100, 150)):
        values = np.linspace(low, high, 1000)
        histograms["candidate_mass"].fill(**place, method=method, mass=values, correct=1)
        histograms["candidates"].fill(**place, method=method, pt=np.full(1000, 50.0), correct=1)
    info = {"label": "d", "kinds": {}, "particles": 0, "categories": {"default": ["all"]}}
    write = Kept(tmp_path)
    draw_candidates(write, histograms, {"dataset": "d"}, info)
    wide, narrow = (write.axes[f"d/candidate_mass_{method}"][0] for method in ("chi2", "spanet"))
    assert wide.get_xlim() == narrow.get_xlim() == (40.0, 230.0)
    assert [text.get_text() for text in wide.get_legend().get_texts()][-1] == "21% are above 230 GeV"
    assert len(narrow.get_legend().get_texts()) == 2


def test_few_events_with_many_objects_are_joined(tmp_path):
    """By hand: of 100 events, one with 9 jets has no bin of its own behind a gap."""
    names = [hist.axis.StrCategory([], growth=True, name=name) for name in ("dataset", "collection")]
    histogram = Hist(*names, hist.axis.Integer(0, 12, underflow=False, name="n"), storage=hist.storage.Weight())
    histogram.fill(dataset="d", collection="jets", n=np.repeat([4, 5, 6, 9], [60, 30, 9, 1]))
    write = Kept(tmp_path)
    multiplicity.draw(write, histogram, "d", "")
    (line,) = [patch for patch in write.axes["d/multiplicity"][0].patches if isinstance(patch, StepPatch)]
    np.testing.assert_allclose(line.get_data().edges, [3.5, 4.5, 5.5, 9.5])
    np.testing.assert_allclose(line.get_data().values, [0.6, 0.3, 0.1 / 4])


def test_regions_of_the_mass_plane_have_names(tmp_path):
    """Of an earlier result, the circles alone."""
    masses = [hist.axis.Regular(30, 50, 200, name=name, label=name) for name in ("m1", "m2")]
    names = [hist.axis.StrCategory([], growth=True, name=name) for name in ("region", "dataset", "method")]
    histogram = Hist(*names, *masses, storage=hist.storage.Weight())
    histogram.fill(region="all", dataset="d", method="chi2", m1=[120.0], m2=[110.0])
    circles = [(125.0, 120.0, 30.0, "signal"), (185.0, 180.0, 30.0, "validation_signal"), (125.0, 120.0, 55.0)]
    write = Kept(tmp_path)
    mass_plane.draw(write, {"mass_plane": histogram}, "d", {"label": "", "mass_plane": circles})
    axis = write.axes["d/mass_plane_chi2"][0]
    assert len([patch for patch in axis.patches if isinstance(patch, Circle)]) == 3
    assert {"signal", "validation\nsignal"} <= {text.get_text() for text in axis.texts}


def test_bins_are_joined_until_every_method_has_five_entries():
    """From the right, by hand; what is left on the left goes to its neighbour; a method with few entries has no say."""
    assert joined([np.array([9, 9, 9, 9])]).tolist() == [0, 1, 2, 3]
    assert joined([np.array([9, 9, 3, 1, 1])]).tolist() == [0, 1, 2]
    assert joined([np.array([2, 9, 9, 4])]).tolist() == [0, 2]
    assert joined([np.array([9, 9, 9, 9]), np.array([9, 4, 4, 9])]).tolist() == [0, 1, 3]
    assert joined([np.array([9, 9, 9, 9]), np.array([0, 1, 0, 0])]).tolist() == [0, 1, 2, 3]
    assert joined([np.array([1, 0, 0, 0])]).tolist() == [0]
