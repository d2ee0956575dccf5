"""The file formats: which schema reads them, and which module turns them into the event record."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from coffea.nanoevents import BaseSchema, DelphesSchema

from hhh_coffea.events import delphes
from hhh_coffea.events.delphes import Reading
from hhh_coffea.fileset import DatasetMetadata, FilesetError

_FORMATS = {"delphes": delphes}


def schema_of(metadata: DatasetMetadata) -> type[BaseSchema]:
    """The coffea schema that reads this dataset's format."""
    _format(metadata)
    schema: type[BaseSchema] = DelphesSchema
    return schema


def read(events: Any, metadata: DatasetMetadata, fatjet_features: Collection[str] = ()) -> Reading:
    """NanoEvents of any supported format → event record (see :func:`hhh_coffea.events.delphes.read`)."""
    reading: Reading = _format(metadata).read(events, metadata, fatjet_features)
    return reading


def branches_of(metadata: DatasetMetadata, fatjet_features: Collection[str] = ()) -> list[str]:
    """Full names of the branches :func:`read` touches."""
    names: list[str] = _format(metadata).branches(metadata, fatjet_features)
    return names


def metadata_of(events: Any, btagging: str | None = None) -> DatasetMetadata:
    """The dataset's metadata out of ``events.metadata``, where coffea mixes it with its own keys.

    ``btagging`` (the run's wish) applies unless the dataset's own metadata sets it.
    """
    known = {key: value for key, value in events.metadata.items() if key in DatasetMetadata.model_fields}
    if btagging is not None:
        known.setdefault("btagging", btagging)
    return DatasetMetadata.model_validate(known)


def _format(metadata: DatasetMetadata) -> Any:
    if metadata.format not in _FORMATS:
        raise FilesetError(
            f"metadata field 'format': {metadata.format!r} cannot be read yet; there is {sorted(_FORMATS)}"
        )
    return _FORMATS[metadata.format]
