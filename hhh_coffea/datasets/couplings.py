"""How a signal dataset depends on couplings, where its generator says: all of it at one point, or weights in the file."""

from __future__ import annotations

from pydantic import Field, model_validator

from hhh_coffea.base.strict import Strict

Point = dict[str, float]


class CouplingInput(Strict):
    """The section ``couplings`` of the metadata: ``point``, or ``branch`` and ``points``. Couplings not named are 1."""

    point: Point | None = Field(None, description="where all events were generated; several samples are combined")
    branch: str | None = Field(None, description="of weights in the file: LHEReweightingWeight; Delphes: Weight")
    points: list[Point] = Field(default_factory=list, description="where each of the weights was computed")
    first: int = Field(0, ge=0, description="position of the first of these weights in the branch")

    @model_validator(mode="after")
    def _one_of_both(self) -> CouplingInput:
        if (self.point is None) == (self.branch is None):
            raise ValueError("give one of 'point' (the whole sample) and 'branch' (weights in the file)")
        if (self.branch is None) != (not self.points):
            raise ValueError("'branch' and 'points' belong together")
        return self
