"""Mass sculpting: the measures against hand and published values, random pairing, spectra, and the commands."""

import json
from pathlib import Path

import awkward as ak
import hist
import numpy as np
import pytest
from matplotlib.axes import Axes
from scipy.stats import wasserstein_distance

from hhh_coffea.analyses.higgs import higgs
from hhh_coffea.base import mass_measures as sculpting
from hhh_coffea.base.arrays import flat, rank_in_event
from hhh_coffea.base.mass_measures import EDGES, earth_movers_distance, jensen_shannon, measures, peak_share, within
from hhh_coffea.datasets.fileset import DatasetMetadata
from hhh_coffea.events.delphes import read
from hhh_coffea.events.record import selected, truncated
from hhh_coffea.figures import sculpting as figures_sculpting
from hhh_coffea.figures.looks.style import METHOD_STYLES, Writer
from hhh_coffea.methods import random_pairing
from hhh_coffea.reconstruction.candidates import mark_overlaps
from hhh_coffea.reconstruction.selection import event_selection
from hhh_coffea.results import sculpting_spectra
from hhh_coffea.results.directory import ResultsError, read_histograms
from hhh_coffea.results.summary import counts
from hhh_coffea.run import main as run
from hhh_coffea.tradeoff import main as tradeoff

PUBLISHED = json.loads((Path(__file__).parents[1] / "data" / "published_masses.json").read_text(encoding="utf-8"))

HHH = higgs(3)
UUID = "2844512a-64e7-452c-9f61-6b29d6d26bc4"
DEMO = Path(__file__).resolve().parents[2] / "fileset" / "demo"
BINS = len(EDGES) - 1
FLAT = np.ones(BINS)


# --- the measures -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("method", "peak", "mode", "inside", "js", "js_inside"),
    [("SPA-Net", 0.284, 82.5, 0.968, 0.240, 0.0035), ("chi2+BDT", 0.300, 122.5, 0.787, 0.081, 0.0118)],
)
def test_published_figure(method, peak, mode, inside, js, js_inside):
    """The numbers known of the published QCD spectra come out of their digitised values."""
    spectrum = np.array(PUBLISHED["qcd_merged"][method])
    assert spectrum.sum() * 5 == pytest.approx(1, abs=2e-3)
    assert float(peak_share(spectrum, 30, 225)) == pytest.approx(peak, abs=5e-4)
    assert EDGES[spectrum.argmax()] + 2.5 == mode
    assert within(spectrum, 30, 225)[9:29].sum() == pytest.approx(inside, abs=5e-4)
    found = measures(spectrum, {})
    assert found["30-225"]["js_to_flat_bits"]["value"] == pytest.approx(js, abs=5e-4)
    assert found["75-175"]["js_to_flat_bits"]["value"] == pytest.approx(js_inside, abs=5e-5)
    assert found["30-225"]["js_to_flat_bits"]["error"] is None


def test_published_weights_are_a_density():
    """0.05 / weight is the density of true masses in 75–175 GeV: it adds up to one, and half of it is in the peak."""
    density = 0.05 / np.array(PUBLISHED["target_weights"]["resolved"])
    assert density.sum() * 5 == pytest.approx(1, abs=5e-3)
    assert density[7:13].sum() / density.sum() == pytest.approx(0.53, abs=5e-3)  # 0.484 of the range 30–225


def test_earth_movers_distance():
    p, q = np.zeros(BINS), np.zeros(BINS)
    p[3], q[[3, 7]] = 1, 0.5
    assert float(earth_movers_distance(p, q)) == 10  # half of it by four bins of 5 GeV
    rng = np.random.default_rng(1)
    p, q = rng.random((2, BINS))
    centres = (EDGES[1:] + EDGES[:-1]) / 2
    expected = wasserstein_distance(centres, centres, p, q)
    assert float(earth_movers_distance(within(p, 30, 225), within(q, 30, 225))) == pytest.approx(expected)
    assert earth_movers_distance(np.stack([p, q]), q).shape == (2,)


def test_jensen_shannon():
    p, q = np.zeros(BINS), np.zeros(BINS)
    p[0], q[1] = 1, 1
    assert float(jensen_shannon(p, q)) == 1  # no overlap: one bit
    assert float(jensen_shannon(p, p)) == 0
    # (1, 0) and (½, ½): ½ log₂(4/3) + ½ (½ log₂(2/3) + ½ log₂ 2), by hand
    r = np.zeros(BINS)
    r[:2] = 0.5
    by_hand = 0.5 * np.log2(4 / 3) + 0.25 * np.log2(2 / 3) + 0.25
    assert float(jensen_shannon(p, r)) == pytest.approx(by_hand)


def test_ranges_and_nothing():
    spectrum = np.zeros(BINS)
    spectrum[[8, 16, 21, 22]] = 10, 1, 2, 5  # at 72.5, 112.5, 137.5 and 142.5 GeV
    assert float(peak_share(spectrum, 30, 225)) == pytest.approx(3 / 18)
    assert float(peak_share(spectrum, 75, 175)) == pytest.approx(3 / 8)
    nothing = measures(np.zeros(BINS), {"random": FLAT})["75-175"]
    assert nothing["emd_to_random_gev"] == {"value": None, "error": None}


def test_errors_are_those_of_a_sample():
    """The spread over bootstrap replicas is that over independent samples."""
    rng = np.random.default_rng(2)
    shape = within(np.array(PUBLISHED["qcd_merged"]["chi2+BDT"]), 30, 225)
    samples = rng.multinomial(2000, shape, size=200)
    replicas = np.concatenate([samples[:1], rng.multinomial(2000, samples[0] / 2000, size=200)])
    found = measures(replicas, {})["30-225"]
    true = earth_movers_distance(within(samples, 30, 225), FLAT / BINS).std()
    assert found["emd_to_flat_gev"]["error"] == pytest.approx(true, rel=0.25)
    assert found["peak_share"]["error"] == pytest.approx(np.sqrt(0.3 * 0.7 / 2000), rel=0.25)


# --- random pairing ---------------------------------------------------------------------------------------------------
def jet(eta, phi=0.0, pt=50.0):
    return {"pt": pt, "eta": eta, "phi": phi, "mass": 5.0, "btag": 1}


def candidates_of(record, pairs, fatjet=None):
    resolved = HHH.candidates(record, "resolved", np.asarray(pairs))
    if fatjet is None:
        return resolved
    boosted = HHH.candidates(record, "boosted", np.asarray(fatjet)[..., None])
    return mark_overlaps(record, ak.concatenate([boosted, resolved], axis=1), HHH.kinds["boosted"])


def usable_jets(record, candidates, first):
    is_fat = flat(candidates.kind) == HHH.kinds["boosted"].number
    return random_pairing.usable_jets(record, candidates, is_fat, first)


def test_usable_jets(make_record):
    """Jets near a boosted candidate, beyond the method's first ones, or not there are left out."""
    jets = [[jet(0), jet(1), jet(2), jet(-2)], [jet(0), jet(1)]]
    record = make_record(jets, [[jet(0.3, pt=300), jet(-2, pt=250)], []])
    candidates = candidates_of(record, [[[1, 2]], [[0, 1]]], [[0], [-1]])
    usable = usable_jets(record, candidates, 4)
    assert usable.tolist() == [[False, True, True, True], [True, True, False, False]]
    assert usable_jets(record, candidates, 2).tolist() == [[False, True], [True, True]]


def test_random_pairs_are_fair():
    """Disjoint pairs of usable jets; each of the 15 pairings of six jets as often as any other."""
    n = 15_000
    usable = np.ones((n, 8), dtype=bool)
    usable[:, [1, 5]] = False
    k = np.full(n, 3)
    k[:100], usable[:50, 0] = 1, False  # five jets: still one pair
    usable[100:110, 0] = False  # five jets: two pairs at most
    pairs = random_pairing.random_pairs(usable, k, UUID, np.arange(n), draw=0)
    assert pairs.shape == (n, 3, 2)
    assert (
        (pairs >= 0).all(axis=2).sum(axis=1) == np.where(np.arange(n) < 100, 1, np.where(np.arange(n) < 110, 2, 3))
    ).all()
    made = np.sort(pairs[110:], axis=2)
    assert all(len(set(row.ravel())) == 6 for row in made)
    assert set(made.ravel()) == {0, 2, 3, 4, 6, 7}
    seen = {}
    for row in made:
        key = frozenset(map(tuple, row.tolist()))
        seen[key] = seen.get(key, 0) + 1
    assert len(seen) == 15
    expected = len(made) / 15
    assert sum((x - expected) ** 2 / expected for x in seen.values()) < 36.1  # χ² of 14 degrees of freedom, p = 0.001


def test_random_pairs_do_not_depend_on_the_chunk():
    usable = np.ones((10, 6), dtype=bool)
    k, entry = np.full(10, 3), np.arange(10) + 1000
    whole = random_pairing.random_pairs(usable, k, UUID, entry, 3)
    part = random_pairing.random_pairs(usable[4:7], k[4:7], UUID, entry[4:7], 3)
    assert (whole[4:7] == part).all()
    assert (whole != random_pairing.random_pairs(usable, k, UUID, entry, 4)).any()


def test_pt_and_mass_are_those_of_candidates(make_record):
    rng = np.random.default_rng(5)
    jets = [[jet(*rng.uniform(-2, 2, 2), pt=rng.uniform(20, 200)) for _ in range(6)] for _ in range(20)]
    record = make_record(jets)
    pairs = random_pairing.random_pairs(np.ones((20, 6), bool), np.arange(20) % 4, UUID, np.arange(20), 0)
    pt, mass = random_pairing.pt_and_mass(random_pairing.padded_momenta(record, 6), pairs)
    expected = candidates_of(record, pairs)
    exists = pairs[..., 0] >= 0
    np.testing.assert_allclose(mass[exists], ak.flatten(expected.mass))
    np.testing.assert_allclose(pt[exists], ak.flatten(expected.pt))
    assert np.isnan(mass[~exists]).all()


# --- spectra ----------------------------------------------------------------------------------------------------------
def test_ranks():
    pt = np.array([10.0, 30, 20, 5, 50, 40, 30, 20, 10])
    assert rank_in_event(pt, np.array([3, 0, 1, 5])).tolist() == [2, 0, 1, 0, 0, 1, 2, 3, 4]


def test_replica_weights():
    entry = np.arange(4000)
    weights = sculpting_spectra.replica_weights(np.full(4000, 0.5), UUID, entry)
    assert (weights[:, 0] == 0.5).all()
    poisson = weights[:, 1:] / 0.5
    for n, share in enumerate((0.367879, 0.367879, 0.183940, 0.061313)):  # e⁻¹ / n!
        assert (poisson == n).mean() == pytest.approx(share, abs=4e-3)
    assert abs(np.corrcoef(poisson[:, 0], poisson[:, 1])[0, 1]) < 0.06
    assert (sculpting_spectra.replica_weights(np.ones(9), UUID, entry[5:14]) == weights[5:14] / 0.5).all()


def test_boosted_candidates_are_compared_at_their_pt(make_record):
    """Three fat jets at 210 GeV (masses 50, 100, 100) and one at 700 GeV (mass 200): by hand."""
    fat = [{**jet(0, pt=pt), "mass": m} for pt, m in ((210, 50.0), (210, 100.0), (210, 100.0), (700, 200.0))]
    record = make_record([[jet(2), jet(-2)]] * 4, [[f] for f in fat])
    histograms = sculpting_spectra.book()
    weights = np.ones((4, 1 + sculpting_spectra.REPLICAS))
    sculpting_spectra.fill_fatjets(histograms, "QCD", record, weights)
    candidates = candidates_of(record, np.full((4, 1, 2), -1), [[0], [-1], [-1], [0]])
    key = {"dataset": "QCD", "method": "m", "definition": "default"}
    sculpting_spectra.fill_method(histograms, key, HHH.kinds, record, candidates, 2, weights, UUID)
    random = sculpting_spectra.spectrum(histograms, key, "boosted", 0, "random")
    expected = dict.fromkeys(range(BINS), 0.0) | {4: 1 / 3, 14: 2 / 3, 34: 1.0}
    np.testing.assert_allclose(random[0], list(expected.values()))
    np.testing.assert_allclose(random[7], random[0])
    found = sculpting_spectra.spectrum(histograms, key, "merged", 1, "candidates")[0]
    assert np.flatnonzero(found).tolist() == [4, 34]


def test_a_random_method_is_not_sculpting(open_delphes):
    """Candidates that are random pairs themselves are at no distance from random pairing, within the errors."""
    metadata = DatasetMetadata(format="delphes", n_higgs=3, is_signal=False)
    record = read(open_delphes(DEMO / "qcd.root"), metadata).record
    record = truncated(selected(record, event_selection(record, metadata, HHH).all()), 10, 3)
    entry = ak.to_numpy(record.id)
    usable = np.ones((len(record), 6), dtype=bool)
    pairs = random_pairing.random_pairs(usable, np.full(len(record), 3), UUID, entry, draw=99)
    candidates = candidates_of(record, pairs)
    histograms = sculpting_spectra.book() | {"target_mass": hist.Hist(hist.axis.StrCategory([], name="dataset"))}
    key = {"dataset": "QCD", "method": "m", "definition": "default"}
    weights = sculpting_spectra.replica_weights(np.ones(len(record)), UUID, entry)
    sculpting_spectra.fill_method(histograms, key, HHH.kinds, record, candidates, 6, weights, UUID)
    entry = sculpting_spectra.table(histograms)["QCD"]["default"]["m"]["merged"]
    assert set(entry) == {"all", "1", "2", "3"}
    emd = entry["all"]["30-225"]["emd_to_random_gev"]
    assert emd["value"] < 3 * emd["error"] + 0.5
    assert emd["value"] < 0.2 * entry["all"]["30-225"]["emd_to_flat_gev"]["value"]


# --- the processor and the command ------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def results(tmp_path_factory):
    output = tmp_path_factory.mktemp("sculpting") / "results"
    arguments = ["--fileset", "demo", "--datasets", "HHH,QCD", "--processor", "sculpting", "--methods", "chi2,chi2+bdt"]
    assert run([*arguments, "--metrics", "default", "--output", str(output), "--no-plots"]) == 0
    return output


def test_processor(results):
    whole, _ = read_histograms(results)
    told = json.loads((results / "summary.json").read_text())
    measured = told["other"]["sculpting"]
    assert set(measured) == {"QCD"}
    assert "purity" in told["results"]["HHH"]["default"]["chi2"]["categories"]["merged"]
    for method in ("chi2", "chi2+bdt"):
        key = {"dataset": "QCD", "method": method, "definition": "default"}
        place = measured["QCD"]["default"][method]
        # the candidates are those of the main job's histogram
        main = counts(whole["candidate_mass"], {**key, "category": "merged"})[1:-2].sum(axis=1)
        spectrum = sculpting_spectra.spectrum(whole, key, "merged", 0, "candidates")
        assert (spectrum[0] == main).all()
        assert place["merged"]["all"]["candidates"] == main.sum()
        ranked = [sculpting_spectra.spectrum(whole, key, "merged", r, "candidates")[0] for r in (1, 2, 3)]
        assert (sum(ranked) == main).all()
        by_rank = counts(whole["ranked_mass"], key).sum(axis=-1)[:, 1:-2]  # (rank, mass)
        assert (by_rank[:3] == ranked).all()
        wide = place["merged"]["all"]["30-225"]
        # χ² pulls towards 125 GeV: it must be seen, and its error be small against it
        assert wide["emd_to_random_gev"]["value"] > 10 * wide["emd_to_random_gev"]["error"] > 0
        assert 0 < wide["emd_to_HHH_gev"]["value"] < wide["emd_to_flat_gev"]["value"]
    # as many random pairs as candidates, over all masses
    sums = whole["sculpting"].project("dataset", "method", "definition", "kind", "source", "replica")
    place = {"dataset": "QCD", "method": "chi2", "definition": "default", "kind": "resolved"}
    assert (counts(sums, {**place, "source": "random"}) == counts(sums, {**place, "source": "candidates"})).all()


def test_figures(results, tmp_path):
    write = Writer(tmp_path, ("png",))
    figures_sculpting.draw(write, *read_histograms(results))
    names = {str(path.relative_to(tmp_path)) for path in write.written}
    wanted = {f"QCD/default_sculpting_{what}" for what in ("merged", "merged_1", "merged_3", "resolved")}
    assert wanted <= names
    assert all(path.with_name(f"{path.name}.png").stat().st_size > 10_000 for path in write.written)


def test_the_ratio_is_that_of_the_lines_above():
    """By hand: bins with enough candidates and random pairs alike; beside the candidates, those of random pairs alone."""
    replicas = np.array([-1.0, 1.0] * 8)  # of a standard deviation that makes entries of the values
    ours, chance = (
        np.concatenate([[values], values + np.sqrt(values) * replicas[:, None]])
        for values in np.array([[0, 0, 6, 7, 3, 9, 8, 0], [9, 9, 9, 2, 4, 9, 9, 5.0]])
    )
    borders, beside = figures_sculpting.common_bins(ours, chance)
    assert borders.tolist() == [2, 3, 5, 6, 7]
    assert beside.tolist() == [0, 1, 2, 3, 5, 6, 7, 8]


def test_methods_that_coincide_are_both_seen(results, tmp_path, monkeypatch):
    """χ² and χ² + BDT have nearly the same masses: one line is dashed, above and below, and neither is the dotted one."""
    drawn = []
    stairs = Axes.stairs
    monkeypatch.setattr(Axes, "stairs", lambda *a, **style: drawn.append(style) or stairs(*a, **style))
    figures_sculpting.draw(Writer(tmp_path, ("png",)), *read_histograms(results))
    lines = {(style["color"], style["linestyle"]) for style in drawn}
    colors = [METHOD_STYLES[method][0] for method in ("chi2", "chi2+bdt")]
    assert lines == {*zip(colors, ("-", "--"), strict=True), *((color, ":") for color in colors)}


def test_chunks_change_nothing_and_the_table_is_printed(results, tmp_path, capsys):
    arguments = [
        "--fileset",
        "demo",
        "--datasets",
        "QCD",
        "--processor",
        "sculpting",
        "--no-plots",
        "--metrics",
        "default",
    ]
    assert run([*arguments, "--output", str(tmp_path / "r"), "--chunksize", "1800"]) == 0
    out = capsys.readouterr().out
    assert "masses in QCD, our definitions (default)" in out
    assert "EMD 30–225 [GeV]" in out
    assert "earth mover's distance" in out
    whole, parts = (read_histograms(folder)[0]["sculpting"] for folder in (results, tmp_path / "r"))
    for source in ("candidates", "random"):  # sums of integers and sixteenths: the same to the bit
        place = {"dataset": "QCD", "method": "chi2", "definition": "default", "kind": "resolved", "source": source}
        assert counts(whole, place).sum() > 0
        assert (counts(whole, place) == counts(parts, place)).all()


def demo_fileset(folder, **user):
    content = {
        "HHH": {"files": [str(DEMO / "hhh.root")], "metadata": {"format": "delphes", "n_higgs": 3, "user": user}},
        "QCD": {
            "files": [str(DEMO / "qcd.root")],
            "metadata": {"format": "delphes", "n_higgs": 3, "is_signal": False},
        },
    }
    path = folder / "fileset.json"
    path.write_text(json.dumps(content))
    return path


def test_tradeoff(tmp_path, capsys):
    """The command on validation events of the demo: its numbers are those of the runs it made."""
    fileset = demo_fileset(tmp_path, validation_fraction=0.2)
    arguments = ["spanet_hhh", "--fileset", str(fileset), "--output", str(tmp_path / "t"), "--device", "cpu"]
    assert tradeoff(arguments) == 0
    assert "\nspanet_hhh  " in capsys.readouterr().out
    content = json.loads((tmp_path / "t" / "tradeoff.json").read_text())
    baseline, network = content["points"]
    assert baseline["name"] == "chi2+bdt"
    assert network["product"] == pytest.approx(network["purity"]["value"] * network["efficiency"]["value"])
    assert network["product_over_first"] == 1
    ratio = (
        network["sculpting"]["30-225"]["emd_to_random_gev"]["value"]
        / (baseline["sculpting"]["30-225"]["emd_to_random_gev"]["value"])
    )
    assert network["emd_over_baseline"] == pytest.approx(ratio)
    cuts = json.loads((tmp_path / "t" / "runs" / "spanet_hhh" / "cutflow.json").read_text())["datasets"]["HHH"]["cuts"]
    assert cuts[-1]["cut"] == "validation events"
    assert cuts[-1]["events"] == pytest.approx(0.2 * cuts[-2]["events"], rel=0.15)
    assert (tmp_path / "t" / "tradeoff.png").stat().st_size > 10_000
    assert tradeoff(["--redraw", str(tmp_path / "t")]) == 0


def test_tradeoff_mistakes(tmp_path, capsys):
    fileset = str(demo_fileset(tmp_path))
    assert tradeoff(["a/m", "b/m", "--fileset", fileset, "--output", str(tmp_path / "t")]) == 2
    assert "different names" in capsys.readouterr().err
    assert tradeoff(["m", "--fileset", "demo", "--output", str(tmp_path / "t")]) == 2
    assert "one signal and one background" in capsys.readouterr().err
    assert tradeoff(["--redraw", str(tmp_path)]) == 2
    assert "tradeoff.json" in capsys.readouterr().err
    assert tradeoff([]) == 2
    assert capsys.readouterr().err == "error: name at least one model\n"
    with pytest.raises(ResultsError):
        tradeoff(["--redraw", str(tmp_path), "--debug"])


def test_bundled_filesets():
    """Models are chosen on training files and reported on test files: never the other way round."""
    folder = DEMO.parent
    choose, report = (json.loads((folder / f"sculpting_{n}.json").read_text()) for n in ("validation", "test"))
    assert all("_train" in f for d in choose.values() for f in d["files"])
    assert all("_test" in f for d in report.values() for f in d["files"])
    assert choose["HHH"]["metadata"]["user"] == {"validation_fraction": 0.05}
    assert sculpting.EDGES[0] == 30
