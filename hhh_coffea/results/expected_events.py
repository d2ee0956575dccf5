"""Expected events of a run: what the histograms of each dataset are multiplied by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hhh_coffea.datasets.fileset import Dataset
from hhh_coffea.datasets.normalisation import Normalisation, NormalisationError, event_scales

SUMS = "sum_of_weights"  # of provenance.json


def check_rates(datasets: Mapping[str, Dataset]) -> None:
    """Every simulated dataset must have a cross section.

    Raises
    ------
    NormalisationError
        naming those that have none.
    """
    missing = [name for name, d in datasets.items() if d.metadata.normalisation is None and not d.metadata.is_data]
    if missing:
        raise NormalisationError(
            f"option 'luminosity': no expected events without a cross section: set 'cross_section' (pb) in the metadata "
            f"of {', '.join(missing)}, or 'is_data' if it is data"
        )


def sums_of_weights(cutflow: Mapping[str, Mapping[str, Any]], datasets: Mapping[str, Dataset]) -> dict[str, float]:
    """Sum of the generator weights by dataset: that of all generated events if the metadata state it, else of those read.

    ``cutflow`` as in ``cutflow.json``, whose first row holds all events.
    """
    return {
        name: datasets[name].metadata.sum_of_weights or float(entry["cuts"][0]["weighted"])
        for name, entry in cutflow.items()
        if entry["cuts"]
    }


def scales(provenance: Mapping[str, Any], luminosity: float, names: Iterable[str] | None = None) -> dict[str, float]:
    """Expected events per unit of weight, by dataset; data are left out.

    Parameters
    ----------
    provenance
        contents of ``provenance.json``
    luminosity
        fb⁻¹
    names
        datasets to scale; all when None

    Raises
    ------
    NormalisationError
        naming the dataset without a cross section or without a positive sum of weights.
    """
    recorded: Mapping[str, float] = provenance.get(SUMS, {})
    rates, generated = {}, {}
    for name in provenance["datasets"] if names is None else names:
        metadata = provenance["datasets"][name]
        if metadata.get("is_data"):
            continue
        if name not in recorded:
            raise NormalisationError(
                f"dataset {name!r}: the sum of its generator weights is not recorded: its processor reports no cutflow, or "
                "the results are of an older version; run again"
            )
        generated[name] = recorded[name]
        given = {key: metadata[key] for key in Normalisation.model_fields if metadata.get(key) is not None}
        if "cross_section" in given:
            rates[name] = Normalisation.model_validate(given)
    return event_scales(rates, generated, luminosity)
