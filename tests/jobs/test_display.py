"""The event display: what it shows is what the main job found; the figures themselves are drawn and not empty."""

from dataclasses import replace

import numpy as np
import pyarrow.dataset as ds
import pytest

from hhh_coffea.analyses.higgs import higgs
from hhh_coffea.base.errors import UserError
from hhh_coffea.datasets.fileset import load_fileset
from hhh_coffea.display import main
from hhh_coffea.figures.event.display import _free_angle, colors_of_wrong, draw_event
from hhh_coffea.figures.event.legend import UNUSED
from hhh_coffea.figures.event.matrices import _title, draw_matrices
from hhh_coffea.figures.event.places import Disc, beside
from hhh_coffea.figures.event.view import Matrix, read_event
from hhh_coffea.figures.looks.palette import PARTICLES
from hhh_coffea.methods import method_options
from hhh_coffea.run import main as run

METHODS = ["chi2", "chi2+bdt", "spanet"]


@pytest.fixture(scope="module")
def options():
    return method_options(METHODS, device="cpu")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Candidates of the main job on the first events, all methods."""
    output = tmp_path_factory.mktemp("display") / "r"
    base = [
        "--fileset",
        "demo",
        "--datasets",
        "HHH",
        "--methods",
        ",".join(METHODS),
        "--metrics",
        "default",
        "--no-plots",
    ]
    limits = ["--max-chunks", "1", "--chunksize", "1000", "--device", "cpu"]
    assert run([*base, *limits, "--candidates", "--output", str(output)]) == 0
    return ds.dataset(output / "candidates").to_table().to_pandas()


@pytest.fixture(scope="module")
def event(table, options):
    """The first event in which the network found a pair of jets: which one depends on the model that ships."""
    pairs = table[(table.method == "spanet") & (table.kind == "resolved")]
    dataset = load_fileset("demo")["HHH"]
    return read_event(dataset, higgs(3), next(iter(dataset.files)), int(pairs.entry.min()), METHODS, "default", options)


def jets_of(candidate):
    """Positions of its small-radius jets."""
    return candidate["objects"] if candidate["kind"] == "resolved" else []


def test_the_same_wrong_candidate_has_one_colour():
    def pair(*jets, particle=None):
        return {"kind": "resolved", "objects": list(jets), "particle": particle}

    found = colors_of_wrong(
        {
            "chi2": [pair(0, 1), pair(2, 3), pair(4, 5, particle=0)],
            "chi2+bdt": [pair(3, 2), pair(0, 4)],
            "spanet": [pair(1, 4), pair(0, 5), pair(2, 3)],
        }
    )
    pairs = [("resolved", *jets) for jets in (("0", "1"), ("2", "3"), ("0", "4"), ("1", "4"), ("0", "5"))]
    assert list(found) == pairs
    assert len({found[place] for place in pairs[:4]}) == 4  # as many as there are colours
    assert len({found[pairs[place]] for place in (1, 3, 4)}) == 3  # those of one panel


def test_numbers_of_circles_are_where_neither_jets_nor_angles_are():
    rng = np.random.default_rng(1)
    for _ in range(50):
        jets = rng.uniform(-np.pi, np.pi, rng.integers(1, 8))
        place = _free_angle(list(jets))
        others = np.array([*jets, 0, np.pi / 2, np.pi, -np.pi / 2])
        apart = np.abs((others - place + np.pi) % (2 * np.pi) - np.pi)
        assert apart.min() >= 2 * np.pi / len(others) / 2 - 1e-9  # at least half the mean gap


def test_titles_of_matrices_are_those_of_figures():
    matrix = Matrix("lt", "lt", np.ones(2), 0.5, "$t_L$")
    assert _title(matrix) == "$t_L$: DP 0.50"
    assert _title(replace(matrix, target="h1", kind="resolved", label="")) == "h1 (resolved): DP 0.50"


def test_it_shows_what_the_main_job_found(event, table):
    rows = table[table.entry == event.entry]
    for method in METHODS:
        own, shown = rows[rows.method == method], event.candidates[method]
        assert len(own) == len(shown) > 0
        in_file = [int(event.objects["jets"][jets_of(c)[0]]["index"]) if jets_of(c) else -1 for c in shown]
        np.testing.assert_array_equal(own.jet1, in_file)
        np.testing.assert_array_equal(own.mass, [c["mass"] for c in shown])
        np.testing.assert_array_equal(own.correct.astype(bool), [c["particle"] is not None for c in shown])
        np.testing.assert_allclose(own.assignment_probability, [c["assignment_probability"] for c in shown], rtol=1e-5)


def test_the_probability_of_a_candidate_is_how_often_it_is_correct(table):
    own = table[(table.method == "spanet") & ~table.overlaps]
    for _, some in own.groupby(np.digitize(own.probability, [0.45, 0.6, 0.8])):
        correct = some.correct.astype(float)
        assert len(some) > 100
        assert abs(some.probability.mean() - correct.mean()) < 4 * correct.std() / len(some) ** 0.5
    others = table[table.method != "spanet"]
    np.testing.assert_array_equal(others.probability, others.assignment_probability * others.detection_probability)
    assert (table[table.method == "chi2"].probability == 1).all()


def test_assignment_matrices(event):
    """Probabilities of all pairs add up to one, and the pair that SPANet took has the probability it states."""
    pairs = {m.target: m for m in event.matrices if m.probability.ndim == 2}
    assert set(pairs) == {"h1", "h2", "h3"}
    for matrix in event.matrices:
        total = np.triu(matrix.probability).sum() if matrix.probability.ndim == 2 else matrix.probability.sum()
        assert total == pytest.approx(1 if matrix.probability.size else 0, abs=1e-4)  # none where there are no fat jets
    taken = next(c for c in event.candidates["spanet"] if c["kind"] == "resolved")
    stated = [m.probability[tuple(jets_of(taken))] for m in pairs.values()]
    assert min(abs(p - taken["assignment_probability"]) for p in stated) < 1e-4


def test_figures(event):
    """Correct candidates carry the colour of the Higgs they found, unused jets none."""
    figure = draw_event(event)
    truth, *methods = figure.axes[::2]
    assert [axis.get_title() for axis in (truth, *methods)] == ["Truth", "χ²", "χ² + BDT", "SPANet"]
    import matplotlib as mpl

    for axis, method in zip(methods, METHODS, strict=True):
        jets = [p for p in axis.patches if p.get_radius() == 0.4][::3]
        colors = [mpl.colors.to_hex(p.get_facecolor()) for p in jets]
        used = {jet for c in event.candidates[method] if not c["overlaps"] for jet in jets_of(c)}
        assert [color != UNUSED for color in colors] == [position in used for position in range(len(colors))]
        for candidate in event.candidates[method]:
            if candidate["particle"] is not None and candidate["kind"] == "resolved":
                assert {colors[jet] for jet in jets_of(candidate)} == {PARTICLES[candidate["particle"]]}
    matrices = draw_matrices(event)
    assert len(matrices.axes) == 7  # three pairs, three fat jets, the colour scale
    for axis, matrix in zip(matrices.axes, event.matrices, strict=False):  # all that is possible adds up to DP
        if matrix.probability.ndim == 2:
            shown = np.nansum(axis.images[0].get_array().filled(0)) / 2
            assert shown == pytest.approx(matrix.detection, abs=1e-3)
    words = [text.get_text() for text in figure.texts]
    first = words.index(next(text for text in words if text.startswith("H1")))
    assert [text[:2] for text in words[first : first + 3]] == ["H1", "H2", "H3"]


def test_names_stand_beside_their_circles():
    """By hand: right of a lonely circle, elsewhere where another one is on the right, never outside the axes."""
    alone = Disc(0.0, 0.0, 0.4, filled=True)
    (box,) = beside([(alone, 0.1, 0.15)], [alone], [], (3.0, 3.5))
    assert (box.x, box.y) == pytest.approx((0.57, 0.0))
    neighbour = Disc(0.9, 0.0, 0.4, filled=True)
    (box,) = beside([(alone, 0.1, 0.15)], [alone, neighbour], [], (3.0, 3.5))
    assert (box.x, box.y) == pytest.approx((-0.57, 0.0))
    corner = Disc(2.8, 0.0, 0.4, filled=True)
    (box,) = beside([(corner, 0.1, 0.15)], [corner], [], (3.0, 3.5))
    assert box.x + box.half_width < 3.0


def test_command(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("hhh_coffea.methods.spanet_model.BUNDLED", ("spanet_hhh",))
    assert main(["--fileset", "demo", "--dataset", "HH", "--event", "3", "--output", str(tmp_path)]) == 0
    assert (
        "without spanet: method 'spanet': no model for analysis 'hh' (2 × 2 jets, 2 × 1 large-radius jet)"
        in capsys.readouterr().out
    )
    assert (tmp_path / "HH_3_event.png").stat().st_size > 10_000
    quick = ["--fileset", "demo", "--methods", "chi2", "--output", str(tmp_path)]
    assert main([*quick, "--event", "5", "--format", "pdf"]) == 0
    assert (tmp_path / "HHH_5_event.pdf").read_bytes().startswith(b"%PDF")
    assert main([*quick, "--event", "5000"]) == 2
    assert "hhh.root: the events are 0 to 4,999, not 5,000" in capsys.readouterr().err
    assert main([*quick, "--event", "0", "--file", "nothing.root"]) == 2


def test_events_that_fail_the_selection_are_named(options):
    """The demo sample has some; the message says which cut."""
    dataset = load_fileset("demo")["HHH"]
    file = next(iter(dataset.files))

    def look_at_all() -> None:
        for entry in range(100):
            read_event(dataset, higgs(3), file, entry, ["chi2"], "default", options)

    with pytest.raises(UserError, match=r"does not pass the selection: ≥ 6 jets"):
        look_at_all()
