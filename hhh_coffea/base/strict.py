"""What every file that a user writes is validated by: no unknown fields, no silent conversions."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Strict(BaseModel):
    """No unknown fields, no silent conversions, no changes after validation."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def comma_separated(value: Any) -> Any:
    """Names of a command line, ``a,b``, as a tuple; what is no text is left to the validation."""
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    return tuple(value) if isinstance(value, list) else value
