"""From sums of weights to expected events: cross section, branching fractions, filter efficiency and luminosity."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from hhh_coffea.base.errors import UserError
from hhh_coffea.base.strict import Positive, Strict

FEMTOBARN_PER_PICOBARN = 1000.0


class NormalisationError(UserError):
    """A process cannot be scaled to its expected events; the message names the process."""


class Normalisation(Strict):
    """What the rate of one process is made of.

    The cross section times ``branching`` times ``filter_efficiency`` times ``k_factor`` is the rate of the events that
    the generator *wrote*: set ``filter_efficiency`` to the fraction of the events that passed a filter before the file.
    """

    cross_section: Positive = Field(description="pb")
    branching: Positive = Field(1.0, description="product of branching fractions of the generated decays")
    filter_efficiency: float = Field(1.0, gt=0, le=1, description="fraction of generated events that were written")
    k_factor: Positive = Field(1.0, description="higher orders relative to the cross section")

    @property
    def rate(self) -> float:
        """Effective cross section of the events in the file, in pb."""
        return self.cross_section * self.branching * self.filter_efficiency * self.k_factor


def expected_events(normalisation: Normalisation, luminosity: float) -> float:
    """N = L·σ·BR·ε·k of the events in the file before any selection; ``luminosity`` in fb⁻¹."""
    if not luminosity > 0:
        raise NormalisationError(f"luminosity = {luminosity} fb⁻¹ must be above 0")
    return normalisation.rate * FEMTOBARN_PER_PICOBARN * luminosity


def event_scales(
    normalisations: Mapping[str, Normalisation], generated: Mapping[str, float], luminosity: float
) -> dict[str, float]:
    """What the event weights of each process are multiplied by.

    Parameters
    ----------
    normalisations
        by process; one for each process of ``generated``
    generated
        process → sum of the generator weights of *all* events read, before any selection
    luminosity
        fb⁻¹

    Returns
    -------
    dict
        process → expected events / generated sum of weights; variances take its square

    Raises
    ------
    NormalisationError
        naming the process that has no cross section, or whose sum of weights is not positive.
    """
    if missing := sorted(set(generated) - set(normalisations)):
        raise NormalisationError(
            f"process {missing[0]!r} has no cross section: set 'cross_section' (pb) in the metadata of the dataset"
        )
    scales = {}
    for process, total in generated.items():
        if not total > 0:
            raise NormalisationError(
                f"process {process!r}: the generator weights of all events add up to {total:g}, which must be above 0"
            )
        scales[process] = expected_events(normalisations[process], luminosity) / total
    return scales
