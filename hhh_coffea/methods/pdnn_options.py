"""Options of the method ``pdnn``; nothing here needs torch."""

from __future__ import annotations

from pydantic import Field

from hhh_coffea.base.strict import Strict


class PdnnOptions(Strict):
    """Which models of the permutation network run, each for other targets; the bundled ones where none is named."""

    model: str | list[str] = Field(default_factory=list, description="bundled names or model directories")

    @property
    def models(self) -> tuple[str, ...]:
        """The models as a tuple."""
        return (self.model,) if isinstance(self.model, str) else tuple(self.model)
