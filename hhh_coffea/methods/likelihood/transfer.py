"""Transfer functions on arrays: coefficients of each object, and ln W with its derivatives."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hhh_coffea.methods.likelihood.shapes import Jet2, double_gaussian, gaussian, parameters
from hhh_coffea.methods.likelihood.transfer_file import (
    DoubleGaussian,
    Gaussian,
    LinearMet,
    SigmoidMet,
)


@dataclass(frozen=True)
class Transfer:
    """Transfer function of one kind of particle, in |η| bins that share a shape (None: single Gaussian)."""

    shape: str | None
    edges: Tensor  # (bins − 1,): |η| between the bins; the last one also holds what lies beyond it
    table: Tensor  # (rows, bins)
    jacobian: bool = False

    @classmethod
    def of(
        cls, bins: list[DoubleGaussian | Gaussian], *, jacobian: bool = False, device: torch.device | None = None
    ) -> Transfer:
        """From the entries of a file."""
        columns = [(*b.parameters, *b.range) if isinstance(b, DoubleGaussian) else (b.a, b.b, b.c) for b in bins]
        return cls(
            getattr(bins[0], "shape", None),
            torch.tensor([b.eta[1] for b in bins[:-1]], dtype=torch.float64, device=device),
            torch.tensor(columns, dtype=torch.float64, device=device).T.contiguous(),
            jacobian,
        )

    @property
    def rows(self) -> int:
        """Coefficients of one object."""
        return len(self.table)

    @property
    def form(self) -> tuple[str | None, bool]:
        """Objects with the same form can be evaluated together."""
        return self.shape, self.jacobian

    def coefficients(self, eta: Tensor) -> Tensor:
        """``(rows, …)`` for objects at η of shape ``(…)``."""
        return self.table[:, torch.bucketize(eta.abs(), self.edges, right=True)]

    def __call__(self, coefficients: Tensor, x: Tensor, measured: Tensor) -> Jet2:
        """Evaluate ln W and its derivatives in x; all inputs of one shape after the rows of ``coefficients``."""
        return evaluate(self.form, coefficients, x, measured)

    def resolution(self, coefficients: Tensor, x: Tensor) -> Tensor:
        """Wider of the standard deviations at x, in GeV: for ranges."""
        if self.shape is None:
            return ((coefficients[0] * x) ** 2 + coefficients[1] ** 2 * x + coefficients[2] ** 2).sqrt()
        _, s1, a, _, s2 = (p[0] for p in parameters(self.shape, coefficients, x))
        return x * torch.where(a > 0, torch.maximum(s1, s2), s1)


def evaluate(form: tuple[str | None, bool], coefficients: Tensor, x: Tensor, measured: Tensor) -> Jet2:
    """Evaluate ln W of objects whose transfer functions have one form (see :attr:`Transfer.form`)."""
    shape, jacobian = form
    if shape is None:
        return gaussian(coefficients, x, measured)
    return double_gaussian(shape, coefficients, x, measured, jacobian=jacobian)


def met_resolution(met: LinearMet | SigmoidMet, sum_et: Tensor) -> Tensor:
    """σ of each component of the missing momentum (GeV)."""
    if isinstance(met, LinearMet):
        return met.p0 + met.p1 * sum_et
    return met.p0 + met.p1 * torch.sigmoid(met.p2 * (sum_et - met.p3))
