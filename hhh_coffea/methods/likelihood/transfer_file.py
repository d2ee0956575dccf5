"""The file of transfer functions: JSON, validated (spec §3.1, §3.6).

``light``, ``bottom``, ``electron`` and ``muon`` are lists, one entry per |η| bin, in rising order; ``met`` is one entry.
Jets and electrons are described in E, muons in pT.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, ValidationError, model_validator

from hhh_coffea.base.bundled import find_bundled
from hhh_coffea.base.errors import UserError
from hhh_coffea.base.strict import Positive, Strict, in_plain_words
from hhh_coffea.methods.likelihood.shapes import parameters

SCHEMA_VERSION = 1
FILE_NAME = "transfer_functions.json"  # in a model directory
DEFAULT = "transfer_functions_delphes"  # bundled
Finite = Annotated[float, Field(allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class TransferFileError(UserError):
    """The file of transfer functions cannot be used; the message names the file and the entry."""


class Bin(Strict):
    """What every entry of a particle has: its |η| bin, the range of E (pT) it holds in, and how it was derived."""

    eta: tuple[NonNegative, NonNegative]
    n: int | None = Field(None, ge=0, description="pairs it was derived from")
    chi2_ndf: NonNegative | None = Field(None, description="of the pulls of these pairs")

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if self.eta[0] >= self.eta[1]:
            raise ValueError(f"eta {list(self.eta)} must rise")
        return self


class DoubleGaussian(Bin):
    """Two Gaussians in (E − E_measured)/E; ``parameters`` are (p0, p1) of μ1, σ1, A, μ2, σ2."""

    kind: Literal["double_gaussian"]
    shape: Literal["E1", "E2", "E3", "E4", "E5", "pT"]
    parameters: Annotated[tuple[Finite, ...], Field(min_length=10, max_length=10)]
    range: tuple[Positive, Positive] = Field(description="GeV; outside, the parameters are those at the nearer end")

    @model_validator(mode="after")
    def _sound(self) -> Self:
        low, high = self.range
        if low >= high:
            raise ValueError(f"range {[low, high]} must rise")
        x = torch.logspace(0, 1, 200, dtype=torch.float64).sub(1).div(9).mul(high - low).add(low).clamp(low, high)
        c = torch.tensor([*self.parameters, low, high], dtype=torch.float64).unsqueeze(1).expand(-1, len(x))
        _, s1, a, _, s2 = (p[0] for p in parameters(self.shape, c, x))
        for name, wrong in (("σ1 > 0", s1 <= 0), ("A ≥ 0", a < 0), ("σ2 > 0", (s2 <= 0) & (a > 0))):
            if wrong.any():
                raise ValueError(f"needs {name} in the whole range; it fails at {x[wrong][0].item():.4g} GeV")
        return self


class Gaussian(Bin):
    """One Gaussian in E_measured − E with σ² = a²E² + b²E + c²."""

    kind: Literal["gaussian"]
    a: NonNegative = 0.0
    b: NonNegative = 0.0
    c: NonNegative = 0.0

    @model_validator(mode="after")
    def _wide(self) -> Self:
        if not self.a + self.b + self.c > 0:
            raise ValueError("a, b and c are all 0: the Gaussian has no width")
        return self


class LinearMet(Strict):
    """σ of each component of the missing momentum: p0 + p1·ΣE_T."""

    kind: Literal["linear"]
    p0: Positive
    p1: NonNegative = 0.0


class SigmoidMet(Strict):
    """σ of each component of the missing momentum: p0 + p1/(1 + exp(−p2(ΣE_T − p3)))."""

    kind: Literal["sigmoid"]
    p0: Positive
    p1: NonNegative
    p2: Finite
    p3: Finite


class TaggingRates(Strict):
    """b tagging in bins of jet pT: ``efficiency`` of b jets, ``mistag`` rate of light and c jets (its inverse is R)."""

    pt: Annotated[tuple[NonNegative, ...], Field(min_length=1)] = Field(description="lower ends of the bins, GeV")
    efficiency: tuple[Annotated[float, Field(gt=0, lt=1)], ...]
    mistag: tuple[Annotated[float, Field(gt=0, lt=1)], ...]

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if not len(self.pt) == len(self.efficiency) == len(self.mistag):
            raise ValueError("pt, efficiency and mistag must have one number per bin")
        if any(b <= a for a, b in pairwise(self.pt)):
            raise ValueError("pt must rise")
        return self


Function = Annotated[DoubleGaussian | Gaussian, Field(discriminator="kind")]
Functions = Annotated[list[Function], Field(min_length=1)]


class TransferFunctions(Strict):
    """A whole file."""

    schema_version: Literal[1]
    description: str = ""
    light: Functions
    bottom: Functions
    electron: Functions
    muon: Functions
    met: Annotated[LinearMet | SigmoidMet, Field(discriminator="kind")]
    btag: TaggingRates | None = None

    @model_validator(mode="after")
    def _uniform(self) -> Self:
        for particle in ("light", "bottom", "electron", "muon"):
            bins: list[DoubleGaussian | Gaussian] = getattr(self, particle)
            if len({(b.kind, getattr(b, "shape", "")) for b in bins}) > 1:
                raise ValueError(f"{particle}: all |η| bins must have the same kind and shape")
            if any(second.eta[0] != first.eta[1] for first, second in pairwise(bins)):
                raise ValueError(f"{particle}: each |η| bin must start where the one before it ends")
        return self


def read_transfer_functions(path: str | Path = DEFAULT) -> TransferFunctions:
    """Read and check a JSON file, the one in a model directory, or a bundled one by its name.

    Raises
    ------
    TransferFileError
        naming the entry that is wrong, or that there is no such file.
    """
    file = Path(path)
    if not file.exists():
        file = find_bundled("models", str(path)) or file
    if file.is_dir():
        file /= FILE_NAME
    try:
        return TransferFunctions.model_validate_json(file.read_bytes())
    except OSError as error:
        raise TransferFileError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'file'}: {in_plain_words(e)}" for e in error.errors())
        raise TransferFileError(f"{path}: not a file of transfer functions: {wrong}") from error
