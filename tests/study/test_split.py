"""No event of the fit is trained or tuned on; which events those are depends on nothing but the events."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from conftest import DEMO, REPOSITORY
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from hhh_coffea.base.arrays import flat
from hhh_coffea.base.errors import UserError
from hhh_coffea.study import events as events_module
from hhh_coffea.study.columns import method_columns, truth_columns
from hhh_coffea.study.event_table import EventTable, Totals
from hhh_coffea.study.events import Pass, read_events
from hhh_coffea.study.reconstructed import PERFECT
from hhh_coffea.study.split import FRACTIONS, parts, refuse_trained_on, training_files

QUIET = Console(quiet=True)


@given(st.lists(st.floats(0, 1, exclude_max=True, width=32), max_size=50))
def test_parts_are_disjoint_and_everything(numbers):
    found = parts(np.array(numbers, dtype=np.float32))
    assert list(found) == list(FRACTIONS)
    assert (np.sum(list(found.values()), axis=0) == 1).all()


def test_parts_have_their_shares():
    number = np.random.default_rng(1).random(100_000).astype(np.float32)
    for name, mask in parts(number).items():
        assert mask.mean() == pytest.approx(FRACTIONS[name], abs=0.01)
    with pytest.raises(ValueError, match="add up to"):
        parts(number, {"train": 0.5, "fit": 0.4})


def columns(event, methods):
    found = truth_columns(event)
    for method in methods:
        found |= method_columns(event, method)
    return found


@pytest.fixture(scope="module")
def asked():
    return Pass("demo_tops", partial(columns, methods=("chi2", PERFECT)), ("chi2",), datasets=("tth", "ttbb"))


@pytest.fixture(scope="module")
def table(asked):
    return read_events(asked, QUIET)


def test_no_event_changes_its_part_with_chunks_or_workers(asked, table, monkeypatch):
    """No event of the fit is in training in another run: the split is one of events, whatever the chunks."""
    monkeypatch.setattr(events_module, "CHUNK", 130)
    other = read_events(asked, QUIET)
    for dataset in table.columns:
        for name, values in table[dataset].items():
            np.testing.assert_array_equal(other[dataset][name], values, err_msg=name)
        whole, again = (parts(t[dataset]["split"]) for t in (table, other))
        fit = {int(entry) for entry in table[dataset]["entry"][whole["fit"]]}
        for part in ("train", "validation"):
            assert fit.isdisjoint(int(entry) for entry in other[dataset]["entry"][again[part]])
        assert fit


@pytest.mark.slow
def test_no_event_changes_its_part_with_workers(asked, table, monkeypatch):
    monkeypatch.setattr(events_module, "CHUNK", 130)
    other = read_events(replace(asked, workers=2, columns=events_columns), QUIET)
    np.testing.assert_array_equal(other["tth"]["split"], table["tth"]["split"])


def events_columns(event):
    return truth_columns(event)


def evaluated(event):
    """The columns, and beside ``correct`` what the main job's own evaluation says."""
    found = columns(event, ("chi2", PERFECT))
    result = event.analysis.evaluate(event.candidates["chi2"], event.targets, "default")
    number = flat(event.candidates["chi2"].kind)
    return found | {
        f"{kind}.evaluated": result.correct[number == own.number] for kind, own in event.analysis.kinds.items()
    }


def test_columns_agree_with_the_evaluation_of_the_main_job(asked):
    """And the assignment of the truth gives masses where targets exist alone."""
    found = read_events(replace(asked, columns=evaluated, datasets=("tth",)), QUIET)["tth"]
    for kind in ("ht", "lt", "h"):
        np.testing.assert_array_equal(found[f"chi2.{kind}.correct"], found[f"{kind}.evaluated"])
        assert 0.1 < found[f"chi2.{kind}.correct"].mean() < 0.9
        np.testing.assert_array_equal(np.isnan(found[f"{PERFECT}.{kind}.mass"]), ~found[f"{kind}.exists"])


def test_totals_are_of_all_events(table):
    totals = table.totals["ttbb"]
    assert totals.events == totals.weight
    assert totals.events >= len(table["ttbb"]["entry"])
    assert not totals.is_signal
    assert [name for name, _ in totals.files] == ["ttbb.root"]


def test_events_that_a_model_has_seen_are_refused():
    _, uuids = training_files("spanet_tth")
    assert len(uuids) == 5
    seen = EventTable({}, {"tth": Totals(1, 1.0, (("renamed.root", min(uuids)),), True)})
    with pytest.raises(UserError, match=r"renamed.root was used to train model spanet_tth"):
        refuse_trained_on(seen, ["spanet_tth"])
    by_name = EventTable({}, {"tth": Totals(1, 1.0, (("tth_train_00.root", "unknown"),), True)})
    with pytest.raises(UserError, match=r"was used to train model pdnn_tth"):
        refuse_trained_on(by_name, ["pdnn_tth"])
    fresh = EventTable({}, {"tth": Totals(1, 1.0, (("tth_test.root", "unknown"),), True)})
    refuse_trained_on(fresh, ["spanet_tth", "pdnn_tth", "transfer_functions_delphes"])
    with pytest.raises(UserError, match="holds no model"):
        training_files(DEMO)


# what they are used for beside results, and what networks that have seen them do to these: docs/tops_studies.md
MADE_FROM_TRAINING_FILES = {"templates", "ttbar_flat"}


def test_bundled_studies_read_test_files_alone():
    for path in (REPOSITORY / "fileset").glob("study_*.json"):
        for name, dataset in json.loads(path.read_text()).items():
            if not name.startswith("train") and name not in MADE_FROM_TRAINING_FILES:
                assert not [file for file in dataset["files"] if "_train" in Path(file).name], (path.name, name)
