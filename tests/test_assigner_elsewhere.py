"""The network in a stock processor, under two dask workers and in one process, and as ONNX: the numbers of the main job."""

import json
import sys

import awkward as ak
import cloudpickle
import numpy as np
import pandas as pd
import pytest
from coffea.nanoevents import DelphesSchema
from coffea.processor import DaskExecutor, IterativeExecutor, ProcessorABC, Runner
from conftest import DEMO, REPOSITORY

from hhh_coffea.assigner import Assigner
from hhh_coffea.run import main

torch = pytest.importorskip("torch")
MODEL = REPOSITORY / "models" / "spanet_hh_resolved"
pytestmark = pytest.mark.slow


class Theirs(ProcessorABC):
    """Thirty lines of a stock processor: jets of its own selection, the assigner, and one row for each event."""

    def process(self, events):
        names = {"pt": "PT", "eta": "Eta", "phi": "Phi", "mass": "Mass"}
        jets = ak.zip({ours: events.Jet[theirs] for ours, theirs in names.items()})
        jets["btag"], jets["index"] = events.Jet.BTag & 1, ak.local_index(events.Jet.PT)
        entry = events.metadata["entrystart"] + np.arange(len(events))
        jets = jets[jets.pt >= 20]
        jets = jets[ak.argsort(jets.pt, axis=1, ascending=False, stable=True)]
        jets = jets[ak.argsort(jets.btag, axis=1, ascending=False, stable=True)][:, :10]
        enough = ak.to_numpy(ak.num(jets) >= 4)
        jets = jets[enough]
        found = Assigner(MODEL, device="cpu")(jets)
        rows = []
        for number, objects, index, ap, margin in zip(
            entry[enough].tolist(),
            found.objects.tolist(),
            jets.index.tolist(),
            found.assignment_probability.tolist(),
            found.margin.tolist(),
            strict=True,
        ):
            pairs = [tuple(sorted(index[j] for j in pair)) for pair in objects]
            rows.append((number, pairs, ap, margin))
        return {"rows": rows}

    def postprocess(self, accumulator):
        return accumulator


def rows_of(executor):
    fileset = {"HH": {"files": {str(DEMO / "hh.root"): "Delphes"}}}
    run = Runner(executor, schema=DelphesSchema, chunksize=1200, savemetrics=False, metadata_cache={})
    out = run(fileset, Theirs(), treename="Delphes")
    return sorted((out[0] if isinstance(out, tuple) else out)["rows"])


@pytest.fixture(scope="module")
def here():
    return rows_of(IterativeExecutor(status=False))


def test_the_same_as_the_main_job(here, tmp_path):
    metadata = {"format": "delphes", "analysis": "hh_resolved"}
    (tmp_path / "f.json").write_text(json.dumps({"HH": {"files": [str(DEMO / "hh.root")], "metadata": metadata}}))
    options = ["--methods", "spanet", "--model", str(MODEL), "--device", "cpu", "--candidates", "--events"]
    options += ["--no-plots", "--fileset", str(tmp_path / "f.json"), "--output", str(tmp_path / "r")]
    assert main(options) == 0
    events = pd.read_parquet(tmp_path / "r" / "events").set_index("entry")
    candidates = pd.read_parquet(tmp_path / "r" / "candidates")
    pairs = {
        entry: dict(zip(zip(rows.jet1, rows.jet2, strict=True), rows.assignment_probability, strict=True))
        for entry, rows in candidates.groupby("entry")
    }
    seen = 0
    for entry, found, ap, margin in here:
        if entry not in pairs:  # the main job asks for two Higgs bosons that decay to b quarks
            continue
        want = {tuple(sorted(map(int, pair))): p for pair, p in pairs[entry].items()}
        assert set(found) == set(want)
        np.testing.assert_allclose([want[pair] for pair in found], ap, atol=1e-5)
        assert margin == pytest.approx(events.margin[entry], abs=1e-5)
        seen += 1
    assert seen == len(events) == len(pairs)


def test_two_dask_workers(here):
    from distributed import Client, LocalCluster

    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers have no folder of tests
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
    ):
        there = rows_of(DaskExecutor(client=client, status=False))
        module = "hhh_coffea.methods.spanet_model"
        networks = client.run(lambda: len(sys.modules[module]._NETWORKS) if module in sys.modules else 0)
    assert 1 in networks.values()
    assert set(networks.values()) <= {0, 1}  # a network is made once in a process; a worker may get no chunk
    assert [(entry, pairs) for entry, pairs, *_ in there] == [(entry, pairs) for entry, pairs, *_ in here]
    for which in (2, 3):
        np.testing.assert_allclose([row[which] for row in there], [row[which] for row in here], atol=1e-5)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from hhh_coffea.train import main as train

    path = tmp_path_factory.mktemp("onnx") / "hh.onnx"
    assert train(["export-onnx", str(MODEL), "--interface", "original", "--output", str(path)]) == 0
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("n", [5, 9])
def test_onnx_with_the_interface_of_the_original(exported, n):
    """Interleaved ln(1 + x) inputs of N jets, outputs by name; the best disjoint pairs are those of the assigner."""
    from hhh_coffea.lazy import event_record, open_events

    assign = Assigner(MODEL, device="cpu")
    jets = event_record(open_events("demo", "HH", mode="virtual"), ["chi2"]).jets[:400, :n]
    jets = jets[ak.num(jets) >= 4]
    found = assign(jets)
    features = assign.model.topology.inputs[0].features
    columns = []
    for feature in features:
        values = {"sinphi": np.sin(jets.phi), "cosphi": np.cos(jets.phi)}.get(feature.name)
        values = jets[feature.name] if values is None else values
        padded = ak.to_numpy(ak.fill_none(ak.pad_none(values, n, clip=True), 9999)).astype(np.float32)
        columns.append(np.log1p(padded) if feature.log else padded)
    mask = np.arange(n) < ak.to_numpy(ak.num(jets))[:, None]
    assert [i.name for i in exported.get_inputs()] == ["Jets_data", "Jets_mask"]
    names = [f"{target}_{kind}_probability" for target in ("h1", "h2") for kind in ("assignment", "detection")]
    p1, d1, p2, d2 = exported.run(names, {"Jets_data": np.stack(columns, axis=-1), "Jets_mask": mask})
    pairs = ak.to_numpy(found.objects)  # two disjoint pairs in every event
    assert pairs.shape == (len(jets), 2, 2)
    assert (np.diff(np.sort(pairs.reshape(-1, 4), axis=1), axis=1) > 0).all()
    event = np.arange(len(jets))
    chosen = np.stack([2 * p[event, pairs[:, i, 0], pairs[:, i, 1]] for i, p in enumerate((p1, p2))], axis=1)
    for got, want in (
        (chosen, found.assignment_probability),
        (np.stack([d1, d2], axis=1), found.detection_probability),
    ):
        difference = np.abs(got - ak.to_numpy(want))  # a few events are hard to decide: docs/spanet.md, "Rounding"
        assert np.quantile(difference, 0.99) < 1e-5
        assert difference.max() < 1e-4
    for one in range(50):  # the best by brute force over what the ONNX file gives
        best = max(
            (p1[one, a, b] * p2[one, c, d], {frozenset((a, b)), frozenset((c, d))})
            for a in range(n) for b in range(a) for c in range(n) for d in range(c) if len({a, b, c, d}) == 4
        )  # fmt: skip
        assert {frozenset(pair.tolist()) for pair in pairs[one]} == best[1]
