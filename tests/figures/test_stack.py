"""Labels above figures, and stacks of expected events."""

from __future__ import annotations

import hist
import matplotlib as mpl
import mplhep
import numpy as np
import pytest
from hist import Hist
from kept_axes import Kept
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from hhh_coffea.figures.looks.labels import Labels, labels_of
from hhh_coffea.figures.looks.letters import set_bars, with_bars
from hhh_coffea.figures.looks.style import Writer, kinds_shown
from hhh_coffea.figures.measurement.stack import draw, per_width, ratio_panel, selected_alike, stack

DATASETS = {
    "HHH": {"label": "HHH → 6b", "format": "delphes", "analysis": "hhh", "particles": 3, "is_signal": True},
    "QCD": {"label": "QCD", "format": "delphes", "analysis": "hhh", "particles": 3, "is_signal": False},
    "Data": {
        "label": "Data",
        "format": "delphes",
        "analysis": "hhh",
        "particles": 3,
        "is_signal": False,
        "is_data": True,
    },
    "HH": {"label": "HH → 4b", "format": "delphes", "analysis": "hh", "particles": 2, "is_signal": True},
}


def axes() -> mpl.axes.Axes:
    figure = Figure(figsize=(11, 10))
    FigureCanvasAgg(figure)
    return figure.subplots()


def texts(axis: mpl.axes.Axes) -> list[str]:
    found = [*axis.texts, axis.title, axis._left_title, axis._right_title]
    return [text.get_text() for text in found if text.get_text()]


def test_labels():
    """mplhep's conventions: the experiment and an italic text on the left, luminosity and energy on the right."""
    axis = axes()
    Labels(experiment="CMS", text="Simulation", luminosity=3000, sqrt_s=14).write(axis, "HHH")
    assert {"CMS", "Simulation", "HHH, 3000 fb$^{-1}$ (14 TeV)"} <= set(texts(axis))
    plain = axes()
    Labels().write(plain, "HHH")
    assert texts(plain) == ["Delphes simulation", "HHH"]


@pytest.mark.parametrize(
    ("config", "names", "text"),
    [
        ({"label": "CMS"}, ["HHH"], "Simulation"),
        ({"label": "CMS"}, ["HHH", "Data"], ""),
        ({"label": "CMS", "label_text": "Preliminary"}, ["HHH", "Data"], "Preliminary"),
        ({}, ["HHH"], ""),
    ],
)
def test_the_text_is_simulation_without_data(config, names, text):
    found = labels_of(config, {name: DATASETS[name] for name in names})
    assert (found.text, found.experiment) == (text, config.get("label", ""))


def test_long_labels_of_an_experiment_fit():
    axis = axes()
    long = Labels(experiment="Experiment", text="Work in Progress", luminosity=3000, sqrt_s=13.6)
    long.write(axis, "a dataset with quite a long name")
    renderer = axis.figure.canvas.get_renderer()
    bold, italic, right = (text.get_window_extent(renderer) for text in axis.texts)
    assert bold.x1 < italic.x0 < italic.x1 < right.x0
    assert right.x1 <= axis.get_window_extent(renderer).x1 + 1


def test_long_labels_fit():
    axis = axes()
    Labels(luminosity=3000, sqrt_s=13.6).write(axis, "a dataset with quite a long name")
    renderer = axis.figure.canvas.get_renderer()
    left, right = (t.get_window_extent(renderer) for t in (axis._left_title, axis._right_title))
    assert left.x1 < right.x0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hadronic tt\u0304", r"Hadronic t$\bar{\mathregular{t}}$"),
        ("bb\u0305, ν\u0304", r"b$\bar{\mathregular{b}}$, $\bar{\mathregular{ν}}$"),
        ("m($tt\u0304$) of tt\u0304", r"m($t\bar{t}$) of t$\bar{\mathregular{t}}$"),
        ("tt\u0304 for 5 $", r"t$\bar{\mathregular{t}}$ for 5 \$"),
        ("5 $ and $p_T$, χ²", "5 $ and $p_T$, χ²"),
    ],
)
def test_letters_with_a_bar(text, expected):
    assert with_bars(text) == expected


def test_every_text_of_a_figure_has_its_bars():
    axis = axes()
    axis.plot([0, 1], label="tt\u0304")
    axis.set(xlabel="m(tt\u0304)")
    axis.legend(title="tt\u0304")
    Labels().write(axis, "tt\u0304")
    set_bars(axis.figure)
    legend = axis.get_legend()
    texts = [axis.xaxis.label, axis._right_title, legend.get_title(), *legend.get_texts()]
    assert all(r"\bar" in text.get_text() and "\u0304" not in text.get_text() for text in texts)
    axis.figure.canvas.draw()


def test_stack_adds_up():
    """Heights are the sums, smallest background first and the signal on top, divided by the width of the bins."""
    axis, edges = axes(), np.array([0.0, 1.0, 3.0])
    stack(
        axis, edges, {"s": np.array([1.0, 1.0]), "b": np.array([10.0, 20.0]), "c": np.array([2.0, 4.0])}, signals={"s"}
    )
    patches = [patch.get_data() for patch in axis.patches]
    assert [patch.get_label() for patch in axis.patches] == ["c", "b", "s"]
    assert patches[-1].values.tolist() == [13, 12.5]
    assert patches[-1].baseline.tolist() == [12, 12]


def test_ratio():
    upper, lower = Figure().subplots(2)
    total, data = np.array([100.0, 0.0, 50.0]), np.array([121.0, 0.0, 25.0])
    ratio_panel(upper, lower, np.arange(4.0), total, np.array([10.0, 0, 5.0]), data)
    line = lower.containers[0].lines[0]
    np.testing.assert_allclose(line.get_ydata(), [1.21, np.nan, 0.5])
    band = lower.patches[0].get_data()
    assert band.values[[0, 2]] == pytest.approx([1.1, 1.1])
    low, high = lower.get_ylim()
    assert low < 0.4
    assert high > 1.32


@pytest.mark.parametrize(
    ("edges", "label", "expected"),
    [
        ([0, 5, 10], "m [GeV]", "Events / 5 GeV"),
        ([0, 5, 20], "m [GeV]", "Events / 5 GeV"),
        ([0, 40, 110], "m [GeV]", "Events / 10 GeV"),
        ([0, 5, 12], "m [GeV]", "Events / GeV"),
        ([0, 1, 2], "jets", "Events"),
        ([0, 1, 3], "score", "Events / bin width"),
        ([0, 0.5, 1.0], "score", "Events / 0.5"),
    ],
)
def test_label_of_events(edges, label, expected):
    assert per_width(np.array(edges, dtype=float), label) == expected


def masses(bins: int = 8) -> Hist:
    names = [hist.axis.StrCategory([], growth=True, name=n) for n in ("dataset", "method", "definition")]
    result = Hist(
        *names,
        hist.axis.Integer(0, 4, underflow=False, name="rank"),
        hist.axis.Regular(bins, 30, 230, name="mass", label="Candidate mass [GeV]"),
        hist.axis.Integer(-1, 2, flow=False, name="correct"),
        storage=hist.storage.Weight(),
    )
    rng = np.random.default_rng(1)
    for name in DATASETS:
        result.fill(name, "chi2", "default", 0, rng.normal(120, 40, 500), 1)
    return result


def test_which_stacks_are_drawn(tmp_path):
    """Only datasets that are selected alike are added up; a process by itself is no stack."""
    assert selected_alike(DATASETS) == {"hhh": ["HHH", "QCD", "Data"], "hh": ["HH"]}
    write = Writer(tmp_path, ("png",), Labels(luminosity=10))
    draw(write, {"ranked_mass": masses()}, DATASETS, {"HHH": 0.01, "QCD": 1.0, "HH": 1.0})
    assert [path.name for path in write.written] == ["stack_hhh_mass_1_chi2"]
    first = write.written[0].with_suffix(".png").read_bytes()
    without = {name: info for name, info in DATASETS.items() if name != "Data"}
    draw(write, {"ranked_mass": masses()}, without, {"HHH": 0.01, "QCD": 1.0, "HH": 1.0})
    assert write.written[1].with_suffix(".png").read_bytes() != first


def test_stacks_of_all_methods_have_one_axis_and_filled_bins(tmp_path):
    """No bin has fewer than five simulated events of signal or of background, and what is beyond the axis is written."""
    histogram, rng = masses(bins=40), np.random.default_rng(2)
    for name, number in (("HHH", 4000), ("QCD", 60)):
        histogram.fill(name, "spanet", "default", 0, rng.normal(120, 12, number), 1)
        histogram.fill(name, "chi2", "default", 0, np.full(100, 500.0), 1)
    datasets = {name: DATASETS[name] for name in ("HHH", "QCD")}
    scales = {"HHH": 0.01, "QCD": 1000.0}
    write = Kept(tmp_path)
    draw(write, {"ranked_mass": histogram}, datasets, scales)
    chi2, spanet = (write.axes[f"stack_hhh_mass_1_{method}"][0] for method in ("chi2", "spanet"))
    assert chi2.get_xlim() == spanet.get_xlim()
    assert any("are above 2" in text.get_text() for text in chi2.get_legend().get_texts())
    for axis, method in ((chi2, "chi2"), (spanet, "spanet")):
        label = axis.get_ylabel()
        width = float(label.removeprefix("Events / ").split()[0]) if label != "Events / GeV" else 1.0
        for patch in axis.patches[:2]:
            values, edges, below = patch.get_data()
            scale = scales[next(name for name in datasets if DATASETS[name]["label"] == patch.get_label())]
            entries = (values - below) * np.diff(edges) / width / scale
            assert entries.min() >= 5 - 1e-6
            name = next(name for name in datasets if DATASETS[name]["label"] == patch.get_label())
            place = {
                "dataset": hist.loc(name),
                "method": hist.loc(method),
                "definition": sum,
                "rank": 0,
                "correct": sum,
            }
            assert entries.sum() == pytest.approx(histogram[place].values().sum())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("A/default_generated_pt", set()),
        ("A/multiplicity", set()),
        ("A/spectrum_leptonic_w_mass", set()),
        ("A/spectrum_mass_by_spanet", {"spanet"}),
        ("A/candidate_mass_chi2", set()),
        ("A/candidate_mass_chi2+bdt", {"bdt"}),
        ("A/default_confusion_spanet_greedy", {"spanet"}),
        ("stack_hh_mass_1_chi2", set()),
        ("A/default_purity_efficiency_merged", {"spanet", "bdt"}),
        ("A/efficiency_generated_pt", {"spanet", "bdt"}),
    ],
)
def test_figures_name_the_foreign_models_of_their_own_methods(name, expected):
    assert kinds_shown(name, {"spanet", "bdt"}) == expected


def test_the_note_on_foreign_models_stays_within_the_figure(tmp_path):
    """Short ones are large; a long one is as small as it takes."""
    sizes = {}
    for names in (["hbb_bdt"], ["spanet_hhh_decorrelated", "spanet_hh_decorrelated", "another_network_of_a_user"]):
        write = Writer(tmp_path, ("png",), Labels(foreign=tuple(("spanet", name) for name in names)))
        with write.figure("f", "") as (axis,):
            pass
        (note,) = [text for text in axis.texts if ", ".join(names) in text.get_text()]
        with mpl.rc_context():
            mplhep.style.use("CMS")  # its letters
            box = note.get_window_extent(axis.figure.canvas.get_renderer())
        assert 0 <= box.y0 < box.y1
        assert box.x1 <= axis.figure.bbox.x1
        sizes[len(names)] = note.get_fontsize()
    assert sizes[1] == 19 > sizes[3] >= 12
