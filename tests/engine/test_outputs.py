"""What processors return: every kind of value, each kept, added up, written, or refused with the chunk that has it."""

import json

import boost_histogram
import hist
import numpy as np
import pytest
from coffea.processor import accumulate, column_accumulator, value_accumulator
from conftest import DEMO
from hist import Hist

from hhh_coffea.engine.outputs import OutputError, check
from hhh_coffea.engine.storable import UnstorableError, decode, encode, json_default, json_hook
from hhh_coffea.results.directory import histogram_file, read_histograms, split_output, write_json
from hhh_coffea.results.histograms import canonical
from hhh_coffea.run import main

AXIS = hist.axis.Regular(2, 0, 1, name="x")


def stored(value):
    return decode(json.loads(json.dumps(encode(value), default=json_default), object_hook=json_hook))


def test_category_axes_keep_their_overflow():
    h = Hist(hist.axis.StrCategory(["b", "a"], name="c"))
    h.fill(["a"] * 20 + ["other"] * 80)
    assert canonical(h) == h
    assert canonical(h).sum(flow=True) == 100
    one, other = (Hist(hist.axis.IntCategory([], growth=True, name="n")).fill(v) for v in ([3, 1, 1], [1, 3, 1]))
    assert list(canonical(one).axes[0]) == [1, 3]
    assert canonical(one) == canonical(other)


def test_every_kind_of_histogram_and_accumulator():
    named, plain = hist.NamedHist(AXIS), boost_histogram.Histogram(boost_histogram.axis.Regular(2, 0, 1))
    named.fill(x=[0.1])
    output = {"named": named, "plain": plain.fill([0.7]), "list": [Hist(AXIS), Hist(AXIS)]}
    output |= {"column": column_accumulator(np.arange(3)), "value": value_accumulator(int, 4)}
    output |= {
        "long": np.longdouble(0.5),
        "array": np.ma.masked_array([1, 2], [False, True]),
        "pair": (1, float("nan")),
    }
    check(output)
    histograms, rest = split_output(output)
    assert set(histograms) == {"named", "plain", "list/0", "list/1"}
    assert histograms["named"].values().tolist() == [1, 0]
    assert histograms["plain"].values().tolist() == [0, 1]
    assert rest == {"column": [0, 1, 2], "value": 4, "long": 0.5, "array": [1, None], "pair": [1, None]}


def test_names_that_collide_and_what_cannot_be_added_are_refused():
    for output, message in (
        ({1: 2, "1": 3}, r"two values are called output\['1'\]"),
        ({"a": {"b": Hist(AXIS)}, "a/b": Hist(AXIS)}, "two histograms are called 'a/b'"),
        ({"a": {"b": None}}, r"output\['a'\]\['b'\] is builtins.NoneType, which cannot be added up"),
        ({"a": object()}, "builtins.object, which cannot be added up"),
    ):
        with pytest.raises(OutputError, match=message):
            check(output)


@pytest.mark.parametrize("storage", [hist.storage.Mean(), hist.storage.WeightedMean()])
def test_means_with_empty_bins(tmp_path, storage):
    """Bit for bit in the store; null in histograms.json."""
    one, other = (
        Hist(AXIS, storage=storage).fill(x, sample=[1.0, 2.5, 7.1]) for x in ([0.1, 0.2, 0.3], [0.6, 0.7, 0.8])
    )
    assert stored(one) == one
    assert accumulate([stored(one), stored(other)]) == accumulate([one, other])
    one.fill([0.1], sample=[np.nan])
    write_json(tmp_path / "histograms.json", histogram_file({"h": one}, {}))
    back = read_histograms(tmp_path)[0]["h"]
    np.testing.assert_array_equal(back.counts(), one.counts())
    assert np.isnan(back.values()[0])


def test_what_the_store_would_change_it_refuses():
    for value in (np.ma.masked_array([1.0], [True]), np.longdouble(0.1), np.zeros(2, np.longdouble)):
        with pytest.raises(UnstorableError):
            encode(value)


USERS = """
import numpy as np
from coffea.processor import ProcessorABC

class Users(ProcessorABC):
    def process(self, events):
        return {result}
    def postprocess(self, accumulator):
        return accumulator
"""


@pytest.mark.parametrize(
    ("result", "code", "expected"),
    [
        (
            "{'cutflow': {'HHH': {'all': len(events)}}, 'dropped': 3}",
            0,
            {"cutflow": {"HHH": {"all": 5000}}, "dropped": 6},
        ),
        ("{'cutflow': [1], 'sculpting': {'a': 1}}", 0, {"cutflow": [1, 1], "sculpting": {"a": 2}}),
        ("{'n': np.longdouble(2)}", 0, {"n": 4.0}),
        ("{'n': None if events.metadata['entrystart'] else 1}", 3, {"n": 1}),
    ],
)
def test_results_of_users(tmp_path, capsys, result, code, expected):
    """In a folder whose name is markup, too."""
    folder = tmp_path / "[" / "x]"
    folder.mkdir(parents=True)
    (folder / "users.py").write_text(USERS.replace("{result}", result))
    (folder / "hhh.root").write_bytes((DEMO / "hhh.root").read_bytes())
    content = {"HHH": {"files": ["hhh.root"], "metadata": {"format": "delphes", "n_higgs": 3}}}
    (folder / "fileset.json").write_text(json.dumps(content))
    base = ["--fileset", str(folder / "fileset.json"), "--processor", str(folder / "users.py"), "--chunksize", "2500"]
    assert main([*base, "--output", str(folder / "r"), "--no-plots"]) == code
    assert json.loads((folder / "r" / "summary.json").read_text())["other"] == expected
    printed = capsys.readouterr().out
    assert str(folder / "r") in printed
    assert ("output['n'] is builtins.NoneType" in printed) == (code == 3)


def test_a_time_limit_is_finite(capsys):
    assert main(["--fileset", "demo", "--chunk-timeout", "inf"]) == 2
    assert "chunk_timeout" in capsys.readouterr().err


def test_a_chunk_damaged_anywhere_counts_as_not_there(tmp_path):
    """gzip finds some damage by itself; zlib, JSON and the histograms find the rest, each with errors of its own."""
    from hhh_coffea.engine.chunks import Chunk, Job, Partial
    from hhh_coffea.engine.processors import ProcessorSource
    from hhh_coffea.engine.store import Store

    store, job = Store(str(tmp_path), "f"), Job(ProcessorSource(b"", ""), {"A": {}})
    chunk = Chunk("A", "a.root", "t", "uuid", 0, 10)
    assert store.save(job, chunk, Partial({"h": Hist(AXIS).fill(np.linspace(0, 1, 99)), "n": [1, 2]}, 1, 10)) is None
    path = store.path(job, chunk)
    whole = path.read_bytes()
    known = store.load(job, chunk)
    assert known is not None
    for place in range(0, len(whole) - 8, 3):
        path.write_bytes(whole[:place] + bytes(b ^ 255 for b in whole[place : place + 8]) + whole[place + 8 :])
        damaged = store.load(job, chunk)
        assert damaged is None or damaged.output == known.output  # the header has bytes that mean nothing


def test_spectra_without_net_candidates_are_left_out(capsys):
    """Weights of both signs add up to nothing over all ranks, not in each."""
    from rich.console import Console

    from hhh_coffea.base.mass_measures import RANGES
    from hhh_coffea.results.console.sculpting import print_sculpting

    row = {"candidates": 1.0} | {span: {"peak_share": {"value": 0.5, "error": None}} for span in RANGES}
    measured = {"QCD": {"default": {"chi2": {"merged": {"1": row}, "resolved": {"all": row}}}}}
    print_sculpting(Console(), measured, verbose=True)
    printed = capsys.readouterr().out
    assert "resolved" in printed
    assert "merged" not in printed
    print_sculpting(Console(), measured, verbose=False)
    assert "chi2" not in capsys.readouterr().out


def test_sums_of_weights_agree_to_rounding_between_chunk_sizes():
    """They are not the same bytes, and docs say so: histograms have no compensated sums within a chunk."""
    random = np.random.default_rng(1)
    x, weight = random.exponential(60, 100_000), random.normal(1.3, 0.4, 100_000)

    def filled(size):
        axis = hist.axis.Regular(40, 30, 230, name="mass")
        parts = [slice(start, start + size) for start in range(0, len(x), size)]
        return accumulate([Hist(axis, storage=hist.storage.Weight()).fill(x[p], weight=weight[p]) for p in parts])

    one, other = filled(len(x)), filled(997)
    np.testing.assert_allclose(one.values(flow=True), other.values(flow=True), rtol=1e-12)
    np.testing.assert_allclose(one.variances(flow=True), other.variances(flow=True), rtol=1e-12)


def test_what_was_measured_as_nothing_is_null():
    assert split_output({"a": {"value": None, "error": 0.5}, "b": None})[1] == {
        "a": {"value": None, "error": 0.5},
        "b": None,
    }
    assert split_output(None)[1] == {}
