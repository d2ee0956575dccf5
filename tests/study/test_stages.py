"""Stages: what was done with the same inputs is not repeated, what was interrupted is."""

from __future__ import annotations

import numpy as np
import pytest

from hhh_coffea.study import split, stages
from hhh_coffea.study.event_table import EventTable, Totals, read_table, write_table
from hhh_coffea.study.stages import Stages


@pytest.fixture
def said():
    return []


@pytest.fixture
def kept(tmp_path, said):
    return Stages(tmp_path, said.append)


def counting():
    calls = []

    def make():
        calls.append(1)
        return {"calls": len(calls)}

    return make, calls


def test_a_stage_is_done_once(kept, said):
    make, calls = counting()
    first = kept.numbers("a", {"x": 1}, make)
    again = kept.numbers("a", {"x": 1}, make)
    assert (first.value, again.value, len(calls)) == ({"calls": 1}, {"calls": 1}, 1)
    assert first.fingerprint == again.fingerprint
    assert said[-1] == "stage a: done before"


def test_other_inputs_and_other_code_repeat_it(kept):
    make, calls = counting()
    first = kept.numbers("a", {"x": 1}, make)
    assert kept.numbers("a", {"x": 2}, make).fingerprint != first.fingerprint
    kept.numbers("a", {"x": 2}, make, (split,))
    assert len(calls) == 3
    # a stage after it hands the fingerprint on
    assert stages.fingerprint({"before": first.fingerprint}) != stages.fingerprint({"before": "another"})


def test_overwrite_repeats_it(kept, tmp_path):
    make, calls = counting()
    kept.numbers("a", {}, make)
    Stages(tmp_path, lambda _: None, overwrite=True).numbers("a", {}, make)
    assert len(calls) == 2


def test_a_stage_that_failed_is_repeated(kept):
    def fails(path):
        (path / "half").write_text("…")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        kept.directory("model", {}, fails)
    done = kept.directory("model", {}, lambda path: (path / "whole").write_text("x"))
    assert [file.name for file in done.value.iterdir()] == ["whole"]
    again = kept.directory("model", {}, fails)
    assert again.value == done.value


def test_a_broken_note_is_no_note(kept, tmp_path):
    make, calls = counting()
    kept.numbers("a", {}, make)
    (tmp_path / "stages" / "a.done.json").write_text("[]")
    kept.numbers("a", {}, make)
    assert len(calls) == 2


def test_tables_are_kept_as_they_are(kept, tmp_path):
    columns = {"x": np.array([1.5, np.nan]), "flag": np.array([True, False]), "v": np.arange(6.0).reshape(2, 3)}
    totals = {"s": Totals(10, 9.5, (("a.root", "u"),), True), "b": Totals(3, 3.0, (), False)}
    table = EventTable({"s": columns, "b": {"x": np.zeros(0)}}, totals)
    found = kept.table("events", {}, lambda: table).value
    assert found.totals == totals
    for name, values in columns.items():
        np.testing.assert_array_equal(found["s"][name], values)
        assert found["s"][name].dtype == values.dtype
    assert list(found.together(True)) == ["x", "flag", "v"]
    write_table(tmp_path / "again.npz", found)
    assert read_table(tmp_path / "again.npz").names(False) == ["b"]
