"""What the tests share: real data where it is at hand, the demo sample everywhere, and small hand-made events."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: pytest-xdist and the workers of tests share the cores

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
DEMO = REPOSITORY / "fileset" / "demo"


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages stand on one line, for tests of what they say; ``test_widths.py`` has the tests of how they are broken."""
    monkeypatch.setenv("COLUMNS", "1000")


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of large real samples and reference numbers, beside the repository (or where HHH_SHARED says)."""
    folder = Path(os.environ.get("HHH_SHARED", REPOSITORY.parent / "shared"))
    if not (folder / "data" / "delphes").is_dir():
        pytest.skip(f"needs the shared samples in {folder} (set HHH_SHARED to their folder)")
    return folder


@pytest.fixture
def write_fileset(tmp_path: Path) -> Callable[..., Path]:
    """Write a fileset JSON of ``name=(files, metadata)`` and return its path."""

    def write(**datasets: tuple[list[str], dict[str, Any]]) -> Path:
        path = tmp_path / "fileset.json"
        content = {
            name: {
                "files": [str(f) for f in files],
                "metadata": {"format": "delphes", "n_higgs": 3, **metadata},
            }
            for name, (files, metadata) in datasets.items()
        }
        path.write_text(json.dumps(content))
        return path

    return write


def collection(events: list[list[dict[str, float]]], names: tuple[str, ...]) -> ak.Array:
    """Lists of dicts → jagged records with every field there, also when all lists are empty."""
    counts = [len(event) for event in events]
    flat = [item for event in events for item in event]
    columns = {name: np.array([item.get(name, 0) for item in flat]) for name in names}
    columns = {
        k: v.astype(np.int64) if k in ("index", "btag", "flavor") else v.astype(float) for k, v in columns.items()
    }
    return ak.unflatten(ak.zip(columns), counts)


@pytest.fixture
def make_record() -> Callable[..., ak.Array]:
    """Event record from lists of dicts: ``jets`` and ``fatjets`` per event, ``higgs`` with b1 and b2 optionally."""

    def make(
        jets: list[list[dict[str, float]]],
        fatjets: list[list[dict[str, float]]] | None = None,
        higgs: list[list[dict[str, Any]]] | None = None,
    ) -> ak.Array:
        n = len(jets)
        kinematics = ("pt", "eta", "phi", "mass")
        record = {
            "jets": collection(jets, (*kinematics, "btag", "flavor", "index")),
            "fatjets": collection(fatjets or [[]] * n, (*kinematics, "index")),
            "weight": np.ones(n),
            "id": np.arange(n),
        }
        if higgs is not None:
            parts = {name: collection([[h[name] for h in e] for e in higgs], kinematics) for name in ("b1", "b2")}
            own = collection(higgs, kinematics)
            record["higgs"] = ak.zip({**{k: own[k] for k in kinematics}, **parts}, depth_limit=2)
        return ak.zip(record, depth_limit=1)

    return make


def open_file(
    tree: str, schema: Any, path: Path, start: int = 0, stop: int | None = None, log: Any = None, only: Any = None
) -> Any:
    """NanoEvents of a file as the engine would open it; ``log`` collects branches that get read, ``only`` limits them."""
    import uproot
    from coffea.nanoevents import NanoEventsFactory

    with uproot.open(path) as file:
        identity = str(file.file.uuid)
    return NanoEventsFactory.from_root(
        {str(path): tree},
        schemaclass=schema,
        mode="virtual",
        entry_start=start,
        entry_stop=stop,
        access_log=log,
        iteritems_options={"filter_name": lambda name: name in only} if only else {},
        metadata={"dataset": "test", "filename": str(path), "fileuuid": identity, "entrystart": start},
    ).events()


@pytest.fixture
def open_delphes() -> Callable[..., Any]:
    """:func:`open_file` for Delphes."""
    from hhh_coffea.events import delphes

    return partial(open_file, "Delphes", delphes.SCHEMA)


@pytest.fixture
def open_nanoaod() -> Callable[..., Any]:
    """:func:`open_file` for NanoAOD."""
    from hhh_coffea.events.nanoaod import reader as nanoaod

    return partial(open_file, "Events", nanoaod.SCHEMA)


@pytest.fixture
def demo_record(open_delphes: Callable[..., Any]) -> Callable[..., ak.Array]:
    """Selected, truncated event record of the demo sample."""
    from hhh_coffea.analyses.higgs import higgs
    from hhh_coffea.datasets.fileset import DatasetMetadata
    from hhh_coffea.events.delphes import read
    from hhh_coffea.events.record import selected, truncated
    from hhh_coffea.reconstruction.selection import event_selection

    def make(name: str, n_higgs: int, events: int) -> ak.Array:
        metadata = DatasetMetadata(format="delphes", n_higgs=n_higgs)
        record = read(open_delphes(DEMO / f"{name}.root", stop=events), metadata).record
        return truncated(selected(record, event_selection(record, metadata, higgs(n_higgs)).all()), 10, n_higgs)

    return make


@pytest.fixture(scope="session")
def relaid(tmp_path_factory: pytest.TempPathFactory) -> dict[int | str, Path]:
    """The first HHH events of the demo sample laid out as NanoAOD v12 and v15, and as data of v15."""
    from nanoaod_writer import write_nanoaod

    folder = tmp_path_factory.mktemp("nanoaod")
    files: dict[int | str, Path] = {
        v: write_nanoaod(DEMO / "hhh.root", folder / f"v{v}.root", v, stop=1500) for v in (12, 15)
    }
    files["data"] = write_nanoaod(DEMO / "hhh.root", folder / "data.root", 15, stop=1500, data=True)
    return files


@pytest.fixture(params=("tt_test", "tth_test", "ttbb_test"))
def sample(request: pytest.FixtureRequest, shared_dir: Path) -> Any:
    """Selected events of a shared sample of tops, their truth and their reference numbers (:mod:`tops_samples`)."""
    from tops_samples import load

    return load(shared_dir, request.param)
