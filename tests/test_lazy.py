"""Interactive arrays: the columns they read, and the numbers of the batch run to the last bit."""

import awkward as ak
import dask_awkward as dak
import hist
import numpy as np
import pyarrow.dataset as ds
import pytest

from hhh_coffea.base.errors import UserError
from hhh_coffea.datasets.fileset import load_fileset
from hhh_coffea.events.formats import branches_of
from hhh_coffea.lazy import event_record, open_events, reconstruct
from hhh_coffea.run import main as run

METHOD = "chi2+bdt"
CHUNKSIZE = 2000


@pytest.fixture(scope="module")
def events():
    return open_events("demo", "HHH", chunksize=CHUNKSIZE)


@pytest.fixture(scope="module")
def candidates(events):
    return reconstruct(events, METHOD)


@pytest.fixture(scope="module")
def batch(tmp_path_factory):
    """Candidates of the main job, in the order of the file; of an event as the method lists them."""
    output = tmp_path_factory.mktemp("batch") / "r"
    options = ["--fileset", "demo", "--datasets", "HHH", "--methods", METHOD, "--metrics", "default", "--no-plots"]
    assert run([*options, "--chunksize", str(CHUNKSIZE), "--candidates", "--output", str(output)]) == 0
    return ds.dataset(output / "candidates").to_table().to_pandas().sort_values("entry", kind="stable")


def test_only_the_columns_needed_are_read(candidates):
    metadata = load_fileset("demo")["HHH"].metadata
    features = ["softdrop_mass", "tau21", "tau32", "charged_fraction", "n_charged", "n_neutral"]
    needed = {*branches_of(metadata, features), "Jet_size", "FatJet_size", "Particle_size"}
    reported = dak.report_necessary_columns(candidates)
    assert set().union(*reported.values()) == needed
    simple = dak.report_necessary_columns(event_record(open_events("demo", "QCD")))
    assert set().union(*simple.values()) == {
        *(f"{name}/{name}.{leaf}" for name in ("Jet", "FatJet") for leaf in ("PT", "Eta", "Phi", "Mass")),
        *("Jet/Jet.BTag", "Jet/Jet.Flavor", "Jet_size", "FatJet_size", "Event/Event.Weight"),
    }


def test_same_numbers_as_the_batch_run(events, candidates, batch):
    found, record = candidates.compute(scheduler="sync"), event_record(events).compute(scheduler="sync")
    assert len(found) == len(record) == 4225
    np.testing.assert_array_equal(np.repeat(record.id, ak.num(found.pt)), batch.entry)
    for name in ("pt", "eta", "phi", "mass", "overlaps", "correct"):
        np.testing.assert_array_equal(ak.to_numpy(ak.flatten(found[name])), batch[name])
    in_file = ak.to_numpy(ak.flatten(record.jets.index[found.jet1[found.kind == 0]]))
    np.testing.assert_array_equal(in_file, batch.jet1[batch.kind == "resolved"])


def test_one_file_without_dask(batch):
    """The whole file as one chunk, in memory: the same again."""
    events = open_events("demo", "HHH", mode="virtual", file="hhh.root")
    found = reconstruct(events, METHOD)
    np.testing.assert_array_equal(ak.to_numpy(ak.flatten(found.mass)), batch.mass)
    assert len(event_record(events)) == len(found)


def test_collections_fill_hist_dask(candidates, batch):
    hist_dask = pytest.importorskip("hist.dask", exc_type=ImportError)
    booked = hist_dask.Hist(hist.axis.Regular(40, 30, 230, name="mass"))
    booked.fill(mass=dak.flatten(candidates.mass[candidates.correct]))
    filled = booked.compute(scheduler="sync")
    expected = hist.Hist(hist.axis.Regular(40, 30, 230, name="mass")).fill(mass=batch.mass[batch.correct.astype(bool)])
    np.testing.assert_array_equal(filled.values(flow=True), expected.values(flow=True))


def test_background_has_no_truth():
    found = reconstruct(open_events("demo", "QCD"), "chi2", "reference", chi2_jets=8)
    assert "correct" not in found.fields
    assert ak.all(found.mass.compute(scheduler="sync") > 0)


def test_every_method_returns_one_type():
    """What dask-awkward is told before anything runs holds for the network too."""
    events = open_events("demo", "HHH", chunksize=4990)
    found = reconstruct(events, "spanet", device="cpu").partitions[0]
    expected = reconstruct(events, "chi2")._meta
    assert ak.forms.form.Form.is_equal_to(found._meta.layout.form, expected.layout.form)


def test_mistakes(events):
    with pytest.raises(UserError, match="apply cuts to the result instead"):
        reconstruct(events[:10], "chi2")
    with pytest.raises(UserError, match="apply cuts to the result instead"):
        reconstruct(open_events("demo", "HH", mode="virtual")[:10], "chi2")
    with pytest.raises(UserError, match="no method 'chi'"):
        reconstruct(events, "chi")
    with pytest.raises(UserError, match="4 jets cannot hold"):
        reconstruct(events, "chi2", chi2_jets=4)
    with pytest.raises(UserError, match="0 files of dataset 'HHH' end in"):
        open_events("demo", "HHH", mode="virtual", file="x.root")
    with pytest.raises(UserError, match="no mode 'eager'; there are dask, virtual"):
        open_events("demo", "HHH", mode="eager")
    with pytest.raises(UserError, match=r"^models/absent: no such SPANet model"):  # one name, not one a letter
        reconstruct(events, "spanet", model="models/absent")


def test_copies_of_a_file_are_warned_of(tmp_path):
    import json
    import shutil

    from conftest import DEMO

    for name in ("a", "b"):
        shutil.copy(DEMO / "hh.root", tmp_path / f"{name}.root")
    metadata = {"format": "delphes", "analysis": "hh"}
    (tmp_path / "f.json").write_text(json.dumps({"A": {"files": ["a.root", "b.root"], "metadata": metadata}}))
    with pytest.warns(UserWarning, match=r"b\.root"):
        open_events(str(tmp_path / "f.json"))
