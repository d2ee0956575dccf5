"""The file formats: which schema reads them, and which module turns them into the event record."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt
from coffea.nanoevents import BaseSchema

from hhh_coffea.base.once import Once
from hhh_coffea.datasets.fileset import DatasetMetadata, FilesetError
from hhh_coffea.datasets.nanoaod_options import BTAG, DIRECTIONS, NOMINAL
from hhh_coffea.events import delphes, skim
from hhh_coffea.events.nanoaod import event_weights
from hhh_coffea.events.nanoaod import reader as nanoaod
from hhh_coffea.events.record import MULTI_HIGGS, Reading

_FORMATS: dict[str, Any] = {"delphes": delphes, "nanoaod": nanoaod}


def _reader(metadata: DatasetMetadata) -> Any:
    return skim if metadata.skim else _FORMATS[metadata.format]


def schema_of(metadata: DatasetMetadata) -> type[BaseSchema]:
    """The coffea schema that reads this dataset's format."""
    schema: type[BaseSchema] = _reader(metadata).SCHEMA
    return schema


def read(
    events: Any,
    metadata: DatasetMetadata,
    extra_features: Collection[str] = (),
    variation: str = NOMINAL,
    collections: Collection[str] = MULTI_HIGGS,
    shared: Once | None = None,
) -> Reading:
    """NanoEvents of any supported format → event record (see the ``read`` of each format's module).

    ``collections`` names what is read beside the jets, out of :data:`hhh_coffea.events.record.COLLECTIONS`.

    ``variation`` is one of the keys of :func:`variations`. Reading a chunk again for another variation reads nothing
    from the file but what only that variation needs, and with the same ``shared`` computes nothing else again.
    """
    if metadata.format != "nanoaod" or metadata.skim:
        reading: Reading = _reader(metadata).read(events, metadata, extra_features, collections=collections)
    else:
        reading = nanoaod.read(events, metadata, extra_features, variation, collections, shared)
    return reading


def variations(metadata: DatasetMetadata) -> dict[str, tuple[str, ...]]:
    """Systematic variations of a dataset, by the reading they share.

    ``nominal`` and the weight variations are one reading (``record.shifts`` holds the factors), each variation of the
    jets is its own.
    """
    if metadata.nanoaod is None:
        return {NOMINAL: (NOMINAL,)}
    corrections = metadata.nanoaod.corrections
    weights = [f"{BTAG}_{way}" for way in DIRECTIONS] if corrections.btag is not None else []
    weights += event_weights.sources(corrections)
    return {NOMINAL: (NOMINAL, *weights), **{shape: (shape,) for shape in corrections.shapes()}}


def describe(events: Any, metadata: DatasetMetadata) -> str:
    """How a file is read, in words: what was found in it and what the metadata ask for."""
    text: str = _reader(metadata).describe(events, metadata)
    return text


def branches_of(
    metadata: DatasetMetadata, extra_features: Collection[str] = (), collections: Collection[str] = MULTI_HIGGS
) -> list[str]:
    """Full names of the branches :func:`read` may touch; where versions differ, of all of them."""
    names: list[str] = _reader(metadata).branches(metadata, extra_features, collections)
    return names


def metadata_of(events: Any, btagging: str | None = None) -> DatasetMetadata:
    """The dataset's metadata out of ``events.metadata``, where coffea mixes it with its own keys.

    ``btagging`` (the run's wish) applies to Delphes, unless the dataset's own metadata sets it.

    Raises
    ------
    FilesetError
        if it is asked for of a skim, whose tags are decided.
    """
    known = {key: value for key, value in events.metadata.items() if key in DatasetMetadata.model_fields}
    if btagging is not None and known.get("skim"):
        raise FilesetError("option 'btagging': the b tags of a skim cannot be re-sampled; read the original files")
    if btagging is not None and known.get("format") == "delphes":
        known.setdefault("btagging", btagging)
    return DatasetMetadata.model_validate(known)


def identity_of(events: Any, metadata: DatasetMetadata) -> dict[str, npt.NDArray[Any]]:
    """Run, luminosity section and number of each event; Delphes has none, and counts the entries of the file in one run."""
    if metadata.skim or metadata.format == "nanoaod":
        return {name: np.asarray(ak.to_numpy(events[name])) for name in skim.IDENTITY}
    one = np.ones(len(events), dtype=np.uint32)
    entry = events.metadata["entrystart"] + np.arange(len(events), dtype=np.uint64)
    return dict(zip(skim.IDENTITY, (one, one, entry), strict=True))
