"""The report page, the comparison of runs, histograms.root, and candidates in other people's tools."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest
import uproot
from conftest import DEMO

from hhh_coffea.figures.compare import read_runs
from hhh_coffea.figures.report import captions
from hhh_coffea.figures.report.html_report import _labels_of_quantities, write_report
from hhh_coffea.plot import main as plot
from hhh_coffea.results.directory import ResultsError, read_histograms
from hhh_coffea.results.summary import counts
from hhh_coffea.run import main as run


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs that share χ² on HHH; the first has HH too, and a file that cannot be read."""
    folder = tmp_path_factory.mktemp("runs")
    fileset = folder / "fileset.json"
    metadata = {"format": "delphes", "cross_section_pb": 2.0, "sum_of_weights": 1000}
    hhh = {
        "files": [str(DEMO / "hhh.root"), "<missing>.root"],
        "metadata": {**metadata, "n_higgs": 3, "label": "A & B"},
    }
    hh = {"files": [str(DEMO / "hh.root")], "metadata": {"format": "delphes", "n_higgs": 2}}
    fileset.write_text(json.dumps({"HHH": hhh, "HH": hh}))
    base = ["--fileset", str(fileset), "--chunksize", "1500", "--max-chunks", "1", "--metrics", "default"]
    assert run([*base, "--candidates", "--root", "--no-plots", "--output", str(folder / "a")]) == 3
    assert plot([str(folder / "a"), "--formats", "png"]) == 0  # PDF takes as long again
    other = ["--datasets", "HHH", "--methods", "chi2,chi2+bdt", "--no-plots"]
    assert run([*base, *other, "--output", str(folder / "b")]) == 3
    return folder / "a", folder / "b"


class Page(HTMLParser):
    """What a page is made of: its text, its images, and whatever it would load from elsewhere."""

    def __init__(self, text):
        super().__init__()
        self.text, self.images, self.loads, self.links = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        if tag == "img":
            self.images.append(found)
        loading = [v for k, v in attributes if k in ("src", "href") and not v.startswith(("data:", "#"))]
        if tag == "a":  # loads nothing until it is followed
            self.links += loading
        else:
            self.loads += loading
        self.loads += [tag] if tag in ("script", "link", "iframe") else []

    def handle_data(self, data):
        self.text.append(data)


def test_the_report_holds_everything_and_loads_nothing(runs):
    raw = (runs[0] / "report.html").read_text(encoding="utf-8")
    page = Page(raw)
    assert page.loads == []
    assert [link.rpartition("/")[2] for link in page.links] == ["definitions.md"]
    assert "url(" not in raw
    assert "@import" not in raw
    figures = {str(p.relative_to(runs[0] / "plots").with_suffix("")) for p in (runs[0] / "plots").rglob("*.png")}
    assert len(page.images) == len(figures) > 5
    text = " ".join(" ".join(page.text).split())
    assert {image["title"] for image in page.images} == {f"plots/{name}.png" for name in figures}
    assert text.count("68% Clopper–Pearson intervals") == 3  # main figure, and once for each of two datasets
    assert "Clopper" not in page.images[-1]["alt"]
    summary, provenance, cutflow = (
        json.loads((runs[0] / f"{n}.json").read_text()) for n in ("summary", "provenance", "cutflow")
    )
    assert "σ left: cross section" in text
    assert "Merged: resolved and boosted candidates together" in text
    merged = summary["results"]["HHH"]["default"]["chi2"]["categories"]["merged"]
    for number in (merged["candidates"], merged["retrieved"], cutflow["datasets"]["HHH"]["cuts"][-1]["events"]):
        assert f"{number:,}" in text
    assert f"{100 * merged['purity']['value']:.2f} +" in text
    assert provenance["files"][0]["uuid"] in text
    assert "<missing>.root" in text  # escaped: a file name is not markup
    assert "file not found" in text
    assert "1 of 3 files could not be opened; the number of their events is unknown" in text
    assert "A & B" in text
    assert "sum_of_weights = 1000 is less than the 1250 processed" in text
    assert "file not found" in " ".join(f["reason"] for f in provenance["failures"])


def test_the_report_says_what_was_set_and_what_words_mean(runs):
    text = " ".join(" ".join(Page((runs[0] / "report.html").read_text(encoding="utf-8")).text).split())
    assert text.index("A candidate is a particle that a method makes from jets") < text.index(
        "purity and efficiency in %"
    )
    assert "a particle that has a boosted and a resolved target counts" in text.replace("  ", " ")
    options = text.partition("Options that were set are below.")[2]
    provenance = json.loads((runs[0] / "provenance.json").read_text())
    assert {"fileset", "output", "candidates"} <= set(provenance["options_set"])
    assert "candidates yes" in options
    for unused in ("chi2_mass", "tls_ca_file", "None", "False", "{", "['"):
        assert unused not in options.partition("dataset")[0]


@pytest.mark.parametrize(
    ("options", "first", "figure"),
    [
        (["--processor", "bdt_scan", "--datasets", "HH"], "working points of the BDT", "bdt_scan"),
        (["--processor", "sculpting"], "masses in QCD", "purity_efficiency"),
    ],
)
def test_reports_of_other_processors_begin_with_what_they_measure(tmp_path, capsys, options, first, figure):
    folder = tmp_path / "it"
    short = ["--fileset", "demo", "--metrics", "default", "--max-chunks", "1", "--chunksize", "300"]
    assert run([*short, *options, "--no-plots", "--output", str(folder)]) == 0
    assert first in capsys.readouterr().out
    assert plot([str(folder), "--formats", "png"]) == 0
    page = (folder / "report.html").read_text(encoding="utf-8")
    result = page.partition('<section id="result">')[2].partition("</section>")[0]
    assert result.partition("<caption>")[2].startswith(first)
    assert re.findall(r'title="plots/[^"]*' + figure, result)
    assert "The processor also returned" not in page


def test_a_report_of_tops(tmp_path):
    """No text about boosted particles, no cell without content, kinds by the names that figures have."""
    folder = tmp_path / "tops"
    options = ["--fileset", "demo_tops", "--datasets", "ttbar", "--metrics", "default", "--output", str(folder)]
    assert run([*options, "--max-chunks", "1", "--chunksize", "300", "--no-plots"]) == 0
    raw = (folder / "report.html").read_text(encoding="utf-8")
    text = " ".join(" ".join(Page(raw).text).split())
    assert "boosted" not in text
    assert "Correct assignments" in text
    section = raw.partition('<section id="assignments">')[2].partition("</section>")[0]
    assert section.count("<td") > 20
    assert not re.findall(r"<td[^>]*></td>", section)
    assert "<td>t_H</td>" in raw
    assert captions.caption("ttbar/candidate_mass_ht_chi2", {"ht": "t_H"}) == "χ²: mass of the t_H candidates."
    labels = _labels_of_quantities(json.loads((folder / "histograms.json").read_text())["histograms"])
    words = captions.caption("ttbar/efficiency_ttbar_mass", {}, labels)
    assert words == "Efficiency against generated m_tt̄."  # as on the axis
    assert captions.caption("ttbar/efficiency_number_of_jets", {}, labels) == "Efficiency against number of jets."
    assert captions.caption("ttbar/spectrum_leptonic_w_mass", {}, labels) == "Distribution of m_ℓν."
    assert captions.caption("stack_hh_mbb_signal_chi2+bdt") == "χ² + BDT: hh mbb signal."
    for kind in ("merged", "resolved"):
        words = captions.caption(f"HHH/default_purity_efficiency_{kind}", {"resolved": "resolved"})
        assert words.startswith(f"{kind.capitalize()} (our definitions): ")


@pytest.mark.parametrize("failures", [True, False])
def test_nothing_processed_is_said_so(runs, tmp_path, failures):
    """Whether chunks failed or there were no events: no report of nothing reads like one of a part, or of a success."""
    for name in ("summary", "cutflow", "histograms", "provenance"):
        content = json.loads((runs[0] / f"{name}.json").read_text())
        if name == "provenance":
            content["ledger"]["events"]["processed"] = 0
            content["failures"] = content["failures"] if failures else []
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    text = " ".join(Page(write_report(tmp_path).read_text()).text)
    assert "Nothing" in text
    assert "Not everything" not in text
    assert "files were processed" not in text


def test_every_figure_has_a_caption(runs):
    for path in (runs[0] / "plots").rglob("*.png"):
        name = str(path.relative_to(runs[0] / "plots").with_suffix(""))
        assert captions.caption(name) != path.stem.replace("_", " ")
        assert "{" not in captions.caption(name)
    assert captions.caption("met") == "met"


def test_the_report_in_a_browser(runs, tmp_path):
    """Headless Chromium without a network draws it, figures included."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("needs Chromium (Debian: apt install chromium)")
    image = pytest.importorskip("PIL.Image")
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1200,4000"]
    offline = ["--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={tmp_path / 'profile'}"]
    target = [f"--screenshot={tmp_path / 'page.png'}", (runs[0] / "report.html").as_uri()]
    subprocess.run([browser, *options, *offline, *target], check=True, capture_output=True, timeout=120)
    pixels = np.asarray(image.open(tmp_path / "page.png").convert("RGB")).reshape(4000, 1200, 3)
    inked = (pixels.min(axis=2) < 200).any(axis=1)
    assert 0.3 < inked.mean() < 1  # text and figures all the way down, and space between
    orange = (np.abs(pixels.astype(int) - (255, 169, 14)).sum(axis=2) < 30).sum()  # χ²'s colour: figures were decoded
    assert orange > 500


def test_runs_are_compared_in_the_same_figures(runs, tmp_path):
    """χ² is the same in both and stays one curve that says so; every curve says which run it is from."""
    histograms, datasets = read_runs(runs)
    assert list(datasets) == ["HHH", "HH"]
    assert set(histograms["candidates"].axes["method"]) == {"chi2 @ a = b", "chi2 @ a", "chi2+bdt @ b"}
    key = {"definition": "default", "category": "merged"}
    assert counts(histograms["candidates"], {**key, "dataset": "HH", "method": "chi2 @ a"}).sum() > 0
    assert counts(histograms["candidates"], {**key, "dataset": "HHH", "method": "chi2 @ a"}).sum() == 0
    for method, own in (("chi2 @ a = b", runs[0]), ("chi2+bdt @ b", runs[1])):
        key = {"dataset": "HHH", "definition": "default", "category": "merged", "method": method}
        expected = counts(read_histograms(own)[0]["candidates"], {**key, "method": method.partition(" @ ")[0]})
        np.testing.assert_array_equal(counts(histograms["candidates"], key), expected)
        assert expected.sum() > 0
    more = tmp_path / "eight"
    options = ["--fileset", "demo", "--datasets", "HHH", "--max-chunks", "1", "--chunksize", "1500", "--no-plots"]
    assert run([*options, "--metrics", "default", "--chi2-jets", "8", "--output", str(more)]) == 0
    both = [*map(str, (runs[1], more)), "--output", str(tmp_path / "both"), "--formats", "png"]
    expected = {"chi2 @ b", "chi2 @ eight", "chi2+bdt @ b"}
    assert set(read_runs([runs[1], more])[0]["targets"].axes["method"]) == expected
    assert plot(both) == 0
    assert (tmp_path / "both" / "HHH" / "default_purity_efficiency_merged.png").stat().st_size > 10_000


def test_runs_without_masses_of_large_radius_jets_are_compared(runs, tmp_path):
    """As runs of tops, and of resolved HH."""
    folders = [tmp_path / name for name in "xy"]
    for folder, own in zip(folders, runs, strict=True):
        folder.mkdir()
        content = json.loads((own / "histograms.json").read_text())
        del content["histograms"]["boosted_mass"]
        (folder / "histograms.json").write_text(json.dumps(content))
    assert "boosted_mass" not in read_runs(folders)[0]
    assert plot([*map(str, folders), "--output", str(tmp_path / "both"), "--formats", "png"]) == 0
    assert (tmp_path / "both" / "HHH" / "default_purity_efficiency_merged.png").stat().st_size > 10_000


def test_what_cannot_be_compared(runs, tmp_path, capsys):
    with pytest.raises(ResultsError, match="two are called the same"):
        read_runs([runs[0], runs[0]])
    other = tmp_path / "c"
    other.mkdir()
    content = json.loads((runs[1] / "histograms.json").read_text())
    content["datasets"]["HHH"]["analysis"] = "hh"
    (other / "histograms.json").write_text(json.dumps(content))
    assert plot([str(runs[0]), str(other)]) == 2
    assert "dataset 'HHH': analysis is hhh in one run and hh in c" in capsys.readouterr().err
    with pytest.raises(ResultsError, match=r"analysis is hhh"):
        plot([str(runs[0]), str(other), "--debug"])


def test_a_report_without_figures(runs):
    assert Page((runs[1] / "report.html").read_text(encoding="utf-8")).images == []


def test_root_file(runs):
    """TH1 of the weighted mass with its errors, TH2 where two axes are left, the sums those of histograms.json."""
    histograms, _ = read_histograms(runs[0])
    with uproot.open(runs[0] / "histograms.root") as file:
        place = "candidate_mass/HHH/chi2/default/merged"
        everything, right, wrong = (file[f"{place}/{flag}"].to_hist() for flag in ("all", "correct", "wrong"))
        assert file[f"{place}/all"].classname == "TH1D"
        np.testing.assert_array_equal(right.values(flow=True) + wrong.values(flow=True), everything.values(flow=True))
        key = {"dataset": "HHH", "method": "chi2", "definition": "default", "category": "merged"}
        expected = counts(histograms["candidate_mass"], key)
        np.testing.assert_array_equal(right.values(flow=True), expected[:, 2])
        np.testing.assert_array_equal(right.variances(flow=True), right.values(flow=True))  # unit weights
        targets = file["targets/HH/chi2/default/merged/retrieved"]
        assert targets.values(flow=True).sum() > 0
        assert not any(key.startswith("confusion") for key in file.keys(recursive=False))


@pytest.mark.parametrize("library", ["pandas", "polars", "duckdb"])
def test_candidates_in_other_tools(runs, library):
    """The same mean mass of correct candidates everywhere: names, types and nulls survive."""
    module = pytest.importorskip(library)
    folder = runs[0] / "candidates"
    if library == "pandas":
        table = module.read_parquet(folder)
        rows = table[(table.dataset == "HHH") & table.correct.astype(bool)]
        found = (len(rows), float(rows.mass.mean()))
    elif library == "polars":
        table = module.read_parquet(folder / "*.parquet")
        rows = table.filter((module.col("dataset") == "HHH") & module.col("correct"))
        found = (len(rows), rows["mass"].mean())
    else:
        query = f"select count(*), avg(mass) from '{folder}/*.parquet' where dataset = 'HHH' and correct"
        found = module.sql(query).fetchall()[0]
    import pyarrow.dataset as ds

    expected = ds.dataset(folder).to_table()
    mask = (np.asarray(expected["dataset"].to_pylist()) == "HHH") & np.asarray(expected["correct"])
    assert found[0] == mask.sum() > 100
    assert found[1] == pytest.approx(np.asarray(expected["mass"])[mask].mean())


def test_pages_print_on_paper(runs):
    """A print style is there: navigation hidden, rows kept together."""
    raw = (runs[0] / "report.html").read_text(encoding="utf-8")
    assert re.search(r"@media print \{.*nav \{ display: none; \}", raw, re.DOTALL)
