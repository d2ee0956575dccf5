"""Coefficients of event weights that are polynomials in couplings: of the analysis, or from weights in the file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import awkward as ak
import numpy as np
import numpy.typing as npt

from hhh_coffea.base.errors import UserError, did_you_mean
from hhh_coffea.datasets.couplings import Point
from hhh_coffea.datasets.fileset import DatasetMetadata
from hhh_coffea.events.record import COUPLING_WEIGHTS
from hhh_coffea.inference.couplings.polynomial import (
    CouplingError,
    Polynomial,
    coefficients_from_weights,
    condition_warning,
)

FloatArray = npt.NDArray[np.float64]


class Couplings(NamedTuple):
    """How the weight of an event of signal depends on parameters of the theory: a polynomial for each event."""

    polynomial: Polynomial
    collections: tuple[str, ...]  # of the event record that are read for it
    coefficients: Callable[[ak.Array], FloatArray]  # record → ``(N, monomials)``, 1 in all at the reference

    def rows(self, points: Iterable[Point]) -> FloatArray:
        """Points ``(points, parameters)``; a coupling that is not named has its value at the reference.

        Raises
        ------
        CouplingError
            for an unknown name.
        """
        names = self.polynomial.parameters
        points = list(points)
        for point in points:
            for name in point:
                if name not in names:
                    raise CouplingError(
                        f"no coupling {name!r}{did_you_mean(name, names)}; there are {', '.join(names)}"
                    )
        usual = dict(zip(names, self.polynomial.reference, strict=True))
        return np.array([[point.get(name, usual[name]) for name in names] for point in points])

    def read_for(self, metadata: DatasetMetadata) -> tuple[str, ...]:
        """Collections of the event record that :meth:`of` needs of a dataset."""
        given = metadata.couplings
        if given is None:
            return self.collections
        return (COUPLING_WEIGHTS,) if given.branch is not None else ()

    def of(self, record: ak.Array, metadata: DatasetMetadata) -> FloatArray | None:
        """Coefficients ``(N, monomials)``, 1 in all at the reference; None for a sample that was generated at one point.

        Weights in the file are taken relative to that at the reference, where the events were generated.

        Raises
        ------
        CouplingError
            if an event has no weight at the reference.
        """
        given = metadata.couplings
        if given is None:
            return self.coefficients(record)
        if given.branch is None:
            return None
        weights = ak.to_numpy(record[COUPLING_WEIGHTS])
        found = coefficients_from_weights(self.polynomial, self.rows(given.points), weights)
        at_reference = found @ self.polynomial.monomials(self.polynomial.reference)
        if bad := int((~(np.abs(at_reference) > 0) | ~np.isfinite(at_reference)).sum()):
            raise CouplingError(
                f"metadata field 'couplings': {bad} events have no weight at the couplings of the standard model"
            )
        return found / at_reference[:, None]


def check_couplings(name: str, metadata: DatasetMetadata, couplings: Couplings | None) -> list[str]:
    """Check what the metadata of a dataset say of couplings; returns warnings.

    Raises
    ------
    CouplingError
        naming the dataset, if its analysis has none, for an unknown coupling, or points that determine no polynomial.
    """
    given = metadata.couplings
    if given is None:
        return []
    where = f"dataset {name!r}, metadata field 'couplings'"
    if couplings is None:
        raise CouplingError(f"{where}: analysis {metadata.analysis!r} depends on none")
    try:
        points = couplings.rows(given.points if given.point is None else [given.point])
        if given.branch is None:
            return []
        couplings.polynomial.inverse(points)
    except UserError as error:
        raise CouplingError(f"{where}: {error}") from None
    warning = condition_warning(couplings.polynomial, points)
    return [f"{where}: {warning}"] if warning else []


def described(metadata: DatasetMetadata, couplings: Couplings | None) -> Mapping[str, float] | None:
    """The whole point at which a sample was generated; None if the metadata say of none."""
    if couplings is None or metadata.couplings is None or metadata.couplings.point is None:
        return None
    row = couplings.rows([metadata.couplings.point])[0]
    return dict(zip(couplings.polynomial.parameters, map(float, row), strict=True))
