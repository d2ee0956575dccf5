"""Analyses by name: the declared ones, files of a user's own, and what is said of those that cannot be used."""

import subprocess
import sys

import cloudpickle
import numpy as np
import pytest

from hhh_coffea.analyses import all_methods, analysis_of, load_analyses, load_analysis
from hhh_coffea.analyses.higgs import higgs
from hhh_coffea.base.errors import UserError
from hhh_coffea.datasets.fileset import Dataset, DatasetMetadata, FilesetError
from hhh_coffea.results import histograms

MINE = '''
from hhh_coffea.analyses import Analysis
from hhh_coffea.topology.topology import Topology

TOPOLOGY = Topology.from_text("""
INPUTS:
  SEQUENTIAL:
    Jets: {pt: log_normalize}
EVENT:
  z: [{j1: Jets}, {j2: Jets}]
PERMUTATIONS:
  z: [[j1, j2]]
""")


def match(record, definitions, kept):
    return {}


ANALYSIS = Analysis("dijets", TOPOLOGY, match)
'''


@pytest.fixture
def mine(tmp_path):
    def write(text=MINE, name="mine.py"):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


def test_declared_ones():
    for n in (1, 2, 3, 4):
        analysis = load_analysis("h" * n)
        assert analysis is higgs(n)
        assert (analysis.name, analysis.n_particles, analysis.jets_needed) == ("h" * n, n, 2 * n)
        assert list(analysis.kinds) == ["resolved", "boosted"]
        assert analysis.limits() == (4, 4)
    assert set(all_methods()) >= {"chi2", "chi2_as_published", "chi2+bdt", "chi2+bdt_as_published", "spanet"}
    # the published pairing is a row of its own where it is at fault: for two Higgs bosons
    assert [bool(higgs(n).published) for n in (1, 2, 3, 4)] == [False, True, False, False]


def test_what_an_event_must_have():
    """Jets and fat jets kept and required: those of the metadata, else what the targets need."""

    def metadata(**selection):
        return DatasetMetadata(format="delphes", analysis="hhh", selection=selection)

    assert higgs(3).kept(metadata()) == (10, 3)
    assert higgs(3).kept(metadata(max_jets=8, max_fatjets=1)) == (8, 1)
    assert higgs(3).jets_required(metadata()) == 6
    assert higgs(3).jets_required(metadata(min_jets=7)) == 7


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("hh h", "no analysis 'hh h' (did you mean 'hhh'?); there are h, hh, hhh, hhhh"),
        ("ttbarr2", "no analysis 'ttbarr2'"),
        ("none.py:A", "analysis 'none.py:A': no such file none.py"),
    ],
)
def test_no_such_analysis(name, says):
    with pytest.raises(UserError) as error:
        load_analysis(name)
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("text", "name", "says"),
    [
        (MINE, ":OTHER", "mine.py: no analysis 'OTHER'; it has ANALYSIS"),
        (f"{MINE}\nSECOND = ANALYSIS\n", "", "has 2 objects of class Analysis (ANALYSIS, SECOND); name one"),
        ("x = 1\n", "", "mine.py: has no object of class Analysis"),
        ("x = 1\ny = not_there\n", "", "mine.py:2: cannot be imported: NameError"),
        ("def f(:\n", "", "mine.py:1: cannot be imported: SyntaxError"),
        (MINE.replace("{j2: Jets}", "{j2: Jetz}"), "", "Jetz"),
        (MINE.replace("match)", "match, kind_names=('a', 'b'))"), "", "2 names for 1 kinds of targets"),
    ],
)
def test_mistakes_in_a_file_are_named(mine, text, name, says):
    with pytest.raises(UserError) as error:
        load_analysis(f"{mine(text)}{name}")
    assert says in str(error.value)
    assert "mine.py" in str(error.value)


def test_a_dataset_is_named_with_what_is_wrong_in_its_analysis(mine):
    def dataset(**metadata):
        return {"X": Dataset(name="X", files={"a": "Delphes"}, metadata=DatasetMetadata(format="delphes", **metadata))}

    assert load_analyses(dataset(analysis="hhh")) == {"hhh": higgs(3)}
    with pytest.raises(FilesetError, match="dataset 'X': no analysis 'hhhhhh'"):
        load_analyses(dataset(analysis="hhhhhh"))
    with pytest.raises(
        FilesetError, match=r"dataset 'X': selection.max_jets = 5 cannot hold the 6 jets of analysis 'hhh'"
    ):
        load_analyses(dataset(analysis="hhh", selection={"max_jets": 5}))
    with pytest.raises(FilesetError, match=r"dataset 'X': .*mine.py: no analysis 'OTHER'"):
        load_analyses(dataset(analysis=f"{mine()}:OTHER"))


def test_a_file_of_ones_own_is_on_record_and_travels_by_value(mine):
    file = mine()
    analysis = load_analysis(f"{file}:ANALYSIS")
    assert analysis.name == "dijets"
    assert list(analysis.kinds) == ["z"]
    assert analysis.made_from[0] == str(file)
    assert len(analysis.made_from[1]) == 64
    assert load_analysis(str(file)).name == "dijets"  # the only one needs no name
    metadata = DatasetMetadata(format="delphes", analysis=f"{file}:ANALYSIS")
    sent = cloudpickle.dumps(analysis)
    file.unlink()
    # another process, as a worker is one, makes it without the file
    program = "import sys, pickle; a = pickle.load(sys.stdin.buffer); print(a.name, a.match(None, (), None), *a.kinds)"
    told = subprocess.run([sys.executable, "-c", program], input=sent, capture_output=True, check=True)
    assert told.stdout.decode().split() == ["dijets", "{}", "z"]
    assert analysis_of(metadata, {metadata.analysis: analysis}) is analysis


def test_analyses_of_one_family_book_the_same_histograms():
    """So that datasets with one, two and three Higgs bosons add up in one run; another analysis has axes of its own."""
    booked = [histograms.book(higgs(n)) for n in (1, 2, 3, 4)]
    for other in booked[1:]:
        assert list(other) == list(booked[0])
        for name, histogram in booked[0].items():
            assert other[name] == histogram
            assert other[name].axes == histogram.axes
            assert [axis.label for axis in other[name].axes] == [axis.label for axis in histogram.axes]
            assert (other[name] + histogram).sum(flow=True) == histogram.sum(flow=True)


def test_an_analysis_books_by_its_own_words(mine):
    booked = histograms.book(load_analysis(str(mine())))
    assert set(booked) == {*histograms.NAMES_OF_ALL} - {"assignments"}  # which is for whole assignments
    assert [axis.name for axis in booked["confusion"].axes[3:]] == ["target_z", "candidate_z"]
    np.testing.assert_allclose(booked["candidate_mass"].axes["mass"].edges, np.linspace(0, 400, 81), rtol=1e-12)
    assert booked["candidates"].axes["pt"].label == "Reconstructed particle pT [GeV]"
